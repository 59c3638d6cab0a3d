"""What somebody should know of the images before leaning on the figures, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol

from medgan_widgets.features import CANONICAL, PHANTOM_CNN, extractor_name
from medgan_widgets.image_sources import ImageSource
from medgan_widgets.phantoms import LARGEST, SMALLEST

UNLIKE = 0.05  # share of images in other classes from which two mixes are told apart


class Counted(Protocol):
    """Images of one side, their sizes counted, and how many look like masks."""

    images: ImageSource
    name: str
    shapes: Counter[tuple[int, ...]]
    masks: int


def phantom_like(reals: ImageSource) -> bool:
    """Return whether reals are drawn phantoms, whose classes are as even as a request's."""
    return reals.prepared == "drawn" and reals.others is not None


def notes_on(fake: Counted, real: Counted, extractor: Any) -> Iterator[str]:
    """Yield what somebody should know before leaning on the figures."""
    ours, theirs = (side.shapes.most_common(1)[0][0] for side in (fake, real))
    if ours[:2] != theirs[:2]:
        yield (
            f"synthetic images are {ours[0]} x {ours[1]} pixels and real ones {theirs[0]} x "
            f"{theirs[1]} pixels: each is resized by the extractor, which alone moves a distance; "
            + (
                f"phantoms are square, {SMALLEST} to {LARGEST} pixels a side; give such images."
                if phantom_like(real.images)
                else "read the reals as the model's training did, with read={'size': …}."
            )
        )
    if ours[2] != theirs[2]:
        channels = [f"{count} channel{'s' * (count != 1)}" for count in (ours[2], theirs[2])]
        yield f"synthetic images have {channels[0]} and real ones {channels[1]}."
    yield from _on_preparation(fake.images, real.images)
    yield from _on_classes(fake.images, real.images)
    if extractor_name(extractor) == PHANTOM_CNN and not real.images.phantom:
        yield (
            f"{PHANTOM_CNN} was taught on phantoms and says nothing about other images; use "
            f"{CANONICAL}, or an extractor with weights of its own."
        )
    for side in (fake, real):
        if left := side.images.left_out:
            reasons = "; ".join(refused.reason.rstrip(".") for refused in left[:3])
            many = "1 file is" if len(left) == 1 else f"{len(left):,} files are"
            yield f"{many} left out of the {side.name} images: {reasons}."
        if len(side.shapes) > 1:
            yield f"{len(side.shapes)} sizes are mixed among the {side.name} images."
        if side.masks:
            yield (
                f"{side.masks} of {side.images.count} {side.name} images look like masks (two grey "
                "levels); a mask among images moves every figure."
            )


def _on_preparation(fake: ImageSource, real: ImageSource) -> Iterator[str]:
    """Yield how each side was prepared, where that differs or is not known."""
    alike = fake.preprocessing is not None and fake.preprocessing == real.preprocessing
    if not alike:
        yield from (*fake.pixel_notes, *real.pixel_notes)
        if fake.prepared.startswith("generated") and not fake.phantom and not real.phantom:
            yield (
                "how the model's own training images were prepared is not known; the real images "
                f"were read so: {real.prepared}. Another window or size alone moves every figure."
            )
        elif fake.prepared in ("pixel by pixel", "as given") and real.preprocessing is not None:
            yield (
                f"the synthetic images were taken {fake.prepared} and the real ones prepared so: "
                f"{real.prepared}. Where that differs it alone moves every figure; say by like= "
                "how both were prepared."
            )
        elif not (fake.preprocessing is None or real.phantom) and not real.prepared.startswith(
            "generated"
        ):
            yield (
                f"the synthetic images were prepared so: {fake.prepared}; and the real ones so: "
                f"{real.prepared}. That alone moves every figure."
            )
    # Nobody knows of an array whether it was JPEG once; a model's images never were.
    known = not fake.prepared.startswith(("generated", "drawn", "as given"))
    if (fake.jpeg and not real.jpeg) or (real.jpeg and not fake.jpeg and (known or not alike)):
        side = "synthetic" if fake.jpeg else "real"
        yield (
            f"the {side} images come from JPEG files and the others do not: its compression shows "
            "in texture and spectrum, and alone moves a distance."
        )


def _on_classes(fake: ImageSource, real: ImageSource) -> Iterator[str]:
    """Yield both mixes of classes where they differ."""
    reals = real.mix()
    for name, ours in fake.mix().items():
        theirs = reals.get(name, ours)
        values = {*ours, *theirs}
        if sum(abs(ours.get(v, 0) - theirs.get(v, 0)) for v in values) / 2 > UNLIKE:
            shares = [
                ", ".join(f"{value} {share:.0%}" for value, share in sorted(mix.items(), key=repr))
                for mix in (ours, theirs)
            ]
            yield (
                f"{name} is {shares[0]} among the synthetic images and {shares[1]} among the real "
                "ones: other shares of classes alone move every figure."
            )
