"""Published networks as extractors: their layout here, their weights by a person's hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.errors import WeightsError

# Mean and deviation of the images a network was trained on.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RADIMAGENET = (0.5,) * 3, (0.5,) * 3
PATCH, GRID, TRAINED = 14, 16, 37  # pixels a side; patches a side here, and in DINOv2's training

Compute = Callable[[Tensor], Tensor]


def load_inception(path: Path, device: torch.device) -> Compute:
    """Return torch-fidelity's own network: it resizes and scales whole grey levels itself."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    _state(path)  # torch-fidelity itself would run code that lies in a pickle
    try:
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        ).to(device)
    except RuntimeError as error:
        raise WeightsError(f"{path.name} does not fit inception-v3-compat: {error}"[:300]) from None
    return lambda planes: network((planes * 255).round().to(torch.uint8))[0]


def load_radimagenet(path: Path, device: torch.device) -> Compute:
    """Return a ResNet50 that was trained on RadImageNet (Mei 2022)."""
    from torchvision.models import resnet50

    network = resnet50(weights=None)
    network.fc = nn.Identity()
    return _filled(network, path, _resnet_names, "radimagenet-resnet50-1", RADIMAGENET, device)


def load_dinov2(path: Path, device: torch.device) -> Compute:
    """Return DINOv2's ViT-S/14 (Oquab 2023)."""
    from torchvision.models import VisionTransformer

    network = VisionTransformer(GRID * PATCH, PATCH, 12, 6, 384, 4 * 384)
    network.heads = nn.Identity()
    return _filled(network, path, _vit_names, "dinov2-vits14-1", IMAGENET, device)


def _filled(
    network: nn.Module,
    path: Path,
    names: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    name: str,
    seen: tuple[tuple[float, ...], tuple[float, ...]],
    device: torch.device,
) -> Compute:
    state = _state(path)
    try:
        network.load_state_dict(names(state))
    except (KeyError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        why = f"{lines[0]} is missing" if isinstance(error, KeyError) else lines[-1]
        raise WeightsError(f"{path.name} does not fit {name}: {why[:160]}") from None
    network = network.eval().requires_grad_(False).to(device)
    network = network.to(memory_format=torch.channels_last)
    mean, deviation = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in seen)
    return lambda planes: network((planes - mean) / deviation)


def _state(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a file; code in it is never run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a damaged pickle makes it raise
        raise WeightsError(
            f"{path.name} cannot be read as weights: {str(error).splitlines()[0][:160]}"
        ) from None
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise WeightsError(f"{path.name} holds no weights by name; give the published file.")
    return content


def _resnet_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return RadImageNet's weights under torchvision's names, without their last layer.

    They are published as the children of a ResNet in a row, ``backbone.0`` to ``backbone.7``.
    """
    rows = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    found = {}
    for name, tensor in state.items():
        first, _, rest = name.removeprefix("module.").removeprefix("backbone.").partition(".")
        if first != "fc":
            found[f"{rows.get(first, first)}.{rest}"] = tensor
    return found


def _vit_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return DINOv2's weights (Oquab 2023) under torchvision's names, for a grid of 16 patches.

    Each branch has a learned factor for each channel (Touvron 2021), which torchvision's network
    has not: the layer before it takes the factor in.
    """
    names = {"norm1": "ln_1.", "attn.qkv": "self_attention.in_proj_", "norm2": "ln_2.",
             "attn.proj": "self_attention.out_proj.", "mlp.fc1": "mlp.0.",
             "mlp.fc2": "mlp.3."}  # fmt: skip
    factors = {"attn.proj": "ls1", "mlp.fc2": "ls2"}
    found = {"class_token": state["cls_token"]}
    for part in ("weight", "bias"):
        found[f"conv_proj.{part}"] = state[f"patch_embed.proj.{part}"]
        found[f"encoder.ln.{part}"] = state[f"norm.{part}"]
        for (theirs, ours), block in product(names.items(), range(12)):
            values = state[f"blocks.{block}.{theirs}.{part}"]
            if theirs in factors:
                factor = state[f"blocks.{block}.{factors[theirs]}.gamma"]
                values = values * (factor[:, None] if part == "weight" else factor)
            found[f"encoder.layers.encoder_layer_{block}.{ours}{part}"] = values
    places = state["pos_embed"]
    grid = places[:, 1:].reshape(1, TRAINED, TRAINED, -1).permute(0, 3, 1, 2)
    # Bicubic, as the authors do it; the tenth of a patch is theirs.
    grid = F.interpolate(grid, scale_factor=(GRID + 0.1) / TRAINED, mode="bicubic")
    found["encoder.pos_embedding"] = torch.cat([places[:, :1], grid.flatten(2).mT], dim=1)
    return found
