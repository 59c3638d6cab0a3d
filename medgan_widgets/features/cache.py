"""Features on disk: found again by what the pixels, the extractor and the libraries are."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
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

FORMAT = 2
MOST = 2 * 2**30  # bytes; the files that were not used for longest leave
LOOKED = 200  # files written between two looks at how much there is
ABANDONED = 24 * 3600  # seconds after which what a killed process was writing is nobody's
DIGEST = 32  # bytes of SHA-256 before the array, of its name and itself


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
        self.folder, self._writes = folder, True

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
        if self._writes:
            self._keep(place, made)
        return made

    def _keep(self, place: Path, made: NDArray[Any]) -> None:
        stream = io.BytesIO()
        np.save(stream, made, allow_pickle=False)
        data = stream.getvalue()
        try:
            write_whole(place, _digest(place, data) + data, parents=True)
        except SaveError as error:
            log.warning("features are not kept: %s", error)
            self._writes = False  # once is enough to be told, and to wait for
        Cache._written += 1
        if Cache._written % LOOKED == 1:
            self._shrink(MOST)

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
        files = list(_sizes(self.folder, "*.features"))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= most:
                break
            _remove(path)
            total -= size
        for used, _, path in _sizes(self.folder, ".*.features.*"):
            if used < time.time() - ABANDONED:
                _remove(path)


def clear_cache(folder: str | Path | None = None) -> None:
    """Remove all features that are kept; the next scoring makes them again."""
    cache = Cache.of(folder)
    assert cache is not None
    for pattern in ("*.features", ".*.features.*"):
        for _, _, path in list(_sizes(cache.folder, pattern)):
            _remove(path)


def _sizes(folder: Path, pattern: str) -> Iterator[tuple[float, int, Path]]:
    """Yield when each file was last used, its bytes and its path."""
    for path in folder.glob(f"??/{pattern}"):
        with suppress(OSError):  # another process may have removed it since
            stat = path.stat()
            yield stat.st_mtime, stat.st_size, path


def _remove(path: Path) -> None:
    with suppress(OSError):  # gone already, or somebody reads it on Windows
        path.unlink()


def _digest(place: Path, data: bytes) -> bytes:
    """Return what tells that a file is whole, and lies under its own name."""
    return hashlib.sha256(place.name.encode() + data).digest()


def _read(place: Path, count: int) -> NDArray[Any] | None:
    try:
        raw = place.read_bytes()
        data = raw[DIGEST:]
        if _digest(place, data) != raw[:DIGEST]:
            raise DataError("it is not what was written")
        found: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
        if found.ndim != 2 or len(found) != count:
            raise DataError("it holds other features")
        with suppress(OSError):  # a cache that others own can be read all the same
            os.utime(place)  # used now, so it stays longer
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("kept features in %s are made again: %s.", place.name[:12], error)
        return None
    return found
