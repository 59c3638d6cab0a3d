"""Files to learn from, made for a test: pictures, DICOM, volumes, tables."""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8)


def noise(seed: int, shape: tuple[int, ...] = (32, 32)) -> np.ndarray:
    """A picture like no other, uint8."""
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray = RAMP, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **more)
    return path


def png16(samples: np.ndarray, colour_type: int, *chunks: bytes) -> bytes:
    """A PNG of 16 bits a sample, which Pillow does not write in colour or with alpha."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    height, width = samples.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    parts = [(b"IHDR", head), *((one[:4], one[4:]) for one in chunks)]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in parts)


def save_table(path: Path, rows: Iterable[dict]) -> Path:
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def save_volume(path: Path, seed: int = 0, shape: tuple[int, ...] = (20, 24, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def save_dicom(path: Path, stored: np.ndarray = RAMP, **tags) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = tags.pop("syntax", ExplicitVRLittleEndian)
    file = Dataset()
    file.file_meta = meta
    file.PatientName, file.PatientID, file.Modality = "Doe^Jane", tags.pop("patient", "P1"), "CT"
    colour = stored.ndim == 3 and stored.shape[2] == 3
    file.Rows, file.Columns = stored.shape[:2] if colour else stored.shape[-2:]
    file.SamplesPerPixel, file.BitsAllocated = 3 if colour else 1, 8 * stored.dtype.itemsize
    file.BitsStored, file.HighBit = file.BitsAllocated, file.BitsAllocated - 1
    file.PixelRepresentation = int(stored.dtype.kind == "i")
    file.PhotometricInterpretation = tags.pop("photometric", "RGB" if colour else "MONOCHROME2")
    if colour:
        file.PlanarConfiguration = 0
    elif stored.ndim == 3:
        file.NumberOfFrames = len(stored)
    for name, value in tags.items():
        setattr(file, name, value)
    compressed = meta.TransferSyntaxUID.is_compressed
    file.PixelData = encapsulate([b"nobody reads this"]) if compressed else stored.tobytes()
    file.save_as(path, enforce_file_format=True)
    return path
