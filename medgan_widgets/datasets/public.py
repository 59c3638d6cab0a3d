"""Public data by their own routes: MedMNIST, ChestX-ray14 and BraTS.

Nothing is downloaded without being asked for, and each set's own terms hold:
who uses them has agreed to those.
"""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pooch
import requests

from medgan_widgets.datasets.entry import read_images
from medgan_widgets.datasets.listing import list_files
from medgan_widgets.datasets.training_images import TrainingImages
from medgan_widgets.downloads import TIMEOUT, cache_folder
from medgan_widgets.errors import DataError, DownloadError, NotRunnableError

MEDMNIST_SIZES = (28, 64, 128, 224)
NO_FINDING = "No Finding"
# Names of 2018 to 2021, and those of 2023 on.
MODALITIES = {
    "flair": ("flair", "t2f"),
    "t1": ("t1", "t1n"),
    "t1ce": ("t1ce", "t1c"),
    "t2": ("t2", "t2w"),
}
_BRATS = re.compile(r"(?P<case>brats.+?)[_-](?P<what>[a-z0-9]+)\.nii(\.gz)?", re.IGNORECASE)
_VISIT = re.compile(r"(?P<patient>.+-\d{5})-\d{3}")  # BraTS-GLI-00000-000: patient, then visit


def medmnist_npz(
    name: str, size: int = 28, *, root: str | Path | None = None, progress: bool = True
) -> Path:
    """Return a file of MedMNIST, downloaded once from where its package says.

    The package ``medmnist`` knows the addresses and checksums and has to be
    installed. What is there already and has the right checksum is not loaded again.

    Parameters
    ----------
    name
        One of the two-dimensional sets, e.g. ``"breastmnist"``.
    size
        28, 64, 128 or 224 pixels.
    root
        The folder to keep it in; by default one in the cache.
    progress
        Whether to show a bar.

    Returns
    -------
    Path
        The file, for ``read_images``.

    Raises
    ------
    NotRunnableError
        When the package is not installed.
    DataError
        For an unknown name or size, and for volumes.
    DownloadError
        When it cannot be fetched, or is not the expected file.

    Examples
    --------
    >>> read_images(medmnist_npz("breastmnist", size=64))  # doctest: +SKIP
    TrainingImages(780 images of 64 × 64 × 1, 234 held out, npz)
    """
    info = _medmnist_info()
    flat = [one for one in info if not one.endswith("3d")]
    if name not in flat:
        raise DataError(f"MedMNIST has no images called {name!r}; it has: {', '.join(flat)}.")
    if size not in MEDMNIST_SIZES:
        raise DataError(f"MedMNIST has the sizes 28, 64, 128 and 224, got {size}.")
    mark = "" if size == 28 else f"_{size}"
    url, md5 = str(info[name][f"url{mark}"]), str(info[name][f"MD5{mark}"])
    folder = cache_folder() / "medmnist" if root is None else Path(root).expanduser()
    file = f"{name}{mark}.npz"
    by_hand = f"or load {url} by hand and put it as {file} into {folder}"
    fetch = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT)
    try:
        found = pooch.retrieve(url, f"md5:{md5}", fname=file, path=folder, downloader=fetch)
    except requests.RequestException as error:
        raise DownloadError(
            f"{file} cannot be downloaded ({type(error).__name__}): check the network, {by_hand}."
        ) from error
    except ValueError as error:
        raise DownloadError(
            f"what was downloaded as {file} is not the expected file, its MD5 differs; nothing "
            f"was kept: try again, {by_hand}."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{file} cannot be kept in {folder} ({error.strerror or error}); choose another root=."
        ) from error
    return Path(found)


