"""All 23 models: what each would take, and that the real executor accepts how we call them."""

from __future__ import annotations

import json

import pytest

from medgan_widgets import dry_run, trust
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.downloads import fetch_package
from medgan_widgets.engine import Engine
from medgan_widgets.errors import CardError
from medgan_widgets.medigan.client import end_workers
from medgan_widgets.medigan.dependencies import Dependencies, check_dependencies, forget
from medgan_widgets.medigan.metadata import read_metadata
from medgan_widgets.medigan.packages import medigan_packages, spec_from_entry
from medgan_widgets.requests import GenerateRequest
from tests import forked
from tests.mirror import build_package

STAND_IN = """
import json, os
import numpy as np
def {method}(model_file, num_samples, output_path, save_images, {latent}**kwargs):
    assert os.path.isfile(model_file), model_file
    known = json.loads({known!r})
    assert set(kwargs) == set(known), (sorted(kwargs), sorted(known))
    image, mask = np.full({shape}, 9, np.uint8), np.full({shape}[:2], 255, np.uint8)
    return [{answer}] * num_samples
"""
IDS = sorted(medigan_packages())


def stand_in(mirror, spec):
    """A package with the real one's names and arguments, and nothing in it."""
    shape = (*spec.image_size[:2], 3) if len(spec.image_size) > 2 else tuple(spec.image_size)
    named = {"FLAIR": "image", "T1": "image", "T1c": "image", "T2": "image"}
    parts = [named.get(name, "mask" if "mask" in name else "image") for name in spec.gives]
    answer = "(image, mask)" if "mask" in spec.outputs else "image"
    if "label" in spec.outputs:
        answer = "(image, 'a label')"
    if parts:
        answer = f"({', '.join(parts)})"
    inputs = [] if spec.input is None or spec.sample is None else [spec.input["option"]]
    known = [*spec.options, *inputs, *(["condition"] if spec.condition else [])]
    source = STAND_IN.format(
        method=spec.method, known=json.dumps(known), shape=shape, answer=answer,
        latent="input_latent_vector=None, " if spec.latent else "",
    )  # fmt: skip
    name, dot, extension = spec.weights.partition(".")
    build_package(
        mirror, spec.model_id, source, weights=b"w", package=spec.package, model_name=name,
        extension=dot + extension, method=spec.method,
    )  # fmt: skip
    (mirror / f"{spec.package}.zip").rename(mirror / spec.archive)


@pytest.fixture(scope="module")
def table():
    return dry_run(Catalogue())


def test_one_table_says_what_each_would_take_without_a_network(table):
    assert list(table.index) == IDS
    assert set(table["runs"]) <= {"as it is", "needs packages", "needs another interpreter"}
    assert (
        table["link"]
        .str.fullmatch(r"https://zenodo\.org/records/\d+/files/.+\.zip\?download=1")
        .all()
    )
    assert (table["consent"].str.contains("no sandbox")).all()
    assert (table["gives"].str.len() > 0).all()
    lacking = table[table["runs"] != "as it is"]
    assert lacking["missing"].str.len().gt(0).all()
    assert lacking["type"].str.startswith("python -m pip install ").all()
    own = table.loc[table["runs"] == "needs another interpreter", "interpreter"]
    assert own.str.contains("python3 -m venv").all()
    assert "numpy<2" in table.loc["00022_WGAN_CARDIAC_AGING", "interpreter"]
    assert "PIP_BUILD_CONSTRAINT" in table.loc["00003_CYCLEGAN_MMG_DENSITY_FULL", "interpreter"]
    assert table.loc["00001_DCGAN_MMG_CALC_ROI", "ignored"] == "Path"
    assert table.loc["00008_C-DCGAN_MMG_MASSES", "arguments"].startswith("latent, malignancy")


def test_the_easy_ones_run_as_they_are_with_what_this_project_installs(table):
    easy = {name[:5] for name in table.index[table["runs"] == "as it is"]}
    assert {"00001", "00002", "00005", "00006", "00008", "00012"} <= easy, "numpy, torch, opencv"
    assert {"00017", "00018", "00019", "00021", "00023"} <= easy


