"""``AugmentationStudy``: one row a training, so that it can be watched, cancelled and resumed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.datasets import TrainingImages
from medgan_widgets.devices import checked_device
from medgan_widgets.engine import Engine
from medgan_widgets.errors import DataError, RequestError, SaveError
from medgan_widgets.files import append_row, rows_of
from medgan_widgets.presets import preset_of
from medgan_widgets.runs import Tick
from medgan_widgets.seeds import Value, whole_number
from medgan_widgets.studies.augmentation.arms import ARMS, MIXED, SYNTHETIC, training_set
from medgan_widgets.studies.augmentation.classifier import (
    CLASSICAL_KINDS,
    Factory,
    SmallCNN,
    built,
    mark_of,
    predicted,
    trained,
)
from medgan_widgets.studies.augmentation.figures import figures
from medgan_widgets.studies.augmentation.outcome import StudyOutcome
from medgan_widgets.studies.augmentation.plan import (
    check_source,
    checked_lesson,
    checked_plan,
    is_number,
)
from medgan_widgets.studies.augmentation.reals import (
    checked_target,
    classes_of,
    drawn_reals,
    read_reals,
)
from medgan_widgets.studies.augmentation.synthetic import (
    OWN,
    Source,
    checked_own,
    own_generator,
    provenance,
    source_of,
    split_alone,
)

ROW = {"arm", "ratio", "seed", "n_train", "n_synthetic", "recall", "predicted"}


class AugmentationStudy:
    """Train classifiers with and without synthetic images, with controls, and judge them on reals.

    Iterate over it: each step is one training and one row. Nothing of the test
    side is ever learned from, by a classifier or by a generator trained here.
    Every arm but the reals alone has ``1 + ratio`` times as many images as there are
    reals, and each image is shown ``passes`` times, so these arms take the same
    number of steps.

    Parameters
    ----------
    data
        What `read_images` takes: a phantom's kind, a path, an array, a Dataset, or what it
        returns. Its held-back side judges.
    model
        A model of the catalogue that makes the synthetic images, asked for by class.
    train_generator
        Train one here instead, on the study's own training images.
    labels, group, size, read
        As for `read_images`; ``read`` holds its further arguments.
    target
        Which factor is to be told apart, where there are several.
    condition
        What else the model is asked for, e.g. ``{"contrast": "T2"}``.
    reals
        How many real images to learn from, drawn by class and seed 0; by default 200
        for phantoms, else all that train.
    ratios
        Synthetic images for each real one; several make a sweep.
    seeds
        How many trainings of each arm, or their seeds; 5 at least for a result.
    arms
        Some of ``ARMS``.
    classifier
        A function of (channels, classes, size) that returns a torch module from images
        [N, C, H, W], -1 … 1, to logits [N, classes].
    passes, batch, learning_rate, classical
        How every classifier is trained, see ``Lesson``.
    generator_kimg, generator_preset
        How long and how the generator is trained; the default is a sketch, not a model.
    folder
        Where rows (and the generator) are kept, to go on later; None for a temporary one.
    engine
        What makes the images.
    device
        ``"auto"``, ``"cpu"``, …

    Raises
    ------
    RequestError
        For an arm, ratio, seed or model that cannot be, and synthetic arms without a source.
    DataError
        For data without classes or without a test side, and a folder of another study.
    SaveError
        When the folder is a file, or cannot be written to.

    Examples
    --------
    >>> pixels = np.random.default_rng(0).integers(0, 255, (60, 32, 32), np.uint8)
    >>> study = AugmentationStudy(
    ...     pixels, labels=lambda index: index % 2, seeds=1, passes=1,
    ...     arms=("real", "real + duplicated real"),
    ... )
    >>> [row["n_train"] for row in study]
    [53, 106]
    """

    def __init__(
        self,
        data: Any,
        *,
        model: str | None = None,
        train_generator: bool = False,
        labels: Any = None,
        group: Any = None,
        size: int | None = None,
        read: Mapping[str, Any] | None = None,
        target: str | None = None,
        condition: Mapping[str, Value] | None = None,
        reals: int | None = None,
        ratios: Sequence[float] = (1.0,),
        seeds: int | Sequence[int] = 5,
        arms: Sequence[str] = ARMS,
        classifier: Factory = SmallCNN,
        passes: int = 10,
        batch: int = 16,
        learning_rate: float = 3e-3,
        classical: Sequence[str] = CLASSICAL_KINDS,
        generator_kimg: float = 6.0,
        generator_preset: str = "small-data",
        folder: str | Path | None = None,
        engine: Engine | None = None,
        device: str = "auto",
    ) -> None:
        if folder is not None and not isinstance(folder, (str, Path)):
            raise RequestError(f"folder must be a path or None, got {folder!r:.40}.")
        self.plan = checked_plan(arms, ratios, seeds)
        self._device = str(checked_device(device))
        self._lesson = checked_lesson(passes, batch, learning_rate, classical, self._device)
        self._classifier = classifier
        self._engine = engine
        needs = bool({MIXED, SYNTHETIC} & set(self.plan.arms))
        check_source(needs, model, train_generator)
        if reals is not None:
            reals = whole_number(reals, "reals", 4, 10**9)
        self.data = read_reals(data, labels, group, size, read, reals, model, engine)
        self.target = checked_target(self.data, target)
        self._rows = drawn_reals(self.data, self.target, reals)
        # Built once here, it says early what is wrong, and which one it is.
        self._network = mark_of(built(classifier, self.images[:2], len(self._values), seed=0))
        self._own: TrainingImages | None = None
        self._source: Source | None = None
        if needs and train_generator:
            self._own = split_alone(self.data, self._rows, self.target)
            checked_own(self._own)
            if not is_number(generator_kimg) or not generator_kimg > 0:
                raise RequestError(f"generator_kimg must be above 0, got {generator_kimg!r:.40}.")
            self._generator = (float(generator_kimg), preset_of(generator_preset)[0])
        elif needs:
            self._source = source_of(
                self._engine_of(None), str(model), self.data, self.target, condition
            )
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        self.folder = Path(folder or self._temporary.name).absolute()  # type: ignore[union-attr]
        self._check_folder()

    def __len__(self) -> int:
        """Return how many trainings there are in all."""
        return len(self.plan)

    def __repr__(self) -> str:
        done = len(self.rows)
        return f"AugmentationStudy({done} of {len(self)} trainings done, {len(self._rows)} reals)"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Train what is not trained yet, and yield one row for each."""
        for _ in self.prepare():
            pass
        done = {_key(row) for row in self.rows}
        for seed, arm, ratio in self.plan.trainings():
            if (seed, arm, ratio) not in done:
                row = self._trained(seed, arm, ratio)
                append_row(self.folder / "rows.jsonl", row)
                yield row

    def prepare(self) -> Iterator[Tick]:
        """Train the study's own generator tick by tick, if it has one that is not trained yet."""
        if self._own is None or self._source is not None:
            return
        kimg, preset = self._generator
        yield from own_generator(
            self.folder, self._own, kimg=kimg, preset=preset, seed=0, device=self._device
        )
        engine = self._engine_of(Catalogue(self.folder / "models"))
        self._source = source_of(engine, OWN, self._own, self.target)

    @property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """The rows so far, also those of an earlier sitting, in the order of the plan."""
        order = {key: place for place, key in enumerate(self.plan.trainings())}
        place, tested = self.folder / "rows.jsonl", len(self._truth)
        found = {}
        for row in rows_of(place):
            if not row.keys() >= ROW or len(row["predicted"]) != tested:
                raise DataError(f"{place} is damaged: a line is no row of this study; delete it.")
            found[_key(row)] = row
        return tuple(sorted((row for key, row in found.items() if key in order),
                            key=lambda row: order[_key(row)]))  # fmt: skip

    @property
    def outcome(self) -> StudyOutcome:
        """What is found so far: tables, differences, and a conclusion in words."""
        names = tuple(str(value) for value in self._values)
        every = self._groups
        numbers = {one: place for place, one in enumerate(dict.fromkeys(every))}
        return StudyOutcome(
            self.rows, tuple(int(one) for one in self._truth),
            tuple(numbers[one] for one in every), names, self.provenance, self._notes,
        )  # fmt: skip

    @property
    def provenance(self) -> str:
        """What the generator has seen, compared with the study's training images; or empty."""
        if self._source is not None:
            return provenance(self._source.card, self.data, len(self._rows))
        if self._own is not None:
            return "The generator will be trained here, on the study's training images alone."
        return ""

    @property
    def images(self) -> NDArray[np.uint8]:
        """The real images to learn from, uint8 [N, H, W, C]."""
        return self.data.images[self._rows]

    # ------------------------------------------------------------ one training

    def _trained(self, seed: int, arm: str, ratio: float) -> dict[str, Any]:
        make = partial(self._made, seed)
        learned = training_set(arm, ratio, self.images, self._learned, make, seed)
        network = trained(self._classifier, learned, len(self._values), self._lesson, seed)
        held_out = self.data.held_out
        assert held_out is not None
        said = predicted(network, held_out.images, self._lesson)
        return {
            "arm": arm,
            "ratio": ratio,
            "seed": seed,
            "n_train": len(learned.images),
            "n_real": learned.real,
            "n_synthetic": learned.synthetic,
            "n_test": len(said),
            **figures(self._truth, said, len(self._values)),
            "predicted": said.tolist(),
        }

    def _made(self, seed: int, classes: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return synthetic images of a seed; a longer list of classes begins like a shorter."""
        assert self._source is not None
        if self._pool is None or self._pool[0] != seed or len(self._pool[1]) < len(classes):
            self._pool = seed, self._source.make(classes, seed)
        return self._pool[1][: len(classes)]

    _pool: tuple[int, NDArray[np.uint8]] | None = None

    def _engine_of(self, catalogue: Catalogue | None) -> Engine:
        if catalogue is None and self._engine is not None:
            return self._engine
        return Engine(device=self._device, catalogue=catalogue)

    # ------------------------------------------------------------ the data

    @property
    def _values(self) -> tuple[Value, ...]:
        return self.data.factors[self.target]

    @cached_property
    def _learned(self) -> NDArray[np.int64]:
        return classes_of(self.data, self.target)[self._rows]

    @cached_property
    def _truth(self) -> NDArray[np.int64]:
        assert self.data.held_out is not None
        return classes_of(self.data.held_out, self.target)

    @property
    def _groups(self) -> list[object]:
        """Return what each test image belongs to; alone where nobody said."""
        assert self.data.held_out is not None
        groups = self.data.held_out.groups
        return [place if one is None else one for place, one in enumerate(groups)]

    @property
    def _notes(self) -> tuple[str, ...]:
        found = [self.data.group_note] if self.data.group_note else []
        if across := self.data.near_duplicates.across:
            found.append(f"{across} pairs of images, one to learn from and one to judge by, are "
                         "almost the same: every arm looks better than it is.")  # fmt: skip
        if self._source is not None and self._source.card.size != self.data.images.shape[1:3]:
            sides = [self._source.card.size[0], self.data.images.shape[1]]
            found.append("Synthetic images were resized from {} to {} pixels.".format(*sides))
        return tuple(f"{one[0].upper()}{one[1:].rstrip('.')}." for one in found)

    # ------------------------------------------------------------ its folder

    def _check_folder(self) -> None:
        """Refuse to mix the rows of two studies."""
        mark = {
            "fingerprint": self.data.fingerprint,
            "target": self.target,
            "reals": len(self._rows),
            "classifier": self._network,
            "lesson": repr(self._lesson),
            "source": self._mark_of_source(),
        }
        if self.folder.exists() and not self.folder.is_dir():
            raise SaveError(
                f"{self.folder} is a file; a study needs a folder, so choose another place."
            )
        place = self.folder / "study.jsonl"
        known = next(rows_of(place), None)
        if known is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            append_row(place, mark)
        elif known != mark:
            other = [name for name in mark if known.get(name) != mark[name]]
            raise DataError(
                f"{self.folder} holds another study (its {', '.join(other)} differ); choose "
                "another folder, or give the same arguments to go on."
            )

    def _mark_of_source(self) -> list[Any]:
        if self._own is not None:
            return [OWN, *self._generator]
        if self._source is None:
            return []
        card = self._source.card
        condition = sorted(self._source.condition.items())
        return [card.id, card.weights.sha256 if card.weights else None, str(condition)]


def _key(row: Mapping[str, Any]) -> tuple[int, str, float]:
    return row["seed"], row["arm"], float(row["ratio"])
