"""The generator grid: ask a model for images and watch them appear."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.errors import MedganError, NotRunnableError, RequestError
from medgan_widgets.images import contact_sheet, padded
from medgan_widgets.jobs import Job, submit, submit_background
from medgan_widgets.panels._choices import MOST_COLUMNS, choice, request_of, runnable
from medgan_widgets.panels._panel import Page, Panel, joined
from medgan_widgets.panels._saves import Saves
from medgan_widgets.panels._sources import Sources, checked_paths
from medgan_widgets.panels._tiles import Feed, Pictures, on_paper
from medgan_widgets.requests import Batch, GenerateRequest, check_mix_fits
from medgan_widgets.seeds import Value, labels_from_seeds, whole_number

log = logging.getLogger(__name__)

SCRIPT = joined(
    *("_dom.js", "_grid_base.js", "_grid_store.js", "_grid_extras.js"),
    *("_grid_controls.js", "_large_view.js", "generator_grid.js"),
)


class _Canvas(Page):
    """The page's half: controls, tiles and the large view."""

    _esm = SCRIPT
    _css = joined("_panel.css", "generator_grid.css")
    models: Any = traitlets.List().tag(sync=True)  # what the model list offers
    controls = traitlets.Dict().tag(sync=True)  # what the controls show
    columns = traitlets.Int(4).tag(sync=True)
    picture = traitlets.Dict().tag(sync=True)  # the last images as one PNG
    sources = traitlets.Dict().tag(sync=True)  # how many source images there are, and their names


