"""What a file shows: the greys, colours and sides that a viewer of it shows, or why not."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, SegmentationStorage

from medgan_widgets.datasets.dicom import check_keyword, open_dicom
from medgan_widgets.datasets.nifti import open_nifti
from medgan_widgets.datasets.pictures import decode_picture, pixels_of_pillow
from medgan_widgets.errors import DataError
from tests.made_data import RAMP, png16, save_dicom

WIDE = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65  # 0 … 4095, in 16 bits
LYING = Image.Exif()
LYING[0x0112] = 6


def picture(image, kind: str, **more) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **more)
    return file.getvalue()


def tiff(*arrays: np.ndarray, photometric: str = "minisblack", **more) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for at, one in enumerate(arrays):
            writer.write(one, photometric=photometric, subfiletype=int(at > 0), **more)
    return file.getvalue()


def values(data: bytes, name: str = "a") -> np.ndarray:
    return decode_picture(data, name).values


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (RAMP > 30, np.where(RAMP > 30, 0, 255)),
        (RAMP, 255 - RAMP),
        (WIDE, 65535.0 - WIDE),
        (WIDE.astype(np.uint32) << 16, 2.0**32 - 1 - (WIDE.astype(np.uint32) << 16)),
        (WIDE.astype(np.int16) - 9, 8.0 - WIDE),
    ],
    ids=["1 bit", "8", "16", "32", "signed"],
)
def test_a_tiff_whose_white_is_zero_is_turned_at_every_depth(stored, shown):
    made = tiff(stored, photometric="miniswhite")
    assert (values(made) == np.float32(shown)).all()
    if stored.dtype in (np.uint8, np.uint16):  # by the door of a Dataset's items too
        assert (pixels_of_pillow(Image.open(io.BytesIO(made)), "a").values == shown).all()
        lying = tiff(stored, photometric="miniswhite", extratags=[(274, "H", 1, 6, True)])
        assert (pixels_of_pillow(Image.open(io.BytesIO(lying)), "a").values == values(lying)).all()


@pytest.mark.parametrize(
    ("photometric", "shown"), [("minisblack", WIDE), ("miniswhite", 4095 - WIDE)]
)
def test_a_tiff_that_says_how_high_its_values_go_is_taken_at_its_word(photometric, shown):
    read = decode_picture(
        tiff(WIDE, photometric=photometric, extratags=[(281, "H", 1, 4095, True)]), "a"
    )
    assert (read.values == shown).all()
    assert read.stored == (0, 4095)
    wrong = tiff(WIDE, photometric=photometric, extratags=[(281, "H", 1, 100, True)])
    assert decode_picture(wrong, "a").stored is None, "values above it: nobody knows"


@pytest.mark.parametrize(
    "kind", ["png", "png with alpha", "tiff", "planes", "tiff with alpha", "LZW", "Dataset's TIFF"]
)
def test_sixteen_bits_of_colour_stay_sixteen(kind):
    colour = np.dstack([WIDE, WIDE // 2, WIDE // 4])
    half = np.full((8, 8), 32768, np.uint16)
    over, alpha = np.rint(colour * (32768 / 65535)), {"extrasamples": ["unassalpha"]}
    made, shown = {
        "png": (png16(colour, 2), colour),
        "png with alpha": (png16(np.dstack([colour, half]), 6), over),
        "tiff": (tiff(colour, photometric="rgb"), colour),
        "planes": (
            tiff(np.moveaxis(colour, -1, 0), photometric="rgb", planarconfig="separate"),
            colour,
        ),
        "tiff with alpha": (tiff(np.dstack([colour, half]), photometric="rgb", **alpha), over),
        "LZW": (cv2.imencode(".tif", colour[..., ::-1])[1].tobytes(), colour),
        "Dataset's TIFF": (tiff(colour, photometric="rgb"), colour),
    }[kind]
    assert values(made).dtype == np.uint16
    assert (values(made) == shown).all()


def test_grey_with_alpha_lies_on_black_at_both_depths():
    alpha = np.full((8, 8), 65535, np.uint16)
    alpha[:, :4] = 0
    shown = np.where(alpha > 0, WIDE, 0)
    assert (values(png16(np.dstack([WIDE, alpha]), 4)) == shown).all()
    extra = {"extrasamples": ["unassalpha"]}
    assert (values(tiff(np.dstack([WIDE, alpha]), **extra)) == shown).all()
    narrow = np.dstack([RAMP, (alpha >> 8).astype(np.uint8)])
    for kind in ("PNG", "TIFF"):
        assert (values(picture(narrow, kind)) == np.where(alpha > 0, RAMP, 0)).all()
    keyed = values(picture(RAMP, "PNG", transparency=40))
    assert (keyed == np.where(RAMP == 40, 0, RAMP)).all()


@pytest.mark.parametrize("kind", ["uint32", "float64", "float16", "int8", "int32"])
def test_numbers_of_every_kind_are_what_they_were(kind):
    numbers = (np.arange(64).reshape(8, 8) * {"uint32": 65_000_000}.get(kind, 1.5)).astype(kind)
    assert (values(tiff(numbers)) == numbers.astype(np.float32)).all()


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_a_palette_is_its_colours_and_of_greys_it_is_grey(kind):
    image = Image.new("P", (8, 8))
    image.putdata(RAMP.ravel().tolist())
    image.putpalette([one for k in range(256) for one in (255 - k,) * 3])
    assert (values(picture(image, kind)) == 255 - RAMP).all()
    image.putpalette([one for k in range(256) for one in (k, 0, 9)])
    assert (values(picture(image, kind))[..., 0] == RAMP).all()


def test_a_palette_of_sixteen_bits():
    table = np.tile(np.arange(65535, -1, -1, dtype=np.uint16), (3, 1))
    shown = decode_picture(tiff(WIDE, photometric="palette", colormap=table), "a")
    assert (shown.values == 65535.0 - WIDE).all()
    assert shown.stored == (0, 65535)


def test_of_several_pictures_the_main_one_or_none():
    small = RAMP[::2, ::2]
    phone = picture(RAMP, "MPO", save_all=True, append_images=[Image.fromarray(RAMP // 2)])
    assert np.abs(values(phone).astype(int) - RAMP).max() < 8, "a JPEG, no thumbnail"
    assert (values(tiff(RAMP, small)) == RAMP).all()
    assert (values(tiff(WIDE, small.astype(np.uint16))) == WIDE).all()
    more = {"save_all": True, "append_images": [Image.fromarray(RAMP // 2)]}
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        with pytest.raises(DataError, match="a holds several pictures; save them"):
            values(picture(RAMP, kind, **more))


def test_a_picture_taken_lying_stands_at_every_depth():
    upright = RAMP[::-1, :].T
    wide = np.dstack([np.uint16(RAMP) * 257] * 3)
    for made, shown in (
        (picture(RAMP, "PNG", exif=LYING), upright),
        (png16(wide, 2, b"eXIf" + LYING.tobytes()[6:])[:], upright),
        (tiff(wide, photometric="rgb", extratags=[(274, "H", 1, 6, True)]), upright),
        (tiff(np.uint16(RAMP) * 257, extratags=[(274, "H", 1, 6, True)]), upright),
    ):
        found = values(made)
        found = found[..., 0] if found.ndim == 3 else found
        assert (found == shown * np.float32(257 if found.dtype != np.uint8 else 1)).all()


def test_tiff_resolution_counts_where_it_was_measured():
    def aspect(across, down, unit, array=RAMP, **more):
        made = tiff(array, resolution=(across, down), resolutionunit=unit, **more)
        return decode_picture(made, "a").aspect

    assert aspect(100, 50, "inch") == aspect(100, 50, "centimeter", WIDE) == 2
    assert aspect(100, 50, "inch", extratags=[(274, "H", 1, 6, True)]) == 0.5
    assert aspect(72, 72, "inch") == aspect(2, 1, "none") == aspect(600, 100, "inch") == 1
    for kind in ("PNG", "JPEG"):
        assert decode_picture(picture(RAMP, kind, dpi=(100, 50)), "a").aspect == 1


def test_what_is_not_finite_is_background():
    numbers = WIDE / np.float32(7)
    numbers[0, :3] = np.nan, np.inf, -np.inf
    shown = decode_picture(tiff(numbers), "a")
    assert shown.background.sum() == 3
    assert (shown.values[0, :3] == numbers[0, 3]).all(), "as dark as the darkest"
    with pytest.raises(DataError, match="a holds nothing but"):
        values(tiff(numbers * np.nan))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "16", "colour"])
@pytest.mark.parametrize("left", [0, 0.1, 0.8])
def test_a_file_cut_short_is_told_in_one_sentence(kind, left):
    noise = np.random.default_rng(0).integers(0, 2**16, (40, 40, 3), dtype=np.uint16)
    whole = {"16": lambda: tiff(noise[..., 0]), "colour": lambda: png16(noise, 2)}.get(
        kind, lambda: picture((noise >> 8).astype(np.uint8), kind)
    )()
    with pytest.raises(DataError, match=r"^scan cannot be read as an image \(.+\)\.$") as caught:
        values(whole[: int(left * len(whole))], "scan")
    assert str(caught.value).count("scan") == 1


def test_pillow_images_of_every_mode():
    for mode in ("1", "L", "LA", "La", "P", "PA", "I", "F", "I;16", "I;16B"):
        assert pixels_of_pillow(Image.new(mode, (4, 3)), mode).values.shape == (3, 4)
    for mode in ("RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"):
        assert pixels_of_pillow(Image.new(mode, (4, 3)), mode).values.shape == (3, 4, 3)
    wide = pixels_of_pillow(Image.fromarray(WIDE), "a")
    assert (wide.values == WIDE).all()
    assert wide.stored is None, "nobody tells how many of 16 bits are used"
    assert pixels_of_pillow(Image.fromarray(RAMP), "a").stored == (0, 255)


# ---------------------------------------------------------------- DICOM


def dicom(tmp_path: Path, stored: np.ndarray = WIDE, **tags):
    """Open a file that was just made; ``bits`` stands for BitsStored, ``code`` for a codec's."""
    bits, code = tags.pop("bits", None), tags.pop("code", None)
    own_window = tags.pop("own_window", False)
    if bits:
        tags = {"BitsStored": bits, "HighBit": bits - 1} | tags
    path = save_dicom(tmp_path / "a.dcm", stored, **tags)
    if code:
        file = pydicom.dcmread(path)
        file.PixelData = encapsulate([code])
        file.save_as(path)
    return open_dicom(path.read_bytes(), "a.dcm", own_window=own_window)


