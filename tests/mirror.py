"""A folder of model packages in medigan's own form, with our own code inside.

    python tests/mirror.py FOLDER

`build_mirror` writes four stand-ins, one of each kind of package, whose weights
are fitted in closed form to phantoms; their code is in ``tests/packages``.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.phantoms import Phantoms, draw_phantoms

BASE = ["model_file", "num_samples", "output_path", "save_images"]
PACKAGES = Path(__file__).with_name("packages")
SIDE, LATENT = 64, 32
FIT = range(1000, 1192)  # the phantoms that weights are fitted to

MAMMOGRAM = "90001_PCA_PHANTOM_MAMMOGRAM"
CHEST = "90002_C-PCA_PHANTOM_CHEST"
BRAIN_MASKS = "90003_PCA_PHANTOM_BRAIN_W_MASKS"
BRAIN_T1_T2 = "90004_T1_TO_T2_PHANTOM_BRAIN"
NO_PATIENT = "A stand-in for trying things out: fitted to drawn phantoms, no patient is behind it."


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
    """Write a package's archive, list it in the mirror's ``global.json``, return the archive.

    ``files`` are named from the top of the archive, beside the package's folder.
    """
    mirror.mkdir(parents=True, exist_ok=True)
    name = package or model_id
    archive = mirror / f"{name}.zip"
    with zipfile.ZipFile(archive, "w") as members:
        inside = {f"{name}/__init__.py": source, f"{name}/{model_name}{extension}": weights}
        for path, content in {**inside, **files}.items():
            # With a date of its own a member would give each build another hash.
            members.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    call: dict[str, Any] = {"name": method, "args": {"base": BASE, "custom": dict(options)}}
    if latent is not None:
        call["input_latent_vector_size"] = latent
    if condition is not None:
        call["condition"] = condition
    entry = {
        "execution": {
            "package_name": name,
            "package_link": f"https://example.org/stand-ins/{name}.zip",
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
        "description": {
            "title": f"Stand-in {model_id}", "comment": "Made by a test.", **description,
        },
    }  # fmt: skip
    listing = mirror / "global.json"
    content = json.loads(listing.read_text("utf-8")) if listing.exists() else {}
    listing.write_text(json.dumps({**content, model_id: entry}, indent=1), "utf-8")
    return archive


# ---------------------------------------------------------------- the four stand-ins


def build_mirror(folder: Path) -> Path:
    """Write the four stand-ins and their ``global.json``, and return the folder."""
    _build_mammogram(folder)
    _build_chest(folder)
    _build_brain_masks(folder)
    _build_brain_t1_t2(folder)
    return folder


def _build_mammogram(folder: Path) -> None:
    weights = _decoder(_scaled(draw_phantoms("mammogram", FIT, size=SIDE)), LATENT)
    build_package(
        folder, MAMMOGRAM, _source("mammogram"), weights=_saved(weights), latent=LATENT,
        dependencies=("numpy", "torch", "pillow"),
        selection=_selection(
            modality=["MMG", "Mammography"], organ=["breast"], generates=["breast tissue"],
            function=["noise to image"],
        ),
        description=_description("Mammogram phantoms from noise"),
    )  # fmt: skip


def _build_chest(folder: Path) -> None:
    without, within = (
        draw_phantoms("chest_xray", FIT, size=SIDE, condition={"nodule": flag})
        for flag in (False, True)
    )  # the same chests, so what differs is the nodule
    centres = (np.arange(SIDE) + 0.5) * 2 / SIDE - 1
    x, y, radius = (within.parameters[k][:, None, None] for k in ("x", "y", "radius"))
    ball = 1 - ((centres - x) ** 2 + (centres[:, None] - y) ** 2) / radius**2
    ball = np.sqrt(np.clip(ball, 0, None))
    contrast = (ball * (_scaled(within) - _scaled(without))).sum() / (ball**2).sum()
    weights = {
        **_decoder(_scaled(without), LATENT - 3),
        "ranges": _ranges(within),
        "contrast": torch.tensor(contrast, dtype=torch.float32),
    }
    build_package(
        folder, CHEST, _source("chest"), weights=_saved(weights), latent=LATENT,
        options={"condition": None}, condition={"nodule": {"no": 0, "yes": 1}},
        dependencies=("numpy", "torch", "pillow"),
        selection=_selection(
            modality=["x-ray", "CXR"], organ=["chest", "lung"], generates=["chest x-ray"],
            function=["class to image"], condition=["nodule"],
        ),
        description=_description("Chest X-ray phantoms with or without a nodule"),
    )  # fmt: skip


def _build_brain_masks(folder: Path) -> None:
    without, within = (
        draw_phantoms("brain_mri", FIT, size=SIDE, condition={"contrast": "FLAIR", "tumour": flag})
        for flag in (False, True)
    )
    level = _scaled(within)[within.masks].mean()
    weights = {
        **_decoder(_scaled(without), LATENT - 3),
        "ranges": _ranges(within),
        "level": torch.tensor(level, dtype=torch.float32),
    }
    build_package(
        folder, BRAIN_MASKS, _source("brain_masks"), weights=_saved(weights), latent=LATENT,
        dependencies=("numpy", "torch", "pillow"),
        selection=_selection(
            modality=["MRI", "FLAIR"], organ=["brain"], generates=["brain slice", "tumour mask"],
            function=["noise to image and mask"], tags=["tumour", "segmentation mask"],
        ),
        description=_description("FLAIR brain phantoms with a tumour and its mask"),
    )  # fmt: skip


def _build_brain_t1_t2(folder: Path) -> None:
    module = _imported("brain_t1_t2")
    t1, t2 = (
        draw_phantoms("brain_mri", FIT[:64], size=SIDE, condition={"contrast": contrast})
        for contrast in ("T1", "T2")
    )
    states = {
        "T1_to_T2": _translation(module.Translator(), _scaled(t1), _scaled(t2)),
        "T2_to_T1": _translation(module.Translator(), _scaled(t2), _scaled(t1)),
    }
    samples = draw_phantoms("brain_mri", range(4), size=SIDE, condition={"contrast": "T1"})
    build_package(
        folder, BRAIN_T1_T2, _source("brain_t1_t2"), weights=_saved(states),
        files={f"images/t1_{n}.png": _png(image) for n, image in enumerate(samples.images)},
        options={
            "input_path": f"models/{BRAIN_T1_T2}/images", "T1_to_T2": True, "gpu_id": 0,
            "translate_all_images": False,
        },
        dependencies=("numpy", "torch", "pillow"),
        selection=_selection(
            modality=["MRI", "T1", "T2"], organ=["brain"], generates=["T2 brain slice"],
            function=["image to image"], type="least-squares convolution",
        ),
        description=_description("T1 to T2 of brain phantoms"),
    )  # fmt: skip


def _selection(**given: Any) -> dict[str, Any]:
    tags = [*given.pop("tags", []), "phantom"]
    return {"type": "PCA", "dataset": ["procedural phantoms"], "tags": tags, **given}


def _description(title: str) -> dict[str, str]:
    return {"title": f"{title} (stand-in, no patients)", "comment": NO_PATIENT}


# ---------------------------------------------------------------- fitting


def _decoder(images: NDArray[np.float64], latent: int) -> dict[str, torch.Tensor]:
    """Return a linear decoder: the images' mean and main components, for normal latents."""
    flat = images.reshape(len(images), -1)
    mean = flat.mean(0)
    _, vectors = np.linalg.eigh((flat - mean) @ (flat - mean).T)
    main = vectors[:, ::-1][:, :latent]
    main = main * np.where(main.sum(0) < 0, -1, 1)  # eigenvectors come with either sign
    components = (flat - mean).T @ main / np.sqrt(len(flat))
    # What the components leave out would make each pixel too steady, so they reach further.
    components *= (flat.std(0) / (np.sqrt((components**2).sum(1)) + 1e-9))[:, None]
    return {"decode.weight": _tensor(components), "decode.bias": _tensor(mean)}


