"""Notebooks read what papermill makes of their parameters, and refuse in their first cells."""

from __future__ import annotations

import logging
from typing import Any

import nbformat
import pytest
import yaml

from medgan_widgets.errors import MedganError, RequestError
from medgan_widgets.parameters import read_parameters

NOTEBOOKS = {
    name[:2]: name
    for name in (
        "01_studio", "02_medigan", "03_train", "04_evaluate", "05_benchmark",
        "06_augmentation_study", "07_reader_study",
    )
}  # fmt: skip


def read(kind: Any, value: Any, allowed: Any = None) -> Any:
    here = {"__annotations__": {"it": kind}, "it": value}
    read_parameters(here, **({} if allowed is None else {"it": allowed}))
    return here["it"]


@pytest.mark.parametrize(
    ("kind", "value", "right"),
    [
        (str, None, ""), (str, "007", "007"), (str, "", ""),
        (int, 4.0, 4), (int, "16", 16), (int, 2**64 - 1, 2**64 - 1),
        (float, 12, 12.0), (float, "0.5", 0.5),
        (bool, "false", False), (bool, "true", True), (bool, "no", False), (bool, 1, True),
        (list, None, []), (list, "", []), (list, '["a", 2]', ["a", 2]), (list, "['a']", ["a"]),
        (list, "fd,kid", ["fd", "kid"]), (list, 5, [5]), (list[float], "0.5, 1", [0.5, 1.0]),
        (dict, '{"contrast": "T2", "tumour": true}', {"contrast": "T2", "tumour": True}),
        (dict, "{'a': True}", {"a": True}), (dict, None, {}),
    ],
)  # fmt: skip
def test_what_can_be_read_in_one_way_is_read(kind: Any, value: Any, right: Any) -> None:
    found = read(kind, value)
    assert found == right
    assert type(found) is type(right)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (str, 7, r"it must be text and came as 7.*-r it 7, or quoted in YAML, like -y 'it: \"7\"'"),
        (str, True, "-r it True"),
        (list[str], [7], "quoted in YAML"),
        (int, 4.5, "it must be a whole number, got 4.5"),
        (int, True, "whole number"),
        (int, None, "whole number"),
        (float, float("nan"), "it must be a number, got nan"),
        (float, "fast", "a number, got 'fast'"),
        (bool, "maybe", "true or false, got 'maybe'"),
        (bool, None, "true or false"),
        (list, "[00001, 00010]", "in double quotes"),
        (list, {"a": 1}, "it must be a list"),
        (dict, "{source: our clinic}", "it must be names with values.*in double quotes"),
        (dict, [1], "names with values"),
    ],
)
def test_what_could_mean_something_else_is_refused_with_the_quoting(
    kind: Any, value: Any, said: str
) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        read(kind, value)
    assert "\n" not in str(caught.value)


def test_a_number_names_medigans_model_and_octal_ones_are_told() -> None:
    values = yaml.safe_load("[00001, 00010, '00010']")
    here = {"__annotations__": {"ids": list, "one": str}, "ids": values, "one": 1}
    notes = read_parameters(here, ids="model", one="model")
    assert (here["ids"], here["one"]) == (["00001", "00008", "00010"], "00001")
    (note,) = notes
    assert 'quote it: "00010"' in note
    with pytest.raises(RequestError, match="-r it True"):
        read(str, True, "model")


