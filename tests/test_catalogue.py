"""Finding a model: as people type, without dead ends, and never hiding what is broken."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medgan_widgets import catalogue as catalogue_module
from medgan_widgets import model_folders
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.errors import ModelNotFoundError, RequestError
from tests.test_cards import facts

WEIGHTS = b"not really weights"


def model(root: Path, name: str, **changes: Any) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "generator.safetensors").write_bytes(WEIGHTS)
    weights = {"file": "generator.safetensors", "sha256": "a" * 64, "bytes": len(WEIGHTS)}
    content = facts(id=name, title=name, weights=weights) | changes
    (folder / "card.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and no bundled models: only what a test puts there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("medgan_widgets.model_folders.bundled", lambda: tmp_path / "bundled")


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    root = tmp_path / "mine"
    model(root, "phantom-brain-mri", size=[128, 128])
    model(
        root,
        "phantom-chest-xray",
        modality="DX",
        organ="chest",
        region="PA view",
        makes="chest X-ray with or without nodule",
        condition={"nodule": [False, True]},
        size=[128, 128],
    )
    model(
        root,
        "phantom-mammogram",
        modality="MG",
        organ="breast",
        region="ROI",
        makes="mammogram patch with or without mass",
        condition={"mass": [False, True]},
        size=[64, 64],
    )
    return Catalogue(root)


def numbers(found: Catalogue) -> list[str]:
    return [name[:5] if name[0].isdigit() else name for name in found.ids]


# --- searching as people type ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("breast mri", {"00023"}),
        ("breast-mri", {"00023"}),
        ("breast_mri", {"00023"}),
        ("chest-x-ray", {"00017", "00018", "00019", "00020", "phantom-chest-xray"}),
        ("phantom-mammogram", {"phantom-mammogram"}),
        ("Breast MRI", {"00023"}),
        ("magnetic resonance imaging of the breast", {"00023"}),
        ("polyp mask", {"00009", "00010", "00011"}),
        ("polyps with masks", {"00009", "00010", "00011"}),
        ("colonoscopy", {"00009", "00010", "00011"}),
        ("chest x-ray", {"00017", "00018", "00019", "00020", "phantom-chest-xray"}),
        ("CXR 1024", {"00019", "00020"}),
        ("lung nodules", {"00017", "00018"}),
        ("512", {"00023"}),
        ("224 x 192", {"00021"}),
        ("1024 px", {"00019", "00020"}),
        ("brain tumor", {"00007", "phantom-brain-mri"}),
        ("cardiac aging", {"00022"}),
        ("malignant", {"00008", "00012"}),
        ("MLO", {"00013", "00015"}),
        ("inbreast", {"00001"}),
        ("gpl", {"00010"}),
        ("phantom", {"phantom-brain-mri", "phantom-chest-xray", "phantom-mammogram"}),
        ("00012", {"00012"}),
        ("pix2pixhd", {"00023"}),
        ("pix2pixh", {"00023"}),
        ("qwertzuiop", set()),
    ],
)
def test_a_search_finds_what_a_person_means(
    catalogue: Catalogue, text: str, expected: set[str]
) -> None:
    assert set(numbers(catalogue.search(text))) == expected


def test_a_model_of_words_outside_the_vocabulary_is_found_by_them_and_their_synonyms(
    tmp_path: Path,
) -> None:
    model(tmp_path, "oct", modality="OCT", organ="retina", region="macula", makes="B-scan")
    model(tmp_path, "neck", modality="Elastography", organ="thyroid", region="-", makes="scan")
    found = Catalogue(tmp_path)
    assert found.search("oct").ids == found.search("eye oct").ids == ("oct",)
    assert found.search("elastography thyroid").ids == ("neck",)
    assert found.filter(organ="eye").ids == found.filter(modality="oct").ids == ("oct",)
    assert found.facets()["modality"]["OCT"] == 1


def test_128_finds_every_model_of_that_size_and_no_other(catalogue: Catalogue) -> None:
    found = catalogue.search("128")
    assert {card.size for card in found} == {(128, 128)}
    assert len(found) == sum(card.size == (128, 128) for card in catalogue) == 10


def test_an_empty_search_keeps_everything_in_order(catalogue: Catalogue) -> None:
    assert catalogue.search("  ").ids == catalogue.ids
    assert len(catalogue) == 26


@pytest.mark.parametrize("text", ["brian mri", "colon mri", "<b>birads</b>", "z" * 10_000])
def test_what_nothing_fits_finds_nothing(catalogue: Catalogue, text: str) -> None:
    assert catalogue.search(text).ids == ()
    assert list(catalogue.search(text).to_frame().index) == []


# --- facets ------------------------------------------------------------------------------


def test_facets_count_and_filtering_by_them_gives_that_many(catalogue: Catalogue) -> None:
    facets = catalogue.facets()
    assert facets["modality"] == {"MG": 13, "DX": 5, "MR": 5, "ES": 3}
    for facet, values in facets.items():
        for value, count in values.items():
            assert len(catalogue.filter(**{facet: value})) == count, (facet, value)


def test_facets_follow_the_search(catalogue: Catalogue) -> None:
    assert catalogue.search("polyp").facets()["organ"] == {"colon": 3}


def test_filters_join_and_take_several_values_and_synonyms(catalogue: Catalogue) -> None:
    assert numbers(catalogue.filter(modality="MRI", organ="breast")) == ["00023"]
    assert len(catalogue.filter(organ=["heart", "brain"])) == 4
    assert numbers(catalogue.filter(licence="not stated")) == ["00007", "00021", "00022"]
    assert catalogue.filter(modality="CT").ids == ()


def test_runs_here_asks_the_machine(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalogue.runs_here("phantom-brain-mri").kind == "now"
    assert catalogue.runs_here(22).kind == "interpreter"
    assert "packages" not in sys.modules
    asked = "medgan_widgets.medigan.dependencies.importable"
    monkeypatch.setattr(asked, lambda package: True)
    catalogue.refresh()
    assert catalogue.runs_here(1).kind == "download"
    assert catalogue.runs_here(3).kind == "download", "an image of yours is a choice in Generate"
    monkeypatch.setattr(asked, lambda name: name != "skimage")
    catalogue.refresh()
    assert catalogue.runs_here(10).kind == "packages"
    assert "pip install scikit-image" in catalogue.runs_here(10).text
    monkeypatch.setattr(asked, lambda name: name != "visdom")
    catalogue.refresh()
    assert catalogue.runs_here(3).kind == "interpreter"
    assert "visdom" in catalogue.runs_here(3).text
    assert "691 MB" in catalogue.runs_here(23).text
    assert "size not known" in catalogue.runs_here(1).text


def test_an_empty_folder_of_a_packages_name_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medgan_widgets.medigan.dependencies import importable

    (tmp_path / "nearly_a_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not importable("nearly_a_package")
    (tmp_path / "nearly_a_package" / "__init__.py").touch()
    assert importable("nearly_a_package")
    assert "nearly_a_package" not in sys.modules, "asking must not import"


# --- ranking and comparing ---------------------------------------------------------------


def test_rank_knows_that_a_low_fid_is_good_and_a_high_dice(catalogue: Catalogue) -> None:
    by_fid = [card.score("FID") for card in catalogue.rank("fid")]
    values = [figure.value for figure in by_fid if figure is not None and figure.value is not None]
    assert len(values) == 22
    assert values == sorted(values)
    assert by_fid[22:] == [None] * 4, "models without the figure come last, none is lost"
    dice = "Dice (segmentation, trained on real + synthetic)"
    assert numbers(catalogue.rank(dice))[:2] == ["00007", "00023"]


def test_rank_keeps_the_search(catalogue: Catalogue) -> None:
    assert numbers(catalogue.search("brain mri").rank("FID")) == [
        "00021",
        "00007",
        "phantom-brain-mri",
    ]


def test_fid_and_fd_are_different_figures(catalogue: Catalogue) -> None:
    assert numbers(catalogue.rank("FD"))[:3] == [
        "phantom-brain-mri",
        "phantom-chest-xray",
        "phantom-mammogram",
    ]
    names = [(metric.name, metric.extractor) for metric in catalogue.metrics()]
    assert len(names) == len(set(names))
    assert ("FID", "Inception v3, ImageNet") in names
    assert not any("trained on real)" in name for name, _ in names), "a yardstick is no quality"


@pytest.mark.parametrize("other", ["cnn 2", None])
def test_two_extractors_never_share_a_ranking(tmp_path: Path, other: str | None) -> None:
    model(tmp_path / "two", "a", scores=[{"name": "FD", "value": 5, "extractor": "cnn 1"}])
    model(tmp_path / "two", "b", scores=[{"name": "FD", "value": 3, "extractor": other}])
    catalogue = Catalogue(tmp_path / "two")
    with pytest.raises(RequestError, match=r"does not compare: name one, extractor='.*' or '"):
        catalogue.rank("FD")
    assert catalogue.rank("FD", extractor="cnn 1").ids[0] == "a"
    assert catalogue.rank("FD", extractor=other or "not named").ids[0] == "b"
    assert catalogue.to_frame().loc["a", "FD [cnn 1]"] == 5


def test_an_unknown_figure_is_answered_with_the_known_ones(catalogue: Catalogue) -> None:
    with pytest.raises(RequestError, match=r"'beauty'; there are: FID"):
        catalogue.rank("beauty")


def test_models_side_by_side_and_as_a_table(catalogue: Catalogue) -> None:
    table = catalogue.compare([1, "00010", "phantom-brain-mri"])
    assert [name[:5] for name in table.columns] == ["00001", "00010", "phant"]
    assert table.loc["FID [Inception v3, ImageNet]"].tolist()[:2] == [67.6, 63.99]
    assert table.loc["FID [Inception v3, ImageNet]"].tolist()[2] is None
    frame = catalogue.to_frame()
    assert len(frame) == 26
    assert frame.loc["phantom-mammogram", "runs_here"] == "now"


# --- naming one model --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [1, "1", "00001", "00001_DCGAN", "00001_dcgan_mmg_calc_roi", " 1 "]
)
def test_medigans_models_go_by_number_too(catalogue: Catalogue, name: str | int) -> None:
    assert catalogue[name].id == "00001_DCGAN_MMG_CALC_ROI"


def test_an_ambiguous_id_names_the_matches(catalogue: Catalogue) -> None:
    with pytest.raises(ModelNotFoundError, match="fits 3 models: phantom-brain-mri, phantom-chest"):
        catalogue["phantom"]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("phantom-brian-mri", "phantom-brain-mri"),
        ("FASTGAN", "00010_FASTGAN"),
        ("99", "there are 26"),
        (24, "there are 26"),
    ],
)
def test_an_unknown_id_names_the_nearest(catalogue: Catalogue, name: str | int, near: str) -> None:
    with pytest.raises(ModelNotFoundError, match=near):
        catalogue[name]


@pytest.mark.parametrize("name", [2.5, True, None, "", ["1"], b"1"])
def test_what_is_no_id_is_refused(catalogue: Catalogue, name: Any) -> None:
    with pytest.raises(ModelNotFoundError, match="a name or a short number"):
        catalogue[name]


# --- folders, broken and shadowed ------------------------------------------------------------


@pytest.mark.parametrize("target", ["card.json", "nowhere.json"])
def test_a_card_that_is_a_link_to_nothing_is_listed_as_broken(tmp_path: Path, target: str) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "card.json").symlink_to(target)
    ((place, reason),) = Catalogue(tmp_path).broken
    assert place.name == "linked"
    assert "cannot read the card" in reason


def test_broken_cards_are_listed_with_the_reason_and_hide_nothing(tmp_path: Path) -> None:
    root = tmp_path / "mixed"
    model(root, "good")
    (model(root, "cut") / "card.json").write_text('{"id": "cut"', encoding="utf-8")
    model(root, "old", modality=3)
    (model(root, "lost") / "card.json").unlink()
    model(root, "stranger", origin="medigan")
    (root / "notes").mkdir()
    (root / "readme.txt").write_text("hello")
    (root / "loop").symlink_to(root / "loop")
    catalogue = Catalogue(root)
    assert "good" in catalogue
    assert len(catalogue) == 24
    reasons = {path.name: reason for path, reason in catalogue.broken}
    assert set(reasons) == {"cut", "old", "lost", "stranger"}
    assert "not JSON" in reasons["cut"]
    assert "modality" in reasons["old"]
    assert "cannot read" in reasons["lost"]
    assert "origin" in reasons["stranger"]


def test_the_first_id_wins_and_the_other_is_listed(tmp_path: Path) -> None:
    first = model(tmp_path / "named", "twin", title="the named one")
    model(Path("models"), "twin", title="the one of the working folder")
    model(tmp_path / "bundled", "twin", title="the bundled one")
    model(tmp_path / "bundled", "single")
    catalogue = Catalogue(tmp_path / "named")
    assert catalogue["twin"].title == "the named one"
    assert catalogue.folder_of("twin") == first
    assert "single" in catalogue
    assert Catalogue("models").shadowed[0].path == str(tmp_path / "bundled" / "twin")
    assert [(one.id, one.used) for one in catalogue.shadowed] == [("twin", str(first))] * 2


def test_a_models_own_folder_may_be_named(tmp_path: Path) -> None:
    assert "lone" in Catalogue(model(tmp_path / "somewhere", "lone"))


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    catalogue = Catalogue(tmp_path / "nowhere")
    assert len(catalogue) == 23
    assert "is not a folder" in catalogue.broken[0].reason


def test_a_model_deleted_while_listed_breaks_nothing(catalogue: Catalogue) -> None:
    folder = catalogue.folder_of("phantom-brain-mri")
    (folder / "generator.safetensors").write_bytes(WEIGHTS[:5])
    assert "have 5 bytes, not" in catalogue.runs_here("phantom-brain-mri").text
    shutil.rmtree(folder)
    assert catalogue["phantom-brain-mri"].organ == "brain", "what was listed stays listed"
    assert catalogue.runs_here("phantom-brain-mri").kind == "damaged"
    assert "are gone" in catalogue.runs_here("phantom-brain-mri").text
    assert len(catalogue.to_frame()) == 26
    assert sum(catalogue.facets()["runs_here"].values()) == 26
    with pytest.raises(ModelNotFoundError, match="is gone"):
        catalogue.folder_of("phantom-brain-mri")
    found = catalogue.search("brain")
    assert "phantom-brain-mri" not in catalogue.refresh()
    assert "phantom-brain-mri" not in found.refresh()
    assert len(found) == 2


def test_refresh_finds_models_made_meanwhile(catalogue: Catalogue, tmp_path: Path) -> None:
    model(tmp_path / "mine", "newcomer")
    assert "newcomer" not in catalogue
    assert "newcomer" in catalogue.refresh()


@pytest.mark.parametrize("name", ["mammogram", "mammography", "MMG", "mg", "mammo", "mammogr"])
def test_mammograms_are_found_by_each_of_their_names(catalogue: Catalogue, name: str) -> None:
    assert len(catalogue.search(name)) == 13


def test_a_card_edited_into_nonsense_is_broken_after_refresh(catalogue: Catalogue) -> None:
    (catalogue.folder_of("phantom-mammogram") / "card.json").write_text("oops")
    assert "phantom-mammogram" in catalogue
    assert "phantom-mammogram" not in catalogue.refresh()
    assert len(catalogue.broken) == 1
    assert len(catalogue) == 25


def test_medigans_models_have_no_folder(catalogue: Catalogue) -> None:
    with pytest.raises(ModelNotFoundError, match="facts alone"):
        catalogue.folder_of(1)


def test_looking_around_imports_no_torch_and_no_widgets() -> None:
    code = (
        "import sys; from medgan_widgets.catalogue import Catalogue\n"
        "c = Catalogue(); c.search('brain').facets(); c.rank('FID')\n"
        "heavy = {'torch', 'ipywidgets', 'anywidget', 'medigan', 'cv2', 'pandas'}\n"
        "bad = heavy & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("read", [list, Catalogue.facets, Catalogue.to_frame, Catalogue.metrics])
def test_who_reads_while_a_model_goes_sees_the_models_of_one_moment(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any
) -> None:
    for module, name in ((model_folders, "runs_here"), (catalogue_module, "promised")):
        original = getattr(module, name)

        def meanwhile(*given: Any, original: Any = original) -> Any:
            shutil.rmtree(tmp_path / "mine" / "phantom-mammogram", ignore_errors=True)
            catalogue.refresh()
            return original(*given)

        monkeypatch.setattr(module, name, meanwhile)
    count = len(catalogue)
    read(catalogue)
    assert len(catalogue) == count - 1
