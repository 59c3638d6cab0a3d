"""What the names of files and folders say: masks, sides of a split, classes and patients."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from medgan_widgets.errors import DataError

# Words in names. A number may follow a mask's word: mask1, seg02.
_MASK = re.compile(
    r"(masks?|msk|seg|segs|segm|segmentations?|labels?|labelmaps?|gt|ground|truth|groundtruth"
    r"|annotations?|annot|manual|superpixels)(\d*)"
)
_IMAGE = re.compile(
    r"(\w*images?|imgs?|imaging|scans?|data|dataset|vol|volumes?|inputs?|orig|originals?"
    r"|pictures?|photos?|frames?|slices?|raw|png|set)(\d*)"
)
_MODALITY = re.compile(
    r"(t1|t2|pd|t1w|t1n|t1c|t1ce|t1gd|t2w|t2f|flair|cta?|pet|adc|dwi|mri?|swi)()"
)
_SIDE = re.compile(
    r"(train|training|trn|tr|(val|valid|validation|validate|test|testing|ts|dev|eval|evaluation"
    r"|holdout))(set|data)?\d*"
)
# DRIVE calls its images 21_training and their masks 21_manual1.
_SIDE_WORD = re.compile(r"(training|test)()")
_BREAK = re.compile(r"[\s_.\-]+|(?<=[a-z])(?=[A-Z][a-z])")

# Names of folders. Numbered parts of one examination are neither classes nor patients.
_PART = re.compile(
    r"(study|visit|ses|session|scan|series|exam|run|day|time|timepoint|tp|acq|view)[\W_]*\d+.*",
    re.IGNORECASE,
)
_CLASS = re.compile(
    r"(class|cls|grade|stage|type|category|cat|label|level|kl|bi-?rads|group|score|t\d\w*)"
    r"[\W_]*\d*[a-d]?",
    re.IGNORECASE,
)
_PATIENT = re.compile(
    r"(patient|pat|pt|p|subject|subj|sub|s|case|id|pid|person|participant|volunteer|anon\w*"
    r"|donor|mouse)[\W_]*\d.*|.*\d{4,}.*|.*\^.*",
    re.IGNORECASE,
)
_LETTERS_AND_DIGITS = re.compile(r"(?=.*[^\W\d])(?=.*\d).{3,}|0\d+")
_ANY_DIGIT = re.compile(r".*\d.*")
_LONG_NUMBER = re.compile(r".*\d{4,}.*")
_FULL_NAME = re.compile(r"[^\W\d_]{2,}[ ,_-]+[^\W\d_]{2,}")
Folder = tuple[str, ...]
FEW_IMAGES, SOME_IMAGES = 10, 30  # of a folder: patients have fewer, classes more
NAMED = 5  # classes that a sentence names


@dataclass(frozen=True)
class FolderLabels:
    """What the folders' names say of images.

    Attributes
    ----------
    classes
        The class of each image that lies below a class's folder.
    groups
        The patient's folder of images that lie in one; None where no folder looks
        like a patient's. It may name a person, so it is never shown.
    note
        What was decided, in a sentence that names classes alone.
    strays
        Images that lie in no class's folder.
    """

    classes: dict[str, str]
    groups: dict[str, str] | None = field(repr=False)
    note: str
    strays: list[str]


def own_split(names: Iterable[str]) -> dict[str, str] | None:
    """Return the side of each image that lies in a folder such as ``train`` or ``test``.

    Validation and test images both judge: ``"test"``. Images outside these folders
    are not in the answer; whoever asks says so. None where there are not both.

    Examples
    --------
    >>> own_split(["set/Training/a.png", "set/val/b.png", "c.png"])
    {'set/Training/a.png': 'train', 'set/val/b.png': 'test'}
    """
    sides = _sides(names)
    return {name: side for name, (_, side) in sides.items()} or None


def folder_labels(names: Sequence[str]) -> FolderLabels:
    """Return classes, and patients, as the folders' names tell them.

    The class is the level of folders with few names and many images each. Levels of
    ``train`` and ``test``, of ``images``, and of ``study1`` and the like are passed
    over. Folders that look like patients (names like P07 or 00012, or many folders
    with few images each) say what belongs together, and are never a class.

    Raises
    ------
    DataError
        When there are no folders, or all of them look like patients.

    Examples
    --------
    >>> names = [f"{kind}/P-{n}/0.png" for kind in ("COVID", "Healthy") for n in range(5)]
    >>> folder_labels(names).note
    'classes are the folders COVID and Healthy; 10 folders look like patients and stay together'
    """
    paths = _folders(names)
    depth = max(map(len, paths.values()), default=0)
    if not depth:
        raise DataError(
            "there are no sub-folders to take classes from; make one for each class, or name a "
            "column of a table with labels=."
        )
    level = {d: {n: path[d] for n, path in paths.items() if len(path) > d} for d in range(depth)}
    images = {d: Counter(level[d].values()) for d in level}
    patients = {d: len(images[d]) > 1 and _look_like_patients(images[d]) for d in level}
    candidates = [
        d
        for d in level
        if (len(images[d]) > 1 or not any(patients.values()))
        and not patients[d]
        and not _most(_PART, images[d])
        and 2 * len(level[d]) > len(names)
    ]
    if not candidates:
        count = max((len(images[d]) for d in level if patients[d]), default=0)
        why = f"{count} of them look like patients" if count else "most images lie in none of them"
        raise DataError(
            f"the class cannot be taken from the folders: {why}; put classes in a table "
            "(file_name, label) and pass labels='label', or make one folder for each class above "
            "the patients'. group='folder' keeps each folder together."
        )
    # A level of one name is a class only where no other level is; numbers may be a count.
    chosen = min(
        candidates,
        key=lambda d: (len(images[d]) == 1, _most(_ANY_DIGIT, images[d]), len(images[d])),
    )
    classes = level[chosen]
    sides = _sides(names)
    # The same folder below train and test counts twice: numbers often begin anew there.
    apart = {name: (sides[name][1] if name in sides else "", path) for name, path in paths.items()}
    among = next((d for d in level if _are_groups(d, chosen, apart, patients)), None)
    groups = None
    if among is not None:
        anew = all(one.isdigit() and len(one) < 4 for one in images[among])
        groups = {}
        for name, folder in level[among].items():
            side, path = apart[name]
            # A long number is a patient's own, also where the patient has two classes.
            whole = [folder] if _LONG_NUMBER.fullmatch(folder) else [*path[: among + 1]]
            if name in classes:
                groups[name] = "/".join([side] * (anew and side != "") + whole)
    strays = [name for name in names if name not in classes]
    return FolderLabels(classes, groups, _note(images[chosen], groups), strays)


def masks_among(stems: Mapping[str, str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Return masks with the image each belongs to, masks without one, and what only may be masks.

    A mask is called so (``x_mask``, ``seg_x``), or lies in a folder called so, and
    an image of the same name lies beside it: in its folder, in ``images`` beside
    ``masks``, or nowhere else. Where most of a folder's masks have no image, none of
    them is taken for a mask: people with and without face masks lie in such folders.

    Parameters
    ----------
    stems
        The names of all images and masks, each with its last part without suffix.

    Examples
    --------
    >>> masks_among({"images/1.png": "1", "masks/1_seg.gif": "1_seg"})
    ({'masks/1_seg.gif': 'images/1.png'}, [], [])
    """
    places = {name: tuple(name.split("/")[:-1]) for name in stems}
    inside: dict[Folder, list[str]] = defaultdict(list)
    groups: dict[tuple[bool, Folder], list[str]] = defaultdict(list)
    for name, place in places.items():
        inside[place].append(name)
        depth = max((d for d, one in enumerate(place, 1) if _called_mask(one)), default=0)
        if depth or _called_mask(stems[name]):
            groups[depth > 0, place[:depth] if depth else place].append(name)
    if not groups:
        return {}, [], []
    known: dict[tuple[Folder, tuple[str, ...]], str] = {}
    anywhere: dict[tuple[str, ...], list[str]] = defaultdict(list)
    called = {name: _image_keys(stem) for name, stem in stems.items()}
    for rank in range(3):  # exact names win over names without a modality
        for name, place in places.items():
            key = called[name][rank]
            known.setdefault((place, key), name)
            if rank == 0 and not any(map(_called_mask, place)):
                anywhere[key].append(name)
    children: dict[Folder, set[Folder]] = defaultdict(set)
    for place in inside:
        for depth in range(len(place)):
            children[place[:depth]].add(place[: depth + 1])
    masks: dict[str, str] = {}
    lost: list[str] = []
    alone: list[str] = []
    for (own, folder), members in groups.items():
        beside = _image_folders(folder, children[folder[:-1]]) if own else []
        found: dict[str, str] = {}
        for name in members:
            place, keys = places[name], _mask_keys(stems[name])
            near = [(*one, *place[len(folder) :]) for one in beside]
            images = [known.get((p, key)) for p in near for key in (_tokens(stems[name]), *keys)]
            if _called_mask(stems[name]):
                images = [known.get((place, key)) for key in keys] + images
                images += anywhere[keys[0]] if len(anywhere.get(keys[0], ())) == 1 else []
            # Many masks of one image lie beside that image alone, under names of their own.
            images += [inside[p][0] for p in near if len(inside.get(p, ())) == 1]
            image = next((image for image in images if image is not None), None)
            if image is not None:
                found[name] = image
        if 2 * len(found) > len(members):
            masks |= found
            lost += [name for name in members if name not in found]
        elif not own or not _without(_tokens(folder[-1]), _MASK):
            alone += members
    return masks, lost, alone


