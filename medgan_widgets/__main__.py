"""The command line: ``python -m medgan_widgets train|export|score …``.

::

    python -m medgan_widgets train runs/knee --data my_images/ --kimg 200
    python -m medgan_widgets export phantom-styles out --seeds 0:64 --training brain_mri --gate stop
    python -m medgan_widgets score phantom-styles --real my_images/ --metrics fd kid

Without ``--data``, ``train`` begins a run that is prepared, or goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import inspect
import json
import logging
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from medgan_widgets.errors import MedganError, RequestError
from medgan_widgets.presets import PRESETS, TrainConfig
from medgan_widgets.requests import GenerateRequest

log = logging.getLogger("medgan_widgets")


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 0 when all of it was done."""
    given = vars(_parser().parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        given.pop("command")(**given)
    except (MedganError, ValueError) as error:
        log.error("%s", error)
        return 1
    return 0


def _train(**settings: Any) -> None:
    """Train one run and log a line a tick."""
    from medgan_widgets.training.process import train_here  # torch is slow to load

    train_here(**settings)


def _export(
    model_id: str, out: str, seeds: str, condition: str, psi: float | None, **more: Any
) -> None:
    """Write images of a model, unless the gate stops them."""
    from medgan_widgets.exporting import export

    more["gate"] = None if more["gate"] == "none" else more["gate"]
    done = export(_request(model_id, seeds, condition, psi), out, **more)
    log.info("%d images in %s", done.count, done.path)
    log.info("%s", done.report.text)


def _score(fake: str, seeds: str | None, condition: str, psi: float | None, **more: Any) -> None:
    """Write how images compare with real ones."""
    from medgan_widgets.catalogue import Catalogue
    from medgan_widgets.datasets.phantom import phantom_named
    from medgan_widgets.metrics.score import score

    judged: Any = fake
    if seeds is not None:
        judged = _request(fake, seeds, condition, psi)
    elif not Path(fake).exists() and not phantom_named(fake):
        judged = Catalogue()[fake]  # as many images as there are reals
    sys.stdout.write(f"{score(judged, **more)}\n")


def _request(model_id: str, seeds: str, condition: str, psi: float | None) -> GenerateRequest:
    first, _, last = seeds.partition(":")
    try:
        chosen = range(int(first), int(last) if last else int(first) + 1)
    except ValueError:
        raise RequestError(f"--seeds must be like 0:16 or 7, got {seeds!r}.") from None
    return GenerateRequest(
        model_id, seeds=chosen, condition=json.loads(condition), truncation_psi=psi
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m medgan_widgets", description="Train, export and score from a shell."
    )
    commands = parser.add_subparsers(required=True)

    train = commands.add_parser("train", help="train a run, or go on with it")
    train.set_defaults(command=_train)
    train.add_argument("run_dir", type=Path)
    train.add_argument("--threads", type=int, help="of the processor")
    # One flag for each field of TrainConfig, with its comment as help.
    comments = dict(re.findall(r"^    (\w+): .*?  # (.+)$", inspect.getsource(TrainConfig), re.M))
    for field in fields(TrainConfig):
        kinds: dict[str, Any] = {"int": int, "float": float, "Mapping[str, Any]": json.loads}
        kind = kinds.get(str(field.type).removesuffix(" | None"), str)
        how = {"action": "store_true"} if field.type == "bool" else {"type": kind}
        flag = f"--{field.name.replace('_', '-')}"
        train.add_argument(flag, default=field.default, help=comments[field.name], **how)
    next(a for a in train._actions if a.dest == "preset").choices = sorted(PRESETS)

    export = commands.add_parser("export", help="write images of a model")
    export.set_defaults(command=_export)
    export.add_argument("model_id")
    export.add_argument("out", help="a zip, or a folder with --format png")
    export.add_argument("--format", default="zip", help="zip or png")
    export.add_argument("--training", help="what the model was trained on")
    export.add_argument("--gate", choices=("warn", "stop", "none"), default="warn")
    export.add_argument("--runs", default="runs", help="where the model's run may be")

    score = commands.add_parser("score", help="compare images with real ones")
    score.set_defaults(command=_score)
    score.add_argument("fake", help="a model's id, a folder, a run or a phantom's kind")
    score.add_argument("--real", required=True, help="the same choices")
    score.add_argument("--metrics", nargs="+", default=["fd", "kid"])
    score.add_argument("--extractor", default="canonical-1")
    score.add_argument("--weights", help="a file, for extractors that need one")
    score.add_argument("--labels", help="where real files have their classes")
    score.add_argument("--group", help="where real files have their patients")
    score.add_argument("--n", type=int, help="at most so many images a side")
    score.add_argument("--device", default="cpu")
    for command, default in ((export, "0:16"), (score, None)):
        command.add_argument("--seeds", default=default, help="first:after-the-last, or one")
        command.add_argument("--condition", default="{}", help='as JSON: {"contrast": "T2"}')
        command.add_argument("--psi", type=float, help="truncation, for models that have it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
