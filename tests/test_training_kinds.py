"""Every kind of data trains: from files as people have them to a model that generates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.exporting import make_model
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.runs import read_run
from medgan_widgets.training import train
from tests.made_data import noise, save, save_dicom, save_table, save_volume

PATIENTS = [f"Müller^Anna-{n}" for n in range(12)]


def png_with_table(root: Path) -> dict[str, Any]:
    rows = []
    for n in range(48):
        save(root / f"{n}.png", noise(n, (40, 30)))
        rows.append({"file_name": f"{n}.png", "kl_grade": n % 3, "patient": PATIENTS[n % 12]})
    save_table(root / "metadata.csv", rows)
    return {"labels": "kl_grade", "group": "patient"}


def tiff_16_bit_by_folder(root: Path) -> dict[str, Any]:
    for n in range(40):
        deep = np.random.default_rng(n).integers(0, 60_000, (36, 36)).astype(np.uint16)
        save(root / ("a", "b")[n % 2] / f"{n}.tiff", deep)
    return {"labels": "folder"}


def dicom(root: Path) -> dict[str, Any]:
    for n in range(40):
        stored = np.random.default_rng(n).integers(0, 4000, (32, 32)).astype(np.uint16)
        who, how = PATIENTS[n % 12], ("CR", "DX")[n % 2]
        save_dicom(root / f"IM{n}.dcm", stored, PatientID=who, PatientName=who, Modality=how)
    return {"labels": "Modality", "read": {"window": (2000.0, 4000.0)}}


def nifti(root: Path) -> dict[str, Any]:
    for n in range(8):
        save_volume(root / f"{n}.nii.gz", n)
    return {}


def medmnist_npz(root: Path) -> dict[str, Any]:
    root.mkdir(parents=True)
    parts = {"train": 40, "val": 8, "test": 8}
    arrays = {}
    for name, count in parts.items():
        arrays[f"{name}_images"] = np.stack([noise(n, (28, 28)) for n in range(count)])
        arrays[f"{name}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    np.savez(root / "tinymnist.npz", **arrays)
    return {"data": root / "tinymnist.npz", "size": 32}


KINDS = [png_with_table, tiff_16_bit_by_folder, dicom, nifti, medmnist_npz]


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_and_becomes_a_model(kind, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    wanted = {"data": tmp_path / "data", "size": 32, **kind(tmp_path / "data")}
    run = tmp_path / "run"
    list(train(run, **wanted, batch=8, kimg=0.048, tick_kimg=0.016))
    config, ticks = read_run(run)
    assert [tick.kimg for tick in ticks] == [0.016, 0.032, 0.048]
    data = json.loads((run / "data.json").read_text())
    assert data["train"] + data["test"] == data["count"]
    assert data["train"] >= 8
    card = make_model(
        run, "mine", modality="OT", organ="other", statement={"source": "made in a test"},
        models=tmp_path / "models",
    )  # fmt: skip
    assert set(card.condition) == set(config["factors"])
    engine = Engine(device="cpu", catalogue=Catalogue(tmp_path / "models"))
    assert engine.images(GenerateRequest("mine", seeds=range(4))).shape[:3] == (4, 32, 32)
    # Nobody is named, neither in the run nor in the model.
    for place in (run, tmp_path / "models"):
        for path in place.rglob("*"):
            assert not path.is_file() or "Müller".encode() not in path.read_bytes(), path


def test_a_torch_dataset_trains_in_the_notebook(tmp_path: Path) -> None:
    import torch
    from torch.utils.data import TensorDataset

    images = torch.rand(40, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(images, torch.arange(40) % 2)
    (tick,) = train(tmp_path, data=data, batch=8, kimg=0.016, tick_kimg=0.016)
    assert tick.kimg == 0.016
    assert read_run(tmp_path)[0]["data"] == "images"
