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

SMALL = 4 * 2**20  # bytes; larger files of a package are linked, not copied
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
        lay_out(Path(order["package"]), work / "models" / self.spec["model_id"])
        os.chdir(work)
        sys.path[:] = [str(work), *(p for p in sys.path if p not in ("", str(HERE)))]
        torch.set_num_threads(int(order["threads"]))
        self.memo = self.warm.Memo(str(work / "models"), pickle=bool(order["pickle"]))
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

    def probe(self, message: dict[str, Any], latents: Any) -> dict[str, Any]:
        """Call it cold and warm with the same fixed seeds; note what may be relied upon.

        A package whose warm answer differs from the cold one runs cold; one whose
        cold answers differ gets a new process for each call. One that draws random
        numbers beyond its latent, or whose images depend on their place or company
        in a call, makes one image a call.
        """
        known = self.known
        known["latent"] = self._latent_name()
        cold, draws = self._call(message, latents, reuse=False)
        known["scale"] = self.answers.scale_of([row["image"] for row in cold])
        known["alone"] = draws or known["latent"] is None
        warm, _ = self._tried(message, latents)
        known["warm"] = warm is not None and _same(cold, warm)
        if not known["warm"]:  # does it even agree with itself?
            again, _ = self._call(message, latents, reuse=False)
            known["fresh"] = not _same(cold, again)
            known["alone"] = known["alone"] or known["fresh"]
        if not known["alone"] and len(cold) > 1:
            turned = latents[::-1].copy()
            turned[len(turned) // 2] = latents[0] / 2  # other company
            seen, _ = self._tried(message, turned)
            last = None if seen is None else seen[-1:]
            known["alone"] = last is None or not _same(cold[:1], last)
        return known

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
        self, message: dict[str, Any], latents: Any
    ) -> tuple[list[dict[str, Any]] | None, bool]:
        try:
            return self._call(message, latents, reuse=True)
        except Exception:  # it runs cold, then, and its card says so
            traceback.print_exc()
            return None, False

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

        self.memo.lay_out(how)
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
        with self.memo.call(reuse=reuse), grad, library or contextlib.nullcontext():
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


def lay_out(package: Path, place: Path) -> None:
    """Put a package where medigan looks for it; code is copied, weights are linked."""
    for path in sorted(package.rglob("*")):
        target = place / path.relative_to(package)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.name != ".complete":
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size > SMALL:
                try:
                    target.symlink_to(path)
                    continue
                except OSError:  # Windows without the right to link
                    pass
            shutil.copyfile(path, target)


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
