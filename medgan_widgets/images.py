"""Arrays to pixels: window and level, contact sheets, PNG bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medgan_widgets.errors import DataError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels -> the PNG specification's colour type
_INK, _PAPER, _STRIP = (33, 33, 33), (255, 255, 255), (0, 0, 0)
_MASK = (0, 229, 255)  # as on screen: seen on every grey


def to_uint8(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return images as uint8, any shape; uint16 keeps its upper byte."""
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.uint16:
        return (images >> 8).astype(np.uint8)
    raise DataError(f"images must be uint8 or uint16, got {images.dtype}; scale them first.")


def checked_pixels(images: Any, what: str = "images") -> NDArray[Any]:
    """Return images as uint8 or uint16 [N, H, W, C], C of 1, 3 or 4; errors say ``what``."""
    expected = f"{what} must be uint8 or uint16 [N, H, W] or [N, H, W, 1, 3 or 4]"
    if not isinstance(images, np.ndarray):
        raise DataError(
            f"{expected}, got {type(images).__name__}; read files by "
            "read_images(folder, test=0).images."
        )
    if images.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{expected}, got {images.dtype} {images.shape}; scale them to whole grey levels first."
        )
    if images.ndim == 3 and images.shape[2] in (3, 4):
        raise DataError(f"{what} of shape {images.shape} are one colour image; give [1, H, W, C].")
    shaped = images[..., None] if images.ndim == 3 else images
    if shaped.ndim != 4 or shaped.shape[3] not in (1, 3, 4):
        raise DataError(f"{expected}, got {images.dtype} {images.shape}.")
    if 0 in shaped.shape:
        raise DataError(f"there are no pixels in {what} of shape {images.shape}.")
    return shaped


def top_of(images: NDArray[Any]) -> float:
    """Return what counts as white in images of 16 bits: the 99.99th percentile of all of them.

    255 for eight bits. Files rarely use all 65,536 levels, scanners give 12 bits of the 16.

    Examples
    --------
    >>> round(top_of(np.arange(4096, dtype=np.uint16)), 4), top_of(np.zeros(3, np.uint8))
    (4094.5905, 255.0)
    """
    return 255.0 if images.dtype == np.uint8 else float(np.percentile(images, 99.99)) or 1.0


def to_levels(images: NDArray[Any], top: float) -> NDArray[np.uint8]:
    """Return images as uint8, any shape: of 16 bits ``top`` and what is brighter becomes 255.

    Examples
    --------
    >>> to_levels(np.array([0, 2048, 4095], np.uint16), top=4095).tolist()
    [0, 128, 255]
    """
    if images.dtype == np.uint8:
        return images
    scaled: NDArray[np.uint8] = np.rint(
        np.minimum(images * np.float32(255 / top), np.float32(255))
    ).astype(np.uint8)
    return scaled


def windowed(images: NDArray[Any], center: float, width: float) -> NDArray[np.uint8]:
    """Return grey values as seen through a window, uint8, the shape unchanged.

    ``center - width / 2`` becomes 0 and ``center + width / 2`` becomes 255.
    """
    if not width > 0:
        raise DataError(f"window_width must be above 0, got {width}.")
    shown = (images.astype(np.float32) - (center - width / 2)) * (255.0 / width)
    pixels: NDArray[np.uint8] = np.rint(np.clip(shown, 0, 255)).astype(np.uint8)
    return pixels


def png_bytes(image: NDArray[Any], text: Mapping[str, str] | None = None) -> bytes:
    """Return an image [H, W] or [H, W, C] as PNG, uint8 or uint16, C of 1, 3 or 4.

    Every row is coded as its difference to the row above and deflated for runs
    only: as small as the usual encoders on noisy images, and about three times
    as fast. ``text`` goes in as UTF-8 (iTXt).
    """
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[2] not in _COLOUR_TYPES or 0 in pixels.shape:
        raise DataError(f"an image must be [H, W] or [H, W, 1, 3 or 4], got {image.shape}.")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"an image must be uint8 or uint16, got {pixels.dtype}.")
    height, width, channels = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    rows = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder(">")).view(np.uint8)
    rows = rows.reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 2  # the filter type "Up"
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, depth, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = [PNG_SIGNATURE, _chunk(b"IHDR", header)]
    for key, value in (text or {}).items():
        parts.append(_chunk(b"iTXt", key.encode("latin-1") + bytes(5) + value.encode()))
    parts.append(_chunk(b"IDAT", packer.compress(filtered.data) + packer.flush()))
    return b"".join([*parts, _chunk(b"IEND", b"")])


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def mosaic(images: NDArray[Any], columns: int) -> NDArray[np.uint8]:
    """Return images [N, H, W, C] side by side as one uint8 [rows*H, columns*W, C], unmarked.

    Examples
    --------
    >>> mosaic(np.zeros((3, 8, 8, 1), np.uint8), columns=2).shape
    (16, 16, 1)
    """
    images = to_uint8(images)
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    full = np.zeros((rows * columns, height, width, channels), np.uint8)
    full[:count] = images
    tiled = full.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return tiled.reshape(rows * height, columns * width, channels)


