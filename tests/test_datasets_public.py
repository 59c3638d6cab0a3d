"""Public data by their own routes, on look-alikes made here."""

from __future__ import annotations

import hashlib
import http.server
import sys
import threading
from functools import partial
from types import ModuleType

import numpy as np
import pytest

from medgan_widgets.datasets import read_images
from medgan_widgets.datasets.public import brats, chestxray14, medmnist_npz
from medgan_widgets.errors import DataError, DownloadError, NotRunnableError
from tests.made_data import noise, save, save_volume

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)


@pytest.fixture(params=["images_{:03}/images", "images"])
def chests(request, tmp_path):
    lines = [HEADER]
    for number in range(24):
        finding = ("No Finding", "Effusion|Mass", "Mass")[number // 2 % 3]
        name = f"{number // 2:08}_{number % 2:03}.png"
        lines.append(f"{name},{finding},{number % 2},{number // 2},58,M,PA,2682,2749,0.143,0.143")
        if number < 22:  # the rest is not unpacked yet
            picture = noise(number) if number % 5 else noise(number, (32, 32, 4))
            save(tmp_path / request.param.format(1 + number % 2) / name, picture)
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "BBox_List_2017.csv").write_text("Image Index,Finding Label\n")
    (tmp_path / "test_list.txt").write_text("00000001_000.png\n")
    return tmp_path


def test_chestxray14_has_findings_as_classes_and_patients_as_groups(chests):
    data = chestxray14(chests)
    assert len(data) == 22
    assert set(data.factors["finding"]) == {"No Finding", "Effusion", "Mass"}
    assert len(set(data.groups)) == 11
    assert data.images.shape[3] == 1, "some of its files have four channels and are grey"
    one = chestxray14(chests, finding="Mass", test=0)
    assert one.counts() == {"finding": {"Mass": 14, "No Finding": 8}}
    assert chestxray14(chests, finding="Mass", size=16, seed=4).images.shape[1] == 16
    with pytest.raises(DataError, match=r"nobody has the finding 'Cat'.*Effusion, Mass"):
        chestxray14(chests, finding="Cat")


def test_chestxray14_without_its_table_or_images(tmp_path):
    with pytest.raises(DataError, match=r"no Data_Entry_2017"):
        chestxray14(tmp_path)
    table = tmp_path / "Data_Entry_2017.csv"
    table.write_text(f"{HEADER}\n1.png,Mass,0,1,58,M,PA,1,1,1,1\n")
    with pytest.raises(DataError, match="none of the images"):
        chestxray14(tmp_path)
    table.write_text("Image,Finding\n1.png,Mass\n")
    with pytest.raises(DataError, match="no column 'Image Index'"):
        chestxray14(tmp_path)


def test_brats_of_every_year_is_read_by_patient(tmp_path):
    names = [
        *(f"HGG/Brats18_CBICA_AA{n}_1/Brats18_CBICA_AA{n}_1" for n in "AB"),
        *(f"BraTS20_Training_00{n}/BraTS20_Training_00{n}" for n in "12"),
        *(f"BraTS2021_0000{n}/BraTS2021_0000{n}" for n in "03"),
    ]
    for number, name in enumerate(names):
        for kind in ("flair", "t1", "t1ce", "t2", "seg"):
            end = ".nii" if "BraTS20_" in name else ".nii.gz"
            save_volume(tmp_path / f"{name}_{kind}{end}", number, (16, 18, 10))
    for visit in ("00005-000", "00005-001", "00008-000"):
        for kind in ("t2f", "t1n", "t1c", "t2w", "seg"):
            place = tmp_path / f"BraTS-GLI-{visit}" / f"BraTS-GLI-{visit}-{kind}.nii.gz"
            save_volume(place, 7, (16, 18, 10))
    data = brats(tmp_path)
    assert len(data) == 9 * 6, "six of ten slices of each volume"
    assert len(set(data.groups)) == 8, "two visits of one patient are one group"
    assert all("flair" in name or "t2f" in name for name in data.names)
    assert all("t1ce" in name or "t1c" in name for name in brats(tmp_path, "T1c").names)
    with pytest.raises(DataError, match="modality must be one of flair, t1, t1ce, t2"):
        brats(tmp_path, "pet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no BraTS volumes of t2"):
        brats(tmp_path / "empty", "t2")


# ---------------------------------------------------------------- MedMNIST


@pytest.fixture
def medmnist(tmp_path, monkeypatch):
    """A stand-in for the package, whose files come from a server here."""
    served = tmp_path / "served"
    served.mkdir()
    parts = {}
    for part, count in (("train", 8), ("val", 2), ("test", 4)):
        parts[f"{part}_images"] = np.stack([noise(count + n, (64, 64)) for n in range(count)])
        parts[f"{part}_labels"] = np.arange(count)[:, None] % 2
    np.savez_compressed(served / "breastmnist_64.npz", **parts)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/breastmnist_64.npz"
    md5 = hashlib.md5((served / "breastmnist_64.npz").read_bytes()).hexdigest()
    info = ModuleType("medmnist.info")
    info.INFO = {
        "breastmnist": {"url_64": url, "MD5_64": md5, "url_128": url, "MD5_128": "0" * 32},
        "organmnist3d": {"url_64": url, "MD5_64": md5},
    }
    monkeypatch.setitem(sys.modules, "medmnist", ModuleType("medmnist"))
    monkeypatch.setitem(sys.modules, "medmnist.info", info)
    yield server
    server.shutdown()
    server.server_close()


def test_medmnist_is_loaded_once_checked_and_read(medmnist, tmp_path):
    path = medmnist_npz("breastmnist", size=64, root=tmp_path / "kept", progress=False)
    data = read_images(path)
    assert (len(data.training), len(data.held_out)) == (8, 6)
    assert data.factors == {"class": (0, 1)}
    medmnist.shutdown()
    medmnist.server_close()
    assert medmnist_npz("breastmnist", size=64, root=tmp_path / "kept", progress=False) == path
    with pytest.raises(DownloadError, match=r"check the network, or load http.* by hand"):
        medmnist_npz("breastmnist", size=64, root=tmp_path / "other", progress=False)


def test_medmnist_that_is_another_file_is_not_kept(medmnist, tmp_path):
    with pytest.raises(DownloadError, match="its MD5 differs; nothing was kept"):
        medmnist_npz("breastmnist", size=128, root=tmp_path / "kept", progress=False)
    assert list((tmp_path / "kept").iterdir()) == []


def test_medmnist_asked_for_what_it_has_not(medmnist, monkeypatch):
    with pytest.raises(DataError, match="has no images called 'organmnist3d'"):
        medmnist_npz("organmnist3d", size=64)
    with pytest.raises(DataError, match="sizes 28, 64, 128 and 224"):
        medmnist_npz("breastmnist", size=32)
    monkeypatch.setitem(sys.modules, "medmnist.info", None)
    with pytest.raises(NotRunnableError, match="pip install medmnist"):
        medmnist_npz("breastmnist")
