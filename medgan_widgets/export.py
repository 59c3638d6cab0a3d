"""The old name of :mod:`medgan_widgets.exporting`, for one more version.

``medgan_widgets.export`` itself is the function that writes images, and stays it: whoever imports
names from this module gets them from the function, which stands in the module's place.
"""

import argparse
import sys
import warnings

from medgan_widgets import exporting
from medgan_widgets.exporting.command import add_arguments, run

warnings.warn(
    "medgan_widgets.export is medgan_widgets.exporting now; on the command line it is "
    "python -m medgan_widgets export.",
    DeprecationWarning,
    stacklevel=2,
)
if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="medgan_widgets.export")
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
for name in exporting.__all__:
    setattr(exporting.export, name, getattr(exporting, name))
sys.modules[__name__] = exporting.export  # type: ignore[assignment]
