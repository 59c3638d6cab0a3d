"""What the model explorer does with medigan's packages: fetch, ask, list, remove."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue, RunsHere
from medgan_widgets.downloads import (
    Package,
    cached_package,
    cached_packages,
    megabytes,
    remove_package,
)
from medgan_widgets.errors import ConsentError, MedganError, RequestError
from medgan_widgets.medigan import actions, dependencies
from medgan_widgets.medigan import trust as consents
from medgan_widgets.medigan.workers import end_workers, shared_workers
from medgan_widgets.panels._downloads import Downloads, Ended


class Packages:
    """The packages of one explorer: what clicks and calls do with them.

    The page hears of what is going on by the view's trait ``transfers``:
    {model id: {text, part of 1 or None, whether it can be cancelled}}.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        view: Any,
        lock: AbstractContextManager[Any],
        ended: Ended,
    ) -> None:
        self._catalogue, self._view, self._lock, self._ended = catalogue, view, lock, ended
        self.downloads = Downloads(catalogue, lock, self._show, ended)
        self.aside: threading.Thread | None = None  # of the last click that needed one

    def heard(self, content: Mapping[str, Any]) -> None:
        """Do what a click asks for; what may take long goes to a thread of its own."""
        kind, name = content.get("kind"), str(content.get("id", ""))
        if kind == "download":
            self.downloads.start(name)
        elif kind == "cancel":
            self.downloads.cancel(name)
        elif kind == "trust":
            agreed = str(content.get("sha256", ""))  # a yes counts for what was shown, alone
            pickle = content.get("pickle") is True
            checking = "Checking what was downloaded…"
            self._start(name, checking, lambda: self.trust(name, pickle=pickle, sha256=agreed))
        elif kind == "withdraw":
            self._start(name, "Withdrawing your yes…", lambda: self.withdraw(name))
        elif kind == "remove":
            self._start(name, "Removing…", lambda: self.remove(name))
        elif kind == "lock":
            self._start("", "Writing…", self.write_lock)

    def trust(self, name: str, **wanted: Any) -> str:
        """Note a yes to a package and say what it changed; arguments as for `actions.trust`."""
        consent = actions.trust(name, catalogue=self._catalogue, **wanted)
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
        if self.downloads.runs(name):
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
            said = f"Wrote {path.resolve()}: {count} package{'s' * (count != 1)} pinned."
        except MedganError as error:
            self._view.lock_note = _capital(str(error))
            raise
        self._view.lock_note = said
        return said

    def _start(self, name: str, text: str, act: Callable[[], str]) -> None:
        with self._lock:
            if name in self._view.transfers:  # a second click asks for nothing more
                return
            self._show(name, text)
        self.aside = threading.Thread(target=self._act, args=(name, act), daemon=True)
        self.aside.start()

    def _act(self, name: str, act: Callable[[], str]) -> None:
        said = ""
        problem: BaseException | None = None
        try:
            said = act()
        except Exception as error:
            problem = error
        self._show(name, None)
        self._ended(name, said, problem)

    def _show(
        self, name: str, text: str | None, part: float | None = None, cancel: bool = False
    ) -> None:
        with self._lock:
            others = {key: value for key, value in self._view.transfers.items() if key != name}
            mine = {name: {"text": text, "part": part, "cancel": cancel}}
            wanted = {**others, **({} if text is None else mine)}
            if wanted != self._view.transfers:
                self._view.transfers = wanted


def step(card: ModelCard, runs: RunsHere, catalogue: Catalogue) -> dict[str, Any]:
    """Return what the page offers for a package: the one next step, and quieter ones.

    Empty for the models of this machine. What a yes means is told only when it
    is asked for, what is missing only when something is.
    """
    if card.origin != "medigan":
        return {}
    spec, package = catalogue.package_of(card.id), cached_package(card.id)
    size = card.needs.download_mb
    told: dict[str, Any] = {
        "kind": runs.kind,
        "size": f"{size:g} MB" if size else "",
        "cached": megabytes(package.bytes) if package else "",
        "sha256": package.sha256 if package else "",
        "agreed": False,
    }
    try:
        own = consents.read_lock(consents.own_consents()).get(card.id)
        given = consents.consent_to(card.id, package.sha256 if package else None)
    except MedganError:  # a damaged lock; the sentence above the step says so
        return told
    told["agreed"] = own is not None
    if runs.kind == "consent":
        told["text"] = actions.consent_text(card.id, catalogue=catalogue)
        told["pickle"] = spec.pickle
    if runs.kind in ("packages", "interpreter"):
        python = given.python if given else None
        found = dependencies.check_dependencies(spec.requires, spec.ignored, python)
        told["missing"], told["type"] = list(found.missing), found.pip
    if runs.kind == "interpreter" and card.needs.python:
        told["type"] = dependencies.environment_lines(card.id, spec.requires, card.needs.python)
    if runs.kind == "now" and spec.pickle and given is not None and not given.pickle:
        told["note"] = (
            "Your yes leaves out its weights, which are whole pickles: it cannot read them. "
            "Withdraw it and agree to both."
        )
    return told


def listing() -> list[dict[str, Any]]:
    """Return what lies in the cache, as the page's table shows it."""
    return [
        {
            "id": package.model_id,
            "bytes": package.bytes,
            "size": megabytes(package.bytes),
            "sha256": package.sha256,
            "source": package.url,
            "consent": _agreed(package),
        }
        for package in cached_packages()
    ]


def _agreed(package: Package) -> str:
    try:
        consent = consents.consent_to(package.model_id, package.sha256)
    except MedganError:
        return "not readable"
    return "no" if consent is None else "yes, pickles too" if consent.pickle else "yes"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
