"""What lies below a folder, told from names alone: kinds, masks, splits, classes, patients."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from statistics import median

from medgan_widgets.datasets.nifti import SUFFIXES as VOLUMES
from medgan_widgets.datasets.pictures import SUFFIXES as PICTURES
from medgan_widgets.datasets.records import Refused
from medgan_widgets.errors import DataError

TABLES = frozenset({".csv", ".jsonl"})
ARRAYS = (".npz", ".npy")
# What lies beside images in every download, and is none of them.
DOCUMENTS = TABLES | {".txt", ".md", ".json", ".tsv", ".xml", ".html", ".pdf", ".xlsx", ".rst"}
DOCUMENTS |= {".ini", ".db", ".log", ".md5", ".yaml", ".yml", ".py", ".ipynb", ".docx", ".xls"}
DOCUMENT_NAMES = frozenset({"README", "LICENSE", "LICENCE", "DICOMDIR", "SHA256SUMS"})
# Thumbnails and traces that network drives, macOS and Windows leave in every folder.
TRACES = frozenset({
    "@eadir", ".@__thumb", "__macosx", ".ipynb_checkpoints", "thumbs.db", "desktop.ini",
    "#recycle", "$recycle.bin", "lost+found",
})  # fmt: skip

MASK_WORDS = "mask|masks|seg|segmentation|segmentations|label|labels|labelmap|gt|groundtruth"
_MASK_END = re.compile(rf"(.+?)[ _.-]+({MASK_WORDS})([ _.-]*\d+)?", re.IGNORECASE)
_MASK_START = re.compile(rf"({MASK_WORDS})[ _.-]+(.+)", re.IGNORECASE)
_MASK_FOLDER = re.compile(
    rf"((lesion|organ|tumou?r|binary)[ _-]?)?({MASK_WORDS}|annotations?|ground[ _-]truth"
    r"|labels(tr|ts)|segs)",
    re.IGNORECASE,
)
_IMAGE_FOLDER = re.compile(
    r"images?|imgs?|imagest[rs]|jpegimages|data|scans?|frames?|originals?|raw|slices|pictures?",
    re.IGNORECASE,
)
# What stands behind the name of a case where it has several images.
_SEQUENCE = re.compile(
    r"[ _.-]+(t1|t1ce|t1gd|t1c|t1n|t1w|t2|t2w|t2f|flair|pd|dwi|adc|ct|pet|mr|mri|us|cbct|0000"
    r"|img|image|orig)",
    re.IGNORECASE,
)
_TRAIN = frozenset({"train", "training", "trainset"})
_TEST = frozenset({"test", "testing", "val", "valid", "validation", "eval", "dev", "testset"})
_PATIENT = re.compile(
    r"(p|pt|pat|patients?|sub|subj|subject|case|id|pid|person|study|exam|scan)[ _-]?\d+.*",
    re.IGNORECASE,
)
FEW_OF_A_PATIENT = 10  # images in a folder, the median, up to which many folders are patients
SLICES_OF_A_PATIENT = 30
MANY = 20  # folders that are patients by their number, whatever they are called
FEWEST_PATIENTS = 6


@dataclass
class Listing:
    """The files below a place.

    Attributes
    ----------
    files
        Path below the place -> file, in order.
    kinds
        Path below the place -> ``"folder"`` (pictures), ``"dicom"``, ``"nifti"``, ``"npz"``,
        or None.
    masks
        Image -> the masks that lie beside it.
    left_out
        What is no image, and why.
    notes
        What is to be said.
    hidden
        Masks, and masks without their image: what is listed and is no image.
    """

    files: dict[str, Path] = field(default_factory=dict)
    kinds: dict[str, str | None] = field(default_factory=dict)
    masks: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)

    def images(self, kind: str) -> list[str]:
        """Return the files of a kind that are images."""
        return [name for name, one in self.kinds.items() if one == kind and name not in self.hidden]


def list_files(root: Path) -> Listing:
    """Return what lies below a place, walked once; links to folders are followed once.

    Documents and tables are not listed. A mask is recognised where the image of its name
    lies beside it: ``1_mask.png`` beside ``1.png``, ``case_seg.nii.gz`` beside
    ``case_t1.nii.gz``, ``masks/1.png`` beside ``images/1.png``.

    Raises
    ------
    DataError
        When there is no such place, or it cannot be listed.
    """
    listing = Listing()
    if root.is_file():
        listing.files[root.name] = root
    elif root.is_dir():
        for path in sorted(_below(root, {root.resolve()}, listing)):
            listing.files[path.relative_to(root).as_posix()] = path
    else:
        raise DataError(f"{root} is neither a folder nor a file.")
    for name, path in list(listing.files.items()):
        if path.suffix.lower() in DOCUMENTS or path.stem.upper() in DOCUMENT_NAMES:
            del listing.files[name]
        else:
            listing.kinds[name] = _kind_of(path)
    _find_masks(listing)
    return listing


def _below(folder: Path, seen: set[Path], listing: Listing) -> Iterator[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
    for path in inside:
        if path.name.lower() in TRACES or path.name.startswith("."):
            continue
        if path.is_dir():
            real = path.resolve()
            if not path.is_symlink() or real not in seen:
                seen.add(real)
                yield from _below(path, seen, listing)
        elif path.is_file() or path.is_symlink():  # reading a link to nothing says so
            real = path.resolve()
            if path.is_symlink() and real in seen:
                continue
            seen.add(real)
            yield path


def _kind_of(path: Path) -> str | None:
    name = path.name.lower()
    if name.endswith(VOLUMES):
        return "nifti"
    if name.endswith(ARRAYS):
        return "npz"
    if path.suffix.lower() in PICTURES:
        return "folder"
    return "dicom" if path.suffix.lower() in (".dcm", ".dicom", ".ima") or _is_dicom(path) else None


def _is_dicom(path: Path) -> bool:
    """Return whether a file begins as DICOM does, with its preamble or without one."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    # Without a preamble the first tag is of group 0002 or 0008, little endian.
    bare = len(head) > 8 and head[:2] in (b"\x02\0", b"\x08\0") and head[3:4] == b"\0"
    return head[128:] == b"DICM" or bare


