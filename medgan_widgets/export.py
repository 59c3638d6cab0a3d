"""The old name of :mod:`medgan_widgets.exporting`, for one more version.

``medgan_widgets.export`` itself is the function that writes images.
"""

import sys
import warnings
from typing import Any

import medgan_widgets
from medgan_widgets import exporting

_OLD = "medgan_widgets.export is medgan_widgets.exporting by now."


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # the import machinery asks for a __path__
        raise AttributeError(name)
    # Importing this module hid the function of the same name, which is found again without it.
    vars(medgan_widgets).pop("export", None)
    warnings.warn(_OLD, DeprecationWarning, stacklevel=2)
    return getattr(exporting, name)


if __name__ == "__main__":
    from medgan_widgets.exporting.__main__ import main

    warnings.warn(_OLD, DeprecationWarning, stacklevel=1)
    sys.exit(main())
