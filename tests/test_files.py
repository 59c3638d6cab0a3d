"""Files: whole or not at all, and one sentence when they cannot be written."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medgan_widgets.errors import SaveError
from medgan_widgets.files import write_whole


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "no")

    write_whole(tmp_path / "old.bin", b"old")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(SaveError, match=r"old\.bin was not saved"):
        write_whole(tmp_path / "old.bin", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["old.bin"]
    assert (tmp_path / "old.bin").read_bytes() == b"old"


def test_folders_are_made_on_the_way_and_others_may_read(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a" / "b.txt", b"text", parents=True)
    assert path.read_bytes() == b"text"
    assert path.stat().st_mode & 0o044 == 0o044


def test_many_writers_at_once_keep_files_as_private_as_the_machine_is_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o077)  # a clinic's machine: what one writes, nobody else reads

    def asked(_: int) -> int:
        raise AssertionError("for a moment it would count for every thread")

    try:
        with monkeypatch.context() as patch, ThreadPoolExecutor(8) as threads:
            patch.setattr(os, "umask", asked)
            paths = [tmp_path / f"{number}.bin" for number in range(200)]
            list(threads.map(lambda path: write_whole(path, b"a patient"), paths))
        modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert (modes, os.umask(0o077)) == ({0o600}, 0o077)
    finally:
        os.umask(before)
