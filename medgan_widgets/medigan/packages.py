"""What it takes to run a medigan package: where it is, what its generate method wants and gives.

``packages.json`` holds the facts of the 23 published ones (names, defaults and
requirements as published, the bogus requirement ``Path`` set apart);
`PackageSpec.entry` gives them back in the form that medigan's own
``ModelExecutor`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from medgan_widgets.errors import CardError, RequestError
from medgan_widgets.medigan.facts import zenodo_records

BASE = ("model_file", "num_samples", "output_path", "save_images")
LARGE = 512 * 512  # from so many pixels on, one image at a time


@dataclass(frozen=True)
class PackageSpec:
    """How one model package is found and called."""

    model_id: str
    url: str  # of its archive
    weights: str  # the file in it
    package: str  # the folder in it
    image_size: tuple[int, ...]
    method: str = "generate"
    latent: int | None = None  # length of the latent it takes
    options: Mapping[str, Any] = field(default_factory=dict)  # own arguments, published defaults
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    # Factor -> {value on the card: what the package takes for ``condition``}.
    condition: Mapping[str, Mapping[Any, Any]] = field(default_factory=dict)
    # The option(s) that take source images, and whether a folder, files or a list.
    input: Mapping[str, Any] | None = None
    sample: Any = None  # what that option is without images of the user's
    outputs: tuple[str, ...] = ("image",)
    gives: tuple[str, ...] = ()  # what comes for each image; empty: image, mask, others, label
    alone: bool = False  # draws random numbers while generating, so each image runs by itself
    pickle: bool = False  # its weights are known to be whole pickled objects
    requires: tuple[str, ...] = ()  # as published
    ignored: tuple[str, ...] = ()  # those that are not needed

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return self.url.rsplit("/", 1)[-1].split("?")[0]

    @property
    def chunk(self) -> int:
        """How many images one exact call makes; part of the pixels, so never adapted."""
        if self.alone or self.latent is None or self.image_size[0] * self.image_size[1] >= LARGE:
            return 1
        return 4

    @property
    def several(self) -> int:
        """How many images one call can well make, to see whether they differ."""
        return 2 if self.image_size[0] * self.image_size[1] >= LARGE else 8

    def entry(self) -> dict[str, Any]:
        """Return the ``execution`` part of medigan's metadata.

        Its dependency list is left empty: medigan would ask for distributions by
        name and find ``cv2`` of another one missing; `dependencies` asks better.
        """
        name, dot, extension = self.weights.partition(".")
        method: dict[str, Any] = {
            "name": self.method,
            "args": {"base": list(BASE), "custom": dict(self.options)},
        }
        if self.latent:
            method["input_latent_vector_size"] = self.latent
        return {
            "package_name": self.package,
            "package_link": self.url,
            "model_name": name,
            "extension": dot + extension,
            "image_size": list(self.image_size),
            "dependencies": [],
            "generate_method": method,
        }


@cache
def medigan_packages() -> Mapping[str, PackageSpec]:
    """Return how each of the 23 published packages is run, by model id.

    Examples
    --------
    >>> specs = medigan_packages()
    >>> len(specs), specs["00002_DCGAN_MMG_MASS_ROI"].archive
    (23, 'MALIGN_DCGAN.zip')
    >>> sum(spec.latent is not None for spec in specs.values())
    12
    """
    text = Path(__file__).with_name("packages.json").read_text(encoding="utf-8")
    records = zenodo_records()
    return {name: _spec(name, facts, records[name]) for name, facts in json.loads(text).items()}


def _spec(model_id: str, facts: dict[str, Any], about: Mapping[str, Any]) -> PackageSpec:
    package = facts.pop("package", model_id)
    archive = facts.pop("archive", f"{package}.zip")
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
    return PackageSpec(
        **{
            **plain,
            "model_id": model_id,
            "url": f"https://zenodo.org/records/{about['zenodo']}/files/{archive}?download=1",
            "package": package,
            "image_size": tuple(about["size"]),
            "outputs": tuple(about.get("outputs", ("image",))),
        }
    )


def checked_options(spec: PackageSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a request, or say clearly which of them cannot be."""
    for name, value in given.items():
        if name not in spec.options:
            have = ", ".join(spec.options) or "none"
            raise RequestError(f"{spec.model_id} has no option {name!r}; it has: {have}.")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise RequestError(f"{name} must be a plain value, got {value!r:.80}.") from None
        choices = spec.choices.get(name)
        if choices and value not in choices:
            raise RequestError(
                f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}."
            )
        default = spec.options[name]
        if isinstance(default, bool) != isinstance(value, bool) and default is not None:
            kind = "true or false" if isinstance(default, bool) else f"like {default!r}"
            raise RequestError(f"{name} must be {kind}, got {value!r:.80}.")
    return dict(given)


def spec_from_entry(model_id: str, entry: Mapping[str, Any]) -> PackageSpec:
    """Return the spec of a model that somebody's metadata in medigan's form describes."""
    try:
        method = entry["generate_method"]
        options = dict(method["args"].get("custom") or {})
        condition = method.get("condition") or {}
        name, latent = method.get("name", "generate"), method.get("input_latent_vector_size")
        weights = f"{entry['model_name']}{entry['extension'] or ''}"
        package, url = entry["package_name"], entry["package_link"]
        size = tuple(int(side) for side in entry["image_size"])
        requires = tuple(str(one) for one in entry.get("dependencies") or ())
        latent = None if latent is None else int(latent)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else f"cannot be used ({error})"
        raise CardError(f"the metadata of {model_id} {what} in its execution part.") from None
    _check_names(model_id, package, weights, name, url)
    given, sample = _input_of(options)
    if condition:
        options = {k: v for k, v in options.items() if k not in ("condition", "z")}
    return PackageSpec(
        model_id=model_id,
        url=url,
        weights=weights,
        package=package,
        image_size=size,
        method=name,
        latent=latent,
        options=options,
        condition={factor: _pairs(values) for factor, values in condition.items()},
        input=given,
        sample=sample,
        requires=tuple(one for one in requires if one != "Path"),
        ignored=tuple(one for one in requires if one == "Path"),
    )


def _check_names(model_id: str, package: object, weights: str, method: object, url: object) -> None:
    """Refuse what would reach outside the package's folder."""
    texts = {"package_name": package, "generate_method.name": method, "package_link": url}
    for key, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise CardError(f"the metadata of {model_id} has no usable {key}: {text!r:.60}.")
    for text in (str(package), weights):
        if text.startswith(("/", "\\")) or ".." in Path(text).parts or ":" in text:
            raise CardError(f"the metadata of {model_id} points outside its package: {text!r:.60}.")
    if "/" in str(package) or not str(method).isidentifier():
        raise CardError(
            f"the metadata of {model_id} names no function of a package: {method!r:.60}."
        )


def _input_of(options: dict[str, Any]) -> tuple[dict[str, Any] | None, Any]:
    """Take the option that names source images out of the others, by medigan's usual names."""
    for name, kind in (("input_path", "folder"), ("image_paths_input", "list")):
        if name in options:
            return {"option": name, "kind": kind}, options.pop(name)
    files = [name for name in options if name.endswith("_img_path")]
    for name in files:
        options.pop(name)
    return ({"option": files, "kind": "files"} if files else None), None


def _pairs(values: object) -> dict[Any, Any]:
    """JSON knows text keys only; a factor with yes and no reads better as one."""
    if not isinstance(values, Mapping) or not values:
        raise CardError("a condition must map values to what the package takes.")
    return dict(values)
