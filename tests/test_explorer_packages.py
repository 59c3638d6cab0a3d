"""The explorer fetches packages, asks before their code may run, and lists what is cached."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import filelock
import pytest

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.downloads import cached_package, cached_packages
from medgan_widgets.errors import (
    ConsentError,
    DownloadError,
    JobCancelled,
    ModelNotFoundError,
    NotRunnableError,
    RequestError,
)
from medgan_widgets.medigan import actions
from medgan_widgets.medigan.trust import consent_to, read_lock
from medgan_widgets.panels.model_explorer import ModelExplorer
from tests.test_catalogue import model
from tests.test_downloads import Site, gives

MODEL = "00005_DCGAN_MMG_MASS_ROI"
OTHER = "00006_WGANGP_MMG_MASS_ROI"
PICKLED = "00020_PGGAN_CHEST_XRAY"


def packed(folder: Path, name: str = MODEL, weights: bytes = b"w" * 300_000) -> Path:
    """Put an archive of a model's form into a mirror."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as members:
        members.writestr(f"{name}/__init__.py", "def generate(**rest): ...\n")
        members.writestr(f"{name}/500.pt", weights)
    return folder / f"{name}.zip"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDGAN_UNATTENDED", "0")
    monkeypatch.setattr("medgan_widgets.model_folders.bundled", lambda: tmp_path / "bundled")
    model(tmp_path / "mine", "phantom-brain-mri")
    return tmp_path / "home"


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    packed(tmp_path / "mirror")
    return tmp_path / "mirror"


@pytest.fixture
def used() -> list[str]:
    return []


@pytest.fixture
def explorer(mirror: Path, tmp_path: Path, used: list[str]) -> Iterator[ModelExplorer]:
    panel = ModelExplorer(Catalogue(tmp_path / "mine", mirror=mirror), on_use=used.append)
    panel.selected = MODEL
    yield panel
    panel.close()


@pytest.fixture
def site() -> Iterator[Site]:
    one = Site()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def online(site: Site, mirror: Path) -> Iterator[ModelExplorer]:
    site.reply = gives((mirror / f"{MODEL}.zip").read_bytes())
    panel = ModelExplorer(Catalogue(mirror=site.url))
    panel.selected = MODEL
    yield panel
    panel.close()


def sends(explorer: ModelExplorer, kind: str, name: str = MODEL, **more: Any) -> None:
    """What arrives when a button is pressed; unless it downloads, it is over when this returns."""
    explorer.view._handle_custom_msg({"kind": kind, "model": name, **more}, [])
    if kind not in ("download", "stop"):
        until(lambda: not explorer.view.transfers)


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def step(explorer: ModelExplorer) -> dict[str, Any]:
    told: dict[str, Any] = explorer.view.detail["step"]
    return told


def runs(explorer: ModelExplorer, name: str = MODEL) -> str:
    return str(explorer.view.runs[name]["kind"])


