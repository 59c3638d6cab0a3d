"""Images to learn from: a folder, DICOM, NIfTI, arrays, a Dataset or phantoms.

::

    entry.py            read_images: one door for all of them
    files_below.py      the files of a folder, each opened once
    listing.py table.py what lies in a place, told from names and tables alone
    pictures.py dicom.py nifti.py npz.py memory.py phantom.py    one kind a file
    pixels.py records.py    one image as its file holds it; files before they are opened
    preprocessing.py    from values to pixels, kept with the model
    reading.py          all images into one array, each file opened once
    split.py keys.py    who trains and who judges; patients as keyed hashes
    classes.py          classes as one-hot rows
    training_images.py  what all of it becomes
    duplicates.py summary.py    what to look at before training
"""

from medgan_widgets.datasets.entry import read_images
from medgan_widgets.datasets.phantom import phantom_images, phantom_named
from medgan_widgets.datasets.preprocessing import Preprocessing
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
