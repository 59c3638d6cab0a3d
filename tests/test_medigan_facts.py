"""medigan's 23 models, in one vocabulary, with every published fault mended and the reason said."""

from __future__ import annotations

import math

import pytest

from medgan_widgets.cards import ModelCard
from medgan_widgets.medigan.facts import medigan_cards


def card(number: int) -> ModelCard:
    return medigan_cards()[number - 1]


def corrected(number: int, field: str) -> str:
    notes = [note for note in card(number).corrections if note.field == field]
    assert notes, f"nothing noted about {field}"
    assert all(note.reason for note in notes)
    return " ".join(note.corrected for note in notes)


def test_there_are_23_in_order() -> None:
    numbers = [int(one.id.split("_")[0]) for one in medigan_cards()]
    assert numbers == list(range(1, 24))
    assert all(one.origin == "medigan" for one in medigan_cards())


def test_the_modalities_are_counted_right() -> None:
    counts = {
        m: sum(one.modality == m for one in medigan_cards()) for m in ("MG", "DX", "MR", "ES")
    }
    assert counts == {"MG": 12, "DX": 4, "MR": 4, "ES": 3}


@pytest.mark.parametrize("one", medigan_cards(), ids=lambda one: one.id)
def test_every_card_says_what_the_explorer_shows(one: ModelCard) -> None:
    assert one.region
    assert one.makes
    assert one.dataset
    assert one.year in range(2019, 2024)
    assert one.source is not None
    assert one.source.startswith("https://zenodo.org/records/")
    assert "torch" in one.needs.packages
    assert one.weights is None, "its weights are not here"
    assert one.scores or one.id.startswith("00022")


@pytest.mark.parametrize(
    ("number", "size", "channels"),
    [
        (1, (128, 128), 1),
        (3, (1332, 800), 1),
        (9, (256, 256), 3),
        (10, (256, 256), 3),
        (11, (213, 256), 3),
        (20, (1024, 1024), 3),
        (21, (224, 192), 1),
        (23, (512, 512), 1),
    ],
)
def test_sizes_are_height_and_width_in_pixels(
    number: int, size: tuple[int, int], channels: int
) -> None:
    assert (card(number).size, card(number).channels) == (size, channels)


def test_published_faults_are_corrected_with_the_reason() -> None:
    assert card(12).dataset == corrected(12, "dataset") == "BCDR"
    assert card(19).dataset == corrected(19, "dataset") == "ChestX-ray14"
    assert card(22).architecture == corrected(22, "architecture") == "conditional WGAN-GP"
    assert card(22).modality == corrected(22, "modality") == "MR"
    assert card(21).modality == corrected(21, "modality") == "MR"
    assert card(21).function == corrected(21, "function") == "image to image"
    assert card(23).function == corrected(23, "function") == "image to image"
    assert card(9).organ == corrected(9, "organ") == "colon"
    assert card(9).architecture == card(19).architecture == "PGGAN"
    assert card(6).architecture == card(18).architecture == "WGAN-GP"
    assert "1024" in corrected(20, "size")
    assert "224" in corrected(21, "size")


def test_conditional_models_say_their_classes() -> None:
    for number in (8, 12):
        assert card(number).condition == {"malignancy": ("malignant", "benign")}
        assert card(number).function == "class to image"
        assert "malignancy" in corrected(number, "condition")


def test_licences_are_said_or_said_to_be_missing() -> None:
    missing = [int(one.id[:5]) for one in medigan_cards() if one.licence is None]
    assert missing == [7, 21, 22]
    assert "CC-BY-4.0" in next(n.reason for n in card(23).corrections if n.field == "licence")


def test_figures_carry_n_extractor_and_floor() -> None:
    fid, radimagenet = card(1).score("FID"), card(1).score("FID_RadImageNet")
    assert fid is not None
    assert radimagenet is not None
    assert (fid.value, fid.n_real, fid.floor) == (67.6, 1000, 33.6)
    assert fid.extractor != radimagenet.extractor
    lonely = card(23).score("FID")
    assert lonely is not None
    assert (lonely.value, lonely.n_real, lonely.floor) == (28.71, None, None)
    assert card(22).scores == ()


@pytest.mark.parametrize("numbers", [(4, 5, 6, 12), (9, 10, 11), (17, 18), (19, 20)])
def test_models_of_the_same_data_share_the_floor(numbers: tuple[int, ...]) -> None:
    """The floor is derived from a published ratio; agreement across models proves the rule."""
    figures = [card(number).score("FID") for number in numbers]
    floors = [figure.floor for figure in figures if figure is not None and figure.floor is not None]
    assert len(floors) == len(numbers)
    assert all(math.isclose(floor, floors[0], rel_tol=0.02) for floor in floors)


def test_packages_are_import_names_and_no_strangers() -> None:
    every = {package for one in medigan_cards() for package in one.needs.packages}
    assert every.isdisjoint({"Path", "path", "Pillow", "pyyaml", "scikit-image", "opencv-python"})
    assert all(package.isidentifier() for package in every)
    for number in (1, 3, 4, 13, 14, 15, 16):
        assert corrected(number, "packages") == "left out"
    assert "numpy" in card(21).needs.packages


def test_needs_tell_what_stands_in_the_way() -> None:
    assert card(22).needs.python is not None
    assert "numpy before 2" in card(22).needs.python
    with_image = [int(one.id[:5]) for one in medigan_cards() if one.needs.image]
    assert with_image == [3, 4, 7, 13, 14, 15, 16, 21, 22, 23]
    assert "visdom" in card(13).needs.packages
    sizes = {int(one.id[:5]): one.needs.download_mb for one in medigan_cards()}
    assert [number for number, size in sizes.items() if size] == [23], "others are not known"


def test_masks_and_labels_are_declared() -> None:
    masks = [int(one.id[:5]) for one in medigan_cards() if "mask" in one.outputs]
    labels = [int(one.id[:5]) for one in medigan_cards() if "label" in one.outputs]
    assert masks == [4, 7, 9, 10, 11]
    assert labels == [8, 12]
