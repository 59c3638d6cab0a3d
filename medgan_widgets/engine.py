"""One engine for everything: a request becomes batches of images.

In ``exact`` mode a network always runs in chunks of one fixed size, padded where a request
ends within one: matrix libraries choose other kernels for other sizes, and the last bit
differs. Several threads may ask: the device's lock is held for one chunk.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.devices import (
    backend,
    checked_device,
    device_lock,
    free_bytes,
    is_out_of_memory,
    name_of,
    used_bytes,
)
from medgan_widgets.errors import DeviceMemoryError, NotRunnableError, RequestError, WeightsError
from medgan_widgets.medigan.behaviour import kept
from medgan_widgets.medigan.runner import MediganStream, medigan_recipe
from medgan_widgets.medigan.trust import consent_to
from medgan_widgets.medigan.workers import end_workers, shared_workers
from medgan_widgets.requests import Batch, GenerateRequest, check_mix_fits
from medgan_widgets.residents import Resident, Residents
from medgan_widgets.seeds import (
    Value,
    labels_from_seeds,
    latents_from_seeds,
    normals_from_seed,
    one_hot,
)
from medgan_widgets.telemetry import Telemetry

log = logging.getLogger(__name__)

T = TypeVar("T")

# The chunk is part of the pixels: measured once for each network (see
# tests/benchmarks/engine_speed.py), never adapted to the request or the memory.
EXACT_CHUNK = {"residual": 2, "stylegan2": 4, "dcgan": 4}
FAST_CHUNK = 16
IDLE_SECONDS = 600.0  # a GPU is shared: what nobody used so long leaves it


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
        self.lock = device_lock(str(self._device))
        memory = free_bytes(self._device) // 2 if memory_bytes is None else memory_bytes
        self._residents = Residents(self._device, memory, self.lock)
        self._idle: threading.Timer | None = None
        self.telemetry = Telemetry()
        self._process = psutil.Process()

    # ------------------------------------------------------------ what a person asks

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
        card = self._checked_card(request)
        if card.origin == "medigan":
            spec = self.catalogue.package_of(card.id)
            threads = torch.get_num_threads()
            stream = MediganStream(card, spec, request, self.device_of(card.id), threads)
            return _Watched(stream, self, card.id)
        began, known = time.perf_counter(), self._residents.holds(card, request.mode)
        self._with_room(card, partial(self._ready, card, request.mode))
        seconds = time.perf_counter() - began
        self.telemetry.asked(card.id, device=self.device, load_seconds=None if known else seconds)
        return self._batches(card, request, seconds)

    def worker_pid(self, model_id: str | int) -> int | None:
        """Return the process in which one of medigan's models is warm, or None."""
        return shared_workers().pid(self.catalogue[model_id].id)

    def prepare(self, model_id: str | int) -> None:
        """Start early what the first request of a model would wait for, and return at once."""
        card = self.catalogue[model_id]
        if card.origin == "medigan" and self.catalogue.runs_here(card).kind == "now":
            consent = consent_to(card.id)
            shared_workers().prepare(consent.python if consent else None)

    def remark(self, model_id: str | int) -> str:
        """Return what somebody should know of how a model runs here; mostly nothing."""
        found = kept(self.catalogue[model_id].id)
        if found is not None and found.promise:
            return f"{found.promise[0].upper()}{found.promise[1:]}."
        if found is not None and not found.warm:
            return "It reads its weights at every call: warm, it would answer differently."
        return ""

    def images(self, request: GenerateRequest) -> NDArray[Any]:
        """Return all images of a request at once, uint8 (rarely uint16) [N, H, W, C].

        Raises
        ------
        RequestError
            When they would not fit in memory: iterate over ``generate`` instead.
        """
        card = self._checked_card(request)
        shape = (len(request.seeds), *card.size, card.channels)
        needed, free = int(np.prod(shape, dtype=object)), psutil.virtual_memory().available
        if needed > free // 2:
            raise RequestError(
                f"{shape[0]:,} images at once would take {needed / 1e9:,.1f} GB of the "
                f"{free / 1e9:.1f} GB that are free; iterate over generate(request) instead."
            )
        images: NDArray[Any] = np.empty(0)
        done = 0
        for batch in self.generate(request):
            if not done:  # a package's metadata may be wrong about its images
                images = np.empty((shape[0], *batch.images.shape[1:]), batch.images.dtype)
            if batch.images.shape[1:] != images.shape[1:]:
                sizes = [" x ".join(map(str, one.shape[1:3])) for one in (images, batch.images)]
                raise RequestError(
                    f"{card.id} makes images of several sizes ({sizes[0]}, {sizes[1]}); iterate "
                    "over generate(request) instead."
                )
            images[done : done + len(batch.seeds)] = batch.images
            done += len(batch.seeds)
        return images

    def release(self, model_id: str | None = None) -> None:
        """Let one model, or all, leave the device; the next request reads it again."""
        self._residents.release(model_id)
        end_workers(model_id)

    def recipe(self, request: GenerateRequest) -> dict[str, Any]:
        """Return all that the pixels of a request depend on, as plain JSON values."""
        card = self._checked_card(request)
        if card.origin == "medigan":
            spec = self.catalogue.package_of(card.id)
            device = self.device_of(card.id).partition(":")[0]
            return medigan_recipe(card, spec, request, device, torch.get_num_threads())
        return {
            **request.to_dict(),
            "weights_sha256": card.weights.sha256 if card.weights else None,
            "device": self._device.type,
            "dtype": "float32" if request.mode == "exact" else "bfloat16",
            "chunk": self._chunk(card, request.mode),
            "threads": torch.get_num_threads() if self._device.type == "cpu" else None,
            "backend": backend(self._device),
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            "synthetic": True,
        }

    @property
    def device(self) -> str:
        """The device, as torch names it."""
        return str(self._device)

    def device_of(self, model_id: str) -> str:
        """Return where a model computes: medigan's packages know CUDA and the CPU alone."""
        hosted = self.catalogue[model_id].origin == "medigan"
        return "cpu" if hosted and self._device.type != "cuda" else str(self._device)

    @property
    def device_name(self) -> str:
        """The device in words, for the screen."""
        return name_of(self._device)

    @property
    def resident(self) -> tuple[str, ...]:
        """The models on the device, least recently used first, medigan's after ours."""
        return (*self._residents.names, *shared_workers().names)

    @property
    def resident_bytes(self) -> int:
        """What their weights take, in bytes."""
        return self._residents.bytes

    # ------------------------------------------------------------ from request to pixels

    def _checked_card(self, request: GenerateRequest) -> ModelCard:
        if not isinstance(request, GenerateRequest):
            raise RequestError(f"an engine answers a GenerateRequest, got {request!r}.")
        card = self.catalogue[request.model_id]
        labels_from_seeds([0], card.condition, request.condition)
        if card.origin == "medigan":
            for name in ("truncation_psi", "mix"):
                if getattr(request, name) is not None:
                    raise RequestError(f"{card.id} has no {name}; leave it out.")
            return card
        if card.network is None or card.weights is None:
            reason = self.catalogue.runs_here(card).text
            raise NotRunnableError(f"{card.id} cannot generate here yet: {reason}.")
        if request.truncation_psi is not None and not card.truncation:
            raise RequestError(f"{card.id} has no truncation; leave truncation_psi out.")
        check_mix_fits(request.mix, card.id, card.style_layers)
        for name in ("inputs", "options"):
            if getattr(request, name):
                raise RequestError(f"{card.id} takes no {name}; leave it out.")
        return card

    def tell(self, model_id: str, batch: Batch, *, hosted: bool = False) -> None:
        """Note a batch in the telemetry, with the memory in use now.

        A ``hosted`` model, one of medigan's, holds its own: what it takes of a GPU is not known.
        """
        host = self._process.memory_info().rss
        if hosted and (worker := shared_workers().pid(model_id)) is not None:
            with contextlib.suppress(psutil.Error):
                host += psutil.Process(worker).memory_info().rss
        self.telemetry.made(
            model_id,
            images=len(batch.images),
            seconds=batch.seconds,
            host_bytes=host,
            device_bytes=None if hosted else used_bytes(self._device),
        )

    def _batches(self, card: ModelCard, request: GenerateRequest, waited: float) -> Iterator[Batch]:
        chunk, seeds = self._chunk(card, request.mode), request.seeds
        try:
            for start in range(0, len(seeds), chunk):
                part = tuple(seeds[start : start + chunk])
                labels = labels_from_seeds(part, card.condition, request.condition)
                started = time.perf_counter()
                work = partial(self._forward, card, request, part, labels, chunk)
                images = self._with_room(card, work)
                seconds = time.perf_counter() - started
                batch = Batch(images=images, seeds=part, labels=labels, seconds=seconds)
                self.tell(card.id, batch)
                if not start:
                    self.telemetry.answered(card.id, waited + seconds)
                yield batch
        finally:  # a cancelled request leaves a shared GPU as well
            self._arm_idle()

    def _with_room(self, card: ModelCard, work: Callable[[], T]) -> T:
        """Do a piece of work; when memory runs out, let other models go and try once more."""
        for last_try in (False, True):
            try:
                with self.lock:
                    return work()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if last_try:
                    raise DeviceMemoryError(
                        f"{self.device} has no room for {card.id}, even after other models were "
                        "let go; close what else uses the device or choose a smaller model."
                    ) from error
            log.warning("%s is full; letting other models go.", self.device)
            self._residents.leave_only(card.id)
        raise AssertionError  # the loop returns or raises

    @torch.inference_mode()
    def _forward(
        self,
        card: ModelCard,
        request: GenerateRequest,
        seeds: Sequence[int],
        labels: dict[str, tuple[Value, ...]],
        chunk: int,
    ) -> NDArray[np.uint8]:
        network = self._ready(card, request.mode).network
        rows = chunk if request.mode == "exact" else len(seeds)
        dtype = torch.float32 if request.mode == "exact" else torch.bfloat16

        def on_device(values: NDArray[np.float32]) -> Tensor:
            padded = np.zeros((rows, *values.shape[1:]), np.float32)
            padded[: len(values)] = values
            return torch.from_numpy(padded).to(self._device, dtype)

        z = on_device(latents_from_seeds(seeds, network.z_dim))
        y = on_device(one_hot(labels, card.condition, len(seeds)))
        noise = [on_device(grain) for grain in _noise(seeds, network.noise_shapes)]
        psi = 1.0 if request.truncation_psi is None else request.truncation_psi
        mix = None
        if request.mix is not None:
            other = latents_from_seeds([request.mix["seed"]], network.z_dim)
            share = _shares(request.mix, network.style_layers)
            mix = on_device(other.repeat(rows, axis=0)), on_device(share.repeat(rows, axis=0))
        made = network(z, y, noise, psi, mix)[: len(seeds)]
        if not bool(torch.isfinite(made).all()):  # else they would show as black pixels
            raise WeightsError(
                f"{card.id} makes values that are not finite; its weights are damaged."
            )
        pixels = made.float().clamp_(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)
        return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())

    def _chunk(self, card: ModelCard, mode: str) -> int:
        assert card.network is not None
        if card.network.name not in EXACT_CHUNK:
            have = ", ".join(sorted(EXACT_CHUNK))
            raise WeightsError(f"network must be one of {have}; got {card.network.name!r}.")
        return EXACT_CHUNK[card.network.name] if mode == "exact" else FAST_CHUNK

    def _ready(self, card: ModelCard, mode: str) -> Resident:
        return self._residents.ready(card, mode, lambda: self.catalogue.folder_of(card.id))

    def _arm_idle(self) -> None:
        if self._device.type == "cpu":
            return
        if self._idle is not None:
            self._idle.cancel()
        # Ours alone: medigan's workers have a sweeper of their own, and may be at work.
        self._idle = threading.Timer(IDLE_SECONDS, self._residents.release)
        self._idle.daemon = True
        self._idle.start()


