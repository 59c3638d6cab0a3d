"""A notebook's parameters as papermill hands them over, read as the notebook declares them.

``-p reader 007`` arrives as the number 7, ``-p full false`` as the text "false", a list as text,
and YAML makes 8 of 00010. What can be read in one way only is read; the rest is refused.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter

from medgan_widgets.errors import RequestError
from medgan_widgets.phantoms import KINDS

_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def read_parameters(namespace: dict[str, Any], **allowed: Container[Any]) -> list[str]:
    """Bring every annotated parameter to its type and check it, before anything takes time.

    Parameters
    ----------
    namespace
        The notebook's ``globals()``; its parameters are changed in place.
    allowed
        For a parameter, or each entry of a list or dictionary: (least, most), or a list of
        choices. ``"model"``: an id, so that the number 1 is ``"00001"``. ``"path"``: something
        that exists. ``"images"``: that, or a kind of phantom.

    Returns
    -------
    list[str]
        What could have been meant otherwise, a sentence each.

    Raises
    ------
    RequestError
        For a value of another kind, with the quoting that helps, or one that is not allowed.

    Examples
    --------
    >>> here = {"__annotations__": {"images": int, "full": bool}, "images": "16", "full": "no"}
    >>> read_parameters(here, images=(1, 64)), here["images"], here["full"]
    ([], 16, False)
    """
    notes: list[str] = []
    # Python 3.14 keeps a function in place of the dictionary; without annotations there is neither.
    annotate = namespace.get("__annotate__")
    declared = namespace.get("__annotations__") or (annotate(1) if annotate else {})
    for name, kind in declared.items():
        namespace[name] = _read(name, namespace[name], kind, allowed.get(name), notes)
    return notes


def _read(name: str, value: Any, kind: Any, allowed: Any, notes: list[str]) -> Any:
    container = get_origin(kind) or kind
    if container in (list, dict):
        of = get_args(kind)[-1] if get_args(kind) else str if isinstance(allowed, str) else object
        entries = _entries(name, value, container)
        if container is list:
            return [_read(name, entry, of, allowed, notes) for entry in entries]
        return {key: _read(name, entry, of, allowed, notes) for key, entry in entries.items()}
    if kind is str and not isinstance(value, str):
        if allowed == "model" and type(value) is int and value >= 0:
            if value > 7:  # 00010 is octal in YAML
                notes.append(
                    f"{name}: {value} was chosen by its number, and YAML makes {value} of "
                    f'{value:05o} too; if you meant that, quote it: "{value:05o}".'
                )
            value = f"{value:05}"
        elif value is not None:
            raise RequestError(
                f"{name} must be text and came as {value!r}, for papermill and YAML turn words "
                f"like 007 or yes into numbers and truth values; give it as it is written with "
                f"-r {name} {value}, or quoted in YAML, like -y '{name}: \"{value}\"'."
            )
        value = value or ""
    elif kind in _KINDS:
        try:
            if isinstance(value, bool) and kind is not bool:
                raise ValueError
            value = TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
        except ValueError:
            raise RequestError(f"{name} must be {_KINDS[kind]}, got {value!r:.60}.") from None
    return _allowed(name, value, allowed)


def _entries(name: str, value: Any, kind: type) -> Any:
    """Return a list or dictionary that came as such, as its text, or a list of one as its entry."""
    if value is None or value == "":
        return kind()
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)  # as Python writes it
        with suppress(ValueError, TypeError):
            value = json.loads(value)
    elif kind is list and isinstance(value, str | int | float):
        value = [word.strip() for word in value.split(",")] if isinstance(value, str) else [value]
    if isinstance(value, kind):
        return value
    what, like = ("a list", '["a", "b"]') if kind is list else ("names with values", '{"a": "b"}')
    raise RequestError(
        f"{name} must be {what}, got {value!r:.80}; write it like -p {name} '{like}', with all "
        "texts in double quotes."
    )


def _allowed(name: str, value: Any, allowed: Any) -> Any:
    if allowed in ("path", "images"):
        if not value or (allowed == "images" and value.removeprefix("phantom:") in KINDS):
            return value
        if not Path(value).expanduser().exists():
            kinds = f", and no phantom is called so ({', '.join(KINDS)})" * (allowed == "images")
            raise RequestError(f"{name}: there is no {value!r} in {Path.cwd()}{kinds}.")
        return str(Path(value).expanduser())
    if isinstance(allowed, tuple):
        if not allowed[0] <= value <= allowed[1]:
            raise RequestError(f"{name} must be from {allowed[0]} to {allowed[1]}, got {value}.")
    elif allowed not in (None, "model") and value not in allowed:
        names = list(map(str, allowed))
        shown = names if len(names) < 15 else [*names[:3], "…", names[-1]]
        raise RequestError(f"{name} must be one of {', '.join(shown)}; got {value!r}.")
    return value
