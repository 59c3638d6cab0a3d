"""A run becomes a model: found at once, with the run's own images, and honest about its data."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medgan_widgets.cards import ModelCard, ScoreCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.checkpoints import read_generator
from medgan_widgets.engine import Engine
from medgan_widgets.errors import DataError, RequestError, SaveError, WeightsError
from medgan_widgets.exporting import check_model, make_model
from medgan_widgets.generators import EXACT_CHUNK, _noise
from medgan_widgets.requests import GenerateRequest, Score
from medgan_widgets.runs import WEIGHTS, RunState, Tick, record_tick, run_config, write_state
from medgan_widgets.seeds import labels_from_seeds, latents_from_seeds, one_hot
from tests.run_dirs import write_run

NASTY = "<script>alert(1)</script> | a\n# b"
SCORE = Score("FD", 11.8, 300, 300, "canonical-1", (11.2, 12.5), 0.43, 150, value_at_floor_n=13.1)
KNEE: dict[str, Any] = {"modality": "DX", "organ": "knee", "region": "frontal view"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "knee")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@dataclass
class Made:
    """A model that was made of a run, for tests that only look at it."""

    run: Path
    folder: Path
    card: ModelCard

    @property
    def readme(self) -> str:
        return (self.folder / "README.md").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("made")
    run = write_run(root / "runs" / "knee")
    record_tick(run, Tick(4.0, 0.7, 1.4, score=SCORE.to_dict()))
    statement = {"source": "our clinic, 2019", "licence": " ", "approval": NASTY}
    card = make_model(
        run, "knee-1", **KNEE, models=root / "models", statement=statement, limits=NASTY
    )
    return Made(run, root / "models" / "knee-1", card)


def images_of(models: Path, model_id: str, count: int = 8) -> np.ndarray:
    engine = Engine(device="cpu", catalogue=Catalogue(models))
    return engine.images(GenerateRequest(model_id, seeds=range(count)))


@torch.inference_mode()
def images_of_run(run: Path, count: int = 8) -> np.ndarray:
    """What the run's own generator makes of the same seeds."""
    config = run_config(run)
    name = config["settings"]["network"]
    network = read_generator(run / WEIGHTS, name, config["network"]).for_inference()
    factors = {k: tuple(v) for k, v in config["factors"].items()}
    parts = []
    for start in range(0, count, EXACT_CHUNK[name]):
        seeds = range(start, start + EXACT_CHUNK[name])
        z = torch.from_numpy(latents_from_seeds(seeds, network.z_dim))
        y = torch.from_numpy(one_hot(labels_from_seeds(seeds, factors, {}), factors, len(seeds)))
        noise = [torch.from_numpy(part) for part in _noise(seeds, network.noise_shapes)]
        made = network(z, y, noise, 1.0).clamp(-1, 1)
        parts.append(((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def test_a_run_becomes_a_model_that_the_catalogue_finds_at_once(made: Made) -> None:
    card, models = made.card, made.folder.parent
    assert Catalogue(models)["knee-1"] == card == ModelCard.read(made.folder)
    assert Catalogue(models).runs_here("knee-1").kind == "now"
    assert card.condition == {"grade": (0, 1, 2)}
    assert card.truncation is True
    assert {path.name for path in made.folder.iterdir()} == {
        "card.json", "README.md", "generator.safetensors", "preview.png", "grid.png",
    }  # fmt: skip
    assert [path.name for path in models.iterdir()] == ["knee-1"], "nothing else stays"
    for name in ("preview.png", "grid.png"):
        with Image.open(made.folder / name) as picture:
            assert picture.text["Synthetic"] == "true"
            assert "SYNTHETIC" in picture.text["Comment"]


def test_fp16_is_taken_where_no_pixel_moves_by_more_than_a_grey_level(made: Made) -> None:
    assert made.card.training["precision"] == "fp16"
    assert made.card.training["fp16_grey_levels"] <= 1
    pixels = images_of(made.folder.parent, "knee-1", 64).astype(int)
    own = images_of_run(made.run, 64)
    assert np.abs(pixels - own).max() == made.card.training["fp16_grey_levels"]
    assert own.std() > 2, "there is something to see"


def test_weights_that_fp16_would_change_stay_as_they_are(tmp_path: Path, models: Path) -> None:
    run = write_run(tmp_path / "hard", contrast=1e4)
    card = make_model(run, "hard", **KNEE, models=models)
    assert card.training["precision"] == "fp32"
    assert card.training["fp16_grey_levels"] > 1
    assert np.array_equal(images_of(models, "hard"), images_of_run(run)), "bit for bit"
    run = write_run(tmp_path / "huge", contrast=1e7)
    card = make_model(run, "huge", **KNEE, models=models)
    assert card.training["precision"] == "fp32"
    assert "fp16 is too small" in (models / "huge" / "README.md").read_text()


def test_dcgan_has_no_classes_and_no_truncation(tmp_path: Path, models: Path) -> None:
    run = write_run(tmp_path / "plain", network="dcgan")
    card = make_model(run, "plain", **KNEE, models=models)
    assert (card.condition, card.truncation, card.function) == ({}, False, "noise to image")
    assert images_of(models, "plain", 3).shape == (3, 16, 16, 1)


def test_what_nobody_stated_is_unknown_for_all_to_see(made: Made) -> None:
    assert made.card.dataset == "our clinic, 2019"
    assert made.card.statement is not None
    assert made.card.statement.unknown == ("licence", "deidentification")
    assert "| licence of the data | UNKNOWN |" in made.readme
    assert "| licence | UNKNOWN: not stated |" in made.readme


def test_text_of_a_person_stays_text(made: Made) -> None:
    assert "<script" not in made.readme
    assert "\n# b" not in made.readme


def test_the_card_names_run_and_data_but_no_folder_of_the_person(made: Made) -> None:
    told = made.card.training
    assert told["run"] == "a" * 32
    assert told["fingerprint"] == "f" * 64
    assert (told["preset"], told["kimg"], told["seed"], told["count"]) == ("residual", 4.0, 3, 120)
    assert told["data"] == "120 images: 96 to train on, 24 to judge by"
    assert told["augmentations"] == "translation, scale"
    assert told["group"] == "30 groups, each on one side of the split"
    assert "parent" not in told
    written = (made.folder / "card.json").read_text() + made.readme
    assert "doe" not in written
    assert str(made.run.parent) not in written


@pytest.mark.parametrize("model", [None, "phantom-brain-mri"])
def test_parents_and_splits_without_patients_are_named(
    tmp_path: Path, models: Path, model: str | None
) -> None:
    parent = {
        "what": "/home/doe/runs/jane_doe", "file": "/home/doe/runs/jane_doe/checkpoint/x",
        "model": model, "sha256": "b" * 64, "run_id": "c" * 32,
    }  # fmt: skip
    note = "no group was given, so images of one patient may stand on both sides"
    data = {"groups": None, "group_note": note}
    card = make_model(
        write_run(tmp_path / "run", start_from=parent, data=data), "knee-1", **KNEE, models=models
    )
    told = card.training
    assert (told.get("parent"), told["parent_run"]) == (model, "c" * 32)
    assert told["parent_sha256"] == "b" * 64
    assert "doe" not in (models / "knee-1" / "card.json").read_text()
    assert "doe" not in (models / "knee-1" / "README.md").read_text()
    assert told["group"] == note
    assert "may stand on both sides" in card.limits


def test_phantoms_know_what_they_show_and_that_nobody_is_behind_them(
    tmp_path: Path, models: Path
) -> None:
    factors = {"contrast": ["T1", "T2", "FLAIR"], "tumour": [False, True]}
    note = {"groups": None, "group_note": "no group was given"}
    run = write_run(tmp_path / "run", data=note, phantom=True, factors=factors)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "data": "brain_mri"}))
    card = make_model(run, "brain", models=models, statement={"source": "", "approval": ""})
    assert (card.modality, card.organ, card.phantom) == ("MR", "brain", True)
    assert "group" not in card.training
    assert "group" not in card.limits
    assert card.statement is not None
    assert card.statement.unknown == ()
    assert card.statement.source == "procedural phantoms (brain_mri)"
    assert "not on patients" in " ".join((models / "brain" / "README.md").read_text().split())


