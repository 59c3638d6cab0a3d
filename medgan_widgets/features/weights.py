"""Where published weights come from. Nothing comes silently: a person has them, or asks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medgan_widgets.downloads import Progress, cache_folder, fetch_file
from medgan_widgets.errors import WeightsError
from medgan_widgets.files import file_sha256


@dataclass(frozen=True)
class Source:
    """Where weights are published."""

    file: str
    megabytes: int
    url: str | None  # None where its owners hand it out by hand
    sha256: str  # how it begins, as far as it is published
    where: str  # in words


SOURCES = {
    "inception-v3-compat": Source(
        "weights-inception-2015-12-05-6726825d.pth",
        91,
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
        "6726825d",  # part of the published name
        "torch-fidelity's release v0.2.0",
    ),
    "radimagenet-resnet50-1": Source(
        "ResNet50.pt", 94, None, "", "its authors, github.com/BMEII-AI/RadImageNet, on request"
    ),
    "dinov2-vits14-1": Source(
        "dinov2_vits14_pretrain.pth",
        88,
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
        "",
        "Meta's DINOv2, github.com/facebookresearch/dinov2",
    ),
}


def fetch_weights(
    extractor: str,
    *,
    sha256: str | None = None,
    mirror: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download the weights of an extractor once, and return where they lie.

    Parameters
    ----------
    extractor
        ``"inception-v3-compat"`` or ``"dinov2-vits14-1"``; RadImageNet's are not
        published for download.
    sha256
        What the file must hash to, 64 hexadecimal digits. Only the beginning of Inception's
        hash is published (in its name); for DINOv2 there is none, so give the one you trust.
    mirror
        A folder or address that holds the same file.
    progress
        Called with bytes so far and bytes in all.

    Raises
    ------
    WeightsError
        For an extractor without weights to download, and a hash that is not whole.
    DownloadError
        When they cannot be fetched, or are not the expected file; nothing is kept.
    """
    source = SOURCES.get(extractor)
    if source is None:
        raise WeightsError(f"weights are for {', '.join(SOURCES)}; {extractor!r} takes none.")
    if source.url is None and mirror is None:
        raise WeightsError(
            f"the weights of {extractor} come from {source.where}; give the file as weights=."
        )
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", str(sha256)):
        # Every sixteenth file would begin with a single digit.
        raise WeightsError(
            f"sha256 must be all 64 hexadecimal digits, got {sha256!r:.40}; leave it out to take "
            "what is published."
        )
    return fetch_file(
        source.url or source.file,
        _kept(extractor),
        sha256=sha256 or source.sha256,
        mirror=mirror,
        progress=progress,
    )


def checked_weights(extractor: str, weights: str | Path | None) -> tuple[Path, str]:
    """Return the file of an extractor's weights and its SHA-256."""
    source = SOURCES[extractor]
    path = _kept(extractor) if weights is None else Path(weights).expanduser()
    if not path.is_file():
        how = f"features.fetch_weights({extractor!r}) downloads them" if source.url else "ask there"
        missing = "are not here" if weights is None else f"are not in {path}"
        raise WeightsError(
            f"the weights of {extractor} {missing}: {source.file}, about {source.megabytes} MB, "
            f"from {source.where}; {how}, or give the file as weights=."
        )
    sha256 = file_sha256(path)
    if not sha256.startswith(source.sha256):
        raise WeightsError(
            f"{path.name} is not the file of {extractor}: its SHA-256 begins with {sha256[:8]}, "
            f"not {source.sha256}; get it from {source.where}."
        )
    return path, sha256


def _kept(extractor: str) -> Path:
    return cache_folder() / "weights" / SOURCES[extractor].file
