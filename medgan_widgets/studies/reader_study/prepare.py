"""A study folder from real and synthetic images."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError, RequestError, SaveError
from medgan_widgets.files import write_whole
from medgan_widgets.seeds import whole_number
from medgan_widgets.studies.reader_study.plan import CHOICES, IMAGES, PLAN, Plan, Source, shuffled
from medgan_widgets.studies.reader_study.sides import Side, alike, checked, hashes, two_sides
from medgan_widgets.studies.reader_study.study import Study, open_study

MOST_TRIALS = 10_000


def prepare(
    folder: str | Path,
    *,
    real: Any,
    synthetic: Any,
    trials: int = 20,
    ratings: int = 10,
    design: Literal["two", "four"] = "two",
    find: Literal["synthetic", "real"] | None = None,
    seed: int = 0,
    size: int | None = None,
    grey: bool = False,
    phantom: bool | None = None,
    real_source: str = "",
    synthetic_source: str = "",
) -> Study:
    """Make a study folder, or open the one of the same plan that is there already.

    Readers first rate single images for realism, half of them synthetic, and then
    choose between images: two (one of them synthetic) or four. No image is in two
    trials, and of copies one is taken; those rated are others as far as there are enough.

    Parameters
    ----------
    folder
        Where the study lies; it holds the truth, so readers do not open it.
    real, synthetic
        Each an array uint8 or uint16 [N, H, W] or [N, H, W, C], `TrainingImages` (of
        which those held out are taken, if any), the path of data that `read_images`
        reads, or a kind of phantom.
    trials
        How many choices, 1 to 10,000.
    ratings
        How many images to rate, an even number; 0 for none.
    design
        ``"two"`` or ``"four"`` images in a trial.
    find
        What a reader looks for, the only ``"synthetic"`` image (as for two) or the
        only ``"real"`` one (as for four); left out, as in brackets.
    seed
        Decides which images are taken and which stand together.
    size
        Pixels of the longer side that both are brought to; left out, they must agree.
    grey
        Show colour in grey.
    phantom
        Whether the real side are phantoms, where they come as an array.
    real_source, synthetic_source
        Where they come from, in words, e.g. a model and its seeds.

    Returns
    -------
    Study
        What a panel or a script goes on with.

    Raises
    ------
    DataError
        For too few images, images of one value all over, sides that size, depth or
        colour tell apart, and a folder that holds another study.
    RequestError
        For numbers and designs that no study can have.
    SaveError
        When the folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     study = prepare(
    ...         place, real="mammogram", synthetic="brain_mri", trials=4, ratings=2, size=32
    ...     )
    ...     study.plan.choices, study.plan.phantom, len(study.asked("A"))
    (2, True, 6)
    """
    find = _checked_design(design, find)
    trials = whole_number(trials, "trials", 1, MOST_TRIALS)
    ratings = whole_number(ratings, "ratings", 0, MOST_TRIALS)
    seed = whole_number(seed, "seed", 0, 2**32 - 1)
    size = None if size is None else whole_number(size, "size", 8, 4096)
    if ratings % 2:
        raise RequestError(f"ratings must be even, half of them synthetic; got {ratings}.")
    each = (1, CHOICES[design] - 1) if find == "real" else (CHOICES[design] - 1, 1)
    given = two_sides(
        real,
        synthetic,
        counts=(each[0] * trials + ratings // 2, each[1] * trials + ratings // 2),
        size=size,
        seed=seed,
        words=(real_source, synthetic_source),
        phantom=phantom,
    )
    for side, share in zip(given, each, strict=True):
        _check_enough(side, len(side.images), share * trials, ratings // 2)
    ours, theirs = alike(*given, size=size, grey=grey)
    notes = checked(ours, theirs)
    for side, share in zip((ours, theirs), each, strict=True):
        _check_enough(side, len(set(hashes(side))), share * trials, ratings // 2)
    picks = [
        _picked(side, share * trials, ratings // 2, seed)
        for side, share in zip((ours, theirs), each, strict=True)
    ]
    pixels, rows = _in_rows((ours, theirs), picks, seed)
    shown, rated = _shown(rows, picks, each, trials, seed)
    plan = Plan(
        design=design,
        find=find,
        seed=seed,
        shape=(pixels.shape[1], pixels.shape[2], pixels.shape[3]),
        trials=shown,
        ratings=rated,
        synthetic=tuple(side == 1 for side, _ in rows),
        taken=tuple(taken for _, taken in rows),
        real=_source(given[0]),
        fake=_source(given[1]),
        notes=notes,
        pixels=hashlib.sha256(pixels.tobytes()).hexdigest(),
    )
    return _kept(Path(folder).absolute(), plan, pixels)


def _checked_design(design: Any, find: Any) -> Literal["synthetic", "real"]:
    if design not in CHOICES:
        raise RequestError(f"design must be 'two' or 'four', got {design!r}.")
    if find not in (None, "synthetic", "real"):
        raise RequestError(f"find must be 'synthetic' or 'real', got {find!r}.")
    if find is None:
        return "synthetic" if design == "two" else "real"
    return "real" if find == "real" else "synthetic"


def _check_enough(side: Side, have: int, chosen: int, rated: int) -> None:
    need = max(chosen, rated)
    if have < need:
        different = f", {have} of them different" if have < len(side.images) else ""
        raise DataError(
            f"the study needs {need} {side.name} images and got {len(side.images)}{different}; "
            "give more, or ask for fewer trials or ratings."
        )


def _picked(side: Side, chosen: int, rated: int, seed: int) -> tuple[list[int], list[int]]:
    """Return which images of a side are chosen among, and which are rated: others, if there are."""
    first = {one: place for place, one in reversed(list(enumerate(hashes(side))))}
    alone = set(first.values())  # a copy of an image is not shown again
    order = [
        one for one in shuffled(range(len(side.images)), f"{seed}/{side.name}") if one in alone
    ]
    return order[:chosen], (order[chosen:] + order[:chosen])[:rated]


def _in_rows(
    sides: tuple[Side, Side], picks: list[tuple[list[int], list[int]]], seed: int
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """Return the pixels of all images taken, real and synthetic mixed, and what each row is."""
    taken = [
        (side, image) for side, (chosen, rated) in enumerate(picks) for image in {*chosen, *rated}
    ]
    rows = shuffled(sorted(taken), f"{seed}/rows")
    return np.stack([sides[side].images[image] for side, image in rows]), rows


def _shown(
    rows: list[tuple[int, int]],
    picks: list[tuple[list[int], list[int]]],
    each: tuple[int, int],
    trials: int,
    seed: int,
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Return the rows that stand together in each trial, and those that are rated."""
    places = {row: number for number, row in enumerate(rows)}
    made = []
    for trial in range(trials):
        members = [
            places[side, image]
            for side, share in enumerate(each)
            for image in picks[side][0][trial * share : (trial + 1) * share]
        ]
        made.append(tuple(shuffled(members, f"{seed}/trial/{trial}")))
    rated = [places[side, image] for side in (0, 1) for image in picks[side][1]]
    return tuple(made), tuple(shuffled(rated, f"{seed}/ratings"))


def _source(side: Side) -> Source:
    return Source(
        words=side.words,
        phantom=side.phantom,
        images=len(side.images),
        size=side.size,
        sha256=hashlib.sha256(np.ascontiguousarray(side.images).tobytes()).hexdigest(),
    )


def _kept(folder: Path, plan: Plan, pixels: NDArray[np.uint8]) -> Study:
    """Write the folder, the plan last; a folder of the same plan is gone on with."""
    if (folder / PLAN).exists():
        there = open_study(folder)
        if there.plan.id == plan.id:
            return there
        raise DataError(
            f"{folder} holds another study ({there.plan.id}, not {plan.id}), and its answers "
            "would not fit; choose another folder, or open_study to go on with that one."
        )
    if folder.exists() and not folder.is_dir():
        raise SaveError(f"{folder} is a file; a study needs a folder, so choose another place.")
    stream = io.BytesIO()
    np.save(stream, pixels)
    write_whole(folder / IMAGES, stream.getvalue(), parents=True)
    write_whole(folder / PLAN, plan.to_json())
    return open_study(folder)
