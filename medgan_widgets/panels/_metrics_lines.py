"""What the metrics plot shows: an engine's work and quality scores as curves. No widgets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.metrics.table import in_words
from medgan_widgets.panels._lines import COLOURS, Line, drawn
from medgan_widgets.panels._run_lines import Shown
from medgan_widgets.panels._run_looks import Look
from medgan_widgets.requests import Measured, Score
from medgan_widgets.telemetry import Record, Telemetry, Usage

DRAWN = 8  # models at once: more colours cannot be told apart
POINTS = 40  # of one curve; each stands for some batches that followed each other
MB = 1e6
COUNTED = "model"
AXES = {"kimg": "kimg", "truncation_psi": "psi", COUNTED: COUNTED}  # as the page names them
Group = tuple[str, str | None, str, str]  # what was judged by what and against what, and x

LIVE = {
    "latency": ("inference latency, ms a batch", "solid p50, dashed p95"),
    "speed": ("images/s", ""),
    "host": ("host memory, MB", ""),
    "device": ("device memory, MB", ""),
}
SPEED = (
    "model", "device", "images", "p50 ms a batch", "p95 ms a batch", "images/s",
    "first image s", "load s",
    "loaded", "cache hits", "host MB", "device MB",
)  # fmt: skip
SCORES = (
    "model or folder", "at", "metric", "value", "95 % interval", "floor", "n real / synthetic",
    "extractor", "against", "warning",
)  # fmt: skip


def drawn_models(telemetry: Telemetry, chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Return the models whose work is drawn: those chosen, else the ones asked last."""
    known = telemetry.models
    if chosen is not None:
        known = tuple(one for one in known if one in chosen)
    return known[-DRAWN:]


def live(telemetry: Telemetry, models: Sequence[str]) -> dict[str, Shown]:
    """Return the curves of an engine's work, by plot."""
    lines: dict[str, list[Line]] = {name: [] for name in LIVE}
    for place, model in enumerate(models):
        colour = COLOURS[place % len(COLOURS)]
        records = telemetry.records(model)
        made = telemetry.usage(model).images
        for name, found in _curves(model, records, made, colour).items():
            lines[name] += found
    nothing = "nothing generated yet"
    return {
        name: Shown(title, tuple(lines[name]), note if lines[name] else nothing, "count")
        for name, (title, note) in LIVE.items()
    }


