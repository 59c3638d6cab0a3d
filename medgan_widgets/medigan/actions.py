"""What a person does with medigan's packages: download, agree, list, remove, try dry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.downloads import Package, Progress, cached_package, fetch_package
from medgan_widgets.errors import ConsentError, NotRunnableError
from medgan_widgets.medigan import dependencies
from medgan_widgets.medigan import trust as consents
from medgan_widgets.medigan.packages import PackageSpec
from medgan_widgets.medigan.trust import LOCK_FILE, Consent

if TYPE_CHECKING:
    import pandas as pd


def download(
    model_id: str | int,
    *,
    mirror: str | Path | None = None,
    catalogue: Catalogue | None = None,
    progress: Progress | None = None,
) -> Package:
    """Return a model's package, fetched once, checked, and kept in the cache.

    Parameters
    ----------
    model_id
        One of medigan's models, by id or number.
    mirror
        A folder or address that holds the archives; by default the catalogue's.
    progress
        Called with bytes so far and in all; by default a bar in the text output.

    Raises
    ------
    DownloadError
        No network, a failing server, a damaged, unsafe or unexpected archive,
        a cache that cannot be written.
    ConsentError
        In an unattended run, for a model that ``models.lock`` does not list.
    """
    catalogue, card, spec = _looked_up(model_id, catalogue)
    pinned = consents.read_lock(consents.lock_file()).get(card.id)
    if consents.unattended() and pinned is None and cached_package(card.id) is None:
        raise ConsentError(
            f"{card.id} is not listed in {LOCK_FILE}, and an unattended run fetches nothing else; "
            "pin it from an interactive session."
        )
    sha256 = pinned.sha256 if pinned else None
    mirror = catalogue.mirror if mirror is None else mirror
    # With a delay, a package that lies in the cache shows no bar.
    off = progress is not None
    with tqdm(unit="B", unit_scale=True, desc=card.id, delay=0.1, disable=off) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        return fetch_package(
            card.id, spec.url, sha256=sha256, mirror=mirror, progress=progress or show
        )


def consent_text(model_id: str | int, *, catalogue: Catalogue | None = None) -> str:
    """Return what a yes to a model's code means: whose it is, its licence, size and source.

    Examples
    --------
    >>> print(consent_text("00005").splitlines()[0])  # doctest: +ELLIPSIS
    00005_DCGAN_MMG_MASS_ROI is a package of Python code written by its authors, not by ...
    """
    _, card, spec = _looked_up(model_id, catalogue)
    return consents.consent_text(card, spec, cached_package(card.id))


def trust(
    model_id: str | int,
    *,
    pickle: bool = False,
    python: str | None = None,
    sha256: str | None = None,
    lock: str | Path | None = None,
    catalogue: Catalogue | None = None,
) -> Consent:
    """Say yes to running the code of a downloaded package: these bytes, no others.

    Parameters
    ----------
    model_id
        One of medigan's models, already downloaded.
    pickle
        Also let its weights be unpickled as whole objects, which runs code in them.
    python
        Another interpreter to run it with, one that has medigan and what the package needs.
    sha256
        What the archive must hash to; needed in unattended runs unless ``models.lock`` lists it.
    lock
        A lock file to pin it in as well.

    Raises
    ------
    NotRunnableError
        When it is not downloaded yet.
    ConsentError
        When nobody is there to agree, or the hash is another one.
    """
    _, card, spec = _looked_up(model_id, catalogue)
    package = cached_package(card.id)
    if package is None:
        raise NotRunnableError(f'{card.id} is not downloaded yet; call download("{card.id}").')
    return consents.give_consent(
        spec, package, pickle=pickle, python=python, sha256=sha256, lock=lock
    )


def dry_run(catalogue: Catalogue | None = None) -> pd.DataFrame:
    """Return what running each of medigan's models would take, without a network.

    A row a model: its link, arguments, requirements, whether it runs as it is,
    needs packages or an interpreter of its own, and what it would give.
    """
    import pandas as pd

    catalogue = Catalogue() if catalogue is None else catalogue
    cards = [card for card in catalogue if card.origin == "medigan"]
    rows = {card.id: _dry(card, catalogue.package_of(card.id)) for card in cards}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("id")


def _dry(card: ModelCard, spec: PackageSpec) -> dict[str, Any]:
    found, python = dependencies.check_dependencies(spec.requires, spec.ignored), card.needs.python
    runs = "needs another interpreter" if python else "needs packages"
    arguments = [*(["latent"] if spec.latent else []), *card.condition, *spec.options]
    return {
        "runs": runs if found.missing else "as it is",
        "missing": ", ".join(found.missing),
        "type": found.pip,
        "ignored": ", ".join(found.ignored),
        "interpreter": dependencies.environment_lines(card.id, spec.requires, python)
        if python
        else "",
        "link": spec.url,
        "weights": f"{spec.package}/{spec.weights}",
        "calls": spec.method,
        "arguments": ", ".join([*(["source images"] if spec.input else []), *arguments]),
        "gives": ", ".join(spec.gives or spec.outputs),
        "size": " × ".join(map(str, card.size)),
        "promise": card.promise,
        "pickle": spec.pickle,
        "consent": consents.consent_text(card, spec, None),
    }


def _looked_up(
    model_id: str | int, catalogue: Catalogue | None
) -> tuple[Catalogue, ModelCard, PackageSpec]:
    catalogue = Catalogue() if catalogue is None else catalogue
    card = catalogue[model_id]
    return catalogue, card, catalogue.package_of(card.id)
