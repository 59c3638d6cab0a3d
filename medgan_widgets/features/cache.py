"""Features on disk: found again by what the pixels, the extractor and the libraries are."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_widgets.downloads import cache_folder
from medgan_widgets.errors import DataError, SaveError
from medgan_widgets.files import write_whole

log = logging.getLogger(__name__)

FORMAT = 1
MOST = 2 * 2**30  # bytes; the files that were not used for longest leave
LOOKED = 200  # files written between two looks at how much there is
DIGEST = 32  # bytes of SHA-256 before the array


class Extracts(Protocol):
    """What makes features, and says what it is."""

    identity: str
    device: Any

    def __call__(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the features of images, [N, D]."""
        ...


class Cache:
    """One folder of features.

    Examples
    --------
    >>> Cache.of(False) is None
    True
    """

    _written = 0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, cache: str | Path | bool | None) -> Cache | None:
        """Return the cache that was asked for, or None."""
        if cache is False:
            return None
        if cache is True or cache is None:
            return cls(cache_folder() / "features")
        return cls(Path(cache).expanduser())

    def features(self, images: NDArray[Any], extract: Extracts) -> NDArray[Any]:
        """Return the features of images, read or made; what cannot be kept is used all the same."""
        place = self._place(images, extract)
        kept = _read(place, len(images))
        if kept is not None:
            return kept
        made = extract(images)
        stream = io.BytesIO()
        np.save(stream, made, allow_pickle=False)
        data = stream.getvalue()
        try:
            write_whole(place, hashlib.sha256(data).digest() + data, parents=True)
        except SaveError as error:
            log.warning("features are not kept: %s", error)
        Cache._written += 1
        if Cache._written % LOOKED == 1:
            self._shrink(MOST)
        return made

    def _place(self, images: NDArray[Any], extract: Extracts) -> Path:
        about = (
            FORMAT, images.shape, str(images.dtype), extract.identity, extract.device.type,
            torch.__version__, np.__version__, version("scikit-image"),
        )  # fmt: skip
        digest = hashlib.sha256(repr(about).encode())
        digest.update(np.ascontiguousarray(images).tobytes())
        key = digest.hexdigest()
        return self.folder / key[:2] / f"{key}.features"

    def _shrink(self, most: int) -> None:
        files = [(path, path.stat()) for path in self.folder.glob("??/*.features")]
        total = sum(stat.st_size for _, stat in files)
        for path, stat in sorted(files, key=lambda one: one[1].st_mtime):
            if total <= most:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size


def clear_cache(folder: str | Path | None = None) -> None:
    """Remove all features that are kept; the next scoring makes them again."""
    cache = Cache.of(folder)
    assert cache is not None
    for part in cache.folder.glob("??"):
        if any(part.glob("*.features")):
            shutil.rmtree(part, ignore_errors=True)


def _read(place: Path, count: int) -> NDArray[Any] | None:
    try:
        raw = place.read_bytes()
        data = raw[DIGEST:]
        if hashlib.sha256(data).digest() != raw[:DIGEST]:
            raise DataError("it is not what was written")
        found: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
        if found.ndim != 2 or len(found) != count:
            raise DataError("it holds other features")
        os.utime(place)  # used now, so it stays longer
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("kept features in %s are made again: %s.", place.name[:12], error)
        return None
    return found
