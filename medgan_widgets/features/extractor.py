"""What an extractor is: a name and version, its own resizing, its own rule for colour.

A new one is one more entry of ``KNOWN``: how images are resized and coloured, and ``load``, which
gives, for a file of weights and a device, what turns floats 0 … 1, [N, 1 or 3, H, W], into rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from medgan_widgets.errors import WeightsError
from medgan_widgets.features import canonical, phantom_cnn, published
from medgan_widgets.features.weights import SOURCES, Source

CANONICAL = "canonical-1"
PHANTOM_CNN = "phantom-cnn-1"
INCEPTION = "inception-v3-compat"
RADIMAGENET = "radimagenet-resnet50-1"
DINOV2 = "dinov2-vits14-1"

Colours = Literal["grey", "rgb", "as they are"]
Load = Callable[[Any, torch.device], Callable[[Tensor], Any]]  # a Path, or None


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
    load
        Of the extractors known here: weights and device to what computes.

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
    load: Load | None = field(default=None, repr=False)

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


_RESIZED = "bilinear with antialias to {0} x {0}"
KNOWN = {
    extractor.name: extractor
    for extractor in (
        Extractor(CANONICAL, _RESIZED.format(128), "grey", len(canonical.canonical_names()),
                  canonical.SIDE, load=lambda *_: canonical.canonical_features),
        Extractor(PHANTOM_CNN, _RESIZED.format(128), "grey", 64, phantom_cnn.SIDE,
                  load=phantom_cnn.load),
        Extractor(INCEPTION, "as TensorFlow 1 did it, to 299 x 299, 8 bits", "rgb", 2048, None,
                  SOURCES[INCEPTION], load=published.load_inception),
        Extractor(RADIMAGENET, _RESIZED.format(224), "rgb", 2048, 224, SOURCES[RADIMAGENET],
                  load=published.load_radimagenet),
        Extractor(DINOV2, _RESIZED.format(224), "rgb", 384, 224, SOURCES[DINOV2],
                  load=published.load_dinov2),
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


def extractor_of(extractor: Any) -> Extractor:
    """Return what is meant by a name, an `Extractor` or a torch module."""
    if isinstance(extractor, nn.Module):
        return Extractor(extractor_name(extractor), "none", "as they are", module=extractor)
    if not isinstance(extractor, Extractor):
        if not isinstance(extractor, str) or extractor not in KNOWN:
            raise WeightsError(
                f"extractor must be one of {', '.join(KNOWN)}, an Extractor or a torch module; "
                f"got {extractor!r}."
            )
        return KNOWN[extractor]
    if extractor.module is None and extractor != KNOWN.get(extractor.name):
        raise WeightsError(f"the extractor {extractor.name!r} is yours and has no module.")
    if extractor.module is not None and extractor.name in KNOWN:
        raise WeightsError(
            f"{extractor.name} is the name of a known extractor; give yours another one."
        )
    return extractor


def module_hash(module: nn.Module) -> str:
    """Return the SHA-256 over a module's printed form and weights, 64 hexadecimal digits."""
    digest = hashlib.sha256(repr(module).encode())
    # Buffers that are not saved are no part of the state, and features depend on them.
    for name, tensor in {**dict(module.named_buffers()), **module.state_dict()}.items():
        if isinstance(tensor, nn.UninitializedParameter):
            raise WeightsError(
                f"{type(module).__name__} has layers without weights ({name}); run it once first."
            )
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
