"""Measure the shipped models, and write what was found into their cards and pages.

::

    python tests/benchmarks/score_models.py                  # all of them, some 20 minutes
    python tests/benchmarks/score_models.py phantom-styles --count 500 --models copy/

Quality is measured on what the engine makes of the shipped file against phantoms
that neither the generator nor an extractor has seen; copies are looked for among
the phantoms it was trained on; anatomy is measured back from the images.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

import medgan_widgets as mw
from medgan_widgets.cards import ModelCard, ScoreCard
from medgan_widgets.datasets import read_images
from medgan_widgets.features import CANONICAL, PHANTOM_CNN
from medgan_widgets.files import write_whole
from medgan_widgets.image_sources import phantom_kind
from medgan_widgets.memorisation import CopyDetector, Report
from medgan_widgets.requests import Score

MODELS = Path(__file__).parents[2] / "models"
COUNT = 3000
COPIES = 1000  # images held against the training images
ANATOMY = 500
METRICS = {
    PHANTOM_CNN: ("fd", "fd_infinity", "kid", "precision", "recall", "density", "coverage"),
    CANONICAL: ("fd", "kid", "precision", "recall"),
}


def main() -> None:
    """Read the command line and measure some models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_ids", nargs="*", metavar="model_id")
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--count", type=int, default=COUNT, help="images on each side")
    given = parser.parse_args()
    torch.set_num_threads(1)
    engine = mw.Engine(device="cpu", catalogue=mw.Catalogue(given.models))
    ids = given.model_ids or sorted(path.parent.name for path in given.models.glob("*/card.json"))
    for model_id in ids:
        measure(engine, given.models / model_id, given.count)


def measure(engine: mw.Engine, folder: Path, count: int) -> None:
    """Measure one model; its card and its page say what was found."""
    card = ModelCard.read(folder)
    kind = phantom_kind(card)
    assert kind is not None, f"{card.id} was not trained on phantoms"
    request = mw.GenerateRequest(card.id, seeds=range(count))
    scores = [
        row.score
        for extractor, metrics in METRICS.items()
        for row in mw.score(request, real=kind, metrics=metrics, extractor=extractor, engine=engine)
    ]
    batches = list(engine.generate(request))
    images = np.concatenate([batch.images for batch in batches])
    labels = {name: [v for b in batches for v in b.labels[name]] for name in card.condition}
    asked = {name: values[:ANATOMY] for name, values in labels.items()}
    anatomy = mw.compare_anatomy(kind, images[:ANATOMY], labels=asked)
    known = read_images(kind, size=card.size[0], most=_pool(card))
    copies = CopyDetector(known).check(images[:COPIES], range(COPIES))
    update = {"scores": tuple(ScoreCard(**score.to_dict()) for score in scores)}
    card.model_copy(update=update).write(folder)
    page = folder / "README.md"
    text = page.read_text("utf-8")
    text = _section(text, "Figures", _figures(scores, anatomy.text, copies, _baseline(text)))
    text = _section(text, "Limits", textwrap.fill(card.limits, 98) + "\n")
    write_whole(page, text.encode())
    told = [f"{one.name} {one.value:.3f} ({one.extractor})" for one in scores]
    print(f"{card.id}\n" + "\n".join(told) + f"\n{copies.text}\n{anatomy.text}", flush=True)


def _pool(card: ModelCard) -> int:
    """Return how many phantoms the card says that the model was trained on."""
    found = re.match(r"(\d+) phantoms", str(card.training.get("data")))
    assert found is not None, f"the card of {card.id} does not say how many phantoms it saw"
    return int(found[1])


def _baseline(page: str) -> str:
    """Return the sentence on the DCGAN that a page has, or that its older table gives."""
    if kept := re.search(r"^\*\*DCGAN\*\*.*$", page, re.M):
        return f"{kept[0]}\n\n"
    row = re.search(r"\| DCGAN baseline \| ([\d.]+) \| ([\d.]+ to [\d.]+) \|", page)
    if row is None:
        return ""
    return (
        f"**DCGAN** of PyTorch's tutorial, trained for as long: FD {row[1]}, {row[2]} "
        "(phantom-cnn-1).\n\n"
    )


def _figures(scores: Iterable[Score], anatomy: str, copies: Report, baseline: str) -> str:
    rows = "".join(_row(score) for score in scores)
    text = (
        "Measured by `python tests/benchmarks/score_models.py` on what the shipped file makes, "
        "against phantoms that neither the generator nor the extractor has seen. `phantom-cnn-1` "
        "reads the phantoms' own parameters; `canonical-1` looks at brightness, texture, spectrum "
        "and shape. The floor is phantoms against other phantoms. For FD and KID lower is better, "
        "for the others as near to the floor as can be. Values of two extractors never compare, "
        "nor do these with a FID."
    )
    lines = "\n".join(f"- {line}" for line in anatomy.splitlines())
    return (
        f"{textwrap.fill(text, 98)}\n\n"
        "| | value | 95 % interval | floor | n phantoms / synthetic | extractor |\n"
        f"|---|---|---|---|---|---|\n{rows}\n{baseline}"
        f"**Anatomy**, measured back from at most {ANATOMY} images:\n\n{lines}\n\n"
        f"**Copies of training images**: {copies.text}\n"
    )


def _row(score: Score) -> str:
    low, high = score.interval or (float("nan"), float("nan"))
    floor = "" if score.floor is None else f"{score.floor:.3f}"
    if score.value_at_floor_n is not None:
        floor += f" at n {score.floor_n} (value there {score.value_at_floor_n:.3f})"
    return (
        f"| {score.name} | {score.value:.3f} | {low:.3f} to {high:.3f} | {floor} "
        f"| {score.n_real} / {score.n_fake} | {score.extractor} |\n"
    )


def _section(text: str, title: str, content: str) -> str:
    """Return a page with one section's content replaced."""
    begin = text.index(f"## {title}\n")
    end = text.find("\n## ", begin)
    rest = text[end + 1 :] if end >= 0 else ""
    return f"{text[:begin]}## {title}\n\n{content}\n{rest}"


if __name__ == "__main__":
    main()
