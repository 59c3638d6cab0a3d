"""What the names of files and folders tell: masks, sides of a split, classes and patients."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
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
Folder = tuple[str, ...]  # the parts of a path
Tokens = tuple[str, ...]  # the words of a name, in lower case
FEW_IMAGES, SOME_IMAGES = 10, 30  # of a folder: patients have fewer, classes more
NAMED = 5  # classes that a sentence names


@dataclass(frozen=True)
class FolderLabels:
    """The class of each image below a class's folder, and what was decided, in a sentence.

    ``groups`` holds the patient's folder of images that lie in one; None where no folder looks
    like a patient's. It may name a person, so it is never shown.
    """

    classes: dict[str, str]
    groups: dict[str, str] | None = field(repr=False)
    note: str


# ---------------------------------------------------------------- masks


def masks_among(stems: Mapping[str, str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Return masks with the image each belongs to, masks without one, and what only may be masks.

    A mask is called so (``x_mask``, ``seg_x``), or lies in a folder called so, and an image of
    the same name lies beside it: in its folder, in ``images`` beside ``masks``, or nowhere else.
    Where most of a folder's masks have no image, none of them is taken for a mask: people with
    and without face masks lie in such folders. ``stems`` holds the names of all images and
    masks, each with its last part without suffix.

    Examples
    --------
    >>> masks_among({"images/1.png": "1", "masks/1_seg.gif": "1_seg"})
    ({'masks/1_seg.gif': 'images/1.png'}, [], [])
    """
    parents = {name: tuple(name.split("/")[:-1]) for name in stems}
    inside: dict[Folder, list[str]] = defaultdict(list)
    groups: dict[tuple[bool, Folder], list[str]] = defaultdict(list)
    for name, parent in parents.items():
        inside[parent].append(name)
        depth = max((d for d, part in enumerate(parent, 1) if _has_word(part, _MASK)), default=0)
        if depth or _has_word(stems[name], _MASK):
            groups[depth > 0, parent[:depth] if depth else parent].append(name)
    if not groups:
        return {}, [], []
    known: dict[tuple[Folder, Tokens], str] = {}
    anywhere: dict[Tokens, list[str]] = defaultdict(list)
    keys_of_images = {name: _image_keys(stem) for name, stem in stems.items()}
    for rank in range(3):  # exact names win over names without a modality
        for name, parent in parents.items():
            key = keys_of_images[name][rank]
            known.setdefault((parent, key), name)
            if rank == 0 and not any(_has_word(part, _MASK) for part in parent):
                anywhere[key].append(name)
    children: dict[Folder, set[Folder]] = defaultdict(set)
    for parent in inside:
        for depth in range(len(parent)):
            children[parent[:depth]].add(parent[: depth + 1])
    masks: dict[str, str] = {}
    lost: list[str] = []
    alone: list[str] = []
    for (own, folder), members in groups.items():
        beside = _image_folders(folder, children[folder[:-1]]) if own else []
        found: dict[str, str] = {}
        for name in members:
            parent, keys = parents[name], _mask_keys(stems[name])
            near = [(*path, *parent[len(folder) :]) for path in beside]
            images = [known.get((p, key)) for p in near for key in (_tokens(stems[name]), *keys)]
            if _has_word(stems[name], _MASK):
                images = [known.get((parent, key)) for key in keys] + images
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
    others = [folder for folder in siblings if _without(_tokens(folder[-1]), _MASK)]
    ranked = []
    for folder in others:
        tokens = _tokens(folder[-1])
        same = _without(tokens, _IMAGE) == rest
        sided = same and all(_SIDE.fullmatch(token) for token in tokens)
        if sided or (_has_word(folder[-1], _IMAGE) and not _has_word(folder[-1], _MASK)):
            ranked.append((not same, folder))
    return [folder for _, folder in sorted(ranked)] or [masks[:-1]] * (not rest and not others)


def _image_keys(stem: str) -> list[Tokens]:
    """Return what a mask may call this image, the exact first."""
    tokens = _tokens(stem)
    # nnU-Net numbers the channels of an image: case_0000, case_0001.
    channel = tokens[:-1] if re.fullmatch("000[0-9]", "".join(tokens[-1:])) else tokens
    return [tokens, channel, _without(tokens, _IMAGE, _MODALITY, _SIDE_WORD)]


