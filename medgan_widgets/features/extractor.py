"""What an extractor is: a name and version, its own resizing, its own rule for colour."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medgan_widgets.devices import is_out_of_memory
from medgan_widgets.errors import DataError, DeviceMemoryError, WeightsError
from medgan_widgets.features import canonical, phantom_cnn, published
from medgan_widgets.features.pixels import to_planes
from medgan_widgets.features.weights import SOURCES, Source, checked_weights

CANONICAL = "canonical-1"
PHANTOM_CNN = "phantom-cnn-1"
INCEPTION = "inception-v3-compat"
RADIMAGENET = "radimagenet-resnet50-1"
DINOV2 = "dinov2-vits14-1"

Colours = Literal["grey", "rgb", "as they are"]
Look = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Extractor:
    """How images become feature vectors.

    Attributes
    ----------
    name
        With its version: another resizing or other weights are another name.
    resizing, colours
        What happens to an image first, in words; ``"grey"``, ``"rgb"`` or ``"as they are"``.
    dimension
        Features an image; None where only running it tells.
    size
        Pixels a side that it looks at, 1 or more; None for the image's own.
    needs
        Which weights a person must have, or None.
    module
        A torch module of the user's: floats 0 … 1, [N, C, H, W] in; [N, D] out. When its
        code changes, change the name: features are kept under name and weights.

    Raises
    ------
    WeightsError
        For an empty name, another word for colours, or a size under 1.

    Examples
    --------
    >>> mine = Extractor("mine-1", "bilinear with antialias to 32", "grey", size=32,
    ...                  module=nn.Sequential(nn.Flatten(), nn.Linear(1024, 8)))
    >>> mine.dimension is None, extractors()["canonical-1"].needs is None
    (True, True)
    """

    name: str
    resizing: str
    colours: Colours
    dimension: int | None = None
    size: int | None = None
    needs: Source | None = None
    module: nn.Module | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise WeightsError("an extractor must have a name, with its version; got none.")
        if self.colours not in get_args(Colours):
            raise WeightsError(
                f"colours must be one of {', '.join(get_args(Colours))}; got {self.colours!r}."
            )
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise WeightsError(
                f"size must be a whole number of pixels from 1, or None; got {self.size!r}."
            )


_RESIZED = "bilinear with antialias to {} x {}"
KNOWN = {
    one.name: one
    for one in (
        Extractor(CANONICAL, _RESIZED.format(128, 128), "grey", len(canonical.canonical_names()),
                  canonical.SIDE),
        Extractor(PHANTOM_CNN, _RESIZED.format(128, 128), "grey", 64, phantom_cnn.SIDE),
        Extractor(INCEPTION, "as TensorFlow 1 did it, to 299 x 299, 8 bits", "rgb", 2048, None,
                  SOURCES[INCEPTION]),
        Extractor(RADIMAGENET, _RESIZED.format(224, 224), "rgb", 2048, 224,
                  SOURCES[RADIMAGENET]),
        Extractor(DINOV2, _RESIZED.format(224, 224), "rgb", 384, 224, SOURCES[DINOV2]),
    )
}  # fmt: skip


def extractors() -> dict[str, Extractor]:
    """Return the extractors known here by name; ``needs`` tells which weights each takes.

    Examples
    --------
    >>> {name: one.needs is None for name, one in extractors().items()}["inception-v3-compat"]
    False
    """
    return dict(KNOWN)


def extractor_name(extractor: str | Extractor | nn.Module) -> str:
    """Return the name that scores carry; a module's is its class and a hash of its weights.

    Examples
    --------
    >>> extractor_name("canonical-1"), extractor_name(nn.Flatten())[:8]
    ('canonical-1', 'Flatten-')
    """
    if isinstance(extractor, nn.Module):
        return f"{type(extractor).__name__}-{module_hash(extractor)[:12]}"
    return extractor if isinstance(extractor, str) else extractor.name


def module_hash(module: nn.Module) -> str:
    """Return the SHA-256 over a module's printed form and weights, 64 hexadecimal digits."""
    digest = hashlib.sha256(repr(module).encode())
    # Buffers that are not saved are no part of the state, and features depend on them.
    for name, tensor in {**dict(module.named_buffers()), **module.state_dict()}.items():
        if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
            raise WeightsError(
                f"{type(module).__name__} has layers without weights ({name}); run it once first."
            )
        if not isinstance(tensor, Tensor):  # a state of the module's own kind
            digest.update(f"{name}{tensor!r}".encode())
            continue
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        plain = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Ready:
    """An extractor on its device, with its weights read: images in, features out."""

    def __init__(self, extractor: Any, weights: str | Path | None, device: str) -> None:
        self.about = _known(extractor)
        self.device = _checked_device(device)
        self.identity = f"{self.about.name} {self.about.size} {self.about.colours} "
        # What a bare module computes is code, which no hash of its weights knows.
        self.named = not isinstance(extractor, nn.Module)
        self._look: Look | None = None
        self._module: nn.Module | None = None
        self._tried = False
        if weights is not None and self.about.needs is None:
            raise WeightsError(f"{self.about.name} takes no weights; leave weights out.")
        if self.about.module is not None:
            self.identity += module_hash(self.about.module)
            self._module = self._look = _on(self.about.module, self.device)
        elif self.about.needs is not None:
            path, sha256 = checked_weights(self.about.name, weights)
            self.identity += sha256
            self._look = published.read(self.about.name, path).to(self.device)
        elif self.about.name == PHANTOM_CNN:
            self._look = phantom_cnn.read_phantom_cnn().to(self.device)

    @torch.inference_mode()
    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the features of checked images, [N, D]."""
        try:
            return self._features(images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(
                f"{self.device} has no room for {len(images)} images in {self.about.name}; give "
                "fewer in a batch, or device='cpu'."
            ) from error

    def _features(self, images: NDArray[Any]) -> NDArray[Any]:
        if self._look is None:
            return canonical.canonical_features(to_planes(images, "grey", self.about.size))
        if self.about.name == INCEPTION:
            return published.inception_features(self._look, images, self.device)
        planes = to_planes(images, self.about.colours, self.about.size).to(self.device)
        if self.about.needs is not None:
            planes = published.normalised(planes, self.about.name)
        elif self.about.name == PHANTOM_CNN:
            planes = planes * 2 - 1
        return _checked_answer(self._run(planes), len(images), self.about.name)

    def _run(self, planes: Tensor) -> Any:
        module = self._module
        if module is None:
            assert self._look is not None
            return self._look(planes)
        was = [(part, part.training) for part in module.modules()]
        module.eval()  # with batch statistics an image's features would depend on its company
        try:
            answer = module(planes)
            self._tried = self._tried or _is_alike(answer, module(planes[:1]))
        except Exception as error:  # somebody's own code: an assertion, a key, anything
            if is_out_of_memory(error):
                raise
            raise WeightsError(
                f"{self.about.name} cannot look at images of shape {tuple(planes.shape)}, floats "
                f"0 … 1: {_first_line(error)}; wrap it in an Extractor with the size "
                "and colours it takes."
            ) from error
        finally:
            for part, training in was:
                part.training = training
        if not self._tried:
            raise WeightsError(
                f"{self.about.name} gives other features for the same images when it is asked "
                "again; take what is drawn at random out of it."
            )
        return answer


def _is_alike(answer: Any, again: Any) -> bool:
    """Return whether the first image's features came again, as near as devices do."""
    if not isinstance(answer, Tensor) or not isinstance(again, Tensor):
        return True  # what is wrong with an answer is told where it is looked at
    if answer.layout is not torch.strided or answer.is_meta or answer[:1].shape != again.shape:
        return True
    apart = torch.linalg.vector_norm(answer[:1] - again)
    return not bool(apart > 1e-2 * torch.linalg.vector_norm(again))  # not a number: told later


