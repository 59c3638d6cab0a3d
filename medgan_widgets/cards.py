"""ModelCard: what a model is, what it makes, how good it was found, and what it may be used for.

One vocabulary for every model, ours and medigan's. A card is read from
``card.json`` in the model's folder and checked before anything trusts it:
unknown fields, missing ones and wrong values are refused in one sentence. Modality
and organ may be any words; the known ones are written in one way. Strings are text and
stay text: HTML in a card is never interpreted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from medgan_widgets.errors import CardError
from medgan_widgets.files import write_whole
from medgan_widgets.requests import Score

CARD_LIMIT = 1_000_000  # bytes; a real card has a few thousand

# What is offered, and written in one way; any other word is kept as it is. The modalities
# are DICOM's codes, OT for what has none of its own.
MODALITIES = ("MR", "MG", "DX", "ES", "CT", "US", "PT", "XA", "OT")
ORGANS = (
    "brain", "breast", "chest", "lung", "colon", "heart", "abdomen", "knee", "hip", "spine",
    "skin", "eye", "prostate", "liver", "kidney", "other",
)  # fmt: skip
Output = Literal["image", "mask", "label"]
Function = Literal[
    "noise to image",
    "class to image",
    "noise to image and mask",
    "image to image",
    "mask to image",
    "inpainting",
]
FUNCTIONS: tuple[str, ...] = get_args(Function)

UNKNOWN = "UNKNOWN"  # shown as it stands: a blank would be overlooked


def _must_match(pattern: str, words: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"must be {words}, got {text[:60]!r}")
        return text

    return AfterValidator(check)


def _as_known(text: str) -> str:
    known = {word.lower(): word for word in (*MODALITIES, *ORGANS)}
    return known.get(text.lower(), text)


Text = Annotated[StrictStr, Field(min_length=1, max_length=500)]
Word = Annotated[StrictStr, Field(min_length=1, max_length=100), AfterValidator(_as_known)]
LongText = Annotated[StrictStr, Field(max_length=10_000)]
# The name of a folder everywhere: none that leaves it, none that Windows keeps for itself.
SafeName = Annotated[
    StrictStr,
    _must_match(
        r"(?!(?i:con|prn|aux|nul|com\d|lpt\d)(\.|$))(?=.{1,100}$)"
        r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_-])?",
        "at most 100 letters, digits, '.', '_' or '-', and no reserved name",
    ),
]
Sha256 = Annotated[
    str,
    StringConstraints(strict=True, to_lower=True),
    _must_match("[0-9a-f]{64}", "64 hexadecimal digits"),
]
WebAddress = Annotated[
    StrictStr, _must_match("https?://.*", "a web address (https://…)"), Field(max_length=500)
]
Side = Annotated[StrictInt, Field(ge=1, le=4096)]
Count = Annotated[StrictInt, Field(ge=1)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
FactorValue = StrictStr | StrictBool | StrictInt
Setting = StrictStr | StrictBool | StrictInt | Number


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Weights(_Part):
    """The weights file beside the card, with what proves it is the right one."""

    file: SafeName
    sha256: Sha256
    bytes: Count


class Needs(_Part):
    """What must be at hand before the model can run.

    ``download_mb`` is None when the size is not known before the download;
    ``packages`` are import names; ``python`` says why an interpreter of its
    own is needed; ``image`` means that the model transforms an image of yours.
    """

    download_mb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    packages: tuple[Text, ...] = ()
    python: Text | None = None
    image: StrictBool = False


class Option(_Part):
    """An argument that a model takes besides seeds and condition, with its default."""

    name: Text
    default: JsonValue = None
    choices: tuple[JsonValue, ...] = ()
    help: LongText = ""


class Correction(_Part):
    """A published fact that is not taken over as published, and why."""

    field: Text
    published: LongText
    corrected: LongText
    reason: Text


class Network(_Part):
    """Which network of this package the weights belong to, and its settings."""

    name: Text
    settings: dict[StrictStr, Setting] = {}


class ScoreCard(_Part):
    """A quality figure with all that makes it comparable: see ``requests.Score``."""

    name: Text
    value: Number | None
    n_real: Count | None = None
    n_fake: Count | None = None
    extractor: Text | None = None
    interval: tuple[Number, Number] | None = None
    floor: Number | None = None
    floor_n: Count | None = None
    warning: LongText = ""
    value_at_floor_n: Number | None = None
    why: tuple[tuple[Text, Number], ...] = ()
    families: dict[StrictStr, Number] = {}

    @field_validator("interval")
    @classmethod
    def _in_order(cls, interval: tuple[float, float] | None) -> tuple[float, float] | None:
        if interval and interval[0] > interval[1]:
            raise ValueError(f"must be (low, high), got {interval}")
        return interval

    def to_score(self) -> Score:
        """Return the same figure as the dataclass that the metrics use."""
        return Score(**self.model_dump())


class ClassCount(_Part):
    """How many images of one combination of classes a model was trained on."""

    condition: dict[StrictStr, FactorValue]
    images: Count


class DataStatement(_Part):
    """Where training images come from, and by whose leave; what nobody stated is ``UNKNOWN``.

    Parameters
    ----------
    source
        Whose images, and where they can be asked for.
    licence
        What they may be used for.
    approval
        Ethics approval or waiver, or why none is needed.
    deidentification
        How names and numbers were taken out.

    Examples
    --------
    >>> DataStatement(source="our clinic, 2019", licence=" ").unknown
    ('licence', 'approval', 'deidentification')
    """

    source: Text = UNKNOWN
    licence: Text = UNKNOWN
    approval: Text = UNKNOWN
    deidentification: Text = UNKNOWN

    @field_validator("*", mode="before")
    @classmethod
    def _blank_is_unknown(cls, text: object) -> object:
        return UNKNOWN if text is None or (isinstance(text, str) and not text.strip()) else text

    @property
    def unknown(self) -> tuple[str, ...]:
        """The names of what was not stated."""
        return tuple(name for name, text in self.model_dump().items() if text == UNKNOWN)


class ModelCard(_Part):
    """What a model is, makes, and may be used for.

    Parameters
    ----------
    id
        The model's name, and its folder's: letters, digits, ``.``, ``_``, ``-``.
    modality, organ, region
        DICOM's code (MR, CT, …) or another word, the organ, and the view or region of it.
    makes, outputs, function, condition, options
        What comes out, from what, and which factors and arguments steer it.
    size
        (height, width) in pixels, 1 … 4096.
    licence
        SPDX name where known; None when it is not stated.
    statement
        Where the training images come from; None on cards that were written without one.
    weights, network
        For models that run in this package; None for those known by their facts.
    scores
        Figures, each with n, extractor and floor where its source tells them.
    class_counts
        How many training images each combination of classes had.
    preprocessing
        How the training images were prepared, so that real images can be prepared alike;
        empty where nobody knows.
    needs, corrections, limits, promise
        What is needed to run it, what was corrected, what it is not good for, and
        what a seed promises.

    Raises
    ------
    pydantic.ValidationError
        When a field is missing, unknown or wrong. ``read``
        turns that into a :class:`~medgan_widgets.errors.CardError`.

    Examples
    --------
    >>> card = ModelCard(
    ...     id="tiny", title="Tiny", modality="MR", organ="brain", region="axial slice",
    ...     makes="brain slice", function="noise to image", size=(32, 32), licence="MIT",
    ...     dataset=None, year=2026, architecture="DCGAN",
    ... )
    >>> card.size, card.needs.image
    ((32, 32), False)
    """

    id: SafeName
    title: Text
    description: LongText = ""
    origin: Literal["local", "medigan"] = "local"
    modality: Word
    organ: Word
    region: Text
    makes: Text
    outputs: Annotated[tuple[Output, ...], Field(min_length=1)] = ("image",)
    function: Function
    condition: dict[StrictStr, tuple[FactorValue, ...]] = {}
    truncation: StrictBool = False
    style_layers: Annotated[StrictInt, Field(ge=0, le=100)] = 0
    options: tuple[Option, ...] = ()
    size: tuple[Side, Side]
    channels: Annotated[StrictInt, Field(ge=1, le=4)] = 1
    licence: Text | None
    dataset: Text | None
    statement: DataStatement | None = None
    year: Annotated[StrictInt, Field(ge=1990, le=2100)] | None
    phantom: StrictBool = False
    architecture: Text
    network: Network | None = None
    weights: Weights | None = None
    scores: tuple[ScoreCard, ...] = ()
    training: dict[StrictStr, StrictStr | StrictInt | Number] = {}
    class_counts: tuple[ClassCount, ...] = ()
    preprocessing: dict[StrictStr, JsonValue] = {}
    limits: LongText = ""
    promise: LongText = ""
    source: WebAddress | None = None
    needs: Needs = Needs()
    corrections: tuple[Correction, ...] = ()

    @field_validator("condition")
    @classmethod
    def _values_differ(
        cls, condition: dict[str, tuple[str | bool | int, ...]]
    ) -> dict[str, tuple[str | bool | int, ...]]:
        for factor, values in condition.items():
            if not values or len({repr(value) for value in values}) < len(values):
                raise ValueError(f"{factor!r} must have one or more values, each once")
        return condition

    @model_validator(mode="after")
    def _weights_have_a_network(self) -> ModelCard:
        if (self.weights is None) != (self.network is None):
            raise ValueError("weights and network belong together: give both or neither")
        return self

    @classmethod
    def read(cls, path: str | Path) -> ModelCard:
        """Return the card in a file, or in the folder that holds ``card.json``.

        Raises
        ------
        CardError
            In one sentence, when the file is missing, too large, not JSON, or
            its fields are missing, unknown or wrong.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "card.json"
        try:
            with path.open("rb") as file:
                content = file.read(CARD_LIMIT + 1)
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
            raise CardError(f"cannot read the card {str(path)!r}: {error}.") from None
        if len(content) > CARD_LIMIT:
            raise CardError(f"{path} is over {CARD_LIMIT:,} bytes; a model card is far smaller.")
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise CardError(f"{path} {_first_fault(error)}.") from None

    def write(self, path: str | Path) -> Path:
        """Write the card to a file, or as ``card.json`` into a folder; all of it or nothing.

        Raises
        ------
        SaveError
            When the disk is full, read-only, or the folder does not exist.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "card.json"
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        return write_whole(path, text.encode())

    def score(self, name: str) -> ScoreCard | None:
        """Return the figure of that name, or None."""
        return next((score for score in self.scores if score.name == name), None)


def _first_fault(error: ValidationError) -> str:
    """Say the faults as a person would: missing fields together, else the first wrong one."""
    faults = error.errors(include_url=False)
    missing = [_field(fault["loc"]) for fault in faults if fault["type"] == "missing"]
    if missing:
        return f"is not a model card: it lacks {', '.join(missing)}"
    fault, field = faults[0], _field(faults[0]["loc"])
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if fault["type"] == "extra_forbidden":
        return f"is not a model card: it has the unknown field {field}{more}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "json_invalid":
        return message.replace("Invalid JSON", "is not JSON")
    if not field:
        return f"is not a model card: {message}{more}"
    value = repr(fault["input"])
    got = "" if "got " in message else f", got {value[:57] + '...' * (len(value) > 57)}"
    return f"is not a model card: {field}: {message[0].lower()}{message[1:]}{got}{more}"


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:60] for part in location)
