"""DICOM files: pixel values as the scanner meant them, nothing that names a person.

A patient's number says which images stay together and is hashed before anything is kept;
no other tag is copied but the one that somebody asks for as a class.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.pixels import Pixels, grey_pixels
from medgan_widgets.errors import DataError

PATIENT = "PatientID"
# Value representations that tell who, when or which one; and numbers of people in plain text.
_TELLING = frozenset({"PN", "UI", "DA", "DT", "TM"})
_WHO = frozenset({
    PATIENT, "OtherPatientIDs", "AccessionNumber", "StudyID", "PatientAddress",
    "PatientTelephoneNumbers", "DeviceSerialNumber", "PatientComments",
})  # fmt: skip
_NO_IMAGES = {
    "SEG": "a segmentation (SEG)",
    "RTDOSE": "a dose map (RTDOSE)",
    "RTSTRUCT": "a set of contours (RTSTRUCT)",
    "RTPLAN": "a treatment plan (RTPLAN)",
    "SR": "a report (SR)",
    "KO": "a list of key images (KO)",
    "PR": "a presentation state (PR)",
    "DOC": "a document (DOC)",
    "REG": "a registration (REG)",
}
_SEGMENTATION, _DOSE = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.2"
_SCOUTS = frozenset({"LOCALIZER", "SCOUT"})
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_SUV_UNITS = frozenset({"GML", "SUV", "SUVBW"})


def open_dicom(data: bytes, name: str) -> DicomFile:
    """Return a DICOM file that was read into memory.

    Parameters
    ----------
    data
        The whole file, with a preamble or without.
    name
        What it is called in an error.

    Raises
    ------
    DataError
        When it is no DICOM, or damaged.
    """
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    try:
        file: Any = pydicom.dcmread(io.BytesIO(data), force=True)
        known = len(file) > 0 and ("SOPClassUID" in file or "Rows" in file or "Modality" in file)
        if not known:
            raise DataError(f"{name} is no DICOM file: it has none of its tags.")
        if "TransferSyntaxUID" not in file.file_meta:
            implicit = file.original_encoding[0]
            file.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            )
        return DicomFile(file, name)
    except DataError:
        raise
    except Exception as error:  # damaged files fail in many ways
        raise DataError(f"{name} cannot be read as DICOM ({error}).") from error


def check_keyword(keyword: str, *, tells_nobody: bool, table: str) -> None:
    """Raise a DataError for what is no DICOM keyword, or names a person where that must not be.

    ``table`` is where it was looked for as a column first.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    if tag_for_keyword(keyword) is None:
        raise DataError(
            f"{keyword!r} is neither a DICOM keyword nor a column of {table}; write a keyword "
            "as in 'Modality', or give a table."
        )
    if tells_nobody and (keyword in _WHO or dictionary_VR(keyword) in _TELLING):
        raise DataError(
            f"labels={keyword!r} would write into the model who or when it was; choose a keyword "
            "that tells a kind, or give classes in a table."
        )


