"""What the metrics plot shows: an engine's work and quality scores as curves. No widgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.evaluation.scores import in_words
from medgan_widgets.panels._lines import COLOURS, Line
from medgan_widgets.panels._run_lines import Shown
from medgan_widgets.requests import Measured
from medgan_widgets.telemetry import Record, Telemetry, Usage

DRAWN = 8  # models at once: more colours cannot be told apart
POINTS = 40  # of one curve; each stands for some batches that followed each other
MB = 1e6
COUNTED = "model"
AXES = {"kimg": "kimg", "truncation_psi": "psi", COUNTED: COUNTED}  # as the page names them
Comparable = tuple[str, str | None, str]

LIVE = {
    "latency": ("inference latency, ms a batch", "solid p50, dashed p95"),
    "speed": ("images/s", ""),
    "host": ("host memory, MB", ""),
    "device": ("device memory, MB", ""),
}
COLUMNS = (
    "model", "device", "images", "p50 ms", "p95 ms", "images/s", "first image s", "load s",
    "loaded", "cache hits", "host MB", "device MB",
)  # fmt: skip


def drawn_models(telemetry: Telemetry, chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Return the models whose work is drawn: those chosen, else the ones asked last."""
    known = telemetry.models
    if chosen is not None:
        known = tuple(one for one in known if one in chosen)
    return known[-DRAWN:]


def live(telemetry: Telemetry, models: Sequence[str]) -> dict[str, Shown]:
    """Return the curves of an engine's work, by plot.

    Examples
    --------
    >>> told = Telemetry()
    >>> told.made("m", images=2, seconds=0.1, host_bytes=5_000_000)
    >>> [line.name for line in live(told, ["m"])["speed"].lines], live(told, ["m"])["device"].lines
    (['m'], ())
    """
    lines: dict[str, list[Line]] = {name: [] for name in LIVE}
    for place, model in enumerate(models):
        colour = COLOURS[place % len(COLOURS)]
        records = telemetry.records(model)
        made = telemetry.usage(model).images
        for name, found in _curves(model, records, made, colour).items():
            lines[name] += found
    nothing = "nothing generated yet"
    return {
        name: Shown(title, tuple(lines[name]), note if lines[name] else nothing)
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
    """Return one model's work as text, a cell each of `COLUMNS`."""
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


def grouped(measured: Iterable[Measured]) -> dict[Comparable, list[Measured]]:
    """Return scores by what they must have in common to stand on one axis."""
    found: dict[Comparable, list[Measured]] = {}
    for one in measured:
        if one.score.value is not None and np.isfinite(one.score.value):
            found.setdefault(one.comparable, []).append(one)
    return found


def axis_of(measured: Sequence[Measured]) -> str:
    """Return what a group of scores is drawn against: kimg, truncation_psi or the models"""
    for name in ("kimg", "truncation_psi"):
        if any(getattr(one, name) is not None for one in measured):
            return name
    return COUNTED


def quality(measured: Sequence[Measured]) -> Shown:
    """Return one group's scores with their intervals, and the floor as a dotted line.

    Examples
    --------
    >>> from medgan_widgets.requests import Score
    >>> score = Score("FD", 0.2, 9, 9, "e", (0.1, 0.3), floor=0.1)
    >>> shown = quality([Measured(score, of="m", against="phantoms")])
    >>> shown.title, [line.name for line in shown.lines]
    ('FD (e) against phantoms', ['1 m', '', 'floor'])
    """
    name, extractor, against = measured[0].comparable
    axis = axis_of(measured)
    models = list(dict.fromkeys(one.of for one in measured))
    lines: list[Line] = []
    for place, model in enumerate(models):
        own = [one for one in measured if one.of == model]
        at = [place + 1.0] * len(own) if axis == COUNTED else [_at(one, axis) for one in own]
        title = f"{place + 1} {model}" if axis == COUNTED else model
        lines += _with_intervals(title, own, np.array(at), COLOURS[place % len(COLOURS)])
    floors = [one.score.floor for one in measured if one.score.floor is not None]
    if floors:
        ends = np.concatenate([line.x for line in lines])
        left, right = float(np.nanmin(ends)), float(np.nanmax(ends))
        reach = np.array([left, right]) if right > left else np.array([left - 0.4, left + 0.4])
        floor = np.full(2, float(np.median(floors)))
        lines.append(Line("floor", reach, floor, "#8a8a8a", "dotted"))
    return Shown(f"{name} ({extractor}) against {against}", tuple(lines), _sizes(measured))


def _at(one: Measured, axis: str) -> float:
    value = getattr(one, axis)
    return 1.0 if value is None else float(value)  # untruncated is psi 1


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
        if one.score.interval is not None
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
        + ("; see the warning below" if few else "")
    )
