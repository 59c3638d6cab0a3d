"""Keep a package's model resident: weights read once, networks built once, from outside its code.

``torch.load``, the construction of the package's modules and ``load_state_dict`` remember
what they did; a call that repeats them gets the same objects, unless somebody has changed
them. Building a network draws random numbers that a repeated call would leave undrawn, so
construction leaves the random state as it found it.

This file runs in the worker, which may have another Python: torch, numpy and
the standard library only.
"""

from __future__ import annotations

import copy
import functools
import inspect
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SAFE_LOADING = "weights_only" in inspect.signature(torch.load).parameters
_PLAIN = (str, int, float, bool, type(None))


class PickleRefused(RuntimeError):
    """Weights that are whole pickled objects, without a yes to that."""


class Resident:
    """What one package, with its code below ``root``, has read and built."""

    current: Resident | None = None  # whose call it is now

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._format = torch.contiguous_format
        self._forget()

    def _forget(self) -> None:
        # file and arguments -> (its content, its tensors with their versions)
        self._files: dict[Any, tuple[Any, list[tuple[torch.Tensor, int]]]] = {}
        # class and arguments -> the modules that were built with them, in their order
        self._built: dict[Any, list[nn.Module]] = {}
        # module -> (the state given, its tensors then, what load_state_dict returned)
        self._loaded: dict[int, tuple[Any, Any, Any]] = {}

    @contextmanager
    def call(self, *, cached: bool) -> Iterator[None]:
        """Run one call of the package, with what the calls before it left or without."""
        if not cached:
            self._forget()
            self._format = torch.contiguous_format
        self._cached, self._depth = cached, 0
        self._taken: dict[Any, int] = {}  # class and arguments -> how many this call has had
        self._again: set[int] = set()  # modules handed out anew, whose __init__ is still to come
        modules: Any = nn.Module
        load_state = modules.load_state_dict

        @functools.wraps(load_state)
        def remembered_state(module: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            return self._load_state(load_state, module, state_dict, args, kwargs)

        def remembered_new(cls: type, *args: Any, **kwargs: Any) -> Any:
            return self._new(cls, args, kwargs)

        modules.load_state_dict, modules.__new__ = remembered_state, remembered_new
        Resident.current = self
        try:
            yield
        finally:
            Resident.current = None
            modules.load_state_dict = load_state
            # ``object.__new__`` once a class had its own would refuse arguments.
            modules.__new__ = _empty

    def use_format(self, how: str) -> None:
        """Lay the weights of all networks out anew: ``"channels_last"`` or as they were."""
        wanted = torch.channels_last if how == "channels_last" else torch.contiguous_format
        if wanted is not self._format:
            self._format = wanted
            for module in (module for modules in self._built.values() for module in modules):
                module.to(memory_format=wanted)

    def load(self, original: Any, file: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Read weights, once."""
        key = _file_key(file, args, kwargs)
        held = self._files.get(key) if self._cached and key else None
        if held is None or any(tensor._version != version for tensor, version in held[1]):
            content = original(file, *args, **kwargs)
            held = content, [(tensor, tensor._version) for tensor in _tensors(content)]
            if key:
                self._files[key] = held
        return _copied(held[0]) if _is_plain(held[0]) else copy.deepcopy(held[0])

    def _new(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a module built before, or an empty one that ``__init__`` will fill."""
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        own = file and os.path.realpath(str(file)).startswith(self.root + os.sep)
        if self._depth == 0 and own:
            self._wrap(cls)
            key = _module_key(cls, args, kwargs)
            count, built = self._taken.get(key, 0), self._built.get(key, [])
            if key is not None and self._cached and count < len(built):
                self._taken[key] = count + 1
                self._again.add(id(built[count]))
                return built[count]
        return object.__new__(cls)

    def _wrap(self, cls: type) -> None:
        """Let ``__init__`` of an own class skip what is built, and remember what it builds."""
        if getattr(cls.__dict__.get("__init__"), "_medgan_resident", None) is self:
            return
        kind: Any = cls  # assigning a method to a class is what mypy will not see
        original = kind.__init__

        @functools.wraps(original)
        def init(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            if id(module) in self._again:
                self._again.discard(id(module))
                module.train()  # as a new one would be
                return
            if self._depth or type(module) is not cls:  # a part of another module, or a subclass
                original(module, *args, **kwargs)
                return
            self._depth += 1
            try:
                with undisturbed():
                    seed_everything(0)  # what no weights fill is the same in every process
                    original(module, *args, **kwargs)
            finally:
                self._depth -= 1
            key = _module_key(cls, args, kwargs)
            if key is not None:
                self._built.setdefault(key, []).append(module)
                self._taken[key] = len(self._built[key])

        init._medgan_resident = self  # type: ignore[attr-defined]
        kind.__init__ = init

    def _load_state(
        self, original: Any, module: nn.Module, state: Any, args: Any, kwargs: Any
    ) -> Any:
        """Copy weights into a module, unless the very same are in it already."""
        try:
            given = tuple((name, id(t), t._version) for name, t in state.items())
        except (AttributeError, TypeError):
            return original(module, state, *args, **kwargs)
        key = (given, args, tuple(sorted(kwargs.items())))
        before = self._loaded.get(id(module))
        if self._cached and before and before[:2] == (key, _versions(module)):
            return before[2]
        answer = original(module, state, *args, **kwargs)
        self._loaded[id(module)] = (key, _versions(module), answer)
        return answer


def guard_loading(pickle: bool) -> None:
    """Replace ``torch.load`` for good, before a package is imported: it may keep a name of it."""
    original = torch.serialization.load

    def safely(file: Any, *args: Any, **kwargs: Any) -> Any:
        if SAFE_LOADING:
            kwargs["weights_only"] = not pickle
        elif not pickle:
            raise PickleRefused("torch before 1.13 can only unpickle whole objects")
        try:
            return original(file, *args, **kwargs)
        except Exception as error:
            if not pickle and "eights only" in str(error):
                raise PickleRefused(str(error)) from error
            raise

    @functools.wraps(original)
    def guarded(f: Any, *args: Any, **kwargs: Any) -> Any:
        kept = Resident.current
        return safely(f, *args, **kwargs) if kept is None else kept.load(safely, f, args, kwargs)

    modules: list[Any] = [torch, torch.serialization]
    for module in modules:
        module.load = guarded


def seed_everything(seed: int) -> None:
    """Seed torch, numpy and random from one number of 0 … 2^64 - 1."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))  # noqa: NPY002


def random_state() -> tuple[Any, ...]:
    """Return the state of all three, to be compared."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), state[1].tobytes(), state[2]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the random numbers that follow as if nothing had been drawn."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng():
        yield
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)


def _empty(cls: type, *args: Any, **kwargs: Any) -> Any:
    return object.__new__(cls)


def _file_key(file: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not isinstance(file, (str, os.PathLike)):
        return None
    try:
        facts = Path(file).stat()
    except OSError:
        return None
    path = os.path.realpath(os.fspath(file))
    return path, facts.st_mtime_ns, facts.st_size, repr(args), repr(sorted(kwargs.items()))


def _module_key(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Two constructions are the same where their arguments are plain values, and equal."""
    key = (cls, _plain(args), _plain(tuple(sorted(kwargs.items()))))
    return None if None in key else key


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        parts = tuple(_plain(part) for part in value)
        return None if None in parts else ("list", *parts)
    if isinstance(value, (*_PLAIN, torch.device, torch.dtype)):
        return (type(value).__name__, repr(value))
    return None


def _versions(module: nn.Module) -> tuple[Any, ...]:
    """Return what changes when anybody touches a module's tensors."""
    tensors = [*module.parameters(), *module.buffers()]
    return tuple((id(t), t._version, t.data_ptr(), t.dtype) for t in tensors)


def _is_plain(content: Any) -> bool:
    """Whether copying the containers is enough to keep what was read as it was."""
    if isinstance(content, (dict, list, tuple)):
        parts = content.values() if isinstance(content, dict) else content
        return all(_is_plain(part) for part in parts)
    return isinstance(content, (torch.Tensor, bytes, *_PLAIN))


def _tensors(content: Any) -> list[torch.Tensor]:
    if isinstance(content, (dict, list, tuple)):
        parts = content.values() if isinstance(content, dict) else content
        return [tensor for part in parts for tensor in _tensors(part)]
    return [content] if isinstance(content, torch.Tensor) else []


def _copied(content: Any) -> Any:
    """Copy the containers, so that a package may rename or pop keys; share the tensors."""
    if isinstance(content, dict):
        copied: Any = type(content)()
        copied.update((key, _copied(value)) for key, value in content.items())
        if hasattr(content, "_metadata"):  # load_state_dict reads versions from it
            copied._metadata = content._metadata
        return copied
    if type(content) in (list, tuple):
        return type(content)(_copied(value) for value in content)
    return content
