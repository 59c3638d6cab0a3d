"""A plain PyTorch checkpoint becomes a model: names matched, sizes read off, every tensor checked.

The file is read without running any code in it. The images are those of the
generator in evaluation mode: batch norm uses what it learned, never the batch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medgan_widgets.cards import UNKNOWN, DataStatement, ModelCard
from medgan_widgets.errors import RequestError, WeightsError
from medgan_widgets.export.about import (
    NOT_FOR_DIAGNOSIS,
    About,
    card_facts,
    checked_about,
    checked_statement,
)
from medgan_widgets.export.known import file_sha256
from medgan_widgets.export.model_folder import free_place, write_model_folder
from medgan_widgets.export.settings_guess import guessed_settings

Tensors = dict[str, Any]  # name -> torch.Tensor; torch itself stays out of this file

# Where a training program may keep the generator; the averaged one makes better images.
PLACES = (
    "G_ema", "g_ema", "generator_ema", "netG_ema", "ema", "generator", "netG", "G",
    "generator_state_dict", "netG_state_dict", "state_dict", "model_state_dict", "model",
)  # fmt: skip
_SEQUENCE = re.compile(r"[A-Za-z_]\w*\.(\d+\.(?:weight|bias|running_mean|running_var))")
_COUNTER = "num_batches_tracked"


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
        Where the generator is in the file, e.g. ``"netG"`` or ``"nets.G"``; by default it is
        looked for under the usual names.
    condition
        Factors and their values, for a network with classes, in the order of its one-hot input.
    title, modality, organ, region, makes, licence, statement, models, limits, overwrite
        As for :func:`~medgan_widgets.export.make_model`.

    Raises
    ------
    WeightsError
        When the file carries code, is damaged, is a discriminator, or does not fit.
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
    place, said = free_place(models, model_id, overwrite), checked_statement(statement)
    about = checked_about(About(title, modality, organ, region, makes), factors)
    tensors = _renamed(_generator_in(read_pytorch(path), key, path.name), network)
    _refuse_discriminator(tensors, network, path.name)
    chosen = dict(settings) if settings is not None else guessed_settings(tensors, network)
    generator = generator_of(tensors, network, chosen, path.name)
    _check_classes(generator.classes, factors)
    facts = {
        **card_facts(model_id, about, network, chosen, generator, factors),
        "licence": licence or None,
        "dataset": None if said.source == UNKNOWN else said.source,
        "statement": said,
        "training": {"imported_from": path.name, "imported_sha256": file_sha256(path)},
        "limits": " ".join(filter(None, [limits, NOT_FOR_DIAGNOSIS])),
    }
    return write_model_folder(place, facts, generator, half=fits_half(generator))


def _generator_in(content: Any, key: str | None, file: str) -> Tensors:
    """Return the tensors of the generator, by the names they were saved with."""
    if key is not None:
        for part in key.split("."):
            if not isinstance(content, Mapping) or part not in content:
                have = (
                    ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else ""
                )
                raise WeightsError(f"{file} has nothing under {key!r}; there is: {have or 'none'}.")
            content = content[part]
    else:
        content = _found(content)
    if not _is_state(content):
        have = ", ".join(map(str, list(content)[:8])) if isinstance(content, Mapping) else ""
        kind = f"a dictionary of {have}" if have else f"a {type(content).__name__}"
        raise WeightsError(
            f"{file} holds no tensors by name where they are looked for, but {kind}; "
            "say where the generator is with key=."
        )
    return _without_prefix(dict(content), "module.")  # of nn.DataParallel


def _found(content: Any) -> Any:
    for _ in range(3):  # {"model": {"G_ema": {...}}}
        if not isinstance(content, Mapping) or _is_state(content):
            break
        name = next((name for name in PLACES if isinstance(content.get(name), Mapping)), None)
        if name is None:
            break
        content = content[name]
    if _is_state(content):
        content = _without_prefix(dict(content), "module.")
        for name in PLACES:  # one dictionary for both networks, told apart by their first name
            part = {k[len(name) + 1 :]: v for k, v in content.items() if k.startswith(f"{name}.")}
            if part and name not in ("model", "G"):
                return part
    return content


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(k, str) and hasattr(v, "shape") for k, v in content.items())
    )


def _without_prefix(tensors: Tensors, prefix: str) -> Tensors:
    while all(name.startswith(prefix) for name in tensors):
        tensors = {name[len(prefix) :]: tensor for name, tensor in tensors.items()}
    return tensors


def _renamed(tensors: Tensors, network: str) -> Tensors:
    """Return the tensors by our names: the tutorial's ``main.0.weight`` is ``layers.0.weight``."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(_COUNTER)}
    if network != "dcgan":
        return kept
    found = {name: _SEQUENCE.fullmatch(name) for name in kept}
    if not all(found.values()):
        return kept
    return {f"layers.{match[1]}": kept[name] for name, match in found.items() if match}


def _refuse_discriminator(tensors: Tensors, network: str, file: str) -> None:
    from medgan_widgets.checkpoints import discriminator_names

    first = tensors.get("layers.0.weight")
    others = discriminator_names(network)
    if network == "dcgan" and first is not None and first.ndim == 4:
        layers = [name for name in tensors if name.startswith("layers.")]
        last = [name for name in layers if name.endswith(".weight")][-1]
        numbers = {name.split(".")[1] for name in layers}
        # A generator begins with a norm after its first layer, a discriminator does not.
        if tensors[last].shape[0] == 1 and "2" in numbers and "1" not in numbers:
            others.append(set(tensors))
    if set(tensors) in others:
        raise WeightsError(
            f"{file} holds a discriminator, which makes no images; name the generator's file, or "
            "where it is in this one with key=."
        )


def _check_classes(classes: int, factors: Mapping[str, Sequence[Any]]) -> None:
    named = sum(len(values) for values in factors.values())
    if named != classes:
        raise RequestError(
            f"the network has {classes} classes and condition names {named}; give factors and "
            'their values in the order of its one-hot input, e.g. condition={"grade": (0, 1)}.'
        )
