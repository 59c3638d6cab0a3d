"""Weights read once, networks built once: a package's own code, made warm from outside.

``torch.load``, the construction of the package's modules and ``load_state_dict`` remember
what they did; a call that repeats them gets the same objects, unless somebody has changed
them. Building a network draws random numbers that a warm call would leave undrawn, so
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


class PickleRefused(RuntimeError):
    """Weights that are whole pickled objects, without a yes to that."""


class Memo:
    """What one package, with its code below ``root``, has read and built."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self.reuse = False
        self._format = torch.contiguous_format
        self._depth = 0
        self._files: dict[Any, tuple[Any, list[tuple[torch.Tensor, int]]]] = {}
        self._built: dict[Any, list[nn.Module]] = {}
        self._taken: dict[Any, int] = {}
        self._again: set[int] = set()
        self._loaded: dict[int, tuple[Any, Any, Any]] = {}

    current: Memo | None = None  # whose call it is now

    @contextmanager
    def call(self, *, reuse: bool) -> Iterator[None]:
        """Run one call of the package; cold calls remember, warm ones reuse."""
        self.reuse, self._taken, self._depth = reuse, {}, 0
        if not reuse:
            self._files, self._built, self._loaded = {}, {}, {}
            self._format = torch.contiguous_format
        Memo.current = self
        try:
            with self._patched():
                yield
        finally:
            Memo.current = None

    def lay_out(self, how: str) -> None:
        """Lay the weights of all networks out anew: ``"channels_last"`` or as they were."""
        wanted = torch.channels_last if how == "channels_last" else torch.contiguous_format
        if wanted is not self._format:
            self._format = wanted
            for modules in self._built.values():
                for module in modules:
                    module.to(memory_format=wanted)

    # ------------------------------------------------------------ the three memories

    def load(self, original: Any, file: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Read weights, safely unless agreed otherwise, and once."""
        key = self._key(file, args, kwargs)
        held = self._files.get(key) if self.reuse and key else None
        if held is None or any(tensor._version != version for tensor, version in held[1]):
            content = original(file, *args, **kwargs)
            held = content, [(one, one._version) for one in _tensors(content)]
            if key:
                self._files[key] = held
        return _copied(held[0]) if _is_plain(held[0]) else copy.deepcopy(held[0])

    def make(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a module built before, or an empty one that ``__init__`` will fill."""
        if self._depth == 0 and self._own(cls):
            self._wrap(cls)
            key = _plain_key(cls, args, kwargs)
            if key is not None and self.reuse:
                place = self._taken.get(key, 0)
                known = self._built.get(key, [])
                if place < len(known):
                    self._taken[key] = place + 1
                    self._again.add(id(known[place]))
                    return known[place]
        return object.__new__(cls)

    def load_state(
        self, original: Any, module: nn.Module, state: Any, args: Any, kwargs: Any
    ) -> Any:
        """Copy weights into a module, unless the very same are in it already."""
        try:
            given = tuple((name, id(t), t._version) for name, t in state.items())
        except (AttributeError, TypeError):
            return original(module, state, *args, **kwargs)
        asked = (given, args, tuple(sorted(kwargs.items())))
        known = self._loaded.get(id(module))
        if self.reuse and known and known[:2] == (asked, _marks(module)):
            return known[2]
        answer = original(module, state, *args, **kwargs)
        self._loaded[id(module)] = (asked, _marks(module), answer)
        return answer

    # ------------------------------------------------------------ how they are reached

    @contextmanager
    def _patched(self) -> Iterator[None]:
        modules: Any = nn.Module
        memo, load_state = self, modules.load_state_dict

        @functools.wraps(load_state)
        def remembered_state(self: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
            return memo.load_state(load_state, self, state_dict, args, kwargs)

        def remembered_new(cls: type, *args: Any, **kwargs: Any) -> Any:
            return memo.make(cls, args, kwargs)

        modules.load_state_dict = remembered_state
        modules.__new__ = remembered_new
        try:
            yield
        finally:
            modules.load_state_dict = load_state
            # ``object.__new__`` once a class had its own would refuse arguments.
            modules.__new__ = _empty

    def _wrap(self, cls: type) -> None:
        """Let ``__init__`` of an own class skip what is built, and remember what it builds."""
        if getattr(cls.__dict__.get("__init__"), "_medgan_memo", None) is self:
            return
        kind: Any = cls  # assigning a method to a class is what mypy will not see
        original, memo = kind.__init__, self

        @functools.wraps(original)
        def init(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            if id(module) in memo._again:
                memo._again.discard(id(module))
                module.train()  # as a new one would be
                return
            if memo._depth or type(module) is not cls:
                original(module, *args, **kwargs)
                return
            memo._depth += 1
            try:
                with undisturbed():
                    seed_everything(0)  # what no weights fill is the same in every process
                    original(module, *args, **kwargs)
            finally:
                memo._depth -= 1
            key = _plain_key(cls, args, kwargs)
            if key is not None:
                memo._built.setdefault(key, []).append(module)
                memo._taken[key] = len(memo._built[key])

        init._medgan_memo = self  # type: ignore[attr-defined]
        kind.__init__ = init

    def _own(self, cls: type) -> bool:
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        return bool(file) and os.path.realpath(str(file)).startswith(self.root + os.sep)

    def _key(self, file: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not isinstance(file, (str, os.PathLike)):
            return None
        try:
            facts = Path(file).stat()
        except OSError:
            return None
        path = os.path.realpath(os.fspath(file))
        return path, facts.st_mtime_ns, facts.st_size, repr(args), repr(sorted(kwargs.items()))


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
        memo = Memo.current
        return safely(f, *args, **kwargs) if memo is None else memo.load(safely, f, args, kwargs)

    for module in (torch, torch.serialization):
        whole: Any = module
        whole.load = guarded


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


def _plain_key(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Two constructions are the same where their arguments are plain values, and equal."""
    key = (cls, _plain(args), _plain(tuple(sorted(kwargs.items()))))
    return None if None in key else key


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        parts = tuple(_plain(one) for one in value)
        return None if any(part is None for part in parts) else ("list", *parts)
    if isinstance(value, (str, int, float, bool, type(None), torch.device, torch.dtype)):
        return (type(value).__name__, repr(value))
    return None


def _marks(module: nn.Module) -> tuple[Any, ...]:
    """Return what changes when anybody touches a module's tensors."""
    tensors = [*module.parameters(), *module.buffers()]
    return tuple((id(t), t._version, t.data_ptr(), t.dtype) for t in tensors)


def _is_plain(content: Any) -> bool:
    """Whether copying the containers is enough to keep what was read as it was."""
    if isinstance(content, dict):
        return all(_is_plain(value) for value in content.values())
    if isinstance(content, (list, tuple)):
        return all(_is_plain(value) for value in content)
    return isinstance(content, (torch.Tensor, str, int, float, bool, bytes, type(None)))


def _tensors(content: Any) -> list[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        return [content]
    if isinstance(content, dict):
        return [tensor for value in content.values() for tensor in _tensors(value)]
    if isinstance(content, (list, tuple)):
        return [tensor for value in content for tensor in _tensors(value)]
    return []


def _copied(content: Any) -> Any:
    """Copy the containers, so that a package may rename or pop keys; share the tensors."""
    if isinstance(content, dict):
        twin: Any = type(content)()
        twin.update((key, _copied(value)) for key, value in content.items())
        if hasattr(content, "_metadata"):  # load_state_dict reads versions from it
            twin._metadata = content._metadata
        return twin
    if type(content) in (list, tuple):
        return type(content)(_copied(value) for value in content)
    return content
