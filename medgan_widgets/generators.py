"""Local generators resident on a device, and the batches they make.

In ``exact`` mode a network always runs in chunks of one fixed size, padded where a request
ends within one: matrix libraries choose other kernels for other sizes, and the last bit
differs. Several threads may ask: the device's lock is held for one chunk.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.checkpoints import read_generator
from medgan_widgets.devices import backend, device_lock, free_bytes, is_out_of_memory, used_bytes
from medgan_widgets.errors import DeviceMemoryError, NotRunnableError, RequestError, WeightsError
from medgan_widgets.jobs import call_later
from medgan_widgets.networks import Generator
from medgan_widgets.requests import Batch, GenerateRequest, check_mix_fits
from medgan_widgets.seeds import (
    Value,
    labels_from_seeds,
    latents_from_seeds,
    normals_from_seed,
    one_hot,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

# The chunk is part of the pixels: measured once for each network (see
# tests/benchmarks/engine_speed.py), never adapted to the request or the memory.
EXACT_CHUNK = {"residual": 2, "stylegan2": 4, "dcgan": 4}
FAST_CHUNK = 16
IDLE_SECONDS = 600.0  # a GPU is shared: what nobody used so long leaves it


class LocalGenerators:
    """The generators of one device: read once, the least recently used leave first.

    Parameters
    ----------
    device
        Where they compute.
    catalogue
        Where their weights are looked up.
    memory_bytes
        How much their weights may take together; by default half of what is free now.
    """

    def __init__(
        self, device: torch.device, catalogue: Catalogue, memory_bytes: int | None = None
    ) -> None:
        self._device, self._catalogue = device, catalogue
        self._memory = free_bytes(device) // 2 if memory_bytes is None else memory_bytes
        self.lock = device_lock(str(device))
        # (model, weights' hash, mode) -> network; the one used last stands at the end.
        self._held: OrderedDict[tuple[str, str, str], Generator] = OrderedDict()
        self._idle: threading.Timer | None = None

    # ------------------------------------------------------------ what an engine asks

    def check(self, card: ModelCard, request: GenerateRequest) -> None:
        """Refuse what the model cannot do; classes were checked before."""
        if card.network is None or card.weights is None:
            reason = self._catalogue.runs_here(card).text
            raise NotRunnableError(f"{card.id} cannot generate here yet: {reason}.")
        if request.truncation_psi is not None and not card.truncation:
            raise RequestError(f"{card.id} has no truncation; leave truncation_psi out.")
        check_mix_fits(request.mix, card.id, card.style_layers)
        for name in ("inputs", "options"):
            if getattr(request, name):
                raise RequestError(f"{card.id} takes no {name}; leave it out.")

    def holds(self, card: ModelCard, mode: str) -> bool:
        """Return whether a network is on the device already."""
        return _key(card, mode) in self._held

    def generate(self, card: ModelCard, request: GenerateRequest) -> Iterator[Batch]:
        """Read the network now, if need be, and return an iterator of batches."""
        self._with_room(card, partial(self._network, card, request.mode))
        return self._batches(card, request)

    def recipe(self, card: ModelCard, request: GenerateRequest) -> dict[str, Any]:
        """Return what else the pixels depend on, as plain JSON values."""
        return {
            "weights_sha256": card.weights.sha256 if card.weights else None,
            "device": self._device.type,
            "dtype": "float32" if request.mode == "exact" else "bfloat16",
            "chunk": _chunk(card, request.mode),
            "threads": torch.get_num_threads() if self._device.type == "cpu" else None,
            "backend": backend(self._device),
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
        }

    def release(self, model_id: str | None = None) -> None:
        """Let one model, or all, leave the device."""
        with self.lock:
            for key in [key for key in self._held if model_id in (None, key[0])]:
                del self._held[key]
            self._empty_cache()

    def prepare(self, card: ModelCard) -> None:
        """Nothing to start ahead: a network is read in a moment."""

    def remark(self, card: ModelCard) -> str:
        """Return nothing: what there is to say stands on the card."""
        return ""

    def memory(self, card: ModelCard) -> tuple[int, int | None]:
        """Return bytes of the host beyond this process, and of the device (None on a CPU)."""
        return 0, used_bytes(self._device)

    def device_of(self, card: ModelCard) -> str:
        """Return where a model computes."""
        return str(self._device)

    @property
    def names(self) -> tuple[str, ...]:
        """The models on the device, least recently used first."""
        return tuple(dict.fromkeys(key[0] for key in list(self._held)))

    @property
    def bytes(self) -> int:
        """What their weights take."""
        return sum(map(_bytes, list(self._held.values())))

    # ------------------------------------------------------------ from request to pixels

    def _batches(self, card: ModelCard, request: GenerateRequest) -> Iterator[Batch]:
        chunk, seeds = _chunk(card, request.mode), request.seeds
        try:
            for start in range(0, len(seeds), chunk):
                part = tuple(seeds[start : start + chunk])
                labels = labels_from_seeds(part, card.condition, request.condition)
                started = time.perf_counter()
                images = self._with_room(
                    card, partial(self._forward, card, request, part, labels, chunk)
                )
                seconds = time.perf_counter() - started
                yield Batch(images=images, seeds=part, labels=labels, seconds=seconds)
        finally:  # a cancelled request leaves a shared GPU as well
            self._arm_idle()

    @torch.inference_mode()
    def _forward(
        self,
        card: ModelCard,
        request: GenerateRequest,
        seeds: Sequence[int],
        labels: dict[str, tuple[Value, ...]],
        chunk: int,
    ) -> NDArray[np.uint8]:
        network = self._network(card, request.mode)
        rows = chunk if request.mode == "exact" else len(seeds)
        dtype = torch.float32 if request.mode == "exact" else torch.bfloat16

        def on_device(values: NDArray[np.float32]) -> Tensor:
            padded = np.zeros((rows, *values.shape[1:]), np.float32)
            padded[: len(values)] = values
            return torch.from_numpy(padded).to(self._device, dtype)

        # Everything that is drawn is drawn on the host, from each image's own seed.
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

    # ------------------------------------------------------------ what stays on the device

    def _network(self, card: ModelCard, mode: str) -> Generator:
        """Return the network, read and laid out if it is not on the device yet."""
        key = _key(card, mode)
        with self.lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            assert card.weights is not None
            assert card.network is not None
            file = self._catalogue.folder_of(card.id) / card.weights.file
            settings = dict(card.network.settings)
            network = read_generator(file, card.network.name, settings, card.weights.sha256)
            _check_fits(network, card)
            size = _bytes(network)
            while self._held and self.bytes + size > self._memory:
                (model_id, _, _), _ = self._held.popitem(last=False)
                log.info("%s left %s to make room.", model_id, self._device)
                self._empty_cache()
            network = network.for_inference().to(self._device)
            self._held[key] = network.to(torch.bfloat16) if mode == "fast" else network
            return self._held[key]

    def _with_room(self, card: ModelCard, work: Callable[[], T]) -> T:
        """Do a piece of work; when memory runs out, let other models go and try once more."""
        try:
            with self.lock:
                return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        log.warning("%s is full; letting other models go.", self._device)
        for other in set(self.names) - {card.id}:
            self.release(other)
        gc.collect()
        self._empty_cache()
        try:
            with self.lock:
                return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(
                f"{self._device} has no room for {card.id}, even after other models were "
                "let go; close what else uses the device or choose a smaller model."
            ) from error

    def _empty_cache(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _arm_idle(self) -> None:
        if self._device.type == "cpu":
            return
        if self._idle is not None:
            self._idle.cancel()
        self._idle = call_later(IDLE_SECONDS, self.release)


def _key(card: ModelCard, mode: str) -> tuple[str, str, str]:
    return card.id, card.weights.sha256 if card.weights else "", mode


def _chunk(card: ModelCard, mode: str) -> int:
    assert card.network is not None
    if card.network.name not in EXACT_CHUNK:
        have = ", ".join(sorted(EXACT_CHUNK))
        raise WeightsError(f"network must be one of {have}; got {card.network.name!r}.")
    return EXACT_CHUNK[card.network.name] if mode == "exact" else FAST_CHUNK


def _bytes(network: Generator) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def _check_fits(network: Generator, card: ModelCard) -> None:
    """Refuse weights that would make other images than their card promises."""
    classes = sum(len(values) for values in card.condition.values())
    made = (network.size, network.size), network.channels, network.classes
    if made != (tuple(card.size), card.channels, classes):
        raise NotRunnableError(
            f"the card of {card.id} promises {card.size} pixels, {card.channels} channels and "
            f"{classes} classes, its network makes {made[0]}, {made[1]} and {made[2]}; "
            "correct the card."
        )


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
