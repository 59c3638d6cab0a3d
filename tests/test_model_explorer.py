"""The explorer's Python half: what the page asks by its traits, and what it is told."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
    monkeypatch.setattr(
        "medgan_widgets.model_folders.bundled", lambda: tmp_path / "bundled"
    )
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


def page_sets(explorer: ModelExplorer, **state: Any) -> None:
    """What arrives when the page calls save_changes(); every question is counted."""
    explorer.view.set_state({**state, "asked": explorer.view.asked + 1})


def page_sends(explorer: ModelExplorer, **content: Any) -> None:
    explorer.view._handle_custom_msg(content, [])


def line(explorer: ModelExplorer, term: str) -> dict[str, str]:
    return next(one for one in explorer.view.detail["lines"] if one["term"] == term)


def test_it_opens_on_a_model_that_runs_now(explorer: ModelExplorer) -> None:
    assert explorer.selected == "phantom-brain-mri"
    assert explorer.view.detail["runs"] is True
    assert len(explorer.shown) == 25
    assert explorer.status == "25 of 25 models; 2 run here now."


def test_typing_searches_and_counts(explorer: ModelExplorer) -> None:
    page_sets(explorer, search_text="breast mri")
    assert explorer.shown == ("00023_PIX2PIXHD_BREAST_DCEMRI",)
    assert explorer.view.found["answer"] == explorer.view.asked == 1
    assert explorer.selected == explorer.shown[0], "the card follows the first hit"
    assert explorer.status.startswith("1 of 25")


def test_a_search_without_hits_offers_the_nearest(explorer: ModelExplorer) -> None:
    page_sets(explorer, search_text="brian mri")
    assert explorer.shown == ()
    assert explorer.view.found["nearest"]["search"] == "brain mri"
    assert "nearest" in explorer.status
    assert explorer.selected == "phantom-brain-mri", "the card stays"


def test_facets_count_what_they_would_give(explorer: ModelExplorer) -> None:
    page_sets(explorer, filters={"modality": ["MR"]})
    counts = {facet: dict(values) for facet, values in explorer.view.found["facets"].items()}
    assert counts["modality"]["MG"] == 13, "other values of the same facet stay reachable"
    assert counts["organ"] == {
        "breast": 1,
        "brain": 3,
        "heart": 1,
        "colon": 0,
        "chest": 0,
        "lung": 0,
    }
    for organ, count in counts["organ"].items():
        page_sets(explorer, filters={"modality": ["MR"], "organ": [organ]})
        assert len(explorer.shown) == count
    page_sets(explorer, filters={"runs_here": ["now"]})
    assert explorer.shown == ("phantom-brain-mri", "phantom-mammogram")


def test_search_and_filters_join(explorer: ModelExplorer) -> None:
    page_sets(explorer, search_text="mammogram", filters={"outputs": ["label"]})
    assert [name[:5] for name in explorer.shown] == ["00008", "00012"]


def test_headers_sort_both_ways(explorer: ModelExplorer) -> None:
    page_sets(explorer, sort=["size", "ascending"])
    areas = [h * w for h, w in (explorer.catalogue[name].size for name in explorer.shown)]
    assert areas == sorted(areas)
    page_sets(explorer, sort=["size", "descending"])
    assert "1332" in explorer.view.rows[explorer.shown[0]]["size"]
    page_sets(explorer, sort=["id", "descending"])
    assert explorer.shown[0] == "phantom-mammogram"
    assert explorer.shown[-1].startswith("00001")
    page_sets(explorer, sort=["runs", "ascending"])
    assert explorer.shown[:2] == ("phantom-brain-mri", "phantom-mammogram")


def test_ranking_puts_models_without_the_figure_last_in_both_directions(
    explorer: ModelExplorer,
) -> None:
    fid = next(label for label in explorer.view.metrics if label.startswith("FID ·"))
    page_sets(explorer, rank_by=fid)
    best = explorer.shown
    assert best[0].startswith("00023")
    assert explorer.view.found["scores"][best[0]] == "28.71"
    assert explorer.view.found["scores"]["phantom-brain-mri"] == "–", "FD is not FID"
    assert "Lower is better" in explorer.view.found["note"]
    page_sets(explorer, sort=["score", "descending"])
    assert explorer.shown[0] == best[21]
    assert set(explorer.shown[22:]) == set(best[22:])


def test_unranked_scores_carry_their_name(explorer: ModelExplorer) -> None:
    scores = explorer.view.found["scores"]
    assert scores["phantom-brain-mri"] == "FD 11.8"
    assert scores["00001_DCGAN_MMG_CALC_ROI"] == "FID 67.6"
    assert scores["00022_WGAN_CARDIAC_AGING"] == "–"


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
    explorer.view.set_state({"selected": "00021_CYCLEGAN_BRAIN_MRI_T1_T2"})
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
    page_sets(explorer, search_text="brain")
    assert len(explorer.shown) == 3, "the panel lives on"


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
    assert explorer.view.rows["nasty"]["makes"] == NASTY


def test_broken_cards_are_listed_with_their_reason(root: Path) -> None:
    (model(root, "cut") / "card.json").write_text('{"id":')
    explorer = ModelExplorer(Catalogue(root))
    assert len(explorer.shown) == 25
    assert "not JSON" in explorer.view.broken[0]["reason"]


def test_a_folder_deleted_while_listed_breaks_nothing(
    explorer: ModelExplorer, root: Path, used: list[str]
) -> None:
    shutil.rmtree(root / "phantom-brain-mri")
    page_sends(explorer, kind="use")
    assert used == []
    assert "are gone" in explorer.error
    page_sets(explorer, search_text="brain")
    assert "phantom-brain-mri" in explorer.shown
    page_sends(explorer, kind="refresh")
    assert "phantom-brain-mri" not in explorer.shown
    assert "phantom-brain-mri" not in explorer.view.rows
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
    page_sets(explorer, filters={"colour": ["red"], "organ": ["spleen"]}, sort=["beauty"])
    assert explorer.shown == ()
    page_sets(explorer, filters={}, sort=[], rank_by="no such figure")
    explorer.view.set_state({"selected": "gone"})
    assert explorer.view.detail == {}
    page_sends(explorer, kind="explode")
    page_sets(explorer, search_text="brain")
    assert len(explorer.shown) == 3


def test_wrong_values_from_python_are_refused(explorer: ModelExplorer) -> None:
    with pytest.raises(RequestError, match="no facet 'colour'"):
        explorer.filters = {"colour": "red"}
    with pytest.raises(RequestError, match="no figure 'beauty'"):
        explorer.rank_by = "beauty"
    with pytest.raises(ModelNotFoundError):
        explorer.selected = "nope"


def test_clicks_from_many_threads_leave_it_whole(explorer: ModelExplorer) -> None:
    texts = ["brain", "polyp", "mammogram", "qwertz", ""] * 4
    threads = [
        threading.Thread(target=page_sets, args=(explorer,), kwargs={"search_text": text})
        for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    page_sets(explorer, search_text="polyp")
    assert len(explorer.shown) == 3
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


def test_models_of_other_modalities_are_found_by_their_words(root: Path) -> None:
    model(root, "liver-us", modality="US", organ="liver", makes="slice", phantom=False)
    model(root, "knee-dx", modality="DX", organ="knee", makes="view", phantom=False)
    explorer = ModelExplorer(Catalogue(root))
    for text, found in (
        ("hepatic ultrasound", ("liver-us",)),
        ("knee x-ray", ("knee-dx",)),
        ("chest knee", ()),
    ):
        page_sets(explorer, search_text=text)
        assert explorer.shown == found
    page_sets(explorer, search_text="", filters={"modality": ["US"]})
    assert explorer.shown == ("liver-us",)


def test_a_search_opens_no_file(explorer: ModelExplorer) -> None:
    opened: list[Any] = []
    hear = True
    sys.addaudithook(lambda event, args: hear and event == "open" and opened.append(args[0]))
    page_sets(explorer, search_text="brain")
    page_sets(explorer, filters={"runs_here": ["now", "download"]})
    page_sets(explorer, sort=["runs", "descending"])
    hear = False
    assert len(explorer.shown) == 2
    assert opened == []
