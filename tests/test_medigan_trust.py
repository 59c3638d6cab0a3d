"""Whose code runs is somebody's decision, about exactly these bytes, and written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medgan_widgets import consent_text, download, trust, write_lock
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.downloads import cached_package, remove_package
from medgan_widgets.engine import Engine
from medgan_widgets.errors import ConsentError, DownloadError, NotRunnableError, SaveError
from medgan_widgets.medigan.trust import consent_to, read_lock, unattended, withdraw_consent
from medgan_widgets.requests import GenerateRequest
from tests import forked
from tests.mirror import build_package

MODEL = "90400_PACKAGE"
SOURCE = """
import numpy as np
def generate(model_file, num_samples, output_path, save_images, **kwargs):
    return [np.full((16, 16), 7, np.uint8)] * num_samples
"""


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDGAN_UNATTENDED", "0")
    monkeypatch.setattr("medgan_widgets.medigan.client.subprocess", forked)
    monkeypatch.chdir(tmp_path)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    build_package(mirror, MODEL, SOURCE, weights=b"w", image_size=(16, 16))
    return Catalogue(mirror=mirror)


def images(catalogue):
    return Engine(device="cpu", catalogue=catalogue).images(GenerateRequest(MODEL, seeds=[1]))


def test_the_text_says_whose_code_from_where_with_which_licence_and_size(catalogue):
    before = consent_text(MODEL, catalogue=catalogue)
    assert "size not known before" in before
    download(MODEL, catalogue=catalogue)
    text = consent_text(MODEL, catalogue=catalogue)
    for part in (
        "written by its authors",
        "no sandbox",
        "example.org",
        "Licence:",
        "kB",
        "SHA-256",
    ):
        assert part in text
    assert "pickled" in consent_text("00020")
    assert "not stated" in consent_text("00021")


def test_consent_is_for_these_bytes_and_asked_again_for_others(catalogue):
    with pytest.raises(NotRunnableError, match="not downloaded"):
        trust(MODEL, catalogue=catalogue)
    package = download(MODEL, catalogue=catalogue)
    assert catalogue.runs_here(MODEL).kind == "consent"
    trust(MODEL, catalogue=catalogue)
    assert catalogue.runs_here(MODEL).kind == "now"
    assert consent_to(MODEL, package.sha256) is not None
    assert consent_to(MODEL, "0" * 64) is None
    withdraw_consent(MODEL)
    assert catalogue.runs_here(MODEL).kind == "consent"


def test_a_package_that_changed_at_its_source_is_refused(catalogue):
    download(MODEL, catalogue=catalogue)
    remove_package(MODEL)
    build_package(Path(catalogue.mirror), MODEL, SOURCE + "# other\n", weights=b"w")
    with pytest.raises(DownloadError, match="not the expected file"):
        download(MODEL, catalogue=catalogue)
    assert cached_package(MODEL) is None


def test_an_unattended_run_refuses_what_no_lock_lists(catalogue, monkeypatch):
    package = download(MODEL, catalogue=catalogue)
    trust(MODEL, catalogue=catalogue)
    assert images(catalogue).max() == 7
    monkeypatch.setenv("MEDGAN_UNATTENDED", "1")
    with pytest.raises(ConsentError, match=r"models\.lock"):
        images(catalogue)
    with pytest.raises(ConsentError, match="nobody is here"):
        trust(MODEL, catalogue=catalogue)
    with pytest.raises(ConsentError, match="nothing was agreed"):
        trust(MODEL, catalogue=catalogue, sha256="ab" * 32)
    trust(MODEL, catalogue=catalogue, sha256=package.sha256, lock="models.lock")
    assert images(catalogue).max() == 7


def test_an_unattended_run_goes_by_the_lock_that_somebody_wrote(catalogue, monkeypatch):
    download(MODEL, catalogue=catalogue)
    trust(MODEL, catalogue=catalogue)
    path = write_lock()
    pinned = read_lock(path)[MODEL]
    assert {len(pinned.sha256), len(pinned.code_sha256), len(pinned.weights_sha256)} == {64}
    monkeypatch.setenv("MEDGAN_UNATTENDED", "1")
    assert images(catalogue).max() == 7
    remove_package(MODEL)
    download(MODEL, catalogue=catalogue)  # listed, so it may be fetched, and must hash to it
    assert images(catalogue).max() == 7
    content = json.loads(path.read_text())
    content["models"][MODEL]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(ConsentError):
        images(catalogue)
    remove_package(MODEL)
    with pytest.raises(DownloadError, match="not the expected file"):
        download(MODEL, catalogue=catalogue)


def test_an_unattended_run_fetches_nothing_unlisted(catalogue, monkeypatch):
    monkeypatch.setenv("MEDGAN_UNATTENDED", "1")
    with pytest.raises(ConsentError, match="not listed"):
        download(MODEL, catalogue=catalogue)


def test_nobody_is_there_without_a_terminal_or_a_front_end(monkeypatch):
    monkeypatch.delenv("MEDGAN_UNATTENDED", raising=False)
    assert unattended(), "pytest captures standard input"
    from types import SimpleNamespace

    import IPython

    for allowed in (True, False):  # what JupyterLab sends with a cell, and what papermill does
        shell = SimpleNamespace(kernel=SimpleNamespace(_allow_stdin=allowed))
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        assert unattended() is not allowed


def test_papermill_is_nobody_whoever_started_it(tmp_path, monkeypatch):
    import nbformat
    import papermill

    monkeypatch.delenv("MEDGAN_UNATTENDED", raising=False)
    ask = "from medgan_widgets.medigan.trust import unattended\nprint(unattended())"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ask)])
    nbformat.write(notebook, tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), progress_bar=False,
        kernel_name="python3", language="python",
    )  # fmt: skip
    assert done.cells[0].outputs[0]["text"] == "True\n"


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"models": 3}', '{"models": {"x": {}}}', '{"models": {"x": {"url": 1}}}',
     "{" * 100_000, '{"models": {"x": {"url": "u", "sha256": 5, "code_sha256": "", '
     '"weights_sha256": ""}}}'],
)  # fmt: skip
def test_a_damaged_lock_locks_everything(catalogue, content):
    download(MODEL, catalogue=catalogue)
    trust(MODEL, catalogue=catalogue)
    Path("models.lock").write_text(content)
    with pytest.raises(ConsentError, match=r"models\.lock"):
        images(catalogue)
    assert catalogue.runs_here(MODEL).kind == "damaged"
    Path("models.lock").unlink()
    assert images(catalogue).max() == 7


def test_a_lock_names_only_what_was_agreed_to(catalogue, tmp_path):
    with pytest.raises(ConsentError, match="nobody agreed"):
        write_lock(model_ids=[MODEL])
    assert not Path("models.lock").exists()
    download(MODEL, catalogue=catalogue)
    trust(MODEL, catalogue=catalogue, lock=tmp_path / "deep" / "models.lock")
    assert MODEL in read_lock(tmp_path / "deep" / "models.lock")


def test_a_home_that_cannot_be_written_is_told(catalogue, tmp_path, monkeypatch):
    download(MODEL, catalogue=catalogue)
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file" / "models.lock", tmp_path / "home"):
        with pytest.raises((ConsentError, SaveError), match=r"cannot be written|not saved"):
            trust(MODEL, catalogue=catalogue, lock=place)


def test_a_script_cannot_say_that_a_person_was_asked(catalogue, monkeypatch):
    download(MODEL, catalogue=catalogue)
    monkeypatch.setenv("MEDGAN_UNATTENDED", "1")
    with pytest.raises(TypeError, match="asked"):
        trust(MODEL, catalogue=catalogue, asked=True)
    assert consent_to(MODEL) is None
