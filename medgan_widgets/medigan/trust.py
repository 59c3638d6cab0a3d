"""Whose code may run: consent to one package at a time, pinned by what it hashes to.

A model package is a stranger's Python code. It runs only after somebody said
yes to exactly these bytes. What was agreed to is kept in two places of one form:
the person's own ``consents.lock``, which answers in interactive sessions, and a
``models.lock`` beside a project, which travels with it. An unattended run
(papermill, a script without a terminal) trusts nothing on first use: it goes by
``models.lock`` alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from medgan_widgets.cards import ModelCard
from medgan_widgets.downloads import Package, megabytes
from medgan_widgets.errors import ConsentError
from medgan_widgets.files import file_sha256, home_folder, write_whole
from medgan_widgets.medigan.packages import PackageSpec

LOCK_FILE = "models.lock"
VERSION = 1


@dataclass(frozen=True)
class Consent:
    """A yes to one package."""

    model_id: str
    url: str  # where its archive came from
    sha256: str  # of the archive
    code_sha256: str  # of all files but the weights
    weights_sha256: str
    pickle: bool = False  # whether weights may be whole pickles, which run code when they are read
    python: str | None = None  # another interpreter to run it with
    given: str = ""  # when, in UTC


def unattended() -> bool:
    """Return whether nobody is there to ask: no terminal, and no front end that takes input.

    ``MEDGAN_UNATTENDED=1`` says so outright, ``=0`` the contrary.
    """
    said = os.environ.get("MEDGAN_UNATTENDED", "")
    if said in ("0", "1"):
        return said == "1"
    # Clicks and threads ask as well, so this cannot be the name that only cells have.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:  # papermill, nbconvert and nbval run cells that cannot ask anything
        return not getattr(kernel, "_allow_stdin", False)
    return not (sys.stdin is not None and sys.stdin.isatty())


def consent_text(card: ModelCard, spec: PackageSpec, package: Package | None) -> str:
    """Return what somebody agrees to, in sentences: whose code, from where, which licence, size."""
    licence = card.licence or "not stated: ask its authors before any use but looking"
    size = (
        f"{megabytes(package.bytes)} unpacked, SHA-256 {package.sha256[:16]}"
        if package
        else f"{card.needs.download_mb:g} MB to download"
        if card.needs.download_mb
        else "size not known before the download"
    )
    lines = [
        f"{card.id} is a package of Python code written by its authors, not by this project.",
        "To generate, that code runs on this machine with your rights, in a process of its own; "
        "that process is no sandbox.",
        f"Source: {spec.url.split('?')[0]}. Licence: {licence}. Size: {size}.",
    ]
    if card.dataset:
        lines.append(f"Trained on {card.dataset}.")
    if spec.pickle:
        lines.append(
            "Its weights are whole pickled objects: reading them runs code as well, "
            "which needs a yes of its own."
        )
    return "\n".join(lines)


def give_consent(
    spec: PackageSpec,
    package: Package,
    *,
    pickle: bool = False,
    python: str | None = None,
    sha256: str | None = None,
    lock: str | Path | None = None,
) -> Consent:
    """Note a yes to a package, for these bytes alone; see `actions.trust`.

    In an unattended run it needs the hash: nobody is there to look.
    """
    if sha256 is not None and sha256.lower() != package.sha256:
        raise ConsentError(
            f"{spec.model_id} in the cache hashes to {package.sha256[:12]}…, not to "
            f"{sha256[:12].lower()}…; nothing was agreed to."
        )
    pinned = read_lock(lock_file()).get(spec.model_id)
    known = pinned is not None and pinned.sha256 == package.sha256
    if unattended() and not (sha256 or known):
        raise ConsentError(
            f"nobody is here to agree to the code of {spec.model_id}: pin it in {LOCK_FILE} from "
            f'an interactive session, or name its hash: trust("{spec.model_id}", sha256="…").'
        )
    code, weights = hashes(package.folder, spec)
    consent = Consent(
        spec.model_id, package.url, package.sha256, code, weights, pickle,
        str(Path(python).expanduser()) if python else None,
        datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    for place in [own_consents(), *([Path(lock)] if lock else [])]:
        _change(place, lambda entries: {**entries, spec.model_id: consent})
    return consent


def consent_to(model_id: str, sha256: str | None = None) -> Consent | None:
    """Return the yes that counts here and now, for these bytes if a hash is given."""
    places = [lock_file()] if unattended() else [lock_file(), own_consents()]
    for place in places:
        consent = read_lock(place).get(model_id)
        if consent is not None and sha256 in (None, consent.sha256):
            return consent
    return None


def withdraw_consent(model_id: str) -> None:
    """Forget the person's own yes; a project's lock is theirs to edit."""
    _change(own_consents(), lambda entries: {k: v for k, v in entries.items() if k != model_id})
    shutil.rmtree(behaviour_folder(model_id), ignore_errors=True)


def lock_file() -> Path:
    """Return the project's lock: ``models.lock`` here, or what ``MEDGAN_LOCK`` names."""
    return Path(os.environ.get("MEDGAN_LOCK") or LOCK_FILE).expanduser()


