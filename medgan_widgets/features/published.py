"""Published networks as extractors: their layout here, their weights by a person's hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medgan_widgets.errors import DataError, WeightsError
from medgan_widgets.features.vit import VisionTransformer

# Mean and deviation of the images a network was trained on.
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEANS = {"dinov2-vits14-1": IMAGENET, "radimagenet-resnet50-1": ((0.5,) * 3, (0.5,) * 3)}


def read(name: str, path: Path) -> nn.Module:
    """Return a published network with the weights of a file, ready to look at images."""
    if name == "inception-v3-compat":
        return _inception(path)
    state = _state(path)
    network: nn.Module = VisionTransformer()
    if name.startswith("radimagenet"):
        from torchvision.models import resnet50

        network = resnet50(weights=None)
        network.fc = nn.Identity()
        state = _as_torchvision(state)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise WeightsError(
            f"{path.name} does not fit {name}: {lines[1].strip()[:160] if lines[1:] else error}"
        ) from None
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
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise WeightsError(
            "inception-v3-compat is torch-fidelity's network: python -m pip install torch-fidelity."
        ) from None
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


def _as_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
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
