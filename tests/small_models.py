"""Model folders made in a moment: real networks with random weights, and a card that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from medgan_widgets.cards import ModelCard, Network, Weights
from medgan_widgets.checkpoints import write_weights
from medgan_widgets.networks import GENERATORS

FACTORS = {"contrast": ("T1", "T2", "FLAIR"), "tumour": (False, True)}


def make_model(
    root: Path, model_id: str = "small-brain", network: str = "residual", **changes: Any
) -> Path:
    """Write a 32-pixel model and return its folder."""
    classes = 5 if network == "residual" else 0
    settings = {"size": 32, "channels": 1, "z_dim": 16, "classes": classes, "width": 8}
    torch.manual_seed(0)
    generator = GENERATORS[network](**settings)
    with torch.no_grad():  # gives batch norm statistics of its own, and noise something to do
        y = torch.eye(5)[torch.arange(16) % 5][:, :classes]
        noise = [torch.randn(16, *shape) for shape in generator.noise_shapes]
        for name, weights in generator.named_parameters():
            if name.endswith("noise_strength"):
                weights.normal_(std=0.2)
        for _ in range(20):
            generator(torch.randn(16, generator.z_dim), y, noise)
    folder = root / model_id
    sha256, size = write_weights(folder / "generator.safetensors", generator)
    card = {
        "id": model_id, "title": "Small", "modality": "MR", "organ": "brain",
        "region": "axial slice", "makes": "brain slice", "function": "noise to image",
        "condition": FACTORS if classes else {}, "truncation": network == "residual",
        "size": (32, 32), "licence": "MIT", "dataset": "none", "year": 2026,
        "architecture": network, "network": Network(name=network, settings=settings),
        "weights": Weights(file="generator.safetensors", sha256=sha256, bytes=size),
    }  # fmt: skip
    ModelCard(**{**card, **changes}).write(folder / "card.json")
    return folder
