"""A model card is believed only after it was checked, and refused in one clear sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from medgan_widgets.cards import CARD_LIMIT, ModelCard
from medgan_widgets.errors import CardError, SaveError


def facts(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": "tiny-brain",
        "title": "Tiny brain",
        "modality": "MR",
        "organ": "brain",
        "region": "axial slice",
        "makes": "brain slice with or without tumour",
        "function": "class to image",
        "condition": {"contrast": ["T1", "T2"], "tumour": [False, True], "grade": [1, 2]},
        "size": [32, 48],
        "licence": "MIT",
        "dataset": None,
        "year": 2026,
        "phantom": True,
        "architecture": "residual GAN",
        "network": {"name": "residual", "settings": {"width": 16, "gain": 0.5, "skip": True}},
        "weights": {"file": "generator.safetensors", "sha256": "A" * 64, "bytes": 1234},
        "scores": [
            {
                "name": "FD",
                "value": 11.8,
                "n_real": 3000,
                "n_fake": 3000,
                "extractor": "phantom-cnn 1",
                "interval": [11.2, 12.5],
                "floor": 0.43,
            }
        ],
    }
    return content | changes


def written(folder: Path, content: Any) -> Path:
    path = folder / "card.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def refused(folder: Path, content: Any) -> str:
    path = written(folder, content)
    with pytest.raises(CardError) as caught:
        ModelCard.read(path)
    message = str(caught.value)
    assert str(path) in message, "the person must learn which file to mend"
    assert "\n" not in message
    assert len(message) < 500
    return message


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    card = ModelCard.read(written(tmp_path, facts()))
    other = tmp_path / "other"
    other.mkdir()
    assert card.weights is not None
    assert card.weights.sha256 == "a" * 64, "a hash in capitals is the same hash"
    assert ModelCard.read(card.write(other)) == card
    assert ModelCard.read(other) == card, "a folder stands for the card in it"
    assert [path.name for path in other.iterdir()] == ["card.json"], "no temporary file stays"


def test_factor_values_keep_their_kind(tmp_path: Path) -> None:
    card = ModelCard.read(written(tmp_path, facts()))
    assert card.condition["tumour"] == (False, True)
    assert [type(value) for value in card.condition["grade"]] == [int, int]
    assert [type(value) for value in card.condition["tumour"]] == [bool, bool]


def test_a_figure_keeps_what_makes_it_comparable(tmp_path: Path) -> None:
    card = ModelCard.read(written(tmp_path, facts()))
    figure = card.score("FD")
    assert figure is not None
    score = figure.to_score()
    assert (score.value, score.n_real, score.interval, score.floor) == (
        11.8,
        3000,
        (11.2, 12.5),
        0.43,
    )
    assert card.score("FID") is None


@pytest.mark.parametrize("text", ["", "no", "{", '{"id": ', "[" * 100_000, "\x00", "\ufeffPNG"])
def test_what_is_not_json_is_said_to_be_not_json(tmp_path: Path, text: str) -> None:
    assert "is not JSON" in refused(tmp_path, text)


@pytest.mark.parametrize("content", [[], "card", 3, None])
def test_json_that_is_no_object_is_refused(tmp_path: Path, content: Any) -> None:
    assert "should be an object" in refused(tmp_path, json.dumps(content))


def test_all_missing_fields_are_named_at_once(tmp_path: Path) -> None:
    content = facts()
    del content["title"], content["licence"]
    assert "lacks title, licence" in refused(tmp_path, content)


def test_a_licence_not_stated_is_said_and_not_forgotten(tmp_path: Path) -> None:
    assert ModelCard.read(written(tmp_path, facts(licence=None))).licence is None


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    assert "unknown field colour" in refused(tmp_path, facts(colour="grey"))


WRONG = [
    ("modality", "", "modality"),
    ("modality", 3, "modality"),
    ("organ", " ", "organ"),
    ("organ", "x" * 101, "organ"),
    ("function", "magic", "function"),
    ("outputs", [], "outputs"),
    ("size", [0, 64], "size.0"),
    ("size", [64, 4097], "size.1"),
    ("size", ["224", "192"], "size.0"),
    ("size", [64], "size"),
    ("channels", 5, "channels"),
    ("year", "2021", "year"),
    ("phantom", "yes", "phantom"),
    ("title", "", "title"),
    ("condition", {"tumour": []}, "condition"),
    ("condition", {"tumour": [True, True]}, "condition"),
    ("condition", {"tumour": [0.5]}, "condition"),
    ("source", "javascript:alert(1)", "source"),
    ("scores", [{"name": "FD", "value": "11"}], "scores.0.value"),
    ("scores", [{"name": "FD", "value": 11, "interval": [12, 11]}], "scores.0.interval"),
    ("scores", [{"name": "FD", "value": 11, "n_real": 0}], "scores.0.n_real"),
    ("weights", {"file": "g.bin", "sha256": "abc", "bytes": 1}, "weights.sha256"),
    ("weights", {"file": "g.bin", "sha256": "g" * 64, "bytes": 1}, "weights.sha256"),
    ("weights", {"file": "../g.bin", "sha256": "a" * 64, "bytes": 1}, "weights.file"),
    ("weights", {"file": "/etc/passwd", "sha256": "a" * 64, "bytes": 1}, "weights.file"),
    ("weights", {"file": "g.bin", "sha256": "a" * 64, "bytes": 0}, "weights.bytes"),
    ("weights", None, "belong together"),
]


@pytest.mark.parametrize(("field", "value", "named"), WRONG, ids=[f"{w[0]}={w[1]}" for w in WRONG])
def test_a_wrong_value_is_refused_by_name(
    tmp_path: Path, field: str, value: Any, named: str
) -> None:
    assert named in refused(tmp_path, facts(**{field: value}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_figure_that_is_no_number_is_refused(tmp_path: Path, number: str) -> None:
    text = json.dumps(facts()).replace("11.8", number)
    assert "scores.0.value" in refused(tmp_path, text)


NAMES = [
    "",
    ".",
    "..",
    "../up",
    "a/b",
    "a\\b",
    "/root",
    "C:x",
    "a b",
    ".hidden",
    "end.",
    "é",
    "x" * 101,
]


@pytest.mark.parametrize("name", [*NAMES, "x" * 101])
def test_an_id_must_be_a_harmless_folder_name(tmp_path: Path, name: str) -> None:
    assert "id" in refused(tmp_path, facts(id=name))


def test_markup_in_a_card_is_text_and_stays_text(tmp_path: Path) -> None:
    nasty = '<img src=x onerror="alert(1)"> & <script>alert(2)</script>'
    card = ModelCard.read(written(tmp_path, facts(title=nasty, description=nasty, limits=nasty)))
    assert card.title == card.description == card.limits == nasty


def test_an_absurdly_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    with path.open("wb") as file:
        file.truncate(50 * CARD_LIMIT)  # sparse: takes no room on the disk
    with pytest.raises(CardError, match="far smaller"):
        ModelCard.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot read the card"):
        ModelCard.read(tmp_path / "none.json")
    (tmp_path / "card.json").mkdir()
    with pytest.raises(CardError, match="cannot read the card"):
        ModelCard.read(tmp_path)


def test_a_card_is_never_changed_in_place(tmp_path: Path) -> None:
    card = ModelCard.read(written(tmp_path, facts()))
    with pytest.raises(ValidationError):
        card.title = "other"


def test_a_failed_write_keeps_the_old_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = ModelCard.read(written(tmp_path, facts()))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SaveError, match="the disk is full"):
        card.model_copy(update={"title": "newer"}).write(tmp_path)
    monkeypatch.undo()
    assert ModelCard.read(tmp_path) == card
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_a_statement_left_blank_says_unknown_and_comes_back(tmp_path: Path) -> None:
    content = facts(statement={"source": "our clinic", "licence": "  ", "approval": None})
    card = ModelCard.read(written(tmp_path, content))
    assert card.statement is not None
    assert card.statement.unknown == ("licence", "approval", "deidentification")
    assert ModelCard.read(card.write(tmp_path)) == card
    assert ModelCard.read(written(tmp_path, facts())).statement is None, "older cards have none"
    assert "statement.colour" in refused(tmp_path, facts(statement={"colour": "grey"}))
    assert "statement.source" in refused(tmp_path, facts(statement={"source": 5}))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (("OCT", "retina"), ("OCT", "retina")),
        (("PT", "liver"), ("PT", "liver")),
        (("Elastography", "Thyroid"), ("Elastography", "Thyroid")),
        (("mr", "Brain"), ("MR", "brain")),
        (("MRI", " lymph node "), ("MRI", "lymph node")),
    ],
)
def test_any_word_will_do_and_known_ones_are_written_in_one_way(
    tmp_path: Path, given: tuple[str, str], kept: tuple[str, str]
) -> None:
    card = ModelCard.read(written(tmp_path, facts(modality=given[0], organ=given[1])))
    assert (card.modality, card.organ) == kept
