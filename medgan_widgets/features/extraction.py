"""Images to features: arrays or streams, a part at a time, kept on disk."""

from __future__ import annotations

import copy
import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.devices import is_out_of_memory
from medgan_widgets.downloads import cache_folder
from medgan_widgets.errors import DataError, DeviceMemoryError, SaveError, WeightsError
from medgan_widgets.features.extractor import CANONICAL, Extractor, extractor_of, module_hash
from medgan_widgets.features.weights import checked_weights
from medgan_widgets.files import write_whole
from medgan_widgets.images import checked_pixels, to_levels, top_of

log = logging.getLogger(__name__)

PART = 64  # images looked at together, and kept on disk together
FORMAT = 4  # of the files of features


def features_from_images(
    images: Any,
    extractor: str | Extractor | nn.Module = CANONICAL,
    *,
    weights: str | Path | None = None,
    cache: str | Path | bool | None = None,
    device: str = "cpu",
    top: float | None = None,
) -> NDArray[Any]:
    """Return one feature vector an image, float32 or float64 [N, D].

    Parameters
    ----------
    images
        uint8 or uint16 [N, H, W] or [N, H, W, C], or batches of them, which may differ in
        size. A fourth channel is transparency and left out.
    extractor
        A name of `extractors`, an `Extractor`, or a torch module that turns floats
        0 … 1, [N, C, H, W], into [N, D].
    weights
        A file, for extractors that need one; without it the one that
        `fetch_weights` has fetched.
    cache
        A folder; by default the user's cache folder, False for none. Features are kept by
        what the pixels, the extractor, its weights and the libraries are. Those of a bare
        module are kept only where a folder or True says so, as its code may change and
        its weights not; in an `Extractor` its name vouches for it.
    device
        ``"cpu"``, ``"cuda"``, …
    top
        What counts as white in images of 16 bits; by default the 99.99th percentile of an
        array. Batches of 16 bits need it: the first ones do not know the others.

    Raises
    ------
    DataError
        For other images, none at all, or features that are not finite.
    WeightsError
        For an unknown extractor, weights that are missing or others, or a module
        that answers something else.

    Examples
    --------
    >>> features_from_images(np.zeros((2, 64, 64), np.uint8), "phantom-cnn-1").shape
    (2, 64)
    """
    options: dict[str, Any] = {"weights": weights, "cache": cache, "device": device, "top": top}
    parts = list(feature_batches(images, extractor, **options))
    if not parts:
        raise DataError("there are no images to turn into features.")
    return np.concatenate(parts)


def feature_batches(
    images: Any,
    extractor: str | Extractor | nn.Module = CANONICAL,
    *,
    weights: str | Path | None = None,
    cache: str | Path | bool | None = None,
    device: str = "cpu",
    top: float | None = None,
) -> Iterator[NDArray[Any]]:
    """Yield the features of at most 64 images at a time: memory does not grow with their number.

    Everything is as for `features_from_images`. Left at any point, what was made is kept.

    Examples
    --------
    >>> stream = (np.zeros((40, 32, 32), np.uint8) for _ in range(3))
    >>> [len(part) for part in feature_batches(stream, "phantom-cnn-1")]
    [40, 40, 40]
    """
    run = RunningExtractor(extractor_of(extractor), weights, device)
    if cache is None:  # what a bare module computes is code, which no hash of its weights knows
        cache = not isinstance(extractor, nn.Module)
    folder = _features_folder(None if cache is True else cache) if cache else None
    width: int | None = None
    for part in _parts(images, top):
        rows = run(part) if folder is None else _kept_or_made(folder, part, run)
        if width not in (None, rows.shape[1]):
            raise WeightsError(
                f"{run.about.name} gives {width} features for some images and "
                f"{rows.shape[1]} for others; wrap it in an Extractor with the size it takes."
            )
        width = rows.shape[1]
        yield rows


def _parts(images: Any, top: float | None) -> Iterator[NDArray[np.uint8]]:
    """Yield images in eight bits, grey or RGB, few at a time."""
    if isinstance(images, np.ndarray):
        images = [checked_pixels(images)]
        top = top_of(images[0]) if top is None else top
    elif isinstance(images, (str, bytes)) or not isinstance(images, Iterable):
        raise DataError(
            "images must be uint8 or uint16 [N, H, W] or [N, H, W, C], or batches of them, got "
            f"{images!r:.60}."
        )
    for batch in images:
        pixels = checked_pixels(batch)
        if pixels.dtype == np.uint16 and top is None:
            raise DataError(
                "batches of uint16 need top=, the value that is white: the first batch does not "
                "know the others."
            )
        for start in range(0, len(pixels), PART):
            yield to_levels(pixels[start : start + PART, ..., :3], top or 255.0)


