"""One engine for everything: a request becomes batches of images.

The engine checks a request, picks who makes its images, and notes what it cost. There are two
makers: `LocalGenerators` for models of this machine, and `PackageGenerators` for medigan's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.devices import checked_device, name_of
from medgan_widgets.errors import RequestError
from medgan_widgets.generators import LocalGenerators
from medgan_widgets.medigan.generators import PackageGenerators
from medgan_widgets.requests import Batch, GenerateRequest
from medgan_widgets.seeds import labels_from_seeds
from medgan_widgets.telemetry import Telemetry


class Generators(Protocol):
    """What makes images of models of one origin."""

    def check(self, card: ModelCard, request: GenerateRequest) -> None:
        """Refuse what the model cannot do."""

    def generate(self, card: ModelCard, request: GenerateRequest) -> Iterator[Batch]:
        """Return the batches; what can fail before the first has failed by then."""

    def recipe(self, card: ModelCard, request: GenerateRequest) -> dict[str, Any]:
        """Return what the pixels depend on besides the request."""

    def release(self, model_id: str | None = None) -> None:
        """Free what one model holds, or all."""

    def prepare(self, card: ModelCard) -> None:
        """Start early what the first request would wait for."""

    def remark(self, card: ModelCard) -> str:
        """Return what one should know of how a model runs here."""

    def holds(self, card: ModelCard, mode: str) -> bool:
        """Return whether it is ready to run."""

    def memory(self, card: ModelCard) -> tuple[int, int | None]:
        """Return the bytes it holds of the host beyond this process, and of the device."""

    def device_of(self, card: ModelCard) -> str:
        """Return where it computes."""

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are ready to run."""


class Engine:
    """Generators resident on one device, and the images they make.

    Parameters
    ----------
    device
        ``"auto"`` (the CUDA device with most free memory, else MPS, else CPU)
        or a torch device.
    catalogue
        Where model ids are looked up; by default the models known here.
    memory_bytes
        How much the resident generators may take together; by default half
        of what was free at the start. The least recently used ones leave.

    Attributes
    ----------
    telemetry
        How long its models take, and what memory they need.

    Raises
    ------
    RequestError
        When the device does not exist here.

    Examples
    --------
    >>> engine = Engine(device="cpu")
    >>> request = GenerateRequest("phantom-brain-mri", seeds=range(2))
    >>> engine.images(request).shape
    (2, 128, 128, 1)
    """

    def __init__(
        self,
        device: str = "auto",
        *,
        catalogue: Catalogue | None = None,
        memory_bytes: int | None = None,
    ) -> None:
        self._device = checked_device(device)
        self.catalogue = Catalogue() if catalogue is None else catalogue
        self._local = LocalGenerators(self._device, self.catalogue, memory_bytes)
        threads = torch.get_num_threads
        self._packages = PackageGenerators(str(self._device), self.catalogue, threads)
        self.lock = self._local.lock
        self.telemetry = Telemetry()

    def check(self, request: GenerateRequest) -> ModelCard:
        """Return the card of a request that its model can answer; refuse any other.

        Raises
        ------
        ModelNotFoundError, NotRunnableError, RequestError, DataError
            No such model, one that cannot generate here, or a value it does not take.
        """
        if not isinstance(request, GenerateRequest):
            raise RequestError(f"an engine answers a GenerateRequest, got {request!r}.")
        card = self.catalogue[request.model_id]
        labels_from_seeds([0], card.condition, request.condition)
        self._generators(card).check(card, request)
        return card

    def generate(self, request: GenerateRequest) -> Iterator[Batch]:
        """Return an iterator of batches; all of the request is checked before it starts.

        Raises
        ------
        ModelNotFoundError, NotRunnableError, RequestError, WeightsError
            Before the first batch, when the request cannot be answered.
        DeviceMemoryError
            When the device is full even after other models were let go.
        ConsentError, DataError, WorkerError
            For medigan's models: nobody agreed to their code, source images cannot
            be read, or the package failed in its process.
        """
        card = self.check(request)
        return _Stream(self._generators(card), card, request, self.telemetry)

    def images(self, request: GenerateRequest) -> NDArray[Any]:
        """Return all images of a request at once, uint8 (rarely uint16) [N, H, W, C].

        Raises
        ------
        RequestError
            When they would not fit in memory: iterate over ``generate`` instead.
        """
        card, count = self.check(request), len(request.seeds)
        needed = count * int(np.prod(card.size)) * card.channels
        free = psutil.virtual_memory().available
        if needed > free // 2:
            raise RequestError(
                f"{count:,} images at once would take {needed / 1e9:,.1f} GB of the "
                f"{free / 1e9:.1f} GB that are free; iterate over generate(request) instead."
            )
        images: NDArray[Any] = np.empty(0)
        done = 0
        for batch in self.generate(request):
            if not done:  # a package's metadata may be wrong about its images
                images = np.empty((count, *batch.images.shape[1:]), batch.images.dtype)
            if batch.images.shape[1:] != images.shape[1:]:
                sizes = [" x ".join(map(str, some.shape[1:3])) for some in (images, batch.images)]
                raise RequestError(
                    f"{card.id} makes images of several sizes ({sizes[0]}, {sizes[1]}); iterate "
                    "over generate(request) instead."
                )
            images[done : done + len(batch.seeds)] = batch.images
            done += len(batch.seeds)
        return images

    def recipe(self, request: GenerateRequest) -> dict[str, Any]:
        """Return all that the pixels of a request depend on, as plain JSON values."""
        card = self.check(request)
        parts = self._generators(card).recipe(card, request)
        return {**request.to_dict(), **parts, "synthetic": True}

    def release(self, model_id: str | None = None) -> None:
        """Let one model, or all, leave the device; the next request reads it again."""
        self._local.release(model_id)
        self._packages.release(model_id)

    def prepare(self, model_id: str | int) -> None:
        """Start early what the first request of a model would wait for, and return at once."""
        card = self.catalogue[model_id]
        self._generators(card).prepare(card)

    def remark(self, model_id: str | int) -> str:
        """Return what somebody should know of how a model runs here; mostly nothing."""
        card = self.catalogue[model_id]
        return self._generators(card).remark(card)

    def worker_pid(self, model_id: str | int) -> int | None:
        """Return the process that keeps one of medigan's models resident, or None."""
        return self._packages.pid(self.catalogue[model_id].id)

    def device_of(self, model_id: str) -> str:
        """Return where a model computes: medigan's packages know CUDA and the CPU alone."""
        card = self.catalogue[model_id]
        return self._generators(card).device_of(card)

    @property
    def device(self) -> str:
        """The device, as torch names it."""
        return str(self._device)

    @property
    def device_name(self) -> str:
        """The device in words, for the screen."""
        return name_of(self._device)

    @property
    def resident(self) -> tuple[str, ...]:
        """The models on the device, least recently used first, medigan's after ours."""
        return (*self._local.names, *self._packages.names)

    @property
    def resident_bytes(self) -> int:
        """What the weights of local models take, in bytes."""
        return self._local.bytes

    def _generators(self, card: ModelCard) -> Generators:
        return self._packages if card.origin == "medigan" else self._local


