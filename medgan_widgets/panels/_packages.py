"""What the model explorer does with medigan's packages: fetch, ask, list, remove."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import filelock

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.downloads import (
    Package,
    cache_folder,
    cached_package,
    cached_packages,
    megabytes,
    remove_package,
)
from medgan_widgets.errors import ConsentError, MedganError, RequestError
from medgan_widgets.jobs import Job, Step, report, submit_background
from medgan_widgets.medigan import actions, dependencies
from medgan_widgets.medigan import trust as consents
from medgan_widgets.medigan.client import end_workers, shared_workers
from medgan_widgets.model_folders import RunsHere

ACTIONS = ("download", "stop", "trust", "withdraw", "remove", "lock")
OFTEN = 0.15  # seconds between two progress messages
SOON = 1.0  # seconds before a silent wait is explained

Ended = Callable[[str, str, BaseException | None], None]  # id, sentence, what went wrong


class Packages:
    """The packages of one explorer: what clicks and calls do with them, beside the kernel.

    The page is shown what goes on by the view's trait ``transfers``:
    {model id: {text, part of 1 or None, whether it can be cancelled}}.
    """

    def __init__(
        self, catalogue: Catalogue, view: Any, lock: AbstractContextManager[Any], ended: Ended
    ) -> None:
        self._catalogue, self._view, self._lock, self._ended = catalogue, view, lock, ended
        self._jobs: dict[str, Job[Any]] = {}  # the last of each package
        self._turn = threading.Lock()  # one download at a time

    def on_message(self, content: Mapping[str, Any]) -> None:
        """Start what a click asks for."""
        kind, name = content["kind"], str(content.get("model", ""))
        if kind == "download":
            self.download(name)
        elif kind == "stop":
            self.stop(name)
        elif kind == "lock":
            self._start("", "Writing…", self.write_lock)
        elif kind == "withdraw":
            self._start(name, "Withdrawing your yes…", lambda: self.withdraw(name))
        elif kind == "remove":
            self._start(name, "Removing…", lambda: self.remove(name))
        else:
            agreed = str(content.get("sha256", ""))  # a yes counts for what was shown, alone
            pickle = content.get("pickle") is True
            checking = "Checking what was downloaded…"
            self._start(name, checking, lambda: self.trust(name, pickle=pickle, sha256=agreed))

    def download(self, name: str) -> Job[Package]:
        """Start fetching a package, unless it is on its way already."""
        name = self._catalogue[name].id
        self._catalogue.package_of(name)  # a model of this machine has none
        with self._lock:
            job = self._jobs.get(name)
            if job is not None and not job.done and not job.stopping:
                return job
            return self._submit(name, "Starting the download…", lambda: self._fetch(name), True)

    def stop(self, name: str | None = None) -> None:
        """Stop a download, or all; the page is told at once, the network when it answers next."""
        with self._lock:
            for each in [name] if name else list(self._jobs):
                if each in self._jobs and not self._jobs[each].done:
                    self._jobs[each].cancel()
                    self._show(each, None)

    def trust(self, name: str, **how: Any) -> str:
        """Note a yes to a package and say what it changed; arguments as for `actions.trust`."""
        consent = actions.trust(name, catalogue=self._catalogue, **how)
        if consents.consent_to(consent.model_id, consent.sha256) is None:
            raise ConsentError(
                f"your yes to {consent.model_id} is noted, but this session counts as unattended, "
                f"where {consents.LOCK_FILE} alone decides: write it, or set MEDGAN_UNATTENDED=0."
            )
        shared_workers().prepare(consent.python)  # it will be used in a moment
        return f"Your yes to {consent.model_id} is noted."

    def withdraw(self, name: str) -> str:
        """Forget a yes, end what runs on it, and say so."""
        consents.withdraw_consent(name)
        end_workers(name)
        if name in consents.read_lock(consents.lock_file()):
            raise ConsentError(
                f"your own yes to {name} is withdrawn, but {consents.LOCK_FILE} still lists it; "
                "take it out there."
            )
        return f"Your yes to {name} is withdrawn."

    def remove(self, name: str) -> str:
        """Delete a package from the cache, end what runs on it, and say so."""
        if self._view.transfers.get(name, {}).get("cancel"):
            raise RequestError(f"{name} is being downloaded; cancel that first.")
        package = cached_package(name)
        if package is None:
            return f"{name} was not in the cache."
        end_workers(name)
        remove_package(name)
        return f"{name} is removed from the cache: {megabytes(package.bytes)} are free again."

    def write_lock(self) -> str:
        """Pin every consent in ``models.lock`` and say where that is, or why not."""
        try:
            here = Path(consents.LOCK_FILE)
            if not {*consents.read_lock(consents.own_consents()), *consents.read_lock(here)}:
                raise ConsentError(f"nothing to pin in {here}: nobody agreed to any package yet.")
            path = consents.write_lock()
            count = len(consents.read_lock(path))
            note = f"Wrote {path.resolve()}: {count} package{'s' * (count != 1)} pinned."
        except MedganError as error:
            self._view.lock_note = str(error)[:1].upper() + str(error)[1:]
            raise
        self._view.lock_note = note
        return note

    def _start(self, name: str, text: str, act: Callable[[], str]) -> None:
        """Run what may take a while, unless something goes on with that package already."""
        with self._lock:
            if name not in self._view.transfers:
                self._submit(name, text, lambda: iter([act()]), False)

    def _submit(
        self, name: str, text: str, work: Callable[[], Iterator[Any]], cancel: bool
    ) -> Job[Any]:
        shown = 0.0

        def on_item(item: object) -> None:
            nonlocal shown
            last = isinstance(item, Step) and item.done == item.total > 0
            if isinstance(item, Step) and (last or time.monotonic() - shown >= OFTEN):
                shown = time.monotonic()
                with self._lock:  # so the job below is there
                    if self._jobs[name] is job and not job.stopping:
                        part = item.done / item.total if item.total else None
                        self._show(name, item.what or _progress(item), part, cancel)

        def on_done(job: Job[Any]) -> None:
            note = "Cancelled; nothing of the download was kept." * (job.state == "cancelled")
            if job.state == "done":
                (result,) = job.items
                note = result if isinstance(result, str) else f"{name} is downloaded."
            self._ended(name, note, job.error)
            with self._lock:
                if self._jobs[name] is job:  # a newer one speaks for itself
                    self._show(name, None)

        self._show(name, text, None, cancel)
        job: Job[Any] = submit_background(
            work, name=f"package {name}", on_item=on_item, on_done=on_done
        )
        self._jobs[name] = job
        return job

    def _fetch(self, name: str) -> Iterator[Step | Package]:
        """Wait for this download's turn, then fetch the package; each wait can be cancelled."""
        began = time.monotonic()
        while not self._turn.acquire(timeout=0.05):
            if time.monotonic() - began > SOON:
                yield Step(what="Waiting for the download before it to end…")
            report()
        try:
            began = time.monotonic()
            while _busy_elsewhere(name):
                if time.monotonic() - began > SOON:
                    yield Step(what="Waiting for another process that works on it…")
                report()
                time.sleep(0.1)
            there = cached_package(name)
            package = actions.download(name, catalogue=self._catalogue, progress=report)
            try:
                yield package
            except GeneratorExit:  # cancelled too late for the network, not for the cache
                if there is None:
                    remove_package(name)
                raise
        finally:
            self._turn.release()

    def _show(
        self, name: str, text: str | None, part: float | None = None, cancel: bool = False
    ) -> None:
        """Show what goes on with a package, or that nothing does."""
        with self._lock:
            others = {key: value for key, value in self._view.transfers.items() if key != name}
            mine = {name: {"text": text, "part": part, "cancel": cancel}} if text else {}
            self._view.transfers = {**others, **mine}


