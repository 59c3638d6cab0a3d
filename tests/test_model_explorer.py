"""The explorer's Python half: what the page gets to search in, and what its messages do."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medgan_widgets import model_folders
from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.errors import ModelNotFoundError, NotRunnableError, RequestError
from medgan_widgets.panels.model_explorer import ModelExplorer
from tests.test_catalogue import model

NASTY = '<img src=x onerror="alert(1)"><script>alert(2)</script>'


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("medgan_widgets.model_folders.bundled", lambda: tmp_path / "bundled")
    folder = tmp_path / "mine"
    model(folder, "phantom-brain-mri", size=[128, 128], training={"kimg": 300, "seed": 7})
    model(folder, "phantom-mammogram", modality="MG", organ="breast", makes="mammogram patch")
    return folder


@pytest.fixture
def used() -> list[str]:
    return []


@pytest.fixture
def explorer(root: Path, used: list[str]) -> ModelExplorer:
    return ModelExplorer(Catalogue(root), on_use=used.append)


def page_sends(explorer: ModelExplorer, **content: Any) -> None:
    explorer.view._handle_custom_msg(content, [])


def shown(explorer: ModelExplorer, **state: Any) -> tuple[str, ...]:
    """What stands in the table once the page is set so."""
    explorer.view.set_state({"search_text": "", "filters": {}, "rank_by": "", "sort": [], **state})
    return explorer.shown


def line(explorer: ModelExplorer, term: str) -> dict[str, str]:
    return next(one for one in explorer.view.detail["lines"] if one["term"] == term)


def test_it_opens_on_a_model_that_runs_now(explorer: ModelExplorer) -> None:
    assert explorer.selected == "phantom-brain-mri"
    assert explorer.view.detail["runs"] is True
    assert len(explorer.shown) == 25
    assert explorer.status == "25 models; 2 run here now."


def test_a_search_from_python_moves_the_card_to_the_first_hit(explorer: ModelExplorer) -> None:
    explorer.search_text = "breast mri"
    assert explorer.shown == (explorer.selected,) == ("00023_PIX2PIXHD_BREAST_DCEMRI",)
    explorer.search_text = "qwertz"
    assert explorer.shown == ()
    assert explorer.selected.startswith("00023"), "the card stays"
    explorer.search_text = ""
    explorer.filters = {"modality": "MRI", "runs_here": ["now"]}
    assert explorer.shown == ("phantom-brain-mri",)
    assert explorer.filters == {"modality": ["MR"], "runs_here": ["now"]}, "as the page has it"


def test_what_the_page_chose_counts_in_python(explorer: ModelExplorer) -> None:
    found = shown(explorer, search_text="mammogram", filters={"outputs": ["label"]})
    assert [name[:5] for name in found] == ["00008", "00012"]
    fid = next(m for m in explorer.view.metrics if m["label"].startswith("FID ·"))
    best = shown(explorer, rank_by=fid["label"])
    assert best[0].startswith("00023")
    assert "Lower is better" in fid["note"]
    unranked = shown(explorer, search_text="phantom", rank_by=fid["label"])
    assert unranked == ("phantom-brain-mri", "phantom-mammogram")


def test_each_models_needs_are_looked_up_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    runs_here = model_folders.runs_here

    def count(card: ModelCard, models: Any) -> Any:
        asked.append(card.id)
        return runs_here(card, models)

    monkeypatch.setattr(model_folders, "runs_here", count)
    explorer = ModelExplorer(Catalogue(root))
    assert sorted(asked) == sorted(explorer.catalogue.ids)
    asked.clear()
    page_sends(explorer, kind="refresh")
    assert sorted(asked) == sorted(explorer.catalogue.ids)
    asked.clear()
    page_sends(explorer, kind="select", model="phantom-mammogram")
    assert asked == ["phantom-mammogram"]


def test_figures_are_written_with_their_name_until_one_is_ranked_by(
    explorer: ModelExplorer,
) -> None:
    rows = {row["id"]: row for row in explorer.view.rows}
    assert rows["phantom-brain-mri"]["score"] == "FD 11.8"
    assert rows["phantom-brain-mri"]["scores"] == {"FD · phantom-cnn 1": [11.8, "11.8"]}
    assert rows["00001_DCGAN_MMG_CALC_ROI"]["score"] == "FID 67.6"
    assert rows["00022_WGAN_CARDIAC_AGING"]["score"] == "–"


def test_the_card_says_all_that_makes_a_figure_comparable(explorer: ModelExplorer) -> None:
    figure = line(explorer, "FD")
    assert figure["text"] == "11.8"
    for part in (
        "[11.2, 12.5]",
        "n 3,000 phantoms / 3,000 synthetic",
        "floor 0.43",
        "phantom-cnn 1",
    ):
        assert part in figure["note"]
    assert line(explorer, "weights")["whole"] == "a" * 64
    assert "no patient" in line(explorer, "trained on")["text"]
    assert "300 kimg" in line(explorer, "trained on")["text"]


def test_a_medigan_card_is_honest(explorer: ModelExplorer) -> None:
    page_sends(explorer, kind="select", model="00021_CYCLEGAN_BRAIN_MRI_T1_T2")
    assert line(explorer, "licence")["tone"] == "warn"
    assert "not stated" in line(explorer, "licence")["text"]
    assert explorer.view.detail["runs"] is False
    assert "then your yes" in explorer.view.detail["why"]
    assert len(explorer.view.detail["corrections"]) >= 5
    assert explorer.view.preview == b""


def test_use_hands_the_model_on(explorer: ModelExplorer, used: list[str]) -> None:
    page_sends(explorer, kind="use")
    assert used == ["phantom-brain-mri"]
    explorer.selected = 1
    page_sends(explorer, kind="use")
    assert used == ["phantom-brain-mri"], "what cannot run is not handed on"
    assert "then your yes" in explorer.error
    with pytest.raises(NotRunnableError, match="00001_DCGAN_MMG_CALC_ROI does not run here now"):
        explorer.use()
    explorer.selected = "phantom-mammogram"
    page_sends(explorer, kind="use")
    assert used[-1] == "phantom-mammogram"
    assert explorer.error == "", "a success takes the error away"


def test_a_failing_listener_becomes_a_sentence(root: Path) -> None:
    def fail(model_id: str) -> None:
        raise OSError("no room")

    explorer = ModelExplorer(Catalogue(root), on_use=fail)
    page_sends(explorer, kind="use")
    assert "no room" in explorer.error
    page_sends(explorer, kind="select", model="phantom-mammogram")
    assert explorer.view.detail["id"] == "phantom-mammogram", "the panel lives on"


def test_ticked_models_are_compared(explorer: ModelExplorer) -> None:
    page_sends(
        explorer, kind="compare", ids=["phantom-brain-mri", "00010_FASTGAN_POLYP_PATCHES_W_MASKS"]
    )
    table = explorer.view.comparison
    assert table["names"] == ["phantom-brain-mri", "00010"]
    rows = {row["fact"]: row for row in table["rows"]}
    assert rows["modality"] == {"fact": "modality", "values": ["MR", "ES"], "differ": True}
    assert rows["dataset"]["values"] == ["–", "HyperKvasir"]
    assert json.dumps(table)
    page_sends(explorer, kind="compare", ids=[])
    assert explorer.view.comparison == {}
    page_sends(explorer, kind="compare", ids=["nothing"])
    assert "no model 'nothing'" in explorer.error


def test_the_preview_travels_as_bytes(root: Path) -> None:
    path = root / "phantom-brain-mri" / "preview.png"
    Image.fromarray(np.zeros((8, 64), np.uint8)).save(path)
    assert ModelExplorer(Catalogue(root)).view.preview == path.read_bytes()
    path.write_bytes(b"<svg onload=alert(1)>")
    assert ModelExplorer(Catalogue(root)).view.preview == b"", "only PNG is sent"


def test_markup_in_a_card_arrives_as_the_text_it_is(root: Path) -> None:
    model(root, "nasty", title=NASTY, description=NASTY, limits=NASTY, makes=NASTY)
    explorer = ModelExplorer(Catalogue(root))
    explorer.selected = "nasty"
    assert explorer.view.detail["title"] == NASTY
    assert next(row for row in explorer.view.rows if row["id"] == "nasty")["makes"] == NASTY


def test_a_folder_deleted_while_listed_breaks_nothing(
    explorer: ModelExplorer, root: Path, used: list[str]
) -> None:
    shutil.rmtree(root / "phantom-brain-mri")
    page_sends(explorer, kind="use")
    assert used == []
    assert "are gone" in explorer.error
    page_sends(explorer, kind="refresh")
    assert "phantom-brain-mri" not in explorer.shown
    assert explorer.selected in explorer.shown


def test_refresh_shows_a_new_model_and_keeps_the_selection(
    explorer: ModelExplorer, root: Path
) -> None:
    explorer.selected = 5
    model(root, "newcomer")
    page_sends(explorer, kind="refresh")
    assert "newcomer" in explorer.shown
    assert explorer.selected.startswith("00005")


def test_nonsense_from_a_page_is_survived(explorer: ModelExplorer) -> None:
    assert shown(explorer, filters={"organ": ["spleen"]}) == ()
    for content in ({"kind": "select", "model": "gone"}, {"kind": "explode"}, {}):
        page_sends(explorer, **content)
    assert explorer.view.detail == {}
    page_sends(explorer, kind="select", model="phantom-mammogram")
    assert explorer.view.detail["id"] == "phantom-mammogram"


def test_wrong_values_from_python_are_refused(explorer: ModelExplorer) -> None:
    with pytest.raises(RequestError, match="no facet 'colour'"):
        explorer.filters = {"colour": "red"}
    with pytest.raises(RequestError, match="no figure 'beauty'"):
        explorer.rank_by = "beauty"
    with pytest.raises(ModelNotFoundError):
        explorer.selected = "nope"


def test_clicks_from_many_threads_leave_it_whole(explorer: ModelExplorer) -> None:
    names = [*explorer.catalogue.ids[:6]] * 3
    clicks = [{"kind": "select", "model": name} for name in names] + [{"kind": "refresh"}] * 2
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: page_sends(explorer, **content), clicks))
    assert explorer.view.detail["id"] == explorer.selected
    assert len(explorer.view.runs) == len(explorer.view.rows) == 25
    assert explorer.error == ""


def test_without_a_browser_a_picture_and_a_sentence_stay(explorer: ModelExplorer) -> None:
    explorer.search_text = "polyp"
    shot = explorer.snapshot()
    assert shot.image.height > 100
    assert repr(explorer) == (
        "ModelExplorer(search='polyp', selected='00009_PGGAN_POLYP_PATCHES_W_MASKS', "
        "shown='3 of 25')"
    )
    explorer.close()


def test_the_card_says_where_the_data_came_from(root: Path) -> None:
    told = {
        "run": "1" * 32, "fingerprint": "f" * 64, "group": "no group was given", "preset": "dcgan",
        "parent": "first", "parent_run": "2" * 32, "parent_sha256": "3" * 64,
        "checkpoint": "4" * 64, "data": "120 images",
    }  # fmt: skip
    stated = {"source": "our clinic", "licence": NASTY}
    model(root, "knee", modality="DX", organ="knee", phantom=False, training=told, statement=stated)
    model(root, "bare", phantom=False)
    explorer = ModelExplorer(Catalogue(root))
    explorer.selected = "knee"
    statement = line(explorer, "data statement")
    assert statement["text"].startswith(
        f"source: our clinic · licence: {NASTY} · approval: UNKNOWN"
    )
    assert statement["tone"] == "warn"
    assert line(explorer, "data") == {
        "term": "data", "text": "120 images", "note": "fingerprint ffffffffffff…", "tone": "",
        "whole": "f" * 64,
    }  # fmt: skip
    assert line(explorer, "patients") | {"note": "", "whole": ""} == {
        "term": "patients", "text": "no group was given", "note": "", "tone": "warn", "whole": "",
    }  # fmt: skip
    assert "2" * 32 in line(explorer, "started from")["whole"]
    assert line(explorer, "training")["text"] == "preset dcgan", "the rest has lines of its own"
    explorer.selected = "bare"
    assert line(explorer, "data statement")["text"].startswith("UNKNOWN")
    explorer.selected = "phantom-brain-mri"
    terms = [one["term"] for one in explorer.view.detail["lines"]]
    assert "data statement" not in terms, "a phantom has nobody's data"
