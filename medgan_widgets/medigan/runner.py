"""A request to one of medigan's models becomes batches, made by its package in another process."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.cards import ModelCard
from medgan_widgets.devices import visible_number
from medgan_widgets.downloads import Package
from medgan_widgets.errors import (
    ConsentError,
    DataError,
    JobCancelled,
    MedganError,
    NotRunnableError,
    SaveError,
    WorkerError,
)
from medgan_widgets.files import write_whole
from medgan_widgets.medigan.behaviour import Behaviour, find_out, keep, kept
from medgan_widgets.medigan.client import (
    PackageError,
    Worker,
    WorkerGone,
    plain_text,
    shared_workers,
)
from medgan_widgets.medigan.packages import PackageSpec
from medgan_widgets.medigan.sources import read_source
from medgan_widgets.medigan.trust import (
    Consent,
    behaviour_folder,
    hashes,
    log_file,
    weights_file,
)
from medgan_widgets.requests import Batch, GenerateRequest
from medgan_widgets.seeds import Value, labels_from_seeds, latents_from_seeds

log = logging.getLogger(__name__)

FAST_CHUNK = 32
SEEDS = range(2**63, 2**63 + 16)  # of the fixed calls: nobody's images
MOST_KINDS = 8  # classes that are tried to find out how a package behaves
RETRY_SECONDS = 20.0
# What a stranger's process may answer: nothing that was asked for, or no grey levels.
_NO_ANSWER = (LookupError, TypeError, ValueError, AttributeError, StopIteration)


class PackageStream(Iterator[Batch]):
    """The batches of one request."""

    def __init__(
        self,
        runner: PackageRunner,
        request: GenerateRequest,
        inputs: Sequence[Path],
        samples: Sequence[Path],
    ) -> None:
        self._runner, self._request = runner, request
        self._inputs = tuple(inputs) or tuple(samples)
        # Samples come first in the fixed calls: they are the same for everybody.
        runner.sources = tuple(samples) or tuple(inputs)
        self._clipped = [0, 0]  # images and values beyond the range of the model
        self._made = self._batches()

    def __next__(self) -> Batch:
        """Return the next batch."""
        if self._runner.stop.is_set():
            raise StopIteration
        return next(self._made)

    def interrupt(self) -> None:
        """Stop, also in the middle of a forward: the process that computes it ends."""
        self._runner.stop.set()

    def close(self) -> None:
        """Make no more."""
        self._runner.stop.set()
        self._made.close()

    def _batches(self) -> Generator[Batch, None, None]:
        runner, request, seeds = self._runner, self._request, self._request.seeds
        try:
            _, found = runner.ready()
            step = runner.spec.chunk if request.mode == "exact" else FAST_CHUNK
            if found.picks > 1 or not (found.reproducible or found.alone):
                step = 32 * runner.spec.several
            for start in range(0, len(seeds), step):
                part = tuple(seeds[start : start + step])
                labels = labels_from_seeds(part, runner.card.condition, request.condition)
                began = time.perf_counter()
                rows = self._rows(part, labels, start, found)
                yield from _alike(rows, part, labels, time.perf_counter() - began)
        finally:
            runner.close()
            if self._clipped[0]:
                low, high, _ = found.scales["image"]
                log.warning(
                    "%d of the images of %s, or their masks, leave the range of its first ones "
                    "(images: %g to %g); %d values were clipped.",
                    self._clipped[0], runner.card.id, low, high, self._clipped[1],
                )  # fmt: skip

    def _rows(
        self,
        seeds: Sequence[int],
        labels: Mapping[str, Sequence[Value]],
        start: int,
        found: Behaviour,
    ) -> list[dict[str, Any]]:
        """Return a row for each seed, in their order; one call for each class among them."""
        spec, alone = self._runner.spec, found.alone or bool(self._inputs)
        calls: dict[tuple[Any, ...], list[int]] = {}  # what a call has in common -> its rows
        for n, seed in enumerate(seeds):
            kind = tuple(labels[factor][n] for factor in labels)
            # The size of a call is part of its images, so it follows from the seed alone.
            size = 1 << (seed % found.picks).bit_length() if found.picks > 1 else 0
            size = max(size, spec.several) if size else 0
            calls.setdefault((kind, size, n if alone and not size else 0), []).append(n)
        rows: dict[int, dict[str, Any]] = {}
        for (kind, size, _), indices in calls.items():
            condition = dict(zip(labels, kind, strict=True))
            asked = range(size) if size else [seeds[n] for n in indices]
            first = start + indices[0]
            source = self._inputs[first % len(self._inputs)] if self._inputs else None
            exact = self._request.mode == "exact"
            made = self._runner.make(asked, condition, source, alone=alone, exact=exact)
            made = [made[seeds[n] % found.picks] for n in indices] if size else made
            rows.update(zip(indices, made, strict=True))
        for row in rows.values():
            clipped = row["clipped"]
            row["notes"] = found.notes + ((f"{clipped} values clipped",) if clipped else ())
            self._clipped[0] += bool(clipped)
            self._clipped[1] += clipped
        return [rows[n] for n in range(len(seeds))]


class PackageRunner:
    """One package with its options, and what it takes to call it."""

    def __init__(
        self,
        card: ModelCard,
        spec: PackageSpec,
        package: Package,
        consent: Consent,
        options: Mapping[str, Any],
        device: str,
        threads: int,
    ) -> None:
        self.card, self.spec = card, spec
        self.sources: tuple[Path, ...] = ()  # for the fixed calls
        self.stop = threading.Event()
        self._package, self._consent, self._options = package, consent, dict(options)
        self._device, self._threads = device, threads
        self._called = repr((spec, sorted(self._options.items())))
        # Each set of options has a process of its own; another home is another person's yes.
        self._key = (
            card.id, consent.sha256, self._called, consent.python, consent.pickle, device, threads,
            str(behaviour_folder(card.id)),
        )  # fmt: skip
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        """Delete the copies of source images."""
        if self._scratch is not None:
            self._scratch.cleanup()

    def make(
        self,
        seeds: Sequence[int],
        condition: Mapping[str, Value],
        source: Path | None,
        *,
        alone: bool,
        exact: bool,
    ) -> list[dict[str, Any]]:
        """Return a row for each seed, from one call of the package."""
        ask = len(seeds) if alone or not exact else max(self.spec.chunk, len(seeds))
        padded = [*seeds, *[seeds[-1]] * (ask - len(seeds))]
        message = {
            "do": "make", "count": len(seeds), "ask": ask, "seed": int(seeds[0]),
            "fast": not exact, "class": repr(dict(condition)),
            "arguments": self._arguments(condition, source),
        }  # fmt: skip
        answer, arrays = self._ask(message, self._latents(padded))
        try:
            rows = [_row(row, arrays) for row in answer["rows"]]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise WorkerError(f"{self.card.id} gave an answer that is none.") from error
        if len(rows) != len(seeds):
            raise WorkerError(f"{self.card.id} gave {len(rows)} rows for {len(seeds)} seeds.")
        if source is not None:
            for row in rows:
                row["others"] = {"source": read_source(source), **row["others"]}
        return rows

    def ready(self) -> tuple[Worker, Behaviour]:
        """Return a process for this package and these options, and how the package behaves."""
        workers = shared_workers()
        while True:
            worker = workers.get(self._key, self._consent.python)
            if self._key not in workers.known and kept(self.card.id) is None:
                workers.prepare(self._consent.python)  # two are needed to find out
            with self._locked(worker):
                if worker.dead:
                    continue
                try:
                    if self._key not in workers.known:
                        worker.wait_ready(self.stop)
                        workers.known[self._key] = self._found_out(worker)
                        if workers.known[self._key].new_process:
                            worker.end()  # the fixed calls may have left traces
                            continue
                    if not worker.opened:
                        self._open(worker)
                    workers.prepare(self._consent.python)
                except WorkerGone:
                    raise
                except BaseException as error:
                    worker.end()
                    if isinstance(error, _NO_ANSWER) and not isinstance(error, MedganError):
                        why = f"{self.card.id} gave no usable images: {plain_text(error)}."
                        raise WorkerError(why) from error
                    raise
            return worker, workers.known[self._key]

    # ------------------------------------------------------------ arguments

    def _latents(self, seeds: Sequence[int]) -> list[NDArray[Any]]:
        return [] if self.spec.latent is None else [latents_from_seeds(seeds, self.spec.latent)]

    def _arguments(self, condition: Mapping[str, Value], source: Path | None) -> dict[str, Any]:
        spec, arguments = self.spec, dict(self._options)
        gpu = spec.options.get("gpu_id")
        if isinstance(gpu, str) and gpu.isdigit():  # as published it is "0", which torch refuses
            arguments.setdefault("gpu_id", "cpu" if self._device == "cpu" else "cuda:0")
        for factor, value in condition.items():
            codes = spec.condition[factor]
            arguments["condition"] = codes[value] if value in codes else codes[str(value)]
        if spec.input is not None:
            option, kind = spec.input["option"], spec.input["kind"]
            if source is None:
                if spec.sample is not None:
                    arguments[option] = spec.sample
            elif kind == "folder":
                arguments[option] = str(self._folder_with(source))
            elif kind == "list":
                count = len(spec.sample) if isinstance(spec.sample, tuple) else 1
                arguments[option] = [str(source)] * count
            else:
                arguments.update(dict.fromkeys(option, str(source)))
        return {name: list(v) if isinstance(v, tuple) else v for name, v in arguments.items()}

    def _folder_with(self, source: Path) -> Path:
        """Return a folder with this source alone, since packages read whole folders."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="medgan-inputs-")
        folder = Path(self._scratch.name) / sha256(str(source).encode()).hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / source.name).write_bytes(source.read_bytes())  # it may have changed
        except OSError as error:
            raise DataError(f"{source.name} cannot be read any more: {error.strerror}.") from error
        return folder

    # ------------------------------------------------------------ the process

    def _ask(
        self, message: Mapping[str, Any], arrays: list[NDArray[Any]]
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Ask the package's process; one that somebody else ended meanwhile is replaced."""
        end = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                worker, found = self.ready()
                with self._locked(worker):
                    answer = self._call(worker, {**message, "known": asdict(found)}, arrays)
                if found.new_process:
                    worker.end()
                return answer
            except WorkerGone as error:
                if shared_workers().over:
                    raise JobCancelled("the interpreter is ending.") from None
                if time.monotonic() > end:
                    raise WorkerError(f"{self.card.id} was ended from elsewhere.") from error

    @contextmanager
    def _locked(self, worker: Worker) -> Iterator[None]:
        """Have a process to oneself; who waits for somebody else's forward can be cancelled."""
        while not worker.lock.acquire(timeout=0.05):
            if self.stop.is_set():
                raise JobCancelled("the job was cancelled.")
        try:
            yield
        finally:
            worker.lock.release()

    def _open(self, worker: Worker) -> None:
        worker.wait_ready(self.stop)
        self._lay_out(worker)
        spec = self.spec
        opening = {
            "do": "open", "work": worker.folder, "device": self._device, "threads": self._threads,
            "pickle": self._consent.pickle, "visible": visible_number(self._device),
            "spec": {"model_id": spec.model_id, "entry": spec.entry(), "latent": spec.latent,
                     "outputs": spec.outputs, "gives": spec.gives},
        }  # fmt: skip
        self._call(worker, opening)
        worker.opened = True

    def _lay_out(self, worker: Worker) -> None:
        """Copy the code to where medigan looks for it, and check the copy: that is what runs."""
        name, package = self.card.id, self._package.folder
        copy = Path(worker.folder) / "models" / name
        weights = weights_file(package, self.spec)
        try:
            shutil.copytree(
                package, copy, ignore=lambda folder, names: [
                    n for n in names if n == ".complete" or Path(folder, n) == weights
                ],
            )  # fmt: skip
            if weights is not None:  # data, which may be large: a link will do
                target = copy / weights.relative_to(package)
                try:
                    target.symlink_to(weights)
                except OSError:
                    shutil.copyfile(weights, target)
            found = hashes(copy, self.spec)
        except OSError as error:
            raise ConsentError(
                f"the files of {name} in the cache cannot be read "
                f"({error.strerror or error}); remove the download and fetch it again."
            ) from error
        if found != (self._consent.code_sha256, self._consent.weights_sha256):
            raise ConsentError(
                f"the files of {name} in the cache are not those that were agreed to; "
                f'remove the download and fetch it again, then trust("{name}").'
            )

    def _found_out(self, worker: Worker) -> Behaviour:
        """Return how the package behaves: as it is kept, or found out now and kept."""
        name, consent, device = self.card.id, self._consent, self._device.partition(":")[0]
        text = repr((self._called, device, consent.python, consent.pickle, worker.versions))
        key = sha256(text.encode()).hexdigest()[:16]
        found = kept(name, key)
        if found is None:
            found = find_out(self.spec, partial(self._look, worker), self._trial, self.stop)
            keep(name, consent.sha256, key, found)
        if found.promise:
            log.warning("%s: %s.", name, found.promise)
        elif not found.cached:
            log.warning("%s runs uncached: with cached weights it answers differently.", name)
        return found

    @contextmanager
    def _trial(self) -> Iterator[Callable[..., dict[str, Any]]]:
        """Open a process of the package's own that ends afterwards."""
        workers, key = shared_workers(), (*self._key, "trial")
        worker = workers.get(key, self._consent.python)
        with self._locked(worker):
            try:
                yield partial(self._look, worker)
            finally:
                workers.drop(key)

    def _look(
        self,
        worker: Worker,
        which: int,
        *,
        ask: int | None = None,
        order: str = "",
        cached: bool = False,
        must: bool = False,
    ) -> dict[str, Any]:
        """Make one of the fixed calls for each class, and return what came."""
        if not worker.opened:  # not sooner: a package may take its seed from a clock at import
            self._open(worker)
        factors, count = self.card.condition, ask or self.spec.chunk
        values = list(product(*factors.values()))[:MOST_KINDS]
        kinds = [dict(zip(factors, each, strict=True)) for each in values]
        source = self.sources[which % len(self.sources)] if self.sources else None
        message = {
            "do": "look", "count": count, "ask": count, "seed": SEEDS[4 * which],
            "cached": cached, "must": must,
            "kinds": [{"class": repr(c), "arguments": self._arguments(c, source)} for c in kinds],
        }  # fmt: skip
        latents = self._latents(SEEDS[4 * which :][:count])
        if order == "same":
            latents = [np.repeat(z[:1], len(z), axis=0) for z in latents]
        elif order == "others":
            latents = [np.concatenate([3 * z[:0:-1], z[:1]]) for z in latents]
        answer, _ = self._call(worker, message, latents)
        return answer

    def _call(
        self, worker: Worker, message: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        try:
            return worker.call(message, arrays, stop=self.stop)
        except WorkerGone:
            raise
        except PackageError as error:
            self._keep_log(worker, error.trace)
            raise self._in_words(error) from error
        except WorkerError as error:
            self._keep_log(worker, str(error))
            raise WorkerError(f"{self.card.id} failed: {error}.") from error

    def _keep_log(self, worker: Worker, trace: str) -> None:
        """End a process, whatever state it is in; what it printed goes to a file, not to a cell."""
        worker.end()
        text = f"{self.card.id} failed:\n{trace}\nWhat it printed last:\n{worker.printed}\n"
        log.debug("%s", text)
        with suppress(SaveError):
            write_whole(log_file(self.card.id), text.encode(), parents=True)

    def _in_words(self, error: PackageError) -> MedganError:
        name, kind, text = self.card.id, error.answer["type"], error.answer["text"]
        if kind == "PickleRefused":
            return ConsentError(
                f"the weights of {name} are whole pickled objects, and reading them runs code; "
                f'if you agree to that too, call trust("{name}", pickle=True).'
            )
        if error.answer["missing"]:
            return NotRunnableError(
                f"{name} needs {error.answer['missing']!r}, which is not installed "
                "and not among its published requirements; install it, then try again."
            )
        sentences = {
            "AnswerError": f"gave no usable images: {text}",
            "SystemExit": f"ended itself (sys.exit: {text or 0}) instead of answering",
            "MemoryError": "ran out of memory; ask for fewer images",
        }
        other = f"raised {kind}: {text}; {log_file(name)} has the details"
        return WorkerError(f"{name} {sentences.get(kind, other)}.")


def _row(row: Mapping[str, Any], arrays: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Put the arrays of a stranger's answer in their places, and check what they are."""
    image = arrays[row["image"]]
    mask = None if row["mask"] is None else arrays[row["mask"]]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or (mask is not None and mask.ndim != 2):
        raise TypeError("a picture of another shape")
    return {
        "image": image,
        "mask": mask,
        "others": {str(name)[:40]: arrays[index] for name, index in row["others"].items()},
        "label": None if row["label"] is None else plain_text(row["label"])[:200],
        "clipped": int(row["clipped"]),
    }


def _alike(
    rows: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    labels: Mapping[str, Sequence[Value]],
    seconds: float,
) -> Iterator[Batch]:
    """Yield rows as batches: those that follow each other and are alike go together."""

    def form(n: int) -> tuple[Any, ...]:
        row = rows[n]
        mask = None if row["mask"] is None else row["mask"].shape
        others = sorted((name, other.shape, other.dtype) for name, other in row["others"].items())
        image = row["image"]
        return image.shape, image.dtype, mask, others, row["label"] is None, row["notes"]

    for _, group in groupby(range(len(rows)), form):
        indices = list(group)
        part = [rows[n] for n in indices]
        own = {name: tuple(values[n] for n in indices) for name, values in labels.items()}
        if part[0]["label"] is not None:
            own["label"] = tuple(row["label"] for row in part)
        others = part[0]["others"]
        yield Batch(
            images=np.stack([row["image"] for row in part]),
            seeds=tuple(seeds[n] for n in indices),
            labels=own,
            masks=None if part[0]["mask"] is None else np.stack([row["mask"] for row in part]),
            others={name: np.stack([row["others"][name] for row in part]) for name in others},
            notes=part[0]["notes"],
            seconds=seconds * len(part) / len(rows),
        )
