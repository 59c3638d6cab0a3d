"""A plain PyTorch checkpoint becomes a model: names matched, sizes read off, every tensor checked.

The file is read without running any code in it. The images are those of the
generator in evaluation mode: batch norm uses what it learned, never the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medgan_widgets.cards import UNKNOWN, DataStatement, ModelCard
from medgan_widgets.errors import RequestError, WeightsError
from medgan_widgets.exporting.about import NOT_FOR_DIAGNOSIS, card_facts, check_model
from medgan_widgets.exporting.model_folder import write_model_folder
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
        The network's arguments; those of ``"dcgan"`` are read off the shapes by default.
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
        When a fact or the network's arguments are missing, or the name is taken.
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
    folder, about, stated = check_model(
        model_id, factors=factors, title=title, modality=modality, organ=organ, region=region,
        makes=makes, licence=licence, statement=statement, models=models, limits=limits,
        overwrite=overwrite,
    )  # fmt: skip
    if network not in _COMPUTES:
        raise RequestError(f"network must be one of {', '.join(_COMPUTES)}; got {network!r}.")
    if network != "dcgan" and not settings:
        raise RequestError(
            f"settings must be the arguments of the {network} network, such as "
            '{"size": 64, "z_dim": 128, "width": 32}; they are not read off its weights.'
        )
    content = read_pytorch(path)
    tensors = dict(_tensors(content)) if isinstance(content, Mapping) else {}
    if not tensors:
        have = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else ""
        kind = f"a dictionary of {have}" if have else f"a {type(content).__name__}"
        raise WeightsError(f"{path.name} holds no tensors by name, but {kind}.")
    part, own, chosen = _generator_in(tensors, key, network, settings, path.name)
    ours, theirs = "layers." if network == "dcgan" else "", f"{part}." if part else ""
    generator = generator_of(
        own, network, chosen, path.name, lambda name: theirs + name.removeprefix(ours)
    )
    classes = sum(len(values) for values in factors.values())
    if classes != generator.classes:
        raise RequestError(
            f"the network has {generator.classes} classes and condition names {classes}; give "
            "factors and their values in the order of its one-hot input, e.g. "
            'condition={"grade": (0, 1)}.'
        )
    facts = {
        **card_facts(model_id, about, network, chosen, generator, factors),
        "licence": licence or None,
        "dataset": None if stated.source == UNKNOWN else stated.source,
        "statement": stated,
        "training": {"imported_sha256": file_sha256(path)},
        "limits": f"{limits} {_assumed(network, part, tensors)} {NOT_FOR_DIAGNOSIS}".strip(),
    }
    return write_model_folder(folder, facts, generator, half=fits_half(generator))


def _generator_in(
    tensors: Tensors, key: str | None, network: str, settings: Mapping[str, int] | None, file: str
) -> tuple[str, Tensors, dict[str, int]]:
    """Return where in a file the one generator is that fits, its tensors by our names, settings."""
    parts = _parts(tensors)
    if key is not None:
        have = ", ".join([name for name in parts if name][:8]) or "one part without a name"
        parts = {name: part for name, part in parts.items() if f"{name}.".startswith(f"{key}.")}
        if not parts:
            raise WeightsError(f"{file} has nothing under {key!r}; there is: {have}.")
    alike: dict[str, tuple[Tensors, dict[str, int]]] = {}
    fitting = []
    shapes = _shapes_of(network, settings) if settings else None
    for name, part in parts.items():
        ours = _as_sequential(part) if network == "dcgan" else part
        chosen = dict(settings or _dcgan_settings(ours))
        if not chosen:
            continue
        try:
            expected = shapes or _shapes_of(network, chosen)
        except WeightsError:  # a sequence of other layers
            continue
        if not expected.keys() & ours.keys():
            continue
        alike[name] = ours, chosen
        if expected == {name: tuple(tensor.shape) for name, tensor in ours.items()}:
            fitting.append(name)
    if len(fitting) > 1:
        raise WeightsError(
            f"{file} holds {len(fitting)} generators that fit: {', '.join(fitting)}; say which "
            f"with key=, such as key={fitting[0]!r} (averaged weights, often called "
            "ema, make the better images)."
        )
    if fitting:
        return fitting[0], *alike[fitting[0]]
    # Where none fits, the first is told why; unless it makes no images at all.
    for name, (ours, chosen) in alike.items():
        if not _is_discriminator(ours):
            return name, ours, chosen
    if alike:
        raise WeightsError(
            f"{file} holds a discriminator, which makes no images; name the generator's file, "
            "or where it is in this one with key=."
        )
    names = ", ".join(sorted(tensors)[:4])
    raise WeightsError(
        f"these tensors are not those of a {network} generator: there are {len(tensors)}, "
        f"such as {names}; choose another network=, or say where the generator is with key=."
    )


def _tensors(content: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _tensors(value, f"{above}{name}.")
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


def _as_sequential(part: Tensors) -> Tensors:
    """Return the tensors of an ``nn.Sequential`` of convolutions by our names, or none."""
    numbered = all(name.split(".")[0].isdecimal() for name in part)
    convolutions = any(len(tensor.shape) == 4 for tensor in part.values())
    return {f"layers.{k}": v for k, v in part.items()} if numbered and convolutions else {}


def _dcgan_settings(tensors: Tensors) -> dict[str, int]:
    """Return size, channels, z_dim and width off the shapes of two or more convolutions."""
    weights = {int(k.split(".")[1]): v.shape for k, v in tensors.items() if len(v.shape) == 4}
    if len(weights) < 2:
        return {}
    first, last = weights[min(weights)], weights[max(weights)]
    size = 2 ** (len(weights) + 1)
    return {"size": size, "channels": last[1], "z_dim": first[0], "width": last[0]}


def _shapes_of(network: str, settings: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    from medgan_widgets.checkpoints import build_generator

    state = build_generator(network, dict(settings)).state_dict()
    return {name: tuple(one.shape) for name, one in state.items() if not name.endswith(COUNTER)}


def _is_discriminator(part: Tensors) -> bool:
    """Return whether it is the tutorial's: it has no norm after its first layer, and one logit."""
    numbers = {name.split(".")[1] for name in part if name.startswith("layers.")}
    last = [tensor for name, tensor in part.items() if name.endswith(".weight")][-1:]
    return bool(last) and last[0].shape[0] == 1 and "2" in numbers and "1" not in numbers


def _assumed(network: str, part: str, tensors: Tensors) -> str:
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
