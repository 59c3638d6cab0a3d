"""Thousands of requests at once, from scripts and panels: none lost, swapped, or late."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.jobs import Job, submit
from medgan_widgets.panels.generator_grid import GeneratorGrid
from medgan_widgets.requests import GenerateRequest
from tests.tiny import write_model

THREADS, PANELS, SEEDS = 8, 3, 48
PATIENCE = 120.0


class Page:
    """A panel's page: every frame must hold the very pixels of the seeds that it names."""

    def __init__(self, grid: GeneratorGrid, right: np.ndarray, wrong: list[str]) -> None:
        self.grid, self.right, self.wrong = grid, right, wrong
        self.newest, self.tiles = 0, {}
        grid.canvas.send = self.hear
        self.say(kind="hello", request=0, have=[])

    def say(self, **content: Any) -> None:
        self.grid.canvas._handle_custom_msg(content, [])

    def ask(self, seed: int, images: int) -> None:
        controls = {"model": "tiny", "images": images, "seed": str(seed)}
        self.say(kind="generate", id="g", controls=controls)

    def hear(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        if content["kind"] != "frame":
            return
        if content["id"] < self.newest:
            self.wrong.append(f"a frame of request {content['id']} after one of {self.newest}")
        if content["id"] > self.newest:
            self.newest, self.tiles = content["id"], {}
        for tile, data in zip(content["tiles"], buffers or [], strict=True):
            seed = int(tile["seed"])
            self.tiles[tile["place"]] = seed
            if bytes(data) != self.right[seed].tobytes():
                self.wrong.append(f"another image than that of seed {seed}")
        self.say(kind="painted", frame=content["frame"])


class Load:
    """What eight threads ask, and what they find wrong with the answers."""

    def __init__(self, engine: Engine, pages: list[Page], right: np.ndarray, wrong: list[str]):
        self.engine, self.pages, self.right, self.wrong = engine, pages, right, wrong
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()

    def work(self, number: int, requests: int) -> None:
        random = np.random.default_rng(number)
        try:
            for _ in range(requests):
                what = random.choice(["at once", "waited", "cancelled", "replaced", "panel"])
                getattr(self, what.replace(" ", "_"))(number, random)
                with self.lock:
                    self.asked[what] += 1
        except Exception as error:
            self.wrong.append(f"thread {number}: {type(error).__name__}: {error}")

    def request(self, random: np.random.Generator, most: int = 4) -> GenerateRequest:
        count = int(random.integers(1, most + 1))
        return GenerateRequest("tiny", seeds=random.integers(0, SEEDS, count).tolist())

    def at_once(self, number: int, random: np.random.Generator) -> None:
        request = self.request(random)
        self.check(request, self.engine.images(request), whole=True)

    def job(self, number: int, random: np.random.Generator, most: int = 4) -> Job[Any]:
        request = self.request(random, most)
        job = submit(lambda: self.engine.generate(request), owner=("script", number))
        job.request = request
        return job

    def waited(self, number: int, random: np.random.Generator) -> None:
        self.ended(self.job(number, random), "done")

    def cancelled(self, number: int, random: np.random.Generator) -> None:
        job = self.job(number, random, 16)
        job._over.wait(float(random.choice([0.0, 0.01, 0.05])))
        job.cancel()
        seen = len(job.items)
        self.ended(job, "cancelled", "done")
        if job.state == "cancelled" and len(job.items) > seen + 1:
            self.wrong.append(f"{len(job.items) - seen} results after a cancel")

    def replaced(self, number: int, random: np.random.Generator) -> None:
        older, newer = self.job(number, random, 16), self.job(number, random)
        self.ended(older, "cancelled", "done")
        self.ended(newer, "done")

    def panel(self, number: int, random: np.random.Generator) -> None:
        page = self.pages[int(random.integers(PANELS))]
        page.ask(int(random.integers(SEEDS - 4)), int(random.integers(1, 5)))
        if random.random() < 0.2:
            page.say(kind="cancel")
        elif random.random() < 0.5:
            page.grid.job._over.wait(PATIENCE)

    def ended(self, job: Job[Any], *states: str) -> None:
        if not job._over.wait(PATIENCE):
            self.wrong.append("a job was lost")
        elif job.state not in states:
            self.wrong.append(f"a job was {job.state}: {job.error}")
        elif job.items:
            images = np.concatenate([batch.images for batch in job.items])
            self.check(job.request, images, whole=job.state == "done")

    def check(self, request: GenerateRequest, images: np.ndarray, *, whole: bool) -> None:
        if whole and len(images) != len(request.seeds):
            self.wrong.append(f"{len(images)} images for {len(request.seeds)} seeds")
        elif (images != self.right[list(request.seeds[: len(images)])]).any():
            self.wrong.append(f"other images than those of seeds {request.seeds}")


@pytest.mark.parametrize("requests", [320, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_request_is_lost_swapped_or_late(tmp_path: Path, requests: int) -> None:
    write_model(tmp_path)
    engine = Engine(device="cpu", catalogue=Catalogue(tmp_path))
    right = engine.images(GenerateRequest("tiny", seeds=range(SEEDS)))
    wrong: list[str] = []
    grids = [GeneratorGrid("tiny", images=1, engine=engine) for _ in range(PANELS)]
    pages = [Page(grid, right, wrong) for grid in grids]
    load = Load(engine, pages, right, wrong)
    threads = [
        threading.Thread(target=load.work, args=(number, requests // THREADS))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert load.asked.total() == requests
    assert all(load.asked[what] > requests / 10 for what in load.asked), load.asked
    for place, page in enumerate(pages):  # each panel ends with what was asked of it last
        page.ask(10 * place, 4)
        page.grid.job.wait(PATIENCE)
        assert page.newest == page.grid._number
        assert page.tiles == {n: 10 * place + n for n in range(4)}
        assert page.grid.error == ""
    assert wrong == []
    for grid in grids:
        grid.close()
