"""What stands before the first step: images read, everything checked, the run directory written."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import platform
import uuid
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from medgan_widgets.datasets import TrainingImages, read_images
from medgan_widgets.datasets.phantom import phantom_named
from medgan_widgets.datasets.split import write_split
from medgan_widgets.devices import backend, checked_device, name_of
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.files import write_json, write_whole
from medgan_widgets.networks import DISCRIMINATORS, GENERATORS
from medgan_widgets.phantoms import KINDS
from medgan_widgets.presets import Preset, TrainConfig
from medgan_widgets.runs import RunState, lock_run, register, run_config, start_run, write_state
from medgan_widgets.training.finetune import parent_of
from medgan_widgets.training.state import checkpoints

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "numpy", "pillow", "pydicom", "nibabel", "medgan-widgets")
F = TypeVar("F", bound=Callable[..., Any])


def with_settings(function: F) -> F:
    """Show the fields of TrainConfig in place of ``**settings`` to whoever asks for help."""
    own = inspect.signature(function)
    kept = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
    keyword = inspect.Parameter.KEYWORD_ONLY
    kept += [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=field.type)
        for field in fields(TrainConfig)
        if field.name not in own.parameters
    ]
    kept.sort(key=lambda one: one.kind)
    function.__signature__ = own.replace(parameters=kept)  # type: ignore[attr-defined]
    return function


@with_settings
def prepare_run(run_dir: str | Path, *, data: Any, **settings: Any) -> dict[str, Any]:
    """Check everything a training needs and write its run directory, without a step of it.

    ``start_process`` or ``train(run_dir, resume=True)`` begin it then.

    Parameters
    ----------
    data
        A path or a phantom's kind.
    settings
        Further fields of `TrainConfig`, as for `train`.

    Returns
    -------
    dict
        What ``config.json`` holds.

    Raises
    ------
    RequestError, DataError, SaveError
        As `train` does.
    """
    if not isinstance(data, (str, Path)):
        raise RequestError(
            "a training in a process of its own needs a path or a phantom's kind as data; "
            "step train(...) in the notebook for images that are in memory."
        )
    with lock_run(run_dir):
        return new_run(Path(run_dir), TrainConfig(data=data, **settings))[0]


def new_run(folder: Path, config: TrainConfig) -> tuple[dict[str, Any], TrainingImages]:
    """Check all of it, then write the directory of a new run; return its config and images."""
    name, preset = config.chosen_preset
    if config.kimg is None and config.cpu_seconds is None:
        raise RequestError("give kimg or cpu_seconds, else the training would never end.")
    stats = folder / "stats.jsonl"
    if (folder / "config.json").exists() and (
        checkpoints(folder) or (stats.exists() and stats.stat().st_size)
    ):
        raise RequestError(
            f"{folder} holds a run already; go on with resume=True, or choose another folder."
        )
    if config.data is None:
        raise RequestError("data is needed: a phantom's kind, a path, a Dataset or images.")

    # Images first: what the networks look like depends on them.
    config = replace(config, table=_absolute(config.table), split=_absolute(config.split))
    learned = read_data(config, cache=folder)
    check_enough(learned, preset.batch)
    network = network_settings(preset, learned)
    parent = None
    if config.start_from is not None:
        parent = parent_of(config.start_from, preset.network, network)
    device = checked_device(config.device)
    _build_once(preset, network)

    # Everything as it was resolved, so that a resume finds the same.
    content = {
        **{field.name: getattr(config, field.name) for field in fields(config)},
        "data": _data_name(config.data, learned),
        "preset": name,
        "size": network["size"],
        "pool": len(learned.training.images) if learned.source == "phantom" else config.pool,
        "split": None if config.split is None else str(config.split),
        "read": {k: v for k, v in (config.read or {}).items() if _is_plain(v)},
        "start_from": parent,
        "device": str(device),
        "run_id": uuid.uuid4().hex,
        "settings": asdict(preset),
        "network": network,
        "factors": {k: list(v) for k, v in learned.factors.items()} if preset.conditional else {},
        "augmentations": list(preset.augmentations) if preset.augment != "off" else [],
        "phantom": learned.phantom,
        "fingerprint": learned.fingerprint,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    # Functions and arrays that give labels stay in memory; a resume needs them given again.
    in_memory = [k for k in ("labels", "group", "table") if not _is_plain(content[k])]
    start_run(folder, content | dict.fromkeys(in_memory))
    write_json(folder / "data.json", learned.to_dict())
    write_whole(folder / "files.jsonl", learned.files_jsonl().encode())
    if not learned.phantom:
        write_split(folder, dict(zip(learned.names, learned.sides, strict=True)))
    write_json(folder / "environment.json", _environment(device))
    write_state(folder, RunState("new", of_kimg=config.kimg))
    register(folder, str(content["run_id"]))
    return run_config(folder), learned


def resumed_run(folder: Path, again: TrainConfig) -> tuple[dict[str, Any], TrainingImages]:
    """Read a run that was begun, with the images it was begun with.

    ``again`` holds what could not be written down, such as images in memory and functions
    that give labels, and perhaps a new limit.
    """
    content = run_config(folder)
    if "run_id" not in content:
        raise DataError(
            f"{folder} was written by an older version, without what a resume needs; "
            "begin a new run with start_from= this one."
        )
    if again.data is None and content["data"] == "images":
        raise RequestError(
            f"{folder} was trained on images that were in memory; give them again as data=."
        )
    if again.kimg is not None and again.kimg != content["kimg"]:
        content = {**content, "kimg": again.kimg}
        write_json(folder / "config.json", content)
    config = _as_begun(content)
    given = {name: getattr(again, name) for name in ("data", "labels", "group", "table")}
    given = {name: value for name, value in given.items() if value is not None}
    read = {**(config.read or {}), **(again.read or {})}
    if "like" in read:  # it says the size as well
        given["size"] = None
    learned = read_data(replace(config, **given, read=read), cache=folder)
    if learned.fingerprint != content["fingerprint"]:
        raise DataError(
            f"{folder} was trained on other data: its fingerprint is "
            f"{content['fingerprint'][:12]}…, that of the images now {learned.fingerprint[:12]}…; "
            "resume with the same images, or begin a new run with start_from=."
        )
    content["device"] = str(_device_here(content["device"]))
    if content["device"] == "cpu" and content["threads"] != torch.get_num_threads():
        log.warning(
            "the run was begun with %d threads and goes on with %d; the last bits may differ.",
            content["threads"], torch.get_num_threads(),
        )  # fmt: skip
    return content, learned


def images_of_run(run_dir: str | Path) -> TrainingImages:
    """Return the images that a run was trained on, read again; held-out ones are among them.

    Raises
    ------
    DataError, RequestError
        When it is no run, its images were in memory, or they are no longer the same.
    """
    content = run_config(run_dir)
    if content.get("data") in (None, "images"):
        raise RequestError(f"{run_dir} was trained on images that were in memory.")
    learned = read_data(_as_begun(content))
    if learned.fingerprint != content.get("fingerprint"):
        raise DataError(f"the images that {run_dir} was trained on are no longer the same.")
    return learned


def read_data(config: TrainConfig, *, cache: Path | None = None) -> TrainingImages:
    """Read the images of a training; a phantom's default size is 128 pixels.

    ``cache`` is the run that keeps pixels which are larger than memory.
    """
    data, options = config.data, config.reading
    if phantom_named(data):
        options.setdefault("size", 128)
    elif isinstance(data, str) and not Path(data).expanduser().exists():
        kinds = ", ".join(KINDS)
        raise RequestError(f"data must be one of {kinds}, or a path that exists; got {data!r}.")
    elif cache is not None:
        options["cache"] = cache
    try:
        return read_images(data, **options)
    except TypeError as error:
        raise RequestError(f"the images cannot be read that way: {error}.") from error


def check_enough(learned: TrainingImages, batch: int) -> None:
    """Raise a DataError for images that no batch can be drawn from."""
    images = learned.training.images
    if images.dtype.name != "uint8" or images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise DataError(
            f"images must be uint8 [N, H, W, C] with H = W, got {images.dtype} {images.shape}."
        )
    if len(images) < batch:
        raise DataError(
            f"at least {batch} images are needed to train (one batch), got {len(images)}; give "
            "more images, or a smaller batch=."
        )


def network_settings(preset: Preset, learned: TrainingImages) -> dict[str, int]:
    """Return the arguments that the preset's networks are built with for these images."""
    _, height, _, channels = learned.images.shape
    return {
        "size": height,
        "channels": channels,
        "z_dim": preset.z_dim,
        "classes": learned.classes.shape[1] if preset.conditional else 0,
        "width": preset.width,
    }


