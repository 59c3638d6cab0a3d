"""Which packages a model needs that are not here: by import name and version, all at once.

Nothing is ever installed. A distribution's name says little (four of them bring
``cv2``), so what counts is whether the import is there, and how old it is.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from medgan_widgets.errors import NotRunnableError

# distribution -> (what is imported, what to install today)
NAMES = {
    "opencv-contrib-python-headless": ("cv2", "opencv-python-headless"),
    "opencv-contrib-python": ("cv2", "opencv-python-headless"),
    "opencv-python": ("cv2", "opencv-python-headless"),
    "pillow": ("PIL", "pillow"),
    "pyyaml": ("yaml", "pyyaml"),
    "scikit-image": ("skimage", "scikit-image"),
    "scikit-learn": ("sklearn", "scikit-learn"),
    "grad-cam": ("pytorch_grad_cam", "grad-cam"),
    "ffmpeg-python": ("ffmpeg", "ffmpeg-python"),
    "glob2": ("glob2", "glob2"),
}
BOGUS = {
    "path": "an unrelated project of that name; the code uses pathlib of the standard library",
    "union": "no such package; the code means typing.Union of the standard library",
}
_ASK = (
    "import importlib.util, importlib.metadata as m, json, sys\n"
    "found = {}\n"
    "for name, dist in json.loads(sys.argv[1]):\n"
    "    try: spec = importlib.util.find_spec(name)\n"
    "    except (ImportError, ValueError): spec = None\n"
    "    try: version = m.version(dist)\n"
    "    except m.PackageNotFoundError: version = ''\n"
    "    found[name] = [spec is not None and spec.origin is not None, version]\n"
    "print(json.dumps(found))\n"
)


@dataclass(frozen=True)
class Dependencies:
    """What a package needs and what of it is missing."""

    missing: tuple[str, ...] = ()  # of each, what is asked for and what is here
    install: tuple[str, ...] = ()  # the requirements to hand to pip
    ignored: tuple[tuple[str, str], ...] = ()  # (requirement, why it is not needed)

    @property
    def pip(self) -> str:
        """The line to type, or an empty text."""
        return shlex.join(["python", "-m", "pip", "install", *self.install]) if self.install else ""


def check_dependencies(
    requires: Iterable[str], ignored: Iterable[str] = (), python: str | None = None
) -> Dependencies:
    """Return what is missing of some requirements, here or in another interpreter.

    Examples
    --------
    >>> found = check_dependencies(["numpy", "no-such-thing>=2", "Path"])
    >>> found.missing, found.pip
    (('no-such-thing>=2',), "python -m pip install 'no-such-thing>=2'")
    """
    left_out = [*ignored]
    wanted: list[Requirement] = []
    for text in requires:
        try:
            wanted.append(Requirement(text))
        except InvalidRequirement:
            left_out.append(text)
    known = [one for one in wanted if one.name.lower() not in BOGUS]
    left_out += [one.name for one in wanted if one.name.lower() in BOGUS]
    found = _found(tuple((_import_of(one), one.name) for one in known), python)
    missing, install = [], []
    for one in known:
        here, version = found[_import_of(one)]
        if here and _fits(one.specifier, version):
            continue
        extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
        name = NAMES.get(one.name.lower(), ("", one.name))[1]
        missing.append(f"{one.name}{one.specifier}" + (f" (here: {version})" if here else ""))
        install.append(f"{name}{extras}{one.specifier}")
    reasons = [(name, BOGUS.get(name.lower(), "not a requirement pip knows")) for name in left_out]
    return Dependencies(
        tuple(dict.fromkeys(missing)), tuple(dict.fromkeys(install)), tuple(dict.fromkeys(reasons))
    )


def environment_lines(model_id: str, requires: Sequence[str], why: str) -> str:
    """Return how to make an interpreter of a model's own, as lines to type."""
    number = model_id.split("_")[0]
    wanted = {
        NAMES.get(one.name.lower(), ("", one.name))[1]: str(one.specifier)
        for one in map(Requirement, ["numpy", "pillow", "torch", "medigan==1.0.0", *requires])
        if one.name.lower() not in BOGUS
    }
    install = [f"{name}{version}" for name, version in wanted.items()]
    lines = [f"# {why}", f"python3 -m venv ~/medgan-{number}"]
    pip = f"~/medgan-{number}/bin/python -m pip install"
    if any(one.startswith("visdom") for one in install):
        lines.append(f"echo 'setuptools<82' > ~/medgan-{number}/build.txt")
        pip = f"PIP_BUILD_CONSTRAINT=~/medgan-{number}/build.txt {pip}"
    lines.append(f"{pip} {' '.join(shlex.quote(one) for one in install)}")
    lines.append(f'# then: mw.trust("{number}", python="~/medgan-{number}/bin/python")')
    return "\n".join(lines)


def importable(package: str) -> bool:
    """Return whether ``import package`` would find a module, without importing it.

    Examples
    --------
    >>> importable("json"), importable("no_such_package")
    (True, False)
    """
    try:
        spec = importlib.util.find_spec(package.split(".")[0])
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None  # a bare folder of that name is no package


def forget() -> None:
    """Look again next time: something may have been installed meanwhile."""
    importlib.invalidate_caches()
    _found.cache_clear()


def _import_of(requirement: Requirement) -> str:
    known = NAMES.get(requirement.name.lower())
    return known[0] if known else requirement.name.replace("-", "_")


def _fits(wanted: SpecifierSet, version: str) -> bool:
    # Another distribution may bring the import; then its version says nothing about this one.
    return not version or wanted.contains(version, prereleases=True)


@cache
def _found(names: tuple[tuple[str, str], ...], python: str | None) -> dict[str, tuple[bool, str]]:
    """Return for each import name whether it is there, and its distribution's version."""
    if python is not None:
        return _found_by(names, python)
    found = {}
    for name, dist in names:
        try:
            version = importlib.metadata.version(dist)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        found[name] = (importable(name), version)
    return found


def _found_by(names: tuple[tuple[str, str], ...], python: str) -> dict[str, tuple[bool, str]]:
    try:
        answer = subprocess.run(
            [python, "-c", _ASK, json.dumps(names)],
            capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return {name: (bool(here), str(version)) for name, (here, version) in
                json.loads(answer.stdout.splitlines()[-1]).items()}  # fmt: skip
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise NotRunnableError(
            f"{python} does not answer like a Python interpreter; give the path of one."
        ) from error
