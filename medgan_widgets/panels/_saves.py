"""What the page's save buttons get: the bytes of a file, or a recipe as text."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from medgan_widgets.cards import ModelCard
from medgan_widgets.errors import MedganError, RequestError
from medgan_widgets.exporting import SyntheticImage, image_recipe, write
from medgan_widgets.exporting.gate import copy_detector_for
from medgan_widgets.memorisation import CopyDetector, Report
from medgan_widgets.panels._tiles import Pictures


class Saves:
    """Makes files of images that were looked at for copies, as `export` does.

    The training images of the last model stay ready, so that only its first file takes long.
    """

    def __init__(self, catalogue: Any) -> None:
        self._catalogue = catalogue
        self._ready: tuple[ModelCard, CopyDetector] | None = None
        self._looking = threading.Lock()  # one at a time: the next finds the images ready

    def saved(
        self, pictures: Pictures, what: str, places: Sequence[int]
    ) -> Iterator[str | tuple[dict[str, Any], list[bytes]]]:
        """Yield sentences on how it goes, empty ones too; last the message and the buffers.

        ``what`` is ``"png"`` or ``"recipe"``, of the first place, or ``"zip"`` of all.
        """
        if what not in ("png", "recipe", "zip"):
            raise RequestError(f"what to save must be png, recipe or zip, got {what!r}.")
        known = [place for place in places if 0 <= place < len(pictures.images)]
        if not known:
            raise RequestError("none of these images is made yet; wait for them, then save again.")
        known = known if what == "zip" else known[:1]
        recipe, seeds, labels = pictures.recipe or {}, pictures.request.seeds, pictures.labels
        recipes = [image_recipe(recipe, seeds[n], labels[n], n) for n in known]
        if what == "recipe":
            text = json.dumps(recipes[0], indent=2, ensure_ascii=False, default=str)
            yield {"kind": "text", "text": text}, []
            return
        images = [
            SyntheticImage(pictures.images[place], recipe, pictures.extras[place])
            for place, recipe in zip(known, recipes, strict=True)
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
                    (name, data), found = step.file, _in_short(step.report)
        finally:
            self._looking.release()
        yield f"Saved {name}. {found}"
        mime = "image/png" if what == "png" else "application/zip"
        yield {"kind": "file", "mime": mime, "name": name}, [data]

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


def _in_short(report: Report) -> str:
    copies, count = len(report.copies), report.n_generated
    if copies:
        return f"{copies} of {count} images are copies of training images; the recipes say which."
    return "No copy of a training image was found." if report.assessed else report.text
