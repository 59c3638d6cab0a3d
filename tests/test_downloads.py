"""Packages come over a real loopback server, which breaks in every way servers break."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medgan_widgets import downloads
from medgan_widgets.downloads import (
    Package,
    cached_packages,
    fetch_package,
    remove_package,
)
from medgan_widgets.errors import DownloadError

Reply = Callable[[BaseHTTPRequestHandler], None]


def archive(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as members:
        for name, data in (files or {"__init__.py": b"x = 1\n"}).items():
            members.writestr(name, data)
    return stream.getvalue()


def member(name: str, data: bytes = b"", mode: int = 0o644 | stat.S_IFREG) -> bytes:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr(info, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


WEIGHTS = random.Random(0).randbytes(20_000)
GOOD = archive(**{"pack/__init__.py": b"x = 1\n", "pack/weights é.pt": WEIGHTS})
HASH = hashlib.sha256(GOOD).hexdigest()


class Site:
    """A server on the loopback; ``reply`` says how it answers, ``hits`` counts."""

    def __init__(self) -> None:
        self.reply: Reply = gives(GOOD)
        self.hits = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.hits += 1
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    site.reply(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/pack.zip"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def gives(data: bytes, status: int = 200, length: int | None = -1) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if length is not None:
            handler.send_header("Content-Length", str(len(data) if length == -1 else length))
        handler.end_headers()
        handler.wfile.write(data)

    return reply


def stalls(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GOOD)))
    handler.end_headers()
    handler.wfile.write(GOOD[:100])
    handler.wfile.flush()
    time.sleep(3)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "a home with spaces é"
    monkeypatch.setenv("MEDGAN_HOME", str(home))
    return home


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


def left_over(home: Path) -> list[str]:
    """What lies in the cache beside locks, remembered hashes and complete packages."""
    names = [path.name for path in (home / "cache" / "packages").glob("*")]
    names += [path.name for path in (home / "cache" / "packages").glob(".*")]
    return [name for name in names if not name.endswith((".lock", ".sha256"))]


def test_a_package_is_fetched_once_and_told_with_its_hash_and_size(site: Site) -> None:
    seen: list[tuple[int, int]] = []
    package = fetch_package("one", site.url, progress=lambda done, of: seen.append((done, of)))
    assert package.sha256 == HASH
    assert package.bytes == 6 + len(WEIGHTS)
    assert (package.folder / "pack" / "weights é.pt").read_bytes() == WEIGHTS
    assert seen[-1] == (len(GOOD), len(GOOD))
    assert fetch_package("one", site.url) == package
    assert site.hits == 1
    assert cached_packages() == [package]
    remove_package("one")
    assert cached_packages() == []
    remove_package("one")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (gives(b"<html>gone</html>", 404), "answers 404"),
        (gives(b"<html>oops</html>", 500), "answers 500"),
        (gives(b"<html>please log in</html>"), "not a complete zip"),
        (gives(b""), "not a complete zip"),
        (gives(GOOD[:2000], length=len(GOOD)), "broke off|cannot be reached"),
        (gives(GOOD[:2000], length=None), "not a complete zip"),
        (gives(GOOD[:50] + bytes(100) + GOOD[150:]), "damaged|not a complete zip"),
        (gives(member("../out.py", b"x")), "outside its folder"),
        (gives(member("/etc/out.py", b"x")), "outside its folder"),
        (gives(member("..\\out.py", b"x")), "outside its folder"),
        (gives(member("C:/out.py", b"x")), "outside its folder"),
        (gives(member("link", b"/etc/passwd", 0o777 | stat.S_IFLNK)), "link or device"),
        (gives(member("bomb.bin", bytes(2**24))), "200 times"),
    ],
)
def test_a_bad_download_is_a_sentence_and_the_next_good_one_works(
    site: Site, home: Path, reply: Reply, words: str
) -> None:
    site.reply = reply
    with pytest.raises(DownloadError, match=words):
        fetch_package("one", site.url)
    assert left_over(home) == []
    site.reply = gives(GOOD)
    assert fetch_package("one", site.url).sha256 == HASH
    assert left_over(home) == ["one"]
    assert not (home / "cache" / "packages" / "out.py").exists()


def test_a_server_that_falls_silent_is_given_up(
    site: Site, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", (1.0, 0.3))
    site.reply = stalls
    with pytest.raises(DownloadError, match="stopped answering"):
        fetch_package("one", site.url)
    assert left_over(home) == []


def test_no_network_is_said_at_once(home: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"cannot be reached: check the network, or give a mir"):
        fetch_package("one", "http://127.0.0.1:9/pack.zip")
    assert time.monotonic() - started < 5
    assert left_over(home) == []


def test_another_file_than_the_published_one_is_refused(site: Site, home: Path) -> None:
    with pytest.raises(DownloadError, match="not the expected file"):
        fetch_package("one", site.url, sha256="0" * 64)
    assert left_over(home) == []
    assert fetch_package("one", site.url, sha256=HASH.upper()).sha256 == HASH


def test_what_came_first_is_remembered_also_after_removal(site: Site) -> None:
    fetch_package("one", site.url)
    remove_package("one")
    site.reply = gives(archive(**{"evil.py": b"import os\n"}))
    with pytest.raises(DownloadError, match="not the expected file"):
        fetch_package("one", site.url)
    site.reply = gives(GOOD)
    assert fetch_package("one", site.url).sha256 == HASH


def test_a_pin_that_the_cached_package_does_not_meet_fetches_anew(site: Site) -> None:
    site.reply = gives(archive(**{"old.py": b"1"}))
    fetch_package("one", site.url)
    site.reply = gives(GOOD)
    assert fetch_package("one", site.url, sha256=HASH).sha256 == HASH


def test_a_mirror_is_a_folder_or_an_address(site: Site, tmp_path: Path) -> None:
    (tmp_path / "pack.zip").write_bytes(GOOD)
    url = "https://example.org/record/1/files/pack.zip?download=1"
    assert fetch_package("one", url, mirror=tmp_path).sha256 == HASH
    base = site.url.removesuffix("/pack.zip")
    assert fetch_package("two", url, mirror=f"{base}/").sha256 == HASH
    with pytest.raises(DownloadError, match="does not hold"):
        fetch_package("three", url, mirror=tmp_path / "nowhere")


def test_cancelling_leaves_nothing(site: Site, home: Path) -> None:
    def stop(done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_package("one", site.url, progress=stop)
    assert left_over(home) == []
    fetch_package("one", site.url)


def test_what_grows_too_large_is_stopped(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "ARCHIVE_BYTES", 1000)
    with pytest.raises(DownloadError, match="over 1,000 bytes"):
        fetch_package("one", site.url)
    monkeypatch.setattr(downloads, "ARCHIVE_BYTES", 10**6)
    monkeypatch.setattr(downloads, "UNPACKED_BYTES", 1000)
    with pytest.raises(DownloadError, match="unpacks to over 1,000 bytes"):
        fetch_package("one", site.url)
    monkeypatch.setattr(downloads, "UNPACKED_BYTES", 10**9)
    monkeypatch.setattr(downloads, "MEMBERS", 1)
    with pytest.raises(DownloadError, match="over 1 files"):
        fetch_package("one", site.url)


def test_two_at_once_fetch_it_once(site: Site) -> None:
    good = gives(GOOD)

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        good(handler)

    site.reply = slowly
    found: list[Package] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_package("one", site.url)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert site.hits == 1


def test_a_killed_download_poisons_nothing(site: Site, home: Path) -> None:
    site.reply = stalls
    script = f"from medgan_widgets.downloads import *; fetch_package('one', {site.url!r})"
    child = subprocess.Popen([sys.executable, "-c", script], env={**os.environ})
    scratch = home / "cache" / "packages"
    until = time.monotonic() + 30
    while not site.hits or not list(scratch.glob(".one~*/archive.zip")):
        assert time.monotonic() < until
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert left_over(home), "killed half way"
    site.reply = gives(GOOD)
    assert fetch_package("one", site.url).sha256 == HASH
    assert left_over(home) == ["one"]


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"model_id": "one"})])
def test_a_folder_without_a_whole_marker_does_not_count(site: Site, home: Path, text: str) -> None:
    folder = home / "cache" / "packages" / "one"
    folder.mkdir(parents=True)
    (folder / ".complete").write_text(text)
    (folder / "half").write_text("")
    assert cached_packages() == []
    assert fetch_package("one", site.url).sha256 == HASH
    assert not (folder / "half").exists()


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "é"])
def test_a_name_that_leads_elsewhere_is_refused(site: Site, name: str) -> None:
    with pytest.raises(DownloadError, match="cannot be the name"):
        fetch_package(name, site.url)
    assert site.hits == 0


def test_a_cache_that_cannot_be_written_is_said(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"cannot be used; set MEDGAN_HOME"):
        fetch_package("one", site.url)
    assert cached_packages() == []


def test_a_model_whose_name_begins_like_anothers_leaves_its_download_alone(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "pack.zip").write_bytes(GOOD)
    other: list[Package] = []

    def meanwhile(done: int, of: int) -> None:
        if not other:
            other.append(fetch_package("a", "https://example.org/pack.zip", mirror=mirror))

    package = fetch_package(
        "a.b", "https://example.org/pack.zip", mirror=mirror, progress=meanwhile
    )
    assert [one.model_id for one in cached_packages()] == ["a", "a.b"]
    assert package.sha256 == other[0].sha256 == HASH