def _known(extractor: Any) -> Extractor:
    if isinstance(extractor, Extractor):
        if extractor.module is None and extractor != KNOWN.get(extractor.name):
            raise WeightsError(f"the extractor {extractor.name!r} is yours and has no module.")
        if extractor.module is not None and extractor.name in KNOWN:
            raise WeightsError(
                f"{extractor.name} is the name of a known extractor; give yours another one."
            )
        return extractor
    if isinstance(extractor, nn.Module):
        return Extractor(extractor_name(extractor), "none", "as they are", module=extractor)
    if not isinstance(extractor, str) or extractor not in KNOWN:
        raise WeightsError(
            f"extractor must be one of {', '.join(KNOWN)}, an Extractor or a torch module; got "
            f"{extractor!r}."
        )
    return KNOWN[extractor]


def _first_line(error: Exception) -> str:
    told = f": {str(error).splitlines()[0][:200]}" if str(error) else ""
    return f"{type(error).__name__}{told}"


def _on(module: nn.Module, device: torch.device) -> nn.Module:
    """Return the module on a device: itself if it is there, else a copy."""
    elsewhere = any(one.device != device for one in module.state_dict().values()
                    if isinstance(one, Tensor))  # fmt: skip
    return copy.deepcopy(module).to(device) if elsewhere else module


def _checked_device(device: str) -> torch.device:
    try:
        found = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
    except (RuntimeError, AssertionError, TypeError) as error:
        raise WeightsError(f"device {device!r} is not there: {error}.".replace("..", ".")) from None
    return found


def _checked_answer(answer: Any, count: int, name: str) -> NDArray[Any]:
    if isinstance(answer, (tuple, list)) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, Tensor):
        raise WeightsError(f"{name} must answer a tensor [N, D], got {type(answer).__name__}.")
    if answer.is_complex() or answer.is_meta or answer.layout is not torch.strided:
        raise WeightsError(
            f"{name} must answer plain real numbers [N, D], got {answer.dtype} {answer.layout} "
            f"on {answer.device}; turn them into such."
        )
    rows = answer.detach().float().cpu()
    while rows.ndim > 2 and rows.shape[-1] == 1:
        rows = rows[..., 0]
    if rows.ndim != 2 or len(rows) != count or rows.shape[1] == 0:
        raise WeightsError(f"{name} must answer [{count}, D], got {tuple(answer.shape)}.")
    broken = ~torch.isfinite(rows).all(dim=1)
    if bool(broken.any()):
        raise DataError(
            f"{name} gives values that are not finite for {int(broken.sum())} of {count} images; "
            "look at its weights, or at those images."
        )
    return np.asarray(rows.numpy())
