"""What lies in a folder, by names alone: images of which kind, masks, and what is no image.

Nothing is decoded here; of a file whose name tells nothing the first bytes are looked at.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medgan_widgets.datasets.naming import masks_among
from medgan_widgets.errors import DataError

KINDS = {
    "folder": "PNG, JPEG or TIFF",
    "dicom": "DICOM",
    "nifti": "NIfTI",
    "npz": "arrays",
}
SUFFIXES = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".npz": "npz",
    ".npy": "npz",
    **dict.fromkeys((".dcm", ".dicom", ".ima"), "dicom"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"), "folder"),
    **dict.fromkeys((".webp", ".pgm", ".ppm"), "folder"),
}
TABLES = frozenset({".csv", ".jsonl"})
# What lies beside images in every download, and is none of them.
DOCUMENTS = TABLES | {".txt", ".md", ".json", ".tsv", ".xml", ".html", ".pdf", ".xlsx", ".rst"}
DOCUMENTS |= {".ini", ".db", ".log", ".md5", ".xls", ".doc", ".docx", ".yaml", ".yml", ".ipynb"}
DOCUMENTS |= {".py", ".bval", ".bvec"}
DOCUMENT_NAMES = frozenset({"README", "LICENSE", "LICENCE", "DICOMDIR", "SHA256SUMS"})
_SYSTEM = {  # what systems leave behind, as lower case; the pictures in it are copies
    "@eadir": "thumbnails of a Synology NAS",
    ".@__thumb": "thumbnails of a QNAP NAS",
    ".thumbnails": "thumbnails",
    "thumbs.db": "thumbnails of Windows",
    "__macosx": "what macOS adds to an archive",
    ".ds_store": "what macOS adds to a folder",
    ".ipynb_checkpoints": "older copies that Jupyter keeps",
    **dict.fromkeys(("#recycle", "@recycle", "$recycle.bin", ".trash"), "what was deleted"),
    **dict.fromkeys(("#snapshot", "@recently-snapshot"), "older copies that a NAS keeps"),
}
# Of DICOM's first elements, where the 128 bytes before them are missing.
_VALUE_TYPES = frozenset(b"AE CS DA LO OB SH SQ ST TM UI UL US".split())
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")


@dataclass(frozen=True)
class Listing:
    """What lies below a path."""

    files: dict[str, Path]  # by their path below it, in order; without documents and tables
    kinds: dict[str, str | None]  # folder (pictures), dicom, nifti, npz; None where unknown
    masks: dict[str, str] = field(default_factory=dict)  # mask -> the image that it belongs to
    left_out: dict[str, str] = field(default_factory=dict)  # what is no image, and why
    notes: list[str] = field(default_factory=list)  # on masks, without names of files

    def images(self, kind: str | None) -> list[str]:
        """Return the files of a kind that are no masks."""
        return [n for n, own in self.kinds.items() if own == kind and n not in self.masks]


def list_files(root: Path) -> Listing:
    """Return what lies in a folder, or what one file is.

    Links are followed, each real folder and file once and under its own name where it has one
    here. Names are as Unicode composes them (NFC), unless two files differ in nothing else.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("a.png", "a_mask.png", "b.nii.gz", "notes.txt"):
    ...         _ = Path(folder, name).write_bytes(b"")
    ...     listing = list_files(Path(folder))
    >>> listing.kinds
    {'a.png': 'folder', 'a_mask.png': 'folder', 'b.nii.gz': 'nifti'}
    >>> listing.masks
    {'a_mask.png': 'a.png'}
    """
    if root.is_file():
        name = unicodedata.normalize("NFC", root.name)
        return Listing({name: root}, {name: _kind_of_file(root)})
    if not root.is_dir():
        raise DataError(f"{root} is neither a folder nor a file.")
    left_out: dict[str, str] = {}
    files = _composed(_walk(root, left_out))
    kinds = {name: _kind_of_file(path) for name, path in files.items()}
    stems = {n: stem_of(n.rpartition("/")[2]) for n, kind in kinds.items() if kind is not None}
    masks, lost, alone = masks_among(stems)
    # A DICOM file says itself what it is.
    lost, alone = ([n for n in some if kinds[n] != "dicom"] for some in (lost, alone))
    for name in lost:
        del files[name], kinds[name]
        left_out[name] = "a mask by its name, whose image is not here"
    notes = []
    if masks:
        notes.append(f"{len(masks)} files look like masks of images beside them and are left out.")
    if alone:
        notes.append(
            f"{len(alone)} files are called masks, but no images of these names lie beside "
            "them; they are read as images."
        )
    return Listing(files, kinds, masks, left_out, notes)


def kind_of(listing: Listing, kind: str | None = None) -> str:
    """Return the kind of data, masks left out; it must be given where there are several."""
    if kind is not None and kind not in KINDS:
        raise DataError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    if kind is not None:
        return kind
    counts = Counter(own for name, own in listing.kinds.items() if name not in listing.masks)
    unknown = counts.pop(None, 0)
    kinds = sorted(own for own in counts if own is not None)
    if not kinds:
        beside = f"; {unknown} files are of no kind known here" if unknown else ""
        reasons = Counter(listing.left_out.values())
        beside += "".join(f"; left out: {count} × {why}" for why, count in reasons.items())
        raise DataError(
            f"there is nothing to learn from there: no {', '.join(KINDS.values())}{beside}."
        )
    if len(kinds) > 1:
        counted = " and ".join(f"{KINDS[own]} ({counts[own]})" for own in kinds)
        choice = " or ".join(f"kind={own!r}" for own in kinds)
        raise DataError(f"the folder holds {counted}; say which to learn from with {choice}.")
    return kinds[0]


def stem_of(name: str) -> str:
    """Return a name without the suffix of an image; other dots stay.

    Examples
    --------
    >>> stem_of("a/case.1.nii.gz"), stem_of("1.2.840.7")
    ('a/case.1', '1.2.840.7')
    """
    end = next((end for end in SUFFIXES if name.lower().endswith(end)), "")
    return name[: len(name) - len(end)]


def _kind_of_file(path: Path) -> str | None:
    known = SUFFIXES.get(path.name[len(stem_of(path.name)) :].lower())
    return known or ("dicom" if _begins_as_dicom(path) else None)


def _walk(root: Path, left_out: dict[str, str]) -> dict[str, Path]:
    """Return files by their name below a folder; what is linked comes after what is here."""
    files: dict[str, Path] = {}
    seen: set[str] = set()
    folders = [("", str(root))]
    links: list[tuple[str, str]] = []
    top = root.resolve()
    while folders or links:
        name, text = folders.pop() if folders else links.pop()
        path = Path(text)
        real = str(path.resolve())
        if real in seen or (name and top.is_relative_to(real)):
            left_out[name] = "a link to what is here already, or above it"
            continue
        seen.add(real)
        if path.is_file():
            files[name] = path
            continue
        try:
            inside = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{path} cannot be listed: {error.strerror}.") from error
        for entry in inside:
            below = f"{name}/{entry.name}" if name else entry.name
            linked = entry.is_symlink()
            if reason := _leftover(entry.name):
                left_out[below] = reason
            elif linked and Path(entry).exists():
                if Path(entry).is_dir() or not _is_document(entry.name):
                    links.append((below, entry.path))
            elif not linked and entry.is_dir():
                folders.append((below, entry.path))
            elif _is_document(entry.name):
                continue
            elif stem_of(entry.name) != entry.name if linked else entry.is_file():
                seen.add(f"{real}/{entry.name}")  # a link to nothing too: reading it says so
                files[below] = Path(entry)
            else:
                left_out[below] = "no ordinary file, or a link to nothing"
        links.sort(reverse=True)
    return files


def _leftover(name: str) -> str | None:
    """Return what a name tells that is no image; None for a name that may be one."""
    if name.startswith("._"):
        return "what macOS adds to a file"
    if name.startswith("."):
        return _SYSTEM.get(name.lower(), "hidden, as its name begins with a dot")
    if name.upper().partition(".")[0] in DOCUMENT_NAMES and stem_of(name) != name:
        return "a picture of a document, by its name"
    return _SYSTEM.get(name.lower())


def _is_document(name: str) -> bool:
    end = os.path.splitext(name)[1].lower()  # noqa: PTH122 - quicker for a hundred thousand names
    return end in DOCUMENTS or name.upper().partition(".")[0] in DOCUMENT_NAMES


def _composed(files: Mapping[str, Path]) -> dict[str, Path]:
    """Return files by composed names, in the order of their folders."""
    composed = {name: unicodedata.normalize("NFC", name) for name in files}
    count = Counter(composed.values())
    named = {composed[name] if count[composed[name]] == 1 else name: files[name] for name in files}
    return {name: named[name] for name in sorted(named, key=lambda name: name.split("/"))}


def _begins_as_dicom(path: Path) -> bool:
    """Return whether a file begins with 128 bytes for anything and DICM, or with an element."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    if start[128:] == b"DICM":
        return True
    for order in _ORDERS:
        if int.from_bytes(start[:2], order) in (2, 8):
            if start[4:6] in _VALUE_TYPES:  # written out
                return True
            # Else a length stands here, and the next element behind so many bytes.
            following = 8 + int.from_bytes(start[4:8], order)
            if int.from_bytes(start[following : following + 2], order) in (2, 8, 16, 24, 32, 40):
                return True
    return False
