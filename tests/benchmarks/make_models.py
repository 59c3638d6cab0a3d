"""Make a shipped model of a finished training run: weights, card, figures, pictures.

Run it after the two trainings that a model's card names::

    python -m medgan_widgets train runs/brain --data brain_mri --cpu-seconds 1380 --seed 1
    python -m medgan_widgets train runs/brain-dcgan --preset dcgan \
        --data brain_mri --cpu-seconds 1380 --seed 1
    python tests/benchmarks/make_models.py phantom-brain-mri runs/brain runs/brain-dcgan

The Fréchet distance is measured on what the engine makes from the shipped
file, against phantoms that neither the generator nor the extractor has seen.
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import medgan_widgets as mw
from medgan_widgets.cards import ModelCard, ScoreCard
from medgan_widgets.checkpoints import read_generator
from medgan_widgets.features import PHANTOM_CNN, features_from_images
from medgan_widgets.files import write_whole
from medgan_widgets.images import mosaic, png_bytes
from medgan_widgets.metrics import score_of
from medgan_widgets.phantoms import draw_phantoms
from medgan_widgets.requests import Score
from medgan_widgets.runs import Tick, read_run

MODELS = Path(__file__).parents[2] / "models"
COUNT = 3000
REAL, OTHER = 2**40, 2**41  # seeds of phantoms kept for evaluation


@dataclass(frozen=True)
class Shipped:
    """What the card says that no run knows."""

    title: str
    modality: str
    organ: str
    region: str
    makes: str
    description: str
    limits: str


COMMON = (
    " A phantom: no patient is behind any image, trained on or made. For research and teaching, "
    "never for diagnosis. A class is what was asked for, not what is seen: some images of a lesion "
    "class show none, a smear, or two."
)
UNKNOWN = (
    " How well the statistics of the anatomy are met beyond the figure above was not measured; "
    "whether the generator repeats training images was not assessed."
)
SHIPPED = {
    "phantom-brain-mri": Shipped(
        "Brain MRI phantom, axial", "MR", "brain", "axial slice",
        "slice with/without tumour",
        "Axial brain slice in T1, T2 or FLAIR, with or without a tumour.",
        "One slice level, one scanner, tumours of one kind; anatomy is schematic." + COMMON,
    ),
    "phantom-chest-xray": Shipped(
        "Chest X-ray phantom, frontal", "DX", "chest", "PA view",
        "chest with/without nodule",
        "Frontal chest X-ray, with or without a lung nodule.",
        "Adult proportions, no devices and no disease but nodules; anatomy is schematic." + COMMON,
    ),
    "phantom-mammogram": Shipped(
        "Mammogram phantom, region of interest", "MG", "breast", "mass ROI",
        "tissue with/without mass",
        "Region of a mammogram, with or without a mass.",
        "Texture and masses only: no calcifications, skin or muscle." + COMMON,
    ),
    "phantom-styles": Shipped(
        "Brain MRI phantom, style-based", "MR", "brain", "axial slice",
        "slice with/without tumour",
        "Axial brain slice in T1, T2 or FLAIR, with or without a tumour, whose coarse and fine "
        "styles can be mixed.",
        "One slice level, one scanner, tumours of one kind; anatomy is schematic." + COMMON,
    ),
}  # fmt: skip


def main() -> None:
    """Read the command line and make one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_id", choices=sorted(SHIPPED))
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "baseline", type=Path, nargs="?", help="a DCGAN run of the same CPU seconds"
    )
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--count", type=int, default=COUNT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    make_model(given.model_id, given.run, given.baseline, given.models, given.count)


def make_model(model_id: str, run: Path, baseline: Path | None, models: Path, count: int) -> None:
    """Write the model's folder: first without figures, then with what was measured."""
    folder = models / model_id
    config, ticks = read_run(run)
    card = _card(model_id, models, run, config)
    size = config["size"]
    real, other = (
        features_from_images(
            draw_phantoms(config["data"], range(s, s + count), size=size).images, PHANTOM_CNN
        )
        for s in (REAL, OTHER)
    )
    engine = mw.Engine(device="cpu", catalogue=mw.Catalogue(models))
    made = engine.images(mw.GenerateRequest(model_id, seeds=range(count)))
    score = _score(made, real, other)
    dcgan = None if baseline is None else _score(_baseline_images(baseline, count), real, other)
    scores = (ScoreCard(**score.to_dict()),)
    card = card.model_copy(update={"scores": scores})
    card.write(folder / "card.json")
    readme = _readme(card, score, dcgan, config, ticks, baseline)
    write_whole(folder / "README.md", readme.encode())
    drawn = draw_phantoms(config["data"], range(16), size=size).images[..., None]
    write_whole(folder / "phantoms.png", png_bytes(mosaic(drawn, columns=8)))
    print(f"{model_id}: {_figure(score)}; DCGAN {_figure(dcgan) if dcgan else 'not measured'}")


