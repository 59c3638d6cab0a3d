"""Images to learn from: a folder, DICOM, NIfTI, arrays, a Dataset or phantoms.

::

    read.py             read_images: one door for all of them
    folder.py           the files below a path, each opened once
    listing.py naming.py    what lies there, by names alone: kinds, masks, splits, classes, patients
    table.py            what a table says of files, and classes as one-hot rows
    pictures.py dicom.py nifti.py arrays.py phantom.py    one kind of data a file
    records.py          one image as its file holds it; files before they are opened
    prepare.py preprocessing.py    from values to pixels, in a way that is kept with the model
    split.py keys.py    which images train and which judge; patients as keyed hashes
    training_images.py  what all of it becomes
    summary.py duplicates.py    what to look at before training
"""

from medgan_widgets.datasets.phantom import phantom_images, phantom_named
from medgan_widgets.datasets.preprocessing import Preprocessing
from medgan_widgets.datasets.read import read_images
from medgan_widgets.datasets.records import Refused
from medgan_widgets.datasets.training_images import FileUsed, TrainingImages

__all__ = [
    "FileUsed",
    "Preprocessing",
    "Refused",
    "TrainingImages",
    "phantom_images",
    "phantom_named",
    "read_images",
]
