"""How a package behaves: found out once by a few fixed calls, and kept beside the consent to it.

What is kept counts for the bytes that were agreed to and the libraries it was found
out with; anything else is found out anew.
"""

from __future__ import annotations

import json
import logging
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
from medgan_widgets.medigan.client import WorkerGone
from medgan_widgets.medigan.packages import PackageSpec
from medgan_widgets.medigan.trust import behaviour_folder

log = logging.getLogger(__name__)

CLOCK_STEP = 1.1  # seconds between two calls: many packages seed themselves by whole seconds

Look = Callable[..., dict[str, Any]]  # makes a fixed call for each class, and says what came
Trial = Callable[[], AbstractContextManager[Look]]  # a process for such calls alone


@dataclass(frozen=True)
class Behaviour:
    """What may be relied upon in a package."""

    cached: bool  # it may keep what it read and built
    new_process: bool  # it needs a new process for each call
    alone: bool  # one by one: one image a call; else in chunks
    reproducible: bool  # the same seed gives the same image again
    picks: int  # 0: seeds count; else it seeds itself, and a seed picks one of so many images
    scales: Mapping[str, tuple[float, float, int]]  # of image, mask and others: `scale_of`
    channels: int  # of its first image

    @property
    def promise(self) -> str:
        """What its seeds promise where that is less than usual, else nothing."""
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
        return "it seeds itself: every seed gives the same image" if self.picks else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands on each of its images."""
        if not self.reproducible:
            return ("not reproducible",)
        return ("seeds itself" if self.picks > 1 else "the same for every seed",) * bool(self.picks)


def find_out(spec: PackageSpec, look: Look, trial: Trial, stop: threading.Event) -> Behaviour:
    """Decide between *in chunks* and *one by one*, by a few fixed calls (0, 1, 2).

    A process of its own gets call 0 first of all; ``look`` is the process that will stay, and
    gets it a moment later, after call 1. What a package keeps between calls, draws from a clock
    or takes from its process shows as another image.
    """
    began = time.monotonic()
    with trial() as first_look:
        first = first_look(0, must=True)
        alone = not first["latent"] or first["draws"] or _company_counts(first["rows"], first_look)
    stop.wait(max(0.0, began + CLOCK_STEP - time.monotonic()))
    other = look(1)
    cached = look(0, cached=True)["rows"] == first["rows"]
    steady = cached or look(0)["rows"] == first["rows"]
    kind = next(iter(first["rows"]))  # the class that is called first
    new_process = False
    if not steady:  # a process for each call helps where all of them start alike
        with trial() as new_look:
            new_process = new_look(0)["rows"][kind] == first["rows"][kind]
    reproducible = steady or new_process
    looks = [first, other]
    images: set[str] = set()
    # Other seeds gave the same image: it seeds itself. How many differ within one call?
    same = reproducible and other["rows"][kind] == first["rows"][kind]
    floats = any(
        span[0] not in ("|u1", "|b1") for spans in _spans(looks).values() for span in spans
    )
    if spec.input is None and (same or (floats and spec.chunk == 1) or not reproducible):
        try:
            with trial() as new_look:
                looks.append(new_look(2, ask=spec.several))
            images = set(looks[-1]["rows"][kind] or ())
        except WorkerGone:
            raise
        except WorkerError as error:  # it makes one at a time, or has no memory for more
            log.info("%s makes no %d images in a call: %s", spec.model_id, spec.several, error)
    many = len(images) == spec.several
    # Where no seed is kept, one call has the best chance of images that differ.
    together = not reproducible and many and spec.several > 2
    picks = 32 * spec.several if many else max(1, len(images))
    return Behaviour(
        cached=cached, new_process=new_process, alone=(alone or not cached) and not together,
        reproducible=reproducible, picks=picks if same and spec.input is None else 0,
        scales={name: scale_of(s, mask=name == "mask") for name, s in _spans(looks).items()},
        channels=int(first["size"][2]),
    )  # fmt: skip


def _company_counts(rows: Mapping[str, list[str]], look: Look) -> bool:
    """Return whether an image changes with its place in a call, or with the others in it."""
    if all(len(images) < 2 for images in rows.values()):
        return False
    for order, places in (("others", (-1,)), ("same", (0, -1))):
        for kind, images in look(0, cached=True, order=order)["rows"].items():
            if images is None or any(images[n] != rows[kind][0] for n in places):
                return True
    return False


def _spans(looks: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the spans of each picture that the first call gave, from all calls."""
    return {
        name: [span for look in looks for span in look["spans"].get(name, ())]
        for name in looks[0]["spans"]
    }


def kept(model_id: str, key: str = "*") -> Behaviour | None:
    """Return what was found out about a package as it lies in the cache; without a key, last."""
    try:
        files = list(behaviour_folder(model_id).glob(f"*-{key}.json"))
        package = cached_package(model_id) if files else None
        files = [f for f in files if package and f.name.startswith(package.sha256[:16])]
        newest = max(files, key=lambda file: file.stat().st_mtime)
        return Behaviour(**json.loads(newest.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None  # never found out, or damaged


def keep(model_id: str, sha256: str, key: str, found: Behaviour) -> None:
    """Keep what was found out about these bytes."""
    file = behaviour_folder(model_id) / f"{sha256[:16]}-{key}.json"
    try:
        write_whole(file, json.dumps(asdict(found), indent=1).encode(), parents=True)
    except SaveError as error:
        log.warning("How %s behaves is found out again next time: %s", model_id, error)


def promised(card: ModelCard) -> ModelCard:
    """Return a card with the promise and the channels that its package was found to keep."""
    found = kept(card.id) if card.origin == "medigan" else None
    if found is None:
        return card
    promise = found.promise or card.promise
    return card.model_copy(update={"promise": promise, "channels": found.channels})
