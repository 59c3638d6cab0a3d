"""``AugmentationStudy``: one row a training, so that it can be watched, cancelled and resumed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Real
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
from medgan_widgets.presets import AUGMENTATIONS, preset_of
from medgan_widgets.runs import Tick
from medgan_widgets.seeds import Value, whole_number
from medgan_widgets.studies.augmentation.arms import ARMS, MIXED, REAL, SYNTHETIC, training_set
from medgan_widgets.studies.augmentation.classifier import (
    CLASSICAL_KINDS,
    ClassifierFactory,
    ClassifierTraining,
    SmallCNN,
    classifier_digest,
    new_classifier,
    predicted,
    trained,
)
from medgan_widgets.studies.augmentation.outcome import StudyOutcome, row_metrics
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
        How every classifier is trained, see ``ClassifierTraining``.
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
        classifier: ClassifierFactory = SmallCNN,
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
        self.arms = _checked_arms(arms)
        self.ratios = _checked_ratios(ratios)
        self.seeds = _checked_seeds(seeds)
        self._device = str(checked_device(device))
        self._training = _checked_training(passes, batch, learning_rate, classical, self._device)
        self._classifier = classifier
        self._engine = engine
        synthetic = bool({MIXED, SYNTHETIC} & set(self.arms))
        if synthetic and model is None and not train_generator:
            raise RequestError(
                "synthetic images need a source: give model= (a model of the catalogue) or "
                "train_generator=True, or leave the arms with synthetic images out."
            )
        if model is not None and train_generator:
            raise RequestError("give model= or train_generator=True, not both.")
        if reals is not None:
            reals = whole_number(reals, "reals", 4, 10**9)
        self.data = read_reals(data, labels, group, size, read, reals, model, engine)
        self.target = checked_target(self.data, target)
        self._rows = drawn_reals(self.data, self.target, reals)
        # Built once here, it says early what is wrong, and which one it is.
        first = new_classifier(classifier, self.images[:2], len(self._values), seed=0)
        self._digest = classifier_digest(first)
        self._own: TrainingImages | None = None
        self._source: Source | None = None
        self._synthetic: tuple[int, NDArray[np.uint8]] | None = None  # the seed's, made so far
        if synthetic and train_generator:
            self._own = split_alone(self.data, self._rows, self.target)
            checked_own(self._own)
            if not _is_number(generator_kimg) or not generator_kimg > 0:
                raise RequestError(f"generator_kimg must be above 0, got {generator_kimg!r:.40}.")
            self._generator = (float(generator_kimg), preset_of(generator_preset)[0])
        elif synthetic:
            engine = self._engine or Engine(device=self._device)
            self._source = source_of(engine, str(model), self.data, self.target, condition)
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        self.folder = Path(folder or self._temporary.name).absolute()  # type: ignore[union-attr]
        self._check_folder()

    def __len__(self) -> int:
        """Return how many trainings there are in all."""
        return len(self._trainings)

    def __repr__(self) -> str:
        done = len(self.rows)
        return f"AugmentationStudy({done} of {len(self)} trainings done, {len(self._rows)} reals)"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Train what is not trained yet, and yield one row for each."""
        for _ in self.prepare():
            pass
        done = {_key(row) for row in self.rows}
        for seed, arm, ratio in self._trainings:
            if (seed, arm, ratio) not in done:
                row = self._train(seed, arm, ratio)
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
        engine = Engine(device=self._device, catalogue=Catalogue(self.folder / "models"))
        self._source = source_of(engine, OWN, self._own, self.target)

    @property
    def plan(self) -> AugmentationStudy:
        """The study itself, for ``study.plan.arms`` of 0.4.0: its arms, ratios and seeds."""
        return self

    @property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """The rows so far, also those of an earlier sitting, in the order of the plan."""
        path, tested = self.folder / "rows.jsonl", len(self._truth)
        rows = {}
        for row in rows_of(path):
            if not row.keys() >= ROW or len(row["predicted"]) != tested:
                raise DataError(f"{path} is damaged: a line is no row of this study; delete it.")
            rows[_key(row)] = row
        return tuple(rows[key] for key in self._trainings if key in rows)

    @property
    def outcome(self) -> StudyOutcome:
        """What is found so far: tables, differences, and a conclusion in words."""
        groups = self._held_out.groups
        # An image of which nobody knows the patient is a group of its own.
        named = [index if group is None else group for index, group in enumerate(groups)]
        numbers = {group: number for number, group in enumerate(dict.fromkeys(named))}
        return StudyOutcome(
            self.rows,
            tuple(int(value) for value in self._truth),
            tuple(numbers[group] for group in named),
            tuple(str(value) for value in self._values),
            self.provenance,
            self._notes,
        )

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

    @cached_property
    def _trainings(self) -> tuple[tuple[int, str, float], ...]:
        """Return (seed, arm, ratio): all of a seed before the next, the reals alone once."""
        return tuple(
            (seed, arm, ratio)
            for seed in self.seeds
            for arm in self.arms
            for ratio in ((0.0,) if arm == REAL else self.ratios)
        )

    def _train(self, seed: int, arm: str, ratio: float) -> dict[str, Any]:
        def synthetic(classes: NDArray[np.int64]) -> NDArray[np.uint8]:
            # The arms of a seed share its images: a longer list begins like a shorter.
            kept = self._synthetic
            if kept is None or kept[0] != seed or len(kept[1]) < len(classes):
                assert self._source is not None
                self._synthetic = kept = seed, self._source.make(classes, seed)
            return kept[1][: len(classes)]

        learned = training_set(
            arm, ratio, self.images, classes_of(self.data, self.target)[self._rows], synthetic, seed
        )
        network = trained(self._classifier, learned, len(self._values), self._training, seed)
        answers = predicted(network, self._held_out.images, self._training)
        return {
            "arm": arm,
            "ratio": ratio,
            "seed": seed,
            "n_train": len(learned.images),
            "n_real": learned.real,
            "n_synthetic": learned.synthetic,
            "n_test": len(answers),
            **row_metrics(self._truth, answers, len(self._values)),
            "predicted": answers.tolist(),
        }

    @property
    def _values(self) -> tuple[Value, ...]:
        return self.data.factors[self.target]

    @cached_property
    def _held_out(self) -> TrainingImages:
        assert self.data.held_out is not None  # read_reals saw to it
        return self.data.held_out

    @cached_property
    def _truth(self) -> NDArray[np.int64]:
        return classes_of(self._held_out, self.target)

    @property
    def _notes(self) -> tuple[str, ...]:
        notes = [self.data.group_note] if self.data.group_note else []
        if across := self.data.near_duplicates.across:
            notes.append(f"{across} pairs of images, one to learn from and one to judge by, are "
                         "almost the same: every arm looks better than it is.")  # fmt: skip
        if self._source is not None and self._source.card.size != self.data.images.shape[1:3]:
            made, shown = self._source.card.size[0], self.data.images.shape[1]
            notes.append(f"Synthetic images were resized from {made} to {shown} pixels.")
        return tuple(f"{note[0].upper()}{note[1:].rstrip('.')}." for note in notes)

    def _check_folder(self) -> None:
        """Refuse to mix the rows of two studies."""
        source: list[Any] = []
        if self._own is not None:
            source = [OWN, *self._generator]
        elif self._source is not None:
            card = self._source.card
            condition = sorted(self._source.condition.items())
            source = [card.id, card.weights.sha256 if card.weights else None, str(condition)]
        identity = {
            "fingerprint": self.data.fingerprint,
            "target": self.target,
            "reals": len(self._rows),
            "classifier": self._digest,
            "lesson": repr(self._training),
            "source": source,
        }
        if self.folder.exists() and not self.folder.is_dir():
            raise SaveError(
                f"{self.folder} is a file; a study needs a folder, so choose another place."
            )
        path = self.folder / "study.jsonl"
        existing = next(rows_of(path), None)
        if existing is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            append_row(path, identity)
        elif existing != identity:
            differ = [name for name in identity if existing.get(name) != identity[name]]
            raise DataError(
                f"{self.folder} holds another study (its {', '.join(differ)} differ); choose "
                "another folder, or give the same arguments to go on."
            )


