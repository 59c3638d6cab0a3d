"""What an engine's work costs: how long images take, and what memory they need.

Recording costs microseconds and a bounded ring for each model, so it is always
on. No torch here: the engine passes numbers.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

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
    """What one model's work cost; seconds are the median and the 95th percentile."""

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


@dataclass
class _Model:
    usage: Usage  # counts alone; percentiles are added when somebody asks
    records: deque[Record] = field(default_factory=lambda: deque(maxlen=KEPT))
    first: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))


class Telemetry:
    """The record of one engine, for any number of threads.

    Examples
    --------
    >>> telemetry = Telemetry()
    >>> telemetry.note_request("m", device="cpu", first_seconds=0.7, load_seconds=0.5)
    >>> telemetry.note_batch("m", images=4, seconds=0.2, host_bytes=10**8)
    >>> telemetry.usage("m").per_second, telemetry.usage("m").loads, telemetry.models
    (20.0, 1, ('m',))
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: OrderedDict[str, _Model] = OrderedDict()
        self.version = 0  # grows with each record, so that who looks again can tell

    @property
    def models(self) -> tuple[str, ...]:
        """The models that were asked for, the one asked last at the end."""
        with self._lock:
            return tuple(self._models)

    def note_request(
        self,
        model_id: str,
        *,
        device: str,
        first_seconds: float | None = None,
        load_seconds: float | None = None,
    ) -> None:
        """Note a request, once its first images are there, and what they took.

        ``load_seconds`` is None where the model was on the device already.
        """
        with self._lock:
            model = self._of(model_id)
            self._models.move_to_end(model_id)
            counts = model.usage
            model.usage = replace(
                counts,
                device=device,
                requests=counts.requests + 1,
                hits=counts.hits + (load_seconds is None),
                loads=counts.loads + (load_seconds is not None),
                load_seconds=counts.load_seconds if load_seconds is None else load_seconds,
            )
            if first_seconds is not None:
                model.first.append(first_seconds)
            self.version += 1

    def note_batch(
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
            counts = model.usage
            on_device = [n for n in (counts.device_bytes, device_bytes) if n is not None]
            model.usage = replace(
                counts,
                images=counts.images + images,
                host_bytes=max(counts.host_bytes, host_bytes),
                device_bytes=max(on_device, default=None),
            )
            self.version += 1

    def records(self, model_id: str) -> tuple[Record, ...]:
        """Return the remembered batches of a model, the oldest first; none for an unknown one."""
        with self._lock:
            return tuple(self._models[model_id].records) if model_id in self._models else ()

    def usage(self, model_id: str) -> Usage:
        """Return what a model's work cost; all is zero for an unknown one."""
        with self._lock:
            model = self._models.get(model_id, _Model(Usage(model_id)))
            records, first = tuple(model.records), tuple(model.first)
        total = sum(record.seconds for record in records)
        first_seconds, first_p95 = _percentiles(first)
        p50, p95 = _percentiles([record.seconds for record in records])
        each = [record.seconds / record.images for record in records if record.images]
        image_p50, image_p95 = _percentiles(each)
        return replace(
            model.usage, first_seconds=first_seconds, first_p95=first_p95, p50=p50, p95=p95,
            image_p50=image_p50, image_p95=image_p95,
            per_second=sum(record.images for record in records) / total if total > 0 else None,
        )  # fmt: skip

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row a model, as a table takes them."""
        return [asdict(self.usage(model_id)) for model_id in self.models]

    def _of(self, model_id: str) -> _Model:
        model = self._models.setdefault(model_id, _Model(Usage(model_id)))
        while len(self._models) > MODELS:
            self._models.popitem(last=False)
        return model


def _percentiles(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    p50, p95 = np.percentile(values, (50, 95))
    return float(p50), float(p95)
