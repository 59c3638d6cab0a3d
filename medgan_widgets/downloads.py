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
import logging
import os
import shutil
import stat
import tempfile
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

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # bytes so far, bytes in all (0 where unknown)

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
    folder or address that holds the same archive under its last name. What ``progress``
    raises ends the download and leaves nothing behind.
    """
    folder = _folder_of(model_id)
    with _one_at_a_time(folder):
        known = _read_marker(folder)
        if known is not None and sha256 in (None, known.sha256):
            return known
        address = _address(url, mirror)
        expected = sha256 or _remembered(model_id)
        with _scratch(folder) as scratch:
            archive = _download(address, scratch / "archive.zip", progress)
            found = _checked(archive, model_id, expected, address)
            unpacked = scratch / "package"
            size = _unpack(archive, unpacked)
            package = Package(model_id, folder, url, found, size)
            record = {**asdict(package), "folder": None}
            write_whole(unpacked / ".complete", json.dumps(record).encode())
            write_whole(_packages() / f"{model_id}.sha256", f"{found}\n".encode())
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
    with _one_at_a_time(target):
        if target.is_file() and file_sha256(target).startswith(sha256.lower()):
            return target
        with _scratch(target) as scratch:
            address = _address(url, mirror)
            file = _download(address, scratch / "file", progress)
            _checked(file, target.name, sha256, address)
            file.replace(target)
    return target


def cached_packages() -> list[Package]:
    """Return what lies complete in the cache, by name."""
    folders = sorted(path for path in _packages().glob("*") if path.is_dir())
    return [package for folder in folders if (package := _read_marker(folder)) is not None]


def cached_package(model_id: str) -> Package | None:
    """Return one package if it lies complete in the cache."""
    return _read_marker(_folder_of(model_id))


def remove_package(model_id: str) -> None:
    """Delete a package from the cache; its remembered hash stays."""
    folder = _folder_of(model_id)
    with _one_at_a_time(folder), _in_words(f"{model_id} could not be removed from the cache"):
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
    text = str(mirror)
    if urlsplit(text).scheme in ("http", "https"):
        return f"{text.rstrip('/')}/{name}"
    return str(Path(text).expanduser() / name)


def _download(address: str, target: Path, progress: Progress | None) -> Path:
    if urlsplit(address).scheme not in ("http", "https"):
        if not Path(address).exists():
            raise DownloadError(
                f"the mirror {Path(address).parent} does not hold {Path(address).name}; put it "
                "there, or go without a mirror."
            )
        bar = _Bar(progress)
        with _in_words(f"{address} cannot be read"):
            bar.total = Path(address).stat().st_size
            with Path(address).open("rb") as read, target.open("wb") as write:
                while part := read.read(2**20):
                    write.write(part)
                    bar.update(len(part))
        return target
    downloader = pooch.HTTPDownloader(progressbar=_Bar(progress), timeout=TIMEOUT)
    try:
        downloader(address, target, None)
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "an error"
        raise DownloadError(
            f"{address} answers {status}; try again later, or give a mirror."
        ) from error
    except (requests.ConnectTimeout, requests.ReadTimeout) as error:
        raise DownloadError(
            f"{address} stopped answering for {TIMEOUT[1]:g} s; try again, or give a mirror."
        ) from error
    except requests.ConnectionError as error:
        why = "stopped answering" if "timed out" in str(error) else "cannot be reached"
        raise DownloadError(
            f"{address} {why}: check the network, or give a mirror (a folder or an address)."
        ) from error
    except requests.RequestException as error:
        raise DownloadError(f"the download from {address} broke off; try again.") from error
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"the download could not be written: {error.strerror}.") from error
    return target


def _checked(file: Path, name: str, sha256: str, address: str) -> str:
    """Return a file's hash, which must begin as expected."""
    found = file_sha256(file)
    if not found.startswith(sha256.lower()):
        raise DownloadError(
            f"the download of {name} is not the expected file: its SHA-256 begins with "
            f"{found[:12]}, not {sha256[:12].lower()}; nothing of {address} was kept."
        )
    return found


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
            if (bad := members.testzip()) is not None:
                raise DownloadError(f"the archive is damaged at {bad!r}; nothing was kept.")
            target.mkdir()
            members.extractall(target)
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
        path = PurePosixPath(info.filename.replace("\\", "/"))
        drive = len(path.parts) > 0 and path.parts[0].endswith(":")
        if path.is_absolute() or ".." in path.parts or drive or "\0" in info.filename:
            raise DownloadError(f"the archive has a file outside its folder: {info.filename!r}.")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DownloadError(f"the archive has a link or device: {info.filename!r}.")
        if info.file_size > max(SMALL, RATIO * info.compress_size):
            raise DownloadError(
                f"{info.filename!r} would unpack to more than {RATIO} times its packed size."
            )


# ---------------------------------------------------------------- the cache


def _packages() -> Path:
    return cache_folder() / "packages"


def _folder_of(model_id: str) -> Path:
    allowed = model_id.replace("-", "").replace("_", "").replace(".", "")
    if not allowed.isalnum() or not allowed.isascii() or model_id.startswith("."):
        raise DownloadError(f"{model_id!r} cannot be the name of a package.")
    return _packages() / model_id


def _read_marker(folder: Path) -> Package | None:
    try:
        record = json.loads((folder / ".complete").read_text(encoding="utf-8"))
        return Package(**{**record, "folder": folder})
    except (OSError, ValueError, TypeError):
        return None


def _remembered(model_id: str) -> str:
    try:
        return (_packages() / f"{model_id}.sha256").read_text().strip()
    except OSError:
        return ""


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time work on a package; a killed one lets go by itself."""
    with _in_words("the cache cannot be used; set MEDGAN_HOME to a folder that can be written"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(f"{folder}.lock", timeout=LOCK_SECONDS)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            raise DownloadError(
                f"another process fetches {folder.name} since {LOCK_SECONDS:g} s; try later."
            ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder beside the package's place; what killed runs left there goes first."""
    with _in_words("the cache cannot be written"):
        # A tilde ends the name: after a dot, "a" would clear away what "a.b" is fetching.
        for left in folder.parent.glob(f".{glob.escape(folder.name)}~*"):
            shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}~", dir=folder.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f"{what}: {error.strerror or error}.") from error
