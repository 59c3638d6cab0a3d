"""The command line of exports: its exit code says whether the images passed the gate."""

from __future__ import annotations

import argparse
import json
import logging

from medgan_widgets.errors import MedganError, RequestError
from medgan_widgets.exporting.writer import FORMATS, export
from medgan_widgets.requests import GenerateRequest

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what an export is asked by, as ``phantom-styles out --seeds 0:64 --gate stop``."""
    parser.add_argument("model_id")
    parser.add_argument("out", help="a zip, or a folder with --format png")
    parser.add_argument("--seeds", default="0:16", help="first:after-the-last, or one")
    parser.add_argument("--condition", default="{}", help='as JSON: {"contrast": "T2"}')
    parser.add_argument("--psi", type=float, help="truncation, for models that have it")
    parser.add_argument("--format", choices=tuple(FORMATS), default="zip")
    parser.add_argument("--training", help="what the model was trained on")
    parser.add_argument("--gate", choices=("warn", "stop", "none"), default="warn")
    parser.add_argument("--runs", default="runs", help="where the model's run may be")


def run(arguments: argparse.Namespace) -> int:
    """Export what the command line asks for; 0 when all of it was written."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        request = GenerateRequest(
            arguments.model_id,
            seeds=_seeds(arguments.seeds),
            condition=json.loads(arguments.condition),
            truncation_psi=arguments.psi,
        )
        done = export(
            request,
            arguments.out,
            format=arguments.format,
            training=arguments.training,
            gate=None if arguments.gate == "none" else arguments.gate,
            runs=arguments.runs,
        )
    except (MedganError, ValueError) as error:
        log.error("%s", error)
        return 1
    log.info("%d images in %s", done.count, done.path)
    log.info("%s", done.report.text)
    return 0


def _seeds(text: str) -> range:
    first, _, last = text.partition(":")
    try:
        return range(int(first), int(last) if last else int(first) + 1)
    except ValueError:
        raise RequestError(f"--seeds must be like 0:16 or 7, got {text!r}.") from None
