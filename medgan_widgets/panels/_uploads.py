"""Source images of a person: uploaded from the page or named here, read once, kept private."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from medgan_widgets.errors import DataError
from medgan_widgets.medigan.sources import source_paths

MAX_FILES = 16
MAX_BYTES = 32 * 2**20


class Uploads:
    """The source images of one grid.

    Uploads may show a patient: they lie in a folder that nobody else can read, and that goes
    with the grid or with the process.
    """

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def chosen(self, message: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the paths that a page's message means; an empty one means none."""
        if message.get("path"):
            return checked_paths([str(message["path"])])
        names, buffers = [str(name) for name in message.get("names", ())], message["buffers"]
        if len(names) != len(buffers) or len(names) > MAX_FILES:
            raise DataError(f"at most {MAX_FILES} images at a time; for more, give a folder.")
        return checked_paths(
            [self._written(*upload) for upload in zip(names, buffers, strict=True)]
        )

    def close(self) -> None:
        """Delete what was uploaded."""
        if self._folder is not None:
            self._folder.cleanup()

    def _written(self, name: str, data: Any) -> str:
        if len(data) > MAX_BYTES:
            raise DataError(f"{name} has {len(data) / 1e6:.0f} MB; at most 32 MB can be uploaded.")
        plain = PurePosixPath(name.replace("\\", "/")).name.strip(". ")[-80:] or "image"
        try:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(
                    prefix="medgan-sources-", ignore_cleanup_errors=True
                )
            # A folder for each file: two files may have one name, and keep it for the recipe.
            path = Path(tempfile.mkdtemp(dir=self._folder.name)) / plain.replace("\0", "")
            path.write_bytes(data)
        except OSError as error:
            raise DataError(f"{name} could not be kept for the model: {error}.") from error
        return str(path)


def checked_paths(paths: Sequence[str | Path]) -> tuple[str, ...]:
    """Return images, and those inside of folders, as absolute paths; each one was read."""
    try:
        return tuple(str(path) for path in source_paths(paths))
    except (OSError, RuntimeError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        reason = str(error)[:120].rstrip(".")
        raise DataError(f"the source images cannot be read: {reason}.") from error
