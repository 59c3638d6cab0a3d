"""What medigan's own selector finds and ranks, the catalogue does; each difference has a reason.

The oracle is medigan's selector itself, in one process of its own and offline,
over the published values. Its answers to thousands of random searches and to
every metric path are compared with the catalogue's. Differences are listed
here; one that is not listed fails, and so does one that no longer occurs.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.errors import RequestError
from medgan_widgets.medigan.facts import medigan_cards
from medgan_widgets.medigan.published import published_selection, wrong_values
from tests.test_catalogue import model

SEARCHES = 3000
RANKED_SEARCHES = 800
ORACLE = """
import json, sys, types
stub = types.ModuleType("pkg_resources")  # medigan imports it, and setuptools has it no more
stub.require = lambda *names: []
stub.DistributionNotFound = stub.VersionConflict = type("Missing", (Exception,), {})
sys.modules["pkg_resources"] = stub
from medigan.config_manager import ConfigManager
from medigan.select_model.model_selector import ModelSelector

asked = json.load(sys.stdin)
manager = ConfigManager(config_dict=asked["config"])
manager.model_ids = list(asked["config"])  # with a config given, it forgets these two
manager.is_config_loaded = True
selector = ModelSelector(manager)
found = [
    [one.model_id for one in selector.find_matching_models_by_values(values, operator)]
    for values, operator in asked["searches"]
]
ranked = [
    [
        one["model_id"]
        for one in (
            selector.find_models_and_rank(values, operator, metric=metric, order=order)
            if values
            else selector.rank_models_by_performance(metric=metric, order=order)
        )
    ]
    for values, operator, metric, order in asked["ranked"]
]
json.dump({"found": found, "ranked": ranked}, sys.stdout)
"""
HOW = {"AND": "all", "OR": "any"}
EVERY = " ".join(map(str, range(1, 24)))


class Difference(NamedTuple):
    """The models that medigan alone finds, those that we alone find (by number), and why."""

    lost: str
    gained: str
    reason: str


FOUND_OTHERWISE = {
    "none": Difference(EVERY, "", "a figure that nobody measured is no value to look for"),
    "": Difference("23", "", "an empty text is no value"),
    "cbis-ddsm": Difference("12", "", "correction: trained on BCDR"),
    "bcdr": Difference("", "12", "correction: trained on BCDR"),
    "node21": Difference("19", "", "correction: trained on ChestX-ray14"),
    "chestx-ray14": Difference("", "19", "correction: trained on ChestX-ray14"),
    "pix2pix": Difference("22", "", "correction: it is a conditional WGAN-GP"),
    "full-field digital": Difference("22", "", "correction: said of mammograms, it is an MRI"),
    "noise to image": Difference("8 12", "", "correction: they take a class"),
    "unconditional generation": Difference("8 12", "", "correction: they take a class"),
    "1028": Difference("20", "", "correction: it makes 1024 × 1024"),
    "1024": Difference("", "20", "correction: it makes 1024 × 1024"),
    "250": Difference("11", "", "correction: it makes 213 × 256"),
    "256": Difference("", "11", "correction: it makes 213 × 256"),
    "192": Difference("", "21", "published as 192.0; a size is a whole number"),
    "3": Difference("", "9 10", "correction: three channels, the fourth is the mask"),
    "1": Difference(
        "", "1 2 3 4 5 6 8 12 13 14 15 16 21 22", "published without channels; our cards count them"
    ),
    "pggan": Difference("", "9", "our vocabulary: one spelling for one architecture"),
    "wgan-gp": Difference("", "18", "our vocabulary: one spelling for one architecture"),
    "image to image": Difference("", "21 23", "published without a function; our cards have one"),
    "mass roi": Difference("", "2 4", "our vocabulary: the region of every such patch"),
    "nodule roi": Difference("", "17 18", "our vocabulary: the region of every such patch"),
}

_DICE = "Dice and dice are one metric, wherever it lies and be it written as text"
RANKED_OTHERWISE = {  # path: (who has it in our order, why)
    "SEG.trained_on_fake.Dice": ("4 21 23", _DICE),
    "SEG.trained_on_fake.dice": ("4 21 23", _DICE),
    "SEG.trained_on_real_and_fake.dice": ("7 23", _DICE),
    "downstream_task.SEG.trained_on_fake.dice": ("4 21 23", _DICE),
    "downstream_task.SEG.trained_on_real_and_fake.dice": ("7 23", _DICE),
}
_READERS = "figures of the readers: no way is better for the model"
_YARDSTICK = "measured without a synthetic image: a yardstick, no quality of the model"
REFUSED = {  # path: why no model is best by it
    "FID_no_images": "how many images an FID rests on is no quality",
    "turing_test.number_radiologists": _READERS,
    "turing_test.years_experience": _READERS,
    "turing_test.AUC": _READERS,
    "turing_test.accuracy": _READERS,
    **{
        f"{task}.trained_on_real.{metric}": _YARDSTICK
        for task, metrics in (
            ("CLF", ("AUC", "AUPRC", "f1")),
            ("DET", ("AUC",)),
            ("SEG", ("Dice", "IoU", "dice", "dice_loss", "f1")),
            ("downstream_task.SEG", ("dice",)),
        )
        for metric in metrics
    },
}
LOWER_IS_BETTER = {"FID", "FID_RADIMAGENET", "MSE", "SEG.trained_on_fake.dice_loss"}


class Answers(NamedTuple):
    """All that was asked and what the oracle said."""

    singles: dict[str, list[str]]
    searches: list[tuple[list[Any], str, list[str]]]
    metrics: dict[str, list[str]]
    ranked: list[tuple[list[Any], str, str, list[str]]]


def leaves(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield above + key, value


def all_values(name: str) -> Iterator[Any]:
    for _, value in leaves(published_selection()[name]):
        yield from value if isinstance(value, list) else [value]


def vocabulary() -> list[Any]:
    """Every published value once, with its type: 3 and 3.0 are two to the selector."""
    values = (
        "None" if v is None else v for name in published_selection() for v in all_values(name)
    )
    return list({repr(value): value for value in values}.values())


def metric_paths() -> list[str]:
    performances = [one["performance"] for one in published_selection().values()]
    return sorted({p for one in performances for p, v in leaves(one) if v not in (None, "")})


def order_of(metric: str) -> str:
    return "asc" if metric in LOWER_IS_BETTER else "desc"


def in_any_case(value: Any, chance: random.Random) -> Any:
    if not isinstance(value, str):
        return chance.choice([value, str(value)])
    return "".join(chance.choice([letter.lower(), letter.upper()]) for letter in value)


def random_searches(number: int, chance: random.Random) -> list[tuple[list[Any], str]]:
    words = vocabulary()
    each = [sorted({str(one) for one in all_values(name)}) for name in published_selection()]
    searches = []
    for _ in range(number):
        # Words of one model every other time, or hardly a search for all of them would hit.
        pool = words if chance.random() < 0.5 else chance.choice(each)
        values = [in_any_case(chance.choice(pool), chance) for _ in range(chance.randint(1, 3))]
        searches.append((values, chance.choice(["AND", "OR"])))
    return searches


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    chance = random.Random(20240719)
    words = vocabulary()
    searches = random_searches(SEARCHES, chance)
    paths = metric_paths()
    same = [path for path in paths if path not in REFUSED and path not in RANKED_OTHERWISE]
    ranked = [
        (values, operator, chance.choice(same))
        for values, operator in random_searches(RANKED_SEARCHES, chance)
        if not listed(values)
    ]
    asked = {
        "config": {name: {"selection": one} for name, one in published_selection().items()},
        "searches": [([word], "OR") for word in words] + searches,
        "ranked": [([], "OR", path, order_of(path)) for path in paths]
        + [(*search, order_of(search[-1])) for search in ranked],
    }
    process = subprocess.run(
        [sys.executable, "-c", ORACLE],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path_factory.mktemp("oracle"),  # medigan writes where it stands
    )
    assert process.returncode == 0, process.stderr[-2000:]
    answer = json.loads(process.stdout)
    found, order = answer["found"], answer["ranked"]
    return Answers(
        {str(word).lower(): ids for word, ids in zip(words, found, strict=False)},
        [(*s, ids) for s, ids in zip(searches, found[len(words) :], strict=True)],
        dict(zip(paths, order, strict=False)),
        [(*s, ids) for s, ids in zip(ranked, order[len(paths) :], strict=True)],
    )


@pytest.fixture(scope="module")
def ours() -> Catalogue:
    catalogue = Catalogue().filter(origin="medigan")
    assert list(catalogue.ids) == list(published_selection())
    return catalogue


@cache
def ids(numbers: str) -> list[str]:
    by_number = {int(name[:5]): name for name in published_selection()}
    return [by_number[int(number)] for number in numbers.split()]


def listed(values: Sequence[Any]) -> bool:
    return any(str(value).lower() in FOUND_OTHERWISE for value in values)


# --- finding ---------------------------------------------------------------------------


def test_every_published_value_finds_the_same_models_but_for_the_listed_differences(
    oracle: Answers, ours: Catalogue
) -> None:
    found = {}
    for value, theirs in oracle.singles.items():
        mine = ours.matching([value]).ids
        if list(mine) != theirs:
            found[value] = ({*theirs} - {*mine}, {*mine} - {*theirs})
    expected = {
        value: (set(ids(one.lost)), set(ids(one.gained))) for value, one in FOUND_OTHERWISE.items()
    }
    assert found == expected
    assert len(oracle.singles) > 300


def test_thousands_of_searches_find_the_same_models_in_the_same_order(
    oracle: Answers, ours: Catalogue
) -> None:
    hits = 0
    for values, operator, theirs in oracle.searches:
        if not listed(values):
            hits += 0 < len(theirs) < 23
            found = ours.matching(values, how=HOW[operator])
            assert list(found.ids) == theirs, (values, operator)
            assert (found.nearest is None) == bool(theirs)
    assert hits > 1000, "searches without a hit say little"


def test_a_listed_difference_spreads_to_nothing_else(oracle: Answers, ours: Catalogue) -> None:
    def one_by_one(value: Any) -> set[str]:
        text = str(value).lower()
        known = set(oracle.singles[text])
        differs = FOUND_OTHERWISE.get(text, Difference("", "", ""))
        return (known - set(ids(differs.lost))) | set(ids(differs.gained))

    touched = 0
    for values, operator, _ in oracle.searches:
        if listed(values):
            touched += 1
            each = [one_by_one(value) for value in values]
            expected = set.intersection(*each) if operator == "AND" else set.union(*each)
            found = ours.matching(values, how=HOW[operator])
            assert set(found.ids) == expected, (values, operator)
    assert touched > 100


def test_what_is_called_wrong_is_corrected_on_the_card(ours: Catalogue) -> None:
    notes = {card.id: card.corrections for card in medigan_cards()}
    for name, values in wrong_values().items():
        for value in values:
            assert value in {str(one) for one in all_values(name)}, "nobody published it"
            assert any(value in note.published for note in notes[name]), (name, value)
            assert not any(value in note.corrected for note in notes[name]), (name, value)
    reasons = " ".join(one.reason for one in FOUND_OTHERWISE.values())
    assert reasons.count("correction") >= len(wrong_values())


# --- ranking ---------------------------------------------------------------------------


def test_every_metric_path_ranks_the_same_but_for_the_listed_differences(
    oracle: Answers, ours: Catalogue
) -> None:
    otherwise, refused = {}, set()
    for path, theirs in oracle.metrics.items():
        try:
            order = ours.rank(path).ids
        except RequestError:
            refused.add(path)
            continue
        assert sorted(order) == sorted(ours.ids), "a ranking loses nobody"
        if not in_front(theirs, order, ours):
            otherwise[path] = order
    assert refused == set(REFUSED)
    with pytest.raises(RequestError, match="nothing of a model's quality"):
        ours.rank("CLF.trained_on_real.AUC")
    assert set(otherwise) == set(RANKED_OTHERWISE)
    for path, (numbers, reason) in RANKED_OTHERWISE.items():
        assert in_front(ids(numbers), otherwise[path], ours), (path, reason)


def test_searches_rank_as_medigan_ranks_what_it_finds(oracle: Answers, ours: Catalogue) -> None:
    ranked = 0
    for values, operator, metric, theirs in oracle.ranked:
        found = ours.matching(values, how=HOW[operator])
        if theirs:
            ranked += len(theirs) > 1
            assert in_front(theirs, found.rank(metric).ids, found), (values, operator, metric)
        else:  # medigan answers with nothing; a sentence says what there is instead
            with pytest.raises(RequestError, match="no model here has the figure"):
                found.rank(metric)
    assert ranked > 50


def in_front(first: Sequence[str], order: Sequence[str], found: Catalogue) -> bool:
    """Whether the ranked come first, and the others after them in the catalogue's own order."""
    return list(order) == [*first, *(name for name in found.ids if name not in first)]


