"""What to look at before training: counts, classes, patients, what is left out, 24 images."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medgan_widgets.datasets.records import MOST_LISTED
from medgan_widgets.datasets.training_images import TrainingImages
from medgan_widgets.images import as_pil, captioned
from medgan_widgets.seeds import Value

SHOWN = 24
COLUMNS = 6
TILE, STRIP, GAP = 128, 20, 4
MARKS = {True: "PHANTOM", False: "REAL DATA - do not share"}
_INK, _PAPER = (0, 0, 0), (255, 255, 255)
_CLASSES_LISTED = 12


class Summary:
    """What images to learn from hold; shown as a table with a sheet of them in a notebook.

    Attributes
    ----------
    source
        The kind of data.
    count, train, test
        Images, those that train, those held back.
    pixels
        Height, width and channels as learned from.
    sizes
        (width, height, images) before resizing, the most common ones.
    classes
        Factor -> value -> images.
    intensity
        The lowest and highest value before it became a pixel; None where not known.
    groups
        How many patients or other groups; None where nobody said.
    group_note
        What is to be said about them, or ``""``.
    refused
        What could not be read.
    near_duplicates
        Pairs of images that are almost the same.
    names
        The images' names, for pairs.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 1), dtype=np.uint8)
    >>> print(Summary(TrainingImages(images, np.zeros((3, 0), np.float32), {}, note="")))
    array  3 images (3 to train on, 0 held out)
    size   16 × 16, grey
    """

    def __init__(self, data: TrainingImages) -> None:
        self._data = data
        self.source, self.names, self.count = data.source, data.names, len(data)
        self.train, self.test = data.sides.count("train"), data.sides.count("test")
        self.pixels, self.sizes = data.images.shape[1:], data.sizes
        self.classes, self.intensity = data.counts(), data.intensity
        self.groups = len({one for one in data.groups if one is not None}) or None
        self.group_note, self.refused = data.group_note, data.refused
        self.near_duplicates = data.near_duplicates

    def contact_sheet(self) -> Image.Image:
        """Return 24 of the images, classes in turn, each marked as real or as a phantom.

        Real images are marked so that the sheet is not passed on by mistake.
        """
        return _sheet(self._data)

    def duplicate_names(self) -> list[tuple[str, str]]:
        """Return the pairs of images that are almost the same, by name, at most 1,000."""
        return [(self.names[one], self.names[other]) for one, other in self.near_duplicates.some]

    def rows(self) -> list[tuple[str, str]]:
        """Return the summary as pairs of a word and what it is, in words."""
        height, width, channels = self.pixels
        data = self._data
        rows = [
            (
                self.source,
                f"{self.count:,} images ({self.train:,} to train on, {self.test:,} held out)",
            ),
            ("size", f"{width} × {height}, {'colour' if channels == 3 else 'grey'}"),
        ]
        if self.sizes:
            some = ", ".join(f"{w} × {h} ({count:,})" for w, h, count in self.sizes)
            rows.append(("sizes before", some))
        rows += [(name, _counted(some)) for name, some in self.classes.items()]
        if self.intensity is not None:
            rows.append(("values before", f"{self.intensity[0]:g} … {self.intensity[1]:g}"))
        if data.preprocessing is not None:
            cut = f"; {data.clipped:,} pixels cut off" if data.clipped else ""
            rows.append(("prepared", data.preprocessing.in_words() + cut))
        if self.groups is not None:
            rows.append(("groups", f"{self.groups:,}, each on one side"))
        if self.group_note:
            rows.append(("note", self.group_note))
        if self.near_duplicates.count:
            rows.append(("near duplicates", self._duplicates()))
        rows += [("note", note) for note in (*data.notes, *data.pixel_notes)]
        if unused := (*self.refused, *data.left_out):
            shown = "; ".join(one.reason.rstrip(".") for one in unused[:MOST_LISTED])
            more = len(unused) - MOST_LISTED
            rest = f"; and {more:,} more" if more > 0 else ""
            rows.append(("left out", f"{len(unused):,}: {shown}{rest}"))
        return rows

    def __str__(self) -> str:
        rows = self.rows()
        wide = max(len(word) for word, _ in rows)
        return "\n".join(f"{word:<{wide}}  {said}" for word, said in rows)

    def _repr_html_(self) -> str:
        stream = io.BytesIO()
        self.contact_sheet().save(stream, "PNG")
        picture = base64.b64encode(stream.getvalue()).decode()
        mark = html.escape(MARKS[self._data.phantom])
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{html.escape(word)}</th>'
            f'<td style="text-align:left">{html.escape(said)}</td></tr>'
            for word, said in self.rows()
        )
        return (
            f"<table>{rows}</table>"
            f'<img alt="{mark}: {min(SHOWN, self.count)} of {self.count} images" '
            f'style="max-width:100%" src="data:image/png;base64,{picture}">'
        )

    def _duplicates(self) -> str:
        pairs = self.near_duplicates
        some = "; ".join(f"{one} and {other}" for one, other in self.duplicate_names()[:3])
        across = f", {pairs.across:,} of them across the split" if pairs.across else ""
        return f"{pairs.count:,} pair{'s' * (pairs.count > 1)}{across}: {some}"


def _sheet(data: TrainingImages) -> Image.Image:
    places = _places(data)
    columns = min(COLUMNS, len(places))
    size = (
        columns * (TILE + GAP) + GAP,
        -(-len(places) // columns) * (TILE + STRIP + GAP) + GAP,
    )
    sheet = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    words = data.class_names()
    short = "PHANTOM" if data.phantom else "REAL"
    for number, place in enumerate(places):
        row, column = divmod(number, columns)
        left, top = GAP + column * (TILE + GAP), GAP + row * (TILE + STRIP + GAP)
        picture = as_pil(data.images[place]).convert("RGB")
        sheet.paste(picture.resize((TILE, TILE), Image.Resampling.BICUBIC), (left, top))
        pen.rectangle((left, top + TILE, left + TILE - 1, top + TILE + STRIP - 1), fill=_INK)
        text = f"{short}  {words[place]}".rstrip()
        while pen.textlength(text, font=font) > TILE - 8:
            text = f"{text[:-2]}…"
        middle = top + TILE + STRIP // 2
        pen.text((left + 4, middle), text, fill=_PAPER, font=font, anchor="lm")
    return captioned(sheet, [MARKS[data.phantom]], width=min(640, sheet.width))


def _places(data: TrainingImages) -> list[int]:
    """Return which images to show: a class after the other, drawn anew nowhere."""
    random = np.random.default_rng(0)
    by_class: dict[str, list[int]] = {}
    words = data.class_names()
    for place in random.permutation(len(data)):
        by_class.setdefault(words[place], []).append(int(place))
    turns = [by_class[name] for name in sorted(by_class)]
    places = [some[turn] for turn in range(SHOWN) for some in turns if turn < len(some)]
    return places[:SHOWN]


def _counted(some: Mapping[Value, int]) -> str:
    listed = list(some.items())
    shown = ", ".join(f"{value} ({count:,})" for value, count in listed[:_CLASSES_LISTED])
    more = len(listed) - _CLASSES_LISTED
    return f"{shown}, and {more} more" if more > 0 else shown
