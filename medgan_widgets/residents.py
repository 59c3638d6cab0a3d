"""Which generators stay on a device: read once, the least recently used leave first."""

from __future__ import annotations

import gc
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from medgan_widgets.cards import ModelCard
from medgan_widgets.checkpoints import read_generator
from medgan_widgets.errors import NotRunnableError
from medgan_widgets.networks import Generator

log = logging.getLogger(__name__)


@dataclass
class Resident:
    """A generator on the device, ready to run."""

    card: ModelCard
    network: Generator
    bytes: int


class Residents:
    """The generators of one device, at most ``memory`` bytes of weights together."""

    def __init__(self, device: torch.device, memory: int, lock: threading.RLock) -> None:
        self._device, self._memory, self._lock = device, memory, lock
        self._held: OrderedDict[tuple[str, str, str], Resident] = OrderedDict()

    @property
    def names(self) -> tuple[str, ...]:
        """The models, least recently used first."""
        return tuple(dict.fromkeys(key[0] for key in list(self._held)))

    @property
    def bytes(self) -> int:
        """What their weights take."""
        return sum(resident.bytes for resident in list(self._held.values()))

    def holds(self, card: ModelCard, mode: str) -> bool:
        """Tell whether a generator is there already."""
        return card.weights is not None and (card.id, card.weights.sha256, mode) in self._held

    def ready(self, card: ModelCard, mode: str, folder: Callable[[], Path]) -> Resident:
        """Return the generator, read and laid out if it is not on the device yet."""
        assert card.weights is not None
        assert card.network is not None
        key = (card.id, card.weights.sha256, mode)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            network = read_generator(
                folder() / card.weights.file,
                card.network.name,
                dict(card.network.settings),
                card.weights.sha256,
            )
            _check_fits(network, card)
            size = 4 * sum(p.numel() for p in network.parameters())
            self._make_room(size)
            laid_out = network.for_inference().to(self._device)
            if mode == "fast":
                laid_out, size = laid_out.to(torch.bfloat16), size // 2
            self._held[key] = Resident(card, laid_out, size)
            return self._held[key]

    def release(self, model_id: str | None = None) -> None:
        """Let one model, or all, leave the device."""
        with self._lock:
            for key in [key for key in self._held if model_id in (None, key[0])]:
                del self._held[key]
            self._empty_cache()

    def leave_only(self, model_id: str) -> None:
        """Let every other model leave."""
        for other in set(self.names) - {model_id}:
            self.release(other)
        gc.collect()
        self._empty_cache()

    def _make_room(self, needed: int) -> None:
        while self._held and self.bytes + needed > self._memory:
            (model_id, _, _), _ = self._held.popitem(last=False)
            log.info("%s left %s to make room.", model_id, self._device)
            self._empty_cache()

    def _empty_cache(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


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
