"""Words as people type them: synonyms, plurals, sizes and slips of the finger."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations

from medgan_widgets.cards import ModelCard

_PHRASES = (  # of several words or with hyphens; tried first, in this order
    (r"\bx[\s-]?rays?\b", "xray"),
    (r"\bmagnetic resonance( imaging)?\b", "mri"),
    (r"\bcomputed tomography\b", "ct"),
    (r"\bpositron emission( tomography)?\b", "pet"),
    (r"\bregions? of interest\b", "roi"),
    (r"\bdce[\s-]?mri\b", "dce mri"),
    (r"\bt1[\s-]?w(eighted)?\b", "t1"),
    (r"\bt2[\s-]?w(eighted)?\b", "t2"),
    (r"\bcardiac mr\b", "heart mri"),
    (r"\bnot stated\b", "notstated"),
    (r"(\d+)\s*(?:[x\u00d7*]|by)\s*(\d+)", r"\1x\2"),
    (r"\b(\d+)\s*(?:px|pixels?)\b", r"\1"),
)
_SAME = {
    "mri": ("mr", "mrt"),
    "mammogram": ("mg", "mmg", "mammography", "mammographic", "mammo"),
    "xray": ("dx", "cr", "cxr", "radiograph", "radiography", "roentgen"),
    "ultrasound": ("us", "sonography", "ultrasonography", "sonogram"),
    "pet": ("pt",),
    "angiography": ("xa", "angiogram", "dsa"),
    "endoscopy": ("es", "endoscopic", "colonoscopy", "colonoscopic"),
    "brain": ("head", "cranial", "cerebral", "neuro"),
    "colon": ("bowel", "gut", "colorectal", "gastrointestinal"),
    "heart": ("cardiac", "cardio"),
    "chest": ("thorax", "thoracic"),
    "lung": ("pulmonary",),
    "breast": ("mammary",),
    "abdomen": ("abdominal",),
    "spine": ("spinal", "vertebral", "vertebra"),
    "skin": ("dermal", "dermoscopy", "dermoscopic"),
    "eye": ("retina", "retinal", "fundus", "ocular"),
    "prostate": ("prostatic",),
    "liver": ("hepatic",),
    "kidney": ("renal",),
    "tumour": ("tumor", "glioma", "cancer"),
    "mask": ("segmentation", "annotation", "segmented"),
    "colour": ("color", "rgb", "coloured", "colored"),
    "ageing": ("aging", "age", "aged", "older", "younger"),
    "licence": ("license", "licensed"),
    "mass": ("masses",),
    "malignancy": ("malignant", "benign"),
    "calcification": ("microcalcification", "calc"),
    "patch": ("patches", "roi", "crop"),
    "synthetic": ("artificial",),
}
_CANONICAL = {other: word for word, others in _SAME.items() for other in others}
_IDLE_TEXT = """
    a an and any all by for from gan generate generator generated get give i image in make
    me model my of on or picture px pixel show some that the to want with without
