"""One model package inside the worker: imported once by medigan, called warm, cold or quick.

This file runs in the worker, which may have another Python: torch, numpy, the
standard library and medigan only.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent


class Hosted:
    """A package in this process: imported once, called again and again."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.spec, self.order = order["spec"], order
        self.warm, self.answers = _neighbour("warm"), _neighbour("answers")
        self._calls = 0
        work = Path(order["work"])
        os.environ["CUDA_VISIBLE_DEVICES"] = str(order["visible"])
        for name in ("TMPDIR", "XDG_CACHE_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
            (work / "tmp").mkdir(exist_ok=True)
            os.environ[name] = str(work / "tmp")
        os.chdir(work)
        sys.path[:] = [str(work), *(p for p in sys.path if p not in ("", str(HERE)))]
        torch.set_num_threads(int(order["threads"]))
        self.warm.guard_loading(bool(order["pickle"]))
        self.warm.seed_everything(0)  # some draw when they are imported
        self._work, self._memos = str(work), {}  # type: str, dict[str, Any]
        self.executor = self._imported()
        self.latent = self._latent_name()
        self.known: dict[str, Any] = {}
        self._ways: dict[int, str] = {}

    def _imported(self) -> Any:
        model_id, entry = self.spec["model_id"], self.spec["entry"]
        executors: Any = importlib.import_module("medigan.execute_model.model_executor")
        try:
            return executors.ModelExecutor(model_id, entry, download_package=False)
        except (ImportError, AttributeError):
            # medigan hides what is missing inside the package behind its own fallback.
            name = f"models.{model_id}.{entry['package_name']}"
            if (Path("models") / model_id / entry["package_name"] / "__init__.py").exists():
                importlib.import_module(name)
            raise

    # ------------------------------------------------------------ answers

    def look(self, message: dict[str, Any], latents: Any) -> dict[str, Any]:
        """Call it once for each class; return a digest of each image, and the spans of values.

        A class that raised has no digests, unless ``must`` lets the error through.
        """
        found: dict[str, Any] = {"rows": {}, "draws": False, "spans": {}, "size": None}
        found["latent"] = self.latent is not None
        for kind in message["kinds"]:
            found["rows"][kind["memo"]] = None
            try:
                rows, draws = self._call({**message, **kind}, latents, reuse=message["reuse"])
            except Exception:
                if message["must"]:
                    raise
                traceback.print_exc()
                continue
            found["rows"][kind["memo"]] = [_digest(row) for row in rows]
            found["draws"] = found["draws"] or draws
            found["size"] = found["size"] or rows[0]["image"].shape
            for name, picture in (item for row in rows for item in _pictures(row).items()):
                found["spans"].setdefault(name, []).append(self.answers.span_of(picture))
        return found

    def _how(self, message: dict[str, Any], latents: Any) -> str:
        """Return the quickest way of computing the same to within one grey level."""
        if not message["fast"] or not self.known["warm"] or self.known["alone"]:
            return "as it is"
        if self.order["device"] != "cpu":
            return "as it is"
        ask = min(int(message["ask"]), 4)
        if ask in self._ways:
            return self._ways[ask]
        asked = {**message, "count": ask, "ask": ask}
        z = None if latents is None else latents[:ask]
        seconds = {}
        for how in ("as it is", "plain", "channels_last"):
            try:
                self._call(asked, z, reuse=True, how=how)
                begun = time.process_time()
                rows, _ = self._call(asked, z, reuse=True, how=how)
                taken = time.process_time() - begun
            except Exception:
                continue
            if how == "as it is":
                plain = rows
            if self._near(plain, rows):
                seconds[how] = taken
        self._ways[ask] = min(seconds, key=lambda how: seconds[how])
        return self._ways[ask]

    def _near(self, one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
        scale = self.known["scales"]["image"]
        levels = [
            [self.answers.to_pixels(row["image"], scale)[0].astype(np.int32) for row in rows]
            for rows in (one, two)
        ]
        return all(np.abs(a - b).max() <= 1 for a, b in zip(*levels))  # noqa: B905

    def make(self, message: dict[str, Any], latents: Any) -> tuple[dict[str, Any], list[Any]]:
        """Return one row for each seed, and the arrays they point to."""
        how = self._how(message, latents)
        rows, _ = self._call(message, latents, reuse=self.known["warm"], how=how)
        arrays: list[Any] = []
        plain = []
        for row in rows:
            places, clipped = {}, 0
            for name, picture in _pictures(row).items():
                # A further picture that no fixed call gave has only itself to go by.
                scale = self.known["scales"].get(name) or self.answers.scale_of(
                    [self.answers.span_of([picture])], mask=name == "mask"
                )
                pixels, outside = self.answers.to_pixels(picture, scale)
                places[name] = len(arrays)
                arrays.append(pixels)
                clipped += outside
            plain.append({
                "image": places.pop("image"), "mask": places.pop("mask", None),
                "others": {name[1:]: place for name, place in places.items()},
                "label": row["label"], "clipped": clipped,
            })  # fmt: skip
        return {"kind": "rows", "rows": plain}, arrays

    def _call(
        self, message: dict[str, Any], latents: Any, *, reuse: bool, how: str = "as it is"
    ) -> tuple[list[dict[str, Any]], bool]:
        memo = self._memos.setdefault(message["memo"], self.warm.Memo(self._work))
        memo.lay_out(how)
        library = torch.backends.mkldnn.flags(enabled=False) if how == "plain" else None
        count, ask = int(message["count"]), int(message["ask"])
        arguments = dict(message["arguments"])
        if latents is not None and self.latent:
            z = torch.from_numpy(latents.copy()).reshape(*latents.shape, 1, 1)
            z = z.to(torch.get_default_dtype())  # as torch.randn would give it here
            if self.order["device"] != "cpu":
                z = z.to("cuda:0")
            arguments[self.latent] = z
        self._calls += 1
        folder = Path("output") / str(self._calls)
        self.warm.seed_everything(int(message["seed"]))
        before = self.warm.random_state()
        grad = torch.no_grad() if reuse else contextlib.nullcontext()
        with memo.call(reuse=reuse), grad, library or contextlib.nullcontext():
            answer = self.executor.generate(
                num_samples=ask, output_path=f"{folder}/", save_images=False, **arguments
            )
        draws = self.warm.random_state() != before
        outputs, gives = tuple(self.spec["outputs"]), tuple(self.spec["gives"])
        try:
            if answer is None:
                rows = self.answers.rows_in_files(folder, count, outputs)
            else:
                rows = self.answers.rows_of(answer, count, outputs, gives)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return rows, draws

    def _latent_name(self) -> str | None:
        """Which argument takes a latent: medigan's usual one, or ``z``."""
        if not self.spec["latent"]:
            return None
        call = getattr(self.executor.deserialized_model_as_lib, self.executor.generate_method_name)
        names = inspect.signature(call).parameters
        for name in ("input_latent_vector", "z"):
            if name in names:
                return name
        free = any(p.kind is p.VAR_KEYWORD for p in names.values())
        return "input_latent_vector" if free else None


def _pictures(row: dict[str, Any]) -> dict[str, Any]:
    """Return all arrays of a row by name; those besides image and mask begin with a plus."""
    mask = {} if row["mask"] is None else {"mask": row["mask"]}
    return {"image": row["image"], **mask, **{f"+{n}": one for n, one in row["others"].items()}}


def _digest(row: dict[str, Any]) -> str:
    whole = hashlib.sha256(repr(row["label"]).encode())
    for name, picture in _pictures(row).items():
        whole.update(f"{name} {picture.dtype.str} {picture.shape}".encode())
        whole.update(picture.tobytes())
    return whole.hexdigest()


def _neighbour(name: str) -> Any:
    """Return a file beside this one, as the worker has loaded it."""
    return sys.modules[f"_medgan_{name}"]