def lut(first: int, bits: int, table: np.ndarray) -> list[Dataset]:
    one = Dataset()
    one.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table), first, bits])
    one.add_new("LUTData", "OW", np.asarray(table, "<u2").tobytes())
    return [one]


def test_only_the_stored_bits_count(tmp_path):
    drawn = WIDE.copy()
    drawn[2, 3:6] |= 0x8000  # an overlay
    code = picture(drawn, "JPEG2000", irreversible=False, no_jp2=True, num_resolutions=2)
    packed = {"syntax": JPEG2000Lossless, "code": code}
    for tags in ({}, packed):
        assert (dicom(tmp_path, drawn, bits=12, **tags).pixels().values == WIDE).all()
    high = dicom(tmp_path, (WIDE << 4) | 5, bits=12, HighBit=15)
    assert (high.pixels().values == WIDE).all()
    packed = pydicom.dcmread(tmp_path / "a.dcm")
    packed.compress(RLELossless)
    packed.save_as(tmp_path / "b.dcm")
    high = open_dicom((tmp_path / "b.dcm").read_bytes(), "b")
    assert (high.pixels().values == WIDE).all(), "packed as it was"
    signed = WIDE.astype(np.int16) // 2 - 2000
    unsaid = (signed & 0xFFF).astype(np.int16)
    assert (dicom(tmp_path, unsaid, bits=12).pixels().values == signed).all()


