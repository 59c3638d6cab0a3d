"""The words that people type for models: synonyms, plurals, sizes, and how well they fit a card.

``synonyms.json`` lists words of one meaning, the one that stands for them first, and idle
words that say nothing of a model. A card's words are stored with all their synonyms, so a
search is a look-up; the explorer's page does the same one on the words that it is sent.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from medgan_widgets.cards import ModelCard

_FILE = json.loads(Path(__file__).with_name("synonyms.json").read_text(encoding="utf-8"))
SAME: dict[str, list[str]] = _FILE["same"]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and re.search("[^sui]s$", word) else word


def _words(text: str) -> list[str]:
    """Return words in small letters and in the singular; hyphens join, 224 x 192 is one."""
    text = re.sub(r"(\d+)\s*(?:[x×*]|by)\s*(\d+)", r"\1x\2", text[:2000].lower())
    return [_singular(word) for word in re.findall(r"[\w-]+", text)]


IDLE = frozenset(_words(_FILE["idle"]))
_HEAD = {" ".join(_words(same)): head for head, every in SAME.items() for same in every}


def canonical(text: str) -> str:
    """Return the one word that stands for all its synonyms.

    Examples
    --------
    >>> canonical("Mammography"), canonical("tumors"), canonical("224 × 192")
    ('mammogram', 'tumour', '224x192')
    """
    words = _words(text)
    phrase = " ".join(words)
    return _HEAD.get(phrase) or " ".join(_HEAD.get(word, word) for word in words)


def known_as(text: str, known: Sequence[str]) -> tuple[str, str]:
    """Return a modality or organ as it is written here, and a note about that.

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
    names = {canonical(word): word for word in known}
    word = canonical(text)
    if len(text) > 2 and word in names:  # of two letters it is another code of DICOM's
        return names[word], f"{text!r} is written {names[word]!r}."
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.7) if len(text) > 3 else []
    return text, f"{text!r} is kept as it is; did you mean {names[near[0]]!r}?" if near else ""


def words_of(card: ModelCard) -> dict[str, float]:
    """Return the words that find a card, each with how much it says about the model."""
    height, width = card.size
    square = f"{height} {height}px" if height == width else ""
    view = "chest" if (card.modality, card.organ) == ("DX", "lung") else ""  # as people call it
    number = card.id.split("_")[0] if card.origin == "medigan" else ""
    factors = " ".join(
        f"{name} {' '.join(map(str, each))}" for name, each in card.condition.items()
    )
    parts = (
        (3.0, f"{card.modality} {view} {card.organ} {card.makes} {' '.join(card.outputs)}"),
        (3.0, f"{number} {number.lstrip('0')} {height}x{width} {square}"),
        (2.0, f"{card.title} {card.region} {card.architecture} {factors} {card.function}"),
        (1.0, f"{card.id.replace('_', ' ')} {card.id} {card.dataset or ''} {card.licence or ''}"),
        (1.0, f"{card.year or ''} {card.origin} {'phantom' if card.phantom else 'patients'}"),
        (0.5, f"{'colour' if card.channels == 3 else ''} {'' if card.licence else 'not stated'}"),
    )
    weights: dict[str, float] = {}
    for weight, text in parts:
        for word in _with_synonyms(text):
            weights[word] = max(weight, weights.get(word, 0.0))
    return weights


def searched(text: str, known: Collection[str]) -> list[str]:
    """Return the words of a search, each once; one with hyphens is cut where nobody has it.

    Examples
    --------
    >>> searched("Chest X-rays with 128 x 128 px", {"chest", "x-ray", "128x128"})
    ['chest', 'x-ray', '128x128']
    """
    parts = (part for word in _words(text) for part in _parts(word, known))
    return [word for word in dict.fromkeys(parts) if word and word not in IDLE]


def fit(wanted: Sequence[str], have: Mapping[str, float], known: Collection[str]) -> float:
    """Return how well a card fits all words, 0 when one of them is missing.

    A word that no model has may be the beginning of one: somebody is still typing.
    """
    total = 0.0
    for word in wanted:
        weight = have.get(word, 0.0)
        if word not in known and len(word) > 1 and not word.isdigit():
            weight = 0.5 * max((w for k, w in have.items() if k.startswith(word)), default=0.0)
        if not weight:
            return 0.0
        total += weight
    return total


def _parts(word: str, known: Collection[str]) -> list[str]:
    return [word] if word in known else [_singular(part) for part in re.split("[-_]", word)]


def _with_synonyms(text: str) -> Iterator[str]:
    for whole in _words(text):
        for word in {whole, *_parts(whole, ())} - {""}:
            yield word
            head = _HEAD.get(word, word)
            for same in (head, *SAME.get(head, ())):
                yield from (part for each in _words(same) for part in (each, *_parts(each, ())))
