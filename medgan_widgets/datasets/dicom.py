"""DICOM files: pixels as a viewer shows them, and nothing that names a person.

Only the stored bits count; the modality LUT or rescale is applied; MONOCHROME1 is turned
upright; palettes and YBR become RGB; padding is background. Rows and columns stay as they
are stored, which is the radiological convention for a patient who lies on the back: the
patient's right on the viewer's left, front and head up. A patient's number says which images
stay together and is hashed before anything is kept; no other tag is copied.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.records import Pixels, grey_or_colour, grey_pixels
from medgan_widgets.errors import DataError

PATIENT = "PatientID"
# Value representations that tell who, when or which one; and numbers of people in plain text.
_TELLING = frozenset({"PN", "UI", "DA", "DT", "TM"})
_WHO = frozenset({
    PATIENT, "OtherPatientIDs", "AccessionNumber", "StudyID", "PatientAddress",
    "PatientTelephoneNumbers", "DeviceSerialNumber", "PatientComments",
})  # fmt: skip
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_SPACINGS = ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
# Modalities that are no images of a patient, and the storage classes of two of them
_NO_IMAGES = {
    "SEG": "a segmentation",
    "RTDOSE": "a dose map",
    "RTSTRUCT": "a set of contours",
    "RTPLAN": "a treatment plan",
    "SR": "a report",
    "DOC": "a document",
    "PR": "a presentation state",
    "KO": "a selection of images",
    "REG": "a registration",
}
_CLASSES = {"66.4": "SEG", "66.7": "SEG", "481.2": "RTDOSE"}
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Values of ImageType of pictures that go with the images
_ASIDE = {
    "LOCALIZER": "a scout",
    "THUMBNAIL": "a thumbnail",
    "OVERVIEW": "an overview of a slide",
    "LABEL": "the label of a slide",
}


def open_dicom(data: bytes, name: str, *, own_window: bool = False) -> DicomFile:
    """Open a DICOM file, also one without the preamble that should stand before it.

    ``own_window`` gives grey values as the file's own VOI LUT, or the first of its windows,
    shows them: 0 … 255.
    """
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    # Without a preamble a file begins with its first group, 2 or 8, in either byte order.
    if data[128:132] != b"DICM" and data[:2] not in (b"\2\0", b"\10\0", b"\0\10"):
        raise DataError(f"{name} cannot be read as DICOM (it neither has its mark nor begins so).")
    try:
        file: Any = pydicom.dcmread(io.BytesIO(data), force=True)
        if not any(tag in file for tag in ("SOPClassUID", "Modality", "Rows")):
            raise DataError(f"{name} cannot be read as DICOM (its tags are not there).")
        if "TransferSyntaxUID" not in file.file_meta:
            if "PixelData" in file and file["PixelData"].is_undefined_length:
                raise DataError(f"{name} does not say how it is compressed; export it again.")
            implicit, little = file.original_encoding
            plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            file.file_meta.TransferSyntaxUID = plain if little else ExplicitVRBigEndian
        return DicomFile(file, name, own_window)
    except DataError:
        raise
    except Exception as error:  # damaged files fail in many ways
        raise DataError(f"{name} cannot be read as DICOM ({_one_line(error)}).") from error


class DicomFile:
    """One file that was opened with `open_dicom`.

    ``count`` says how many frames it holds, ``numbers`` which of them are read: all. Why it is
    no image to learn from says ``not_image``, as ``"a dose map (RTDOSE)"``; empty for an image.
    """

    def __init__(self, file: Any, name: str, own_window: bool) -> None:
        self.name, self._file, self._own_window = name, file, own_window
        self._photometric = str(file.get("PhotometricInterpretation", ""))
        self._colour = int(file.get("SamplesPerPixel", 1) or 1) > 1
        self._bits = int(file.get("BitsStored", 0) or file.get("BitsAllocated", 0) or 0)
        self._syntax = file.file_meta.TransferSyntaxUID
        self.count = int(file.get("NumberOfFrames", 1) or 1)
        self.numbers = range(self.count)
        self.not_image = self._not_image()

    def _not_image(self) -> str:
        storage = str(self._file.get("SOPClassUID", "")).removeprefix(_STORAGE)
        kind = _CLASSES.get(storage, str(self._file.get("Modality", "")))
        if kind in _NO_IMAGES:
            return f"{_NO_IMAGES[kind]} ({kind})"
        for value in (self.keyword("ImageType") or "").upper().split("\\")[2:]:
            if value.strip() in _ASIDE:
                return f"{_ASIDE[value.strip()]} ({value.strip()})"
        pixels = self._has_pixels and self._file.get("Rows") and self._file.get("Columns")
        return "" if pixels else "a DICOM file without an image"

    @property
    def _has_pixels(self) -> bool:
        return any(tag in self._file for tag in _PIXELS)

    def keyword(self, name: str) -> str | None:
        """Return the value of a DICOM keyword as text, or None where there is none.

        Several values are joined with a backslash, as DICOM writes them.
        """
        try:
            value = self._file.get(name)
        except Exception as error:  # pydicom reads a value when it is asked for
            raise DataError(f"{self.name} has a {name} that cannot be read ({error}).") from error
        several = value if hasattr(value, "append") else [value]
        text = "\\".join("" if part is None else str(part) for part in several)
        return text.strip(" \0\n\r\t") or None

    def part_name(self, frame: int) -> str:
        """Return what a frame is called."""
        return f"{self.name}#{frame}" if self.count > 1 else self.name

    def pixels(self, frame: int = 0) -> Pixels:
        """Return one frame."""
        stored = self._decoded(frame)
        try:
            facts = self._spacing(frame)
            if self._photometric == "PALETTE COLOR":
                return grey_or_colour(self._coloured(stored), self.name, stored=(0, 65535), **facts)
            if self._colour:
                stored, bits = stored >> max(0, self._bits - 16), min(self._bits, 16)
                wide = stored.astype(np.uint8 if bits <= 8 else np.uint16)
                return grey_or_colour(wide, self.name, stored=(0, 2**bits - 1), **facts)
            return self._grey(stored, frame, facts)
        except DataError:
            raise
        except Exception as error:  # so do damaged tags
            raise DataError(f"{self.name} cannot be read ({_one_line(error)}).") from error

    def _grey(self, stored: NDArray[Any], frame: int, facts: dict[str, Any]) -> Pixels:
        """Return grey values: only the stored bits, rescaled, upright, padding told apart."""
        stored, low, high = self._in_stored_bits(stored)
        background = self._padding(stored)
        rescale = self._tags_of("PixelValueTransformationSequence", frame)
        unit = ""
        known: tuple[float, float] | None = None
        if rescale.get("ModalityLUTSequence"):
            values, low, high = self._looked_up(stored, rescale.ModalityLUTSequence[0])
        else:
            slope = float(rescale.get("RescaleSlope", 1) or 1)
            intercept = float(rescale.get("RescaleIntercept", 0) or 0)
            values = stored * slope + intercept
            low, high = sorted((low * slope + intercept, high * slope + intercept))
            unit = self._unit(rescale)
            # Sixteen of sixteen bits are what a format gives, not what a scanner fills.
            if not unit and self._bits not in (0, 16, 32, 64):
                known = (low, high)
        if self._own_window:
            values = self._windowed(values, frame)
            low, high, known, unit = 0.0, 255.0, (0.0, 255.0), ""
        if self._photometric == "MONOCHROME1":
            facts["turned"], unit = low + high, ""
            values = low + high - values
        return grey_pixels(values, self.name, background, stored=known, unit=unit, **facts)

    def _decoded(self, frame: int) -> NDArray[Any]:
        """Return the numbers of one frame, colours as RGB."""
        from pydicom.pixels.utils import pixel_array

        if not self._has_pixels:
            raise DataError(f"{self.name} holds no pixels, or is cut short before them.")
        if self._colour and self._photometric not in (*_COLOURS, "PALETTE COLOR"):
            raise DataError(f"{self.name} has {self._photometric} colours; export it as RGB.")
        try:
            return np.asarray(pixel_array(self._file, index=frame, correct_unused_bits=False))
        except Exception as error:  # damaged files fail in many ways
            if not _can_open(self._syntax, self._bits):
                what = f"is compressed ({self._syntax.name}), which nothing here can open"
            else:
                what = f"has no pixels that can be read ({_one_line(error)})"
            install = "; pip install pylibjpeg[all]" if self._syntax.is_encapsulated else ""
            raise DataError(f"{self.name} {what}{install}.") from error

    def _in_stored_bits(self, stored: NDArray[Any]) -> tuple[NDArray[Any], float, float]:
        """Return numbers without what lies in unused bits, and the range they can have.

        Old files keep overlay graphics there, and leave out the sign.
        """
        from pydicom.uid import RLELossless

        if stored.dtype.kind == "f":
            return stored, 0.0, 0.0
        bits, signed = self._bits, bool(self._file.get("PixelRepresentation", 0))
        below = int(self._file.get("HighBit", bits - 1)) + 1 - bits
        if self._syntax.is_encapsulated and self._syntax != RLELossless:
            below = 0  # a codec has moved them down
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        if below > 0 or stored.dtype.itemsize * 8 > bits:
            plain = (stored.astype(np.int64) >> max(below, 0)) & (2**bits - 1)
            stored = np.where(plain > high, plain - 2**bits, plain)
        return stored, float(low), float(high)

    def _padding(self, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return where PixelPaddingValue says that nothing was imaged, or None."""
        kind = {"f4": "Float", "f8": "DoubleFloat"}.get(stored.dtype.str[1:], "")
        first, last = (self._file.get(f"{kind}PixelPadding{e}") for e in ("Value", "RangeLimit"))
        if first is None:
            return None
        ends = [first, first if last is None else last]
        if not kind and self._file.get("PixelRepresentation", 0):  # often written unsigned
            wrap = 2 ** int(self._file.BitsAllocated)
            ends = [end - wrap if end >= wrap / 2 else end for end in ends]
        outside: NDArray[np.bool_] = (stored >= min(ends)) & (stored <= max(ends))
        return outside

    def _unit(self, rescale: Any) -> str:
        kind = str(rescale.get("RescaleType") or "").upper()
        ct = self._file.get("Modality") == "CT" and "RescaleIntercept" in rescale
        if kind == "HU" or (not kind and ct):
            return "HU"
        return "SUV" if self._file.get("Units") == "GML" else ""  # grams a millilitre

    def _windowed(self, values: NDArray[Any], frame: int) -> NDArray[Any]:
        """Return values as the file's VOI LUT or first window shows them (PS3.3, C.11.2)."""
        voi = self._tags_of("FrameVOILUTSequence", frame)
        if voi.get("VOILUTSequence"):
            lut = voi.VOILUTSequence[0]
            return self._looked_up(values, lut)[0] * (255 / (2.0 ** int(lut.LUTDescriptor[2]) - 1))
        center, width = (_first(voi.get(tag)) for tag in ("WindowCenter", "WindowWidth"))
        if center is None or width is None or width <= 0:
            raise DataError(f"{self.name} has no window of its own; give one as (center, width).")
        function = str(voi.get("VOILUTFunction") or "LINEAR")
        if function == "SIGMOID":
            return 255 / (1 + np.exp(-4 * (values - center) / width))
        if function == "LINEAR":  # from the middle of one whole number to that of another
            center, width = center - 0.5, max(width - 1, 1e-6)
        return np.clip((values - center) / width + 0.5, 0, 1) * 255

    def _looked_up(self, values: NDArray[Any], lut: Any) -> tuple[NDArray[Any], float, float]:
        """Return what a table makes of values, and the lowest and highest it holds."""
        count, first, _ = lut.LUTDescriptor
        count = count or 2**16
        data = lut.LUTData
        if isinstance(data, bytes):
            wide = "<u2" if self._syntax.is_little_endian else ">u2"
            table = np.frombuffer(data, wide if len(data) >= 2 * count else np.uint8)
        else:
            table = np.asarray(data, np.uint16)
            table = table.view(np.uint8) if len(table) < count else table
        table = table[:count].astype(np.float64)
        if first >= 2**15 and values.min() < 0:  # often written unsigned
            first -= 2**16
        entries = np.clip(values - first, 0, count - 1).astype(np.int64)
        return table[entries], float(table.min()), float(table.max())

    def _coloured(self, stored: NDArray[Any]) -> NDArray[Any]:
        from pydicom.pixels.processing import apply_color_lut

        entries = self._in_stored_bits(stored)[0].astype(stored.dtype)
        coloured = np.asarray(apply_color_lut(entries, self._file))[..., :3]
        eight = self._file.RedPaletteColorLookupTableDescriptor[2] <= 8
        return coloured.astype(np.uint8) if eight else coloured

    def _spacing(self, frame: int) -> dict[str, Any]:
        """Return spacing and aspect of a pixel, where the file says them."""
        measures = self._tags_of("PixelMeasuresSequence", frame).get("PixelSpacing")
        for keyword in ("PixelSpacing", *_SPACINGS):
            value = measures if keyword == "PixelSpacing" else self._file.get(keyword)
            try:
                down, across = (float(side) for side in value or ())
            except (TypeError, ValueError):
                continue
            if down > 0 and across > 0:
                spacing = None if keyword == "PixelAspectRatio" else (down, across)
                return {"spacing": spacing, "aspect": down / across}
        return {}

    def _tags_of(self, sequence: str, frame: int) -> Any:
        """Return what holds the tags of a frame: its functional groups, or the file."""
        own = list(self._file.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]
        shared = list(self._file.get("SharedFunctionalGroupsSequence") or [])[:1]
        found = (group[sequence].value[0] for group in (*own, *shared) if group.get(sequence))
        return next(found, self._file)


def is_keyword(keyword: str) -> bool:
    """Return whether a text is a keyword of DICOM, as ``"Modality"`` is."""
    from pydicom.datadict import tag_for_keyword

    return tag_for_keyword(keyword) is not None


def check_keyword(keyword: str) -> None:
    """Refuse a DICOM keyword that would tell who or when it was, as a class does in a card."""
    from pydicom.datadict import dictionary_VR

    if keyword in _WHO or dictionary_VR(keyword) in _TELLING:
        raise DataError(
            f"labels={keyword!r} would write into the model who or when it was; choose a keyword "
            "that tells a kind, or give classes in a table."
        )


def _can_open(syntax: Any, bits: int) -> bool:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import JPEGExtended12Bit

    try:
        # Pillow, which opens it, knows eight bits of it only.
        narrow = syntax == JPEGExtended12Bit and bits > 8
        return get_decoder(syntax).is_available and not narrow
    except NotImplementedError:  # a video, for instance
        return False


def _first(value: Any) -> float | None:
    several = np.atleast_1d(np.asarray([] if value in (None, "") else value, np.float64))
    return float(several[0]) if several.size else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
