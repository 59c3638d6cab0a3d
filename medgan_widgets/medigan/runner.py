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
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.cards import ModelCard
from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.devices import visible_number
from medgan_widgets.downloads import Package, cached_package
from medgan_widgets.errors import (
    ConsentError,
    DataError,
    JobCancelled,
    MedganError,
    NotRunnableError,
    SaveError,
    WorkerError,
)
from medgan_widgets.files import file_sha256, write_whole
from medgan_widgets.medigan import dependencies
from medgan_widgets.medigan.behaviour import Behaviour, find_out, keep, kept
from medgan_widgets.medigan.packages import PackageSpec, checked_options
from medgan_widgets.medigan.process import PackageError, Worker, WorkerGone, plain_text
from medgan_widgets.medigan.rows import batches_of, with_arrays
from medgan_widgets.medigan.sources import read_source, sample_images, source_paths
from medgan_widgets.medigan.trust import (
    Consent,
    behaviour_folder,
    consent_to,
    hashes,
    log_file,
    weights_file,
)
from medgan_widgets.medigan.workers import memory_limit, shared_workers
from medgan_widgets.requests import Batch, GenerateRequest
from medgan_widgets.seeds import Value, labels_from_seeds, latents_from_seeds

log = logging.getLogger(__name__)

FAST_CHUNK = 32
SEEDS = range(2**63, 2**63 + 16)  # nobody's images
MOST_KINDS = 8  # classes that are tried to find out how a package behaves
RETRY_SECONDS = 20.0
# What a stranger's process may answer: nothing that was asked for, or no grey levels.
_NO_ANSWER = (LookupError, TypeError, ValueError, AttributeError, StopIteration)


