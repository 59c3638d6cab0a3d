"""What to look at before training: counts, classes, patients, what is left out, 24 images."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medgan_widgets.datasets.records import MAX_LISTED
from medgan_widgets.datasets.training_images import TrainingImages
from medgan_widgets.images import as_pil, captioned
from medgan_widgets.seeds import Value

SHOWN = 24
COLUMNS = 6
TILE, STRIP, GAP = 128, 20, 4
MARKS = {True: "PHANTOM", False: "REAL DATA - do not share"}
_CLASSES_LISTED = 12


class Summary:
    """What images to learn from hold; shown as a table with a sheet of them in a notebook.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 1), dtype=np.uint8)
    >>> print(Summary(TrainingImages(images, np.zeros((3, 0), np.float32), {}, note="")))
    array  3 images (3 to train on, 0 held out)
    size   16 × 16, grey
    """

    def __init__(self, data: TrainingImages) -> None:
        self._data = data

    def duplicate_names(self) -> list[tuple[str, str]]:
        """Return the pairs of images that are almost the same, by name, at most 1,000."""
        names = self._data.names
        return [(names[a], names[b]) for a, b in self._data.near_duplicates.some]

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as pairs of a word and what it is, in words."""
        data = self._data
        height, width, channels = data.images.shape[1:]
        train, test = data.sides.count("train"), data.sides.count("test")
        rows = [
            (data.source, f"{len(data):,} images ({train:,} to train on, {test:,} held out)"),
            ("size", f"{width} × {height}, {'colour' if channels == 3 else 'grey'}"),
        ]
        if data.sizes:
            sizes = ", ".join(f"{w} × {h} ({count:,})" for w, h, count in data.sizes)
            rows.append(("sizes before", sizes))
        rows += [(name, _counted(counts)) for name, counts in data.counts().items()]
        if data.intensity is not None:
            rows.append(("values before", f"{data.intensity[0]:g} … {data.intensity[1]:g}"))
        if data.preprocessing is not None:
            cut = f"; {data.clipped:,} pixels cut off" if data.clipped else ""
            rows.append(("prepared", data.preprocessing.in_words() + cut))
        if groups := set(data.groups) - {None}:
            rows.append(("groups", f"{len(groups):,}, each on one side"))
        if data.group_note:
            rows.append(("note", data.group_note))
        if (pairs := data.near_duplicates).count:
            across = f", {pairs.across:,} of them across the split" if pairs.across else ""
            some = "; ".join(f"{a} and {b}" for a, b in self.duplicate_names()[:3])
            s = "s" * (pairs.count > 1)
            rows.append(("near duplicates", f"{pairs.count:,} pair{s}{across}: {some}"))
        rows += [("note", note) for note in (*data.notes, *data.pixel_notes)]
        if unused := (*data.refused, *data.left_out):
            shown = "; ".join(file.reason.rstrip(".") for file in unused[:MAX_LISTED])
            more = len(unused) - MAX_LISTED
            rest = f"; and {more:,} more" if more > 0 else ""
            rows.append(("left out", f"{len(unused):,}: {shown}{rest}"))
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        wide = max(len(word) for word, _ in rows)
        return "\n".join(f"{word:<{wide}}  {text}" for word, text in rows)

    def _repr_html_(self) -> str:
        stream = io.BytesIO()
        self.contact_sheet().save(stream, "PNG")
        picture = base64.b64encode(stream.getvalue()).decode()
        mark = html.escape(MARKS[self._data.phantom])
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(word)}</th>'
            f'<td style="text-align:left">{html.escape(text)}</td></tr>'
            for word, text in self.rows()
        )
        return (
            f"<table>{rows}</table>"
            f'<img alt="{mark}: {min(SHOWN, len(self._data))} of {len(self._data)} images" '
            f'style="max-width:100%" src="data:image/png;base64,{picture}">'
        )

    def contact_sheet(self) -> Image.Image:
        """Return 24 of the images, classes in turn, each marked as real or as a phantom.

        Real images are marked so that the sheet is not passed on by mistake.
        """
        data, words = self._data, self._data.class_names()
        shown = _shown(words)
        columns = min(COLUMNS, len(shown))
        lines = -(-len(shown) // columns)
        size = columns * (TILE + GAP) + GAP, lines * (TILE + STRIP + GAP) + GAP
        sheet = Image.new("RGB", size, "white")
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
        short = "PHANTOM" if data.phantom else "REAL"
        for number, row in enumerate(shown):
            line, column = divmod(number, columns)
            left, top = GAP + column * (TILE + GAP), GAP + line * (TILE + STRIP + GAP)
            picture = as_pil(data.images[row]).convert("RGB")
            sheet.paste(picture.resize((TILE, TILE), Image.Resampling.BICUBIC), (left, top))
            pen.rectangle((left, top + TILE, left + TILE - 1, top + TILE + STRIP - 1), fill="black")
            text = f"{short}  {words[row]}".rstrip()
            while pen.textlength(text, font=font) > TILE - 8:
                text = f"{text[:-2]}…"
            middle = top + TILE + STRIP // 2
            pen.text((left + 4, middle), text, fill="white", font=font, anchor="lm")
        return captioned(sheet, [MARKS[data.phantom]], width=min(640, sheet.width))


def _shown(classes: list[str]) -> list[int]:
    """Return which images to show: one class after the other, the same at each call."""
    by_class: dict[str, list[int]] = {}
    for row in np.random.default_rng(0).permutation(len(classes)):
        by_class.setdefault(classes[row], []).append(int(row))
    turns = [by_class[name] for name in sorted(by_class)]
    return [rows[turn] for turn in range(SHOWN) for rows in turns if turn < len(rows)][:SHOWN]


def _counted(counts: Mapping[Value, int]) -> str:
    listed = list(counts.items())
    shown = ", ".join(f"{value} ({count:,})" for value, count in listed[:_CLASSES_LISTED])
    more = len(listed) - _CLASSES_LISTED
    return f"{shown}, and {more} more" if more > 0 else shown