def write_lock(path: str | Path | None = None, model_ids: Iterable[str] | None = None) -> Path:
    """Pin the hashes and consents given so far in a project's lock file, and return its path.

    Raises
    ------
    ConsentError
        For a model nobody agreed to, or a file that cannot be written.
    """
    path = lock_file() if path is None else Path(path)
    given = {**read_lock(own_consents()), **read_lock(path)}
    names = list(given) if model_ids is None else list(model_ids)
    for name in names:
        if name not in given:
            raise ConsentError(f"nobody agreed to {name} yet; call trust({name!r}) first.")
    return _change(path, lambda entries: {**entries, **{n: given[n] for n in names}})


def read_lock(path: Path) -> dict[str, Consent]:
    """Return the consents in a lock file; none when there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["models"]
        found = {name: Consent(model_id=name, **entry) for name, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConsentError(f"{path} is not a lock file; mend or delete it ({error}).") from None
    for one in found.values():
        texts = (one.url, one.sha256, one.code_sha256, one.weights_sha256)
        if not all(isinstance(text, str) for text in texts) or len(one.sha256) != 64:
            raise ConsentError(f"{path} has no usable hashes for {one.model_id}; pin it again.")
        if not isinstance(one.pickle, bool) or not isinstance(one.python, str | None):
            raise ConsentError(f"{path} has no usable consent for {one.model_id}; pin it again.")
    return found


def own_consents() -> Path:
    """Return where a person's consents lie."""
    return home_folder() / "consents.lock"


def behaviour_folder(model_id: str) -> Path:
    """Return where it is kept how a package behaves."""
    return own_consents().with_name("behaviour") / model_id


def log_file(model_id: str) -> Path:
    """Return where the last failure of a package is told in full."""
    return own_consents().with_name("logs") / f"{model_id}.log"


def hashes(folder: Path, spec: PackageSpec) -> tuple[str, str]:
    """Return the SHA-256 of a package's files but its weights, and that of its weights."""
    weights = weights_file(folder, spec)
    code = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != weights and path.name != ".complete":
            code.update(path.relative_to(folder).as_posix().encode() + b"\0")
            code.update(file_sha256(path).encode() + b"\n")
    return code.hexdigest(), file_sha256(weights) if weights else ""


def weights_file(folder: Path, spec: PackageSpec) -> Path | None:
    """Return the weights in an unpacked archive: in the package's folder, or beside its code."""
    for path in (folder / spec.package / spec.weights, folder / spec.weights):
        if path.is_file():
            return path
    return None


def _change(path: Path, change: Callable[[dict[str, Consent]], dict[str, Consent]]) -> Path:
    """Change a lock file as one step, whoever else writes to it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.busy")
        with filelock.FileLock(str(beside), timeout=30):
            entries = change(read_lock(path))
            plain: dict[str, Any] = {
                name: {k: v for k, v in asdict(one).items() if k != "model_id"}
                for name, one in sorted(entries.items())
            }
            text = json.dumps({"version": VERSION, "models": plain}, indent=2) + "\n"
            return write_whole(path, text.encode())
    except filelock.Timeout as error:
        raise ConsentError(f"{path} is being written by another process; try again.") from error
    except OSError as error:
        raise ConsentError(f"{path} cannot be written: {error.strerror or error}.") from error
