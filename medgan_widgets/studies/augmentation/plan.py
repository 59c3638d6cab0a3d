"""What a study trains, checked before anything is: arms, ratios, seeds, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from medgan_widgets.errors import RequestError
from medgan_widgets.presets import AUGMENTATIONS
from medgan_widgets.seeds import whole_number
from medgan_widgets.studies.augmentation.arms import ARMS, REAL
from medgan_widgets.studies.augmentation.classifier import Lesson


@dataclass(frozen=True)
class Plan:
    """What is trained: arms, ratios and seeds, all checked."""

    arms: tuple[str, ...]
    ratios: tuple[float, ...]
    seeds: tuple[int, ...]

    def trainings(self) -> Iterator[tuple[int, str, float]]:
        """Yield (seed, arm, ratio): all of a seed before the next, the reals alone once."""
        for seed in self.seeds:
            for arm in self.arms:
                for ratio in (0.0,) if arm == REAL else self.ratios:
                    yield seed, arm, ratio

    def __len__(self) -> int:
        return sum(1 for _ in self.trainings())


def checked_plan(arms: Sequence[str], ratios: Sequence[float], seeds: int | Sequence[int]) -> Plan:
    """Return what is trained, or a RequestError that says what cannot be."""
    named = _listed(arms) or []
    if not named or any(one not in ARMS for one in named):
        raise RequestError(f"arms must be some of {', '.join(map(repr, ARMS))}; got {arms!r}.")
    given: list[Any] = [ratios] if is_number(ratios) else _listed(ratios) or []
    good = [one for one in given if is_number(one)]
    if not given or len(good) < len(given) or not all(0 < one <= 100 for one in good):
        raise RequestError(f"ratios must be numbers above 0, at most 100; got {ratios!r}.")
    # One number says how many, and what is neither a number nor several is told as one.
    several = _listed(seeds)
    many = range(whole_number(seeds, "seeds", 1, 1000)) if several is None else several
    drawn = tuple(dict.fromkeys(whole_number(one, "seed", 0, 2**31 - 1) for one in many))
    if not drawn:
        raise RequestError("seeds is empty: at least one training of each arm is needed.")
    chosen = tuple(one for one in ARMS if one in named)
    return Plan(chosen, tuple(sorted({float(one) for one in good})), drawn)


def checked_lesson(
    passes: int, batch: int, learning_rate: float, classical: Sequence[str], device: str
) -> Lesson:
    """Return how every classifier is trained, or a RequestError that says what cannot be."""
    kinds = _listed(classical)
    if kinds is None or any(one not in AUGMENTATIONS for one in kinds):
        have = ", ".join(AUGMENTATIONS)
        raise RequestError(f"classical augmentations are {have}; got {classical!r}.")
    if not is_number(learning_rate) or not 0 < learning_rate < 10:
        raise RequestError(f"learning_rate must be above 0 and below 10, got {learning_rate!r}.")
    return Lesson(
        whole_number(passes, "passes", 1, 100_000), whole_number(batch, "batch", 2, 4096),
        float(learning_rate), tuple(kinds), device,
    )  # fmt: skip


def is_number(value: object) -> bool:
    """Return whether a value is a number, also one of numpy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _listed(given: object) -> list[Any] | None:
    """Return several as a list, or None where it is text or no series at all."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else None


def check_source(needs: bool, model: str | None, train_generator: bool) -> None:
    """Refuse synthetic images from nowhere, or from two places."""
    if needs and model is None and not train_generator:
        raise RequestError(
            "synthetic images need a source: give model= (a model of the catalogue) or "
            "train_generator=True, or leave the arms with synthetic images out."
        )
    if model is not None and train_generator:
        raise RequestError("give model= or train_generator=True, not both.")