def _curves(model: str, records: Sequence[Record], made: int, colour: str) -> dict[str, list[Line]]:
    if not records:
        return {}
    images = np.array([one.images for one in records], float)
    seconds = np.array([one.seconds for one in records])
    x = made - images[::-1].cumsum()[::-1] + images  # images made when each batch was ready
    parts = np.array_split(np.arange(len(records)), min(POINTS, len(records)))
    at = np.array([x[part[-1]] for part in parts])
    p50, p95 = (
        np.array([np.percentile(seconds[part], q) for part in parts]) * 1e3 for q in (50, 95)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        speed = np.array([images[part].sum() for part in parts]) / np.array(
            [seconds[part].sum() for part in parts]
        )
    found = {
        "latency": [_told(model, at, p50, colour, "ms p50"), Line("", at, p95, colour, "dashed")],
        "speed": [_told(model, at, speed, colour, "images/s")],
        "host": [_told(model, at, _most(records, parts, "host_bytes"), colour, "MB")],
    }
    device = _most(records, parts, "device_bytes")
    if np.isfinite(device).any():
        found["device"] = [_told(model, at, device, colour, "MB")]
    return found


def _told(model: str, x: NDArray[Any], y: NDArray[Any], colour: str, unit: str) -> Line:
    notes = tuple(
        f"{model}: {value:,.4g} {unit} at {at:,.0f} images" for at, value in zip(x, y, strict=True)
    )
    return Line(model, x, y, colour, notes=notes)


def _most(records: Sequence[Record], parts: Sequence[NDArray[Any]], name: str) -> NDArray[Any]:
    values = [getattr(one, name) for one in records]
    numbers = np.array([np.nan if one is None else one / MB for one in values])
    return np.array([numbers[part].max() for part in parts])


def usage_row(usage: Usage) -> list[str]:
    """Return one model's work as text, a cell each of `SPEED`."""
    return [
        usage.model_id, usage.device, f"{usage.images:,}", _number(usage.p50, 1e3),
        _number(usage.p95, 1e3), _number(usage.per_second), _number(usage.first_seconds),
        _number(usage.load_seconds), f"{usage.loads}", f"{usage.hits} of {usage.requests}",
        _number(usage.host_bytes / MB), "–" if usage.device_bytes is None
        else _number(usage.device_bytes / MB),
    ]  # fmt: skip


def _number(value: float | None, times: float = 1.0) -> str:
    if value is None:
        return "–"
    value *= times
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


# ---------------------------------------------------------------- quality


def grouped(measured: Iterable[Measured]) -> dict[Group, list[Measured]]:
    """Return scores by the plot that they stand in: what is comparable, against one quantity.

    What has neither kimg nor truncation stands at psi 1 where others of its kind were truncated.
    """
    sound = [one for one in measured if _finite(one.score.value)]
    cut = {one.comparable for one in sound if one.truncation_psi is not None and one.kimg is None}
    found: dict[Group, list[Measured]] = {}
    for one in sound:
        axis = "truncation_psi" if one.comparable in cut else COUNTED
        axis = axis if one.kimg is None else "kimg"
        found.setdefault((*one.comparable, axis), []).append(one)
    return found


def _finite(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def quality(group: Group, measured: Sequence[Measured]) -> Shown:
    """Return one group's scores with their intervals, and the floor as a dotted line.

    Examples
    --------
    >>> score = Score("FD", 0.2, 9, 9, "e", (0.1, 0.3), floor=0.1)
    >>> ((group, rows),) = grouped([Measured(score, of="m", against="phantoms")]).items()
    >>> shown = quality(group, rows)
    >>> shown.title, [line.name for line in shown.lines]
    ('FD (e) against phantoms', ['1 m', '', 'floor'])
    """
    name, extractor, against, axis = group
    models: dict[str, list[Measured]] = {}
    for one in measured:
        models.setdefault(_called(one, axis), []).append(one)
    lines: list[Line] = []
    for place, (model, own) in enumerate(models.items()):
        at = np.array([_at(one, axis, place + 1.0) for one in own])
        if axis == COUNTED and len(own) > 1:  # beside each other, so that each can be seen
            at += np.linspace(-0.2, 0.2, len(own))
        colour = COLOURS[place % len(COLOURS)]
        if axis == COUNTED:  # no line between two figures that stand for nothing in between
            for number, (one, x) in enumerate(zip(own, at, strict=True)):
                called = "" if number else f"{place + 1} {model}"
                lines += _with_intervals(called, [one], np.array([x]), colour)
        else:
            lines += _with_intervals(model, own, at, colour)
    floors = [one.score.floor for one in measured if _finite(one.score.floor)]
    if floors:
        ends = np.concatenate([line.x for line in lines])
        left, right = float(np.nanmin(ends)), float(np.nanmax(ends))
        if axis == COUNTED:
            left, right = 0.0, len(models) + 1.0
        reach = np.array([left, right]) if right > left else np.array([left - 0.4, left + 0.4])
        floor = np.full(2, float(np.median(np.array(floors, float))))
        lines.append(Line("floor", reach, floor, "#8a8a8a", "dotted"))
    title = f"{name} ({extractor or 'extractor not stated'}) against {against}"
    title = " ".join(title.split())
    return Shown(title, tuple(lines), _sizes(measured), "place" if axis == COUNTED else "amount")


def _called(one: Measured, axis: str) -> str:
    """Return what a curve is called; truncated images of a training are a curve of their own."""
    name = " ".join(one.of.split())  # a folder's name may have lines
    cut = axis == "kimg" and one.truncation_psi is not None
    return f"{name}, psi {one.truncation_psi:g}" if cut else name


def _at(one: Measured, axis: str, place: float) -> float:
    if axis == "kimg" and one.kimg is not None:
        return float(one.kimg)
    if axis == "truncation_psi":
        return 1.0 if one.truncation_psi is None else float(one.truncation_psi)
    return place


def _with_intervals(
    name: str, measured: Sequence[Measured], x: NDArray[Any], colour: str
) -> list[Line]:
    order = np.argsort(x, kind="stable")
    own, x = [measured[k] for k in order], x[order]
    y = np.array([one.score.value for one in own], float)
    notes = tuple(f"{one.of}: {in_words(one.score)}" for one in own)
    lines = [Line(name, x, y, colour, notes=notes)]
    bars = [
        (at, end)
        for at, one in zip(x, own, strict=True)
        if one.score.interval is not None and all(map(_finite, one.score.interval))
        for end in (*one.score.interval, np.nan)
    ]
    if bars:
        across, up = np.array(bars).T
        lines.append(Line("", across, up, colour))
    return lines


def _sizes(measured: Sequence[Measured]) -> str:
    sizes = sorted({(one.score.n_real or 0, one.score.n_fake or 0) for one in measured})
    told = ", ".join(f"{real:,} / {fake:,}" for real, fake in sizes[:3])
    few = any(one.score.warning for one in measured)
    return (
        f"n {told}{' …' if len(sizes) > 3 else ''}, real / synthetic"
        + ("; n differs" if len(sizes) > 1 else "")
        + ("; see the warning in the table" if few else "")
    )


def score_row(row: Measured) -> list[str]:
    """Return one score as text, a cell each of `SCORES`."""
    score = row.score
    low, high = score.interval or (None, None)
    at = f"{row.kimg:g} kimg" if row.kimg is not None else ""
    cut = f"psi {row.truncation_psi:g}" if row.truncation_psi is not None else ""
    at_n = "" if score.floor_n is None else f" at n {score.floor_n:,}"
    if score.value_at_floor_n is not None:
        at_n += f" (value there {_short(score.value_at_floor_n)})"
    return [
        row.of, ", ".join(filter(None, (at, cut))), score.name, _short(score.value),
        "–" if low is None or high is None else f"{low:.4g} to {high:.4g}",
        _short(score.floor) + at_n, f"{_count(score.n_real)} / {_count(score.n_fake)}",
        score.extractor or "not stated", row.against, score.warning,
    ]  # fmt: skip


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def of_run(look: Look, name: str) -> list[Measured]:
    """Return the scores of a run's ticks.

    Each run is judged against held-out images of its own data, so runs on other
    data, or at another size, are not compared.
    """
    mark, size = str(look.data.get("fingerprint") or "")[:8], look.config.get("size")
    parts = [f" at {size} pixels" if size else "", f", data {mark}" if mark else ""]
    against = "held-out reals" + "".join(parts)
    scores = [(_of_tick(tick.score), tick.kimg) for tick in look.ticks]
    return [Measured(one, name, against, kimg=kimg) for one, kimg in scores if one is not None]


def _of_tick(score: Mapping[str, Any] | None) -> Score | None:
    """Return a tick's score, or None where it has none or a damaged one."""
    if not score or not isinstance(score.get("name"), str) or not _finite(score.get("value")):
        return None
    known = {name: score[name] for name in Score.__dataclass_fields__ if name in score}
    ends = known.get("interval")
    sound = isinstance(ends, (list, tuple)) and len(ends) == 2 and all(map(_finite, ends))
    known["interval"] = tuple(ends) if ends is not None and sound else None
    return Score(**known)


def sheet(plots: Sequence[tuple[Shown, bool]], columns: int = 2) -> Image.Image:
    """Return plots on paper, two in a row; each comes with whether its axis is logarithmic."""
    drawings = [drawn(one.title, one.lines, log=log, x_is=one.x_is) for one, log in plots]
    rows = [drawings[k : k + columns] for k in range(0, len(drawings), columns)]
    heights = [max(one.height for one in row) for row in rows]
    width = drawings[0].width
    page = Image.new("RGB", (width * min(columns, len(plots)), sum(heights)), (255, 255, 255))
    for place, row in enumerate(rows):
        for column, drawing in enumerate(row):
            page.paste(drawing, (column * width, sum(heights[:place])))
    return page