def _ranges(drawn: Phantoms) -> torch.Tensor:
    """Return low and high of a lesion's place and radius, short of the rare extremes."""
    truth = (np.abs(drawn.parameters["x"]), drawn.parameters["y"], drawn.parameters["radius"])
    return _tensor(np.stack([np.quantile(values, (0.1, 0.9)) for values in truth]))


def _translation(
    net: Any, source: NDArray[np.float64], target: NDArray[np.float64]
) -> dict[str, torch.Tensor]:
    """Solve a convolution for the least squared error, at pixels drawn from all images."""
    with torch.no_grad():
        maps = net.features(_tensor(source)[:, None])
    width = net.mix.kernel_size[0]
    patches = torch.nn.functional.unfold(maps, width, padding=width // 2).transpose(1, 2)
    patches = patches.reshape(-1, patches.shape[-1])
    rows = torch.randperm(len(patches), generator=torch.Generator().manual_seed(0))[:40_000]
    design = torch.cat([patches[rows], torch.ones(len(rows), 1)], 1).double()
    wanted = torch.from_numpy(target).reshape(-1)[rows]
    damped = design.T @ design + 1e-3 * len(rows) / 1e3 * torch.eye(design.shape[1]).double()
    solved = torch.linalg.solve(damped, design.T @ wanted).float()
    return {"mix.weight": solved[:-1].reshape(net.mix.weight.shape), "mix.bias": solved[-1:]}


def _scaled(drawn: Phantoms) -> NDArray[np.float64]:
    return drawn.images / 255.0


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


# ---------------------------------------------------------------- a network of usual size


def dcgan_source() -> str:
    """Return a package with a DCGAN of 128 pixels as the tutorials have it."""
    return _source("dcgan")


def dcgan_weights(seed: int = 0) -> bytes:
    """Return random weights for it: 12.8 M parameters, from which grey images come."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = _imported("dcgan").Generator()
        for module in net.modules():
            if isinstance(module, torch.nn.ConvTranspose2d):
                torch.nn.init.normal_(module.weight, 0, 0.02)
            elif isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.normal_(module.weight, 1, 0.02)
                module.momentum = None  # the batch below settles its statistics at once
        with torch.no_grad():
            net(torch.randn(8, 100, 1, 1))
    return _saved(net.state_dict())


# ---------------------------------------------------------------- bytes


def _source(name: str) -> str:
    return (PACKAGES / f"{name}.py").read_text("utf-8")


def _imported(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_package_{name}", PACKAGES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _saved(state: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    torch.save(dict(state), stream)
    return stream.getvalue()


def _png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


if __name__ == "__main__":
    print(build_mirror(Path(sys.argv[1])))
