"""Files written whole or not at all, and known by their hash."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from pathlib import Path

import platformdirs

from medgan_widgets.errors import SaveError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "writing there is not permitted",
    errno.EPERM: "writing there is not permitted",
    errno.ENOTDIR: "a part of the path is a file",
    errno.ENOENT: "the folder does not exist",
}


def write_whole(path: Path, data: bytes, *, parents: bool = False) -> Path:
    """Write a file under a temporary name beside its place, then rename it.

    ``parents`` makes the folders on the way.

    Raises
    ------
    SaveError
        One sentence with the reason; nothing half written is left.
    """
    temporary: Path | None = None
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with beside.open("xb") as file:  # a new file: the system itself applies the umask
            temporary = beside
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise SaveError(
            f"{path.name} was not saved in {path.parent}: {reason}; choose another folder "
            "or make room, then save again."
        ) from error
    return path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def home_folder() -> Path:
    """Return where a person's own files lie: ``MEDGAN_HOME``, else the user's data folder."""
    home = os.environ.get("MEDGAN_HOME") or platformdirs.user_data_dir(
        "medgan_widgets", appauthor=False
    )
    return Path(home).expanduser()