def test_padding_is_background_and_turns_nothing(tmp_path):
    hu = WIDE.astype(np.int16) - 1000
    hu[:, 0] = -2000
    for padding in (-2000, 63536):  # as many write it
        path = save_dicom(tmp_path / "a.dcm", hu, RescaleIntercept=0, RescaleSlope=1)
        file = pydicom.dcmread(path)
        file.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
        file.save_as(path)
        shown = open_dicom(path.read_bytes(), "a").pixels()
        assert (shown.background == (hu == -2000)).all()
        assert shown.values.min() == hu[:, 1:].min()
    ranged = dicom(tmp_path, PixelPaddingValue=0, PixelPaddingRangeLimit=130).pixels()
    assert ranged.background.sum() == 3
    film = dicom(tmp_path, bits=12, photometric="MONOCHROME1", PixelPaddingValue=0).pixels()
    assert film.background[0, 0]
    assert (film.values[0, 1], film.values[-1, -1]) == (4095 - 65, 0)
    assert film.values[0, 0] == 0, "dark, though turned it would be the brightest"
    with pytest.raises(DataError, match=r"a\.dcm holds nothing but padding"):
        dicom(tmp_path, WIDE * 0, PixelPaddingValue=0).pixels()


def test_one_turn_for_every_film_of_a_series(tmp_path):
    bright, dark = (
        dicom(tmp_path, one, bits=12, photometric="MONOCHROME1").pixels()
        for one in (WIDE // 2 + 9, WIDE // 2)
    )
    assert (dark.values - bright.values == 9).all()
    assert (bright.turned, bright.stored) == (4095, (0, 4095))
    scaled = dicom(
        tmp_path, bits=12, photometric="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-100,
        Modality="CT",
    ).pixels()  # fmt: skip
    assert (scaled.values == 8190 - 200 - (2.0 * WIDE - 100)).all()
    assert not scaled.unit, "turned, it is no Hounsfield unit any more"


def test_a_value_says_its_unit_and_range(tmp_path):
    def facts(**tags):
        shown = dicom(tmp_path, **tags).pixels()
        return shown.unit, shown.stored

    scale = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    assert facts(bits=12) == ("", (0, 4095))
    assert facts(bits=16) == ("", None), "16 of 16 bits say nothing"
    assert facts(stored=RAMP) == ("", (0, 255))
    assert facts(bits=12, **scale) == ("HU", None), "a CT says so by its modality"
    assert facts(bits=12, **scale, RescaleType="US") == ("", (-1024, 3071))
    assert facts(bits=12, **scale, Modality="MR") == ("", (-1024, 3071))
    assert facts(bits=12, **scale, Modality="MR", RescaleType="HU") == ("HU", None)
    assert facts(Modality="PT", Units="BQML")[0] == ""
    assert facts(Modality="PT", Units="GML")[0] == "SUV"
    assert facts(bits=12, ModalityLUTSequence=lut(0, 16, np.arange(4096) * 3))[1] is None
    inner, outer = Dataset(), Dataset()
    inner.RescaleSlope, inner.RescaleIntercept, inner.RescaleType = 1, -1024, "HU"
    outer.PixelValueTransformationSequence = [inner]
    assert facts(SharedFunctionalGroupsSequence=[outer])[0] == "HU"


def test_the_files_own_window(tmp_path):
    """Values by DICOM PS3.3 C.11.2; dcm2pnm shows the same greys, rounded down."""

    def shown(**tags):
        stored = np.array([[0, 1000], [1500, 4000]], np.uint16)
        return dicom(tmp_path, stored, bits=12, own_window=True, **tags).pixels()

    window = {"WindowCenter": [1500, 9], "WindowWidth": [1201, 9]}
    middle = 255 * (0.5 + 0.5 / 1200)
    for function, want in (
        ("LINEAR", [0, 255 * (0.5 - 499.5 / 1200), middle, 255]),
        ("LINEAR_EXACT", [0, 255 * (0.5 - 500 / 1201), 127.5, 255]),
        ("SIGMOID", [1.71, 40.55, 127.5, 254.94]),
    ):
        greys = shown(**window, VOILUTFunction=function)
        assert np.allclose(greys.values.ravel(), want, atol=0.01)
        assert (greys.stored, greys.unit) == ((0, 255), "")
    film = shown(**window, photometric="MONOCHROME1").values.ravel()
    assert np.allclose(film, [255, 255 * (0.5 + 499.5 / 1200), 255 - middle, 0], atol=0.01)
    falling = lut(0, 12, 4095 - np.arange(4096))
    want = [255, 255 * 3095 / 4095, 255 * 2595 / 4095, 255 * 95 / 4095]
    assert np.allclose(shown(**window, VOILUTSequence=falling).values.ravel(), want, atol=0.01)
    scale = {"RescaleSlope": 1, "RescaleIntercept": -1000}
    part = shown(**scale, VOILUTSequence=lut(-500, 8, np.arange(1001) * 255 // 1000))
    assert part.values.ravel().tolist() == [0, 127, 255, 255]
    with pytest.raises(DataError, match=r"a\.dcm has no window"):
        shown()


def test_sides_of_a_pixel_from_whoever_knows_them(tmp_path):
    def sides(**tags):
        shown = dicom(tmp_path, **tags).pixels()
        return shown.spacing, shown.aspect

    measures, outer = Dataset(), Dataset()
    measures.PixelSpacing = [3, 2]
    outer.PixelMeasuresSequence = [measures]
    assert sides() == (None, 1)
    assert sides(PixelAspectRatio=[2, 1]) == (None, 2)
    assert sides(NominalScannedPixelSpacing=[1, 2], PixelAspectRatio=[2, 1]) == ((1, 2), 0.5)
    both = {"ImagerPixelSpacing": [0.2, 0.1], "NominalScannedPixelSpacing": [1, 2]}
    assert sides(**both) == ((0.2, 0.1), 2)
    assert sides(PixelSpacing=[0.5, 0.25], **both) == ((0.5, 0.25), 2)
    assert sides(SharedFunctionalGroupsSequence=[outer]) == ((3, 2), 1.5)
    assert sides(PixelSpacing=[0, 0], PixelAspectRatio=[2, 1]) == (None, 2)


def test_colours_and_palettes_of_dicom(tmp_path):
    table = (np.arange(4096) * 16).astype("<u2").tobytes()
    channels = ("Red", "Green", "Blue")
    tags = {f"{one}PaletteColorLookupTableDescriptor": [4096, 0, 16] for one in channels}
    tags |= {f"{one}PaletteColorLookupTableData": table for one in channels}
    palette = dicom(tmp_path, bits=12, photometric="PALETTE COLOR", **tags)
    assert (palette.pixels().values == WIDE[..., None] * 16).all()
    assert palette.pixels().stored == (0, 65535)
    red = np.zeros((8, 8, 3), np.uint8) + np.array([76, 85, 255], np.uint8)
    shown = dicom(tmp_path, red, photometric="YBR_FULL").pixels().values
    assert np.abs(shown.astype(int) - [254, 0, 0]).max() <= 1
    with pytest.raises(DataError, match="HSV colours"):
        dicom(tmp_path, red, photometric="HSV").pixels()


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({}, ""),
        ({"Modality": "SEG"}, "a segmentation (SEG)"),
        ({"SOPClassUID": SegmentationStorage}, "a segmentation (SEG)"),
        ({"Modality": "RTDOSE"}, "a dose map (RTDOSE)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a scout (LOCALIZER)"),
        ({"ImageType": ["DERIVED", "PRIMARY", "LABEL", "NONE"]}, "the label of a slide (LABEL)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}, ""),
    ],
)
def test_what_is_no_image_is_known(tmp_path, tags, why):
    assert dicom(tmp_path, **tags).not_image == why


def test_reports_are_no_images_and_keywords_are_text(tmp_path):
    report = open_dicom(Path(get_testdata_file("reportsi.dcm")).read_bytes(), "r")
    assert report.not_image == "a report (SR)"
    with pytest.raises(DataError, match="r holds no pixels"):
        report.pixels()
    file = dicom(tmp_path, patient=" 007 ", ImageType=["A", "B"], StudyDescription="")
    said = [file.keyword(one) for one in ("PatientID", "ImageType", "StudyDescription", "KVP")]
    assert said == ["007", "A\\B", None, None]
    assert file.count == 1
    for keyword in ("PatientID", "StudyDate"):
        with pytest.raises(DataError, match=keyword):
            check_keyword(keyword)
    check_keyword("Modality")


def test_dicom_without_its_beginning_or_decoder(tmp_path):
    path = save_dicom(tmp_path / "a", WIDE)
    whole = path.read_bytes()
    file = pydicom.dcmread(path)
    for bare in (whole[132:], whole[132 + 12 + file.file_meta.FileMetaInformationGroupLength :]):
        assert (open_dicom(bare, "a").pixels().values == WIDE).all()
    del file.file_meta.TransferSyntaxUID
    file.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=False)
    assert (open_dicom(path.read_bytes(), "a").pixels().values == WIDE).all()
    for data, said in (
        (b"", "a cannot be read as DICOM"),
        (b"<html>" * 99, "a cannot be read as DICOM"),
        (whole[:-40], "a has no pixels that can be read"),
    ):
        with pytest.raises(DataError, match=said):
            open_dicom(data, "a").pixels()
    with pytest.raises(DataError, match=r"compressed \(JPEG-LS.* pip install pylibjpeg\[all\]"):
        dicom(tmp_path, syntax=JPEGLSLossless).pixels()


def as_shown(name: str, window: tuple[float, float] | str | None) -> np.ndarray:
    """Return a file's first frame as 8-bit greys or colours, by its own window or another."""
    data = Path(get_testdata_file(name)).read_bytes()
    shown = open_dicom(data, name, own_window=window == "file").pixels()
    greys = np.asarray(shown.values, np.float64)
    if isinstance(window, tuple):
        center, width = window
        return np.clip((greys - center + 0.5) / (width - 1) + 0.5, 0, 1) * 255
    return greys * (255 / shown.stored[1])


# Six pixels across the middle of files that pydicom ships, as DCMTK's dcm2pnm shows them.
@pytest.mark.parametrize(
    ("name", "window", "greys"),
    [
        ("MR_small.dcm", "file", [108, 74, 65, 58, 236, 231]),
        ("MR_small_RLE.dcm", "file", [108, 74, 65, 58, 236, 231]),
        ("MR_small_bigendian.dcm", "file", [108, 74, 65, 58, 236, 231]),
        ("MR_small_jp2klossless.dcm", "file", [108, 74, 65, 58, 236, 231]),
        ("examples_overlay.dcm", "file", [0, 120, 76, 26, 69, 74]),
        ("CT_small.dcm", (40, 400), [58, 215, 255, 255, 146, 43]),
        ("examples_palette.dcm", None, [[0] * 3] * 3 + [[1] * 3] * 2 + [[0] * 3]),
        ("SC_ybr_full_422_uncompressed.dcm", None, [[125, 129, 255]] * 6),
        ("SC_rgb_rle_16bit.dcm", None, [[128, 128, 255]] * 6),
    ],
)
def test_dicom_files_look_as_another_viewer_shows_them(name, window, greys):
    shown = as_shown(name, window)
    height, width = shown.shape[:2]
    row = shown[height // 2, :: width // 6][:6]
    assert np.abs(row - greys).max() <= 1


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize(
    ("name", "window"),
    [
        ("MR_small.dcm", "file"), ("examples_overlay.dcm", "file"), ("CT_small.dcm", (40, 400)),
        ("examples_palette.dcm", None), ("examples_ybr_color.dcm", None),
        ("SC_jpeg_no_color_transform.dcm", None), ("image_dfl.dcm", None),
    ],
)  # fmt: skip
def test_every_pixel_is_as_dcmtk_shows_it(tmp_path, name, window):
    options = {"file": ["+Wi", "1"], None: []}
    asked = ["+Ww", *map(str, window)] if isinstance(window, tuple) else options[window]
    out = tmp_path / "a.pnm"
    subprocess.run(["dcmj2pnm", "-q", "-O", *asked, get_testdata_file(name), out], check=True)
    assert np.abs(as_shown(name, window) - np.asarray(Image.open(out))).max() <= 1


# ---------------------------------------------------------------- volumes


def volume(values: np.ndarray, affine=(1, 1, 1), kind: type = nibabel.Nifti1Image) -> bytes:
    affine = np.diag([*affine, 1.0]) if np.ndim(affine) == 1 else affine
    return kind(values, affine).to_bytes()


BLOCK = np.zeros((6, 8, 10), np.float32)
BLOCK[4:, 6:, 7:] = 9  # the patient's right, front and head


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (volume(BLOCK), "a.nii"),
        (gzip.compress(volume(BLOCK), mtime=0), "a.nii"),
        (volume(BLOCK, kind=nibabel.Nifti2Image), "a.nii.gz"),
        (volume(BLOCK[::-1, ::-1], (-1, -1, 1)), "as DICOM stores it"),
        (volume(BLOCK.transpose(2, 0, 1), np.eye(4)[[1, 2, 0, 3]]), "other axes first"),
        (volume(BLOCK[..., None]), "four axes, the last of one"),
    ],
)
def test_slices_are_seen_in_the_radiological_convention(data, name):
    for plane, index, shape in (("axial", 9, (8, 6)), ("coronal", 7, (10, 6))):
        shown = open_nifti(data, name, plane).pixels(index).values
        assert shown.shape == shape
        assert shown[0, 0] == 9, "right is left, front or head is up"
        assert (shown[-1, 0], shown[0, -1]) == (0, 0)
    sagittal = open_nifti(data, name, "sagittal").pixels(5).values
    assert (sagittal.shape, sagittal[0, 0]) == ((10, 8), 9), "the face looks to the left"


