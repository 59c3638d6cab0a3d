"""The arguments a generator was built with, read off the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medgan_widgets.errors import WeightsError

Shapes = dict[str, tuple[int, ...]]


def guessed_settings(tensors: Mapping[str, Any], network: str) -> dict[str, int]:
    """Return size, channels, z_dim, classes and width; whether they fit is checked later.

    Raises a WeightsError for names that are not those of such a network.
    """
    shapes = {name: tuple(one.shape) for name, one in tensors.items()}
    try:
        return _READ_OFF[network](shapes)
    except (KeyError, IndexError, ValueError):
        raise not_those_of(network, tensors) from None


def not_those_of(network: str, tensors: Mapping[str, Any]) -> WeightsError:
    """Return the error for tensors that no such network has, to be raised."""
    names = ", ".join(sorted(tensors)[:4])
    return WeightsError(
        f"these tensors are not those of a {network} generator: there are {len(tensors)}, "
        f"such as {names}; choose another network=, or say where the generator is with key=."
    )


def _dcgan(shapes: Shapes) -> dict[str, int]:
    numbers = sorted(int(n.split(".")[1]) for n, shape in shapes.items() if len(shape) == 4)
    first, last = shapes[f"layers.{numbers[0]}.weight"], shapes[f"layers.{numbers[-1]}.weight"]
    return {
        "size": 2 ** (len(numbers) + 1),
        "channels": last[1],
        "z_dim": first[0],
        "width": last[0],
    }


def _residual(shapes: Shapes) -> dict[str, int]:
    z_dim = shapes["mapping.0.weight"][1]
    stages = {name.split(".")[1] for name in shapes if name.startswith("stages.")}
    return {
        "size": 2 ** (len(stages) + 1),
        "channels": shapes["last.weight"][0] // 4,
        "z_dim": z_dim,
        "classes": shapes["start.weight"][1] - z_dim,
        "width": shapes["last.weight"][1],
    }


def _stylegan2(shapes: Shapes) -> dict[str, int]:
    z_dim = shapes["mapping.0.weight"][1]
    resolutions = {name.split(".")[1] for name in shapes if name.startswith("images.")}
    last = shapes[f"images.{len(resolutions) - 1}.conv.weight"]
    return {
        "size": 2 ** (len(resolutions) + 2),
        "channels": last[0] // 4,
        "z_dim": z_dim,
        "classes": shapes["convolutions.0.style.weight"][1] - z_dim,
        "width": last[1],
    }


def fits(settings: Mapping[str, int], tensors: Mapping[str, Any], network: str) -> bool:
    """Return whether a network of these settings has tensors of these names and shapes."""
    from medgan_widgets.checkpoints import COUNTER, build_generator

    try:
        built = build_generator(network, dict(settings)).state_dict()
    except WeightsError:
        return False
    made = {name: tuple(one.shape) for name, one in built.items() if not name.endswith(COUNTER)}
    return made == {name: tuple(one.shape) for name, one in tensors.items()}


_READ_OFF: dict[str, Callable[[Shapes], dict[str, int]]] = {
    "dcgan": _dcgan,
    "residual": _residual,
    "stylegan2": _stylegan2,
}