def _image_folders(masks: Folder, siblings: Iterable[Folder]) -> list[Folder]:
    """Return the folders that may hold the images of a folder of masks, the likeliest first.

    ``images`` beside ``masks``, ``train`` beside ``train_masks``, or else the folder above.
    """
    rest = _without(_tokens(masks[-1]), _MASK, _IMAGE)
    others = [one for one in siblings if _without(_tokens(one[-1]), _MASK)]
    ranked = []
    for folder in others:
        tokens = _tokens(folder[-1])
        same = _without(tokens, _IMAGE) == rest
        sided = same and all(_SIDE.fullmatch(token) for token in tokens)
        if sided or (_called_image(folder[-1]) and not _called_mask(folder[-1])):
            ranked.append((not same, folder))
    return [folder for _, folder in sorted(ranked)] or [masks[:-1]] * (not rest and not others)


@cache
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(one.lower() for one in _BREAK.split(text) if one)


def _without(tokens: Sequence[str], *words: re.Pattern[str]) -> tuple[str, ...]:
    """Return tokens without some words; the number at a word's end stays."""
    kept = []
    for token in tokens:
        match = next((match for word in words if (match := word.fullmatch(token))), None)
        kept.append(match[2] if match else token)
    return tuple(one for one in kept if one)


@cache
def _called_mask(text: str) -> bool:
    return any(_MASK.fullmatch(token) for token in _tokens(text))


