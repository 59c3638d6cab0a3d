"""Numbers and times as people read them."""

from __future__ import annotations


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, never in the form 1e+03; None is a dash.

    Examples
    --------
    >>> number(0.12345), number(0.12345, 4), number(12345.6), number(None)
    ('0.123', '0.1235', '12,346', '–')
    """
    if value is None:
        return "–"
    # Rounded to so many digits, 999.7 would become 1e+03.
    return f"{value:,.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """Return a time in short.

    Examples
    --------
    >>> [duration(s) for s in (7, 75, 3840, 200_000)]
    ['7 s', '1 min', '1 h 04', '2 d 07 h']
    """
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if minutes < 1:
        return f"{max(0, int(seconds))} s"
    if hours < 1:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60:02}"
    return f"{hours // 24} d {hours % 24:02} h"
