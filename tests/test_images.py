"""Pixels stay what they are, and every preview says SYNTHETIC."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medgan_widgets.errors import DataError
from medgan_widgets.images import (
    captioned,
    contact_sheet,
    mosaic,
    png_bytes,
    to_uint8,
    windowed,
)

rng = np.random.default_rng(1)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4), (1, 1)])
def test_a_png_read_by_another_library_has_the_same_pixels(shape):
    image = rng.integers(0, 256, shape, np.uint8)
    back = np.asarray(Image.open(io.BytesIO(png_bytes(image, {"Comment": "é µ"}))))
    assert np.array_equal(back, image[..., 0] if shape[2:] == (1,) else image)


def test_sixteen_bits_survive():
    image = rng.integers(0, 65536, (9, 6), np.uint16)
    back = Image.open(io.BytesIO(png_bytes(image)))
    assert np.array_equal(np.asarray(back).astype(np.uint16), image)


def test_text_inside_is_unicode_and_a_strided_image_is_no_trap():
    image = rng.integers(0, 256, (8, 8, 3), np.uint8)[::2, ::-1]
    back = Image.open(io.BytesIO(png_bytes(image, {"recipe": '{"a": "größe"}'})))
    assert back.text == {"recipe": '{"a": "größe"}'}
    assert np.array_equal(np.asarray(back), image)


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 2), np.uint8)])
def test_what_is_no_image_is_refused(bad):
    with pytest.raises(DataError, match="an image must be"):
        png_bytes(bad)


def test_the_window_maps_its_edges_to_black_and_white():
    grey = np.arange(256, dtype=np.uint8)
    assert np.array_equal(windowed(grey, 127.5, 255), grey)
    assert windowed(grey, 100, 50)[[75, 125]].tolist() == [0, 255]
    with pytest.raises(DataError, match="above 0"):
        windowed(grey, 100, 0)


def test_uint16_keeps_its_upper_byte_and_floats_are_refused():
    assert to_uint8(np.array([256 * 7 + 9], np.uint16)).tolist() == [7]
    with pytest.raises(DataError, match="float64"):
        to_uint8(np.zeros(3))


def test_the_mosaic_puts_image_n_at_row_and_column():
    images = rng.integers(1, 256, (5, 4, 6, 1), np.uint8)
    sheet = mosaic(images, 3)
    assert sheet.shape == (8, 18, 1)
    assert np.array_equal(sheet[4:8, 6:12], images[4])
    assert not sheet[4:8, 12:].any()


@pytest.mark.parametrize("seed", [0, 17, 2**64 - 1])
def test_every_tile_of_a_contact_sheet_is_marked_and_no_image_is_covered(seed):
    image = np.full((1, 128, 128, 1), 90, np.uint8)
    sheet = np.asarray(contact_sheet(image, [seed], tile=128))
    assert (sheet[4:132, 4:132] == 90).all(), "the words stand under the picture"
    strip = sheet[132:154, 4:132, 0]
    left, right = (strip[:, :60] > 200).sum(), (strip[:, 66:] > 200).sum()
    assert left > 60
    assert right > 30
    assert not (strip[:, :3] > 60).any()
    assert not (strip[:, -3:] > 60).any(), "nothing is cut at the edge"


def test_small_images_are_enlarged_and_each_image_needs_a_seed():
    sheet = contact_sheet(np.zeros((3, 32, 32), np.uint8), [1, 2, 3], columns=2)
    assert sheet.size == (2 * 164 + 4, 2 * 186 + 4)
    with pytest.raises(DataError, match="needs its seed"):
        contact_sheet(np.zeros((3, 32, 32), np.uint8), [1])


def test_a_caption_wraps_and_stands_above_the_picture():
    picture = Image.new("RGB", (100, 50), (0, 0, 255))
    sheet = captioned(picture, ["word " * 60], width=300)
    assert sheet.width == 300
    assert sheet.height > 50 + 3 * 20
    assert sheet.getpixel((50, sheet.height - 1)) == (0, 0, 255)