# --- what medigan cannot do --------------------------------------------------------------


def test_local_models_are_found_by_the_values_of_their_cards(tmp_path: Path) -> None:
    model(tmp_path, "mine", organ="heart", condition={"lesion": [False, True]}, size=[96, 64])
    catalogue = Catalogue(tmp_path)
    assert "mine" in catalogue.matching(["MR", "HEART", 96, "Lesion", "local"])
    assert "mine" in catalogue.matching(["MRI", "endoscopy"], how="any")
    assert "mine" not in catalogue.matching(["MR", "endoscopy"])
    assert catalogue.rank("CLF.trained_on_fake.AUC").ids[0] == ids("20")[0]


def test_a_local_model_of_medigans_id_has_its_own_values_only(tmp_path: Path) -> None:
    (taken,) = ids("23")
    model(tmp_path, taken, organ="brain")
    catalogue = Catalogue(tmp_path)
    assert taken not in catalogue.matching(["Duke Hospital"])
    with pytest.raises(RequestError):
        catalogue.rank("downstream_task.SEG.trained_on_real.dice")
    dice = catalogue.rank("SEG.trained_on_real_and_fake.dice")
    assert list(dice.ids[:1]) == ids("7")


def test_without_a_hit_there_is_something_near(ours: Catalogue) -> None:
    typo = ours.matching(["colonoscpy"]).nearest
    assert typo is not None
    assert "near it: colonoscopy" in typo.sentence
    assert list(typo.ids) == ids("9 10 11")
    never = ours.matching(iter(["colon", "Duke Hospital"])).nearest
    assert never is not None
    assert list(never.ids) == ids("9 10 11 23")


@pytest.mark.parametrize("values", [[], None, [None], [["MRI"]], {"organ": ["breast"]}.values()])
def test_what_is_no_value_is_refused(ours: Catalogue, values: Any) -> None:
    with pytest.raises(RequestError, match="value"):
        ours.matching(values)


def test_how_is_all_or_any(ours: Catalogue) -> None:
    with pytest.raises(RequestError, match="'all' or 'any'"):
        ours.matching(["MRI"], how="XOR")
