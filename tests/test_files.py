"""Files: whole or not at all, and one sentence when they cannot be written."""

from __future__ import annotations

import errno
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
