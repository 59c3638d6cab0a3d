"""A training from what a person writes to its run directory, and through it."""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import platform
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch

from medgan_widgets.datasets import TrainingImages, read_images
from medgan_widgets.datasets.phantom import phantom_named
from medgan_widgets.datasets.split import write_split
from medgan_widgets.devices import backend, checked_device, name_of
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.files import write_json, write_whole
from medgan_widgets.phantoms import KINDS
from medgan_widgets.presets import Preset, preset_of
from medgan_widgets.runs import (
    RunState,
    Tick,
    lock_run,
    register,
    run_config,
    start_run,
    write_state,
)
from medgan_widgets.seeds import whole_number
from medgan_widgets.training.loop import steps
from medgan_widgets.training.start import parent_of
from medgan_widgets.training.state import checkpoints

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "numpy", "pillow", "pydicom", "nibabel", "medgan-widgets")


def train(
    run_dir: str | Path,
    *,
    data: Any = None,  # a phantom's kind, a path, a torch Dataset, or TrainingImages
    preset: str | Preset = "residual",  # a key of PRESETS, or one of your own
    kimg: float | None = None,  # stop after so many thousand images …
    cpu_seconds: float | None = None,  # … or so much processor time
    size: int | None = None,  # pixels a side; found from the images when left out
    labels: Any = None,  # where classes come from: "folder", a column, a DICOM keyword
    group: Any = None,  # what keeps a patient together: a column, a DICOM keyword
    table: str | Path | None = None,  # a CSV or JSONL file with a column file_name
    split: str | Path | None = None,  # another run whose split is shared
    read: Mapping[str, Any] | None = None,  # further arguments of read_images: window, plane, …
    skip_unreadable: bool = False,  # go on without files that cannot be read
    pool: int | None = None,  # how many phantoms to draw
    batch: int | None = None,  # images a step, when another number than the preset's
    start_from: str | Path | None = None,  # a run or model whose weights are the first ones
    freeze_d: int = 0,  # so many first layers of the discriminator keep their weights
    device: str = "auto",
    seed: int = 0,
    tick_kimg: float = 2.0,  # how often to report
    resume: bool = False,  # go on from the run's last checkpoint
) -> Iterator[Tick]:
    """Train a GAN and yield a ``Tick`` now and then; stopping the loop stops the run.

    A run that was stopped or killed goes on with ``resume=True``: by kimg alone it
    ends with the very weights that it would have had without the break (on the
    same machine, libraries and number of threads; with ``cpu_seconds`` the
    learning rate follows the clock, so the last bits differ). Nothing else needs
    to be given again, except images that were no path.

    Raises
    ------
    RequestError
        For an unknown preset or phantom, no limit, a folder that holds a run
        already, or one that another process trains.
    DataError
        For images that cannot be learned from, and a resume with other images.
    TrainingError
        When the losses are no numbers any more; the last good checkpoint is kept.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run_dir:
    ...     ticks = list(
    ...         train(run_dir, data="brain_mri", size=32, pool=32, kimg=0.032, tick_kimg=0.016)
    ...     )
    >>> len(ticks)
    2
    """
    folder = Path(run_dir)

    def begin() -> tuple[dict[str, Any], TrainingImages]:
        if resume:
            again = {"labels": labels, "group": group, "table": _place(table), **(read or {})}
            return _resumed(folder, data, kimg, again)
        return _prepared(
            folder, data, preset, kimg, cpu_seconds, size, labels, group, table, split, read,
            skip_unreadable, pool, batch, start_from, freeze_d, device, seed, tick_kimg,
        )  # fmt: skip

    place = folder.absolute()
    ticks = _ticks(folder, begin, _stepped().get(place))
    _stepped()[place] = ticks
    return ticks


def _ticks(
    folder: Path,
    begin: Callable[[], tuple[dict[str, Any], TrainingImages]],
    left: Generator[Tick, None, None] | None,
) -> Generator[Tick, None, None]:
    """Hold the run, read what it needs, and step it."""
    since = time.time()
    if left is not None and inspect.getgeneratorstate(left) == inspect.GEN_SUSPENDED:
        left.close()  # somebody left its loop with break, and the notebook keeps it
    del left
    lock = lock_run(folder)
    try:
        config, learned = begin()
        yield from steps(folder, learned, preset_from(config), config, since)
    finally:
        lock.release()


@cache
def _stepped() -> WeakValueDictionary[Path, Generator[Tick, None, None]]:
    """Return the loops of this process that are not over yet, by their run."""
    return WeakValueDictionary()


