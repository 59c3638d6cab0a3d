"""Alarms in plain words: what the ticks of a training say, each with its evidence and advice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from medgan_widgets.runs import Alarm, Tick

WINDOW = 3  # ticks that must agree
QUIET = 10  # ticks until the same alarm may be raised again

TO_LEARN = "check the images in the summary, a higher learning_rate, or a lower r1_gamma"

Finding = tuple[str, str, str, str]  # name, text, evidence, advice


class AlarmRules:
    """Looks at every tick and says what is wrong, each thing once in a while.

    The thresholds are this package's own: measured on phantoms that were made to go wrong.
    """

    def __init__(self) -> None:
        self.ticks: list[Tick] = []
        self._number = 0
        self._raised: dict[str, int] = {}
        self._best_diversity = 0.0
        self._first_score: float | None = None

    def alarms(self, tick: Tick) -> Iterator[Alarm]:
        """Yield what this tick and the ones before it give cause for."""
        self._number += 1
        self.ticks = [*self.ticks, tick][-20:]
        self._best_diversity = max(self._best_diversity, tick.diversity or 0.0)
        if self._first_score is None and tick.score is not None:
            self._first_score = float(tick.score["value"])
        for rule in (
            self._divergence, self._collapse, self._overfitting, self._distance, self._score,
            self._dead_classes, self._leaks,
        ):  # fmt: skip
            for name, text, evidence, advice in rule():
                last = self._raised.get(text)
                self._raised[text] = self._number
                if last is None or self._number - last > QUIET:
                    yield Alarm(name, tick.kimg, text, evidence, advice)

    def _divergence(self) -> Iterator[Finding]:
        losses = [max(abs(t.generator_loss), abs(t.discriminator_loss)) for t in self.ticks[-2:]]
        if len(losses) == 2 and min(losses) > 30:
            yield (
                "divergence",
                "The losses run away.",
                f"losses up to {max(losses):.0f} in two ticks, ordinary are below 10",
                "a lower learning_rate, a higher r1_gamma, or precision='fp32'",
            )

    def _collapse(self) -> Iterator[Finding]:
        latest, best = _last(self.ticks, "diversity"), self._best_diversity
        if latest and best >= 0.5 and max(latest) < min(0.35, 0.6 * best):
            yield (
                "mode collapse",
                "The synthetic images become alike.",
                f"their difference from each other fell from {best:.2f} to {latest[-1]:.2f} of the "
                "reals' own",
                "go back to an earlier checkpoint with a lower learning_rate, a higher r1_gamma, "
                "or a larger batch",
            )

    def _overfitting(self) -> Iterator[Finding]:
        signs, held = _last(self.ticks, "real_sign"), _last(self.ticks, "held_out")
        p = self.ticks[-1].augment_p
        # Adaptive augmentation itself holds the sign at its target; held-out reals tell there.
        least_held, least_sign = (0.5, 0.6) if p == 0 else (0.7, 0.3)
        if held and signs and min(held) > least_held and min(signs) > least_sign:
            yield (
                "discriminator overfitting",
                "The discriminator knows the training images by heart.",
                f"it takes held-out reals for synthetic by {held[-1]:.2f} (0 is as it should be, "
                f"1 is like synthetic ones), real_sign {signs[-1]:.2f}, augment_p {p:.2f}",
                "more images, the preset small-data (adaptive augmentation), or stop here and "
                "keep an earlier checkpoint",
            )

    def _distance(self) -> Iterator[Finding]:
        distances = [t.distance for t in self.ticks if t.distance is not None]
        latest = _last(self.ticks, "distance")
        if len(distances) >= 8 and latest and min(distances) > max(0.4, 0.8 * distances[0]):
            yield (
                "no learning",
                "The synthetic images do not come nearer to the reals.",
                f"the mean image is {latest[-1]:.2f} of the reals' spread away after "
                f"{self._number} ticks, {distances[0]:.2f} at first",
                TO_LEARN,
            )

    def _score(self) -> Iterator[Finding]:
        scores = [t.score for t in self.ticks if t.score is not None]
        values = [float(score["value"]) for score in scores]
        first = self._first_score
        if len(values) < 4 or not first or min(values[-4:]) <= 0.9 * first:
            return
        floor = scores[0].get("floor")
        if floor is None or values[-1] >= 5 * floor:  # else it is as good as it can be
            yield (
                "no learning",
                "The quality score does not fall.",
                f"{values[-1]:.3g} now, {first:.3g} at first",
                TO_LEARN,
            )

    def _dead_classes(self) -> Iterator[Finding]:
        latest = self.ticks[-1].class_diversity
        for name, value in latest.items() if len(self.ticks) >= WINDOW else ():
            factor = name.split("=")[0]
            best = max(v for other, v in latest.items() if other.split("=")[0] == factor)
            worst = max(tick.class_diversity.get(name, 1.0) for tick in self.ticks[-WINDOW:])
            if best > 0.4 and worst < 0.35 * best:
                yield (
                    "dead class",
                    f"The class {name} is dead: its images are all alike.",
                    f"difference {value:.2f} of its reals' own, the best class of {factor} "
                    f"{best:.2f}",
                    "more images of this class, or leave the class out of labels",
                )

    def _leaks(self) -> Iterator[Finding]:
        for kind in self.ticks[-1].leaks if len(self.ticks) >= WINDOW else ():
            shares = [tick.leaks.get(kind, 0.0) for tick in self.ticks[-WINDOW:]]
            if min(shares) > 0.1:
                yield (
                    "augmentation leak",
                    f"The augmentation {kind} leaks into the images.",
                    f"{shares[-1]:.0%} more synthetic than real images look changed that way, "
                    f"augment_p {self.ticks[-1].augment_p:.2f}",
                    f"leave {kind} out: anatomy has sides",
                )


def diverged(kimg: float, kept: float | None) -> Alarm:
    """Return the alarm that ends a training whose losses are no numbers any more."""
    back = "no checkpoint was written yet" if kept is None else f"the one of {kept:g} kimg is kept"
    return Alarm(
        "divergence",
        kimg,
        "The training diverged and was stopped.",
        f"a loss is not a number at {kimg:g} kimg; {back}",
        "resume with precision='fp32', or begin anew with a lower learning_rate or a higher "
        "r1_gamma",
        stops=True,
    )


def _last(ticks: Sequence[Tick], name: str) -> list[float]:
    """Return the last values of a figure, or nothing when there are too few."""
    values = [getattr(tick, name) for tick in ticks[-WINDOW:]]
    if len(values) < WINDOW or any(v is None or not math.isfinite(v) for v in values):
        return []
    return [float(value) for value in values]
