"""Source images of a person: uploaded from the page or named here, checked, kept private."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from medgan_widgets.errors import DataError
from medgan_widgets.medigan.runner import source_paths

MOST = 16
LARGEST = 32 * 2**20  # bytes


class Sources:
    """The source images of one grid; uploads lie in a folder that goes with it."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def chosen(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> tuple[str, ...]:
        """Return the paths that a page's message means; an empty one means none.

        Raises
        ------
        DataError
            When one of them is no image; then nothing of the message is used.
        """
        if content.get("path"):
            return _paths([str(content["path"])])
        names = [str(name) for name in content.get("names", ())]
        if len(names) != len(buffers) or len(names) > MOST:
            raise DataError(f"at most {MOST} images at a time; for more, give a folder.")
        paths = [
            self._written(place, name, bytes(data))
            for place, (name, data) in enumerate(zip(names, buffers, strict=True))
        ]
        return _paths(paths)

    def close(self) -> None:
        """Delete what was uploaded."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _written(self, place: int, name: str, data: bytes) -> str:
        if len(data) > LARGEST:
            raise DataError(f"{name} has {len(data) / 1e6:.0f} MB; at most 32 MB can be uploaded.")
        if self._folder is None:  # readable by nobody else
            self._folder = Path(tempfile.mkdtemp(prefix="medgan-sources-"))
        inside = Path(tempfile.mkdtemp(prefix=f"{place:02d}-", dir=self._folder))
        plain = PurePosixPath(name.replace("\\", "/")).name.strip(". ")[-80:] or "image"
        path = inside / plain.replace("\0", "")
        path.write_bytes(data)
        return str(path)


def _paths(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(path) for path in source_paths(given))
