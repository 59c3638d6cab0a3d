"""Images to learn from: a folder, DICOM, NIfTI, arrays, a Dataset or phantoms.

::

    entry.py            read_images: one door for all of them
    kinds.py            which kind of data lies in a place
    folder.py dicom.py nifti.py npz.py memory.py phantom.py    one kind a file
    table.py            classes and patients beside the images
    found.py            what was found, what was refused, in words
    reading.py          one image at a time into one array
    preprocessing.py    from values to pixels, written down
    split.py keys.py    who trains and who judges; patients as keyed hashes
    classes.py          classes as one-hot rows
    training_images.py  what all of it becomes
    duplicates.py summary.py    what to look at before training
    public.py           public data by their own routes
"""

from medgan_widgets.datasets.entry import read_images
from medgan_widgets.datasets.found import Refused
from medgan_widgets.datasets.phantom import phantom_images
from medgan_widgets.datasets.preprocessing import Preprocessing
from medgan_widgets.datasets.training_images import FileUsed, TrainingImages

__all__ = [
    "FileUsed",
    "Preprocessing",
    "Refused",
    "TrainingImages",
    "phantom_images",
    "read_images",
]
