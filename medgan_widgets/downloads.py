"""Model packages fetched once: checked, unpacked aside, renamed; a half never counts.

::

    <cache>/packages/<model_id>/            what the archive held
    <cache>/packages/<model_id>/.complete   written last: address, SHA-256, bytes
    <cache>/packages/<model_id>.lock        held while one process fetches it

A package whose hash nobody has published is remembered at its first download;
when the same address hands out something else later, it is refused. Zip files
are strangers' data: their members' paths, sizes and kinds are checked before
one byte is unpacked.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import filelock
import platformdirs
import pooch
import requests

from medgan_widgets.errors import DownloadError
from medgan_widgets.files import file_sha256, write_whole

Progress = Callable[[int, int], object]  # bytes so far, bytes in all (0 where unknown)

TIMEOUT = (5.0, 20.0)  # seconds to connect, and between two pieces
LOCK_SECONDS = 600.0
ARCHIVE_BYTES = 4 * 2**30  # the largest published package has about 0.7 GB
UNPACKED_BYTES = 8 * 2**30
RATIO = 200  # how much larger than packed a member may be
MEMBERS = 50_000
SMALL = 2**20  # below this any ratio is harmless


@dataclass(frozen=True)
class Package:
    """An unpacked package in the cache."""

    model_id: str
    folder: Path
    url: str  # where it came from
    sha256: str  # of the archive, 64 hexadecimal digits
    bytes: int  # on the disk


def cache_folder() -> Path:
    """Return where downloads lie: below ``MEDGAN_HOME``, else in the user's cache folder."""
    home = os.environ.get("MEDGAN_HOME")
    if home:
        return Path(home).expanduser() / "cache"
    return Path(platformdirs.user_cache_dir("medgan_widgets", appauthor=False))


def fetch_package(
    model_id: str,
    url: str,
    *,
    sha256: str | None = None,
    mirror: str | Path | None = None,
    progress: Progress | None = None,
) -> Package:
    """Return a package, from the cache or from where the zip at ``url`` is published.

    Without ``sha256`` it must hash to what it hashed to the first time. ``mirror`` is a
    folder or address that holds the same archive under its last name. ``progress`` is also
    called, with (0, 0), while another process fetches the same. What it raises ends the
    download and leaves nothing behind.
    """
    folder = _folder_of(model_id)
    remembered = folder.with_name(f"{model_id}.sha256")
    with _alone(folder, progress) as scratch:
        package = _read_marker(folder)
        if package is not None and sha256 in (None, package.sha256):
            return package
        before = remembered.read_text().strip() if remembered.is_file() else ""
        file = scratch / "archive.zip"
        found = _download(_address(url, mirror), file, model_id, sha256 or before, progress)
        unpacked = scratch / "package"
        package = Package(model_id, folder, url, found, _unpack(file, unpacked))
        record = {**asdict(package), "folder": None}
        write_whole(unpacked / ".complete", json.dumps(record).encode())
        write_whole(remembered, f"{found}\n".encode())
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.replace(folder)
    return package


