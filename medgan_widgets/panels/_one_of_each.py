"""Long actions of a panel, one of each kind at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medgan_widgets.errors import JobCancelled
from medgan_widgets.jobs import Job, submit


class OneOfEach:
    """Runs an action on the jobs' worker; a second press while it runs starts nothing new.

    Examples
    --------
    >>> told = []
    >>> actions = OneOfEach(told.append)
    >>> actions.do("add", lambda: 1 + 1, told.append, told.append).wait()
    [2]
    >>> told
    ['add', '', 2]
    """

    def __init__(self, busy: Callable[[str], object]) -> None:
        self._busy = busy
        self._jobs: dict[str, Job[Any]] = {}

    def do(
        self,
        kind: str,
        work: Callable[[], Any],
        done: Callable[[Any], object],
        failed: Callable[[BaseException], object],
    ) -> Job[Any]:
        """Queue ``work``; its result goes to ``done``, what ended it to ``failed``."""
        before = self._jobs.get(kind)
        if before is not None and not before.done:
            return before

        def over(job: Job[Any]) -> None:
            self._busy("")
            if job.state == "done":
                done(job.items[0])
            else:
                failed(job.error or JobCancelled("it was cancelled."))

        self._busy(kind)
        job = submit(lambda: iter([work()]), owner=(id(self), kind), on_done=over)
        self._jobs[kind] = job
        return job
