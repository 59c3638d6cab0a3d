"""What an engine tells of itself: how long images take, and what memory they need.

Recording costs microseconds and a bounded ring for each model, so it is always
on. No torch here: the engine passes numbers.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT = 2000  # batches remembered for each model
MODELS = 64  # models remembered; the one not asked for longest leaves


@dataclass(frozen=True)
class Record:
    """One batch that a model made."""

    at: float  # when it was ready, in seconds since 1970
    images: int
    seconds: float  # of the device, for all of them
    host_bytes: int  # memory then, of this process and of the model's own
    device_bytes: int | None = None  # None on a CPU


@dataclass(frozen=True)
class Usage:
    """What is known of one model's work.

    Seconds are the median and the 95th percentile of what is remembered.
    """

    model_id: str
    device: str = ""  # where it ran last
    images: int = 0  # since the engine began, as all counts
    requests: int = 0
    hits: int = 0  # requests that found the model on the device
    loads: int = 0  # requests that had to read it
    load_seconds: float | None = None  # the last time; None when it was never read
    first_seconds: float | None = None  # from a request to its first images, median
    first_p95: float | None = None
    p50: float | None = None  # of one batch
    p95: float | None = None
    image_p50: float | None = None  # of one image: a batch's seconds by its images
    image_p95: float | None = None
    per_second: float | None = None  # images, while it computed
    host_bytes: int = 0  # the most in use after a batch
    device_bytes: int | None = None  # None on a CPU

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


@dataclass
class _Model:
    usage: Usage  # counts alone; what is remembered is added when somebody asks
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=KEPT))
    first: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))


class Telemetry:
    """The record of one engine, for any number of threads.

    Examples
    --------
    >>> told = Telemetry()
    >>> told.asked("m", device="cpu", load_seconds=0.5)
    >>> told.made("m", images=4, seconds=0.2, host_bytes=10**8)
    >>> told.usage("m").per_second, told.usage("m").loads, told.models
    (20.0, 1, ('m',))
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Model] = OrderedDict()
        self.version = 0  # grows with each record, so that who looks again can tell

    @property
    def models(self) -> tuple[str, ...]:
        """The models that were asked for, the one asked last at the end."""
        with self._lock:
            return tuple(self._known)

    def asked(self, model_id: str, *, device: str, load_seconds: float | None = None) -> None:
        """Note a request; ``load_seconds`` is None where the model was on the device already."""
        with self._lock:
            model = self._of(model_id)
            self._known.move_to_end(model_id)
            known = replace(model.usage, device=device, requests=model.usage.requests + 1)
            model.usage = (
                replace(known, hits=known.hits + 1)
                if load_seconds is None
                else replace(known, loads=known.loads + 1, load_seconds=load_seconds)
            )
            self.version += 1

    def answered(self, model_id: str, seconds: float) -> None:
        """Note how long a request's first images took, from the asking."""
        with self._lock:
            self._of(model_id).first.append(seconds)

    def made(
        self,
        model_id: str,
        *,
        images: int,
        seconds: float,
        host_bytes: int,
        device_bytes: int | None = None,
    ) -> None:
        """Note one batch."""
        with self._lock:
            model = self._of(model_id)
            model.records.append(Record(time.time(), images, seconds, host_bytes, device_bytes))
            known = model.usage
            model.usage = replace(
                known,
                images=known.images + images,
                host_bytes=max(known.host_bytes, host_bytes),
                device_bytes=known.device_bytes
                if device_bytes is None
                else max(known.device_bytes or 0, device_bytes),
            )
            self.version += 1

    def records(self, model_id: str) -> tuple[Record, ...]:
        """Return the remembered batches of a model, the oldest first; none for an unknown one."""
        with self._lock:
            model = self._known.get(model_id)
            return () if model is None else tuple(model.records)

    def usage(self, model_id: str) -> Usage:
        """Return what is known of a model's work; all is zero for an unknown one."""
        with self._lock:
            model = self._known.get(model_id, _Model(Usage(model_id)))
            records, first = tuple(model.records), tuple(model.first)
        if not records:
            return model.usage
        seconds = np.array([one.seconds for one in records])
        images = np.array([one.images for one in records])
        total = float(seconds.sum())
        p50, p95 = _percentiles(seconds)
        image_p50, image_p95 = _percentiles(seconds[images > 0] / images[images > 0])
        first_seconds, first_p95 = _percentiles(np.array(first))
        return replace(
            model.usage,
            first_seconds=first_seconds,
            first_p95=first_p95,
            p50=p50,
            p95=p95,
            image_p50=image_p50,
            image_p95=image_p95,
            per_second=float(images.sum()) / total if total > 0 else None,
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row a model, as a table takes them."""
        return [asdict(self.usage(model_id)) for model_id in self.models]

    def _of(self, model_id: str) -> _Model:
        if model_id not in self._known:
            self._known[model_id] = _Model(Usage(model_id))
            while len(self._known) > MODELS:
                self._known.popitem(last=False)
        return self._known[model_id]


def _percentiles(values: NDArray[Any]) -> tuple[float | None, float | None]:
    if not len(values):
        return None, None
    p50, p95 = np.percentile(values, (50, 95))
    return float(p50), float(p95)