class _Stream(Iterator[Batch]):
    """The batches of a request, noted in the telemetry; it stops as what makes them does."""

    def __init__(
        self, made_by: Generators, card: ModelCard, request: GenerateRequest, telemetry: Telemetry
    ) -> None:
        self._made_by, self._card, self._telemetry = made_by, card, telemetry
        self._held = made_by.holds(card, request.mode)
        began = time.perf_counter()
        batches: Any = made_by.generate(card, request)
        self._batches = batches
        self._waited = time.perf_counter() - began
        self._first = True
        self.close = batches.close
        # What runs in another process can be stopped in the middle of a forward.
        self.interrupt = getattr(batches, "interrupt", lambda: None)

    def __next__(self) -> Batch:
        """Return the next batch."""
        began = time.perf_counter()
        batch: Batch = next(self._batches)
        name, telemetry = self._card.id, self._telemetry
        if self._first:
            self._first = False
            waited = self._waited + time.perf_counter() - began
            load = None if self._held else max(0.0, waited - batch.seconds)
            device = self._made_by.device_of(self._card)
            telemetry.note_request(name, device=device, first_seconds=waited, load_seconds=load)
        host, on_device = self._made_by.memory(self._card)
        telemetry.note_batch(
            name,
            images=len(batch.images),
            seconds=batch.seconds,
            host_bytes=host + psutil.Process().memory_info().rss,
            device_bytes=on_device,
        )
        return batch


@cache
def _shared_engine() -> Engine:
    return Engine()


_first = threading.Lock()


def shared_engine() -> Engine:
    """Return the engine that panels and scripts of this process share.

    Examples
    --------
    >>> shared_engine() is shared_engine()
    True
    """
    with _first:  # two panels may ask at the same moment
        return _shared_engine()