def _as_begun(content: dict[str, Any]) -> TrainConfig:
    """Return a run's settings; a phantom's kind stays one where a folder of that name lies now."""
    data = content["data"]
    return TrainConfig.from_json({**content, "data": f"phantom:{data}" if data in KINDS else data})


def _data_name(data: Any, learned: TrainingImages) -> str:
    """Return what a resume reads: a phantom's kind, an absolute path, or "images" in memory."""
    if not isinstance(data, (str, Path)):
        return "images"
    return phantom_named(data) or str(Path(data).expanduser().absolute())


def _build_once(preset: Preset, settings: dict[str, int]) -> None:
    """Find out before the first step whether such a network can be."""
    try:
        with torch.device("meta"):
            GENERATORS[preset.network](**settings)
            DISCRIMINATORS[preset.network](
                **{name: value for name, value in settings.items() if name != "z_dim"}
            )
    except (KeyError, ValueError, TypeError) as error:
        raise RequestError(
            f"the {preset.network} network cannot be built for these images: {error}"
        ) from error


def _device_here(device: str) -> torch.device:
    """Return a run's device, or another of its kind where that number is not here."""
    try:
        return checked_device(device)
    except RequestError:
        return checked_device(device.partition(":")[0])


def _absolute(path: Any) -> Any:
    """Return a path that is still right in another folder; what is no path stays as it is."""
    return str(Path(path).expanduser().absolute()) if isinstance(path, (str, Path)) else path


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool, list, tuple))


def _environment(device: torch.device) -> dict[str, Any]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "versions": versions,
        "device": name_of(device),
        "backend": backend(device),
        "threads": torch.get_num_threads(),
    }