def _stem(name: str) -> str:
    """Return a file's name without its suffixes, in one Unicode form and case."""
    base = PurePosixPath(name).name
    for suffix in (".nii.gz", PurePosixPath(base).suffix):
        if suffix and base.lower().endswith(suffix.lower()):
            base = base[: -len(suffix)]
            break
    return unicodedata.normalize("NFC", base).casefold()


def _unmarked(stem: str) -> str | None:
    """Return whose mask a name says it is, or None."""
    if match := _MASK_END.fullmatch(stem):
        return match[1]
    match = _MASK_START.fullmatch(stem)
    return match[2] if match else None


def _find_masks(listing: Listing) -> None:
    """Note which files are masks of which images; what has no image is told."""
    known = [name for name, kind in listing.kinds.items() if kind is not None]
    images: dict[tuple[str, str], list[str]] = defaultdict(list)
    folders: dict[str, set[str]] = defaultdict(set)
    for name in known:
        parent, stem = PurePosixPath(name).parent, _stem(name)
        images[parent.as_posix(), stem].append(name)
        sequence = _SEQUENCE.search(stem)
        while sequence and sequence.end() < len(stem):
            sequence = _SEQUENCE.search(stem, sequence.start() + 1)
        if sequence:
            images[parent.as_posix(), stem[: sequence.start()]].append(name)
        for folder in (parent, *parent.parents):
            folders[folder.parent.as_posix()].add(folder.name)
    found = {name: owners for name in known if (owners := _owners(name, images, folders))}
    within = Counter(PurePosixPath(name).parent for name in known)
    matched = Counter(PurePosixPath(name).parent for name in found)
    lost = [
        name
        for name in known
        if name not in found
        and (
            (found and _unmarked(_stem(name)) is not None)
            or (
                2 * matched[folder := PurePosixPath(name).parent] > within[folder]
                and _MASK_FOLDER.fullmatch(folder.name)
            )
        )
    ]
    if not found and (marked := [name for name in known if _unmarked(_stem(name)) is not None]):
        listing.notes.append(
            f"{len(marked):,} files are named as masks and no images lie beside them; they are "
            "read as images."
        )
    listing.left_out += [Refused(name, f"{name} is a mask without its image") for name in lost]
    for mask, owners in found.items():
        for image in owners:
            listing.masks.setdefault(image, []).append(mask)
    listing.hidden = {*found, *lost}


def _owners(
    name: str, images: dict[tuple[str, str], list[str]], folders: dict[str, set[str]]
) -> list[str]:
    """Return the images that a file is the mask of."""
    path, stem = PurePosixPath(name), _stem(name)
    bare = _unmarked(stem)
    if bare is not None and (own := images.get((path.parent.as_posix(), bare))):
        return [one for one in own if one != name and _unmarked(_stem(one)) is None]
    parts = path.parent.parts
    for level, part in enumerate(parts):
        if not _MASK_FOLDER.fullmatch(part):
            continue
        for other in sorted(folders[PurePosixPath(*parts[:level]).as_posix()] - {part}):
            if not _IMAGE_FOLDER.fullmatch(other):
                continue
            folder = PurePosixPath(*parts[:level], other, *parts[level + 1 :]).as_posix()
            for key in (stem, bare):
                if key is not None and (own := images.get((folder, key))):
                    return own
    return []


def own_split(names: Sequence[str]) -> tuple[dict[str, str], list[str]] | None:
    """Return the split that folders called train, val or test make, and what lies outside them.

    Images in ``val`` and ``test`` judge. None where there are not both sides.

    Examples
    --------
    >>> own_split(["train/a/1.png", "test/a/2.png", "3.png"])
    ({'train/a/1.png': 'train', 'test/a/2.png': 'test'}, ['3.png'])
    """
    sides = {name: side for name in names if (side := _side_of(name)) is not None}
    if set(sides.values()) != {"train", "test"}:
        return None
    return sides, [name for name in names if name not in sides]