class GeneratorGrid(Panel):
    """A grid of synthetic images that fills while they are made.

    Everything the controls do can be done from Python. A click, like
    `generate`, starts a job and returns at once; a newer one replaces it.

    Parameters
    ----------
    model
        A model of the catalogue that runs now.
    images
        How many, 1 to 64.
    seed
        The first image's; the others follow: seed + 1, …
    columns
        Images in a row, 1 to 16.
    condition
        Factors of the model and their values; what is left out is drawn.
    truncation_psi
        0 to 1, for models that have it.
    mix
        Styles of another seed, for models with style layers: as for `GenerateRequest`.
    options
        A model's own arguments, as its card lists them.
    inputs
        Paths of source images, for models that translate them.
    engine, catalogue
        Other ones than the shared engine and its catalogue.

    Raises
    ------
    RequestError
        For numbers that no grid can have, and classes, a truncation or styles the model lacks.
    ModelNotFoundError, NotRunnableError
        For a model that is not there, or does not run here.
    """

    def __init__(
        self,
        model: str = "phantom-brain-mri",
        images: int = 16,
        seed: int = 0,
        columns: int = 4,
        condition: Mapping[str, Value] | None = None,
        truncation_psi: float | None = None,
        engine: Any = None,
        catalogue: Any = None,
        options: Mapping[str, Any] | None = None,
        inputs: Sequence[str | Path] = (),
        mix: Mapping[str, Any] | None = None,
    ) -> None:
        if engine is None:
            from medgan_widgets.engine import shared_engine  # torch is slow to load

            engine = shared_engine()
        self._engine = engine
        self._catalogue = engine.catalogue if catalogue is None else catalogue
        self._request = request_of(
            {
                "model": model,
                "images": images,
                "seed": seed,
                "condition": condition,
                "psi": truncation_psi,
                "mix": mix,
                "options": options,
                "inputs": tuple(inputs),
            }
        )
        self._sources = Sources()
        self._shown_model = ""
        self._number = 0
        self._job: Job[Batch] | None = None
        self._saves = Saves(self._catalogue)
        self._saving: weakref.WeakSet[Job[Any]] = weakref.WeakSet()
        self._lock = threading.RLock()  # who watches the status may ask again
        self.canvas = _Canvas(columns=whole_number(columns, "columns", 1, MOST_COLUMNS))
        self._feed = Feed(self.canvas)
        self._show_wanted()
        self.canvas.on_msg(self._on_message)
        super().__init__("Generate", [self.canvas], "Press Generate to make synthetic images.")
        asked = self._request
        self.use(model)
        card = self._catalogue[self.model]  # what nobody can mean is told here, not dropped
        labels_from_seeds([0], card.condition, condition or {})
        if truncation_psi is not None and not card.truncation:
            raise RequestError(f"{card.id} has no truncation; leave truncation_psi out.")
        check_mix_fits(asked.mix, card.id, card.style_layers)
        if inputs and not card.needs.image:
            raise RequestError(f"{card.id} makes images from noise; leave inputs out.")
        self._request = replace(self._request, inputs=checked_paths(inputs))
        self._show_wanted()

    @property
    def model(self) -> str:
        """The model the next images come from."""
        return self._request.model_id

    @property
    def images(self) -> int:
        """How many images the next request makes."""
        return len(self._request.seeds)

    @property
    def seed(self) -> int:
        """The first seed of the next request."""
        return self._request.seeds[0]

    @property
    def columns(self) -> int:
        """Images in a row."""
        return int(self.canvas.columns)

    @property
    def request(self) -> GenerateRequest:
        """The request that Generate would send now."""
        return self._request

    @property
    def job(self) -> Job[Batch] | None:
        """The newest job, or None before the first."""
        return self._job

    @property
    def images_array(self) -> NDArray[Any]:
        """The images on screen, [N, H, W, C]; N is 0 before the first.

        Images of different sizes stand at the top left on black.
        """
        images = list(self._feed.shown.images)
        if len({(image.shape, image.dtype) for image in images}) > 1:
            return padded(images)
        return np.stack(images) if images else np.empty((0, 0, 0, 1), np.uint8)

    def use(self, model_id: str) -> None:
        """Choose the model of the next images; those on screen stay.

        Raises
        ------
        ModelNotFoundError, NotRunnableError
            For a model that is not there, or does not run here; the error line says so too.
        """
        try:
            known = runnable(self._catalogue)
            card = self._catalogue[model_id]
            if card.id not in known:
                reason = self._catalogue.runs_here(card).text
                raise NotRunnableError(f"{card.id} cannot generate here: {reason}")
        except MedganError as error:
            self.error = error
            raise
        if self._shown_model not in ("", card.id):  # another model's arguments mean nothing here
            self._request = replace(self._request, options={}, inputs=())
        self._shown_model = card.id
        asked = self._request
        known_factors = set(asked.condition) <= set(card.condition)
        known_layers = card.style_layers > ((asked.mix or {}).get("layers") or (0, 0))[1]
        self._request = replace(
            asked,
            model_id=card.id,
            condition=asked.condition if known_factors else {},
            truncation_psi=asked.truncation_psi if card.truncation else None,
            mix=asked.mix if known_layers else None,
        )
        self.error = ""
        self._engine.prepare(card.id)
        self.canvas.models = [choice(each) for each in known.values()]
        self._show_wanted()

    def refresh(self) -> None:
        """Offer the models that the catalogue knows by now."""
        self.canvas.models = [choice(each) for each in runnable(self._catalogue).values()]

    def generate(self) -> Job[Batch]:
        """Start the images of `request` and return their job.

        ``grid.generate().wait()`` in a script, ``await grid.generate()`` in a notebook.
        Where the kernel answers on its main thread only (VS Code, Colab, older
        JupyterLab), Cancel waits for the running cell unless that cell awaits the job.
        """
        request = self.request
        count = len(request.seeds)
        with self._lock:  # the job with the highest number must be the one queued last
            self._number += 1
            pictures = Pictures(self._number, request)
            self._feed.progress("queued", 0, count)
            self.error = ""
            self.status = f"Making {_images(count)} with {request.model_id}."
            job = submit(
                lambda: self._engine.generate(request),
                owner=self,
                on_item=lambda batch: self._feed.add(pictures, batch),
                on_done=lambda job: self._on_done(job, pictures),
            )
            self._job = job
        return job

    def cancel(self) -> None:
        """Stop the newest job, and files on their way; the images made so far stay."""
        for job in (self._job, *self._saving):
            if job is not None:
                job.cancel()

    def _on_done(self, job: Job[Batch], pictures: Pictures) -> None:
        if pictures.number != self._number:  # a newer request speaks now
            return
        made, asked = len(pictures.images), len(pictures.request.seeds)
        self._feed.finish(job.state, made, asked)  # first of all: somebody looks at the page
        if made:
            self._note_recipe(pictures)
        seeds = pictures.request.seeds
        if job.state == "done":
            self.status = (
                f"{_images(made).capitalize()} of {pictures.request.model_id}, "
                f"{_seeds(seeds)}, made on {self._engine.device_of(pictures.request.model_id)}."
                f" {self._engine.remark(pictures.request.model_id)}"
            ).strip()
        elif job.state == "cancelled":
            self.status = f"Cancelled after {made} of {_images(asked)}."
        else:
            self.status = f"Stopped after {made} of {_images(asked)}."
            self.error = self._in_words(job.error)

    def _on_message(self, _: object, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        """Hear the page, on whatever thread: note, enqueue, answer, and never take long."""
        kind = content.get("kind") if isinstance(content, Mapping) else None
        try:
            if kind == "hello":
                self._feed.hello(int(content.get("id", 0)), content.get("have", ()))
            elif kind == "painted":
                self._feed.painted(int(content.get("frame", 0)))
            elif kind == "sources":
                inputs = self._sources.chosen(content, buffers)
                self._request = replace(self._request, inputs=inputs)
                self.error = ""
                self._show_wanted()
            elif kind == "generate":
                wanted = request_of({**content, "inputs": ()})
                card = self._catalogue[wanted.model_id]
                kept = self._request.inputs if card.needs.image else ()
                self._request = replace(wanted, inputs=kept)
                self._shown_model = card.id
                self._show_wanted()
                self.generate()
            elif kind == "cancel":
                self.cancel()
            elif kind == "export":
                self._export(dict(content))
        except MedganError as error:
            self.error = error
            shown = self._feed.shown
            if self._job is None or self._job.done:
                self._feed.progress("refused", len(shown.images), len(shown.request.seeds))
        except (KeyError, TypeError, ValueError):  # no page of ours sends that
            log.warning("a message was not understood: %.200r", content)

    def _export(self, content: Mapping[str, Any]) -> None:
        """Begin a file or a recipe for one view; the images are looked at for copies first."""
        pictures = self._feed.shown

        def work() -> Iterator[Any]:
            if pictures.number != content["id"]:
                raise RequestError("the images have changed meanwhile; select them once more.")
            self._note_recipe(pictures)
            yield from self._saves.saved(pictures, content["what"], content["tiles"])

        def hear(item: Any) -> None:
            if isinstance(item, str):
                self.status = item or self.status
            else:
                self.canvas.send({**item[0], "nonce": content.get("nonce")}, buffers=item[1])

        def on_done(job: Job[Any]) -> None:
            if job.state == "failed":
                self.error = self._in_words(job.error)
            elif job.state == "cancelled":
                hear("Saving was cancelled; nothing was saved.")
            if job.state != "done":
                hear(({"kind": "nothing"}, []))

        job = submit_background(work, name="save", on_item=hear, on_done=on_done)
        self._saving.add(job)

    def _note_recipe(self, pictures: Pictures) -> None:
        """Keep what the pixels depended on, while the model is still what it was."""
        if pictures.recipe is None:
            try:
                pictures.recipe = self._engine.recipe(pictures.request)
            except MedganError:  # its folder is gone: the request alone is still a recipe
                unknown = [{"keyed_sha256": "unknown"}] * len(pictures.request.inputs)
                pictures.recipe = {**pictures.request.to_dict(), "inputs": unknown}

    def _show_wanted(self) -> None:
        asked = self._request
        self.canvas.sources = {
            "count": len(asked.inputs),
            "names": ", ".join(Path(path).name for path in asked.inputs),
        }
        self.canvas.controls = {  # seeds as text: a page's numbers end at 2^53
            "model": self.model,
            "images": self.images,
            "seed": str(self.seed),
            "condition": dict(asked.condition),
            "psi": asked.truncation_psi,
            "mix": None if asked.mix is None else {**asked.mix, "seed": str(asked.mix["seed"])},
            "options": dict(asked.options),
        }

    def _facts(self) -> Mapping[str, object]:
        return {"model": self.model, "images": self.images, "seed": self.seed}

    def _picture(self) -> Image.Image | None:
        shown = self._feed.shown
        if not shown.images:
            return None
        images = [
            on_paper(image, extras.get("mask"))
            for image, extras in zip(list(shown.images), list(shown.extras), strict=False)
        ]
        return contact_sheet(padded(images), shown.seeds[: len(images)], columns=self.columns)

    def _release(self) -> None:
        self.cancel()
        self._sources.close()
        self._job = None
        self._saves = Saves(self._catalogue)  # the training images go with the old one
        self._feed = Feed(self.canvas)


def _images(count: int) -> str:
    return f"{count} synthetic image" + ("s" if count != 1 else "")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
