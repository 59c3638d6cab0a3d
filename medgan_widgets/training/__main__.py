"""Old name of ``python -m medgan_widgets train``, kept for one version."""

import sys
import warnings

from medgan_widgets.__main__ import main

if __name__ == "__main__":
    warnings.warn("use python -m medgan_widgets train", DeprecationWarning, stacklevel=1)
    sys.exit(main(["train", *sys.argv[1:]]))
