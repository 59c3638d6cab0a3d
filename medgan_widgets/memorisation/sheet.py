"""Pairs side by side: a generated image and its nearest training image, each marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medgan_widgets.images import as_pil, captioned

TILE, STRIP, GAP, COLUMNS = 160, 18, 8, 2
_PAPER, _INK, _STRIP = (255, 255, 255), (33, 33, 33), (0, 0, 0)
Cell = tuple[NDArray[Any], NDArray[Any], tuple[str, str, str]]


def pairs_side_by_side(cells: Sequence[Cell], text: str) -> Image.Image:
    """Return pairs (generated, training, words under left, right and both) as one picture.

    Examples
    --------
    >>> import numpy as np
    >>> pair = np.zeros((8, 8), np.uint8)
    >>> pairs_side_by_side([(pair, pair, ("SYNTHETIC 1", "TRAINING 2", "copy"))], "One.").width
    688
    """
    wide, high = 2 * TILE + GAP, TILE + 2 * STRIP
    rows = -(-len(cells) // COLUMNS)
    size = (COLUMNS * (wide + 2 * GAP), max(rows, 1) * (high + GAP))
    sheet = Image.new("RGB", size, _PAPER)
    for place, (made, real, words) in enumerate(cells):
        row, column = divmod(place, COLUMNS)
        corner = (GAP + column * (wide + 2 * GAP), row * (high + GAP))
        _pair(sheet, corner, (made, real), words)
    return captioned(sheet if cells else None, [text], width=size[0])


def _pair(
    sheet: Image.Image,
    corner: tuple[int, int],
    images: tuple[NDArray[Any], NDArray[Any]],
    words: tuple[str, str, str],
) -> None:
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    left, top = corner
    for image, word in zip(images, words, strict=False):
        picture = as_pil(image).convert("RGB").resize((TILE, TILE), Image.Resampling.BICUBIC)
        sheet.paste(picture, (left, top))
        pen.rectangle((left, top + TILE, left + TILE - 1, top + TILE + STRIP - 1), fill=_STRIP)
        pen.text((left + 4, top + TILE + STRIP // 2), word, fill=_PAPER, font=font, anchor="lm")
        left += TILE + GAP
    under = _shortened(pen, words[2], font, 2 * TILE)
    pen.text((corner[0], top + TILE + STRIP + 3), under, fill=_INK, font=font)


def _shortened(pen: ImageDraw.ImageDraw, text: str, font: Any, room: float) -> str:
    while text and pen.textlength(text, font=font) > room:
        text = f"{text.rstrip('…')[:-1]}…"
    return text
