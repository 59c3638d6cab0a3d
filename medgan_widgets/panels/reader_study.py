"""A blinded reading: one reader tells synthetic images from real ones, with the keyboard alone."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from medgan_widgets.errors import RequestError, SaveError
from medgan_widgets.panels._panel import Act, Page, Panel, joined
from medgan_widgets.panels._review import PER_PAGE, marks_of, review_sheet, reviewed, thumbnails
from medgan_widgets.studies.reader_study import Asked, Results, Study, open_study
from medgan_widgets.studies.reader_study.plan import RATING_WORDS
from medgan_widgets.studies.reader_study.words import banner, question, reading_words, side_word


class _Page(Page):
    """The page's half. It has no traits: a saved notebook must hold neither pixels nor truth."""

    _esm = joined("_dom.js", "reader_study.js")
    _css = joined("_panel.css", "reader_study.css")


class ReaderStudy(Panel):
    """One reader's panel of a study that `medgan_widgets.studies.reader_study.prepare` made.

    It goes on where the reader stopped, also after the page or the kernel was closed:
    every answer is on the disk before the next pictures are shown. The page is told
    pixels alone, and which images are synthetic only once everything is answered.

    Parameters
    ----------
    study
        A `Study`, or its folder.
    reader
        A pseudonym: up to 40 letters, digits, spaces, ``.``, ``_`` and ``-``.
    feedback
        Whether the truth is shown after each choice; readers learn from it, so the
        later answers are no longer those of an untrained eye.
    review
        Whether all images are shown with their marks at the end.

    Raises
    ------
    DataError
        When the folder is no study, or was changed.
    RequestError
        For a name that cannot be one.
    """

    def __init__(
        self,
        study: Study | str | Path,
        reader: str,
        *,
        feedback: bool = False,
        review: bool = True,
    ) -> None:
        self.study = study if isinstance(study, Study) else open_study(study)
        self.reader = self.study.known(reader)
        self._feedback, self._review = feedback, review
        self._order = self.study.asked(self.reader)
        self._lock = threading.RLock()  # callbacks may come on any thread
        self._asked: Asked | None = None
        self._token = ""
        self._again = self.answered > 0  # the pictures of the first trial may be known already
        self._unsaved: tuple[str, int, float] | None = None
        self.page = _Page()
        super().__init__("Reader study", [self.page])
        acts = {
            "hello": self._hello,
            "begin": self._begin,
            "answer": self._answer,
            "next": self._begin,
            "review": self._show_review,
            "save": self._save,
        }
        self.listen(self.page, {kind: partial(self._locked, act) for kind, act in acts.items()})
        self._show_progress()

    @property
    def answered(self) -> int:
        """How many answers of this reader are saved."""
        return len(self.study.answers(self.reader).given)

    @property
    def done(self) -> bool:
        """Whether everything is answered."""
        return self.study.next(self.reader) is None

    def results(self) -> Results:
        """Return the results of all readers so far."""
        return self.study.results()

    def _locked(self, act: Act, message: dict[str, Any]) -> Mapping[str, Any] | None:
        with self._lock:
            return act(message)

    def _hello(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Tell a page that has just opened what to expect; pictures come when it is ready."""
        answered = self.answered
        self._show_progress()
        told = self._instructions(answered)
        if answered < len(self._order):
            return {"kind": "start", "told": told}
        return {**self._show_review({"page": 0}), "told": told}

    def _instructions(self, answered: int) -> dict[str, Any]:
        plan = self.study.plan
        lines = [f"You read as {self.reader}."]
        if plan.ratings:
            lines.append(f"First rate {len(plan.ratings)} images, each by itself, from 1 to 5.")
        number = {2: "two", 4: "four"}[plan.choices]
        lines.append(
            f"{'Then choose' if plan.ratings else 'Choose'} {len(plan.trials)} times among "
            f"{number} images: which one is {side_word(plan, plan.find)}? "
            "If you cannot tell, guess."
        )
        lines.append(
            "The time of each answer is taken while the page can be seen. Every answer is saved "
            "at once, so you may stop at any time."
        )
        total = len(self._order)
        return {"banner": banner(plan), "lines": lines, "answered": answered, "of": total}

    def _begin(self, _: Mapping[str, Any]) -> dict[str, Any]:
        # Pictures that were sent to a page before may be known to the reader.
        self._again = self._again or self._asked is not None
        return self._show_next()

    def _answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        asked = self._asked
        if asked is None or message.get("token") != self._token:
            self._again = True  # an older view, or an answer sent twice: show what is open now
            return self._show_next()
        place, seconds = message.get("place"), message.get("seconds")
        if not isinstance(place, int) or not isinstance(seconds, (int, float)):
            raise RequestError(f"an answer is a place and a time, got {place!r} and {seconds!r}.")
        try:
            saved = self.study.record(self.reader, asked, place, seconds, resumed=self._again)
        except SaveError:  # a page that is closed now finds it again
            self._unsaved = (self._token, place, float(seconds))
            raise
        self._unsaved, self._again, self._asked = None, False, None
        self.error = ""
        self._show_progress()
        if not saved:
            return self._show_next(
                "This one was answered in another panel already; here is the next."
            )
        if self._feedback and asked.kind == "choice":
            return self._truth(asked, place)
        return self._show_next()

    def _show_next(self, note: str = "") -> dict[str, Any]:
        self.study.check()
        asked = self.study.next(self.reader)
        if asked is None:
            self._asked = None
            return self._show_review({"page": 0})
        if asked != self._asked:
            self._asked, self._token = asked, secrets.token_hex(8)
        kept = self._unsaved if self._unsaved and self._unsaved[0] == self._token else None
        return {
            "kind": "trial",
            "token": self._token,
            "number": asked.number,
            "part": asked.kind,
            "question": question(self.study.plan, asked.kind),
            "words": list(RATING_WORDS) if asked.kind == "rating" else [],
            "shape": list(self.study.plan.shape),
            "kept": kept[1] if kept else None,
            "spent": kept[2] if kept else 0,
            "note": "Your answer is kept, and is not saved yet: press Enter." if kept else note,
            "buffers": [image.tobytes() for image in self.study.pixels(asked.rows)],
        }

    def _truth(self, asked: Asked, place: int) -> dict[str, Any]:
        plan = self.study.plan
        right = asked.rows[place] == plan.trials[asked.trial][plan.target(asked.trial)]
        return {
            "kind": "feedback",
            "token": self._token,
            "text": "Right." if right else "Wrong.",
            "marks": list(marks_of(plan, asked.rows)),
        }

    def _show_review(self, message: Mapping[str, Any]) -> dict[str, Any]:
        given = self.study.answers(self.reader).given
        if len(given) < len(self._order):
            raise RequestError("the review comes once everything is answered; go on first.")
        lines = [f"Done: {len(given)} of {len(given)} answered. Thank you."]
        trials = reviewed(self.study, self._order, given) if self._review else []
        pages = -(-len(trials) // PER_PAGE)
        page = message.get("page")
        page = min(max(page, 0), max(0, pages - 1)) if isinstance(page, int) else 0
        shown = trials[page * PER_PAGE : (page + 1) * PER_PAGE]
        if self._review:
            own = [reading for reading in self.results().readers if reading.reader == self.reader]
            lines += [reading_words(self.study.plan, reading) for reading in own]
        images = self.study.pixels(tuple(row for trial in shown for row in trial.rows))
        small = thumbnails(images) if len(images) else images
        return {
            "kind": "review",
            "page": page,
            "pages": pages,
            "lines": lines,
            "rows": [trial.for_page() for trial in shown],
            "shape": list(small.shape[1:]),
            "buffers": [image.tobytes() for image in small],
        }

    def _save(self, _: Mapping[str, Any]) -> dict[str, Any]:
        if not self._review or not self.done:  # the file holds the truth
            raise RequestError("the results come once everything is answered; go on first.")
        names = " and ".join(path.name for path in self.results().save())
        return {"kind": "saved", "note": f"Saved: {names}."}

    def _show_progress(self) -> None:
        """Say in the status how far this reader is; never how well."""
        answers = self.study.answers(self.reader)
        self.status = f"Reader {self.reader}: {len(answers.given)} of {len(self._order)} answered."
        if answers.notes:
            self.status += " " + " ".join(answers.notes) + " What it was about is asked again."

    def _facts(self) -> Mapping[str, object]:
        return {"reader": self.reader, "answered": self.answered, "of": len(self._order)}

    def _picture(self) -> Image.Image | None:
        """Return the marked review; while a reading goes on nothing, as nothing is marked then."""
        given = self.study.answers(self.reader).given
        if not self._review or len(given) < len(self._order):
            return None
        return review_sheet(self.study, reviewed(self.study, self._order, given))
