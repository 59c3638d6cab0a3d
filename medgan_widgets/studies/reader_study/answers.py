"""One append-only file a reader: a line for each answer, whole or not at all."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medgan_widgets.errors import RequestError, SaveError
from medgan_widgets.files import append_row
from medgan_widgets.studies.reader_study.plan import RATINGS, Plan

LONGEST = 24 * 3600.0  # seconds that an answer may take
_NAME = re.compile(r"\w(?:[\w .-]{0,38}\w)?")
_FILE = "reader-{}.jsonl"


class Answer(BaseModel):
    """One answer.

    Attributes
    ----------
    study, reader
        Whose it is.
    kind
        ``"choice"`` between images or ``"rating"`` of one.
    trial
        Which one of the plan's trials or ratings, from 0.
    chosen
        For a choice the place in the plan's trial, from 0; for a rating 1 to 5.
    place
        Where on the screen that was, from 0; the same as ``chosen`` for a rating.
    seconds
        From the pictures being painted to the answer, while the page could be seen.
    at
        When it was saved, UTC.
    resumed
        Whether its pictures may have been seen before, as the page was closed on them.
    simulated
        Whether nobody read: the answer was drawn by a program.
    """

    model_config = ConfigDict(frozen=True, strict=True)
    study: str
    reader: str
    kind: Literal["choice", "rating"]
    trial: int = Field(ge=0)
    chosen: int = Field(ge=0)
    place: int = Field(ge=0)
    seconds: float = Field(ge=0, le=LONGEST, allow_inf_nan=False)
    at: str
    resumed: bool = False
    simulated: bool = False


@dataclass(frozen=True)
class Answers:
    """What a reader's file holds: the answers, and a note for each line that is none."""

    reader: str
    given: tuple[Answer, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> frozenset[tuple[str, int]]:
        """Kind and trial of everything answered."""
        return frozenset((one.kind, one.trial) for one in self.given)


def reader_name(name: object) -> str:
    """Return a pseudonym as it is kept, or say why it cannot be one."""
    text = unicodedata.normalize("NFC", name) if isinstance(name, str) else ""
    if not _NAME.fullmatch(text) or ".." in text:
        raise RequestError(
            "a reader is a pseudonym of 1 to 40 letters, digits, spaces, '.', '_' or '-' "
            f"that begins and ends with a letter or digit, got {str(name)[:60]!r}; choose another."
        )
    return text


def file_of(folder: Path, reader: str) -> Path:
    """Return where a reader's answers lie."""
    return folder / _FILE.format(reader)


def readers_in(folder: Path) -> tuple[str, ...]:
    """Return the readers who have a file, sorted."""
    before, after = _FILE.split("{}")
    names = (path.name[len(before) : -len(after)] for path in folder.glob(_FILE.format("*")))
    whole = (unicodedata.normalize("NFC", name) for name in names)
    return tuple(sorted(name for name in whole if _NAME.fullmatch(name)))


def read_answers(folder: Path, plan: Plan, reader: str) -> Answers:
    """Return a reader's answers; lines that are none are noted, and their trials are open."""
    try:
        lines = file_of(folder, reader).read_bytes().split(b"\n")
    except FileNotFoundError:
        return Answers(reader)
    except OSError as error:
        raise SaveError(
            f"the answers of {reader} cannot be read: {error.strerror or error}; "
            "make the file readable, then try again."
        ) from error
    given: dict[tuple[str, int], Answer] = {}
    notes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        answer, problem = _answer_of(line, plan, reader)
        if answer is None:
            notes.append(f"line {number} of {reader} is left out: {problem}.")
        elif (answer.kind, answer.trial) in given:
            notes.append(f"line {number} of {reader} is left out: its trial was answered before.")
        else:
            given[answer.kind, answer.trial] = answer
    return Answers(reader, tuple(given.values()), tuple(notes))


def _answer_of(line: bytes, plan: Plan, reader: str) -> tuple[Answer | None, str]:
    try:
        answer = Answer.model_validate_json(line)
    except ValidationError:
        return None, "it is damaged or was cut off"
    if (answer.study, answer.reader) != (plan.id, reader):
        return None, "it is of another study or reader"
    choice = answer.kind == "choice"
    allowed = range(plan.choices) if choice else RATINGS
    if answer.trial >= len(plan.trials if choice else plan.ratings) or answer.chosen not in allowed:
        return None, "it answers what was not asked"
    return answer, ""


def append_answer(folder: Path, answer: Answer) -> None:
    """Append one answer and wait until it is on the disk."""
    try:
        append_row(file_of(folder, answer.reader), answer.model_dump())
    except SaveError as error:
        why = str(error).rstrip(".")
        raise SaveError(
            f"the answer was not saved: {why}; it is kept here, so make room and press Enter again."
        ) from error
