"""Source images of a person: uploaded from the page or named here, checked, kept private."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from medgan_widgets.errors import DataError
from medgan_widgets.medigan.sources import source_paths

MOST = 16
LARGEST = 32 * 2**20  # bytes


class Sources:
    """The source images of one grid; uploads lie in a folder that goes with it."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._leave: Callable[[], object] = lambda: None

    def chosen(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> tuple[str, ...]:
        """Return the paths that a page's message means; an empty one means none."""
        if content.get("path"):
            return checked_paths([str(content["path"])])
        names = [str(name) for name in content.get("names", ())]
        if len(names) != len(buffers) or len(names) > MOST:
            raise DataError(f"at most {MOST} images at a time; for more, give a folder.")
        paths = [
            self._written(place, name, bytes(data))
            for place, (name, data) in enumerate(zip(names, buffers, strict=True))
        ]
        return checked_paths(paths)

    def close(self) -> None:
        """Delete what was uploaded."""
        self._leave()
        self._folder = None

    def _written(self, place: int, name: str, data: bytes) -> str:
        if len(data) > LARGEST:
            raise DataError(f"{name} has {len(data) / 1e6:.0f} MB; at most 32 MB can be uploaded.")
        plain = PurePosixPath(name.replace("\\", "/")).name.strip(". ")[-80:] or "image"
        try:
            inside = Path(tempfile.mkdtemp(prefix=f"{place:02d}-", dir=self._private()))
            path = inside / plain.replace("\0", "")
            path.write_bytes(data)
        except OSError as error:
            raise DataError(f"{name} could not be kept for the model: {error}.") from error
        return str(path)

    def _private(self) -> Path:
        """Return a folder that nobody else can read; it goes with this, or with the process."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="medgan-sources-"))
            self._leave = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder


def checked_paths(given: Sequence[str | Path]) -> tuple[str, ...]:
    """Return images, and those inside of folders, as absolute paths; each one was read."""
    try:
        return tuple(str(path) for path in source_paths(given))
    except (OSError, RuntimeError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        text = str(error)
        raise DataError(f"the source images cannot be read: {text[:120].rstrip('.')}.") from error
