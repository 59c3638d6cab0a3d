"""A blinded reading: can people tell synthetic images from real ones.

::

    sides.py       what a person has -> two alike stacks of pixels
    prepare.py     a study folder: which images make a trial, by the seed
    plan.py        study.json: the plan, its identity, and its checks
    study.py       each reader's own order, and what is asked next
    answers.py     one append-only file a reader
    statistics.py  intervals, chance, Fleiss kappa
    results.py     a table and a summary
    words.py       what is asked, and what came out, in plain words

A study is a folder, so it goes on where it stopped after a page or a kernel was
closed. The same trials go to every reader, in an order and on sides of their own.
"""

from medgan_widgets.studies.reader_study.answers import Answer, Answers
from medgan_widgets.studies.reader_study.plan import Plan
from medgan_widgets.studies.reader_study.prepare import prepare
from medgan_widgets.studies.reader_study.results import Results
from medgan_widgets.studies.reader_study.statistics import Kappa, fleiss_kappa
from medgan_widgets.studies.reader_study.study import Asked, Study, open_study

__all__ = [
    "Answer",
    "Answers",
    "Asked",
    "Kappa",
    "Plan",
    "Results",
    "Study",
    "fleiss_kappa",
    "open_study",
    "prepare",
]