"""
_IDLE = frozenset(_IDLE_TEXT.split())
_MODALITY = {
    "MR": "mri", "MG": "mammogram", "DX": "xray", "ES": "endoscopy", "CT": "ct",
    "US": "ultrasound", "PT": "pet", "XA": "angiography", "OT": "other",
}  # fmt: skip


def canonical(word: str) -> str:
    """Return the one word that stands for all its synonyms.

    Examples
    --------
    >>> canonical("Mammography"), canonical("tumors"), canonical("224 x 192")
    ('mammogram', 'tumour', '224x192')
    """
    return " ".join(_tokens(word)) or word.lower()


def known_as(text: str, known: Sequence[str]) -> tuple[str, str]:
    """Return a modality or organ as it is written here, and what is to be told about that.

    Examples
    --------
    >>> known_as("mri", ("MR", "CT")), known_as("Brain", ("brain", "breast"))
    (('MR', "'mri' is written 'MR'."), ('brain', ''))
    >>> known_as("brest", ("brain", "breast"))
    ('brest', "'brest' is kept as it is; did you mean 'breast'?")
    """
    same = {word.lower(): word for word in known}
    if text.lower() in same:
        return same[text.lower()], ""
    names = {_MODALITY.get(word, word): word for word in known}
    word = canonical(text)
    if len(text) > 2 and word in names:  # of two letters it is a code of DICOM's
        code = names[word]
        return (text, "") if code == word else (code, f"{text!r} is written {code!r}.")
    near = mend(word, names) if len(text) > 3 else None
    meant = names.get(near or "")
    return text, f"{text!r} is kept as it is; did you mean {meant!r}?" if meant else ""


def words(text: str) -> list[str]:
    """Return the words of a search that matter, each once.

    Examples
    --------
    >>> words("Chest X-rays with 128 x 128 px")
    ['chest', 'xray', '128x128']
    """
    return list(dict.fromkeys(word for word in _tokens(text) if word not in _IDLE))


def words_of(card: ModelCard) -> Mapping[str, float]:
    """Return the words a card is found by, each with how much it says about the model."""
    weights: dict[str, float] = {}
    height, width = card.size
    view = "chest" if (card.modality, card.organ) == ("DX", "lung") else ""  # as people call it
    modality = _MODALITY.get(card.modality, card.modality)
    exact = f"{modality} {view} {card.organ} {card.makes} {' '.join(card.outputs)}"
    factors = " ".join(
        f"{name} {' '.join(map(str, values))}" for name, values in card.condition.items()
    )
    number = card.id.split("_")[0] if card.origin == "medigan" else ""
    parts = (
        (3.0, f"{exact} {number} {height}x{width} {height if height == width else ''}"),
        (
            2.0,
            f"{card.title} {card.region} {card.architecture} {factors} {card.function}",
        ),
        (1.0, f"{card.id.replace('_', ' ')} {card.id} {card.dataset or ''} {card.licence or ''}"),
        (1.0, f"{card.year or ''} {card.origin} {'phantom' if card.phantom else 'patients'}"),
        (0.5, f"{'colour' if card.channels == 3 else ''} {'' if card.licence else 'notstated'}"),
    )
    for weight, text in parts:
        for word in _tokens(text):
            weights[word] = max(weight, weights.get(word, 0.0))
    return weights


def fit(wanted: Sequence[str], have: Mapping[str, float]) -> float:
    """Return how well a card fits all words, 0 when one of them is missing."""
    total = 0.0
    for word in wanted:
        best = have.get(word, 0.0)
        if not best and len(word) > 1 and not word.isdigit():  # typing: "bre" finds breast
            best = 0.5 * max(
                (w for other, w in have.items() if other.startswith(word)), default=0.0
            )
        if not best and word.isdigit():
            best = have.get(word.zfill(5), 0.0)
        if not best:
            return 0.0
        total += best
    return total


def near(word: str, known: Collection[str]) -> list[str]:
    """Return up to three known words that look like this one, nearest first."""
    return difflib.get_close_matches(word, list(known), n=3, cutoff=0.7)


def mend(word: str, known: Collection[str]) -> str | None:
    """Return the word itself when it is known or begun, else the nearest; None when none is."""
    if any(other.startswith(word) for other in known):
        return word
    if word.isdigit():
        numbers = [int(other) for other in known if other.isdigit() and len(other) < 5]
        sizes = [number for number in numbers if number < 1990]
        return str(min(sizes, key=lambda size: abs(size - int(word)))) if sizes else None
    synonyms = {other for other, same in _CANONICAL.items() if same in known}
    found = near(word, {*known, *synonyms})
    return _one(found[0]) if found else None


def fewer(given: Sequence[str], most: int = 8) -> Iterator[Sequence[str]]:
    """Yield all the words, then all but one, … down to single ones, in order."""
    given = list(dict.fromkeys(given))[:most]  # of a pasted page the first words must do
    for count in range(len(given), 0, -1):
        yield from combinations(given, count)


def _tokens(text: str) -> list[str]:
    text = text[:2000].lower()
    for pattern, same in _PHRASES:
        text = re.sub(pattern, same, text)
    return [_one(word) for word in re.findall(r"[^\W_]+(?:[_-][^\W_]+)*|\w+", text)]


def _one(word: str) -> str:
    if word in _CANONICAL:
        return _CANONICAL[word]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        single = word[:-1]
        return _CANONICAL.get(single, single)
    return word
