"""What the metrics plot shows: an engine's work and quality scores, as charts and as table rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.metrics.table import in_words
from medgan_widgets.panels._curves import COLOURS, Chart, Curve
from medgan_widgets.panels._run_snapshot import RunSnapshot
from medgan_widgets.requests import Measured, Score
from medgan_widgets.telemetry import Telemetry, Usage
from medgan_widgets.words import number

DRAWN = 8  # models at once: more colours cannot be told apart
POINTS = 40  # of one curve; each stands for some batches that followed each other
MB = 1e6
GREY = "#8a8a8a"
Group = tuple[str, str | None, str, str]  # what was judged by what and against what, and x

SPEED = (
    "model", "device", "images", "p50 ms a batch", "p95 ms a batch", "images/s",
    "first image s", "load s", "loaded", "cache hits", "host MB", "device MB",
)  # fmt: skip
SCORES = (
    "model or folder", "at", "metric", "value", "95 % interval", "floor", "n real / synthetic",
    "extractor", "against", "warning",
)  # fmt: skip


def drawn_models(telemetry: Telemetry, chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Return the models whose work is drawn: those chosen, else the ones asked last."""
    models = telemetry.models
    return tuple(one for one in models if chosen is None or one in chosen)[-DRAWN:]


def work_charts(
    telemetry: Telemetry, models: Sequence[str], *, log: bool = False
) -> dict[str, Chart]:
    """Return the charts of an engine's work; memory of a device only where there is one."""
    curves: dict[str, list[Curve]] = {"latency": [], "speed": [], "host": [], "device": []}
    for model, colour in zip(models, cycle(COLOURS), strict=False):
        records = telemetry.records(model)
        if not records:
            continue
        parts = np.array_split(np.arange(len(records)), min(POINTS, len(records)))
        images = np.array([one.images for one in records], float)
        seconds = np.array([one.seconds for one in records])
        # Images made when each batch was ready; older batches are not remembered.
        made = telemetry.usage(model).images - images[::-1].cumsum()[::-1] + images
        x = np.array([made[part[-1]] for part in parts])
        p50, p95 = (
            np.array([np.percentile(seconds[part], q) for part in parts]) * 1e3 for q in (50, 95)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            speed = np.array([images[part].sum() / seconds[part].sum() for part in parts])
        host, device = (
            np.array([values[part].max() for part in parts]) / MB
            for values in (
                np.array([one.host_bytes for one in records], float),
                np.array([one.device_bytes for one in records], float),  # None is not-a-number
            )
        )

        for name, y, unit in (
            ("latency", p50, "ms p50"), ("speed", speed, "images/s"), ("host", host, "MB"),
            ("device", device, "MB"),
        ):  # fmt: skip
            notes = tuple(
                f"{model}: {value:,.4g} {unit} at {at:,.0f} images"
                for at, value in zip(x, y, strict=True)
            )
            if np.isfinite(y).any():
                curves[name].append(Curve(model, x, y, colour, notes=notes))
        curves["latency"].append(Curve("", x, p95, colour, "dashed"))
    about: dict[str, Any] = {"x_label": "images", "x_is": "count", "zero": True}
    charts = {
        "latency": Chart("inference latency, ms a batch", tuple(curves["latency"]),
                         "solid p50, dashed p95", log=log, **about),
        "speed": Chart("images/s", tuple(curves["speed"]), log=log, **about),
        "host": Chart("host memory, MB", tuple(curves["host"]), **about),
        "device": Chart("device memory, MB", tuple(curves["device"]), **about),
    }  # fmt: skip
    return {name: chart for name, chart in charts.items() if chart.curves}


def usage_row(usage: Usage) -> list[str]:
    """Return one model's work as text, a cell each of `SPEED`."""
    ms = [None if seconds is None else seconds * 1e3 for seconds in (usage.p50, usage.p95)]
    device = None if usage.device_bytes is None else usage.device_bytes / MB
    return [
        usage.model_id, usage.device, f"{usage.images:,}", *map(number, ms),
        number(usage.per_second), number(usage.first_seconds), number(usage.load_seconds),
        f"{usage.loads}", f"{usage.hits} of {usage.requests}", number(usage.host_bytes / MB),
        number(device),
    ]  # fmt: skip


# ---------------------------------------------------------------- quality


def grouped(measured: Iterable[Measured]) -> dict[Group, list[Measured]]:
    """Return scores by the chart that they stand in: what is comparable, against one quantity.

    What has neither kimg nor truncation stands at psi 1 where others of its kind were truncated.
    """
    drawable = [one for one in measured if _is_finite(one.score.value)]
    cut = {
        one.comparable for one in drawable if one.truncation_psi is not None and one.kimg is None
    }
    groups: dict[Group, list[Measured]] = {}
    for one in drawable:
        axis = "psi" if one.comparable in cut else "model"
        axis = axis if one.kimg is None else "kimg"
        groups.setdefault((*one.comparable, axis), []).append(one)
    return groups


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float, np.number)) and bool(np.isfinite(value))


