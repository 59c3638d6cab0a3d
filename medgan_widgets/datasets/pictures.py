"""PNG, JPEG, TIFF, BMP, GIF and WebP files, and Pillow images: as a viewer shows them.

16 bits stay 16 bits, what is transparent lies on black, a picture that its camera took lying is
turned as its EXIF says. Of the several pictures in a phone's file the main one is taken, of a TIFF
the one that is no thumbnail.
"""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from medgan_widgets.datasets.records import Pixels, grey_or_colour
from medgan_widgets.errors import DataError

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SEVERAL = "holds several pictures; save them one by one"
_LYING = range(5, 9)  # EXIF orientations that swap height and width
# PhotometricInterpretation of TIFF, and the samples that each has; ExtraSamples
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = range(4)
_PLANES = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1}
_ALPHA = 2
_MOST_STRETCHED = 5  # beyond it a resolution was not measured


def decode_picture(data: bytes, name: str) -> Pixels:
    """Return the pixels of an image file; errors call it ``name``."""
    try:
        if data[:4] in _TIFF:
            return _decode_tiff(data, name)
        with Image.open(io.BytesIO(data)) as image:
            if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
                raise DataError(f"{name} {_SEVERAL}.")
            image.load()
            bits, colours = data[24:26] if image.format == "PNG" else (8, 0)
            if bits == 16 and colours in (2, 4, 6):  # Pillow keeps 8 bits of RGB and alpha
                samples = _opencv(data)
                alpha = samples[..., 3] if samples.shape[2] == 4 else None
                shown = _on_black(samples[..., : 1 if colours == 4 else 3], alpha)
                return grey_or_colour(_upright(shown, _orientation(image)), name)
            return pixels_of_pillow(image, name)
    except DataError:
        raise
    except Exception as error:  # damaged files fail in many ways
        why = "damaged, or of another kind"
        if not isinstance(error, UnidentifiedImageError):  # whose text has a path in it
            why = ((error.strerror if isinstance(error, OSError) else "") or str(error)).rstrip(".")
        raise DataError(f"{name} cannot be read as an image ({why}).") from error


def pixels_of_pillow(image: Image.Image, name: str) -> Pixels:
    """Return the pixels of a Pillow image of any mode: upright, on black where transparent."""
    tags = getattr(image, "tag_v2", {})  # of an opened TIFF, whose numbers come as they are
    image = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        values = np.asarray(image)
        if mode == "I" and tags.get(258) == (32,) and tags.get(339, (1,)) == (1,):
            values = values.view(np.uint32)
        if tags.get(262) == _WHITE_IS_ZERO and values.dtype.kind == "u":
            turned = float(np.iinfo(values.dtype).max)
            return grey_or_colour(turned - values.astype(np.float64), name, turned=turned)
        return grey_or_colour(values, name)
    try:
        if "transparency" in image.info or mode in ("LA", "La", "RGBA", "RGBa", "PA"):
            image = image.convert("LA").convert("RGBA") if mode == "La" else image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
        values = np.asarray(image.convert("L" if mode in ("1", "L", "LA", "La") else "RGB"))
    except ValueError as error:
        raise DataError(f"{name} cannot be turned into RGB ({error}).") from error
    return grey_or_colour(_without_palette(values) if mode in ("P", "PA") else values, name)


def _decode_tiff(data: bytes, name: str) -> Pixels:
    """Return the one page that is neither a thumbnail nor a mask.

    Pillow knows every compression of 8 bits, tifffile every kind of number.
    """
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = [n for n, page in enumerate(file.pages) if not page.aspage().subfiletype & 5]
        if len(pages) > 1:
            raise DataError(f"{name} {_SEVERAL}.")
        page = file.pages[pages[0]].aspage()
        # ImageJ and others write the first slice's page only, and the rest behind it.
        if page.imagedepth > 1 or math.prod(file.series[0].shape) > math.prod(page.shape):
            raise DataError(f"{name} {_SEVERAL}.")
        if page.bitspersample > 8 or page.sampleformat != 1:
            pixels = _pixels_of_page(page, data, name)
        else:
            with Image.open(io.BytesIO(data)) as image:
                image.seek(pages[0])
                image.load()
                pixels = pixels_of_pillow(image, name)
        # Dots per inch are of the print, not of the patient: all that counts is that they differ.
        across, down = page.resolution
        measured = page.tags.valueof("ResolutionUnit") in (2, 3) and across > 0 and down > 0
        aspect = across / down if measured else 1.0
        if page.tags.valueof("Orientation", 1) in _LYING:
            aspect = 1 / aspect
    return replace(pixels, aspect=aspect) if max(aspect, 1 / aspect) <= _MOST_STRETCHED else pixels


