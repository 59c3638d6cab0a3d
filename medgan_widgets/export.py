"""The old name of :mod:`medgan_widgets.exporting`, for one more version.

``medgan_widgets.export`` itself is the function that writes images, and stays it: whoever imports
names from this module gets them from the function, which stands in the module's place.
"""

import sys
import warnings

from medgan_widgets import exporting

warnings.warn(
    "medgan_widgets.export is medgan_widgets.exporting now; on the command line it is "
    "python -m medgan_widgets export.",
    DeprecationWarning,
    stacklevel=2,
)
if __name__ == "__main__":
    from medgan_widgets.__main__ import main

    sys.exit(main(["export", *sys.argv[1:]]))
for name in exporting.__all__:
    setattr(exporting.export, name, getattr(exporting, name))
sys.modules[__name__] = exporting.export  # type: ignore[assignment]
