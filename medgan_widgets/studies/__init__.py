"""Studies of synthetic images: blinded readings by people, classifiers with and without them.

::

    reader_study/   a blinded reading by people, worked in the panel `ReaderStudy`
    augmentation/   classifiers with and without synthetic images, and with controls
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["augmentation", "reader_study"])