def chestxray14(
    folder: str | Path,
    *,
    finding: str | None = None,
    size: int | None = None,
    test: float = 0.2,
    split: str | Path | None = None,
    seed: int = 0,
    most: int | None = None,
    skip_unreadable: bool = False,
) -> TrainingImages:
    """Read ChestX-ray14 from the folder that its archives were unpacked in.

    That is ``Data_Entry_2017*.csv`` and the PNG files, in ``images/`` or in
    ``images_001/images/`` and so on; some of them will do. One patient's images stay
    together. The class is ``finding``: an image's first one, or "No Finding".

    Parameters
    ----------
    folder
        Where it lies.
    finding
        Only images with this finding, and those with none at all.
    size, test, split, seed, most, skip_unreadable
        As for `read_images`.

    Raises
    ------
    DataError
        When the table or the images are missing, or nobody has that finding.

    Examples
    --------
    >>> chestxray14("ChestXray-NIHCC", finding="Effusion", size=128)  # doctest: +SKIP
    """
    place = Path(folder).expanduser()
    tables = sorted(place.glob("Data_Entry_2017*.csv")) if place.is_dir() else []
    if not tables:
        raise DataError(f"{place} has no Data_Entry_2017*.csv; give the folder that holds it.")
    by_name = {
        Path(name).name: name
        for name in list_files(place).files
        if Path(name).suffix.lower() == ".png"
    }
    rows = []
    known: set[str] = set()
    for image, findings, patient in _entries(tables[-1]):
        known.update(findings)
        have = by_name.get(image)
        chosen = findings[0] if finding is None else finding
        if have is not None and (chosen in findings or findings == [NO_FINDING]):
            told = chosen if chosen in findings else NO_FINDING
            rows.append({"file_name": have, "finding": told, "patient": patient})
    if finding is not None and finding not in known:
        raise DataError(
            f"nobody has the finding {finding!r}; there are: {', '.join(sorted(known))}."
        )
    if not rows:
        raise DataError(
            f"{place} has none of the images that {tables[-1].name} lists; unpack some."
        )
    return read_images(
        place, kind="folder", labels="finding", group="patient", table=rows, size=size, test=test,
        split=split, seed=seed, most=most, skip_unreadable=skip_unreadable, channels=1,
    )  # fmt: skip


def brats(
    folder: str | Path,
    modality: str = "flair",
    *,
    plane: str = "axial",
    size: int | None = None,
    test: float = 0.2,
    split: str | Path | None = None,
    seed: int = 0,
    most: int | None = None,
    skip_unreadable: bool = False,
) -> TrainingImages:
    """Read slices of BraTS volumes, of the years 2018 to 2021 or of 2023 and later.

    Their files are called ``BraTS2021_00000_flair.nii.gz`` or
    ``BraTS-GLI-00000-000-t2f.nii.gz``, with or without ``.gz``. A patient's slices
    and visits stay together. Slices of the middle 60 % of each volume are taken.

    Parameters
    ----------
    folder
        Where the patients' folders lie, at any depth.
    modality
        ``"flair"``, ``"t1"``, ``"t1ce"`` or ``"t2"``; the names of 2023 serve as well.
    plane, size, test, split, seed, most, skip_unreadable
        As for `read_images`.

    Raises
    ------
    DataError
        For an unknown modality, and when no such volume is there.

    Examples
    --------
    >>> brats("BraTS2021_Training_Data", "t1ce", size=128)  # doctest: +SKIP
    """
    wanted = next((names for names in MODALITIES.values() if modality.lower() in names), None)
    if wanted is None:
        raise DataError(f"modality must be one of {', '.join(MODALITIES)}; got {modality!r}.")
    place = Path(folder).expanduser()
    rows = []
    for name in list_files(place).files:
        match = _BRATS.fullmatch(Path(name).name)
        if match is not None and match["what"].lower() in wanted:
            visit = _VISIT.fullmatch(match["case"])
            patient = visit["patient"] if visit else match["case"]
            rows.append({"file_name": name, "patient": patient})
    if not rows:
        raise DataError(
            f"{place} has no BraTS volumes of {modality}; expected names like "
            f"BraTS2021_00000_{wanted[0]}.nii.gz or BraTS-GLI-00000-000-{wanted[1]}.nii.gz."
        )
    return read_images(
        place, kind="nifti", group="patient", table=rows, plane=plane, size=size, test=test,
        split=split, seed=seed, most=most, skip_unreadable=skip_unreadable,
    )  # fmt: skip


def _medmnist_info() -> Mapping[str, Mapping[str, Any]]:
    try:
        info: Mapping[str, Mapping[str, Any]] = importlib.import_module("medmnist.info").INFO
    except ImportError as error:
        raise NotRunnableError(
            "MedMNIST's own package knows where its files are, and it is not installed; "
            "run: pip install medmnist."
        ) from error
    return info


def _entries(table: Path) -> list[tuple[str, list[str], str]]:
    """Return file name, findings and patient of each row."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return [
                (row["Image Index"], row["Finding Labels"].split("|"), row["Patient ID"])
                for row in csv.DictReader(file)
            ]
    except KeyError as error:
        raise DataError(f"{table.name} has no column {error}; expected that of the NIH.") from None
    except (OSError, ValueError, AttributeError, csv.Error) as error:
        raise DataError(f"{table.name} cannot be read as a table ({error}).") from error
