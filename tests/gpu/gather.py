"""Fetch the wheels that a GPU machine without a network lacks.

    python tests/gpu/gather.py wheels --there numpy safetensors

``--there`` names what that machine has beside torch. There, in the project's folder::

    python -m pip install --no-index --no-deps --target site wheels/*.whl
    PYTHONPATH=site:. python tests/gpu/check.py

The wheels and what the check needs of the project (``CARRIED``) stay below 60 MB together.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "numpy", "scipy", "pillow", "safetensors", "psutil", "platformdirs", "tqdm",
    "lazy-loader", "pooch", "packaging", "requests", "urllib3", "idna", "certifi",
    "charset-normalizer", "pydantic", "pydantic-core", "annotated-types", "typing-inspection",
    "pytest", "pluggy", "iniconfig", "pygments", "medigan",
)  # fmt: skip
CARRIED = ("medgan_widgets", "models", "tests", "pyproject.toml")
MOST = 60e6  # bytes, of wheels and tree
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64",
             "manylinux2014_x86_64", "manylinux_2_12_x86_64", "manylinux1_x86_64")  # fmt: skip


def tree_bytes() -> int:
    """Return the bytes of the project's files that the check needs."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *CARRIED], cwd=ROOT, capture_output=True, check=True, text=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return sum(path.stat().st_size for path in paths if path.is_file())


def main(arguments: list[str] | None = None) -> int:
    """Fetch them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--there", nargs="*", default=["numpy"], help="what the machine has")
    parser.add_argument("--python", default="3.12", help="of that machine")
    asked = parser.parse_args(arguments)
    wanted = [name for name in NEEDED if name not in asked.there]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
               "--only-binary=:all:", "--implementation", "cp", "--python-version", asked.python,
               *(f"--platform={one}" for one in PLATFORMS), "-d", str(asked.folder)]  # fmt: skip
    for name in wanted:  # pydantic works with one version of its core alone
        pinned = [_core_of(asked.folder)] if name == "pydantic-core" else [name]
        if subprocess.run([*command, *pinned]).returncode:
            print(f"{name} could not be fetched.")
            return 1
    size = sum(one.stat().st_size for one in asked.folder.glob("*.whl")) + tree_bytes()
    print(f"{len(wanted)} wheels; with the project's files {size / 1e6:.1f} MB.")
    if size > MOST:
        print(f"That is over {MOST / 1e6:.0f} MB: name more of what is there already.")
    return int(size > MOST)


def _core_of(folder: Path) -> str:
    """Return the requirement of the pydantic in the folder on its core."""
    from zipfile import ZipFile

    (wheel,) = folder.glob("pydantic-*.whl")
    with ZipFile(wheel) as opened:
        (name,) = [one for one in opened.namelist() if one.endswith(".dist-info/METADATA")]
        lines = opened.read(name).decode().splitlines()
    found = [line for line in lines if line.startswith("Requires-Dist: pydantic-core")]
    return found[0].removeprefix("Requires-Dist: ").replace(" ", "")


if __name__ == "__main__":
    sys.exit(main())