def _key(row: Mapping[str, Any]) -> tuple[int, str, float]:
    return row["seed"], row["arm"], float(row["ratio"])


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _checked_arms(arms: Any) -> tuple[str, ...]:
    if not isinstance(arms, Iterable) or not set(arms) or not set(arms) <= set(ARMS):
        raise RequestError(f"arms must be some of {', '.join(map(repr, ARMS))}; got {arms!r}.")
    return tuple(arm for arm in ARMS if arm in set(arms))


def _checked_ratios(ratios: Any) -> tuple[float, ...]:
    several = [ratios] if _is_number(ratios) else ratios
    ok = isinstance(several, Iterable) and all(
        _is_number(one) and 0 < one <= 100 for one in several
    )
    if not ok or not len(several):
        raise RequestError(f"ratios must be numbers above 0, at most 100; got {ratios!r}.")
    return tuple(sorted({float(ratio) for ratio in several}))


def _checked_seeds(seeds: Any) -> tuple[int, ...]:
    several = seeds if isinstance(seeds, Iterable) else range(whole_number(seeds, "seeds", 1, 1000))
    checked = tuple(dict.fromkeys(whole_number(seed, "seed", 0, 2**31 - 1) for seed in several))
    if not checked:
        raise RequestError("seeds is empty: at least one training of each arm is needed.")
    return checked


def _checked_training(
    passes: int, batch: int, learning_rate: Any, classical: Any, device: str
) -> ClassifierTraining:
    if not isinstance(classical, Iterable) or not set(classical) <= set(AUGMENTATIONS):
        have = ", ".join(AUGMENTATIONS)
        raise RequestError(f"classical augmentations are {have}; got {classical!r}.")
    if not _is_number(learning_rate) or not 0 < learning_rate < 10:
        raise RequestError(f"learning_rate must be above 0 and below 10, got {learning_rate!r}.")
    return ClassifierTraining(
        whole_number(passes, "passes", 1, 100_000), whole_number(batch, "batch", 2, 4096),
        float(learning_rate), tuple(classical), device,
    )  # fmt: skip