def _side_of(name: str) -> str | None:
    for part in PurePosixPath(name).parts[:-1]:
        if side := _side(part):
            return side
    return None


def _side(part: str) -> str | None:
    words = set(re.split(r"[^a-z]+", part.lower()))
    if words & _TRAIN:
        return "train"
    return "test" if words & _TEST else None


@dataclass(frozen=True)
class FolderLabels:
    """What folders say of the images in them.

    Attributes
    ----------
    classes
        Image -> its class.
    groups
        Image -> its patient, where folders look like patients; else empty.
    note
        How it was decided, without the name of anybody.
    strays
        Images beside the folders of the classes.
    """

    classes: dict[str, str]
    groups: dict[str, str]
    note: str
    strays: list[str]


def folder_labels(names: Sequence[str]) -> FolderLabels:
    """Return classes and patients by folder: the class is the level of few names with many images.

    Folders of a split (train, test) and those that all images share are no classes. Where
    the folders of another level look like patients, they are the groups.

    Raises
    ------
    DataError
        When no level tells a class. No folder is named: it may be a person.

    Examples
    --------
    >>> names = [f"{kind}/P{n}/{k}.png" for kind in "ab" for n in range(6) for k in range(3)]
    >>> found = folder_labels(names)
    >>> found.classes["a/P0/0.png"], found.groups["a/P0/0.png"]
    ('a', 'P0')
    """
    split = own_split(names) is not None
    paths = {}
    for name in names:
        parts = [unicodedata.normalize("NFC", one) for one in PurePosixPath(name).parts[:-1]]
        if (
            split
            and (at := next((k for k, one in enumerate(parts) if _side(one)), None)) is not None
        ):
            del parts[at]
        paths[name] = parts
    levels = _levels_that_tell(paths)
    if not levels:
        raise DataError(
            "labels='folder' needs at least two folders of images; give classes in a table."
        )
    values = {level: [parts[level] for parts in paths.values() if len(parts) > level]
              for level in levels}  # fmt: skip
    kinds = [level for level in levels if not _are_patients(values[level])]
    if not kinds:
        count = len(set(values[levels[-1]]))
        raise DataError(
            f"the {count} folders look like patients, one each, and tell no class; give classes "
            "in a table, with group='folder' to keep each folder together."
        )
    chosen = min(kinds, key=lambda level: (len(set(values[level])), level))
    patients = next((one for one in reversed(levels) if one != chosen
                     and _are_patients(values[one], len(set(values[chosen])))), None)  # fmt: skip
    classes = {name: parts[chosen] for name, parts in paths.items() if len(parts) > chosen}
    groups = (
        {}
        if patients is None
        else {name: parts[patients] for name, parts in paths.items() if len(parts) > patients}
    )
    count = len(set(classes.values()))
    note = ""
    if len(levels) > 1 or patients is not None:
        note = f"classes are the {count} names of the {_in_order(chosen)} level of folders"
        if groups:
            note += f"; the {len(set(groups.values()))} folders of another level look like patients"
            note += " and are the groups"
        note += "."
    return FolderLabels(classes, groups, note, [name for name in names if name not in classes])


def _in_order(level: int) -> str:
    return {0: "first", 1: "second", 2: "third"}.get(level, f"{level + 1}th")


def _levels_that_tell(paths: dict[str, list[str]]) -> list[int]:
    """Return the levels at which images lie in folders of more than one name."""
    deepest = max((len(parts) for parts in paths.values()), default=0)
    return [
        level
        for level in range(deepest)
        if len({parts[level] for parts in paths.values() if len(parts) > level}) > 1
    ]


def _are_patients(folders: Sequence[str], classes: int | None = None) -> bool:
    """Return whether the folder of each image looks like a patient's.

    By their names, or as there are many with few images each; ``classes`` is how many
    classes another level has, where there is one.
    """
    sizes = Counter(folders)
    count, typical = len(sizes), median(sizes.values())
    counted = {str(n) for n in range(count + 1)} >= {one.lstrip("0") or "0" for one in sizes}
    named = sum(_PATIENT.fullmatch(one) is not None for one in sizes) >= 0.8 * count
    numbered = sum(any(c.isdigit() for c in one) for one in sizes) >= 0.8 * count
    if classes is not None:
        return count >= 2 * classes and (named or numbered or typical <= SLICES_OF_A_PATIENT)
    if count < FEWEST_PATIENTS:
        return False
    if named or (count >= MANY and typical <= FEW_OF_A_PATIENT):
        return True
    return (
        numbered
        and not counted
        and typical <= (SLICES_OF_A_PATIENT if count >= MANY else FEW_OF_A_PATIENT)
    )