def padded(pictures: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """Return pictures of any sizes as one uint8 [N, H, W, C]: each at the top left, on black."""
    shaped = [to_uint8(one if one.ndim == 3 else one[..., None]) for one in pictures]
    height, width, channels = (max(one.shape[axis] for one in shaped) for axis in range(3))
    full = np.zeros((len(shaped), height, width, channels), np.uint8)
    for place, one in enumerate(shaped):  # grey spreads over the channels of colour
        depth = channels if one.shape[2] == 1 else one.shape[2]
        full[place, : one.shape[0], : one.shape[1], :depth] = one
    return full


def outlined(image: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as RGB with the edge of its mask drawn in, for pictures on paper."""
    shown = np.array(np.broadcast_to(to_uint8(image)[..., :3], (*image.shape[:2], 3)))
    inside = np.pad(mask > 0, 1)
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    shown[inside[1:-1, 1:-1] & ~core] = _MASK
    return shown


def contact_sheet(
    images: NDArray[Any],
    seeds: Sequence[int],
    *,
    columns: int = 4,
    tile: int = 160,
    clear: bool = False,
) -> Image.Image:
    """Return a sheet of images [N, H, W] or [N, H, W, C], SYNTHETIC and the seed under each.

    Images are enlarged to ``tile`` pixels a side at least, so that the words stay readable.
    ``clear`` lets the page show through between the tiles, light or dark; else it is white.
    """
    images = to_uint8(images[..., None] if images.ndim == 3 else images)
    if len(images) != len(seeds) or not len(images):
        raise DataError(f"each image needs its seed: got {len(images)} and {len(seeds)}.")
    scale = max(1.0, tile / images.shape[2])
    width, height = round(images.shape[2] * scale), round(images.shape[1] * scale)
    columns = min(columns, len(images))
    strip, gap = 22, 4
    rows = -(-len(images) // columns)
    size = (columns * (width + gap) + gap, rows * (height + strip + gap) + gap)
    sheet = Image.new("RGBA", size, (*_PAPER, 0 if clear else 255))
    for place, (image, seed) in enumerate(zip(images, seeds, strict=True)):
        row, column = divmod(place, columns)
        corner = (gap + column * (width + gap), gap + row * (height + strip + gap))
        picture = as_pil(image).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        sheet.paste(picture, corner)
        _mark(sheet, (corner[0], corner[1] + height, width, strip), seed)
    return sheet if clear else sheet.convert("RGB")


def as_pil(image: NDArray[Any]) -> Image.Image:
    """Return an image [H, W] or [H, W, C] as a Pillow image.

    Examples
    --------
    >>> as_pil(np.zeros((4, 6, 1), np.uint8)).size
    (6, 4)
    """
    pixels = to_uint8(image)
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _mark(sheet: Image.Image, box: tuple[int, int, int, int], seed: int) -> None:
    """Write SYNTHETIC and the seed on a black strip, one under the other where too long."""
    left, top, width, height = box
    right, words, number = left + width - 6, "SYNTHETIC", f"seed {seed}"
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=_STRIP)
    fonts = {size: ImageFont.load_default(size) for size in (12, 11, 10, 9)}
    size = next((n for n in (12, 11, 10) if _fits(pen, words + number, fonts[n], width - 18)), 0)
    upper = lower = top + height // 2
    if not size:
        if not _fits(pen, number, fonts[10], width - 12):
            number = str(seed)  # twenty digits speak for themselves
        size = 10 if _fits(pen, number, fonts[10], width - 12) else 9
        upper, lower = top + height // 4, top + 3 * height // 4
    font = fonts[size]
    pen.text((left + 6, upper), words, fill=_PAPER, font=font, anchor="lm")
    pen.text((right, lower), number, fill=_PAPER, font=font, anchor="rm")


def _fits(pen: ImageDraw.ImageDraw, text: str, font: Any, room: float) -> bool:
    return pen.textlength(text, font=font) <= room


def captioned(picture: Image.Image | None, lines: Sequence[str], width: int = 640) -> Image.Image:
    """Return the picture with lines of text above it, wrapped; text alone without a picture.

    Examples
    --------
    >>> captioned(None, ["No images yet."], width=320).width
    320
    """
    width = max(width, picture.width if picture else 0)
    font = ImageFont.load_default(14)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    wrapped = [part for line in lines for part in _wrap(line, pen, font, width - 16)]
    text_height = 12 + 20 * len(wrapped)
    sheet = Image.new("RGB", (width, text_height + (picture.height if picture else 0)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, line in enumerate(wrapped):
        pen.text((8, 6 + 20 * row), line, fill=_INK, font=font)
    if picture:
        sheet.paste(picture.convert("RGB"), (0, text_height))
    return sheet


def _wrap(line: str, pen: ImageDraw.ImageDraw, font: Any, room: float) -> list[str]:
    rows, row = [], ""
    for word in line.split():
        longer = f"{row} {word}".strip()
        if row and pen.textlength(longer, font=font) > room:
            rows.append(row)
            longer = word
        row = longer
    return [*rows, row]
