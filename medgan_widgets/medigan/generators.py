"""medigan's models as an engine sees them: checked, run by their packages, told in a recipe."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import psutil

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.downloads import Package, cached_package
from medgan_widgets.errors import ConsentError, DataError, NotRunnableError, RequestError
from medgan_widgets.files import file_sha256
from medgan_widgets.medigan import dependencies
from medgan_widgets.medigan.behaviour import kept
from medgan_widgets.medigan.client import end_workers, shared_workers
from medgan_widgets.medigan.packages import PackageSpec, checked_options
from medgan_widgets.medigan.runner import PackageRunner, PackageStream
from medgan_widgets.medigan.sources import sample_images, source_paths
from medgan_widgets.medigan.trust import Consent, consent_to
from medgan_widgets.requests import GenerateRequest


class PackageGenerators:
    """The packages of medigan's models, each resident in a process of its own."""

    def __init__(self, device: str, catalogue: Catalogue, threads: Callable[[], int]) -> None:
        # They know CUDA and the CPU alone.
        self._device = device if device.startswith("cuda") else "cpu"
        self._catalogue, self._threads = catalogue, threads

    def check(self, card: ModelCard, request: GenerateRequest) -> None:
        """Refuse what the model cannot do; classes were checked before."""
        for name in ("truncation_psi", "mix"):
            if getattr(request, name) is not None:
                raise RequestError(f"{card.id} has no {name}; leave it out.")
        spec = self._catalogue.package_of(card.id)
        checked_options(spec, request.options)
        if request.inputs and spec.input is None:
            raise DataError(f"{card.id} makes images from noise; leave inputs out.")

    def generate(self, card: ModelCard, request: GenerateRequest) -> PackageStream:
        """Return the batches; the package is there, agreed to and complete, and inputs are read."""
        spec = self._catalogue.package_of(card.id)
        package, consent = runnable_package(card, spec)
        samples = sample_images(spec, package)
        runner = PackageRunner(
            card, spec, package, consent, request.options, self._device, self._threads()
        )
        return PackageStream(runner, request, source_paths(request.inputs), samples)

    def recipe(self, card: ModelCard, request: GenerateRequest) -> dict[str, Any]:
        """Return what else the pixels depend on, as plain JSON values."""
        spec = self._catalogue.package_of(card.id)
        package, consent = runnable_package(card, spec)
        inputs = source_paths(request.inputs)
        key = patient_key() if inputs else b""
        found = kept(card.id)
        return {
            # A name may be a patient's, and a plain hash tells who has the file that it was used.
            "inputs": [{"keyed_sha256": patient_hash(file_sha256(path), key)} for path in inputs],
            "package_sha256": package.sha256,
            "code_sha256": consent.code_sha256,
            "weights_sha256": consent.weights_sha256,
            "source": spec.url,
            "python": consent.python,
            "device": self._device.partition(":")[0],
            "chunk": spec.chunk,
            "threads": self._threads(),
            "promise": (found and found.promise) or card.promise,
            "reproducible": found.reproducible if found else None,  # None: not made here yet
            "scale": found.scales["image"] if found else None,
        }

    def release(self, model_id: str | None = None) -> None:
        """End the processes of one model, or of all."""
        end_workers(model_id)

    def prepare(self, card: ModelCard) -> None:
        """Start a process ahead, for a model that can run."""
        if self._catalogue.runs_here(card).kind == "now":
            consent = consent_to(card.id)
            shared_workers().prepare(consent.python if consent else None)

    def remark(self, card: ModelCard) -> str:
        """Return what one should know of how the package behaves; mostly nothing."""
        found = kept(card.id)
        if found is not None and found.promise:
            return f"{found.promise[0].upper()}{found.promise[1:]}."
        if found is not None and not found.cached:
            return "It reads its weights at every call: with cached ones it answers differently."
        return ""

    def holds(self, card: ModelCard, mode: str) -> bool:
        """Return whether the model is resident in a process."""
        return self.pid(card.id) is not None

    def memory(self, card: ModelCard) -> tuple[int, int | None]:
        """Return the bytes its process holds; what that takes of a GPU is not known."""
        pid = self.pid(card.id)
        with contextlib.suppress(psutil.Error):
            return (psutil.Process(pid).memory_info().rss if pid else 0), None
        return 0, None

    def device_of(self, card: ModelCard) -> str:
        """Return where it computes."""
        return self._device

    def pid(self, model_id: str) -> int | None:
        """Return the process that keeps a model resident, or None."""
        return shared_workers().pid(model_id)

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are resident, least recently used first."""
        return shared_workers().names


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
        pip = found.pip.replace("python", consent.python or "python", 1)
        raise NotRunnableError(f"{card.id} needs {', '.join(found.missing)}; type: {pip}")
    return package, consent
