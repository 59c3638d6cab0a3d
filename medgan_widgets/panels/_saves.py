"""What the save buttons make: a PNG or a zip, looked at for copies first, as `export` does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from medgan_widgets.cards import ModelCard
from medgan_widgets.errors import MedganError
from medgan_widgets.exporting import SyntheticImage, image_recipe, write
from medgan_widgets.exporting.gate import copy_detector_for
from medgan_widgets.memorisation import CopyDetector, Report
from medgan_widgets.panels._frames import Pictures


class Saves:
    """The training images of the last model stay ready, so that only its first file takes long."""

    def __init__(self, catalogue: Any) -> None:
        self._catalogue = catalogue
        self._ready: tuple[ModelCard, CopyDetector] | None = None
        self._looking = threading.Lock()  # one at a time: the next finds the images ready

    def saved(
        self, pictures: Pictures, what: str, indices: Sequence[int]
    ) -> Iterator[str | tuple[dict[str, Any], bytes]]:
        """Yield sentences on how it goes, empty ones too; last the file as a message and bytes."""
        images = [
            SyntheticImage(pictures.images[index], recipe, pictures.extras[index])
            for index, recipe in zip(indices, recipes_of(pictures, indices), strict=True)
        ]
        while not self._looking.acquire(timeout=0.1):
            yield ""
        try:
            yield "Reading the training images, to look for copies of them before saving."
            detector = self._detector_of(pictures.request.model_id)
            steps = write(images, None, format=what, detector=detector)
            for number, step in enumerate(steps, 1):
                yield f"Looking for copies of training images before saving: step {number}."
                if step.file is not None and step.report is not None:
                    (name, data), copies = step.file, _in_short(step.report)
        finally:
            self._looking.release()
        yield f"Saved {name}. {copies}"
        mime = "image/png" if what == "png" else "application/zip"
        yield {"kind": "file", "mime": mime, "name": name}, data

    def _detector_of(self, model_id: str) -> CopyDetector | str:
        try:
            card = self._catalogue[model_id]
        except MedganError:
            return "the model is no longer here"
        if self._ready is not None and self._ready[0] == card:
            return self._ready[1]
        self._ready = None  # the images of two models may be more than memory holds
        detector, _ = copy_detector_for(card, None, "runs")
        if isinstance(detector, CopyDetector):
            self._ready = card, detector
        return detector


def recipes_of(pictures: Pictures, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Return what makes each of these images again."""
    recipe, seeds = pictures.recipe or {}, pictures.request.seeds
    return [image_recipe(recipe, seeds[n], pictures.labels[n], n) for n in indices]


def _in_short(report: Report) -> str:
    copies, count = len(report.copies), report.n_generated
    if copies:
        return f"{copies} of {count} images are copies of training images; the recipes say which."
    return "No copy of a training image was found." if report.assessed else report.text