def next_step(card: ModelCard, runs: RunsHere, catalogue: Catalogue) -> dict[str, Any]:
    """Return what the page offers for a package: the one next step, and quieter ones.

    Empty for the models of this machine. What a yes means is there only where it
    is asked for, what is missing only where something is.
    """
    if card.origin != "medigan":
        return {}
    spec, package = catalogue.package_of(card.id), cached_package(card.id)
    size = card.needs.download_mb
    step: dict[str, Any] = {
        "kind": runs.kind,
        "size": f"{size:g} MB" if size else "",
        "cached": megabytes(package.bytes) if package else "",
        "sha256": package.sha256 if package else "",
        "agreed": False,
    }
    try:
        own = consents.read_lock(consents.own_consents()).get(card.id)
        consent = consents.consent_to(card.id, package.sha256 if package else None)
    except MedganError:  # a damaged lock; the sentence above the step says so
        return step
    step["agreed"] = own is not None
    if runs.kind == "consent":
        step["text"] = actions.consent_text(card.id, catalogue=catalogue)
        step["pickle"] = spec.pickle
    if runs.kind in ("packages", "interpreter"):
        python = consent.python if consent else None
        found = dependencies.check_dependencies(spec.requires, spec.ignored, python)
        step["missing"], step["type"] = list(found.missing), found.pip
    if runs.kind == "interpreter" and card.needs.python:
        step["type"] = dependencies.environment_lines(card.id, spec.requires, card.needs.python)
    if runs.kind == "now" and spec.pickle and consent is not None and not consent.pickle:
        step["note"] = (
            "Your yes leaves out its weights, which are whole pickles: it cannot read them. "
            "Withdraw it and agree to both."
        )
    return step


def listing() -> list[dict[str, Any]]:
    """Return what lies in the cache, as the page's table shows it."""
    return [
        {
            "id": package.model_id,
            "bytes": package.bytes,
            "size": megabytes(package.bytes),
            "sha256": package.sha256,
            "source": package.url,
            "consent": _consent(package),
        }
        for package in cached_packages()
    ]


def _consent(package: Package) -> str:
    try:
        consent = consents.consent_to(package.model_id, package.sha256)
    except MedganError:
        return "not readable"
    return "no" if consent is None else "yes, pickles too" if consent.pickle else "yes"


def _busy_elsewhere(name: str) -> bool:
    """Return whether another process fetches or removes a package just now."""
    try:
        with filelock.FileLock(str(cache_folder() / "packages" / f"{name}.lock"), timeout=0):
            return False
    except filelock.Timeout:
        return True
    except OSError:  # no cache yet; whether there can be one, the download itself says
        return False


def _progress(step: Step) -> str:
    if step.done == step.total:
        return f"{megabytes(step.done)}: checking and unpacking…"
    if not step.total:
        return megabytes(step.done)
    return f"{megabytes(step.done)} of {megabytes(step.total)} · {100 * step.done // step.total} %"
