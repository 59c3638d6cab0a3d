"""JavaScript or CSS in several plain files, joined to the one that a page loads."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def joined(*names: str) -> str:
    """Return files of this folder as one, in this order.

    Scripts share one scope, so a name declared in two of them is a syntax error in
    the page. There is nothing to build, and nothing that a page would fetch.
    """
    return "\n".join((FOLDER / name).read_text("utf-8") for name in names)
