"""The training monitor: curves, pictures and alarms of trainings, and the few things to ask them.

It only reads run directories, so it can watch any training, whoever started it.
What it asks of one goes by a file too; what it starts is a process of its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
from PIL import Image

from medgan_widgets.cards import MODALITIES, ORGANS, ModelCard
from medgan_widgets.catalogue.words import known_as
from medgan_widgets.errors import JobCancelled, RequestError
from medgan_widgets.jobs import Job, submit_background
from medgan_widgets.panels import _run_forms as forms
from medgan_widgets.panels._panel import Panel
from medgan_widgets.panels._run_lines import PLOTS, shown
from medgan_widgets.panels._run_looks import Look, Looker, first_run, known_runs
from medgan_widgets.panels._run_page import RunControls, Timeline, paper, show_controls
from medgan_widgets.panels._visibility import Visibility, watched
from medgan_widgets.runs import (
    Command,
    RunState,
    read_command,
    run_state,
    send_command,
    start_process,
)

log = logging.getLogger(__name__)

Runs = str | Path | Sequence[str | Path]
LISTED_EVERY = 5  # looks between two searches for further runs


class TrainingMonitor(Panel):
    """Watch a training, live or finished, and ask it to pause, go on, stop or become a model.

    Parameters
    ----------
    run
        A run directory, or several: the first is the one that buttons act on, the
        others' curves lie over its. Without one, the newest below ``runs``.
    runs
        Where further runs are found and new ones are made.
    catalogue
        Whose folder a new model is written to.
    every
        Seconds between two looks at a directory, while the panel can be seen.
    on_model
        Called with the card of a model that was made here.

    Attributes
    ----------
    on_model
        As above.
    visibility
        Its ``visible`` says whether somebody can see the panel.

    Examples
    --------
    >>> monitor = TrainingMonitor("runs/knee")
    >>> monitor.error.split(":")[0]
    'runs/knee is not a run directory'
    >>> monitor
    TrainingMonitor(run='runs/knee', state='new', kimg=0.0, pictures=0, alarms=0)
    >>> monitor.close()
    """

    def __init__(
        self,
        run: Runs | None = None,
        *,
        runs: str | Path = "runs",
        catalogue: Any = None,
        every: float = 1.0,
        on_model: Callable[[ModelCard], object] | None = None,
    ) -> None:
        if not every > 0:
            raise RequestError(f"every must be a number of seconds above 0; got {every!r}.")
        self.runs, self.catalogue, self.on_model = Path(runs), catalogue, on_model
        self._lock = threading.RLock()  # clicks, the watcher and jobs come on threads of their own
        self._lookers: list[Looker] = []
        self._looks: list[Look] = []
        self._known: dict[Path, str] = {}  # run -> its state when the folder was listed
        self._until_listed = 0
        self._acted = ""  # what went wrong with an action; stays until the next one
        self._curves: dict[str, Any] = {}
        self._jobs: dict[str, Job[Any]] = {}  # the last one of each kind
        self.visibility, self.timeline = Visibility(), Timeline()
        self.controls = RunControls(choices=forms.choices())
        self._plots = ipywidgets.Box([])
        self._box = ipywidgets.VBox([self.controls, self.timeline, self._plots])
        super().__init__("Training", [self.visibility, self._box])
        self.add_class("mg-monitor-panel")
        self._box.add_class("mg-monitor-box")
        self._plots.add_class("mg-monitor-plots")
        self._poller = watched(self.visibility, self.refresh, every, lambda: self._curves.values())
        self.controls.on_msg(self._message)
        self.timeline.observe(self._asked_picture, "asked")
        if run is not None:
            self.attach(run)

    # ------------------------------------------------------------ what it shows

    @property
    def run(self) -> Path | None:
        """The directory of the run that buttons act on."""
        return self._lookers[0].run if self._lookers else None

    @property
    def state(self) -> RunState:
        """Who trains that run now, and how far it is."""
        return run_state(self.run) if self.run is not None else RunState()

    @property
    def look(self) -> Look | None:
        """What that run's directory said when it was last looked at."""
        return self._looks[0] if self._looks else None

    def attach(self, run: Runs) -> None:
        """Show another run, or several; what it lacks is said in the error line."""
        names = [run] if isinstance(run, (str, Path)) else list(run)
        if not names:
            raise RequestError("attach needs a run directory, or several; got none.")
        with self._lock:
            kept = {looker.run: looker for looker in self._lookers}
            paths = list(dict.fromkeys(Path(name) for name in names))
            self._lookers = [kept.get(path) or Looker(path) for path in paths]
            self._acted = ""
            self.timeline.asked = -1.0
            self.status = f"Attached to {' and '.join(str(path) for path in paths)}."
            self.refresh()

    def refresh(self) -> None:
        """Take one look now, whether anybody can see the panel or not."""
        with self._lock:
            if self._closed:
                return
            if self._until_listed <= 0:
                self._known = {run: run_state(run).state for run in known_runs(self.runs)}
                self._until_listed = LISTED_EVERY
            self._until_listed -= 1
            if not self._lookers:
                self._find()
            before, self._looks = self._looks, [looker.look() for looker in self._lookers]
            self._tell_change(before)
            self._show()

    def _tell_change(self, before: Sequence[Look]) -> None:
        """Say it when the run has come to another state."""
        now = self._looks[0] if self._looks else None
        if now is None or not before or before[0].run != now.run:
            return
        if before[0].state.state != now.state.state:
            self.status = f"{now.run}: {now.state.state}."

    def _find(self) -> None:
        """Attach to the newest run there is, when nobody has named one."""
        found = first_run(self._known)
        if found is not None:
            self._lookers = [Looker(found)]
            self.status = f"Attached to {found}."
        elif not self.status:
            self.status = f"No run in {self.runs} yet: start a training."

    # ------------------------------------------------------------ what it asks

    def pause(self) -> None:
        """Ask for a pause: the training ends its step, writes a checkpoint and waits."""
        self._ask("pause", "will pause after its step, with a checkpoint")

    def go_on(self) -> None:
        """Ask a paused training to go on."""
        self._ask("go on", "goes on")

    def stop(self) -> None:
        """Ask for the end, with a checkpoint to resume from; twice does no harm."""
        run = self._one()
        if self.state.alive and read_command(run) == "stop":
            self._say(f"{run} is already stopping.")
        else:
            self._ask("stop", "will stop after its step, with a checkpoint")

    def resume(self) -> None:
        """Let a paused run go on, or train one that nobody trains in a process of its own.

        Raises
        ------
        RequestError
            When it is being trained, or finished.
        DataError
            When it is no run directory.
        """
        run, state = self._one(), self.state
        if state.state == "paused":
            return self.go_on()
        if state.state == "finished":
            raise RequestError(f"{run} is finished; start a new training from it instead.")
        pid = start_process(run)
        self._say(f"{run} is trained by process {pid}.")

    def start(
        self,
        run: str | Path,
        *,
        data: str | Path,
        preset: str = "residual",
        size: int = 64,
        kimg: float = 100.0,
        labels: str | None = None,
        group: str | None = None,
        start_from: str | Path | None = None,
    ) -> Job[Path]:
        """Check a new training, write its directory and train it in a process of its own.

        Returns at once; ``monitor.start(...).wait()`` waits until the process runs,
        or raises what is wrong. The arguments are those of `train`; ``run`` is a
        directory, or a name below ``runs``.
        """
        asked = forms.training_form(
            {"data": data, "preset": preset, "size": size, "kimg": kimg, "labels": labels,
             "group": group, "start_from": start_from}
        )  # fmt: skip
        place = Path(run)
        alone = place.name == str(run)
        folder = forms.run_folder(self.runs if alone else place.parent, place.name)
        said = f"Checking {folder}: its images are read."
        return self._do("start", said, lambda: forms.begin(folder, asked), self._started)

    def estimate(self, form: Mapping[str, Any]) -> Job[str]:
        """Measure what a training would take; its sentence is the job's one result."""
        asked = forms.training_form(form)
        said = "Measuring a few steps."
        return self._do("estimate", said, lambda: forms.estimate(asked), self._told)

    def make_model(
        self,
        model_id: str,
        *,
        title: str | None = None,
        modality: str | None = None,
        organ: str | None = None,
        region: str | None = None,
        licence: str | None = None,
        statement: Mapping[str, str] | None = None,
        models: str | Path | None = None,
    ) -> Job[ModelCard]:
        """Make a model of the run's averaged generator; returns at once, like `start`.

        ``statement`` says where the images come from: source, licence, approval,
        deidentification; the card prints UNKNOWN for what is left out.
        """
        run = self._one()
        given = {"model_id": model_id, "title": title, "modality": modality, "organ": organ,
                 "region": region, "licence": licence}  # fmt: skip
        stated = {f"statement_{name}": text for name, text in (statement or {}).items()}
        asked = forms.model_form({**given, **stated})
        where = models if models is not None else getattr(self.catalogue, "folder", None)
        said = f"Making {model_id} of {run}."
        return self._do("model", said, lambda: forms.make(run, asked, where), self._made)

    # ------------------------------------------------------------ how it does that

    def _one(self) -> Path:
        if self.run is None:
            raise RequestError("no run is attached; choose one, or start a training.")
        return self.run

    def _ask(self, command: Command, said: str) -> None:
        run, state = self._one(), self.state
        if not state.alive:
            raise RequestError(f"nobody trains {run} now ({state.state}), so it cannot be asked.")
        send_command(run, command)
        self._say(f"{run} {said}.")

    def _say(self, text: str) -> None:
        with self._lock:
            self._acted = ""
            self.status = text
            self._until_listed = 0
            self.refresh()

    def _do(
        self, kind: str, said: str, work: Callable[[], Any], done: Callable[[Any], None]
    ) -> Job[Any]:
        """Begin one of the long actions, unless one of its kind runs already."""

        def over(job: Job[Any]) -> None:
            with self._lock:
                if self._closed:
                    return
                if self.controls.busy == kind:
                    self.controls.busy = ""
                if job.state == "done":
                    with self.guard():
                        done(job.items[0])
                else:
                    self.status = ""
                    self._fail(job.error or JobCancelled("it was cancelled."))

        with self._lock:
            before = self._jobs.get(kind)
            if before is not None and not before.done:
                return before
            self._acted, self.error, self.status = "", "", said
            self.controls.busy = kind
            job = submit_background(lambda: [work()], name=kind, on_done=over)
            self._jobs[kind] = job
            return job

    def _started(self, folder: Path) -> None:
        self._until_listed = 0
        self.attach(folder)
        self.status = f"{folder} is trained by process {self.state.pid}."

    def _told(self, text: str) -> None:
        self.controls.estimate = text
        self.status = f"This training would take {text}."

    def _made(self, card: ModelCard) -> None:
        said = [f"{card.id} is among the models now; open Explore."]
        words = ((card.modality, MODALITIES), (card.organ, ORGANS))
        self.status = " ".join([*said, *filter(None, (known_as(*word)[1] for word in words))])
        self.controls.made = card.id
        if self.on_model is not None:
            self.on_model(card)

    def _message(self, _: object, content: Mapping[str, Any], __: object) -> None:
        """Hear the page, on whatever thread."""
        acts: dict[str, Callable[[], object]] = {
            "pause": self.pause, "go on": self.go_on, "stop": self.stop, "resume": self.resume,
            "refresh": self.refresh,
            "attach": lambda: self.attach(forms.runs_of(content)),
            "start": lambda: self._start_form(forms.form_of(content)),
            "estimate": lambda: self.estimate(forms.form_of(content)),
            "model": lambda: self._model_form(forms.form_of(content)),
        }  # fmt: skip
        act = acts.get(str(content.get("kind"))) if isinstance(content, Mapping) else None
        if act is None:
            log.warning("a message was not understood: %.200r", content)
            return
        with self.guard():
            act()

    def _start_form(self, form: Mapping[str, Any]) -> None:
        name = str(form.get("run", "")).strip()
        forms.run_folder(self.runs, name)  # a page names folders below `runs`, no others
        self.start(name, **forms.training_form(form))

    def _model_form(self, form: Mapping[str, Any]) -> None:
        given = forms.model_form(form)
        self.make_model(given.pop("model_id"), **given)

    def _fail(self, problem: BaseException) -> None:
        with self._lock:
            super()._fail(problem)
            self._acted = self.error
            self._complain()

    def _complain(self) -> None:
        problems = [self._acted, *(look.problem for look in self._looks), self.timeline.problem]
        self.error = " ".join(dict.fromkeys(filter(None, problems)))

    # ------------------------------------------------------------ what the page gets

    def _show(self) -> None:
        """Send what has changed; traits that are the same again send nothing."""
        self._show_curves()
        show_controls(self.controls, self._looks, self._known, self.runs)
        self.timeline.show(self.look)
        self._complain()

    def _show_curves(self) -> None:
        if not any(look.ticks for look in self._looks) and not self._curves:
            return
        from medgan_widgets.panels._plots import Curves, side_by_side  # bqplot is slow to load

        if not self._curves:
            self._curves = {
                name: Curves(p.title, log=p.log, zero=p.zero) for name, p in PLOTS.items()
            }
            self._plots.children = (side_by_side(self._curves),)
        for name, one in shown(self._looks).items():
            self._curves[name].show(one.lines, title=one.title, note=one.note)

    def _asked_picture(self, _: object) -> None:
        with self._lock:
            self.timeline.show(self.look)
            self._complain()

    def _facts(self) -> Mapping[str, object]:
        look = self.look or Look(Path())
        return {
            "run": str(self.run) if self.run is not None else None,
            "state": look.state.state,
            "kimg": round(look.kimg, 3),
            "pictures": len(look.pictures),
            "alarms": len(look.alarms),
        }

    def _picture(self) -> Image.Image | None:
        if not self._looks:
            self.refresh()
        return paper(self._looks, self.timeline.picture) if self._looks else None

    def _release(self) -> None:
        self._poller.close()
        for curves in self._curves.values():
            curves.close()
        for box in self._plots.children:
            box.layout.close()
            box.close()
        for widget in (self.controls, self._plots, self.timeline):
            widget.layout.close()
            widget.close()
