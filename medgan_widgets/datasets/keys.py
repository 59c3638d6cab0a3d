"""The key that patients' numbers and source files are hashed with: one's own, in no run."""

from __future__ import annotations

import hashlib
import hmac
import secrets

import filelock

from medgan_widgets.errors import DataError, SaveError
from medgan_widgets.files import home_folder

FILE = "patients.key"
BYTES = 32


def patient_key() -> bytes:
    """Return this person's key, 32 bytes; made once, readable by nobody else.

    Without it a hash cannot be turned back by trying all numbers of a clinic. It lies in the
    home folder, so the same patient gets the same hash in every run of this person, and another
    one with another key.

    Examples
    --------
    >>> patient_key() == patient_key(), len(patient_key())
    (True, 32)
    """
    path = home_folder() / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(f".{FILE}.busy"), timeout=30):
            if not path.exists():
                new = path.with_name(f".{FILE}.new")
                new.touch(0o600)
                new.write_bytes(secrets.token_bytes(BYTES))
                new.replace(path)
            key = path.read_bytes()
    except (OSError, filelock.Timeout) as error:
        raise SaveError(
            f"the key of patients' hashes cannot be kept ({error}); set MEDGAN_HOME to a folder "
            "that can be written."
        ) from error
    if len(key) != BYTES:
        raise DataError(
            f"{path} is damaged: expected {BYTES} bytes, got {len(key)}; restore it from a copy, "
            "or delete it and know that patients of older runs are not found any more."
        )
    return key


def patient_hash(patient: str, key: bytes) -> str:
    """Return what stands for a patient in a run: 16 hexadecimal digits of HMAC-SHA256.

    Examples
    --------
    >>> patient_hash("12345", b"k")
    '3f5429540988d2d8'
    """
    return hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:16]
