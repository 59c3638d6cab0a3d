"""From the worker to the page: tiles in a few messages, in step with what the page has painted.

One publisher thread sends what is new, at most 30 messages a second for each grid: the
server drops messages above a rate, and a trait wants one writer. At the end one PNG goes
into a trait: what a saved notebook shows without a kernel.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import anywidget
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.images import as_pil, mosaic, outlined, padded, png_bytes, to_uint8
from medgan_widgets.requests import Batch, GenerateRequest
from medgan_widgets.seeds import Value

log = logging.getLogger(__name__)

PAUSE = 1 / 30  # seconds between two messages of one grid
IN_FLIGHT = 3  # frames the page may owe us before we wait for it
PATIENCE = 1.0  # seconds after which a silent page gets the next frame all the same
MOSAIC_COLUMNS = 8
PAPER_SIDE = 320  # pixels of an image in a snapshot, which a notebook keeps in every output
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
        for row, image in enumerate(batch.images):
            self.labels.append({name: values[row] for name, values in batch.labels.items()})
            extras = {} if batch.masks is None else {"mask": batch.masks[row]}
            self.extras.append({**extras, **{n: other[row] for n, other in batch.others.items()}})
            self.notes.append(batch.notes)
            self.images.append(image)
        self.seconds += batch.seconds

    @property
    def seeds(self) -> Sequence[int]:
        """The seeds of the images made so far."""
        return list(self.request.seeds[: len(self.images)])

    @property
    def drawn(self) -> list[str]:
        """The factors that nobody asked for, so that each seed drew its own."""
        factors = self.labels[0] if self.labels else {}
        return [name for name in factors if name not in self.request.condition]

    @property
    def shape(self) -> list[int]:
        """Height, width and channels of an image."""
        return list(self.images[0].shape) if self.images else []

    def tile(self, place: int) -> dict[str, Any]:
        """Return what the page writes on a tile; the seed as text: its numbers end at 2^53."""
        extras = [[name, _shape(one)] for name, one in self.extras[place].items()]
        return {
            "seed": str(self.request.seeds[place]),
            "labels": self.labels[place],
            "shape": _shape(self.images[place]),
            "extras": extras,
            "note": ", ".join(self.notes[place]),
        }

    def pixels(self, place: int) -> list[bytes]:
        """Return the bytes of an image and of what came with it, in the order of its tile."""
        pictures = [self.images[place], *self.extras[place].values()]
        return [to_uint8(one).tobytes() for one in pictures]


class Feed:
    """Keeps the pages of one canvas up to date."""

    def __init__(self, canvas: anywidget.AnyWidget) -> None:
        self.shown = Pictures(0, GenerateRequest("none", seeds=[0]))
        self._canvas = canvas
        self._lock = threading.Lock()
        self._heard = False  # before a page says hello, nobody listens
        self._sent: set[int] = set()
        self._frame = self._painted = 0
        self._last = 0.0
        self._progress: dict[str, Any] = {"state": "idle", "done": 0, "of": 0}
        self._began = 0.0
        self._final: threading.Event | None = None

    def progress(self, state: str, done: int, of: int) -> None:
        """Say how far the newest request is."""
        with self._lock:
            if state == "queued":
                self._began = time.monotonic()
            self._progress = {"state": state, "done": done, "of": of}
        _publisher().poke(self)

    def add(self, pictures: Pictures, batch: Batch) -> None:
        """Take a batch; the first one of a request replaces the pictures before it."""
        with self._lock:
            first = pictures is not self.shown
            if first:
                self.shown, self._sent = pictures, set()
            pictures.add(batch)
            self._progress = {
                "state": "running",
                "done": len(pictures.images),
                "of": len(pictures.request.seeds),
            }
        _publisher().poke(self, urgent=first)  # the first tile waits for no pause

    def finish(self, state: str, done: int, of: int, timeout: float = 5.0) -> None:
        """Send what is left, store the picture in the trait, and return when both are done."""
        sent = threading.Event()
        with self._lock:
            self._progress = {"state": state, "done": done, "of": of}
            self._final = sent
        _publisher().poke(self, urgent=True)
        sent.wait(timeout)

    def hello(self, number: int, have: Sequence[int]) -> None:
        """Answer a page that has these tiles of that request: it gets the others."""
        with self._lock:
            self._heard = True
            known = set(have) if number == self.shown.number else set()
            self._sent &= known
            self._painted = self._frame
        _publisher().poke(self, urgent=True)

    def painted(self, frame: int) -> None:
        """Note which frame a page has painted."""
        with self._lock:
            self._painted = max(self._painted, min(frame, self._frame))

    def publish(self) -> bool:
        """Send what is new; return whether more waits for the page. Publisher thread only."""
        with self._lock:
            final, shown = self._final, self.shown
            busy = self._frame - self._painted >= IN_FLIGHT
            if busy and final is None and time.monotonic() - self._last < PATIENCE:
                return True
            message, buffers = self._next_frame()
            self._final = None
        try:
            if self._heard:
                self._canvas.send(message, buffers=buffers)
            new = shown.number != self._canvas.picture.get("id")
            if final is not None and shown.images and new:
                self._canvas.picture = picture_of(shown)
        finally:
            if final is not None:
                final.set()
        return False

    def _next_frame(self) -> tuple[dict[str, Any], list[bytes]]:
        shown = self.shown
        new = [place for place in range(len(shown.images)) if place not in self._sent]
        if self._heard:
            self._sent.update(new)
            self._frame += 1
            self._last = time.monotonic()
        spent = max(time.monotonic() - self._began, 1e-6)
        message = {
            "kind": "frame",
            "frame": self._frame,
            "id": shown.number,
            "total": len(shown.request.seeds),
            "shape": shown.shape,
            "drawn": shown.drawn,
            "tiles": [{"place": place, **shown.tile(place)} for place in new],
            **self._progress,
            "rate": self._progress["done"] / spent
            if self._progress["state"] == "running"
            else (len(shown.images) / shown.seconds if shown.seconds else 0),
            "seconds": shown.seconds,
        }
        return message, [data for place in new for data in shown.pixels(place)]


def picture_of(pictures: Pictures) -> dict[str, Any]:
    """Return what a page without a kernel needs to show the images, as one trait value.

    Images that would make a saved notebook large are left out from the end on,
    and pictures besides them where they would double that.
    """
    sheet = padded(pictures.images[:STORED_PIXELS])
    kept = max(1, min(len(sheet), STORED_PIXELS // (sheet.shape[1] * sheet.shape[2])))
    names = dict.fromkeys(name for extras in pictures.extras[:kept] for name in extras)
    small = kept * sheet.shape[1] * sheet.shape[2] * (1 + len(names)) <= STORED_PIXELS
    empty = np.zeros((1, 1, 1), np.uint8)
    sheets = {
        name: padded([extras.get(name, empty) for extras in pictures.extras[:kept]])
        for name in names
        if small
    }
    tiles = [pictures.tile(place) for place in range(kept)]
    for tile in tiles:
        tile["extras"] = [extra for extra in tile["extras"] if extra[0] in sheets]
    return {
        "id": pictures.number,
        "total": len(pictures.request.seeds),
        "shape": list(sheet.shape[1:]),
        "drawn": pictures.drawn,
        "columns": MOSAIC_COLUMNS,
        "tiles": tiles,
        "png": png_bytes(mosaic(sheet[:kept], MOSAIC_COLUMNS)),
        "sheets": {
            name: {"shape": list(one.shape[1:]), "png": png_bytes(mosaic(one, MOSAIC_COLUMNS))}
            for name, one in sheets.items()
        },
    }


def on_paper(image: NDArray[Any], mask: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return an image as a snapshot shows it: of modest size, the edge of its mask drawn in."""
    picture = as_pil(image)
    picture = picture.reduce(-(-max(picture.size) // PAPER_SIDE))
    pixels = np.atleast_3d(np.asarray(picture))
    if mask is None:
        return pixels
    half = 127 if mask.max() > 127 else 0  # class numbers are small; soft masks have grey levels
    inside = Image.fromarray(np.uint8(mask > half) * 255)
    return outlined(pixels, np.asarray(inside.resize(picture.size, Image.Resampling.NEAREST)))


def _shape(picture: NDArray[Any]) -> list[int]:
    return [*picture.shape, 1][:3]


class _Publisher:
    """The one thread that writes to pages."""

    def __init__(self) -> None:
        self._due: dict[Feed, None] = {}
        self._urgent = False
        self._news = threading.Condition()
        threading.Thread(target=self._work, name="medgan-publisher", daemon=True).start()

    def poke(self, feed: Feed, urgent: bool = False) -> None:
        with self._news:
            self._due[feed] = None
            self._urgent = self._urgent or urgent
            self._news.notify()

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: bool(self._due))
                feeds, self._due, self._urgent = list(self._due), {}, False
            later = [feed for feed in feeds if self._publish(feed)]
            with self._news:
                self._news.wait_for(lambda: self._urgent, timeout=PAUSE)
                for feed in later:
                    self._due[feed] = None

    @staticmethod
    def _publish(feed: Feed) -> bool:
        try:
            return feed.publish()
        except Exception:  # one panel's trouble must not silence the others
            log.exception("tiles could not be sent")
            return False


@cache
def _publisher() -> _Publisher:
    return _Publisher()
