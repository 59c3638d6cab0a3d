"""A run directory tells what was trained and how it went, while it is written and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgan_widgets.errors import DataError
from medgan_widgets.runs import Tick, read_run, record_tick, start_run

TICK = Tick(2.0, 0.7, 1.4, 0.1, 80.0, 25.0)
IMAGES = np.zeros((16, 32, 32, 1), np.uint8)


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    start_run(tmp_path, {"data": "brain_mri", "size": 32})
    record_tick(tmp_path, TICK, IMAGES)
    assert read_run(tmp_path) == ({"data": "brain_mri", "size": 32}, [TICK])
    (picture,) = (tmp_path / "images").iterdir()
    assert Image.open(picture).size == (8 * 32, 2 * 32)


def test_a_line_still_being_written_waits(tmp_path: Path) -> None:
    start_run(tmp_path, {})
    record_tick(tmp_path, TICK, IMAGES)
    with (tmp_path / "stats.jsonl").open("a") as lines:
        lines.write('{"kimg": 4.0, "gener')
    assert read_run(tmp_path)[1] == [TICK]


def test_a_run_started_again_forgets_the_old_ticks(tmp_path: Path) -> None:
    start_run(tmp_path, {"seed": 1})
    record_tick(tmp_path, TICK, IMAGES)
    start_run(tmp_path, {"seed": 2})
    assert read_run(tmp_path) == ({"seed": 2}, [])


@pytest.mark.parametrize("line", ["not json\n", '{"kimg": 1}\n', "[1, 2]\n"])
def test_what_is_no_run_is_refused_in_a_sentence(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="is not a run directory"):
        read_run(tmp_path / "nowhere")
    start_run(tmp_path, {})
    (tmp_path / "stats.jsonl").write_text(line)
    with pytest.raises(DataError, match="is not a run directory"):
        read_run(tmp_path)