def _mask_keys(stem: str) -> list[Tokens]:
    """Return what the image of a mask may be called, the exact first."""
    bare = _without(_tokens(stem), _MASK)
    keys = [bare]
    if len(bare) > 1 and bare[-1].isdigit():  # x_mask_1: the second mask of x
        keys.append(bare[:-1])
    return [*keys, *(_without(key, _IMAGE, _MODALITY, _SIDE_WORD) for key in keys)]


@cache
def _tokens(text: str) -> Tokens:
    return tuple(token.lower() for token in _BREAK.split(text) if token)


@cache
def _has_word(text: str, word: re.Pattern[str]) -> bool:
    return any(word.fullmatch(token) for token in _tokens(text))


def _without(tokens: Sequence[str], *words: re.Pattern[str]) -> Tokens:
    """Return tokens without some words; the number at a word's end stays."""
    kept = []
    for token in tokens:
        match = next((match for word in words if (match := word.fullmatch(token))), None)
        kept.append(match[2] if match else token)
    return tuple(token for token in kept if token)


# ---------------------------------------------------------------- sides of a split


def own_split(names: Iterable[str]) -> dict[str, str] | None:
    """Return the side of each image that lies in a folder such as ``train`` or ``test``.

    Validation and test images both judge: ``"test"``. Images outside these folders are not in
    the answer. None where there are not both.

    Examples
    --------
    >>> own_split(["set/Training/a.png", "set/val/b.png", "c.png"])
    {'set/Training/a.png': 'train', 'set/val/b.png': 'test'}
    """
    return {name: side for name, (_, side) in _sides(names).items()} or None


