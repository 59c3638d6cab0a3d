"""Begin with what another run or model has learned: other data, the same network."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from safetensors.torch import load as tensors_from_bytes
from torch import Tensor, nn

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.errors import MedganError, RequestError, WeightsError
from medgan_widgets.runs import WEIGHTS, run_config
from medgan_widgets.training.state import TrainingState, checkpoints, tensors_of

log = logging.getLogger(__name__)

SAME = ("size", "channels", "z_dim", "width")


def parent_of(
    start_from: str | Path, network: str, settings: dict[str, int]
) -> dict[str, str | None]:
    """Return where weights come from (a run directory, a model's folder or id): file, SHA-256, run.

    Its network must be the one that the new training builds, but for the classes.
    """
    place = Path(start_from)
    if (place / "config.json").is_file():
        config = run_config(place)
        name, have = config["settings"]["network"], config["network"]
        weights, run_id, model = place / WEIGHTS, config.get("run_id"), None
    else:
        name, have, weights, run_id, model = _model(start_from)
    differing = [key for key in SAME if have.get(key) != settings.get(key)]
    if name != network or differing:
        ours = ", ".join(f"{key} {settings.get(key)}" for key in differing)
        theirs = ", ".join(f"{key} {have.get(key)}" for key in differing)
        raise RequestError(
            f"{start_from} cannot be started from: it is a {name} network"
            + (f" with {theirs}, and this is one with {ours}" if differing else f", not {network}")
            + "; choose the same network, width and size."
        )
    try:
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise RequestError(
            f"{start_from} has no weights to start from ({error.strerror})."
        ) from None
    return {
        "what": str(start_from),
        "model": model,
        "file": str(weights.absolute()),
        "sha256": sha256,
        "run_id": run_id,
    }


def start_weights(
    state: TrainingState, parent: dict[str, Any] | None, freeze_d: int
) -> tuple[nn.Parameter, ...]:
    """Fill a fresh state with a parent's weights; return the discriminator's frozen ones.

    What depends on the classes starts anew where their number differs; the
    discriminator comes along when the parent is a run that still has a checkpoint.
    """
    if parent is not None:
        path = Path(parent["file"])
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != parent["sha256"]:
                raise WeightsError(
                    f"{path} has changed since this run was prepared; prepare it again."
                )
            tensors = tensors_from_bytes(content)
        except OSError as error:
            raise WeightsError(f"{path} cannot be read ({error.strerror}).") from error
        for network in (state.generator, state.averaged):
            _take(network, tensors)
        kept = checkpoints(path.parent.parent)
        if path.parent.name == "checkpoint" and kept:
            whole = tensors_from_bytes(kept[-1].read_bytes())
            _take(state.discriminator, tensors_of(whole, "discriminator"))
    return _frozen(state.discriminator, freeze_d)


def _model(name: str | Path) -> tuple[str, dict[str, Any], Path, str | None, str]:
    place = Path(name)
    try:
        catalogue = Catalogue(place.parent) if (place / "card.json").is_file() else Catalogue()
        card = catalogue[place.name if (place / "card.json").is_file() else str(name)]
    except MedganError as error:
        raise RequestError(f"start_from must be a run or a model: {error}") from None
    if card.network is None or card.weights is None:
        raise RequestError(f"{card.id} has no weights of this package; choose another model.")
    weights, run = catalogue.folder_of(card.id) / card.weights.file, card.training.get("run")
    settings = dict(card.network.settings)
    run_id = None if run is None else str(run)
    return card.network.name, settings, weights, run_id, card.id


def _take(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = network.state_dict()
    fits = {k: v.float() for k, v in tensors.items() if k in own and v.shape == own[k].shape}
    anew = sorted(k for k in own if k not in fits and not k.endswith("num_batches_tracked"))
    if anew:
        log.info("%d tensors start anew, e.g. %s", len(anew), anew[0])
    network.load_state_dict(fits, strict=False)


def _frozen(discriminator: nn.Module, count: int) -> tuple[nn.Parameter, ...]:
    """Return the weights of the first layers, which keep what they learned (FreezeD, Mo 2020)."""
    layers = [m for m in discriminator.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    weights = tuple(weight for layer in layers[:count] for weight in layer.parameters())
    for weight in weights:
        weight.requires_grad_(False)
    return weights