def first_cells(root: Any, number: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a notebook's parameter cell and the one that reads it leave, without a kernel."""
    book = nbformat.read(root / "notebooks" / f"{NOTEBOOKS[number]}.ipynb", as_version=4)
    code = [cell.source for cell in book.cells if cell.cell_type == "code"]
    here: dict[str, Any] = {}
    # Not with this file's own __future__, which would make texts of the annotations.
    exec(compile(code[0], "parameters", "exec", dont_inherit=True), here)
    assert set(given) <= set(here)
    here.update(given)  # as papermill's own cell does
    exec(code[1], here)
    return here


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Somebody's folder; notebooks change the working folder and quieten the log."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "used" / "checkpoint").mkdir(parents=True)
    (tmp_path / "models" / "taken").mkdir(parents=True)
    log = logging.getLogger("medgan_widgets")
    level = log.level
    yield tmp_path
    log.setLevel(level)


OWN = {"data": "photos", "modality": "MR", "organ": "knee", "run_dir": "runs/a"}
REFUSED = [
    ("01", {"images": 65}, "images must be from 1 to 64, got 65"),
    ("01", {"model_id": 7.5}, "-r model_id 7.5"),
    ("02", {"images": "many"}, "images must be a whole number"),
    ("02", {"model_ids": ["00099"]}, "there is no model '00099'"),
    ("03", {"model_id": 1}, "-r model_id 1"),
    ("03", {"model_id": "001"}, "is a number, and those are medigan's"),
    ("03", {"model_id": "taken", "models": "models"}, "exists already"),
    ("03", {"models": "file"}, "was not saved"),
    ("03", {"statement": '{"colour": "grey"}'}, "statement must be texts for source"),
    ("03", {"statement": "our clinic"}, "statement must be names with values"),
    ("03", {"statement": {"source": 5}}, "statement must be texts for source"),
    ("03", {"licence": 4.0}, "-r licence 4.0"),
    ("03", {**OWN, "organ": ""}, "organ must be one of"),
    ("03", {"data": "nowhere"}, "there is no 'nowhere'"),
    ("03", {"size": 33}, "size must be one of 16, 32"),
    ("03", {"preset": "residul"}, "preset must be one of"),
    ("03", {"kimg": 0}, "kimg must be from"),
    ("03", {"run_dir": "used"}, "used holds a run already"),
    ("04", {"fake": 1}, "say what 00001 is to be compared with"),
    ("04", {"metrics": "fid"}, "metrics must be one of"),
    ("04", {"extractors": ["inception"]}, "extractors must be one of"),
    ("04", {"extractors": ["inception-v3-compat"]}, "weights of inception-v3-compat are not here"),
    ("04", {"weights": {"canonical": "file"}}, "weights are for canonical"),
    ("04", {"training": "nowhere"}, "training: there is no 'nowhere'"),
    ("04", {"fake": 1, "real": "photos", "truncation_psi": 0.5}, "has no truncation_psi"),
    ("04", {"condition": {"contrast": "T9"}}, "contrast"),
    ("04", {"fake": "photos", "real": "brain_mri", "condition": {"a": 1}}, "are for models"),
    ("05", {"reals": {"phantom-mammogram": "nowhere"}}, "there is no 'nowhere'"),
    ("05", {"models": "phantom-styles", "reals": {"1": "photos"}}, "reals are for 00001"),
    ("05", {"truncation": 1.5}, "truncation must be from 0 to 1"),
    ("06", {"classifier": "nowhere:none"}, "cannot be used: No module named 'nowhere'"),
    ("06", {"ratios": "half"}, "ratios must be a number"),
    ("07", {"reader": 7}, "-r reader 7"),
    ("07", {"reader": "A/B"}, "a reader is a pseudonym"),
    ("07", {"ratings": 3}, "ratings must be one of 0, 2, 4, …, 10000"),
    ("07", {"design": "three"}, "design must be one of two, four"),
    ("07", {"synthetic": "nowhere"}, "there is no 'nowhere'"),
    ("07", {"model_id": "phantom-brane"}, "there is no model"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "given", "said"), REFUSED, ids=[f"{n} {given}"[:60] for n, given, _ in REFUSED]
)
def test_what_cannot_be_is_refused_in_the_first_cells(
    root, place, number: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(MedganError) as caught:
        first_cells(root, number, given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_medigans_models_by_number_are_named_before_anything_is_fetched(root, capsys) -> None:
    here = first_cells(root, "02", yaml.safe_load("model_ids: [00001, 00010]"))
    assert [name[:5] for name in here["chosen"]] == ["00001", "00008"]
    first, second = capsys.readouterr().out.splitlines()
    assert "YAML makes 8 of 00010 too" in first
    assert "chosen: 00001_DCGAN" in second


def test_texts_that_stand_for_something_else_are_read(root, place, capsys) -> None:
    given = {"statement": '{"source": "our clinic"}', "kimg": "0.5", "labels": None, "seed": 3.0}
    here = first_cells(root, "03", given)
    assert (here["kimg"], here["labels"], here["seed"]) == (0.5, "", 3)
    assert here["about"]["statement"] == {"source": "our clinic"}
    assert f"the run is in {here['Path'].cwd().name}, " in capsys.readouterr().out
    assert first_cells(root, "07", {"full": "false", "simulated": 0})["trials"] == 12


def test_a_cell_run_without_the_parameters_cell_has_nothing_to_check():
    here = {"images": "sixteen"}
    assert read_parameters(here, images=(1, 64)) == []
    assert here == {"images": "sixteen"}
