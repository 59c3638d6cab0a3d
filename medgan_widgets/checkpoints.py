"""Weights on disk: written atomically, read with every check.

Only safetensors: a pickle can carry code. What is read is compared with the
card's SHA-256 and with the network's own shapes before a number of it is used.
"""

from __future__ import annotations

import hashlib
import pickle
import string
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as bytes_from_tensors
from torch import Tensor, nn

from medgan_widgets.errors import WeightsError
from medgan_widgets.files import write_whole
from medgan_widgets.networks import GENERATORS, Generator

COUNTER = "num_batches_tracked"  # of training steps; nothing reads it


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of some bytes as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def write_weights(path: Path, network: nn.Module, half: bool = True) -> tuple[str, int]:
    """Write a network's weights as safetensors; return their SHA-256 and size in bytes.

    ``half`` stores fp16, half the size; the network is run in fp32 either way.
    """
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor)
        .detach()
        .contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith(COUNTER)
    }
    content = bytes_from_tensors(tensors)
    write_whole(path, content, parents=True)
    return sha256_of(content), len(content)


def build_generator(name: str, settings: dict[str, Any]) -> Generator:
    """Build a generator on the meta device: shapes without memory, filled by its weights."""
    if name not in GENERATORS:
        have = ", ".join(sorted(GENERATORS))
        raise WeightsError(f"network must be one of {have}; the card says {name!r}.")
    try:
        with torch.device("meta"):
            return GENERATORS[name](**settings)
    except (TypeError, ValueError, RuntimeError, IndexError, OverflowError) as error:
        raise WeightsError(f"the {name} network cannot be built as its card says: {error}") from (
            error
        )


def read_generator(
    path: Path, name: str, settings: dict[str, Any], sha256: str | None = None
) -> Generator:
    """Read a generator: network and weights, on the CPU, fp32, every value checked.

    ``sha256`` is what the file must hash to; None skips this check.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for ever
        raise WeightsError(f"the weights {path} are not a file; restore the model's folder.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"the weights {path} cannot be read ({error.strerror or error}); "
            "restore the file or remove the model's folder."
        ) from error
    if sha256 is not None and (found := sha256_of(content)) != sha256:
        raise WeightsError(
            f"the weights {path.name} are not the ones of the card: expected SHA-256 "
            f"{sha256[:12]}…, got {found[:12]}…; the file is "
            f"{_other_file(path) or 'damaged or was replaced'}."
        )
    try:
        tensors = tensors_from_bytes(content)
    except SafetensorError as error:
        why = _other_file(path) or error
        raise WeightsError(f"{path.name} is not a whole safetensors file: {why}.") from error
    return generator_of(tensors, name, settings, path.name)


def generator_of(
    tensors: dict[str, Tensor],
    name: str,
    settings: dict[str, Any],
    file: str,
    saved_as: Callable[[str], str] = str,
) -> Generator:
    """Return a generator filled with tensors, fp32, every value checked.

    Errors name ``file``, and tensors as ``saved_as`` says that they are called in it.
    """
    network = build_generator(name, settings)
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith(COUNTER)}
    missing, extra = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing or extra:
        example = saved_as(sorted(extra or missing)[0])  # rather one that is in the file
        raise WeightsError(
            f"{file} does not fit the network: {len(missing)} tensors are missing and "
            f"{len(extra)} are unknown, e.g. {example!r}."
        )
    # A counter of training steps; nothing reads it, but no tensor may stay on the meta device.
    ready = {
        key: torch.zeros_like(tensor, device="cpu")
        for key, tensor in network.state_dict().items()
        if key.endswith(COUNTER)
    }
    for key, tensor in tensors.items():
        ready[key] = tensor.float() if tensor.is_floating_point() else tensor  # doubles too
        shape, wanted = tuple(tensor.shape), tuple(expected[key].shape)
        problem = ""
        if shape != wanted:
            problem = f"does not fit the network: {{}} has shape {shape}, expected {wanted}"
        elif not tensor.is_floating_point():
            problem = f"holds {tensor.dtype} in {{}}, expected real numbers"
        elif not torch.isfinite(ready[key]).all():
            problem = "holds values that are not finite, first in {}"
        elif key.endswith("running_var") and bool((ready[key] < 0).any()):
            problem = "holds a negative variance in {}; it is damaged"
        if problem:
            raise WeightsError(f"{file} {problem.format(saved_as(key))}.")
    network.load_state_dict(ready, assign=True)
    return network.eval().requires_grad_(False)


def read_pytorch(path: Path) -> Any:
    """Return what ``torch.save`` or safetensors wrote: tensors by name, numbers, no code.

    A pickle can carry code; it is read with a list of harmless types, so nothing of it runs.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; name the checkpoint itself.")
    if not path.stat().st_size:
        raise WeightsError(f"{path.name} is empty; copy the checkpoint again.")
    try:
        other = _other_file(path)
        if not other and path.suffix == ".safetensors":
            return tensors_from_bytes(path.read_bytes())
        if not other:
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} holds more than weights, such as pickled code, which is not run here "
            f"({_first_line(error)}); in the program that made it, write the plain weights with "
            "torch.save(generator.state_dict(), path)."
        ) from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, SafetensorError) as error:
        raise WeightsError(
            f"{path.name} cannot be read as a PyTorch checkpoint ({_first_line(error)}); "
            "copy it again."
        ) from None
    raise WeightsError(f"{path.name} holds no weights: it is {other}.")


def _other_file(path: Path) -> str:
    """Say what a file is that came in place of a checkpoint, and what to do; else nothing."""
    with path.open("rb") as file:
        head = file.read(512)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; run git lfs pull, or download the file itself"
    if text.startswith(b"<"):
        return "a web page (HTML or XML); download the file itself, perhaps after signing in"
    if text and head.isascii() and not set(head) - set(string.printable.encode()):
        kind = "JSON" if text[:1] in (b"{", b"[") else "text"
        return f"{kind} that begins with {text[:60].decode()!r}; download the file itself"
    if path.suffix != ".safetensors" and not head.startswith((b"PK", b"\x80")):
        return "of no kind that torch.save writes; unpack it, or give it the ending .safetensors"
    if zipfile.is_zipfile(path):
        names = zipfile.ZipFile(path).namelist()
        if any("/code/" in name for name in names):
            return "TorchScript, which is code; write the plain weights with torch.save"
        if not any(name.endswith("data.pkl") for name in names):
            return f"a zip of {', '.join(names[:3]) or 'nothing'}; unpack it, and name one of those"
    return ""


def fits_half(network: nn.Module) -> bool:
    """Return whether fp16 holds every weight to the last bit."""
    tensors = [t for t in network.state_dict().values() if t.is_floating_point()]
    return all(torch.equal(tensor.half().to(tensor.dtype), tensor) for tensor in tensors)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "nsupported" in line]  # the type that was refused
    return (named or lines or [type(error).__name__])[0][:200]