def trickles(data: bytes, piece: int = 20_000, pause: float = 0.05) -> Any:
    """Answer slowly, as long as somebody listens."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for start in range(0, len(data), piece):
            handler.wfile.write(data[start : start + piece])
            time.sleep(pause)

    return reply


def test_from_the_first_click_to_a_model_that_can_be_used(
    explorer: ModelExplorer, used: list[str]
) -> None:
    assert step(explorer)["kind"] == "download"
    assert explorer.view.packages == []
    sends(explorer, "download")
    until(lambda: step(explorer)["kind"] == "consent" and explorer.view.packages)
    assert explorer.view.runs[MODEL]["short"] == "your yes"

    asked = step(explorer)
    assert "written by its authors" in asked["text"]
    assert explorer.view.transfers == {}
    assert explorer.view.packages[0]["consent"] == "no"
    explorer.view._handle_custom_msg({"kind": "use"}, [])
    assert used == []

    sends(explorer, "trust", sha256=asked["sha256"], pickle=True)
    assert step(explorer)["kind"] == "now"
    assert step(explorer)["agreed"] is True
    assert runs(explorer) == "now"
    assert explorer.view.detail["runs"] is True
    assert explorer.view.packages[0]["consent"] == "yes, pickles too"
    assert explorer.error == ""
    explorer.view._handle_custom_msg({"kind": "use"}, [])
    assert used == [MODEL]


def test_the_same_from_python(explorer: ModelExplorer, used: list[str]) -> None:
    assert explorer.download().wait(20) == [cached_package(MODEL)]
    with pytest.raises(NotRunnableError, match="needs your yes"):
        explorer.use()
    explorer.trust()
    explorer.use()
    assert used == [MODEL]
    explorer.withdraw()
    assert step(explorer)["kind"] == "consent"
    explorer.remove()
    assert cached_packages() == []
    assert step(explorer)["kind"] == "download"
    explorer.remove()
    assert "was not in the cache" in explorer.status


def test_a_local_model_has_no_package(explorer: ModelExplorer) -> None:
    explorer.selected = "phantom-brain-mri"
    assert step(explorer) == {}
    with pytest.raises(ModelNotFoundError, match="no package"):
        explorer.download()
    sends(explorer, "download", "phantom-brain-mri")
    assert "no package" in explorer.error
    sends(explorer, "download", "nobody")
    assert "no model 'nobody'" in explorer.error


def test_progress_is_told_in_megabytes_and_percent(
    online: ModelExplorer, site: Site, mirror: Path
) -> None:
    data = (mirror / f"{MODEL}.zip").read_bytes()
    site.reply = trickles(data)
    told: list[dict[str, Any]] = []
    online.view.observe(lambda change: told.append(dict(change["new"])), "transfers")
    online.download().wait(20)
    parts = [one[MODEL]["part"] for one in told if one and one[MODEL]["part"] is not None]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    texts = [one[MODEL]["text"] for one in told if one]
    assert any("of 0.3 MB" in text and text.endswith("%") for text in texts)
    assert len(told) < 30, "a piece is no message"
    assert told[-1] == {}


def test_a_cancelled_download_leaves_nothing_and_can_be_started_again(
    online: ModelExplorer, site: Site, mirror: Path, home: Path
) -> None:
    data = (mirror / f"{MODEL}.zip").read_bytes()
    site.reply = trickles(data, 2_000, 0.1)
    first = online.download()
    until(lambda: "%" in online.view.transfers.get(MODEL, {}).get("text", ""))
    sends(online, "stop")
    assert online.view.transfers == {}, "the page is told at once"
    site.reply = gives(data)
    second = online.download()
    assert second is not first
    with pytest.raises(JobCancelled):
        first.wait(20)
    assert second.wait(20)[0].model_id == MODEL
    assert online.view.transfers == {}
    assert online.error == ""
    assert step(online)["kind"] == "consent"
    left = {path.name for path in (home / "cache" / "packages").iterdir()}
    assert left <= {MODEL, f"{MODEL}.lock", f"{MODEL}.sha256"}


def test_a_cancel_that_comes_after_the_last_byte_still_counts(
    explorer: ModelExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = actions.fetch_package

    def late(*args: Any, **kwargs: Any) -> Any:
        package = fetch(*args, **kwargs)
        sends(explorer, "stop")
        return package

    monkeypatch.setattr(actions, "fetch_package", late)
    with pytest.raises(JobCancelled):
        explorer.download().wait(20)
    assert cached_packages() == []
    assert explorer.view.packages == []
    assert step(explorer)["kind"] == "download"


def test_two_clicks_start_one_download(online: ModelExplorer, site: Site, mirror: Path) -> None:
    site.reply = trickles((mirror / f"{MODEL}.zip").read_bytes())
    one = online.download()
    sends(online, "download")
    sends(online, "download")
    assert online.download() is one
    one.wait(20)
    assert site.hits == 1
    assert online.download().wait(20) == [cached_package(MODEL)]
    assert site.hits == 1, "what is in the cache is not fetched again"


def test_downloads_come_one_after_the_other(
    online: ModelExplorer, site: Site, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medgan_widgets.panels._packages.SOON", 0.0)
    site.reply = trickles((mirror / f"{MODEL}.zip").read_bytes(), 5_000)
    first = online.download()
    until(lambda: "%" in online.view.transfers[MODEL]["text"])
    online.selected = OTHER
    second = online.download()
    until(lambda: "before it" in online.view.transfers[OTHER]["text"])
    second.cancel()
    with pytest.raises(JobCancelled):
        second.wait(20)
    assert set(online.view.transfers) == {MODEL}, "the first goes on"
    first.cancel()
    with pytest.raises(JobCancelled):
        first.wait(20)


def test_without_a_network_one_sentence_and_the_button_is_back() -> None:
    panel = ModelExplorer(Catalogue(mirror="http://127.0.0.1:9"))
    panel.selected = MODEL
    began = time.monotonic()
    with pytest.raises(DownloadError, match="check the network"):
        panel.download().wait(20)
    assert time.monotonic() - began < 5
    assert "cannot be reached: check the network, or give a mirror" in panel.error
    assert "\n" not in panel.error
    assert panel.view.transfers == {}
    assert step(panel)["kind"] == "download"
    panel.close()


@pytest.mark.parametrize("content", [b"<html>not found</html>", b""])
def test_a_wrong_archive_is_refused(
    explorer: ModelExplorer, mirror: Path, content: bytes, home: Path
) -> None:
    (mirror / f"{MODEL}.zip").write_bytes(content)
    sends(explorer, "download")
    until(lambda: explorer.error and not explorer.view.transfers)
    assert "not a complete zip archive" in explorer.error
    assert explorer.view.packages == []
    packed(mirror)
    explorer.download().wait(20)
    assert explorer.error == "", "a success takes the error away"


def test_a_yes_counts_for_the_bytes_that_were_shown(explorer: ModelExplorer) -> None:
    explorer.download().wait(20)
    for more in ({}, {"sha256": "0" * 64}):
        sends(explorer, "trust", **more)
        assert "nothing was agreed to" in explorer.error
        assert consent_to(MODEL) is None
        assert step(explorer)["kind"] == "consent"
    assert explorer.view.transfers == {}


def test_pickles_need_a_yes_of_their_own(
    explorer: ModelExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_pickled(monkeypatch)
    explorer.download().wait(20)
    assert step(explorer)["pickle"] is True
    sends(explorer, "trust", sha256=step(explorer)["sha256"], pickle="true")
    assert consent_to(MODEL).pickle is False, "only a ticked box is a yes"
    assert "cannot read them" in step(explorer)["note"]
    sends(explorer, "trust", sha256=step(explorer)["sha256"], pickle=True)
    assert consent_to(MODEL).pickle is True
    assert "note" not in step(explorer)


def pretend_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    package_of = Catalogue.package_of
    monkeypatch.setattr(
        Catalogue, "package_of", lambda self, name: replace(package_of(self, name), pickle=True)
    )


def test_an_unattended_session_goes_by_its_lock_alone(
    explorer: ModelExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer.download().wait(20)
    monkeypatch.setenv("MEDGAN_UNATTENDED", "1")
    with pytest.raises(ConsentError, match="nobody is here to agree"):
        explorer.trust()
    sends(explorer, "trust", sha256=step(explorer)["sha256"])
    assert "counts as unattended" in explorer.error
    assert step(explorer)["kind"] == "consent"
    sends(explorer, "lock", "")
    sends(explorer, "refresh")
    assert step(explorer)["kind"] == "now"


def test_missing_packages_come_with_the_line_to_type(
    explorer: ModelExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medgan_widgets.medigan.dependencies.importable", lambda name: False)
    sends(explorer, "refresh")
    assert step(explorer)["kind"] == "packages"
    assert "opencv-contrib-python-headless" in step(explorer)["missing"]
    assert step(explorer)["type"].startswith("python -m pip install ")
    explorer.selected = "00022"
    assert step(explorer)["kind"] == "interpreter"
    lines = step(explorer)["type"].splitlines()
    assert lines[1] == "python3 -m venv ~/medgan-00022"
    assert 'mw.trust("00022", python=' in lines[-1]
    monkeypatch.undo()


def test_the_list_of_what_is_cached(explorer: ModelExplorer, mirror: Path) -> None:
    packed(mirror, OTHER)
    explorer.download().wait(20)
    explorer.selected = OTHER
    explorer.download().wait(20)
    explorer.trust()
    first, second = explorer.view.packages
    assert (first["id"], second["id"]) == (MODEL, OTHER)
    assert (first["consent"], second["consent"]) == ("no", "yes")
    assert first["size"] == "0.3 MB"
    assert len(first["sha256"]) == 64
    assert f"/{MODEL}.zip" in first["source"]
    sends(explorer, "remove", MODEL)
    assert [one["id"] for one in explorer.view.packages] == [OTHER]
    assert runs(explorer) == "download"
    assert explorer.selected == OTHER
    assert "0.3 MB are free again" in explorer.status


def test_removal_and_withdrawal_end_the_warm_process(
    explorer: ModelExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr("medgan_widgets.panels._packages.end_workers", ended.append)
    explorer.download().wait(20)
    explorer.trust()
    explorer.withdraw()
    explorer.remove()
    assert ended == [MODEL, MODEL]


def test_what_is_on_its_way_is_not_removed(online: ModelExplorer, site: Site) -> None:
    site.reply = trickles(b"x" * 100_000, 1_000, 0.2)
    one = online.download()
    with pytest.raises(RequestError, match="cancel that first"):
        online.remove()
    one.cancel()
    with pytest.raises(JobCancelled):
        one.wait(20)


def test_consents_are_pinned_beside_the_notebook(explorer: ModelExplorer) -> None:
    sends(explorer, "lock", "")
    assert explorer.view.lock_note.startswith("Nothing to pin in models.lock")
    assert not Path("models.lock").exists()
    explorer.download().wait(20)
    explorer.trust()
    sends(explorer, "lock", "")
    assert explorer.view.lock_note == f"Wrote {Path('models.lock').resolve()}: 1 package pinned."
    assert set(read_lock(Path("models.lock"))) == {MODEL}
    sends(explorer, "withdraw")
    assert "models.lock still lists it" in explorer.error
    assert step(explorer)["kind"] == "now"
    assert step(explorer)["agreed"] is False, "there is nothing left to withdraw here"


def test_a_damaged_lock_is_a_sentence(explorer: ModelExplorer) -> None:
    explorer.download().wait(20)
    Path("models.lock").write_text("{")
    sends(explorer, "refresh")
    assert step(explorer)["kind"] == "damaged"
    assert "not a lock file" in explorer.view.detail["why"]
    assert explorer.view.packages[0]["consent"] == "not readable"
    sends(explorer, "lock", "")
    assert "not a lock file" in explorer.view.lock_note


def test_a_model_that_leaves_the_filter_is_still_looked_at(explorer: ModelExplorer) -> None:
    explorer.filters = {"runs_here": "download"}
    explorer.selected = MODEL
    explorer.download().wait(20)
    assert MODEL not in explorer.shown
    assert explorer.selected == MODEL
    assert step(explorer)["kind"] == "consent"


def test_another_process_that_fetches_the_same_is_said(explorer: ModelExplorer, home: Path) -> None:
    folder = home / "cache" / "packages"
    folder.mkdir(parents=True)
    with filelock.FileLock(str(folder / f"{MODEL}.lock")):
        one = explorer.download()
        until(lambda: "another process" in explorer.view.transfers[MODEL]["text"])
        one.cancel()
        with pytest.raises(JobCancelled):
            one.wait(20)
        again = explorer.download()
    assert again.wait(20)[0].model_id == MODEL


def test_closing_stops_a_download(online: ModelExplorer, site: Site) -> None:
    site.reply = trickles(b"x" * 200_000, 1_000, 0.1)
    one = online.download()
    until(lambda: site.hits)
    online.close()
    with pytest.raises(JobCancelled):
        one.wait(20)