def _pixels_of_page(page: Any, data: bytes, name: str) -> Pixels:
    """Return a page of more than 8 bits, of signed numbers or of floats."""
    kind, bits = int(page.photometric), int(page.bitspersample)
    if kind not in _PLANES:
        raise DataError(f"{name} has colours of {bits} bits that are not RGB; save it as RGB.")
    samples = _samples_of_page(page, data, name)
    if kind == _PALETTE:
        shown = _without_palette(np.moveaxis(page.colormap[:, samples], 0, -1))
        return grey_or_colour(shown, name, stored=(0.0, 65535.0))
    if samples.ndim == 3:
        alpha = samples[..., _PLANES[kind]] if page.extrasamples[:1] == (_ALPHA,) else None
        samples = _on_black(samples[..., : _PLANES[kind]], alpha)
    if kind == _RGB:
        return grey_or_colour(samples, name)
    low, high = {1: (0, 2**bits - 1), 2: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)}.get(
        int(page.sampleformat), (0, 0)
    )
    # A container that is full to its last bit says nothing of the numbers in it, but this may:
    top = int(np.max(page.tags.valueof("MaxSampleValue", 0)))
    known = low == 0 and top > 0 and top >= samples.max()
    high = top if known else high
    turned = float(low + high) if kind == _WHITE_IS_ZERO else None
    values = samples if turned is None else turned - samples.astype(np.float64)
    stored = (float(low), float(high)) if known or bits not in (16, 32, 64) else None
    return grey_or_colour(values, name, stored=stored, turned=turned)


def _samples_of_page(page: Any, data: bytes, name: str) -> NDArray[Any]:
    """Return the numbers of a page, upright, [H, W] or [H, W, samples]."""
    try:
        samples: NDArray[Any] = page.asarray()
    except (ValueError, NotImplementedError) as error:
        if "imagecodecs" not in str(error):
            raise
        # A compression that tifffile leaves to another package. OpenCV turns the page itself.
        if page.planarconfig != 1 or page.samplesperpixel == 2:  # these it reads wrong
            raise DataError(f"{name} is compressed; pip install imagecodecs.") from error
        unused = 16 - page.bitspersample  # OpenCV moves 10, 12 and 14 bits up
        return _opencv(data) >> unused if 0 < unused < 8 else _opencv(data)
    if page.samplesperpixel > 1 and page.planarconfig == 2:
        samples = np.moveaxis(samples, 0, -1)
    return _upright(samples, page.tags.valueof("Orientation", 1))


def _opencv(data: bytes) -> NDArray[Any]:
    """Return the numbers of a file as they are, colour as RGB."""
    import cv2

    found: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise ValueError("damaged, or of an unknown kind")
    return found if found.ndim == 2 else found[..., [2, 1, 0, 3][: found.shape[2]]]


def _on_black(colours: NDArray[Any], alpha: NDArray[Any] | None) -> NDArray[Any]:
    if alpha is not None:
        shown = np.rint(colours * (alpha[..., None] / np.iinfo(alpha.dtype).max))
        colours = shown.astype(colours.dtype)
    return colours[..., 0] if colours.shape[2] == 1 else colours


def _without_palette(values: NDArray[Any]) -> NDArray[Any]:
    """Return colours out of a palette; grey where it is a palette of greys."""
    return values[..., 0] if (values == values[..., :1]).all() else values


def _upright(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return values turned and mirrored as an EXIF orientation says."""
    if orientation in _LYING:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return values[:, ::-1] if orientation in (2, 3, 6, 7) else values


def _orientation(image: Image.Image) -> int:
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))
