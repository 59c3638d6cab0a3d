"""An engine and a catalogue without torch: every image says its seed in its pixels."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from medgan_widgets.errors import ModelNotFoundError, RequestError
from medgan_widgets.requests import Batch, GenerateRequest
from medgan_widgets.seeds import labels_from_seeds

BRAIN = SimpleNamespace(
    id="phantom-brain-mri",
    title="Brain MRI, axial",
    origin="local",
    condition={"contrast": ("T1", "T2", "FLAIR"), "tumour": (False, True)},
    truncation=False,
    style_layers=0,
    options=(),
    training={},
    needs=SimpleNamespace(image=False),
)
CHEST = SimpleNamespace(
    id="phantom-chest-xray",
    title="Chest <b>X-ray</b>",
    origin="local",
    condition={"nodule": (False, True)},
    truncation=True,
    style_layers=0,
    options=(),
    training={},
    needs=SimpleNamespace(image=False),
)
POLYP = SimpleNamespace(
    id="00013",
    title="Polyps",
    origin="medigan",
    condition={},
    truncation=False,
    style_layers=0,
    options=(),
    training={},
    needs=SimpleNamespace(image=False),
)


class FakeCatalogue:
    def __init__(self) -> None:
        self.cards = {card.id: card for card in (BRAIN, CHEST, POLYP)}

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cards.values())

    def __getitem__(self, model_id: str) -> Any:
        try:
            return self.cards[model_id]
        except KeyError:
            raise ModelNotFoundError(f"there is no model {model_id!r}.") from None

    def runs_here(self, card: Any) -> Any:
        kind = "now" if card.origin == "local" else "download"
        return SimpleNamespace(
            kind=kind, text=kind if kind == "now" else "after a download of 9 MB"
        )


class FakeEngine:
    """Yields `chunk` images at a time, each step only when the test lets it (`hold`)."""

    device = "cpu"

    def __init__(self, *, size: int = 16, channels: int = 1, chunk: int = 2) -> None:
        self.catalogue = FakeCatalogue()
        self.size, self.channels, self.chunk = size, channels, chunk
        self.go = threading.Semaphore(0)
        self.hold = False
        self.requests: list[GenerateRequest] = []
        self.failure: Exception | None = None
        self.fail_after = 0

    def pixels(self, seed: int) -> Any:
        image = np.random.default_rng(seed).integers(0, 256, (self.size, self.size, self.channels))
        return image.astype(np.uint8)

    def check(self, request: GenerateRequest) -> Any:
        card = self.catalogue[request.model_id]
        labels_from_seeds([0], card.condition, request.condition)
        if request.truncation_psi is not None and not card.truncation:
            raise RequestError(f"{card.id} has no truncation; leave truncation_psi out.")
        if request.inputs and not card.needs.image:
            raise RequestError(f"{card.id} takes no inputs; leave it out.")
        return card

    def generate(self, request: GenerateRequest) -> Iterator[Batch]:
        self.requests.append(request)
        card = self.catalogue[request.model_id]
        labels = labels_from_seeds(request.seeds, card.condition, request.condition)
        for start in range(0, len(request.seeds), self.chunk):
            if self.hold:
                assert self.go.acquire(timeout=10)
            if self.failure is not None and start >= self.fail_after:
                raise self.failure
            part = slice(start, start + self.chunk)
            seeds = tuple(request.seeds[part])
            yield Batch(
                images=np.stack([self.pixels(seed) for seed in seeds]),
                seeds=seeds,
                labels={name: values[part] for name, values in labels.items()},
                seconds=0.001,
            )

    def device_of(self, model_id: str) -> str:
        return self.device

    def remark(self, model_id: str) -> str:
        return ""

    def prepare(self, model_id: str) -> None:
        pass

    def recipe(self, request: GenerateRequest) -> dict[str, Any]:
        return {**request.to_dict(), "weights_sha256": "0" * 64, "device": "cpu"}