def test_the_readme_lists_them_as_the_dry_run_does(table, root):
    text = (root / "README.md").read_text("utf-8")
    for kind, line in [
        ("as it is", "| run as they are | "),
        ("needs packages", "| need packages (the line to type is shown) | "),
        ("needs another interpreter", "numpy before 2 | "),
    ]:
        said = text.split(line)[1].split(" |")[0].split(", ")
        here = {name[:5] for name in table.index[table["runs"] == kind]}
        # Somebody's environment may hold more than the README's command installs.
        assert here <= set(said) if kind != "as it is" else set(said) <= here


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    root = tmp_path_factory.mktemp("dry")
    mirror = root / "mirror"
    mirror.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_HOME", str(root / "home"))
        patch.setenv("MEDGAN_UNATTENDED", "0")
        nothing = "medgan_widgets.medigan.dependencies.check_dependencies"
        patch.setattr(nothing, lambda *_: Dependencies())
        patch.setattr("medgan_widgets.medigan.behaviour.CLOCK_STEP", 0.0)
        patch.setattr("medgan_widgets.medigan.client.subprocess", forked)
        for spec in medigan_packages().values():
            stand_in(mirror, spec)
        yield Engine(device="cpu", catalogue=Catalogue(mirror=mirror))
        end_workers()


@pytest.mark.parametrize("model_id", IDS)
def test_the_real_executor_calls_each_with_its_own_arguments(engine, model_id):
    spec = medigan_packages()[model_id]
    fetch_package(model_id, spec.url, mirror=engine.catalogue.mirror)
    trust(model_id, catalogue=engine.catalogue)
    batch = next(iter(engine.generate(GenerateRequest(model_id, seeds=[3]))))
    assert batch.images.shape[0] == 1
    assert int(batch.images.max()) == 9
    assert (batch.masks is not None) == ("mask" in spec.outputs)
    assert ("label" in batch.labels) == ("label" in spec.outputs)
    end_workers(model_id)


# ---------------------------------------------------------------- somebody's 24th model


def test_metadata_with_missing_or_wrong_fields_is_told_and_hides_nothing(tmp_path):
    brain = {"modality": ["MRI"], "organ": ["brain"]}
    build_package(tmp_path, "90500_FINE", "x = 1", selection=brain)
    path = tmp_path / "global.json"
    content = json.loads(path.read_text())
    fine = content["90500_FINE"]

    def broken(change):
        copy = json.loads(json.dumps(fine))
        change(copy)
        return copy

    content.update({
        "90501": 3, "90502": {}, "90503": {"execution": {}, "selection": {}, "description": {}},
        "90504": broken(lambda e: e["execution"].pop("package_name")),
        "90505": broken(lambda e: e["execution"].update(image_size="large")),
        "90506": broken(lambda e: e["execution"].update(package_name="../../evil")),
        "90507": broken(lambda e: e["execution"].update(model_name="/etc/passwd")),
        "90508": broken(lambda e: e["execution"]["generate_method"].update(name="os.system")),
        "90509": broken(lambda e: e["selection"].update(modality=[])),
        "90510": broken(lambda e: e["selection"].update(organ=None)),
        "../90511": fine,
    })  # fmt: skip
    path.write_text(json.dumps(content))
    entries = read_metadata(path)
    assert [card.id for card in entries.cards] == ["90500_FINE"]
    assert len(entries.broken) == 11
    assert all(reason.endswith(".") and "\n" not in reason for _, reason in entries.broken)
    catalogue = Catalogue(mirror=tmp_path)
    assert "90500_FINE" in catalogue
    assert len(catalogue.broken) == 11


@pytest.mark.parametrize("content", ["", "[1, 2]", "null", "{" * 100_000, "\xff"])
def test_a_metadata_file_that_is_none_is_told(tmp_path, content):
    (tmp_path / "global.json").write_text(content, encoding="latin-1")
    catalogue = Catalogue(mirror=tmp_path)
    assert len(catalogue.broken) == 1
    assert len([card for card in catalogue if card.origin == "medigan"]) == 23


def test_a_mirror_that_is_no_folder_is_told(tmp_path):
    assert "not a folder" in Catalogue(mirror=tmp_path / "nowhere").broken[0].reason
    assert Catalogue(mirror="https://example.org/mirror").broken == ()


def test_an_entry_can_only_point_into_its_package():
    entry = medigan_packages()["00005_DCGAN_MMG_MASS_ROI"].entry()
    assert spec_from_entry("x", entry).latent == 100
    with pytest.raises(CardError, match="outside"):
        spec_from_entry("x", {**entry, "model_name": "../../secret"})


def test_versions_count_and_other_distributions_of_an_import_do(monkeypatch):
    assert check_dependencies(["numpy>=1"]).missing == ()
    assert check_dependencies(["numpy<1"]).missing[0].startswith("numpy<1 (here: ")
    asked = "medgan_widgets.medigan.dependencies.importable"
    monkeypatch.setattr(asked, lambda name: name == "cv2")
    forget()
    assert check_dependencies(["opencv-contrib-python-headless"]).missing == (), "any cv2 will do"
    forget()
