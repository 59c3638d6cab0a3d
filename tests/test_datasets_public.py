"""Public data as their owners hand them out, read by the one general reader, on look-alikes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medgan_widgets.datasets import read_images
from tests.made_data import noise, save, save_table, save_volume


@pytest.fixture(params=["images_{:03}/images", "images"])
def chests(request, tmp_path):
    rows = []
    for number in range(24):
        name = f"{number // 2:08}_{number % 2:03}.png"
        rows.append({
            "Image Index": name, "Follow-up #": number % 2, "Patient ID": number // 2,
            "Finding Labels": ("No Finding", "Effusion|Mass", "Mass")[number // 2 % 3],
        })  # fmt: skip
        if number < 22:  # the rest is not unpacked yet; some files have four channels and are grey
            picture = noise(number) if number % 5 else noise(number, (32, 32, 4))
            save(tmp_path / request.param.format(1 + number % 2) / name, picture)
    save_table(tmp_path / "Data_Entry_2017.csv", rows)
    (tmp_path / "BBox_List_2017.csv").write_text("Image Index,Finding Label\n")
    return tmp_path


def test_chestxray14_by_its_own_table(chests):
    table = chests / "Data_Entry_2017.csv"
    data = read_images(chests, table=table, labels="Finding Labels", group="Patient ID")
    assert data.factors == {"Finding Labels": ("Effusion|Mass", "Mass", "No Finding")}
    assert data.images.shape == (22, 32, 32, 1)
    assert len(set(data.groups)) == 11
    assert any("2 of the 24 files" in note for note in data.notes)
    rows = pd.read_csv(table)
    rows["Mass"] = rows["Finding Labels"].str.contains("Mass")
    one = read_images(chests, table=rows, labels="Mass", group="Patient ID")
    assert one.counts() == {"Mass": {False: 8, True: 14}}


def test_brats_by_rows_that_name_one_sequence_and_patients(tmp_path):
    for number, case in enumerate(("2021_00000", "2021_00003", "-GLI-00005-000", "-GLI-00005-001")):
        kinds = ("flair", "t1ce", "seg") if "_" in case else ("t2f", "t1c", "seg")
        for place, kind in enumerate(kinds):
            name = f"BraTS{case}{'_' if '_' in case else '-'}{kind}.nii.gz"
            save_volume(tmp_path / f"BraTS{case}" / name, 3 * number + place, (16, 18, 10))
    every = read_images(tmp_path)
    assert len(every) == 4 * 2 * 6, "six of ten slices of each volume, none of a segmentation"
    assert any("4 files look like masks" in note for note in every.notes)
    rows = [
        {"file_name": path.relative_to(tmp_path).as_posix(), "patient": path.name[:15]}
        for kind in ("flair", "t2f")
        for path in tmp_path.rglob(f"*{kind}.nii.gz")
    ]
    one = read_images(tmp_path, table=rows, group="patient")
    assert len(one) == 4 * 6
    assert len(set(one.groups)) == 3, "two visits of one patient are one group"


def test_medmnist_as_its_package_downloads_it(tmp_path):
    parts = {}
    for part, count in (("train", 8), ("val", 2), ("test", 4)):
        parts[f"{part}_images"] = np.stack([noise(count + n, (64, 64)) for n in range(count)])
        parts[f"{part}_labels"] = np.arange(count)[:, None] % 2
    np.savez_compressed(tmp_path / "breastmnist_64.npz", **parts)
    data = read_images(tmp_path / "breastmnist_64.npz")
    assert (len(data.training), len(data.held_out)) == (8, 6)
    assert data.factors == {"class": (0, 1)}
