"""A folder of model packages in medigan's own form, with our own code inside."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BASE = ["model_file", "num_samples", "output_path", "save_images"]


def build_package(
    mirror: Path,
    model_id: str,
    source: str,
    *,
    weights: bytes = b"",
    files: Mapping[str, bytes] = {},
    options: Mapping[str, Any] = {},
    latent: int | None = None,
    package: str | None = None,
    model_name: str = "weights",
    extension: str = ".pt",
    method: str = "generate",
    dependencies: tuple[str, ...] = ("numpy", "torch"),
    image_size: tuple[int, ...] = (64, 64),
    condition: Mapping[str, Mapping[str, Any]] | None = None,
    selection: Mapping[str, Any] = {},
    description: Mapping[str, Any] = {},
) -> Path:
    """Write a package's archive, list it in the mirror's ``global.json``, return the archive."""
    name = package or model_id
    archive = mirror / f"{name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr(f"{name}/__init__.py", source)
        members.writestr(f"{name}/{model_name}{extension}", weights)
        for path, content in files.items():
            members.writestr(path, content)
    call: dict[str, Any] = {"name": method, "args": {"base": BASE, "custom": dict(options)}}
    if latent is not None:
        call["input_latent_vector_size"] = latent
    if condition is not None:
        call["condition"] = condition
    entry = {
        "execution": {
            "package_name": name,
            "package_link": f"https://zenodo.org/records/0000000/files/{name}.zip?download=1",
            "model_name": model_name,
            "extension": extension,
            "image_size": list(image_size),
            "dependencies": list(dependencies),
            "generate_method": call,
        },
        "selection": {
            "modality": ["MRI"], "organ": ["brain"], "generates": ["slice"],
            "function": ["noise to image"], "height": image_size[0], "width": image_size[1],
            "depth": None, "type": "test", "license": "MIT", "dataset": ["phantoms"],
            "year": "2026", "performance": {}, "tags": [], **selection,
        },
        "description": {"title": f"Stand-in {model_id}", "comment": "Made by a test.", **description},
    }  # fmt: skip
    listing = mirror / "global.json"
    content = json.loads(listing.read_text("utf-8")) if listing.exists() else {}
    listing.write_text(json.dumps({**content, model_id: entry}, indent=1), "utf-8")
    return archive
