"""Write images of a model from a shell; the exit code says whether they passed the gate.

::

    python -m medgan_widgets.exporting phantom-styles out --seeds 0:64 --training brain_mri
"""

from __future__ import annotations

import argparse
import json
import logging

from medgan_widgets.errors import MedganError, RequestError
from medgan_widgets.exporting.write import export
from medgan_widgets.requests import GenerateRequest

log = logging.getLogger("medgan_widgets.exporting")


def main(arguments: list[str] | None = None) -> int:
    """Export what the command line asks for; 0 when all of it was written."""
    given = _parsed(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        seeds = _seeds(given.seeds)
        request = GenerateRequest(
            given.model_id,
            seeds=seeds,
            condition=json.loads(given.condition),
            truncation_psi=given.psi,
        )
        done = export(
            request,
            given.out,
            format=given.format,
            training=given.training,
            gate=None if given.gate == "none" else given.gate,
            runs=given.runs,
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


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="medgan_widgets.exporting", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("model_id")
    parser.add_argument("out", help="a zip, or a folder with --format png")
    parser.add_argument("--seeds", default="0:16", help="first:after-the-last, or one")
    parser.add_argument("--condition", default="{}", help='as JSON: {"contrast": "T2"}')
    parser.add_argument("--psi", type=float, help="truncation, for models that have it")
    parser.add_argument("--format", choices=("zip", "png"), default="zip")
    parser.add_argument("--training", help="what the model was trained on")
    parser.add_argument("--gate", choices=("warn", "stop", "none"), default="warn")
    parser.add_argument("--runs", default="runs", help="where the model's run may be")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
