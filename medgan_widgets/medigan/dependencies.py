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
}
# Named by packages, and no requirement: the code means pathlib and typing.Union.
BOGUS = ("path", "union")
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
    ignored: tuple[str, ...] = ()  # what is named as a requirement and is none

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
    left_out, wanted = [*ignored], []
    for text in requires:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            left_out.append(text)
            continue
        if requirement.name.lower() in BOGUS:
            left_out.append(requirement.name)
        else:
            wanted.append(requirement)
    found = _found(tuple((_import_of(req), req.name) for req in wanted), python)
    missing, install = [], []
    for req in wanted:
        here, version = found[_import_of(req)]
        # Another distribution may bring the import; then its version says nothing about this one.
        if here and (not version or req.specifier.contains(version, prereleases=True)):
            continue
        extras = f"[{','.join(sorted(req.extras))}]" if req.extras else ""
        missing.append(f"{req.name}{req.specifier}" + (f" (here: {version})" if here else ""))
        install.append(f"{_installed_name(req)}{extras}{req.specifier}")
    return Dependencies(*(tuple(dict.fromkeys(texts)) for texts in (missing, install, left_out)))


def environment_lines(model_id: str, requires: Sequence[str], why: str) -> str:
    """Return how to make an interpreter of a model's own, as lines to type."""
    folder = f"~/medgan-{model_id.split('_')[0]}"
    needed = map(Requirement, ["numpy", "pillow", "torch", "medigan==1.0.0", *requires])
    versions = {_installed_name(r): str(r.specifier) for r in needed if r.name.lower() not in BOGUS}
    lines = [f"# {why}", f"python3 -m venv {folder}"]
    pip = f"{folder}/bin/python -m pip install"
    if "visdom" in versions:
        lines.append(f"echo 'setuptools<82' > {folder}/build.txt")
        pip = f"PIP_BUILD_CONSTRAINT={folder}/build.txt {pip}"
    lines.append(f"{pip} {' '.join(shlex.quote(f'{n}{v}') for n, v in versions.items())}")
    lines.append(f'# then: mw.trust("{model_id.split("_")[0]}", python="{folder}/bin/python")')
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
    return NAMES.get(requirement.name.lower(), (requirement.name.replace("-", "_"),))[0]


def _installed_name(requirement: Requirement) -> str:
    return NAMES.get(requirement.name.lower(), ("", requirement.name))[1]


@cache
def _found(names: tuple[tuple[str, str], ...], python: str | None) -> dict[str, tuple[bool, str]]:
    """Return for each import name whether it is there, and its distribution's version."""
    if python is None:
        return {name: (importable(name), _version(dist)) for name, dist in names}
    try:
        answer = subprocess.run(
            [python, "-c", _ASK, json.dumps(names)],
            capture_output=True, text=True, timeout=60, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        found = json.loads(answer.stdout.splitlines()[-1])
        return {name: (bool(here), str(version)) for name, (here, version) in found.items()}
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise NotRunnableError(
            f"{python} does not answer like a Python interpreter; give the path of one."
        ) from error


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