def test_thick_slices_are_cut_as_they_were_taken():
    def cut(axes, plane=None, values=BLOCK):
        opened = open_nifti(volume(values, axes), "flat", plane)
        return opened.count, opened.pixels(0).aspect

    assert cut((1, 1, 5)) == (10, 1)
    assert cut((1, 1, 5), "sagittal") == (6, 5)
    assert cut((3, 1, 1)) == (6, 1)
    assert cut((1, 1.005, 1))[0] == 10
    assert cut((3, 1, 1), values=BLOCK[:, :, 0])[0] == 1
    with pytest.raises(DataError, match="flat is one axial slice"):
        cut((3, 1, 1), "coronal", BLOCK[:, :, 0])


def test_where_voxels_lie_is_taken_from_who_knows():
    image = nibabel.Nifti1Image(BLOCK, np.diag([-1, 1, 5, 1.0]))
    image.set_sform(np.zeros((4, 4)), code=1)
    image.set_qform(np.diag([-1, 1, 5, 1.0]), code=1)
    assert open_nifti(image.to_bytes(), "a").pixels(9).values[0, -1] == 9
    assert open_nifti(image.to_bytes(), "a", "coronal").pixels(7).aspect == 5
    image.header["qform_code"] = 0
    assert open_nifti(image.to_bytes(), "a").pixels(9).values.shape == (8, 6)


