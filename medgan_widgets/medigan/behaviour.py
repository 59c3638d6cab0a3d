"""How a package behaves: found out once by a few fixed calls, and kept beside the consent to it.

What is kept counts for the bytes that were agreed to and the libraries it was found
out with; anything else is found out anew.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from medgan_widgets.cards import ModelCard
from medgan_widgets.downloads import cached_package
from medgan_widgets.errors import SaveError, WorkerError
from medgan_widgets.files import write_whole
from medgan_widgets.medigan.answers import scale_of
from medgan_widgets.medigan.packages import LARGE, PackageSpec
from medgan_widgets.medigan.process import WorkerGone
from medgan_widgets.medigan.trust import behaviour_file

log = logging.getLogger(__name__)

SEEDS = range(2**63, 2**63 + 16)  # nobody's images
CLOCK_STEP = 1.1  # seconds between two looks: many packages seed themselves by whole seconds
_SCALE = re.compile(r"unit|signed|byte|flags|whole:8|whole:16|wide:[-+.e\d]+:[-+.e\d]+")

Look = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Behaviour:
    """What may be relied upon in a package.

    Attributes
    ----------
    warm, fresh, alone
        Whether it may keep what it read and built, needs a new process for each
        call, and makes one image a call.
    reproducible
        Whether the same seed gives the same image again.
    same
        Whether another seed gives the same image.
    picks
        0 where seeds count; else the package seeds itself, and a seed picks one of
        the so many images of a call.
    scales
        How the values of image, mask and further pictures map to grey levels.
    size
        Height, width and channels of its first image.
    fast
        The quickest way of computing one image and several; None until it was asked for.
    """

    warm: bool
    fresh: bool
    alone: bool
    reproducible: bool
    same: bool
    picks: int
    scales: Mapping[str, str]
    size: tuple[int, int, int]
    fast: Mapping[str, str] | None = None

    @property
    def promise(self) -> str:
        """What its seeds promise where that is less than usual; empty where it is not."""
        if not self.reproducible:
            return (
                "not reproducible: it draws numbers that no seed reaches, so the same request "
                "gives other images each time"
            )
        if self.picks > 1:
            return (
                f"it seeds itself: a seed picks one of {self.picks} images that it makes in one "
                f"call, so seeds {self.picks} apart give the same image"
            )
        if self.picks:
            return "it seeds itself: every seed gives the same image"
        return "its source image decides, whatever the seed" if self.same else ""

    @property
    def ranges(self) -> str:
        """The values that its images and masks may hold, in words."""
        known = {"unit": "0 to 1", "signed": "-1 to 1", "flags": "0 to 1", "whole:16": "0 to 65535"}
        texts = []
        for name, scale in self.scales.items():
            low, _, high = scale.removeprefix("wide:").partition(":")
            wide = f"{low} to {high}" if scale.startswith("wide") else "0 to 255"
            texts.append(f"{name.lstrip('+')} {known.get(scale, wide)}")
        return ", ".join(texts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands on each of its images."""
        if not self.reproducible:
            return ("not reproducible",)
        if self.picks == 1:
            return ("the same for every seed",)
        return ("seeds itself",) if self.picks else ()


def find_out(
    spec: PackageSpec, trial: Callable[[], AbstractContextManager[Look]], stop: threading.Event
) -> Behaviour:
    """Make a few fixed calls, and see what changes an image besides its seed.

    One process gets a request first of all, another one after another request and a
    moment later: what a package keeps, draws from a clock or takes from its process
    shows as another image. Three calls for each class are enough for most packages.

    Parameters
    ----------
    spec
        How the package is called.
    trial
        Opens a process of its own for the package, to be ended afterwards.
    stop
        Ends the wait between the two.
    """
    began = time.monotonic()
    with trial() as look:
        a = look(0, must=True)
        alone = not a["latent"] or a["draws"] or _company_counts(a["rows"], look)
    stop.wait(max(0.0, began + CLOCK_STEP - time.monotonic()))
    with trial() as look:
        b = look(1)
        warm = look(0, reuse=True)["rows"] == a["rows"]
        steady = warm or look(0)["rows"] == a["rows"]
    one = next(iter(a["rows"]))  # the class that is called first
    fresh = False
    if not steady:  # a process for each call helps where all of them start alike
        with trial() as look:
            fresh = look(0)["rows"][one] == a["rows"][one]
    reproducible = steady or fresh
    same = reproducible and b["rows"][one] == a["rows"][one]
    looks, count, different = [a, b], several(spec), False
    plain = all(span[0] == "bytes" for each in looks for spans in each["spans"].values()
                for span in spans)  # fmt: skip
    if spec.input is None and (same or not reproducible or (spec.chunk == 1 and not plain)):
        more = _several(trial, count)
        looks += more
        images = {image for each in more for image in each["rows"][one] or ()}
        different = len(images) == count
    picks = 0 if not same or spec.input else 32 * count if different else max(1, len(images))
    # Where no seed is kept, one call has the best chance of images that differ.
    together = not reproducible and different and count > 2
    return Behaviour(
        warm=warm, fresh=fresh, alone=(alone or not warm) and not together, same=same,
        picks=picks, reproducible=reproducible, scales=_scales(looks), size=a["size"],
    )  # fmt: skip


