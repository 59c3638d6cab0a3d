"""Every error this package raises on purpose, in one tree.

::

    MedganError
    ├── RequestError          (ValueError)   a request that cannot be made
    ├── ModelNotFoundError    (LookupError)  no such model, or several
    ├── CardError             (ValueError)   a card that cannot be read
    ├── WeightsError          (ValueError)   weights missing, damaged or of another shape
    ├── DataError             (ValueError)   images or features that cannot be used
    ├── NotRunnableError      (RuntimeError) known, but it cannot run here, and why
    ├── DeviceMemoryError     (MemoryError)  the device is full, also after making room
    ├── ConsentError          (PermissionError) nobody agreed to run this code
    ├── WorkerError           (RuntimeError) a model package failed in its own process
    ├── MemorisationError     (RuntimeError) copies of training images, stopped at the gate
    ├── TrainingError         (RuntimeError) a training that ended badly, and what is kept
    ├── DownloadError         (OSError)      a package that cannot be fetched, or is unsafe
    ├── SaveError             (OSError)      a file that cannot be written
    └── JobCancelled                         somebody pressed Cancel

Each message is one sentence a person can act on: what happened, what was
expected, what was found, what to do.
"""


class MedganError(Exception):
    """The root: catch this to catch them all."""


class RequestError(MedganError, ValueError):
    """A request holds a value that no model can answer."""


class ModelNotFoundError(MedganError, LookupError):
    """A model id matches no model, or more than one."""


class CardError(MedganError, ValueError):
    """A model card is not JSON, lacks fields, or holds wrong values."""


class WeightsError(MedganError, ValueError):
    """Weights are missing, damaged, not finite, or do not fit their network."""


class DataError(MedganError, ValueError):
    """Images, labels or features cannot be used as they are."""


class NotRunnableError(MedganError, RuntimeError):
    """A known model cannot run here: it needs a download, packages, or an image of yours."""


class DeviceMemoryError(MedganError, MemoryError):
    """The device has no room, even after other models were let go."""


class MemorisationError(MedganError, RuntimeError):
    """Images were not exported: some are copies of training images, or nobody could look."""


class TrainingError(MedganError, RuntimeError):
    """A training that ended badly, and what is kept of it."""


class DownloadError(MedganError, OSError):
    """A package could not be fetched, is not the expected one, or is unsafe; nothing is kept."""


class ConsentError(MedganError, PermissionError):
    """A model package's code may not run: nobody said yes to exactly these bytes."""


class WorkerError(MedganError, RuntimeError):
    """A model package raised, ended its process, grew too large or never answered."""


class SaveError(MedganError, OSError):
    """A file could not be written; nothing half written is left behind."""


class JobCancelled(MedganError):
    """The job was cancelled, or a newer request of the same panel replaced it."""