def test_what_was_not_imaged_is_background_in_volumes():
    hollow = BLOCK - 4
    hollow[:2], hollow[0, 0, 0] = np.nan, np.inf
    shown = open_nifti(volume(hollow), "a").pixels(9)
    assert (shown.background == np.isnan(hollow[::-1, ::-1, 9].T)).all()
    assert shown.values.min() == shown.values[0, -1] == -4
    with pytest.raises(DataError, match="not finite"):
        open_nifti(volume(hollow), "a", "sagittal").pixels(1)


def test_values_of_volumes_and_maps_of_labels():
    scaled = nibabel.Nifti1Image(np.arange(480, dtype=np.float32).reshape(6, 8, 10) / 7, np.eye(4))
    scaled.set_data_dtype(np.int16)
    shown = open_nifti(scaled.to_bytes(), "a")
    assert np.allclose(shown.pixels(0).values[-1, -1], 0, atol=0.01)
    assert np.allclose(shown.pixels(9).values[0, 0], 479 / 7, atol=0.01)
    assert not shown.looks_like_labels
    assert open_nifti(volume(BLOCK), "a").looks_like_labels
    assert open_nifti(volume(BLOCK.astype(np.uint8)), "a").pixels(0).stored == (0, 255)
    assert not open_nifti(volume(BLOCK / 2), "a").looks_like_labels
    many = np.arange(480, dtype=np.int16).reshape(6, 8, 10)
    assert not open_nifti(volume(many), "a").looks_like_labels


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (volume(np.stack([BLOCK, BLOCK], -1)), "its shape is 6 × 8 × 10 × 2"),
        (volume(np.zeros((4, 4, 4), [(one, "u1") for one in "RGB"])), "colours"),
        (volume(BLOCK.astype(np.complex64)), "complex numbers"),
        (volume(BLOCK * np.nan), "nothing but values that are not finite"),
        (volume(BLOCK)[:900], "cannot be read as NIfTI"),
        (gzip.compress(volume(BLOCK), mtime=0)[:-30], "cannot be read as NIfTI"),
        (b"<html>" * 99, "damaged, or of another kind"),
        (b"", "damaged, or of another kind"),
    ],
)
def test_a_volume_that_is_none_is_refused_once(data, why):
    with pytest.raises(DataError, match=why) as caught:
        open_nifti(data, "scan.nii")
    assert str(caught.value).count("scan.nii") == 1