def prepare_run(
    run_dir: str | Path,
    *,
    data: Any,
    preset: str | Preset = "residual",
    kimg: float | None = None,
    cpu_seconds: float | None = None,
    size: int | None = None,
    labels: Any = None,
    group: Any = None,
    table: str | Path | None = None,
    split: str | Path | None = None,
    read: Mapping[str, Any] | None = None,
    skip_unreadable: bool = False,
    pool: int | None = None,
    batch: int | None = None,
    start_from: str | Path | None = None,
    freeze_d: int = 0,
    device: str = "auto",
    seed: int = 0,
    tick_kimg: float = 2.0,
) -> dict[str, Any]:
    """Check everything a training needs and write its run directory, without a step of it.

    ``runs.start_process`` or ``train(run_dir, resume=True)`` begin it then. The
    arguments are those of `train`; the data must be a path or a phantom.

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
    folder = Path(run_dir)
    lock = lock_run(folder)
    try:
        config, _ = _prepared(
            folder, data, preset, kimg, cpu_seconds, size, labels, group, table, split, read,
            skip_unreadable, pool, batch, start_from, freeze_d, device, seed, tick_kimg,
        )  # fmt: skip
    finally:
        lock.release()
    return config


def preset_from(config: Mapping[str, Any]) -> Preset:
    """Return the preset that a run was started with, from its settings."""
    known = {one.name for one in fields(Preset)}
    settings: dict[str, Any] = config["settings"]
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    wanted: dict[str, Any] = {name: value for name, value in given.items() if name in known}
    return Preset(**wanted)


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


def _prepared(
    folder: Path,
    data: Any,
    preset: str | Preset,
    kimg: float | None,
    cpu_seconds: float | None,
    size: int | None,
    labels: Any,
    group: Any,
    table: str | Path | None,
    split: str | Path | None,
    read: Mapping[str, Any] | None,
    skip_unreadable: bool,
    pool: int | None,
    batch: int | None,
    start_from: str | Path | None,
    freeze_d: int,
    device: str,
    seed: int,
    tick_kimg: float,
) -> tuple[dict[str, Any], TrainingImages]:
    """Check all of it, then write the directory of a new run."""
    name, recipe = preset_of(preset)
    if batch is not None:
        recipe = replace(recipe, batch=whole_number(batch, "batch", 2, 4096))
    limits = {"kimg": _limit(kimg, "kimg"), "cpu_seconds": _limit(cpu_seconds, "cpu_seconds")}
    if kimg is None and cpu_seconds is None:
        raise RequestError("give kimg or cpu_seconds, else the training would never end.")
    if _limit(tick_kimg, "tick_kimg") is None:
        raise RequestError("tick_kimg must be a number above 0.")
    if (folder / "config.json").exists():
        begun = bool(checkpoints(folder))
        if begun or ((folder / "stats.jsonl").exists() and (folder / "stats.jsonl").stat().st_size):
            raise RequestError(
                f"{folder} holds a run already; go on with resume=True, or choose another folder."
            )
    if data is None:
        raise RequestError("data is needed: a phantom's kind, a path, a Dataset or images.")
    options = {"labels": labels, "group": group, "table": _place(table),
               "split": _place(split), "size": size,
               "skip_unreadable": skip_unreadable, "most": pool, "seed": seed,
               **(read or {})}  # fmt: skip
    learned = read_from(data, options, cache=folder)
    check_enough(learned, recipe.batch)
    settings = network_settings(recipe, learned)
    parent = None
    if start_from is not None:
        parent = parent_of(start_from, recipe.network, settings)
    named = phantom_named(data) or (str(data) if isinstance(data, (str, Path)) else "images")
    config = {
        "run_id": uuid.uuid4().hex,
        "data": named
        if learned.source == "phantom" or named == "images"
        else str(Path(named).expanduser().absolute()),
        "data_options": {k: v for k, v in options.items() if v is not None and _plain(v)},
        "phantom": learned.phantom,
        "fingerprint": learned.fingerprint,
        "size": settings["size"],
        "pool": len(learned.training.images),
        "preset": name,
        "settings": asdict(recipe),
        "network": settings,
        "factors": {k: list(v) for k, v in learned.factors.items()} if recipe.conditional else {},
        "augmentations": list(recipe.augmentations) if recipe.augment != "off" else [],
        **limits,
        "seed": whole_number(seed, "seed", 0, 2**63 - 1),
        "tick_kimg": tick_kimg,
        "start_from": parent,
        "freeze_d": whole_number(freeze_d, "freeze_d", 0, 1000),
        "device": str(checked_device(device)),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    _build_once(recipe, settings)
    start_run(folder, config)
    write_json(folder / "data.json", learned.to_dict())
    write_whole(folder / "files.jsonl", learned.files_jsonl().encode())
    if not learned.phantom:
        write_split(folder, dict(zip(learned.names, learned.sides, strict=True)))
    write_json(folder / "environment.json", _environment(device))
    write_state(folder, RunState("new", of_kimg=kimg))
    register(folder, str(config["run_id"]))
    return run_config(folder), learned


def _resumed(
    folder: Path,
    data: Any = None,
    kimg: float | None = None,
    again: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], TrainingImages]:
    """Read a run that was begun, with the images it was begun with.

    ``again`` is what cannot be written down, such as functions that give labels.
    """
    config = run_config(folder)
    if "run_id" not in config:
        raise DataError(
            f"{folder} was written by an older version, without what a resume needs; "
            "begin a new run with start_from= this one."
        )
    if data is None:
        if config["data"] == "images":
            raise RequestError(
                f"{folder} was trained on images that were in memory; give them again as data=."
            )
        data = _data_of(config)
    if kimg is not None and kimg != config["kimg"]:
        config = {**config, "kimg": _limit(kimg, "kimg")}
        write_json(folder / "config.json", config)
    given = {name: value for name, value in (again or {}).items() if value is not None}
    learned = read_from(data, {**config["data_options"], **given}, cache=folder)
    if learned.fingerprint != config["fingerprint"]:
        raise DataError(
            f"{folder} was trained on other data: its fingerprint is "
            f"{config['fingerprint'][:12]}…, that of the images now {learned.fingerprint[:12]}…; "
            "resume with the same images, or begin a new run with start_from=."
        )
    config["device"] = str(_there_now(config["device"]))
    if config["device"] == "cpu" and config["threads"] != torch.get_num_threads():
        log.warning(
            "the run was begun with %d threads and goes on with %d; the last bits may differ.",
            config["threads"], torch.get_num_threads(),
        )  # fmt: skip
    return config, learned


def images_of_run(run_dir: str | Path) -> TrainingImages:
    """Return the images that a run was trained on, read again; held-out ones are among them.

    Raises
    ------
    DataError, RequestError
        When it is no run, its images were in memory, or they are no longer the same.
    """
    config = run_config(run_dir)
    if config.get("data") in (None, "images"):
        raise RequestError(f"{run_dir} was trained on images that were in memory.")
    learned = read_from(_data_of(config), config.get("data_options") or {})
    if learned.fingerprint != config.get("fingerprint"):
        raise DataError(f"the images that {run_dir} was trained on are no longer the same.")
    return learned


def _data_of(config: Mapping[str, Any]) -> str:
    """Return a run's data; a phantom's kind stays one where a folder of that name lies by now."""
    data = str(config["data"])
    return f"phantom:{data}" if data in KINDS else data


def read_from(
    data: Any, options: Mapping[str, Any], *, cache: Path | None = None
) -> TrainingImages:
    """Read images with the options of a run; a phantom's default size is 128 pixels.

    ``cache`` is the run that keeps pixels which are larger than memory.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if phantom_named(data):
        given.setdefault("size", 128)
    elif isinstance(data, str) and not Path(data).expanduser().exists():
        kinds = ", ".join(KINDS)
        raise RequestError(f"data must be one of {kinds}, or a path that exists; got {data!r}.")
    elif cache is not None:
        given["cache"] = cache
    try:
        return read_images(data, **given)
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


def _build_once(preset: Preset, settings: dict[str, int]) -> None:
    """Find out before the first step whether such a network can be."""
    from medgan_widgets.networks import DISCRIMINATORS, GENERATORS

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


def _there_now(device: str) -> torch.device:
    """Return a run's device, or another of its kind where that number is not here."""
    try:
        return checked_device(device)
    except RequestError:
        return checked_device(device.partition(":")[0])


def _limit(value: float | None, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise RequestError(f"{name} must be a number above 0, got {value!r}.")
    return value


def _place(path: str | Path | None) -> Any:
    """Return a path that is still right in another folder; what is no path stays as it is."""
    return str(Path(path).expanduser().absolute()) if isinstance(path, (str, Path)) else path


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, list, tuple))


def _environment(device: str) -> dict[str, Any]:
    found = checked_device(device)
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
        "device": name_of(found),
        "backend": backend(found),
        "threads": torch.get_num_threads(),
    }
