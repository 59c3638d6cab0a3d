"""What a reader sees at the end: every image with its mark, beside what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medgan_widgets.images import as_pil
from medgan_widgets.studies.reader_study import Answer, Asked, Plan, Study

PER_PAGE = 6
THUMBNAIL = 192  # pixels of the longer side: a review is for remembering, not for reading
STRIP, GAP, SIDE = 20, 6, 120  # on paper


@dataclass(frozen=True)
class Reviewed:
    """One trial with the truth: its words, the mark of each image, and which one was chosen."""

    number: int
    text: str
    marks: tuple[str, ...]
    chosen: int | None
    rows: tuple[int, ...]

    def for_page(self) -> dict[str, Any]:
        facts = asdict(self)
        del facts["rows"]
        return {**facts, "marks": list(self.marks)}


def marks_of(plan: Plan, rows: Sequence[int]) -> tuple[str, ...]:
    """Return SYNTHETIC, or what the others are, for each image."""
    other = "PHANTOM" if plan.phantom else "REAL"
    return tuple("SYNTHETIC" if plan.synthetic[row] else other for row in rows)


def reviewed(study: Study, asked: Sequence[Asked], given: Sequence[Answer]) -> list[Reviewed]:
    """Return everything that was answered, in the reader's own order."""
    answers = {(one.kind, one.trial): one for one in given}
    found = []
    for one in asked:
        answer = answers.get((one.kind, one.trial))
        if answer is None:
            continue
        choice = one.kind == "choice"
        right = choice and answer.chosen == study.plan.target(one.trial)
        text = ("right" if right else "wrong") if choice else f"rated {answer.chosen} of 5"
        found.append(
            Reviewed(
                one.number,
                f"{text}, {answer.seconds:.1f} s",
                marks_of(study.plan, one.rows),
                answer.place if choice else None,
                one.rows,
            )
        )
    return found


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images [N, H, W, C], the larger ones made smaller."""
    height, width, channels = images.shape[1:]
    share = THUMBNAIL / max(height, width)
    if share >= 1:
        return images
    size = (max(1, round(width * share)), max(1, round(height * share)))
    made = [np.asarray(as_pil(one).resize(size, Image.Resampling.LANCZOS)) for one in images]
    return np.stack(made).reshape(len(made), size[1], size[0], channels)


def review_sheet(study: Study, shown: Sequence[Reviewed]) -> Image.Image | None:
    """Return the first trials with choices as a picture for paper, each image marked."""
    chosen = [one for one in shown if one.chosen is not None][:PER_PAGE]
    if not chosen:
        return None
    height, width = study.plan.shape[:2]
    tall = max(1, round(SIDE * height / width))
    columns = 2 if study.plan.choices == 2 else 1
    block = study.plan.choices * (SIDE + GAP) + 2 * GAP
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (columns * block, rows * (tall + 2 * STRIP + GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for place, one in enumerate(chosen):
        row, column = divmod(place, columns)
        left, top = column * block + GAP, row * (tall + 2 * STRIP + GAP)
        pen.text((left, top + 4), f"{one.number}: {one.text}", fill="black", font=font)
        for n, image in enumerate(study.pixels(one.rows)):
            corner = (left + n * (SIDE + GAP), top + STRIP)
            sheet.paste(as_pil(image).convert("RGB").resize((SIDE, tall)), corner)
            left_end, upper = corner[0], corner[1] + tall
            below = (left_end, upper, left_end + SIDE - 1, upper + STRIP - 1)
            pen.rectangle(below, fill="black")
            words = one.marks[n] + (" · chosen" if n == one.chosen else "")
            pen.text((below[0] + 4, below[1] + 4), words, fill="white", font=font)
    return sheet