def test_figures_come_from_the_last_tick_or_from_the_person(
    made: Made, run: Path, models: Path
) -> None:
    assert made.card.scores[0].to_score() == SCORE
    assert (
        "| FD | 11.8 | 11.2 to 12.5 | 300 / 300 | canonical-1 | 0.43 at n 150 (value there 13.1) |"
        in made.readme
    )
    record_tick(run, Tick(4.0, 0.7, 1.4, score=SCORE.to_dict()))
    mine = ScoreCard(name="KID", value=0.5)
    assert make_model(run, "knee-2", **KNEE, models=models, score=mine).scores == (mine,)
    write_state(run, RunState("stopped", checkpoint_kimg=2.0))
    card = make_model(run, "knee-3", **KNEE, models=models)
    assert card.scores == (), "that tick judged later weights"
    assert card.training["kimg"] == 2.0
    assert "None were measured" in (models / "knee-3" / "README.md").read_text()


def test_a_network_that_knows_phantoms_only_judges_no_patients(
    run: Path, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blind = Score("FD", 30.7, 300, 300, "phantom-cnn-1")
    record_tick(run, Tick(4.0, 0.7, 1.4, score=blind.to_dict()))
    assert make_model(run, "knee-1", **KNEE, models=models).scores == ()
    assert "phantom-cnn-1 knows phantoms only" in caplog.text
    with pytest.raises(RequestError, match="knows phantoms only; measure with extractor='can"):
        make_model(run, "knee-2", **KNEE, models=models, score=[blind])
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "phantom": True}))
    assert make_model(run, "knee-3", **KNEE, models=models).scores[0].to_score() == blind


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modality": None}, "modality must be one of MR, MG.*a word of yours; it was not given"),
        ({"modality": 7}, "modality must be one of .*got 7"),
        ({"organ": None}, "organ must be one of brain, .*knee"),
        ({"licence": 7}, "make no model card: licence"),
        ({"limits": "x" * 10_001}, "make no model card: limits"),
        ({"title": "x" * 501}, "make no model card: title"),
        ({"statement": {"colour": "grey"}}, "statement must be texts for source"),
        ({"statement": '{"source": "our clinic"}'}, "statement must be texts for source"),
        *(
            ({"model_id": name}, "model_id")
            for name in ("", "../up", "a/b", "nul", ".x", "7", "x" * 101, 5)
        ),
    ],
)
def test_a_missing_or_wrong_fact_is_asked_for_before_there_is_a_model(
    models: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        check_model(**{"model_id": "knee-1", **KNEE, **changes}, models=models)
    assert not models.exists()


def test_any_word_is_a_modality_or_an_organ(
    run: Path, models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    about = check_model("one", **{**KNEE, "modality": "MRI", "organ": "thyroid"})[1]
    assert (about.modality, about.organ) == ("MR", "thyroid")
    assert "'MRI' is written 'MR'" in caplog.text
    caplog.clear()
    card = make_model(run, "two", **{**KNEE, "modality": "OCT", "organ": "brest"}, models=models)
    assert (card.modality, card.organ) == ("OCT", "brest")
    assert "'brest' is kept as it is; did you mean 'breast'?" in caplog.text
    assert "OCT" not in caplog.text
    assert card.id in Catalogue(models).search("oct brest")


def test_a_model_is_checked_without_leaving_anything_behind(
    made: Made, models: Path, tmp_path: Path
) -> None:
    assert check_model("knee-1", **KNEE, models=models)[0] == models / "knee-1"
    assert not models.exists()
    about = check_model("brain-1", phantom="brain_mri", models=models)[1]
    assert (about.modality, about.organ) == ("MR", "brain")
    with pytest.raises(RequestError, match="exists already"):
        check_model("knee-1", **KNEE, models=made.folder.parent)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "models"):
        with pytest.raises(SaveError, match="was not saved"):
            check_model("knee-2", **KNEE, models=folder)
    with pytest.raises(RequestError, match="score cannot be used"):
        make_model(made.run, "x", **KNEE, models=models, score=Score("FD", float("nan")))
    assert not models.exists()


def test_a_name_that_is_taken_is_kept_unless_one_says_so(
    run: Path, models: Path, tmp_path: Path
) -> None:
    first = make_model(run, "knee-1", **KNEE, models=models)
    with pytest.raises(RequestError, match=r"exists already.*overwrite=True"):
        make_model(run, "knee-1", **KNEE, models=models)
    assert ModelCard.read(models / "knee-1") == first
    other = write_run(tmp_path / "other", "b" * 32, seed=1)
    second = make_model(other, "knee-1", **KNEE, models=models, overwrite=True)
    assert ModelCard.read(models / "knee-1") == second != first
    assert [path.name for path in models.iterdir()] == ["knee-1"]
    (models / "photos").mkdir()
    with pytest.raises(RequestError, match="not a model's folder"):
        make_model(run, "photos", **KNEE, models=models, overwrite=True)


def test_a_full_disk_leaves_nothing_and_keeps_the_older_model(
    run: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_model(run, "knee-1", **KNEE, models=models)
    replace = Path.replace

    def full(self: Path, target: Any) -> Path:
        if Path(target).name == "grid.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SaveError, match="the disk is full"):
        make_model(run, "knee-1", **KNEE, models=models, overwrite=True)
    assert ModelCard.read(models / "knee-1") == first
    assert [path.name for path in models.iterdir()] == ["knee-1"]


def test_a_move_that_fails_puts_the_older_model_back(
    run: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_model(run, "knee-1", **KNEE, models=models)
    rename = Path.rename

    def refused(self: Path, target: Any) -> Path:
        if self.parent.name in ("fp16", "fp32") and self.name == "knee-1":
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(SaveError, match="Permission denied"):
        make_model(run, "knee-1", **KNEE, models=models, overwrite=True)
    assert ModelCard.read(models / "knee-1") == first


def test_a_run_without_a_checkpoint_says_how_to_get_one(run: Path, models: Path) -> None:
    (run / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match="no checkpoint yet"):
        make_model(run, "knee-1", **KNEE, models=models)


@pytest.mark.parametrize(
    ("file", "content", "error", "said"),
    [
        ("config.json", '{"format": 99}', DataError, "written by a newer version"),
        ("config.json", "{", DataError, "not a run directory"),
        ("config.json", '{"format": 2}', DataError, "lacks settings, network, data"),
        ("data.json", "[]", DataError, "data.json cannot be read: it holds no object"),
        (WEIGHTS, "half", WeightsError, "not a whole safetensors file"),
    ],
)
def test_a_run_that_cannot_be_read_is_refused(
    run: Path, models: Path, file: str, content: str, error: type[Exception], said: str
) -> None:
    (run / file).write_text(content)
    with pytest.raises(error, match=said):
        make_model(run, "knee-1", **KNEE, models=models)
    assert not models.exists()


def test_a_run_without_its_data_file_is_not_whole_unless_it_is_an_old_one(
    run: Path, models: Path
) -> None:
    (run / "data.json").unlink()
    with pytest.raises(DataError, match=r"data\.json cannot be read"):
        make_model(run, "knee-1", **KNEE, models=models)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "format": 1}))
    card = make_model(run, "knee-1", **KNEE, models=models)
    assert card.training["data"] == "96 images"
