"""The grid shows every shape of answer: masks, labels, sources, other pictures, mixed sizes."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from medgan_widgets.cards import Option
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.exporting import SyntheticImage, image_recipe, write
from medgan_widgets.panels._frames import Pictures, picture_of
from medgan_widgets.panels._saves import Saves
from medgan_widgets.panels.generator_grid import GeneratorGrid
from medgan_widgets.requests import Batch, GenerateRequest
from tests.fake_engine import FakeEngine

TRANSLATE = SimpleNamespace(
    id="90004",
    title="T1 to T2",
    origin="local",
    condition={},
    truncation=False,
    style_layers=0,
    options=(
        Option(name="gpu_id", default=None),
        Option(name="device", default="0"),
        Option(name="step", default=6),
        Option(name="flip", default=True),
        Option(name="save", default="both", choices=("image", "both")),
        Option(name="shapes", default=["oval"]),
    ),
    training={},
    needs=SimpleNamespace(image=True),
)


class Answers(FakeEngine):
    """Gives whatever batches a test wants."""

    def __init__(self, *batches: Batch) -> None:
        super().__init__()
        self.batches = batches
        self.catalogue.cards[TRANSLATE.id] = TRANSLATE

    def generate(self, request):
        self.requests.append(request)
        yield from self.batches


def batch(size: int = 8, seeds: tuple[int, ...] = (0, 1), **more) -> Batch:
    images = np.full((len(seeds), size, size, 1), 100, np.uint8)
    return Batch(images, seeds, **more)


def mask(size: int = 8) -> np.ndarray:
    one = np.zeros((2, size, size), np.uint8)
    one[:, 2:5, 2:5] = 255
    return one


@pytest.fixture
def sent(monkeypatch):
    """What a grid sends to its page, once the page has said hello."""

    def watch(grid):
        frames = []
        monkeypatch.setattr(
            grid.canvas, "send", lambda content, buffers=None: frames.append((content, buffers))
        )
        grid.canvas._handle_custom_msg({"kind": "hello", "request": 0, "have": []}, [])
        return frames

    return watch


def test_masks_and_other_pictures_travel_beside_the_image_never_in_it(sent):
    source = np.full((2, 6, 4, 3), 7, np.uint8)
    engine = Answers(batch(masks=mask(), others={"source": source}, labels={"label": ("a", "b")}))
    grid = GeneratorGrid(images=2, engine=engine)
    frames = sent(grid)
    grid.generate().wait()
    tiles = [tile for content, _ in frames for tile in content.get("tiles", [])]
    assert [tile["extras"] for tile in tiles] == [[["mask", [8, 8, 1]], ["source", [6, 4, 3]]]] * 2
    assert [tile["labels"]["label"] for tile in tiles] == ["a", "b"]
    buffers = [data for content, given in frames if content.get("tiles") for data in given]
    assert [len(data) for data in buffers] == [64, 64, 72] * 2
    assert set(buffers[0]) == {100}, "the mask is not drawn into the image"
    assert set(buffers[1]) == {0, 255}
    assert grid.snapshot().image.convert("RGB").getcolors(10**6) is not None
    grid.close()


def test_a_snapshot_shows_the_edge_of_the_mask():
    grid = GeneratorGrid(images=2, engine=Answers(batch(masks=mask())))
    grid.generate().wait()
    pixels = np.asarray(grid.snapshot().image.convert("RGB")).reshape(-1, 3)
    assert ((pixels[:, 0] < 60) & (pixels[:, 1] > 180) & (pixels[:, 2] > 200)).any()
    grid.close()


def test_images_of_two_sizes_share_a_grid():
    two = (batch(8, (0,)), batch(12, (1,)))
    grid = GeneratorGrid(images=2, engine=Answers(*two))
    grid.generate().wait()
    assert grid.images_array.shape == (2, 12, 12, 1)
    assert grid.snapshot().image.width > 100
    stored = grid.canvas.picture
    assert [tile["shape"] for tile in stored["tiles"]] == [[8, 8, 1], [12, 12, 1]]
    grid.close()


def test_a_saved_notebook_keeps_masks_and_stays_small():
    pictures = Pictures(1, GenerateRequest("m", seeds=range(2)))
    pictures.add(batch(masks=mask(), others={"source": np.zeros((2, 4, 4), np.uint8)}))
    stored = picture_of(pictures)
    assert set(stored["sheets"]) == {"mask", "source"}
    sheet = np.asarray(Image.open(io.BytesIO(stored["sheets"]["mask"]["png"])))
    assert (sheet[:8, :8] == mask()[0]).all()
    large = Pictures(2, GenerateRequest("m", seeds=range(16)))
    large.add(Batch(np.zeros((16, 1024, 1024, 1), np.uint8), tuple(range(16))))
    assert len(picture_of(large)["tiles"]) == 3, "some are better than a notebook of 16 MB"


def test_a_zip_has_masks_as_files_of_their_own_and_never_the_source():
    pictures = Pictures(1, GenerateRequest("m", seeds=range(2)))
    others = {"source": np.zeros((2, 4, 4), np.uint8), "other 1": np.ones((2, 8, 8), np.uint8)}
    pictures.add(batch(masks=mask(), others=others))
    pictures.recipe = {"model_id": "m", "seeds": [0, 1]}
    *_, (_, data) = Saves(Answers().catalogue).saved(pictures, "zip", [0, 1])
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert json.loads(archive.read("memorisation.json"))["assessed"] is False
    assert [name for name in archive.namelist() if name.endswith(".png")] == [
        "m_seed0_synthetic.png", "m_seed0_synthetic_mask.png", "m_seed0_synthetic_other-1.png",
        "m_seed1_synthetic.png", "m_seed1_synthetic_mask.png", "m_seed1_synthetic_other-1.png",
    ]  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(archive.read("manifest.csv").decode())))
    assert [row["mask"] for row in rows] == [f"m_seed{n}_synthetic_mask.png" for n in (0, 1)]
    with archive.open("m_seed0_synthetic_mask.png") as file:
        assert (np.asarray(Image.open(file)) == mask()[0]).all()


# ---------------------------------------------------------------- what goes in


def png(value: int = 9) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (8, 8), value).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def translating():
    grid = GeneratorGrid(TRANSLATE.id, images=2, engine=Answers(batch()))
    yield grid
    grid.close()


def test_options_keep_their_types(translating):
    asked = {"gpu_id": 0, "device": "cuda:0", "step": 3, "flip": False, "shapes": ["oval", 2]}
    controls = {"model": TRANSLATE.id, "images": 2, "seed": "5", "options": asked}
    ask = {"kind": "generate", "id": "g", "controls": controls}
    translating.canvas._handle_custom_msg(ask, [])
    translating.job.wait()
    request = translating._engine.requests[-1]
    assert dict(request.options) == asked
    assert [type(value) for value in request.options.values()] == [int, str, int, bool, list]
    assert translating.canvas.models[-1]["options"][0] == {
        "name": "gpu_id", "default": None, "choices": [], "help": "",
    }  # fmt: skip


def test_uploads_are_checked_used_and_deleted_with_the_grid(translating):
    names = ["../../evil.png", "ü space.png"]
    translating.canvas._handle_custom_msg(
        {"kind": "sources", "names": names}, [png(), memoryview(png(8))]
    )
    assert translating.canvas.sources == {"count": 2, "names": "evil.png, ü space.png"}
    paths = translating.request.inputs
    assert all(Image.open(path).size == (8, 8) for path in paths)
    assert all("medgan-sources-" in path for path in paths)
    translating.canvas._handle_custom_msg({"kind": "sources", "names": ["a.txt"]}, [b"no image"])
    assert "a.txt cannot be read as an image" in translating.error
    assert translating.request.inputs == paths, "what was good stays"
    translating.canvas._handle_custom_msg({"kind": "sources"}, [])
    assert translating.canvas.sources["count"] == 0
    assert translating.error == ""
    assert Path(paths[0]).exists()
    translating.close()
    assert not Path(paths[0]).exists()


def test_a_folder_on_this_machine_serves_as_well(translating, tmp_path):
    translating.canvas._handle_custom_msg({"kind": "sources", "path": str(tmp_path)}, [])
    assert "holds no files" in translating.error
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(png(n))
    translating.canvas._handle_custom_msg({"kind": "sources", "path": str(tmp_path)}, [])
    assert translating.canvas.sources["count"] == 3
    translating.canvas._handle_custom_msg({"kind": "sources", "path": "/no/such/place"}, [])
    assert "cannot be read" in translating.error


def test_another_model_forgets_sources_and_options(translating, tmp_path):
    (tmp_path / "0.png").write_bytes(png())
    translating.canvas._handle_custom_msg({"kind": "sources", "path": str(tmp_path)}, [])
    translating.use("phantom-brain-mri")
    assert translating.request.inputs == ()
    assert dict(translating.request.options) == {}


def test_arguments_of_python_are_the_same_as_clicks(tmp_path):
    (tmp_path / "0.png").write_bytes(png())
    engine = Answers(batch())
    grid = GeneratorGrid(
        TRANSLATE.id, images=2, engine=engine, options={"step": 2}, inputs=[tmp_path / "0.png"]
    )
    assert dict(grid.request.options) == {"step": 2}
    assert grid.request.inputs == (str(tmp_path / "0.png"),)
    grid.close()
    with pytest.raises(RequestError, match="inputs must be paths"):
        GenerateRequest("m", seeds=[1], inputs=[b"bytes"])
    with pytest.raises((RequestError, DataError)):
        GeneratorGrid(TRANSLATE.id, engine=engine, inputs=[3])


def test_inputs_of_python_are_read_at_once(tmp_path):
    engine = Answers(batch())
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(png(n))
    grid = GeneratorGrid(TRANSLATE.id, images=2, engine=engine, inputs=[tmp_path])
    assert grid.canvas.sources == {"count": 3, "names": "0.png, 1.png, 2.png"}
    grid.close()
    with pytest.raises(DataError, match="absent"):
        GeneratorGrid(TRANSLATE.id, engine=engine, inputs=[tmp_path / "absent.png"])
    with pytest.raises(RequestError, match="takes no inputs"):
        GeneratorGrid(engine=engine, inputs=[tmp_path])


def test_options_chosen_on_the_page_stay_with_their_model(translating):
    controls = {"model": "phantom-brain-mri", "images": 2, "seed": "5", "options": {"x": 1}}
    ask = {"kind": "generate", "id": "g", "controls": controls}
    translating.canvas._handle_custom_msg(ask, [])
    translating.job.wait()
    translating.use(TRANSLATE.id)
    assert dict(translating.request.options) == {}


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "a\0b", "x" * 5000])
def test_a_path_that_can_be_none_is_a_sentence(translating, path):
    translating.canvas._handle_custom_msg({"kind": "sources", "path": path}, [])
    assert "cannot be read" in translating.error
    assert len(translating.error) < 250


def test_a_picture_with_too_many_pixels_is_a_sentence(translating):
    stream = io.BytesIO()
    Image.new("1", (20000, 20000)).save(stream, "PNG")
    message = {"kind": "sources", "names": ["bomb.png"]}
    translating.canvas._handle_custom_msg(message, [stream.getvalue()])
    assert "cannot be read" in translating.error
    assert translating.request.inputs == ()


def test_uploads_go_with_the_process_too():
    code = (
        "from medgan_widgets.panels._uploads import Uploads\n"
        "uploads = Uploads(); print(uploads._written('a.png', b''))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "medgan-sources-" in ran.stdout
    assert not Path(ran.stdout.strip()).exists(), "they may show a patient"


def test_a_snapshot_of_large_images_is_small_and_stands_a_mask_of_another_size():
    images = np.full((2, 1332, 800, 1), 100, np.uint8)
    given = Batch(images, (0, 1), masks=np.repeat(np.repeat(mask(), 40, 1), 40, 2))
    grid = GeneratorGrid(images=2, engine=Answers(given))
    grid.generate().wait()
    picture = grid.snapshot().image.convert("RGB")
    assert picture.height < 500
    pixels = np.asarray(picture).reshape(-1, 3)
    assert ((pixels[:, 0] < 60) & (pixels[:, 1] > 180)).any()
    grid.close()


def test_names_that_become_one_do_not_swallow_a_file():
    one, recipe = np.zeros((4, 4), np.uint8), image_recipe({"model_id": "m"}, 1)
    image = SyntheticImage(one, recipe, {"other 1": one, "other-1": one + 1, "seed": one})
    *_, last = write([image], None)
    archive = zipfile.ZipFile(io.BytesIO(last.file[1]))
    assert sum(name.endswith(".png") for name in archive.namelist()) == 4
    (row,) = csv.DictReader(io.StringIO(archive.read("manifest.csv").decode()))
    assert row["seed"] == "1"
