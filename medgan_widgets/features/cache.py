"""Features on disk: found again by what the pixels, the extractor and the libraries are."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import zipfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medgan_widgets.downloads import cache_folder
from medgan_widgets.errors import SaveError
from medgan_widgets.features.extractor import Ready
from medgan_widgets.files import write_whole

log = logging.getLogger(__name__)

FORMAT = 3
MOST = 2 * 2**30  # bytes; the files that were not used for longest leave
LOOKED = 200  # files written between two looks at how much there is


class Cache:
    """One folder of features."""

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

    def features(self, images: NDArray[Any], extract: Ready) -> NDArray[Any]:
        """Return the features of images, read or made; what cannot be kept is used all the same."""
        key = _key(images, extract)
        path = self.folder / key[:2] / f"{key}.features"
        kept = _read(path, key)
        if kept is not None:
            return kept
        made = extract(images)
        if self._writes:
            self._keep(path, key, made)
        return made

    def shrink(self, most: int) -> None:
        """Remove the files that were not used for longest, and what killed processes left."""
        files = []
        for path in self.folder.glob("??/*.features*"):
            with suppress(OSError):  # another process may have removed it since
                stat = path.stat()
                files.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= most:
                break
            with suppress(OSError):  # gone already, or somebody reads it on Windows
                path.unlink()
            total -= size

    def _keep(self, path: Path, key: str, made: NDArray[Any]) -> None:
        stream = io.BytesIO()
        np.savez(stream, **{key: made})  # type: ignore[arg-type]  # a zip, with a checksum
        try:
            write_whole(path, stream.getvalue(), parents=True)
        except SaveError as error:
            log.warning("features are not kept: %s", error)
            self._writes = False  # once is enough to be told, and to wait for
        Cache._written += 1
        if Cache._written % LOOKED == 1:
            self.shrink(MOST)


def clear_cache(folder: str | Path | None = None) -> None:
    """Remove all features that are kept; the next scoring makes them again."""
    Cache(cache_folder() / "features" if folder is None else Path(folder).expanduser()).shrink(-1)


def _key(images: NDArray[Any], extract: Ready) -> str:
    about = (
        FORMAT, images.shape, str(images.dtype), extract.identity, extract.device.type,
        torch.__version__, np.__version__, version("scikit-image"),
    )  # fmt: skip
    digest = hashlib.sha256(repr(about).encode())
    digest.update(np.ascontiguousarray(images).tobytes())
    return digest.hexdigest()


def _read(path: Path, key: str) -> NDArray[Any] | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: NDArray[Any] = arrays[key]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("kept features in %s are made again: %s.", path.name[:12], error)
        return None
    with suppress(OSError):  # a cache that others own can be read all the same
        os.utime(path)  # used now, so it stays longer
    return found