class RunningExtractor:
    """An extractor on its device, with its weights read: images in, features out."""

    def __init__(self, about: Extractor, weights: str | Path | None, device: str) -> None:
        self.about = about
        self.identity = f"{about.name} {about.size} {about.colours} "
        try:
            self.device = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0"
        except (RuntimeError, AssertionError, TypeError) as error:
            raise WeightsError(
                f"device {device!r} is not there: {str(error).rstrip('.')}."
            ) from None
        path: Path | None = None
        if about.needs is not None:
            path, sha256 = checked_weights(about.name, weights)
            self.identity += sha256
        elif weights is not None:
            raise WeightsError(f"{about.name} takes no weights; leave weights out.")
        if about.module is not None:
            self.identity += module_hash(about.module)
            # A copy of somebody's module: on the device, and with batch statistics switched off,
            # else an image's features would depend on its company.
            module = copy.deepcopy(about.module).to(self.device).eval()
            self._compute: Callable[[Tensor], Any] = partial(_compute_by, module, about.name)
        else:
            assert about.load is not None
            self._compute = about.load(path, self.device)

    @torch.inference_mode()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the features of checked images, [N, D]."""
        try:
            planes = to_planes(images, self.about.colours, self.about.size).to(self.device)
            rows = self._compute(planes)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceMemoryError(
                f"{self.device} has no room for {len(images)} images in {self.about.name}; give "
                "fewer in a batch, or device='cpu'."
            ) from error
        return rows if isinstance(rows, np.ndarray) else self._checked(rows, len(images))

    def _checked(self, answer: Any, count: int) -> NDArray[Any]:
        if isinstance(answer, (tuple, list)) and len(answer) == 1:
            answer = answer[0]
        if not isinstance(answer, Tensor):
            raise WeightsError(
                f"{self.about.name} must answer a tensor [N, D], got {type(answer).__name__}."
            )
        rows = answer.detach().float().cpu()
        while rows.ndim > 2 and rows.shape[-1] == 1:
            rows = rows[..., 0]
        if rows.ndim != 2 or len(rows) != count or rows.shape[1] == 0:
            raise WeightsError(
                f"{self.about.name} must answer [{count}, D], got {tuple(answer.shape)}."
            )
        if broken := int((~torch.isfinite(rows).all(dim=1)).sum()):
            raise DataError(
                f"{self.about.name} gives values that are not finite for {broken} of {count} "
                "images; look at its weights, or at those images."
            )
        return np.asarray(rows.numpy())


def _compute_by(module: nn.Module, name: str, planes: Tensor) -> Any:
    try:
        return module(planes)
    except Exception as error:  # somebody's own code: an assertion, a key, anything
        if is_out_of_memory(error):
            raise
        why = "".join(f": {line[:200]}" for line in str(error).splitlines()[:1])
        raise WeightsError(
            f"{name} cannot look at images of shape {tuple(planes.shape)}, floats "
            f"0 … 1: {type(error).__name__}{why}; wrap it in an Extractor with the size "
            "and colours it takes."
        ) from error


def to_planes(images: NDArray[np.uint8], colours: str, size: int | None) -> Tensor:
    """Return checked images as floats 0 … 1, [N, 1 or 3, size, size].

    Colour becomes grey as the mean of its channels, grey becomes colour by repetition;
    ``colours="as they are"`` changes neither. Resizing is bilinear with antialias.
    """
    values = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    planes = torch.from_numpy(values)
    if colours == "grey" and planes.shape[1] == 3:
        planes = planes.mean(dim=1, keepdim=True)
    if colours == "rgb" and planes.shape[1] == 1:
        planes = planes.expand(-1, 3, -1, -1)
    if size is None or planes.shape[2:] == (size, size):
        return planes.contiguous()
    return F.interpolate(planes, (size, size), mode="bilinear", antialias=True, align_corners=False)


def clear_cache(folder: str | Path | None = None) -> None:
    """Remove all features that are kept; the next scoring makes them again."""
    for path in _features_folder(folder).glob("*.npy"):
        path.unlink(missing_ok=True)


def _features_folder(folder: str | Path | None) -> Path:
    return cache_folder() / "features" if folder is None else Path(folder).expanduser()


def _kept_or_made(folder: Path, images: NDArray[np.uint8], run: RunningExtractor) -> NDArray[Any]:
    """Return features from disk, by what pixels, extractor and libraries are, or make and keep."""
    about = (FORMAT, images.shape, run.identity, run.device.type, torch.__version__,
             np.__version__, version("scikit-image"))  # fmt: skip
    path = folder / f"{hashlib.sha256(repr(about).encode() + images.tobytes()).hexdigest()}.npy"
    with suppress(OSError, ValueError, EOFError):  # not there, or damaged: made again
        kept: NDArray[Any] = np.load(path, allow_pickle=False)
        return kept
    rows = run(images)
    stream = io.BytesIO()
    np.save(stream, rows, allow_pickle=False)
    try:
        write_whole(path, stream.getvalue(), parents=True)
    except SaveError as error:  # what cannot be kept is used all the same
        log.warning("features are not kept: %s", error)
    return rows
