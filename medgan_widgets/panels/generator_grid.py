"""The generator grid: ask a model for images and watch them appear."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.cards import ModelCard
from medgan_widgets.errors import MedganError, NotRunnableError, RequestError
from medgan_widgets.images import contact_sheet, padded
from medgan_widgets.jobs import Job, submit, submit_background
from medgan_widgets.panels._frames import Feed, Pictures, for_snapshot
from medgan_widgets.panels._panel import Page, Panel, joined
from medgan_widgets.panels._saves import Saves, recipes_of
from medgan_widgets.panels._uploads import Uploads, checked_paths
from medgan_widgets.requests import Batch, GenerateRequest
from medgan_widgets.seeds import SEED_LIMIT, Value, seeds_from, whole_number

MAX_IMAGES = 64
MAX_COLUMNS = 16


class _Canvas(Page):
    """The page's half: controls, tiles and the large view."""

    _esm = joined("_dom.js", "_grid_controls.js", "generator_grid.js")
    _css = joined("generator_grid.css")
    models: Any = traitlets.List().tag(sync=True)  # what the model list offers
    # What the controls show. The page that changed them has them: they are not sent back.
    controls = traitlets.Dict().tag(sync=True, echo_update=False)
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
        controls = {
            "model": model,
            "images": images,
            "seed": seed,
            "condition": condition,
            "psi": truncation_psi,
            "mix": mix,
            "options": options,
        }
        request = self._request = replace(request_of(controls), inputs=tuple(inputs))
        self._uploads = Uploads()
        self._saves = Saves(self._catalogue)
        self._number = 0
        self._job: Job[Batch] | None = None
        self._jobs: dict[str, Job[Any]] = {}  # by the question that began them
        self._lock = threading.RLock()  # who watches the status may ask again
        self.canvas = _Canvas(columns=whole_number(columns, "columns", 1, MAX_COLUMNS))
        self._feed = Feed(self.canvas)
        super().__init__("Generate", [self.canvas], "Press Generate to make synthetic images.")
        self.use(model)  # it leaves out what the model lacks, which nobody meant here
        request = replace(request, model_id=self.model)
        self._engine.check(request)
        self._request = replace(request, inputs=checked_paths(inputs))
        self._show_request()
        self.listen(
            self.canvas,
            {
                "hello": lambda message: self._feed.hello(message["request"], message["have"]),
                "painted": lambda message: self._feed.painted(message["frame"]),
                "idle": lambda _: self._feed.store(),
                "sources": self._take_sources,
                "generate": self._generate_clicked,
                "cancel": self._cancel_clicked,
                "recipe": self._recipe_clicked,
                "save": self._save_clicked,
            },
        )

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
            card = self._catalogue[model_id]
            runs = self._catalogue.runs_here(card)
            if runs.kind != "now":
                raise NotRunnableError(f"{card.id} cannot generate here: {runs.text}")
        except MedganError as error:
            self.error = error
            raise
        request = self._request
        if card.id != request.model_id:  # another model's arguments mean nothing here
            request = replace(request, model_id=card.id, options={}, inputs=())
        same_factors = set(request.condition) <= set(card.condition)
        last_layer = ((request.mix or {}).get("layers") or (0, 0))[1]
        self._request = replace(
            request,
            condition=request.condition if same_factors else {},
            truncation_psi=request.truncation_psi if card.truncation else None,
            mix=request.mix if last_layer < card.style_layers else None,
        )
        self.error = ""
        self._engine.prepare(card.id)
        self.refresh()
        self._show_request()

    def refresh(self) -> None:
        """Offer the models that the catalogue knows by now."""
        self.canvas.models = [
            offer(card) for card in self._catalogue if self._catalogue.runs_here(card).kind == "now"
        ]

    def generate(self) -> Job[Batch]:
        """Start the images of `request` and return their job.

        ``grid.generate().wait()`` in a script, ``await grid.generate()`` in a notebook.
        Where the kernel answers on its main thread only (VS Code, Colab, older
        JupyterLab), Cancel waits for the running cell unless that cell awaits the job.
        """
        return self._generate(f"request {self._number + 1}")

    def cancel(self) -> None:
        """Stop the newest job, and files on their way; the images made so far stay."""
        for job in list(self._jobs.values()):
            job.cancel()

    # ------------------------------------------------------------ what the page asks for

    def _generate_clicked(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        request = request_of(message["controls"])
        card = self._engine.check(request)
        if card.needs.image:
            request = replace(request, inputs=self._request.inputs)
        self._request = request
        self.canvas.set_state({"controls": controls_of(request)})  # nothing is sent by that
        self._generate(message["id"])
        return {"kind": "started"}

    def _cancel_clicked(self, message: Mapping[str, Any]) -> None:
        if message["id"] in self._jobs:
            self._jobs[message["id"]].cancel()

    def _take_sources(self, message: Mapping[str, Any]) -> None:
        self._request = replace(self._request, inputs=self._uploads.chosen(message))
        self.error = ""
        self._show_sources()

    def _recipe_clicked(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        pictures, indices = self._chosen(message)
        (recipe,) = recipes_of(pictures, indices[:1])
        text = json.dumps(recipe, indent=2, ensure_ascii=False, default=str)
        return {"kind": "text", "text": text}

    def _save_clicked(self, message: Mapping[str, Any]) -> None:
        """Begin a PNG of the first chosen image or a zip of all; it may take long."""
        what, question = message["what"], message["id"]
        if what not in ("png", "zip"):
            raise RequestError(f"what to save must be png or zip, got {what!r}.")
        pictures, indices = self._chosen(message)

        def work() -> Iterator[Any]:
            yield from self._saves.saved(pictures, what, indices[:1] if what == "png" else indices)

        def on_item(item: str | tuple[dict[str, Any], bytes]) -> None:
            if isinstance(item, str):
                self.status = item or self.status
            else:
                self.canvas.send({"id": question, **item[0]}, [item[1]])

        def on_done(job: Job[Any]) -> None:
            if job.state == "failed":
                self.error = self._in_words(job.error)
            elif job.state == "cancelled":
                self.status = "Saving was cancelled; nothing was saved."
            if job.state != "done":
                self.canvas.send({"id": question, "kind": "refused"})

        job = submit_background(work, name="save", on_item=on_item, on_done=on_done)
        self._keep(question, job)

    def _chosen(self, message: Mapping[str, Any]) -> tuple[Pictures, list[int]]:
        pictures = self._feed.shown
        if message["request"] != pictures.number:
            raise RequestError("the images have changed meanwhile; select them once more.")
        indices = [index for index in message["tiles"] if 0 <= index < len(pictures.images)]
        if not indices:
            raise RequestError("none of these images is made yet; wait for them, then save again.")
        self._note_recipe(pictures)
        return pictures, indices

    # ------------------------------------------------------------ from the request to the page

    def _generate(self, question: str) -> Job[Batch]:
        request = self._request
        count = len(request.seeds)
        with self._lock:  # the job with the highest number must be the one queued last
            self._number += 1
            pictures = Pictures(self._number, request)
            self._feed.begin(count, question)
            self.error = ""
            self.status = f"Making {_images(count)} with {request.model_id}."
            job = submit(
                lambda: self._engine.generate(request),
                owner=self,
                on_item=lambda batch: self._feed.add(pictures, batch),
                on_done=lambda job: self._on_done(job, pictures),
            )
            self._job = job
            self._keep(question, job)
        return job

    def _keep(self, question: str, job: Job[Any]) -> None:
        running = {name: other for name, other in self._jobs.items() if not other.done}
        self._jobs = {**running, question: job}

    def _on_done(self, job: Job[Batch], pictures: Pictures) -> None:
        if pictures.number != self._number:  # a newer request speaks now
            return
        made, seeds = len(pictures.images), pictures.request.seeds
        model, total = pictures.request.model_id, _images(len(seeds))
        self._feed.finish(job.state, made)  # first of all: somebody looks at the page
        if made:
            self._note_recipe(pictures)
        if job.state == "done":
            where = self._engine.device_of(model)
            remark = self._engine.remark(model)
            done = f"{_images(made).capitalize()} of {model}, {_seeds(seeds)}, made on {where}."
            self.status = f"{done} {remark}".strip()
        elif job.state == "cancelled":
            self.status = f"Cancelled after {made} of {total}."
        else:
            self.status = f"Stopped after {made} of {total}."
            self.error = self._in_words(job.error)

    def _note_recipe(self, pictures: Pictures) -> None:
        """Keep what the pixels depended on, while the model is still what it was."""
        if pictures.recipe is None:
            try:
                pictures.recipe = self._engine.recipe(pictures.request)
            except MedganError:  # its folder is gone: the request alone is still a recipe
                unknown = [{"keyed_sha256": "unknown"}] * len(pictures.request.inputs)
                pictures.recipe = {**pictures.request.to_dict(), "inputs": unknown}

    def _show_request(self) -> None:
        self._show_sources()
        self.canvas.controls = controls_of(self._request)

    def _show_sources(self) -> None:
        names = [Path(path).name for path in self._request.inputs]
        self.canvas.sources = {"count": len(names), "names": ", ".join(names)}

    def _facts(self) -> Mapping[str, object]:
        return {"model": self.model, "images": self.images, "seed": self.seed}

    def _picture(self) -> Image.Image | None:
        shown = self._feed.shown
        if not shown.images:
            return None
        images = [
            for_snapshot(image, extras.get("mask"))
            for image, extras in zip(list(shown.images), list(shown.extras), strict=False)
        ]
        return contact_sheet(padded(images), shown.seeds[: len(images)], columns=self.columns)

    def _release(self) -> None:
        self.cancel()
        self._uploads.close()
        self._job = None
        self._jobs = {}
        self._saves = Saves(self._catalogue)  # the training images go with the old one
        self._feed = Feed(self.canvas)


def offer(card: ModelCard) -> dict[str, Any]:
    """Return what the page needs to offer a model and its factors."""
    return {
        "id": card.id,
        "title": card.title,
        "condition": {name: list(values) for name, values in card.condition.items()},
        "truncation": card.truncation,
        "styles": card.style_layers,
        "options": [option.model_dump(mode="json") for option in card.options],
        "image": card.needs.image,
    }


def request_of(controls: Mapping[str, Any]) -> GenerateRequest:
    """Return the request for what the controls show, digits typed as text among it."""
    images = whole_number(_number(controls["images"]), "images", 1, MAX_IMAGES)
    seed = whole_number(_number(controls["seed"]), "seed", 0, SEED_LIMIT - 1)
    mix = controls.get("mix")
    if isinstance(mix, Mapping):
        mix = {**mix, "seed": _number(mix.get("seed"))}
    return GenerateRequest(
        controls["model"],
        seeds=seeds_from(seed, images),
        condition=controls.get("condition") or {},
        truncation_psi=controls.get("psi"),
        mix=mix,
        options=controls.get("options") or {},
    )


def controls_of(request: GenerateRequest) -> dict[str, Any]:
    """Return what the controls show; seeds as text: a page's numbers end at 2^53."""
    mix = request.mix
    return {
        "model": request.model_id,
        "images": len(request.seeds),
        "seed": str(request.seeds[0]),
        "condition": dict(request.condition),
        "psi": request.truncation_psi,
        "mix": None if mix is None else {**mix, "seed": str(mix["seed"])},
        "options": dict(request.options),
    }


def _number(value: object) -> object:
    """Return digits as a number; anything else as it is, for the error to quote."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,40}", text) else text[:40]


def _images(count: int) -> str:
    return f"{count} synthetic image" + ("s" if count != 1 else "")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