def _called_image(text: str) -> bool:
    return any(_IMAGE.fullmatch(token) for token in _tokens(text))


def _image_keys(stem: str) -> list[tuple[str, ...]]:
    """Return what a mask may call this image, the exact first."""
    tokens = _tokens(stem)
    # nnU-Net numbers the channels of an image: case_0000, case_0001.
    channel = tokens[:-1] if re.fullmatch("000[0-9]", "".join(tokens[-1:])) else tokens
    return [tokens, channel, _without(tokens, _IMAGE, _MODALITY, _SIDE_WORD)]


def _mask_keys(stem: str) -> list[tuple[str, ...]]:
    """Return what the image of a mask may be called, the exact first."""
    tokens = _tokens(stem)
    bare = _without(tokens, _MASK)
    keys = [bare]
    if len(bare) > 1 and bare[-1].isdigit():  # x_mask_1: the second mask of x
        keys.append(bare[:-1])
    return [*keys, *(_without(key, _IMAGE, _MODALITY, _SIDE_WORD) for key in keys)]


def _sides(names: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return at which level of its path an image's side is told, and the side."""
    places = {name: name.split("/")[:-1] for name in names}
    have: dict[tuple[int, tuple[str, ...]], set[str]] = defaultdict(set)
    for place in {tuple(place) for place in places.values()}:
        for at, folder in enumerate(place):
            if word := _side_of(folder):
                have[at, word[1]].add(word[0])
    found = {}
    for name, parts in places.items():
        for at, folder in enumerate(parts):
            word = _side_of(folder)
            if word and len(have[at, word[1]]) == 2:
                found[name] = (at, word[0])
                break
    return found


@cache
def _side_of(folder: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the side that a folder's name tells, and what else it says."""
    tokens = _tokens(folder)
    told = [match for token in tokens if (match := _SIDE.fullmatch(token))]
    if len(told) != 1 or (
        len(told[0][0]) == 2 and not (_called_image(folder) or _called_mask(folder))
    ):
        return None
    # Numbers tell a patient or a version: BraTS20_Training_001, Test_v2.
    rest = [one for one in tokens if not _SIDE.fullmatch(one) and not _ANY_DIGIT.fullmatch(one)]
    return "test" if told[0][2] else "train", _without(rest, _MASK, _IMAGE)


def folders_of(names: Iterable[str]) -> dict[str, str]:
    """Return the folder that keeps each image's company, its train or test left out.

    A patient's folder is one, also where half of it lies below ``train`` and half below
    ``test``. An image in no other folder stands for itself.
    """
    sides = _sides(names := list(names))
    found = {}
    for name in names:
        parts = name.split("/")[:-1]
        at = sides[name][0] if name in sides else len(parts)
        if parts[at:] and not _ANY_DIGIT.fullmatch(parts[at]):  # BraTS20_Training_001 is a patient
            del parts[at]
        found[name] = "/".join(parts) or name
    return found


def _folders(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the folders of each image that may tell its class, composed."""
    sides = _sides(names)
    paths = {}
    for name in names:
        parts = tuple(unicodedata.normalize("NFC", name).split("/")[:-1])
        if name in sides:
            at = sides[name][0]
            below = parts[at + 1 :]
            parts = parts[:at] if all(map(_is_images, below)) else below
        paths[name] = parts
    depth = max(map(len, paths.values()), default=0)
    of_images = {
        d for d in range(depth) if all(_is_images(p[d]) for p in paths.values() if len(p) > d)
    }
    kept = {
        n: tuple(one for d, one in enumerate(p) if d not in of_images) for n, p in paths.items()
    }
    return kept if any(kept.values()) else paths


def _is_images(folder: str) -> bool:
    return not _without(_tokens(folder), _IMAGE)


def _most(pattern: re.Pattern[str], names: Mapping[str, int]) -> bool:
    return 2 * sum(pattern.fullmatch(name) is not None for name in names) > len(names)


def _look_like_patients(images: Mapping[str, int]) -> bool:
    """Return whether folders, with how many images each, look like one for each patient."""
    count, each = len(images), sum(images.values()) / len(images)
    if _most(_CLASS, images):
        return False
    if _most(_PATIENT, images) or (count > 20 and each < FEW_IMAGES):
        return True
    if count <= 10:
        return each < FEW_IMAGES and _most(_LETTERS_AND_DIGITS, images)
    return each < SOME_IMAGES and (_most(_ANY_DIGIT, images) or _most(_FULL_NAME, images))


def _are_groups(
    d: int, chosen: int, apart: Mapping[str, tuple[str, Folder]], patients: Mapping[int, bool]
) -> bool:
    """Return whether a level's folders hold what belongs together, seen from the classes'."""
    if patients[d] or d <= chosen:
        return patients[d]
    here = Counter((side, path[: d + 1]) for side, path in apart.values() if len(path) > d)
    names = Counter(path[-1] for _, path in here)
    if _most(_PART, names) or len(here) < 2:
        return False
    shared = len(names) < len(here) and not _most(_ANY_DIGIT, names)
    return sum(here.values()) < FEW_IMAGES * len(here) and not shared


def _note(classes: Mapping[str, int], groups: Mapping[str, str] | None) -> str:
    count, each = len(classes), round(sum(classes.values()) / len(classes))
    if count <= NAMED:
        *first, last = sorted(classes)
        named = f"{', '.join(first)} and {last}" if first else last
        said = (
            f"classes are the folders {named}" if first else f"the one class is the folder {last}"
        )
    else:
        said = f"{count} folders with about {each} images each are taken for classes"
    if groups is not None:
        count = len(set(groups.values()))
        return f"{said}; {count} folders look like patients and stay together"
    if count > 20 and each < SOME_IMAGES:
        said += "; if they are patients, pass group='folder' and take classes from a table"
    return said