class _Watched(Iterator[Batch]):
    """A stream of one of medigan's models whose batches are noted; it stops as the stream does."""

    def __init__(self, stream: MediganStream, engine: Engine, model_id: str) -> None:
        self._stream, self._engine, self._id = stream, engine, model_id
        self._began: float | None = None
        self.interrupt, self.close = stream.interrupt, stream.close

    def __next__(self) -> Batch:
        """Return the next batch."""
        first, told = self._began is None, self._engine.telemetry
        if first:
            self._began = time.perf_counter()
            self._warm = self._engine.worker_pid(self._id) is not None
        batch = next(self._stream)
        if first and self._began is not None:
            waited = time.perf_counter() - self._began
            load = None if self._warm else max(0.0, waited - batch.seconds)
            device = self._engine.device_of(self._id)
            told.asked(self._id, device=device, load_seconds=load)
            told.answered(self._id, waited)
        self._engine.tell(self._id, batch, hosted=True)
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


def _shares(mix: Mapping[str, Any], layers: int) -> NDArray[np.float32]:
    """Return what each layer takes of the other seed's style, float32 [1, layers]."""
    first, last = mix.get("layers", (0, layers - 1))
    shares = np.zeros((1, layers), np.float32)
    shares[:, first : last + 1] = mix["share"]
    return shares


def _noise(
    seeds: Sequence[int], shapes: Sequence[tuple[int, int, int]]
) -> list[NDArray[np.float32]]:
    """Return the noise maps of some seeds, [N, *shape] for every shape."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    drawn = np.stack([normals_from_seed(seed, "noise", sum(sizes)) for seed in seeds])
    parts = np.split(drawn, np.cumsum(sizes)[:-1], axis=1) if sizes else []
    return [part.reshape(len(seeds), *shape) for part, shape in zip(parts, shapes, strict=True)]