def _score(images: np.ndarray, real: np.ndarray, other: np.ndarray) -> Score:
    fake = features_from_images(images, PHANTOM_CNN)
    return score_of("fd", real, fake, extractor=PHANTOM_CNN, other=other)[0]


def _card(model_id: str, models: Path, run: Path, config: dict[str, Any]) -> ModelCard:
    """Make the model as anybody would, then say what only the shipped ones say."""
    about = SHIPPED[model_id]
    card = mw.make_model(
        run, model_id, title=about.title, modality=about.modality, organ=about.organ,
        region=about.region, makes=about.makes, licence="MIT", models=models, overwrite=True,
    )  # fmt: skip
    seconds = round(config["cpu_seconds"])
    told = {
        "data": f"{config['pool']} phantoms, seeds 0 to {config['pool'] - 1}",
        "cpu_seconds": seconds,
        "command": (
            f"python -m medgan_widgets train runs/{model_id} --data {config['data']} "
            f"--preset {config['preset']} --size {config['size']} --cpu-seconds {seconds} "
            f"--seed {config['seed']}"
        ),
    }
    changes = {
        "description": about.description + " Trained on procedural phantoms with known truth.",
        "training": {**card.training, **told},
        "limits": about.limits,
    }
    return card.model_copy(update=changes)


@torch.inference_mode()
def _baseline_images(run: Path, count: int) -> np.ndarray:
    """Return images of the baseline's own generator, uint8 [N, H, W, C]."""
    config, _ = read_run(run)
    name = config["settings"]["network"]
    network = read_generator(
        run / "checkpoint" / "generator.safetensors", name, config["network"]
    ).for_inference()
    torch.manual_seed(0)
    parts = []
    for start in range(0, count, 50):
        z = torch.randn(min(50, count - start), network.z_dim)
        made = network(z, z[:, :0], [])
        parts.append(((made.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def _figure(score: Score) -> str:
    return (
        f"{score.value:.2f} [{_interval(score)}], n {score.n_real} / {score.n_fake}, "
        f"floor {score.floor:.2f}"
    )


def _readme(
    card: ModelCard,
    score: Score,
    dcgan: Score | None,
    config: dict[str, Any],
    ticks: list[Tick],
    baseline: Path | None,
) -> str:
    assert card.weights is not None
    seconds = card.training["cpu_seconds"]
    factors = "; ".join(f"{k}: {', '.join(map(str, v))}" for k, v in card.condition.items())
    return f"""# {card.title}

{card.description}
Synthetic images: not real, and nobody's: the generator was trained on procedural
phantoms whose shapes and noise are known, not on patients.

Synthetic, seeds 0 to 15:

![Sixteen synthetic images, each marked with its seed](grid.png)

Phantoms, drawn by their equations, for comparison:

![Sixteen phantoms](phantoms.png)

| | |
|---|---|
| size | {card.size[0]} x {card.size[1]} pixels, {card.channels} channel |
| condition | {factors} |
| data | {card.training["data"]}, kind `{config["data"]}` of `medgan_widgets.phantoms` |
| preset | `{config["preset"]}`, width {config["network"]["width"]}, seed {config["seed"]} |
| trained | {seconds} CPU seconds on one thread, {ticks[-1].kimg:.0f} thousand images |
| weights | {card.weights.bytes / 1024:.0f} KiB, safetensors, {card.training["precision"]} |
| licence | {card.licence} |

## Figures

Fréchet distance on features of `{score.extractor}`, a small network that reads the phantoms' own
parameters; lower is better. The interval is 95 %; the floor is real phantoms against other real
phantoms at the same n. {_about(baseline)}

| | FD | interval | n phantoms / synthetic | floor |
|---|---|---|---|---|
{_row("this model", score)}{_row("DCGAN baseline", dcgan) if dcgan else ""}
These values compare with each other only: never with a FID, nor with another extractor's FD.

## Limits

{textwrap.fill(card.limits + UNKNOWN, 98)}

## Train it again

```bash
{card.training["command"]}
```

The run stops after that much processor time, so a faster machine sees more images and the weights
differ; the figures above are of the shipped file.
"""


def _about(baseline: Path | None) -> str:
    if baseline is None:
        return "The DCGAN baseline was not measured yet."
    config, ticks = read_run(baseline)
    return (
        "The baseline is the DCGAN of PyTorch's tutorial, grown to this size and\ntrained for "
        f"{round(config['cpu_seconds'])} CPU seconds ({ticks[-1].kimg:.0f} thousand images)."
    )


def _row(name: str, score: Score) -> str:
    return (
        f"| {name} | {score.value:.2f} | {_interval(score)} | {score.n_real} / {score.n_fake} "
        f"| {score.floor:.2f} |\n"
    )


def _interval(score: Score) -> str:
    assert score.interval is not None
    return f"{score.interval[0]:.2f} to {score.interval[1]:.2f}"


if __name__ == "__main__":
    main()
