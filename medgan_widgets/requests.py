"""What is asked and what comes back: the recipe of images, a batch of them, a score."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import RequestError
from medgan_widgets.seeds import SEED_LIMIT, Value, whole_number


@dataclass(frozen=True)
class GenerateRequest:
    """The whole recipe of some synthetic images: the same request, the same pixels.

    Parameters
    ----------
    model_id
        A model of the catalogue.
    seeds
        One whole number of 0 … 2^64 - 1 an image, or one number for one image.
        A range stays a range, so ``range(10**9)`` costs nothing; repeats are
        allowed and give the same image twice.
    condition
        The card's factors mapped to values, e.g. ``{"contrast": "T2"}``. A
        factor left out is drawn for each image from its seed.
    truncation_psi
        0 … 1, for networks that have it; None elsewhere.
    mix
        For models with style layers: ``{"seed": 42, "layers": [0, 2]}`` takes the style of
        seed 42 in layers 0 (coarsest) to 2, ``{"seed": 42, "share": 0.5}`` goes half the
        way to it in all layers; both may be given. None elsewhere.
    inputs
        Paths of source images, for models that translate them: image n of the
        request is made from input n, and from the first again after the last.
    options
        A model's own arguments, as its card lists them.
    mode
        ``"exact"`` (bit-identical alone or in any batch) or ``"fast"``.

    Raises
    ------
    RequestError
        When a value could be right for no model at all.

    Examples
    --------
    >>> request = GenerateRequest("phantom-brain-mri", seeds=range(3), condition={"contrast": "T2"})
    >>> len(request.seeds)
    3
    """

    model_id: str
    seeds: Sequence[int] = field(kw_only=True)
    condition: Mapping[str, Value] = field(kw_only=True, default_factory=dict)
    truncation_psi: float | None = field(kw_only=True, default=None)
    mix: Mapping[str, Any] | None = field(kw_only=True, default=None)
    inputs: Sequence[str | Path] = field(kw_only=True, default=())
    options: Mapping[str, Any] = field(kw_only=True, default_factory=dict)
    mode: Literal["exact", "fast"] = field(kw_only=True, default="exact")

    def __post_init__(self) -> None:
        if not isinstance(self.model_id, str) or not self.model_id.strip():
            raise RequestError(f"model_id must be the name of a model, got {self.model_id!r}.")
        if self.mode not in ("exact", "fast"):
            raise RequestError(f"mode must be 'exact' or 'fast', got {self.mode!r}.")
        object.__setattr__(self, "seeds", _checked_seeds(self.seeds))
        if self.truncation_psi is not None:
            psi = _fraction(self.truncation_psi, "truncation_psi")
            object.__setattr__(self, "truncation_psi", psi)
        object.__setattr__(self, "mix", _checked_mix(self.mix))
        object.__setattr__(self, "inputs", _checked_inputs(self.inputs))
        for name in ("condition", "options"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise RequestError(f"{name} must map names to values, got {given!r}.")
            plain = {key: _plain(value) for key, value in given.items()}
            object.__setattr__(self, name, MappingProxyType(plain))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the plain fields: a request travels to other processes."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain.update(condition=dict(self.condition), options=dict(self.options))
        plain["mix"] = None if self.mix is None else dict(self.mix)
        return partial(GenerateRequest, **plain), ()

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values; a range of seeds stays three numbers."""
        seeds = self.seeds
        return {
            "model_id": self.model_id,
            "seeds": (
                {"start": seeds.start, "stop": seeds.stop, "step": seeds.step}
                if isinstance(seeds, range)
                else list(seeds)
            ),
            "condition": dict(self.condition),
            "truncation_psi": self.truncation_psi,
            **({} if self.mix is None else {"mix": dict(self.mix)}),
            "options": dict(self.options),
            "mode": self.mode,
        }