class MediganStream(Iterator[Batch]):
    """The batches of one request; all of it is checked before the first."""

    def __init__(
        self,
        card: ModelCard,
        spec: PackageSpec,
        request: GenerateRequest,
        device: str,
        threads: int,
    ) -> None:
        self._card, self._spec, self._request = card, spec, request
        self._device, self._threads = device, threads
        self._stop = threading.Event()
        self._options = checked_options(spec, request.options)
        self._inputs = checked_inputs(card, spec, request.inputs)
        self._package, self._consent = runnable_package(card, spec)
        self._samples = sample_images(spec, self._package)
        self._inputs = self._inputs or self._samples
        self._called = repr((spec, sorted(self._options.items())))
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._clipped = [0, 0]  # images and values beyond the scale of the model
        self._made = self._batches()

    def __next__(self) -> Batch:
        """Return the next batch."""
        if self._stop.is_set():
            raise StopIteration
        return next(self._made)

    def interrupt(self) -> None:
        """Stop, also in the middle of a forward: the process that computes it ends."""
        self._stop.set()

    def close(self) -> None:
        """Make no more."""
        self._stop.set()
        self._made.close()

    # ------------------------------------------------------------ from seeds to batches

    def _batches(self) -> Generator[Batch, None, None]:
        seeds = self._request.seeds
        try:
            found = self._ready()[1]
            step = self._spec.chunk if self._request.mode == "exact" else FAST_CHUNK
            if found.picks > 1 or not (found.reproducible or found.alone):
                step = 32 * self._spec.several
            for start in range(0, len(seeds), step):
                part = tuple(seeds[start : start + step])
                labels = labels_from_seeds(part, self._card.condition, self._request.condition)
                began = time.perf_counter()
                rows = self._rows(part, labels, start)
                yield from batches_of(rows, part, labels, time.perf_counter() - began)
        finally:
            if self._scratch is not None:
                self._scratch.cleanup()
            if self._clipped[0]:
                low, high, _ = found.scales["image"]
                log.warning(
                    "%d of the images of %s, or their masks, leave the range of its first ones "
                    "(images: %g to %g); %d values were clipped.",
                    self._clipped[0], self._card.id, low, high, self._clipped[1],
                )  # fmt: skip

    def _rows(
        self, seeds: Sequence[int], labels: Mapping[str, Sequence[Value]], start: int
    ) -> list[dict[str, Any]]:
        """Return a row for each seed, in their order; one call for each class among them."""
        how = self._ready()[1]
        alone = how.alone or bool(self._inputs)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for n, seed in enumerate(seeds):
            kind = tuple(labels[factor][n] for factor in labels)
            # The size of a call is part of its images, so it follows from the seed alone.
            size = 1 << (seed % how.picks).bit_length() if how.picks > 1 else 0
            size = max(size, self._spec.several) if size else 0
            groups.setdefault((kind, size, n if alone and not size else 0), []).append(n)
        rows: dict[int, dict[str, Any]] = {}
        for (kind, size, _), places in groups.items():
            condition = dict(zip(labels, kind, strict=True))
            asked = range(size) if size else [seeds[place] for place in places]
            first = start + places[0]
            source = self._inputs[first % len(self._inputs)] if self._inputs else None
            made = self._call(asked, condition, source, alone=alone)
            made = [made[seeds[place] % how.picks] for place in places] if size else made
            rows.update(zip(places, made, strict=True))
        for row in rows.values():
            clipped = row["clipped"]
            row["notes"] = how.notes + ((f"{clipped} values clipped",) if clipped else ())
            self._clipped[0] += bool(clipped)
            self._clipped[1] += clipped
        return [rows[n] for n in range(len(seeds))]

    def _call(
        self,
        seeds: Sequence[int],
        condition: Mapping[str, Value],
        source: Path | None,
        *,
        alone: bool,
    ) -> list[dict[str, Any]]:
        exact = self._request.mode == "exact"
        ask = len(seeds) if alone or not exact else max(self._spec.chunk, len(seeds))
        padded = [*seeds, *[seeds[-1]] * (ask - len(seeds))]
        message = {
            "do": "make", "count": len(seeds), "ask": ask, "seed": int(seeds[0]),
            "fast": not exact, "memo": repr(dict(condition)),
            "arguments": self._arguments(condition, source),
        }  # fmt: skip
        latents = (
            [] if self._spec.latent is None else [latents_from_seeds(padded, self._spec.latent)]
        )
        answer, arrays = self._asked(message, latents)
        try:
            rows = [with_arrays(row, arrays) for row in answer["rows"]]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise WorkerError(f"{self._card.id} gave an answer that is none.") from error
        if len(rows) != len(seeds):
            raise WorkerError(f"{self._card.id} gave {len(rows)} rows for {len(seeds)} seeds.")
        if source is not None:
            for row in rows:
                row["others"] = {"source": read_source(source), **row["others"]}
        return rows

    def _arguments(self, condition: Mapping[str, Value], source: Path | None) -> dict[str, Any]:
        arguments = dict(self._options)
        gpu = self._spec.options.get("gpu_id")
        if isinstance(gpu, str) and gpu.isdigit():  # as published it is "0", which torch refuses
            arguments.setdefault("gpu_id", "cpu" if self._device == "cpu" else "cuda:0")
        for factor, value in condition.items():
            known = self._spec.condition[factor]
            arguments["condition"] = known[value] if value in known else known[str(value)]
        if self._spec.input is not None:
            option, kind = self._spec.input["option"], self._spec.input["kind"]
            if source is None:
                if self._spec.sample is not None:
                    arguments[option] = self._spec.sample
            elif kind == "folder":
                arguments[option] = str(self._folder_with(source))
            elif kind == "list":
                count = len(self._spec.sample) if isinstance(self._spec.sample, tuple) else 1
                arguments[option] = [str(source)] * count
            else:
                arguments.update(dict.fromkeys(option, str(source)))
        return {name: list(v) if isinstance(v, tuple) else v for name, v in arguments.items()}

    def _folder_with(self, source: Path) -> Path:
        """Return a folder with this source alone, since packages read whole folders."""
        name = sha256(str(source).encode()).hexdigest()[:16]
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="medgan-inputs-")
        folder = Path(self._scratch.name) / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / source.name).write_bytes(source.read_bytes())  # it may have changed
        except OSError as error:
            raise DataError(f"{source.name} cannot be read any more: {error.strerror}.") from error
        return folder

    # ------------------------------------------------------------ the worker

    def _asked(
        self, message: Mapping[str, Any], arrays: list[NDArray[Any]]
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Ask the package's worker; one that somebody else ended meanwhile is replaced."""
        end = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                worker, known = self._ready()
                with self._held(worker.lock):
                    answer = self._tell(worker, {**message, "known": asdict(known)}, arrays)
                if known.fresh:  # what it did may change what it does next
                    worker.end()
                return answer
            except WorkerGone as error:
                if shared_workers().over:
                    raise JobCancelled("the interpreter is ending.") from None
                if time.monotonic() > end:
                    raise WorkerError(f"{self._card.id} was ended from elsewhere.") from error

    @contextmanager
    def _held(self, lock: threading.Lock) -> Iterator[None]:
        """Hold a lock; who waits for somebody else's forward can still be cancelled."""
        while not lock.acquire(timeout=0.05):
            if self._stop.is_set():
                raise JobCancelled("the job was cancelled.")
        try:
            yield
        finally:
            lock.release()

    def _ready(self) -> tuple[Worker, Behaviour]:
        """Return a worker of its own for this package and these options, and how it behaves."""
        consent, workers = self._consent, shared_workers()
        place = str(behaviour_folder(self._card.id))  # another home is another person's yes
        how = (self._called, consent.python, consent.pickle, self._device, self._threads)
        key = (self._card.id, consent.sha256, *how, place)
        while True:
            worker = workers.get(key, consent.python, self._stop)
            with self._held(worker.lock):
                if worker.dead:
                    continue
                try:
                    if not worker.opened:
                        self._open(worker)
                    if key not in workers.known:
                        workers.known[key] = self._found_out(key, worker)
                except WorkerGone:
                    raise
                except BaseException as error:
                    worker.end()
                    if isinstance(error, _NO_ANSWER) and not isinstance(error, MedganError):
                        why = f"{self._card.id} gave no usable images: {plain_text(error)}."
                        raise WorkerError(why) from error
                    raise
            return worker, workers.known[key]

    def _open(self, worker: Worker) -> None:
        self._lay_out(worker)
        spec = self._spec
        plain = {
            "model_id": spec.model_id, "entry": spec.entry(), "latent": spec.latent,
            "outputs": spec.outputs, "gives": spec.gives,
        }  # fmt: skip
        opening = {
            "do": "open", "spec": plain, "work": str(worker.folder), "device": self._device,
            "pickle": self._consent.pickle, "visible": visible_number(self._device),
            "threads": self._threads,
        }  # fmt: skip
        answer, _ = self._tell(worker, opening, expect="ready")
        worker.versions = repr(answer.get("versions"))
        worker.opened = True

    def _found_out(self, key: tuple[Any, ...], worker: Worker) -> Behaviour:
        """Return how the package behaves: as it is kept, or found out now and kept."""
        name, consent = self._card.id, self._consent
        device = self._device.partition(":")[0]
        text = repr((self._called, device, consent.python, consent.pickle, worker.versions))
        under = sha256(text.encode()).hexdigest()[:16]
        found = kept(name, under)
        if found is None:
            found = find_out(self._spec, partial(self._trial, key), self._stop)
            keep(name, consent.sha256, under, found)
        if found.promise:
            log.warning("%s: %s.", name, found.promise)
        elif not found.warm:
            log.warning("%s runs cold: warm, it answers differently.", name)
        return found

    @contextmanager
    def _trial(self, key: tuple[Any, ...]) -> Iterator[Callable[..., dict[str, Any]]]:
        """Open a process of the package's own that ends afterwards."""
        workers, key = shared_workers(), (*key, "trial")
        worker = workers.get(key, self._consent.python, self._stop)
        with self._held(worker.lock):
            try:
                self._open(worker)
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
        reuse: bool = False,
        must: bool = False,
    ) -> dict[str, Any]:
        """Make one of the fixed calls for each class, and return what came."""
        factors, count = self._card.condition, ask or self._spec.chunk
        values = list(product(*factors.values()))[:MOST_KINDS]
        kinds = [dict(zip(factors, each, strict=True)) for each in values]
        sources = self._samples or self._inputs  # samples first: they are the same for everybody
        source = sources[which % len(sources)] if sources else None
        message = {
            "do": "look", "count": count, "ask": count, "seed": SEEDS[4 * which],
            "reuse": reuse, "must": must,
            "kinds": [{"memo": repr(o), "arguments": self._arguments(o, source)} for o in kinds],
        }  # fmt: skip
        z = SEEDS[4 * which :][:count]
        latents = [] if self._spec.latent is None else [latents_from_seeds(z, self._spec.latent)]
        if order == "same":
            latents = [np.repeat(one[:1], len(one), axis=0) for one in latents]
        elif order == "others":
            latents = [np.concatenate([3 * one[:0:-1], one[:1]]) for one in latents]
        answer, _ = self._tell(worker, message, latents, expect="known")
        return dict(answer["known"])

    def _lay_out(self, worker: Worker) -> None:
        """Copy the code to where medigan looks for it, and check the copy: that is what runs."""
        place = worker.folder / "models" / self._card.id
        try:
            lay_out(self._package.folder, place, weights_file(self._package.folder, self._spec))
            found = hashes(place, self._spec)
        except OSError as error:
            raise ConsentError(
                f"the files of {self._card.id} in the cache cannot be read "
                f"({error.strerror or error}); remove the download and fetch it again."
            ) from error
        if found != (self._consent.code_sha256, self._consent.weights_sha256):
            raise ConsentError(
                f"the files of {self._card.id} in the cache are not those that were agreed to; "
                f'remove the download and fetch it again, then trust("{self._card.id}").'
            )

    def _tell(
        self,
        worker: Worker,
        message: dict[str, Any],
        arrays: Sequence[NDArray[Any]] = (),
        *,
        expect: str = "rows",
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        try:
            return worker.call(message, arrays, stop=self._stop, limit=memory_limit, expect=expect)
        except WorkerGone:
            raise
        except PackageError as error:
            self._keep_log(worker, error.trace)
            raise self._in_words(error) from error
        except WorkerError as error:
            self._keep_log(worker, str(error))
            raise WorkerError(f"{self._card.id} failed: {error}.") from error

    def _keep_log(self, worker: Worker, trace: str) -> None:
        """End a process, whatever state it is in; what it printed goes to a file, not to a cell."""
        worker.end()
        text = f"{self._card.id} failed:\n{trace}\nWhat it printed last:\n{worker.printed}\n"
        log.debug("%s", text)
        with suppress(SaveError):
            write_whole(log_file(self._card.id), text.encode(), parents=True)

    def _in_words(self, error: PackageError) -> WorkerError | NotRunnableError | ConsentError:
        name, kind, text = self._card.id, error.answer.get("type"), error.answer.get("text")
        if kind == "PickleRefused":
            return ConsentError(
                f"the weights of {name} are whole pickled objects, and reading them runs code; "
                f'if you agree to that too, call trust("{name}", pickle=True).'
            )
        if kind == "AnswerError":
            return WorkerError(f"{name} gave no usable images: {text}.")
        if error.answer.get("missing"):
            return NotRunnableError(
                f"{name} needs {error.answer['missing']!r}, which is not installed "
                "and not among its published requirements; install it, then try again."
            )
        if kind == "SystemExit":
            return WorkerError(f"{name} ended itself (sys.exit: {text or 0}) instead of answering.")
        if kind == "MemoryError":
            return WorkerError(f"{name} ran out of memory; ask for fewer images.")
        return WorkerError(f"{name} raised {kind}: {text}; {log_file(name)} has the details.")


def lay_out(package: Path, place: Path, weights: Path | None) -> None:
    """Copy a package; its weights are only linked, since they are data and may be large."""
    for path in sorted(package.rglob("*")):
        target = place / path.relative_to(package)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.name != ".complete":
            target.parent.mkdir(parents=True, exist_ok=True)
            if path == weights:
                with suppress(OSError):
                    target.symlink_to(path)
                    continue
            shutil.copyfile(path, target)


def medigan_recipe(
    card: ModelCard, spec: PackageSpec, request: GenerateRequest, device: str, threads: int
) -> dict[str, Any]:
    """Return all that the pixels of a request depend on, as plain JSON values."""
    package, consent = runnable_package(card, spec)
    inputs = checked_inputs(card, spec, request.inputs)
    key = patient_key() if inputs else b""
    found = kept(card.id)
    return {
        **request.to_dict(),
        # A name may be a patient's, and a plain hash tells whoever has the file that it was used.
        "inputs": [{"keyed_sha256": patient_hash(file_sha256(path), key)} for path in inputs],
        "package_sha256": package.sha256,
        "code_sha256": consent.code_sha256,
        "weights_sha256": consent.weights_sha256,
        "source": spec.url,
        "python": consent.python,
        "device": device,
        "chunk": spec.chunk,
        "threads": threads,
        "promise": (found and found.promise) or card.promise,
        "reproducible": found.reproducible if found else None,  # None: not made here yet
        "scale": found.scales["image"] if found else None,
        "synthetic": True,
    }


def runnable_package(card: ModelCard, spec: PackageSpec) -> tuple[Package, Consent]:
    """Return the downloaded package and the yes to it, or say what to call or type first."""
    package = cached_package(card.id)
    if package is None:
        raise NotRunnableError(f'{card.id} is not downloaded yet; call download("{card.id}").')
    consent = consent_to(card.id, package.sha256)
    if consent is None:
        raise ConsentError(
            f"nobody agreed to run the code of {card.id} yet; read consent_text, then call "
            f'trust("{card.id}") (an unattended run goes by models.lock).'
        )
    found = dependencies.check_dependencies(spec.requires, spec.ignored, consent.python)
    if found.missing:
        python = consent.python or "python"
        raise NotRunnableError(
            f"{card.id} needs {', '.join(found.missing)}; type: "
            f"{found.pip.replace('python', python, 1)}"
        )
    return package, consent


def checked_inputs(card: ModelCard, spec: PackageSpec, inputs: Sequence[Any]) -> tuple[Path, ...]:
    """Return source images as absolute paths, each one readable."""
    if inputs and spec.input is None:
        raise DataError(f"{card.id} makes images from noise; leave inputs out.")
    return source_paths(inputs)
