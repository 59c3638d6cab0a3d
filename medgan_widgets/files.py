"""Files written whole or not at all or line by line, their hashes, and the home folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import platformdirs

from medgan_widgets.errors import DataError, SaveError

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
        raise SaveError(
            f"{path.name} was not saved in {path.parent}: {_reason(error)}; choose another folder "
            "or make room, then save again."
        ) from error
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values as JSON, all of it or nothing."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode(), parents=True)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row as a line of JSON, all of it or nothing, and wait until it is on the disk.

    A line that was cut off before stays as it is; this one begins a line of its own.

    Raises
    ------
    SaveError
        When the file cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     append_row(Path(folder) / "a.jsonl", {"kimg": 1})
    ...     list(rows_of(Path(folder) / "a.jsonl"))
    [{'kimg': 1}]
    """
    line = (json.dumps(row) + "\n").encode()
    try:
        with path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, "")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
    except OSError as error:
        raise SaveError(f"{path} cannot be written to: {_reason(error)}.") from error


def lines_after(path: Path, offset: int = 0) -> tuple[list[bytes], int]:
    """Return the whole lines that lie behind an offset, and the offset behind them.

    A line that is still being written waits for the next time.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    end = content.rfind(b"\n") + 1
    return content[:end].split(b"\n")[:-1], offset + end


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every whole row of a file of JSON lines; none where there is no file.

    Raises
    ------
    DataError
        When a line is no JSON object, or the file cannot be read.
    """
    try:
        for line in lines_after(path)[0]:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"a line holds {line[:40].decode()!r}")
            yield row
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}.") from None


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


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, error.strerror or str(error))
