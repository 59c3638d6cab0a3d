"""From the worker to the page: tiles in a few messages, in step with what the page has painted.

A frame is sent by whoever has news for the page, at most 30 a second: the server drops messages
above a rate. The page confirms what it has painted, and a few frames at most are on their way.
For a saved notebook the images go into a trait as one PNG, once the page is idle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anywidget
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.images import as_pil, mosaic, outlined, padded, png_bytes, to_uint8
from medgan_widgets.requests import Batch, GenerateRequest
from medgan_widgets.seeds import Value

PAUSE = 1 / 30  # seconds between two frames of one grid
IN_FLIGHT = 3  # frames the page may owe us before we wait for it
PATIENCE = 1.0  # seconds after which a silent page gets the next frame all the same
MOSAIC_COLUMNS = 8
SNAPSHOT_SIDE = 320  # pixels of an image in a snapshot, which a notebook keeps in every output
STORED_PIXELS = 4_000_000  # in a saved notebook: some megabytes


@dataclass
class Pictures:
    """The images of one request, as far as they are made."""

    number: int
    request: GenerateRequest
    images: list[NDArray[Any]] = field(default_factory=list)
    labels: list[dict[str, Value]] = field(default_factory=list)
    extras: list[dict[str, NDArray[Any]]] = field(default_factory=list)  # "mask", "source", …
    notes: list[tuple[str, ...]] = field(default_factory=list)
    recipe: Mapping[str, Any] | None = None
    seconds: float = 0.0  # spent by the engine

    def add(self, batch: Batch) -> None:
        """Append a batch, its labels, mask and other pictures row by row."""
        extras = {} if batch.masks is None else {"mask": batch.masks}
        extras.update(batch.others)
        for row, image in enumerate(batch.images):
            self.labels.append({name: values[row] for name, values in batch.labels.items()})
            self.extras.append({name: pictures[row] for name, pictures in extras.items()})
            self.notes.append(batch.notes)
            self.images.append(image)
        self.seconds += batch.seconds

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds of the images made so far."""
        return list(self.request.seeds[: len(self.images)])

    @property
    def drawn(self) -> list[str]:
        """The factors that nobody chose, so that each seed drew its own."""
        factors = self.labels[0] if self.labels else {}
        return [name for name in factors if name not in self.request.condition]

    def tile(self, index: int) -> dict[str, Any]:
        """Return what the page writes on a tile; the seed as text: its numbers end at 2^53."""
        return {
            "seed": str(self.request.seeds[index]),
            "labels": self.labels[index],
            "shape": _shape(self.images[index]),
            "extras": [[name, _shape(extra)] for name, extra in self.extras[index].items()],
            "note": ", ".join(self.notes[index]),
        }

    def pixels(self, index: int) -> list[bytes]:
        """Return the bytes of an image and of what came with it, in the order of its tile."""
        pictures = [self.images[index], *self.extras[index].values()]
        return [to_uint8(picture).tobytes() for picture in pictures]


