"""Published networks as extractors: their layout here, their weights by a person's hand."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.errors import DataError, WeightsError

# Mean and deviation of the images a network was trained on.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PATCH, GRID, TRAINED = 14, 16, 37  # pixels a side; patches a side here, and in DINOv2's training
MEANS = {"dinov2-vits14-1": IMAGENET, "radimagenet-resnet50-1": ((0.5,) * 3, (0.5,) * 3)}


def read(name: str, path: Path) -> nn.Module:
    """Return a published network with the weights of a file, ready to look at images."""
    if name == "inception-v3-compat":
        return _inception(path)
    from torchvision.models import VisionTransformer, resnet50

    state = _state(path)
    try:
        if name.startswith("radimagenet"):
            network: nn.Module = resnet50(weights=None)
            network.fc = nn.Identity()
            network.load_state_dict(_resnet_names(state))
        else:  # ViT-S/14
            network = VisionTransformer(GRID * PATCH, PATCH, 12, 6, 384, 4 * 384)
            network.heads = nn.Identity()
            network.load_state_dict(_vit_names(state))
    except (KeyError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        why = f"{lines[0]} is missing" if isinstance(error, KeyError) else lines[-1]
        raise WeightsError(f"{path.name} does not fit {name}: {why[:160]}") from None
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def normalised(planes: Tensor, name: str) -> Tensor:
    """Return images 0 … 1 as the network was taught to see them."""
    mean, deviation = (torch.tensor(one, device=planes.device).view(1, 3, 1, 1)
                       for one in MEANS[name])  # fmt: skip
    return (planes - mean) / deviation


def inception_features(network: Any, images: NDArray[Any], device: torch.device) -> NDArray[Any]:
    """Return the 2,048 features by torch-fidelity's own forward: it resizes and scales itself."""
    planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    (features,) = network(planes.expand(-1, 3, -1, -1).contiguous().to(device))
    if not bool(torch.isfinite(features).all()):
        raise DataError("the Inception weights give values that are not finite.")
    found: NDArray[Any] = features.cpu().numpy()
    return found


def _inception(path: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    _state(path)  # torch-fidelity itself would run code that lies in a pickle
    try:
        network: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        )
    except RuntimeError as error:
        raise WeightsError(f"{path.name} does not fit inception-v3-compat: {error}"[:300]) from None
    return network


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
