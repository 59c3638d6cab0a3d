"""A zip of PNG files, each with its recipe inside, and a manifest of all of them."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from medgan_widgets.exporting import png
from medgan_widgets.exporting.recipe import SyntheticImage, json_value
from medgan_widgets.memorisation import Report

SUFFIX = ".zip"
_README = (
    "SYNTHETIC images made by a generative model, for research and teaching.\n"
    "They show no patient. Each PNG holds the recipe that makes it again; the\n"
    "manifest lists file, seed and labels of every image.\n"
)
_NOON = (1980, 1, 1, 12, 0, 0)  # the same images give the same bytes, whatever the clock says


def files(images: Sequence[SyntheticImage], report: Report) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the one archive.

    Outputs are files of their own, named in the manifest, never mixed up with images.
    """
    rows = [_row(named) for named in png.with_names(images)]
    stream = io.BytesIO()
    # PNG is compressed already, so the files are stored as they are.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [
            *png.files(images, report),
            ("manifest.jsonl", "".join(f"{_json(row)}\n" for row in rows).encode()),
            ("manifest.csv", _table(rows).encode()),
            ("memorisation.json", _json(report.to_dict(), indent=1).encode()),
            ("README_synthetic.txt", _README.encode()),
        ]:
            archive.writestr(zipfile.ZipInfo(name, _NOON), content)
    model = rows[0]["file_name"].split("_seed")[0]
    yield f"{model}_{len(images)}_images_synthetic.zip", stream.getvalue()


def _row(named: png.NamedImage) -> dict[str, Any]:
    recipe = named.image.recipe
    return {
        "file_name": named.name,
        "synthetic": True,
        "model_id": recipe["model_id"],
        "seed": recipe["seeds"][0],
        "memorisation": recipe["memorisation"],
        **{f"label_{factor}": value for factor, value in recipe["labels"].items()},
        **{column: file for column, (file, _) in named.outputs.items()},
    }


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, default=json_value, indent=indent)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