def quality_chart(
    group: Group,
    measured: Sequence[Measured],
    *,
    log: bool = False,
    colours: Mapping[str, str] | None = None,
) -> Chart:
    """Return one group's scores with their intervals, and the floor as a dotted line.

    Examples
    --------
    >>> score = Score("FD", 0.2, 9, 9, "e", (0.1, 0.3), floor=0.1)
    >>> ((group, rows),) = grouped([Measured(score, of="m", against="phantoms")]).items()
    >>> chart = quality_chart(group, rows)
    >>> chart.title, [curve.name for curve in chart.curves]
    ('FD (e) against phantoms', ['1 m', '', 'floor'])
    """
    name, extractor, against, axis = group
    beside = axis == "model"
    models: dict[str, list[Measured]] = {}
    for one in measured:
        called = " ".join(one.of.split())  # a folder's name may have lines
        if axis == "kimg" and one.truncation_psi is not None:
            called += f", psi {one.truncation_psi:g}"  # a curve of its own
        models.setdefault(called, []).append(one)

    curves: list[Curve] = []
    for place, (model, own) in enumerate(models.items(), 1):
        colour = (colours or {}).get(model, COLOURS[(place - 1) % len(COLOURS)])
        if not beside:
            x = [one.kimg if axis == "kimg" else one.truncation_psi for one in own]
            at = np.array([1.0 if value is None else value for value in x])
            order = np.argsort(at, kind="stable")
            curves += _with_intervals(model, [own[k] for k in order], at[order], colour)
            continue
        # No line between two figures that stand for nothing in between, and each can be seen.
        around = np.linspace(-0.2, 0.2, len(own)) if len(own) > 1 else [0.0]
        for k, (one, shift) in enumerate(zip(own, around, strict=True)):
            called = "" if k else f"{place} {model}"
            curves += _with_intervals(called, [one], np.array([place + shift]), colour)

    floors = [one.score.floor for one in measured if _is_finite(one.score.floor)]
    if floors:
        ends = np.concatenate([curve.x for curve in curves])
        left, right = (0.0, len(models) + 1.0) if beside else (ends.min(), ends.max())
        reach = np.array([left, right]) if right > left else np.array([left - 0.4, left + 0.4])
        floor = np.full(2, float(np.median(np.array(floors, float))))
        curves.append(Curve("floor", reach, floor, GREY, "dotted"))
    title = f"{name} ({extractor or 'extractor not stated'}) against {against}"
    return Chart(
        " ".join(title.split()), tuple(curves), _sizes(measured), x_label=axis,
        x_is="place" if beside else "amount", log=log, height=150,
    )  # fmt: skip


def _with_intervals(
    name: str, measured: Sequence[Measured], x: NDArray[Any], colour: str
) -> list[Curve]:
    """Return scores as a curve, and their intervals as bars with gaps between them."""
    y = np.array([one.score.value for one in measured], float)
    notes = tuple(f"{one.of}: {in_words(one.score)}" for one in measured)
    bars = [
        (at, end)
        for at, one in zip(x, measured, strict=True)
        if one.score.interval is not None and all(map(_is_finite, one.score.interval))
        for end in (*one.score.interval, np.nan)
    ]
    curve = Curve(name, x, y, colour, notes=notes)
    ends = np.array(bars).T
    return [curve, Curve("", ends[0], ends[1], colour)] if bars else [curve]


def _sizes(measured: Sequence[Measured]) -> str:
    sizes = sorted({(one.score.n_real or 0, one.score.n_fake or 0) for one in measured})
    words = ", ".join(f"{real:,} / {fake:,}" for real, fake in sizes[:3])
    few = any(one.score.warning for one in measured)
    return (
        f"n {words}{' …' if len(sizes) > 3 else ''}, real / synthetic"
        + ("; n differs" if len(sizes) > 1 else "")
        + ("; see the warning in the table" if few else "")
    )


def score_row(row: Measured) -> list[str]:
    """Return one score as text, a cell each of `SCORES`."""
    score = row.score
    low, high = score.interval or (None, None)
    at = [f"{row.kimg:g} kimg"] if row.kimg is not None else []
    at += [f"psi {row.truncation_psi:g}"] if row.truncation_psi is not None else []
    floor = number(score.floor, 4)
    floor += "" if score.floor_n is None else f" at n {score.floor_n:,}"
    if score.value_at_floor_n is not None:
        floor += f" (value there {number(score.value_at_floor_n, 4)})"
    n_real, n_fake = ("?" if n is None else f"{n:,}" for n in (score.n_real, score.n_fake))
    return [
        row.of, ", ".join(at), score.name, number(score.value, 4),
        "–" if low is None or high is None else f"{number(low, 4)} to {number(high, 4)}",
        floor, f"{n_real} / {n_fake}", score.extractor or "not stated", row.against, score.warning,
    ]  # fmt: skip


def run_scores(run: RunSnapshot, name: str) -> list[Measured]:
    """Return the scores of a run's ticks.

    Each run is judged against held-out images of its own data, so runs on other
    data, or at another size, are not compared.
    """
    fingerprint, size = str(run.data.get("fingerprint") or "")[:8], run.config.get("size")
    parts = [f" at {size} pixels" if size else "", f", data {fingerprint}" if fingerprint else ""]
    against = "held-out reals" + "".join(parts)
    scores = [(_tick_score(tick.score), tick.kimg) for tick in run.ticks]
    return [Measured(one, name, against, kimg=kimg) for one, kimg in scores if one is not None]


def _tick_score(score: Mapping[str, Any] | None) -> Score | None:
    """Return a tick's score, or None where it has none or a damaged one."""
    if not score or not isinstance(score.get("name"), str) or not _is_finite(score.get("value")):
        return None
    fields = {name: score[name] for name in Score.__dataclass_fields__ if name in score}
    ends = fields.get("interval")
    whole = isinstance(ends, (list, tuple)) and len(ends) == 2 and all(map(_is_finite, ends))
    return Score(**{**fields, "interval": tuple(ends) if ends is not None and whole else None})