class DicomFile:
    """One file: its frames, and what its tags say of them.

    Attributes
    ----------
    frames
        How many there are.
    not_image
        Why it is no image to learn from, e.g. ``"a segmentation (SEG)"``; else empty.
    """

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name
        self.frames = int(file.get("NumberOfFrames", 1) or 1)
        self.not_image = self._why_no_image()

    def keyword(self, name: str) -> str | None:
        """Return the value of a keyword as text, or None."""
        return str(self._file.get(name) or "").strip() or None

    def frame(self, index: int = 0, *, window_file: bool = False) -> Pixels:
        """Return one frame, upright: MONOCHROME1 is turned, colour is RGB.

        Parameters
        ----------
        index
            Which frame.
        window_file
            Show grey values through the file's own VOI LUT or window, 0 … 255.

        Raises
        ------
        DataError
            When pixels are missing, compressed in a way nothing here can open, only
            padding, or when the file has no window and one is asked for.
        """
        try:
            return self._frame(index, window_file)
        except (RuntimeError, NotImplementedError) as error:
            syntax = getattr(self._file.file_meta, "TransferSyntaxUID", None)
            raise DataError(
                f"{self._name} is compressed ({getattr(syntax, 'name', 'unknown')}) and nothing "
                "here can open it; install pylibjpeg with its plugins, or save it uncompressed."
            ) from error
        except DataError:
            raise
        except Exception as error:  # damaged files fail in many ways
            raise DataError(f"{self._name} has no pixels that can be read ({error}).") from error

    def _frame(self, index: int, window_file: bool) -> Pixels:
        from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

        file = self._file
        stored = self._decoded(index)
        kind = str(file.get("PhotometricInterpretation", ""))
        facts = self._spacing(index)
        if kind == "PALETTE COLOR":
            colours = np.asarray(apply_color_lut(stored, file))[..., :3]
            if colours.dtype != np.uint8:  # a palette holds eight bits in the upper half
                colours = (colours >> 8).astype(np.uint8)
            return Pixels(colours, None, (0.0, 255.0), **facts)
        if stored.ndim == 3:
            bits = int(file.BitsStored)
            if bits > 16:
                stored, bits = stored >> (bits - 16), 16
            colours = stored.astype(np.uint8 if bits <= 8 else np.uint16)
            return Pixels(colours, None, (0.0, 2.0**bits - 1), **facts)
        holder = self._group_with("PixelValueTransformationSequence", index) or file
        values = np.asarray(apply_modality_lut(stored, holder), np.float64)
        background = self._padding(stored)
        unit = self._unit(holder)
        ends = self._range(holder)
        turned = sum(ends) if ends and kind == "MONOCHROME1" else None
        if kind == "MONOCHROME1" and ends is None:  # floats: about the image's own middle
            turned = float(values.min() + values.max())
        if window_file:
            shown = self._shown(values, index)
            shown = 255 - shown if kind == "MONOCHROME1" else shown
            return grey_pixels(shown, self._name, background, stored=(0.0, 255.0), **facts)
        if turned is not None:
            values = turned - values
        if (
            kind != "MONOCHROME1"
            and unit == ""
            and stored.dtype == np.uint8
            and (ends == (0.0, 255.0) and (values == stored).all())
        ):
            values = stored  # eight bits stay eight bits
        return grey_pixels(
            values, self._name, background, stored=None if unit else ends, unit=unit,
            turned=turned, **facts,
        )  # fmt: skip

    def _decoded(self, index: int) -> NDArray[Any]:
        """Return the numbers of one frame, only the bits that are stored."""
        from pydicom.pixels.utils import pixel_array

        file = self._file
        stored: NDArray[Any] = pixel_array(file, index=index if self.frames > 1 else None)
        bits, allocated = int(file.get("BitsStored", 0)), int(file.get("BitsAllocated", 0))
        if stored.dtype.kind not in "ui" or not 0 < bits < allocated or stored.ndim == 3:
            return stored
        # What lies above, such as the graphics of an overlay, is no part of the picture.
        spare = 8 * stored.dtype.itemsize - bits
        wide = stored.astype(stored.dtype.newbyteorder("="))
        if int(file.get("PixelRepresentation", 0)) == 1:
            return np.asarray((wide << spare).view(wide.dtype.str.replace("u", "i")) >> spare)
        return np.asarray(wide & wide.dtype.type(2**bits - 1))

    def _padding(self, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
        value = self._file.get("PixelPaddingValue")
        if value is None:
            return None
        limit = self._file.get("PixelPaddingRangeLimit", value)
        size = 2 ** int(self._file.get("BitsAllocated", 16))
        # Writers often give the value of signed pixels as if it were unsigned, and back.
        low, high = sorted(
            one - size if stored.min() < 0 <= size // 2 <= one else one
            for one in (int(value), int(limit))
        )
        return np.asarray((stored >= low) & (stored <= high))

    def _unit(self, holder: Any) -> str:
        said = str(holder.get("RescaleType") or self._file.get("RescaleType") or "").upper()
        rescaled = self.keyword("Modality") == "CT" and holder.get("RescaleIntercept") is not None
        if said == "HU" or (not said and rescaled):
            return "HU"
        units = str(self._file.get("Units") or "").upper()
        return "SUV" if said in _SUV_UNITS or units in _SUV_UNITS else ""

    def _range(self, holder: Any) -> tuple[float, float] | None:
        """Return the lowest and highest value that can be stored, after rescaling."""
        if "FloatPixelData" in self._file or "DoubleFloatPixelData" in self._file:
            return None
        if table := holder.get("ModalityLUTSequence"):
            return 0.0, 2.0 ** int(table[0].LUTDescriptor[2]) - 1
        bits, signed = int(self._file.BitsStored), int(self._file.get("PixelRepresentation", 0))
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        slope = float(holder.get("RescaleSlope", 1) or 1)
        shift = float(holder.get("RescaleIntercept", 0) or 0)
        ends = sorted((low * slope + shift, high * slope + shift))
        return ends[0], ends[1]

    def _shown(self, values: NDArray[np.float64], index: int) -> NDArray[np.float32]:
        """Return grey values as the file asks to be shown, 0 … 255 (DICOM PS3.3 C.11.2)."""
        from pydicom.pixels.processing import apply_voi

        holder = self._group_with("FrameVOILUTSequence", index) or self._file
        if table := holder.get("VOILUTSequence"):
            whole = np.asarray(np.rint(values), np.int64)
            top = 2.0 ** int(table[0].LUTDescriptor[2]) - 1
            shown = np.asarray(apply_voi(whole, holder, index=0), np.float64)
            return np.asarray(np.clip(shown / top * 255, 0, 255), np.float32)
        if holder.get("WindowWidth") is None or holder.get("WindowCenter") is None:
            raise DataError(
                f"{self._name} has no window of its own; choose window=(center, width)."
            )
        center, width = (
            float(np.atleast_1d(np.asarray(holder.get(one), float))[0])
            for one in ("WindowCenter", "WindowWidth")
        )
        kind = str(holder.get("VOILUTFunction") or "LINEAR").upper()
        if kind == "SIGMOID":
            shown = 1 / (1 + np.exp(-4 * (values - center) / width))
        elif kind == "LINEAR_EXACT":
            shown = (values - center) / width + 0.5
        else:
            shown = (values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5
        return np.asarray(np.clip(shown, 0, 1) * 255, np.float32)

    def _spacing(self, index: int) -> dict[str, Any]:
        """Return spacing and aspect as far as they are known."""
        measures = self._group_with("PixelMeasuresSequence", index)
        for holder, names in ((measures, _SPACINGS[:1]), (self._file, _SPACINGS)):
            for name in names if holder is not None else ():
                found = holder.get(name)
                if found is not None and len(np.atleast_1d(found)) == 2:
                    down, across = float(found[0]), float(found[1])
                    if down > 0 and across > 0:
                        aspect = down / across
                        return {"spacing": (down, across),
                                "aspect": 1.0 if abs(aspect - 1) < 1e-3 else aspect}  # fmt: skip
        ratio = self._file.get("PixelAspectRatio")
        if (
            ratio is not None
            and len(np.atleast_1d(ratio)) == 2
            and int(ratio[0]) > 0 < int(ratio[1])
        ):
            return {"aspect": int(ratio[0]) / int(ratio[1])}
        return {}

    def _group_with(self, sequence: str, index: int) -> Any:
        """Return a frame's functional group, or what all frames share; None without one."""
        return next(
            (one.get(sequence)[0] for one in self._groups(index) if one.get(sequence)), None
        )

    def _groups(self, index: int) -> Iterator[Any]:
        yield from list(self._file.get("PerFrameFunctionalGroupsSequence", []))[index : index + 1]
        yield from list(self._file.get("SharedFunctionalGroupsSequence", []))[:1]

    @cached_property
    def _image_type(self) -> set[str]:
        return {str(one).upper() for one in np.atleast_1d(self._file.get("ImageType") or [])}

    def _why_no_image(self) -> str:
        kind = str(self._file.get("SOPClassUID", ""))
        modality = self.keyword("Modality") or ""
        if kind in (_SEGMENTATION, _DOSE) or modality in _NO_IMAGES:
            return _NO_IMAGES[{_SEGMENTATION: "SEG", _DOSE: "RTDOSE"}.get(kind, modality)]
        if self._image_type & _SCOUTS:
            return "a scout (LOCALIZER)"
        if "Rows" not in self._file or "Columns" not in self._file:
            return "a DICOM file without an image"
        return ""
