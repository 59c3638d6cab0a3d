"""The Studio without a browser: the panels it holds, and how a model gets from one to the other."""

from __future__ import annotations

import numpy as np
import pytest

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.errors import ModelNotFoundError, NotRunnableError, RequestError
from medgan_widgets.medigan.client import end_workers
from medgan_widgets.panels import GeneratorGrid, ModelExplorer, Studio
from medgan_widgets.requests import GenerateRequest
from tests.tiny import write_model


@pytest.fixture
def engine(tmp_path):
    end_workers()  # medigan's, of tests before: they count as resident
    write_model(tmp_path, "tiny")
    write_model(tmp_path, "other", seed=1)
    return Engine(device="cpu", catalogue=Catalogue(tmp_path))


@pytest.fixture
def studio(engine):
    panel = Studio("tiny", images=4, seed=7, columns=2, engine=engine)
    yield panel
    panel.close()


def test_it_opens_on_explore_and_says_what_to_press(studio):
    assert studio.tab == "Explore"
    assert isinstance(studio.explorer, ModelExplorer)
    assert isinstance(studio.grid, GeneratorGrid)
    assert "Use this model" in studio.top.hints[0]
    assert repr(studio) == "Studio(model='tiny', images=4, seed=7)"


def test_a_model_chosen_in_the_explorer_is_carried_to_the_grid(studio):
    studio.explorer.selected = "other"
    studio.explorer.view._handle_custom_msg({"kind": "use"}, [])
    assert (studio.tab, studio.grid.model) == ("Generate", "other")


def test_a_model_that_does_not_run_here_leaves_everything_as_it_was(studio):
    with pytest.raises(NotRunnableError):
        studio.use("00022")
    with pytest.raises(ModelNotFoundError, match="tiny"):
        studio.use("tyni")
    assert (studio.tab, studio.grid.model) == ("Explore", "tiny")


def test_the_device_line_follows_the_models_on_the_device(studio, engine):
    assert studio.top.device == f"{engine.device_name} · no model resident"
    studio.grid.generate().wait(30)
    assert studio.top.device == f"{engine.device_name} · 1 model resident"
    studio.use("other")
    studio.grid.generate().wait(30)
    assert studio.top.device == f"{engine.device_name} · 2 models resident"


def test_two_studios_share_the_engine_and_nothing_else(engine, studio):
    second = Studio("other", images=2, seed=1, engine=engine)
    first_job, second_job = studio.grid.generate(), second.grid.generate()
    first_job.wait(30)
    second_job.wait(30)
    for panel, model, seeds in ((studio, "tiny", range(7, 11)), (second, "other", range(1, 3))):
        wanted = engine.images(GenerateRequest(model, seeds=seeds))
        assert np.array_equal(panel.grid.images_array, wanted)
    second.close()


def test_a_snapshot_shows_the_models_first_and_the_images_later(studio):
    before = studio.snapshot()
    studio.grid.generate().wait(30)
    after = studio.snapshot()
    assert before.image.size != after.image.size
    assert repr(after) == repr(studio)
    bundle, _ = studio._repr_mimebundle_()
    assert {"text/plain", "image/png"} <= set(bundle)


def test_bad_wishes_are_refused_before_anything_is_shown(engine):
    with pytest.raises(RequestError, match="images"):
        Studio("tiny", images=0, engine=engine)
    with pytest.raises(ModelNotFoundError):
        Studio("nobody", engine=engine)
    with pytest.raises(RequestError, match="columns"):
        Studio("tiny", columns=99, engine=engine)
