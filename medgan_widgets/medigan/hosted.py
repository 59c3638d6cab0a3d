"""One model package inside the worker: imported once by medigan, called warm, cold or quick.

This file runs in the worker, which may have another Python: torch, numpy, the
standard library and medigan only.
"""

from __future__ import annotations

import contextlib
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
        self.known: dict[str, Any] = {"warm": False, "alone": True, "scale": None, "latent": None}

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

    def prime(self, message: dict[str, Any], latents: Any) -> None:
        """Make the probe's first calls, so that every worker starts from the same state.

        What a package keeps at its first call then never depends on somebody's request.
        """
        self.known["latent"] = self._latent_name()
        for kind in message["kinds"]:
            self._call({**message, **kind}, latents, reuse=False)

    def probe(self, message: dict[str, Any], latents: Any) -> dict[str, Any]:
        """Call it cold and warm with the same fixed seeds; note what may be relied upon.

        For each class it can be asked for: a package whose warm answer differs from
        the cold one runs cold; one whose cold answers differ gets a new process for
        each call. One that draws random numbers beyond its latent, or whose images
        depend on their place or company in a call, makes one image a call.
        """
        known = self.known
        known["latent"] = self._latent_name()
        known.update(alone=known["latent"] is None, warm=True, fresh=False)
        first: dict[str, list[dict[str, Any]]] = {}
        for kind in message["kinds"]:
            asked = {**message, **kind}
            cold, draws = self._call(asked, latents, reuse=False)
            first[kind["memo"]] = cold
            known["alone"] = known["alone"] or draws
            if not self._agrees(asked, latents, cold, reuse=True):
                known["warm"] = False
        images = [row["image"] for rows in first.values() for row in rows]
        known["scale"] = self.answers.scale_of(images)
        for kind in message["kinds"]:  # once more, after all the others
            asked, cold = {**message, **kind}, first[kind["memo"]]
            if not self._agrees(asked, latents, cold, reuse=known["warm"]):
                known["fresh"] = known["fresh"] or not known["warm"]
                if known["warm"]:
                    known["warm"] = False
                    known["fresh"] = not self._agrees(asked, latents, cold, reuse=False)
            known["alone"] = known["alone"] or self._company_counts(asked, latents, cold)
        known["alone"] = known["alone"] or known["fresh"]
        return known

    def _company_counts(
        self, message: dict[str, Any], latents: Any, cold: list[dict[str, Any]]
    ) -> bool:
        """Whether an image changes with its place in a call, or with the others in it."""
        if latents is None or len(cold) < 2:
            return False
        others = latents[::-1] * np.float32(3)
        others[-1] = latents[0]
        same = np.repeat(latents[:1], len(latents), axis=0)
        reuse = bool(self.known["warm"])
        for z, place in ((others, -1), (same, 0), (same, -1)):
            rows = self._tried(message, z, reuse=reuse)
            if rows is None or not _same(cold[:1], [rows[place]]):
                return True
        return False

    def _agrees(
        self, message: dict[str, Any], latents: Any, cold: list[dict[str, Any]], *, reuse: bool
    ) -> bool:
        rows = self._tried(message, latents, reuse=reuse)
        return rows is not None and _same(cold, rows)

    def probe_fast(self, message: dict[str, Any], latents: Any) -> dict[str, Any]:
        """Find the quickest way of computing the same to within one grey level."""
        found = {}
        for ask in (1, int(message["ask"])):
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
            found[str(ask)] = min(seconds, key=lambda how: seconds[how])
        self.known["fast"] = found
        return self.known

    def _near(self, one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
        scale = self.known["scale"] or "byte"
        levels = [
            [self.answers.to_pixels(row["image"], scale).astype(np.int32) for row in rows]
            for rows in (one, two)
        ]
        return all(np.abs(a - b).max() <= 1 for a, b in zip(*levels))  # noqa: B905

    def _how(self, message: dict[str, Any]) -> str:
        ways = self.known.get("fast") or {}
        if not message.get("fast") or not self.known["warm"]:
            return "as it is"
        return str(
            ways.get("1" if message["ask"] == 1 else max(ways, key=int, default="1"), "as it is")
        )

    def _tried(
        self, message: dict[str, Any], latents: Any, *, reuse: bool
    ) -> list[dict[str, Any]] | None:
        try:
            return self._call(message, latents, reuse=reuse)[0]
        except Exception:  # it runs cold, or in a process a call, and its card says so
            traceback.print_exc()
            return None

    def make(self, message: dict[str, Any], latents: Any) -> tuple[dict[str, Any], list[Any]]:
        """Return one row for each seed, and the arrays they point to."""
        rows, _ = self._call(message, latents, reuse=self.known["warm"], how=self._how(message))
        arrays: list[Any] = []
        scale = self.known["scale"] or "byte"

        def sent(array: Any) -> int:
            arrays.append(array)
            return len(arrays) - 1

        plain = [
            {
                "image": sent(self.answers.to_pixels(row["image"], scale)),
                "mask": None if row["mask"] is None else sent(self.answers.to_mask(row["mask"])),
                "others": {
                    name: sent(self.answers.to_pixels(other, self.answers.scale_of([other])))
                    for name, other in row["others"].items()
                },
                "label": row["label"],
            }
            for row in rows
        ]
        return {"kind": "rows", "rows": plain}, arrays

    def _call(
        self, message: dict[str, Any], latents: Any, *, reuse: bool, how: str = "as it is"
    ) -> tuple[list[dict[str, Any]], bool]:
        memo = self._memos.setdefault(message["memo"], self.warm.Memo(self._work))
        memo.lay_out(how)
        library = torch.backends.mkldnn.flags(enabled=False) if how == "plain" else None
        count, ask = int(message["count"]), int(message["ask"])
        arguments = dict(message["arguments"])
        if latents is not None and self.known["latent"]:
            z = torch.from_numpy(latents.copy()).reshape(*latents.shape, 1, 1)
            z = z.to(torch.get_default_dtype())  # as torch.randn would give it here
            if self.order["device"] != "cpu":
                z = z.to("cuda:0")
            arguments[self.known["latent"]] = z
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


def _same(cold: list[dict[str, Any]], warm: list[dict[str, Any]]) -> bool:
    def arrays(row: dict[str, Any]) -> list[Any]:
        mask = [] if row["mask"] is None else [row["mask"]]
        return [row["image"], *mask, *row["others"].values()]

    if [row["label"] for row in cold] != [row["label"] for row in warm]:
        return False
    return all(
        len(arrays(one)) == len(arrays(two))
        and all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(two)))  # noqa: B905
        for one, two in zip(cold, warm)  # noqa: B905
    )


def _neighbour(name: str) -> Any:
    """Return a file beside this one, as the worker has loaded it."""
    return sys.modules[f"_medgan_{name}"]
