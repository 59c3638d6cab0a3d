"""A whole model folder in a few milliseconds: untrained, but real in every other way."""

from __future__ import annotations

from pathlib import Path

import torch

from medgan_widgets.cards import ModelCard, Network, Weights
from medgan_widgets.checkpoints import write_weights
from medgan_widgets.networks import GENERATORS

CONDITION = {"contrast": ("T1", "T2"), "tumour": (False, True)}


def write_model(root: Path, name: str = "tiny", *, size: int = 32, seed: int = 0) -> ModelCard:
    """Write ``root/name`` with card and weights; return the card."""
    settings = {"size": size, "channels": 1, "z_dim": 16, "classes": 4, "width": 4}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = GENERATORS["residual"](**settings)
    folder = root / name
    folder.mkdir(parents=True)
    sha256, count = write_weights(folder / "generator.safetensors", network)
    card = ModelCard(
        id=name,
        title=f"{name.capitalize()} model, untrained",
        modality="MR",
        organ="brain",
        region="axial slice",
        makes="noise",
        function="noise to image",
        condition=CONDITION,
        size=(size, size),
        licence="MIT",
        dataset="none",
        year=2026,
        phantom=True,
        architecture="residual",
        network=Network(name="residual", settings=settings),
        weights=Weights(file="generator.safetensors", sha256=sha256, bytes=count),
    )
    card.write(folder)
    (folder / "README.md").write_text(f"# {name}\n", "utf-8")
    return card