def fetch_file(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    mirror: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return one file, from the cache or from where it is published; as `fetch_package`.

    Its hash must begin with ``sha256``, which is empty where nobody knows.
    """
    with _alone(target, progress) as scratch:
        if not (target.is_file() and file_sha256(target).startswith(sha256.lower())):
            _download(_address(url, mirror), scratch / "file", target.name, sha256, progress)
            (scratch / "file").replace(target)
    return target


def cached_packages() -> list[Package]:
    """Return what lies complete in the cache, by name."""
    folders = sorted(path for path in (cache_folder() / "packages").glob("*") if path.is_dir())
    return [package for folder in folders if (package := _read_marker(folder)) is not None]


def cached_package(model_id: str) -> Package | None:
    """Return one package if it lies complete in the cache."""
    return _read_marker(_folder_of(model_id))


def remove_package(model_id: str) -> None:
    """Delete a package from the cache; its remembered hash stays."""
    folder = _folder_of(model_id)
    with _alone(folder), _in_words(f"{model_id} could not be removed from the cache"):
        if folder.exists():
            (folder / ".complete").unlink(missing_ok=True)  # half removed must not count
            shutil.rmtree(folder)


def megabytes(count: float) -> str:
    """Return a number of bytes in words.

    Examples
    --------
    >>> megabytes(51_234_567), megabytes(691e6), megabytes(900)
    ('51.2 MB', '691 MB', '1 kB')
    """
    if count < 1e5:
        return f"{count / 1e3:,.0f} kB"
    return f"{count / 1e6:,.0f} MB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


# ---------------------------------------------------------------- fetching


def _address(url: str, mirror: str | Path | None) -> str:
    if mirror is None:
        return url
    name = PurePosixPath(urlsplit(url).path).name
    if _is_web(str(mirror)):
        return f"{str(mirror).rstrip('/')}/{name}"
    return str(Path(mirror).expanduser() / name)


def _is_web(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https")


def _download(address: str, target: Path, name: str, sha256: str, progress: Progress | None) -> str:
    """Fetch a file and return its SHA-256, which must begin as expected."""
    bar = _Bar(progress)
    if _is_web(address):
        try:
            pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT)(address, target, None)
        except requests.RequestException as error:
            raise DownloadError(f"{address} {_reason(error)}.") from error
        except DownloadError:
            raise
        except OSError as error:
            raise DownloadError(f"the download could not be written: {error.strerror}.") from error
    else:
        file = Path(address)
        if not file.exists():
            raise DownloadError(
                f"the mirror {file.parent} does not hold {file.name}; put it there, or go "
                "without a mirror."
            )
        with _in_words(f"{address} cannot be read"), file.open("rb") as read:
            bar.total = file.stat().st_size
            with target.open("wb") as write:
                while part := read.read(2**20):
                    write.write(part)
                    bar.update(len(part))
    found = file_sha256(target)
    if not found.startswith(sha256.lower()):
        raise DownloadError(
            f"the download of {name} is not the expected file: its SHA-256 begins with "
            f"{found[:12]}, not {sha256[:12].lower()}; nothing of {address} was kept."
        )
    return found


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answers {error.response.status_code}; try again later, or give a mirror"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"stopped answering for {TIMEOUT[1]:g} s; try again, or give a mirror"
    if isinstance(error, requests.ConnectionError):
        return "cannot be reached: check the network, or give a mirror (a folder or an address)"
    return "broke off; try again"


class _Bar:
    """What pooch takes for a progress bar: it counts, and stops what grows too large."""

    total = 0

    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._done = progress, 0

    def update(self, count: int) -> None:
        self._done += count
        if max(self._done, self.total) > ARCHIVE_BYTES:
            raise DownloadError(f"the download is over {ARCHIVE_BYTES:,} bytes; nothing was kept.")
        if self._progress is not None:
            self._progress(min(self._done, self.total or self._done), self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


# ---------------------------------------------------------------- unpacking


def _unpack(archive: Path, target: Path) -> int:
    """Unpack what is safe to unpack, and return its bytes."""
    try:
        with zipfile.ZipFile(archive) as members:
            infos = members.infolist()
            _check_members(infos)
            target.mkdir()
            members.extractall(target)  # checks each member's CRC
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DownloadError(
            "the download is not a complete zip archive; nothing was kept, try again."
        ) from error
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"the package could not be unpacked: {error.strerror}.") from error
    return sum(info.file_size for info in infos)


def _check_members(infos: list[zipfile.ZipInfo]) -> None:
    if len(infos) > MEMBERS:
        raise DownloadError(f"the archive holds over {MEMBERS:,} files; nothing was kept.")
    if sum(info.file_size for info in infos) > UNPACKED_BYTES:
        raise DownloadError(f"the archive unpacks to over {UNPACKED_BYTES:,} bytes.")
    for info in infos:
        name = info.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or re.match(r"[^/]*:", name):
            raise DownloadError(f"the archive has a file outside its folder: {info.filename!r}.")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DownloadError(f"the archive has a link or device: {info.filename!r}.")
        if info.file_size > max(SMALL, RATIO * info.compress_size):
            raise DownloadError(
                f"{info.filename!r} would unpack to more than {RATIO} times its packed size."
            )


# ---------------------------------------------------------------- the cache


def _folder_of(model_id: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", model_id):
        raise DownloadError(f"{model_id!r} cannot be the name of a package.")
    return cache_folder() / "packages" / model_id


def _read_marker(folder: Path) -> Package | None:
    try:
        record = json.loads((folder / ".complete").read_text(encoding="utf-8"))
        return Package(**{**record, "folder": folder})
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def _alone(target: Path, progress: Progress | None = None) -> Iterator[Path]:
    """Let one process at a time work on a target, in a scratch folder beside it."""
    with _in_words("the cache cannot be used; set MEDGAN_HOME to a folder that can be written"):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{target}.lock")  # a killed process lets go by itself
        end = time.monotonic() + LOCK_SECONDS
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0.2)
            except filelock.Timeout as error:
                if progress is not None:
                    progress(0, 0)
                if time.monotonic() > end:
                    raise DownloadError(
                        f"another process fetches {target.name} since {LOCK_SECONDS:g} s; "
                        "try later."
                    ) from error
    try:
        # A tilde ends the name: after a dot, "a" would clear away what "a.b" is fetching.
        with _in_words("the cache cannot be written"):
            for left in target.parent.glob(f".{glob.escape(target.name)}~*"):
                shutil.rmtree(left, ignore_errors=True)  # of a killed download
            scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}~", dir=target.parent))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    finally:
        lock.release()


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"{what}: {error.strerror or error}.") from error
