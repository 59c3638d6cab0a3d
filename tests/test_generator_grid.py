"""The grid's Python half through a fake wire: what it sends, hears, refuses and leaves behind."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.errors import (
    JobCancelled,
    ModelNotFoundError,
    NotRunnableError,
    RequestError,
    WeightsError,
)
from medgan_widgets.exporting import recipe_of, restore
from medgan_widgets.memorisation import CopyDetector, tuning
from medgan_widgets.panels import _saves
from medgan_widgets.panels.generator_grid import GeneratorGrid
from medgan_widgets.phantoms import draw_phantoms
from tests.fake_engine import FakeEngine
from tests.tiny import write_model


class Page:
    """Plays the browser: catches what is sent, and talks back."""

    def __init__(self, grid: GeneratorGrid, *, acknowledge: bool = True) -> None:
        self.grid, self.acknowledge = grid, acknowledge
        self.messages: list[dict[str, Any]] = []
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.files: list[bytes] = []
        grid.canvas.send = self._catch

    def _catch(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        json.dumps(content, allow_nan=False)  # what travels is plain JSON
        self.messages.append(content)
        if content["kind"] == "frame":
            for tile, data in zip(content["tiles"], buffers or [], strict=True):
                self.tiles[content["id"], tile["place"]] = bytes(data)
            if self.acknowledge:
                self.say(kind="painted", frame=content["frame"])
        else:
            self.files.extend(bytes(part) for part in buffers or [])

    def say(self, **content: Any) -> None:
        self.grid.canvas._handle_custom_msg(content, [])

    def hello(self, request: int = 0, have: Sequence[int] = ()) -> None:
        self.say(kind="hello", request=request, have=list(have))

    def generate(self, **changes: Any) -> None:
        asked = {
            "model": "phantom-brain-mri",
            "images": "4",
            "seed": "7",
            "condition": {},
            "psi": None,
        }
        self.say(kind="generate", id="g", controls={**asked, **changes})

    def save(self, what: str, request: int, *tiles: int) -> dict[str, Any]:
        return self.answer(kind="save", what=what, request=request, tiles=list(tiles))

    def answer(self, **question: Any) -> dict[str, Any]:
        self.messages = [m for m in self.messages if m.get("id") != "q"]
        self.say(id="q", **question)
        until(lambda: self.answers("q"), 60)
        return self.answers("q")[-1]

    def answers(self, question: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if m.get("id") == question and m["kind"] != "accepted"]

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["kind"] == "frame"]


def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def grid(engine: FakeEngine) -> Iterator[GeneratorGrid]:
    made = GeneratorGrid(images=4, seed=7, engine=engine)
    yield made
    engine.hold = False
    engine.go.release(100)
    made.close()


@pytest.fixture
def page(grid: GeneratorGrid) -> Page:
    made = Page(grid)
    made.hello()
    return made


def test_generate_sends_every_image_to_the_page_as_raw_bytes(grid, engine, page):
    grid.generate().wait(5)
    assert page.tiles == {(1, n): engine.pixels(7 + n).tobytes() for n in range(4)}
    assert page.frames[-1]["state"] == "done"
    assert np.array_equal(grid.images_array, [engine.pixels(7 + n) for n in range(4)])
    assert grid.status == "4 synthetic images of phantom-brain-mri, seeds 7 to 10, made on cpu."
    assert grid.error == ""


def test_tiles_come_while_the_rest_is_still_being_made(grid, engine, page):
    engine.hold = True
    job = grid.generate()
    engine.go.release()
    until(lambda: len(page.tiles) == 2)
    assert job.state == "running"
    assert page.frames[-1]["done"] == 2
    engine.go.release()
    job.wait(5)
    assert len(page.tiles) == 4


def test_a_page_gets_labels_seeds_as_text_and_what_was_drawn(grid, engine, page):
    last = 2**64 - 1
    page.generate(images="1", seed=str(last), condition={"tumour": True})
    grid.job.wait(5)
    (tile,) = page.frames[-1]["tiles"] or page.frames[-2]["tiles"]
    assert tile["seed"] == str(last)
    assert tile["labels"]["tumour"] is True
    assert page.frames[-1]["drawn"] == ["contrast"]
    assert engine.requests[-1].seeds[0] == last


def test_a_second_page_gets_only_what_it_lacks(grid, page):
    grid.generate().wait(5)
    page.messages.clear()
    page.hello(1, [0, 2])
    until(lambda: page.frames)
    assert [tile["place"] for tile in page.frames[0]["tiles"]] == [1, 3]
    page.messages.clear()
    page.hello()
    until(lambda: page.frames)
    assert len(page.frames[0]["tiles"]) == 4
    assert page.frames[0]["state"] == "done"


def test_without_a_page_nothing_is_sent_and_the_picture_is_kept(grid, engine):
    page = Page(grid)
    grid.generate().wait(5)
    assert page.messages == []
    picture = grid.canvas.picture
    sheet = np.asarray(Image.open(io.BytesIO(picture["png"])))
    assert np.array_equal(sheet[:16, 16:32], engine.pixels(8)[..., 0])
    assert [tile["seed"] for tile in picture["tiles"]] == ["7", "8", "9", "10"]


def test_a_slow_page_gets_few_messages_with_many_tiles(engine):
    engine.chunk = 1
    grid = GeneratorGrid(images=64, engine=engine)
    page = Page(grid, acknowledge=False)
    page.hello()
    grid.generate().wait(10)
    assert len(page.tiles) == 64
    assert len(page.frames) <= 8
    grid.close()


def test_fifty_clicks_in_a_second_end_with_the_last_ones_images(grid, engine, page):
    for click in range(50):
        page.generate(seed=str(click))
    grid.job.wait(10)
    assert grid.seed == 49
    assert np.array_equal(grid.images_array[0], engine.pixels(49))
    assert page.frames[-1]["state"] == "done"
    assert "seeds 49 to 52" in grid.status
    assert len(page.frames) < 60


def test_cancel_keeps_what_is_made(grid, engine, page):
    engine.hold = True
    page.generate()
    engine.go.release()
    until(lambda: len(page.tiles) == 2)
    page.say(kind="cancel", id="another")
    page.say(kind="cancel", id=page.frames[-1]["question"])
    engine.go.release()
    with pytest.raises(JobCancelled):
        grid.job.wait(5)
    assert len(grid.images_array) == 2
    assert page.frames[-1]["state"] == "cancelled"
    assert grid.status == "Cancelled after 2 of 4 synthetic images."
    page.say(kind="idle")
    assert len(grid.canvas.picture["tiles"]) == 2


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"images": "0"}, "images must be from 1 to 64, got 0"),
        ({"images": "-1"}, "images must be from 1 to 64, got -1"),
        ({"images": "65"}, "images must be from 1 to 64"),
        ({"images": "1000000000"}, "images must be from 1 to 64"),
        ({"images": "2.5"}, "images must be a whole number, got '2.5'"),
        ({"images": ""}, "images must be a whole number, got ''"),
        ({"images": None}, "images must be a whole number, got None"),
        ({"seed": "ten"}, "seed must be a whole number, got 'ten'"),
        ({"seed": "-1"}, "seed must be from 0 to 18446744073709551615, got -1"),
        ({"seed": "2.5"}, "seed must be a whole number"),
        ({"seed": "18446744073709551616"}, "seed must be from 0 to"),
        ({"seed": "9" * 9999}, "seed must be a whole number"),
        ({"seed": "18446744073709551615"}, "passes the last seed"),
        ({"psi": 1.5}, "truncation_psi must be from 0 to 1"),
        ({"condition": {"contrast": "PET"}}, "contrast must be one of 'T1', 'T2', 'FLAIR'"),
        ({"condition": {"age": 5}}, "no factor 'age'"),
        ({"condition": "T1"}, "condition must"),
        ({"model": "nope"}, "there is no model 'nope'"),
        ({"model": 7}, "model_id must be the name"),
    ],
)
def test_a_bad_request_is_one_sentence_and_the_picture_stays(grid, page, asked, words):
    grid.generate().wait(5)
    before = grid.images_array
    page.messages.clear()
    page.generate(**asked)
    until(lambda: grid.error)
    assert words in grid.error
    assert "\n" not in grid.error
    assert len(grid.error) < 200
    assert page.answers("g") == [{"id": "g", "kind": "refused", "note": grid.error}]
    assert np.array_equal(grid.images_array, before)
    page.generate()
    grid.job.wait(5)
    assert grid.error == "", "a good request clears it"


@pytest.mark.parametrize("after", [0, 2])
def test_an_engine_that_fails_leaves_a_sentence_and_the_last_picture(grid, engine, page, after):
    grid.generate().wait(5)
    before = grid.images_array
    engine.failure, engine.fail_after = WeightsError("the weights are damaged."), after
    page.generate(seed="90")
    with pytest.raises(WeightsError):
        grid.job.wait(5)
    assert grid.error == "the weights are damaged."
    assert page.frames[-1]["state"] == "failed"
    assert len(grid.images_array) == (2 if after else 4)
    assert after or np.array_equal(grid.images_array, before)
    engine.failure = RuntimeError("surprise")
    page.generate()
    until(lambda: "surprise" in grid.error)
    assert grid.error == "Something went wrong (RuntimeError: surprise); the log has the details."


def test_the_constructor_refuses_what_no_grid_can_have(engine):
    for wrong in ({"images": 65}, {"seed": -1}, {"images": "ten"}, {"columns": 0}, {"images": 2.5}):
        with pytest.raises(RequestError):
            GeneratorGrid(engine=engine, **wrong)
    with pytest.raises(ModelNotFoundError):
        GeneratorGrid("nope", engine=engine)
    with pytest.raises(NotRunnableError, match="after a download of 9 MB"):
        GeneratorGrid("00013", engine=engine)


def test_use_changes_the_model_and_its_factors(grid):
    grid.use("phantom-chest-xray")
    assert grid.model == grid.canvas.controls["model"] == "phantom-chest-xray"
    assert [each["id"] for each in grid.canvas.models] == [
        "phantom-brain-mri",
        "phantom-chest-xray",
    ]
    with pytest.raises(NotRunnableError):
        grid.use("00013")
    assert "00013 cannot generate here" in grid.error
    assert grid.model == "phantom-chest-xray"


def test_a_model_deleted_while_listed_is_a_sentence(grid, engine, page):
    del engine.catalogue.cards["phantom-chest-xray"]
    page.generate(model="phantom-chest-xray")
    until(lambda: grid.error)
    assert grid.error == "there is no model 'phantom-chest-xray'."


def test_one_png_gives_back_its_request(grid, engine, page, tmp_path):
    page.generate(condition={"tumour": True})
    grid.job.wait(5)
    answer = page.save("png", 1, 2)
    assert answer["name"] == "phantom-brain-mri_seed9_synthetic.png"
    (tmp_path / "it.png").write_bytes(page.files[0])
    request = restore(tmp_path / "it.png")
    assert request.seeds == (9,)
    assert dict(request.condition) == {"tumour": True}
    image = next(iter(engine.generate(request))).images[0]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "it.png")), image[..., 0])


def test_a_saved_png_makes_its_very_pixels_again_with_the_real_engine(tmp_path):
    write_model(tmp_path / "models")
    engine = Engine(device="cpu", catalogue=Catalogue(tmp_path / "models"))
    grid = GeneratorGrid("tiny", images=5, seed=2**63, engine=engine)
    page = Page(grid)
    grid.generate().wait(60)
    page.save("png", 1, 3)
    (tmp_path / "it.png").write_bytes(page.files[0])
    again = engine.images(restore(tmp_path / "it.png"))
    assert np.array_equal(again[0, ..., 0], np.asarray(Image.open(tmp_path / "it.png")))
    assert np.array_equal(again[0], grid.images_array[3])
    grid.close()


def test_the_zip_holds_the_selection_with_recipes(grid, page):
    grid.generate().wait(5)
    answer = page.save("zip", 1, 1, 3)
    assert "synthetic" in answer["name"]
    archive = zipfile.ZipFile(io.BytesIO(page.files[0]))
    assert [name for name in archive.namelist() if name.endswith(".png")] == [
        "phantom-brain-mri_seed8_synthetic.png",
        "phantom-brain-mri_seed10_synthetic.png",
    ]


def test_the_copied_recipe_is_json_of_one_image(grid, page):
    grid.generate().wait(5)
    recipe = json.loads(page.answer(kind="recipe", request=1, tiles=[0])["text"])
    assert recipe["seeds"] == [7]
    assert recipe["synthetic"] is True


def test_saving_pictures_that_have_changed_is_refused(grid, page):
    grid.generate().wait(5)
    for wrong, words in (
        ({"request": 9, "tiles": [0]}, "changed"),
        ({"request": 1, "tiles": [9]}, "none of"),
        ({"request": 1, "tiles": [0], "what": "exe"}, "png or zip"),
    ):
        answer = page.answer(kind="save", **{"what": "png", **wrong})
        assert answer["kind"] == "refused"
        assert words in grid.error


class Repeating(FakeEngine):
    """An engine whose model repeats one of its training images at seed 8."""

    def __init__(self) -> None:
        super().__init__()
        self.known = draw_phantoms("mammogram", range(14), size=32).images[..., None]

    def pixels(self, seed: int) -> Any:
        fresh = draw_phantoms("mammogram", [1000 + seed], size=32).images[0, ..., None]
        return self.known[3] if seed == 8 else fresh


def test_a_copy_of_a_training_image_does_not_leave_unmarked(monkeypatch, tmp_path):
    engine, read = Repeating(), []

    def detector_for(card: Any, training: Any, runs: Any) -> tuple[CopyDetector | str, str]:
        read.append(card.id)
        return CopyDetector(engine.known) if "brain" in card.id else "they were lost", ""

    monkeypatch.setattr(_saves, "copy_detector_for", detector_for)
    monkeypatch.setattr(tuning, "CONTROLS", 10)  # a quick look will do
    grid = GeneratorGrid(images=4, seed=7, engine=engine)
    page = Page(grid)
    grid.generate().wait(5)
    page.save("zip", 1, 0, 1, 2, 3)
    assert "1 of 4 images are copies of training images; the recipes say which." in grid.status
    archive = zipfile.ZipFile(io.BytesIO(page.files[-1]))
    assert not [name for name in archive.namelist() if "private" in name]
    assert json.loads(archive.read("memorisation.json"))["copies"] == 1
    rows = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
    marks = ["not found to be a copy"] * 4
    marks[1] = "a copy of a training image"
    assert [row["memorisation"] for row in rows] == marks
    for tile, words in (
        (1, "1 of 1 images are copies"),
        (2, "No copy of a training image was found."),
    ):
        page.save("png", 1, tile)
        (tmp_path / "it.png").write_bytes(page.files[-1])
        assert recipe_of(tmp_path / "it.png")["memorisation"] == marks[tile]
        assert words in grid.status
    assert read == ["phantom-brain-mri"], "the training images stay ready"
    grid.use("phantom-chest-xray")
    grid.generate().wait(5)
    page.save("png", 2, 0)
    assert "not assessed: they were lost" in grid.status
    assert read == ["phantom-brain-mri", "phantom-chest-xray"], "those of another model do not"
    grid.close()


def test_where_nobody_can_look_the_panel_and_the_recipe_say_so(grid, engine, page, tmp_path):
    grid.generate().wait(5)
    page.save("png", 1, 0)
    (tmp_path / "it.png").write_bytes(page.files[0])
    assert recipe_of(tmp_path / "it.png")["memorisation"] == "not assessed"
    assert "not assessed: the training images were not given, and the run" in grid.status
    del engine.catalogue.cards["phantom-brain-mri"]
    page.save("png", 1, 1)
    assert "not assessed: the model is no longer here" in grid.status


def test_a_long_look_holds_up_nobody_and_can_be_cancelled(grid, page, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def slow(*_: Any) -> tuple[str, str]:
        begun.set()
        assert go.wait(10)
        return "", ""

    monkeypatch.setattr(_saves, "copy_detector_for", slow)
    grid.generate().wait(5)
    for question in ("first", "second"):
        page.say(kind="save", id=question, what="png", request=1, tiles=[0])
    assert begun.wait(5)
    assert "to look for copies of them before saving" in grid.status
    assert page.answer(kind="recipe", request=1, tiles=[0])["kind"] == "text"
    grid.generate().wait(5)
    for question in ("first", "second"):
        page.say(kind="cancel", id=question)
    go.set()
    until(lambda: page.answers("first") and page.answers("second"))
    assert page.answers("first") == [{"id": "first", "kind": "refused"}]
    assert grid.status == "Saving was cancelled; nothing was saved."
    assert page.files == []


def test_two_grids_do_not_disturb_each_other(engine):
    one, two = (GeneratorGrid(images=2, seed=seed, engine=engine) for seed in (1, 50))
    jobs = [one.generate(), two.generate()]
    assert [len(job.wait(5)) for job in jobs] == [1, 1]
    assert not np.array_equal(one.images_array, two.images_array)
    one.close()
    two.generate().wait(5)
    two.close()


def test_await_works_in_a_notebook(grid):
    async def story() -> int:
        await grid.generate()
        return len(grid.images_array)

    assert asyncio.run(story()) == 4


def test_without_a_browser_it_shows_an_honest_picture(grid):
    assert repr(grid) == "GeneratorGrid(model='phantom-brain-mri', images=4, seed=7)"
    empty = grid.snapshot()
    grid.generate().wait(5)
    full = grid.snapshot()
    assert full.image.height > empty.image.height + 100
    data, _ = grid._repr_mimebundle_()
    assert data["text/plain"] == repr(grid)
    assert "application/vnd.jupyter.widget-view+json" in data
    png = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert np.array_equal(np.asarray(png), np.asarray(full.image))
    assert repr(full) == repr(grid)


def test_a_closed_grid_lets_go(engine):
    engine.hold = True
    grid = GeneratorGrid(images=4, engine=engine)
    job = grid.generate()
    grid.close()
    grid.close()
    engine.go.release(10)
    until(lambda: job.done)
    assert job.state == "cancelled"


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "hello", "request": 0},
        {"kind": "hello", "request": 0, "have": [[1]]},
        {"kind": "painted", "frame": None},
        {"kind": "generate"},
        ["generate"],
        None,
    ],
)
def test_a_message_that_no_page_sends_does_no_harm(grid, page, content):
    grid.canvas._handle_custom_msg(content, [])
    assert len(grid.generate().wait(5)) > 0
    assert grid.error == ""


@pytest.mark.parametrize("wrong", [{"condition": {"colour": 1}}, {"condition": {"tumour": "x"}}])
def test_a_class_the_model_lacks_is_told_at_once_not_dropped(engine, wrong):
    with pytest.raises(RequestError):
        GeneratorGrid(engine=engine, **wrong)


def test_of_two_threads_that_ask_the_last_one_queued_speaks(grid, engine):
    threads = [threading.Thread(target=grid.generate) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: grid.job.done)
    assert grid.job.state == "done"
    assert grid.status.startswith("4 synthetic images")