def _sides(names: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return at which level of its path an image's side is written, and the side."""
    parents = {name: tuple(name.split("/")[:-1]) for name in names}
    both: dict[tuple[int, Tokens], set[str]] = defaultdict(set)
    for parent in set(parents.values()):
        for level, folder in enumerate(parent):
            if word := _side_of(folder):
                both[level, word[1]].add(word[0])
    sides = {}
    for name, parent in parents.items():
        for level, folder in enumerate(parent):
            word = _side_of(folder)
            if word and len(both[level, word[1]]) == 2:
                sides[name] = (level, word[0])
                break
    return sides


@cache
def _side_of(folder: str) -> tuple[str, Tokens] | None:
    """Return the side that a folder's name tells, and what else it says."""
    tokens = _tokens(folder)
    words = [match for token in tokens if (match := _SIDE.fullmatch(token))]
    if len(words) != 1:
        return None
    if len(words[0][0]) == 2 and not (_has_word(folder, _IMAGE) or _has_word(folder, _MASK)):
        return None  # TR_01 may be a patient, imagesTr is none
    # Numbers tell a patient or a version: BraTS20_Training_001, Test_v2.
    rest = [t for t in tokens if not _SIDE.fullmatch(t) and not _ANY_DIGIT.fullmatch(t)]
    return "test" if words[0][2] else "train", _without(rest, _MASK, _IMAGE)


# ---------------------------------------------------------------- classes and patients


def folder_labels(names: Sequence[str]) -> FolderLabels:
    """Return classes, and patients, as the folders' names tell them.

    The class is the level of folders with few names and many images each. Levels of ``train``
    and ``test``, of ``images``, and of ``study1`` and the like are passed over. Folders that look
    like patients (names like P07 or 00012, or many folders with few images each) say what belongs
    together, and are never a class.

    Examples
    --------
    >>> names = [f"{kind}/P-{n}/0.png" for kind in ("COVID", "Healthy") for n in range(5)]
    >>> folder_labels(names).note
    'classes are the folders COVID and Healthy; 10 folders look like patients and stay together'
    """
    sides = _sides(names)
    paths = _telling_folders(names, sides)
    levels = range(max(map(len, paths.values()), default=0))
    if not levels:
        raise DataError(
            "there are no sub-folders to take classes from; make one for each class, or name a "
            "column of a table with labels=."
        )
    level = [{n: path[d] for n, path in paths.items() if len(path) > d} for d in levels]
    images = [Counter(folders.values()) for folders in level]
    patients = [len(images[d]) > 1 and _look_like_patients(images[d]) for d in levels]
    candidates = [
        d
        for d in levels
        if (len(images[d]) > 1 or not any(patients))
        and not patients[d]
        and not _most(_PART, images[d])
        and 2 * len(level[d]) > len(names)
    ]
    if not candidates:
        count = max((len(images[d]) for d in levels if patients[d]), default=0)
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
    # The same folder below train and test counts twice: numbers often begin anew there.
    apart = {name: (sides[name][1] if name in sides else "", path) for name, path in paths.items()}
    deeper = (d for d in levels if patients[d] or (d > chosen and _hold_few(d, apart.values())))
    among = next(deeper, None)
    if among is None:
        return FolderLabels(classes, None, _note(images[chosen], None))
    anew = all(folder.isdigit() and len(folder) < 4 for folder in images[among])
    groups = {}
    for name, folder in level[among].items():
        side, path = apart[name]
        # A long number is a patient's own, also where the patient has two classes.
        whole = [folder] if _LONG_NUMBER.fullmatch(folder) else [*path[: among + 1]]
        if name in classes:
            groups[name] = "/".join([side] * (anew and side != "") + whole)
    return FolderLabels(classes, groups, _note(images[chosen], len(set(groups.values()))))


def folders_of(names: Iterable[str]) -> dict[str, str]:
    """Return the folder that keeps each image's company, its train or test left out.

    A patient's folder is one, also where half of it lies below ``train`` and half below
    ``test``. An image in no other folder stands for itself.
    """
    sides = _sides(names := list(names))
    folders = {}
    for name in names:
        parts = name.split("/")[:-1]
        level = sides[name][0] if name in sides else len(parts)
        if parts[level:] and not _ANY_DIGIT.fullmatch(parts[level]):
            del parts[level]  # but BraTS20_Training_001 is a patient
        folders[name] = "/".join(parts) or name
    return folders


def _telling_folders(
    names: Sequence[str], sides: Mapping[str, tuple[int, str]]
) -> dict[str, Folder]:
    """Return the folders of each image that may tell its class, composed."""
    paths = {}
    for name in names:
        parts = tuple(unicodedata.normalize("NFC", name).split("/")[:-1])
        if name in sides:
            level = sides[name][0]
            below = parts[level + 1 :]
            parts = parts[:level] if all(map(_is_images, below)) else below
        paths[name] = parts
    depth = max(map(len, paths.values()), default=0)
    of_images = {
        d for d in range(depth) if all(_is_images(p[d]) for p in paths.values() if len(p) > d)
    }
    kept = {
        n: tuple(part for d, part in enumerate(p) if d not in of_images) for n, p in paths.items()
    }
    return kept if any(kept.values()) else paths


def _is_images(folder: str) -> bool:
    return not _without(_tokens(folder), _IMAGE)


def _most(pattern: re.Pattern[str], names: Collection[str]) -> bool:
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


def _hold_few(d: int, apart: Iterable[tuple[str, Folder]]) -> bool:
    """Return whether a level's folders, below the classes', hold what belongs together."""
    here = Counter((side, path[: d + 1]) for side, path in apart if len(path) > d)
    names = Counter(path[-1] for _, path in here)
    if _most(_PART, names) or len(here) < 2:
        return False
    shared = len(names) < len(here) and not _most(_ANY_DIGIT, names)
    return sum(here.values()) < FEW_IMAGES * len(here) and not shared


def _note(classes: Mapping[str, int], patients: int | None) -> str:
    count, each = len(classes), round(sum(classes.values()) / len(classes))
    *first, last = sorted(classes)
    if count > NAMED:
        note = f"{count} folders with about {each} images each are taken for classes"
    elif first:
        note = f"classes are the folders {', '.join(first)} and {last}"
    else:
        note = f"the one class is the folder {last}"
    if patients is not None:
        return f"{note}; {patients} folders look like patients and stay together"
    if count > 20 and each < SOME_IMAGES:
        note += "; if they are patients, pass group='folder' and take classes from a table"
    return note