def several(spec: PackageSpec) -> int:
    """Return how many images one call can well make."""
    return 2 if spec.image_size[0] * spec.image_size[1] >= LARGE else 8


def _several(trial: Callable[[], AbstractContextManager[Look]], count: int) -> list[dict[str, Any]]:
    try:
        with trial() as look:
            return [look(2, ask=count)]
    except WorkerGone:
        raise
    except WorkerError:  # it makes one at a time, or has no memory for more
        return []


def _company_counts(rows: Mapping[str, Any], look: Look) -> bool:
    """Return whether an image changes with its place in a call, or with the others in it."""
    if all(len(images) < 2 for images in rows.values()):
        return False
    for order, places in (("others", (-1,)), ("same", (0, -1))):
        found = look(0, reuse=True, order=order)["rows"]
        for kind, images in rows.items():
            if found[kind] is None or any(found[kind][n] != images[0] for n in places):
                return True
    return False


def _scales(looks: list[dict[str, Any]]) -> dict[str, str]:
    spans: dict[str, list[Any]] = {}
    for each in looks:
        for name, found in each["spans"].items():
            spans.setdefault(name, []).extend(found)
    return {name: scale_of(found, mask=name == "mask") for name, found in spans.items()}


def checked_look(answer: Mapping[str, Any], kinds: list[str], name: str) -> dict[str, Any]:
    """Return what a look found, of the kinds it has to be; a stranger's process wrote it."""
    try:
        found, size = answer["known"], answer["known"]["size"]
        rows = {kind: found["rows"][kind] for kind in kinds}
        return {
            "rows": {kind: None if one is None else [*map(str, one)] for kind, one in rows.items()},
            "draws": bool(found["draws"]),
            "latent": bool(found["latent"]),
            "size": None if size is None else tuple(int(side) for side in size),
            "spans": {
                str(each): [(str(a), float(b), float(c), bool(d)) for a, b, c, d in spans]
                for each, spans in found["spans"].items()
            },
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WorkerError(f"{name} failed: its process gave no proper answer.") from error


# ---------------------------------------------------------------- kept


def kept(
    model_id: str, key: str | None = None, versions: Mapping[str, str] | None = None
) -> Behaviour | None:
    """Return what was found out about a package as it lies in the cache; None when nothing was.

    Without a key, what was found out last.
    """
    try:
        content = json.loads(behaviour_file(model_id).read_text("utf-8"))
        package = cached_package(model_id)
        if package is None or content["sha256"] != package.sha256:
            return None
        if versions is not None and content["versions"] != versions:
            return None
        entry = content["found"][key] if key else list(content["found"].values())[-1]
        found = Behaviour(**{**entry, "size": tuple(entry["size"])})
        return found if all(map(_SCALE.fullmatch, found.scales.values())) else None
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None  # found out anew


def keep(
    model_id: str, sha256: str, key: str, versions: Mapping[str, str], found: Behaviour
) -> None:
    """Keep what was found out, for these bytes and these libraries alone."""
    about = {"sha256": sha256, "versions": dict(versions)}
    place = behaviour_file(model_id)
    try:
        content = json.loads(place.read_text("utf-8"))
        others = content["found"] if {**content, **about} == content else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        others = {}
    content = {**about, "found": {**others, key: asdict(found)}}
    try:
        write_whole(place, json.dumps(content, indent=1).encode(), parents=True)
    except SaveError as error:
        log.warning("How %s behaves is found out again next time: %s", model_id, error)


def promised(card: ModelCard) -> ModelCard:
    """Return a card that says what its package was found to do: promise and channels."""
    found = kept(card.id) if card.origin == "medigan" else None
    if found is None:
        return card
    channels = found.size[2] if found.size[2] in (1, 3) else card.channels
    return card.model_copy(update={"promise": found.promise or card.promise, "channels": channels})