@dataclass(frozen=True)
class Batch:
    """What an engine yields: one row for each seed.

    Attributes
    ----------
    images
        uint8 or uint16, [N, H, W, C].
    seeds
        The seeds of the rows, in order.
    labels
        For each factor of the model, the N values the images were made with.
    masks, others
        Further outputs, [N, H, W], never mixed up with images.
    notes
        What one should know of all of its images, in a few words each, such as
        ``"not reproducible"``.
    seconds
        How long the device took, in seconds.
    """

    images: NDArray[Any]
    seeds: tuple[int, ...]
    labels: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    masks: NDArray[Any] | None = None
    others: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Score:
    """A quality figure with all that makes it comparable.

    Attributes
    ----------
    name
        The metric, e.g. ``"FD"`` or ``"FID"``.
    value
        The figure; None when it was not reported.
    n_real, n_fake
        How many images on each side; None when its source does not say.
    extractor
        What turned images into features; values of two extractors never compare.
    interval
        95 % interval, (low, high).
    floor
        The same metric, real images against other real images.
    floor_n
        How many real images stood on each side of the floor, where that is not
        the n of the value.
    warning
        Why the figure is not to be leaned on, e.g. too few images; empty where nothing
        speaks against it.
    value_at_floor_n
        The figure from so few images as the floor has, to be compared with it; None where
        the n are the same or do not move the metric.
    why
        The columns of features that differ most and by how much: synthetic minus real mean, in
        standard deviations. Only for distances of features with names.
    families
        Kind of column -> its share of all columns' squared differences.
    """

    name: str
    value: float | None
    n_real: int | None = None
    n_fake: int | None = None
    extractor: str | None = None
    interval: tuple[float, float] | None = None
    floor: float | None = None
    floor_n: int | None = None
    warning: str = ""
    value_at_floor_n: float | None = None
    why: tuple[tuple[str, float], ...] = ()
    families: Mapping[str, float] = field(default_factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the score as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """A score and what it was measured on: one row of a table, one point of a plot.

    Attributes
    ----------
    score
        The figure.
    of
        What was judged: a model's id, or the name of a folder.
    against
        What the reals are, in a few words.
    kimg, truncation_psi
        Where on a training or on the truncation axis it was measured; None elsewhere.

    Examples
    --------
    >>> score = Score("FD", 0.2, 100, 100, "phantom-cnn-1")
    >>> Measured(score, of="m", against="brain_mri").comparable
    ('FD', 'phantom-cnn-1', 'brain_mri')
    """

    score: Score
    of: str
    against: str
    kimg: float | None = None
    truncation_psi: float | None = None

    @property
    def comparable(self) -> tuple[str, str | None, str]:
        """What two figures must have in common to be compared: metric, extractor, reals."""
        return self.score.name, self.score.extractor, self.against


def _checked_seeds(seeds: object) -> range | tuple[int, ...]:
    if isinstance(seeds, range):
        if not seeds:
            raise RequestError("seeds is empty: ask for at least one image.")
        whole_number(min(seeds[0], seeds[-1]), "seed", 0, SEED_LIMIT - 1)
        whole_number(max(seeds[0], seeds[-1]), "seed", 0, SEED_LIMIT - 1)
        if (seeds[-1] - seeds[0]) // seeds.step >= sys.maxsize:
            raise RequestError(f"seeds holds more than {sys.maxsize} numbers; ask for fewer.")
        return seeds
    if isinstance(seeds, (str, bytes, float, Mapping)) or seeds is None:
        raise RequestError(f"seeds must be whole numbers, got {seeds!r}.")
    try:
        given: tuple[object, ...] = tuple(seeds)  # type: ignore[arg-type]
    except TypeError:
        given = (seeds,)
    if not given:
        raise RequestError("seeds is empty: ask for at least one image.")
    return tuple(whole_number(seed, "seed", 0, SEED_LIMIT - 1) for seed in given)


def _checked_inputs(inputs: object) -> tuple[str, ...]:
    given = [inputs] if isinstance(inputs, (str, Path)) else inputs
    if not isinstance(given, (list, tuple)) or not all(isinstance(p, (str, Path)) for p in given):
        raise RequestError(f"inputs must be paths of images, got {inputs!r:.80}.")
    return tuple(str(path) for path in given)


def _plain(value: Any) -> Any:
    """Return a numpy scalar as Python's own, so that ``np.True_`` is the class True."""
    return value.item() if isinstance(value, np.generic) else value


def _fraction(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        raise RequestError(f"{name} must be a number from 0 to 1, got {value!r:.60}.")
    try:
        number = float(value)
    except OverflowError:  # an int of hundreds of digits
        number = float("inf")
    if not 0.0 <= number <= 1.0:
        raise RequestError(f"{name} must be from 0 to 1, got {number:g}.")
    return number


def _checked_mix(mix: object) -> Mapping[str, Any] | None:
    if mix is None:
        return None
    if not isinstance(mix, Mapping) or "seed" not in mix or set(mix) - {"seed", "layers", "share"}:
        raise RequestError(
            "mix must be like {'seed': 42, 'layers': [0, 2]} or {'seed': 42, 'share': 0.5}, "
            f"got {mix!r:.80}."
        )
    seed = whole_number(mix["seed"], "the seed to mix with", 0, SEED_LIMIT - 1)
    known: dict[str, Any] = {
        "seed": seed,
        "share": _fraction(mix.get("share", 1.0), "share in mix"),
    }
    if mix.get("layers") is not None:
        given = mix["layers"]
        if not isinstance(given, (list, tuple)) or len(given) != 2:
            raise RequestError(f"mix needs layers as [first, last], got {given!r:.60}.")
        first = whole_number(given[0], "the first layer to mix", 0, 99)
        known["layers"] = (first, whole_number(given[1], "the last layer to mix", first, 99))
    return MappingProxyType(known)


def check_mix_fits(mix: Mapping[str, Any] | None, model_id: str, layers: int) -> None:
    """Refuse a mix for a model that has no style layers, or not that many."""
    if mix is None:
        return
    if not layers:
        raise RequestError(f"{model_id} has no style layers; leave mix out.")
    last = mix.get("layers", (0, 0))[1]
    if last >= layers:
        raise RequestError(f"{model_id} has style layers 0 to {layers - 1}, got {last} in mix.")
