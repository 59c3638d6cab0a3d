"""The device that computes: which one, how full, what it is called, and its one lock."""

from __future__ import annotations

import os
import platform
import threading
from functools import cache

import numpy as np
import psutil
import torch

from medgan_widgets.errors import RequestError


@cache
def device_lock(device: str) -> threading.RLock:
    """Return the one lock of a device, shared by every engine on it."""
    return threading.RLock()


def name_of(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu · {threads} thread{'s' if threads > 1 else ''}"
    return str(device)


def checked_device(device: str) -> torch.device:
    """Return the device asked for, or the best one for ``"auto"``; refuse one that is not here."""
    if device == "auto":
        if torch.cuda.is_available():
            free = [torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count())]
            return torch.device("cuda", int(np.argmax(free)))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise RequestError(
            f"device {device!r} is not here; use 'auto', 'cpu', or a device torch can see."
        ) from error
    if found.type == "meta":
        raise RequestError("device 'meta' holds no numbers; use 'auto', 'cpu' or a real device.")
    # One name for one device: its lock goes by it.
    if found == torch.device("cuda"):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(found.type) if found.type in ("cpu", "mps") else found


def visible_number(device: str) -> str:
    """Return what ``CUDA_VISIBLE_DEVICES`` has to be for a process to see this device alone.

    torch counts what this process may see, so a number is looked up in its own list, which
    may hold other numbers or UUIDs; for the CPU it is empty: no GPU at all.

    Examples
    --------
    >>> visible_number("cpu")
    ''
    """
    index = device.partition(":")[2]
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not index or listed is None:
        return index
    numbers = [one.strip() for one in listed.split(",")]
    if int(index) >= len(numbers):
        raise RequestError(
            f"{device} is not in CUDA_VISIBLE_DEVICES={listed!r}, which was changed after CUDA had "
            "started; set it before the kernel starts."
        )
    return numbers[int(index)]


def free_bytes(device: torch.device) -> int:
    """Return how much memory is free on the device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def used_bytes(device: torch.device) -> int | None:
    """Return what this process holds of the device's own memory; None where it has none.

    On CUDA that is what torch has reserved, which is what others cannot use.
    """
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return None


def backend(device: torch.device) -> str:
    """Return what computes there: part of what decides the last bit of a pixel."""
    if device.type == "cuda":
        return f"cuda {torch.version.cuda}, {torch.cuda.get_device_name(device)}"
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that the device is full."""
    known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return known or "can't allocate memory" in str(error) or "out of memory" in str(error)
