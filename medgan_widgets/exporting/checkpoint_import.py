"""A plain PyTorch checkpoint becomes a model: names matched, sizes read off, every tensor checked.

The file is read without running any code in it. The images are those of the
generator in evaluation mode: batch norm uses what it learned, never the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medgan_widgets.cards import UNKNOWN, DataStatement, ModelCard
from medgan_widgets.errors import RequestError, WeightsError
from medgan_widgets.exporting.about import NOT_FOR_DIAGNOSIS, card_facts, check_model
from medgan_widgets.exporting.model_folder import write_model_folder
from medgan_widgets.exporting.settings_guess import fits, guessed_settings, not_those_of
from medgan_widgets.files import file_sha256

Tensors = dict[str, Any]  # name -> torch.Tensor; torch itself stays out of this file

COUNTER = "num_batches_tracked"  # of training steps; nothing reads it
_COMPUTES = {
    "dcgan": "batch norm (eps 1e-5) and ReLU after each layer, tanh after the last",
    "residual": "the layers of this package's residual network",
    "stylegan2": "the layers of this package's style-based network",
}


def import_checkpoint(
    path: str | Path,
    model_id: str,
    *,
    network: str,
    settings: Mapping[str, int] | None = None,
    key: str | None = None,
    condition: Mapping[str, Sequence[str | int | bool]] | None = None,
    title: str | None = None,
    modality: str | None = None,
    organ: str | None = None,
    region: str | None = None,
    makes: str | None = None,
    licence: str | None = None,
    statement: DataStatement | Mapping[str, str] | None = None,
    models: str | Path = "models",
    limits: str = "",
    overwrite: bool = False,
) -> ModelCard:
    """Make a model of a generator that another program saved with ``torch.save``.

    The weights are kept to the last bit: fp32, or fp16 where that loses nothing.

    Parameters
    ----------
    path
        A file of tensors (``.pt``, ``.pth``, ``.safetensors``), or of a dictionary with them.
    model_id
        The model's name: letters, digits, ``.``, ``_``, ``-``.
    network
        Which architecture it is: ``"dcgan"`` (PyTorch's tutorial), ``"residual"`` or
        ``"stylegan2"`` of this package.
    settings
        The network's arguments; by default they are read off the shapes.
    key
        Where the generator is in the file, e.g. ``"netG"`` or ``"nets.G"``: a key, or how
        its tensors' names begin. By default it is where one generator fits; of several that
        fit, none is taken unasked.
    condition
        Factors and their values, for a network with classes, in the order of its one-hot input.
    title, modality, organ, region, makes, licence, statement, models, limits, overwrite
        As for :func:`~medgan_widgets.exporting.make_model`.

    Raises
    ------
    WeightsError
        When the file carries code, is damaged, is no checkpoint or a discriminator, does not
        fit, or holds several generators that do.
    RequestError
        When a fact is missing, or the name is taken.
    SaveError
        When it cannot be written; nothing half written is left.

    Examples
    --------
    >>> import_checkpoint("none.pth", "mine", network="dcgan", modality="MR", organ="knee",
    ...                   region="sagittal slice")
    Traceback (most recent call last):
    ...
    medgan_widgets.errors.WeightsError: none.pth is not a file; name the checkpoint itself.
    """
    from medgan_widgets.checkpoints import fits_half, generator_of, read_pytorch

    path, factors = Path(path).expanduser(), dict(condition or {})
    place, about, said = check_model(
        model_id, factors=factors, title=title, modality=modality, organ=organ, region=region,
        makes=makes, licence=licence, statement=statement, models=models, limits=limits,
        overwrite=overwrite,
    )  # fmt: skip
    content = read_pytorch(path)
    part, tensors, chosen = _generator_in(content, key, network, settings, path.name)
    own, begins = "layers." if network == "dcgan" else "", f"{part}." if part else ""
    generator = generator_of(
        tensors, network, chosen, path.name, lambda name: begins + name.removeprefix(own)
    )
    _check_classes(generator.classes, factors)
    assumed = _assumed(network, part, [name for name, _ in _flat(content)])
    facts = {
        **card_facts(model_id, about, network, chosen, generator, factors),
        "licence": licence or None,
        "dataset": None if said.source == UNKNOWN else said.source,
        "statement": said,
        "training": {"imported_sha256": file_sha256(path)},
        "limits": " ".join(filter(None, [limits, assumed, NOT_FOR_DIAGNOSIS])),
    }
    return write_model_folder(place, facts, generator, half=fits_half(generator))


def _generator_in(
    content: Any, key: str | None, network: str, settings: Mapping[str, int] | None, file: str
) -> tuple[str, Tensors, dict[str, int]]:
    """Return where in a file the one generator is that fits, its tensors by our names, settings."""
    from medgan_widgets.checkpoints import build_generator, discriminator_names

    tensors = dict(_flat(content)) if isinstance(content, Mapping) else {}
    if not tensors:
        have = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else ""
        kind = f"a dictionary of {have}" if have else f"a {type(content).__name__}"
        raise WeightsError(f"{file} holds no tensors by name, but {kind}.")
    parts = _parts(tensors)
    if key is not None:
        have = ", ".join([name for name in parts if name][:8]) or "one part without a name"
        parts = {name: part for name, part in parts.items() if f"{name}.".startswith(f"{key}.")}
        if not parts:
            raise WeightsError(f"{file} has nothing under {key!r}; there is: {have}.")
    firsts = _firsts(build_generator(network, {}).state_dict())
    alike = {
        name: ours for name, part in parts.items() if (ours := _as_ours(part, network, firsts))
    }
    tried = {name: _fitting(part, network, settings) for name, part in alike.items()}
    fitting = {name: chosen for name, chosen in tried.items() if chosen}
    if len(fitting) > 1:
        raise WeightsError(
            f"{file} holds {len(fitting)} generators that fit: {', '.join(fitting)}; say which "
            f"with key=, such as key={next(iter(fitting))!r} (averaged weights, often called "
            "ema, make the better images)."
        )
    others = discriminator_names(network) if not fitting else []
    apart = [name for name, part in alike.items() if not _is_discriminator(part, others)]
    if not fitting and not apart:
        if any(_is_discriminator(part, others) for part in (*alike.values(), *parts.values())):
            raise WeightsError(
                f"{file} holds a discriminator, which makes no images; name the generator's file, "
                "or where it is in this one with key=."
            )
        raise not_those_of(network, tensors)
    name = next(iter(fitting or apart))
    chosen = fitting.get(name) or settings or guessed_settings(alike[name], network)
    return name, alike[name], dict(chosen)  # where none fits, the first is told why


def _flat(content: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif hasattr(value, "shape") and not str(name).endswith(COUNTER):
            yield f"{above}{name}", value


def _parts(tensors: Tensors) -> dict[str, Tensors]:
    """Return what lies under each beginning of the names, the whole under ''."""
    parts: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        steps = name.split(".")
        for depth in range(len(steps)):
            part = parts.setdefault(".".join(steps[:depth]), {})
            part[".".join(steps[depth:])] = tensor
    return parts


def _firsts(names: Iterable[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def _as_ours(part: Tensors, network: str, firsts: set[str]) -> Tensors | None:
    """Return a part by our names, or None where they are not at all those of the network."""
    if network != "dcgan":
        return part if firsts <= _firsts(part) else None
    # An nn.Sequential, whatever it is called; of matrices alone it is none of convolutions.
    deep = any(len(tensor.shape) == 4 for tensor in part.values())
    if not deep or not all(first.isdecimal() for first in _firsts(part)):
        return None
    return {f"layers.{name}": tensor for name, tensor in part.items()}


def _fitting(
    part: Tensors, network: str, settings: Mapping[str, int] | None
) -> dict[str, int] | None:
    """Return the settings under which a network has these tensors, or None."""
    try:
        chosen = dict(settings or guessed_settings(part, network))
    except WeightsError:
        return None
    return chosen if fits(chosen, part, network) else None


def _is_discriminator(part: Tensors, known: Sequence[set[str]]) -> bool:
    numbers = {name.split(".")[1] for name in part if name.startswith("layers.")}
    last = [tensor for name, tensor in part.items() if name.endswith(".weight")][-1:]
    # A generator begins with a norm after its first layer, the tutorial's discriminator does not.
    tutorial = bool(last) and last[0].shape[0] == 1 and "2" in numbers and "1" not in numbers
    return tutorial or set(part) in known


def _assumed(network: str, part: str, tensors: Iterable[str]) -> str:
    """Say what no file of weights tells, and what else was in it."""
    depth = part.count(".") + 1
    names = dict.fromkeys(".".join(name.split(".")[:depth]) for name in tensors)
    others = [name for name in names if part and name != part]
    left = f" Taken was {part} of the file, not {', '.join(others[:8])}." if others else ""
    return (
        "Imported: a file of weights does not say how its network computes. Assumed are "
        f"{_COMPUTES[network]}, latents of a standard normal distribution, and an output from "
        f"-1 (black) to 1 (white); built otherwise, it would make other images.{left}"
    )


def _check_classes(classes: int, factors: Mapping[str, Sequence[Any]]) -> None:
    named = sum(len(values) for values in factors.values())
    if named != classes:
        raise RequestError(
            f"the network has {classes} classes and condition names {named}; give factors and "
            'their values in the order of its one-hot input, e.g. condition={"grade": (0, 1)}.'
        )