class Feed:
    """Keeps the pages of one canvas up to date; called from any thread."""

    def __init__(self, canvas: anywidget.AnyWidget) -> None:
        self.shown = Pictures(0, GenerateRequest("none", seeds=[0]))
        self._canvas = canvas
        self._lock = threading.RLock()
        self._listening = False  # before a page says hello, nobody listens
        self._late = False  # there is news that waits for the page
        self._sent: set[int] = set()
        self._frame = self._painted = 0
        self._last = self._began = 0.0
        self._progress: dict[str, Any] = {"state": "idle", "done": 0, "of": 0, "question": None}

    def begin(self, of: int, question: str) -> None:
        """Say that a request waits; ``question`` is what the page names to cancel it."""
        with self._lock:
            self._began = time.monotonic()
            self._progress = {"state": "queued", "done": 0, "of": of, "question": question}
            self._send()

    def add(self, pictures: Pictures, batch: Batch) -> None:
        """Take a batch; the first one of a request replaces the pictures before it."""
        with self._lock:
            first = pictures is not self.shown
            if first:
                self.shown, self._sent = pictures, set()
            pictures.add(batch)
            self._progress |= {"state": "running", "done": len(pictures.images)}
            self._send(urgent=first)  # the first tile waits for no pause

    def finish(self, state: str, done: int) -> None:
        """Send what is left, whatever the page owes us."""
        with self._lock:
            self._progress |= {"state": state, "done": done}
            self._send(urgent=True, last=True)
            if not self._listening:  # nobody to say when it is idle
                self.store()

    def hello(self, number: int, have: Sequence[int]) -> None:
        """Answer a page that has these tiles of that request: it gets the others."""
        with self._lock:
            self._listening = True
            self._sent &= set(have) if number == self.shown.number else set()
            self._painted = self._frame
            self._send(urgent=True)

    def painted(self, frame: int) -> None:
        """Note which frame a page has painted; what waited for that goes now."""
        with self._lock:
            self._painted = max(self._painted, min(frame, self._frame))
            if self._late:
                self._send(urgent=True)

    def store(self) -> None:
        """Keep the images in the trait that a saved notebook shows without a kernel."""
        with self._lock:
            if self._progress["state"] in ("queued", "running") or not self.shown.images:
                return
            if self.shown.number != self._canvas.picture.get("id"):
                self._canvas.picture = picture_of(self.shown)

    def _send(self, *, urgent: bool = False, last: bool = False) -> None:
        """Send a frame with all that is new, unless the page is behind or has just had one."""
        waited = time.monotonic() - self._last
        behind = self._frame - self._painted >= IN_FLIGHT and waited < PATIENCE
        self._late = not last and (behind or (waited < PAUSE and not urgent))
        if self._late or not self._listening:
            return
        shown = self.shown
        new = [index for index in range(len(shown.images)) if index not in self._sent]
        self._sent.update(new)
        self._frame += 1
        self._last = time.monotonic()
        done, seconds = len(shown.images), shown.seconds
        if self._progress["state"] == "running":  # what a person waits for, queue included
            done, seconds = self._progress["done"], self._last - self._began
        message = {
            "kind": "frame",
            "frame": self._frame,
            "id": shown.number,
            "total": len(shown.request.seeds),
            "drawn": shown.drawn,
            "tiles": [{"place": index, **shown.tile(index)} for index in new],
            **self._progress,
            "rate": done / seconds if seconds else 0,
            "seconds": shown.seconds,
        }
        self._canvas.send(message, [data for index in new for data in shown.pixels(index)])


def picture_of(pictures: Pictures) -> dict[str, Any]:
    """Return what a page without a kernel needs to show the images, as one trait value.

    Images that would make a saved notebook large are left out from the end on,
    and pictures besides them where they would double that.
    """
    images = padded(pictures.images)
    area = images.shape[1] * images.shape[2]
    kept = max(1, min(len(images), STORED_PIXELS // area))
    extras = pictures.extras[:kept]
    names = dict.fromkeys(name for pictures_beside in extras for name in pictures_beside)
    if kept * area * (1 + len(names)) > STORED_PIXELS:
        names = {}
    empty = np.zeros((1, 1, 1), np.uint8)
    tiles = [pictures.tile(index) for index in range(kept)]
    for tile in tiles:
        tile["extras"] = [extra for extra in tile["extras"] if extra[0] in names]
    return {
        "id": pictures.number,
        "total": len(pictures.request.seeds),
        "drawn": pictures.drawn,
        "columns": MOSAIC_COLUMNS,
        "tiles": tiles,
        **_sheet(images[:kept]),
        "sheets": {
            name: _sheet(padded([beside.get(name, empty) for beside in extras])) for name in names
        },
    }


def _sheet(images: NDArray[np.uint8]) -> dict[str, Any]:
    png = png_bytes(mosaic(images, MOSAIC_COLUMNS))
    return {"shape": list(images.shape[1:]), "png": png}


def for_snapshot(image: NDArray[Any], mask: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return an image of modest size, the edge of its mask drawn in."""
    picture = as_pil(image)
    picture = picture.reduce(-(-max(picture.size) // SNAPSHOT_SIDE))
    pixels = np.atleast_3d(np.asarray(picture))
    if mask is None:
        return pixels
    half = 127 if mask.max() > 127 else 0  # class numbers are small; soft masks have grey levels
    inside = Image.fromarray(np.uint8(mask > half) * 255)
    return outlined(pixels, np.asarray(inside.resize(picture.size, Image.Resampling.NEAREST)))


def _shape(picture: NDArray[Any]) -> list[int]:
    return [*picture.shape, 1][:3]
