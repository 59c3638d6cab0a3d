"""The training monitor: curves, pictures and alarms of trainings, and the few things to ask them.

It only reads run directories, so it can watch any training, whoever started it.
What it asks of one goes by a file too; what it starts is a process of its own.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
from PIL import Image

from medgan_widgets.cards import MODALITIES, ORGANS, ModelCard
from medgan_widgets.errors import JobCancelled, RequestError
from medgan_widgets.jobs import Job, submit_background
from medgan_widgets.panels._curves import paper
from medgan_widgets.panels._panel import Panel
from medgan_widgets.panels._plots import Plots
from medgan_widgets.panels._polling import Polling, Visibility
from medgan_widgets.panels._run_charts import run_charts
from medgan_widgets.panels._run_forms import (
    MODEL,
    TRAINING,
    new_run,
    runs_named,
    training_arguments,
    written,
)
from medgan_widgets.panels._run_page import NEWEST, RunControls
from medgan_widgets.panels._run_snapshot import RunReader, RunSnapshot, known_runs
from medgan_widgets.runs import (
    Command,
    RunState,
    read_command,
    run_state,
    send_command,
    start_process,
)
from medgan_widgets.vocabulary import known_as

Runs = str | Path | Sequence[str | Path]
LISTED_EVERY = 5  # refreshes between two searches for further runs


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
        Seconds between two refreshes, while the panel can be seen.
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
        self._lock = threading.RLock()  # clicks, polling and jobs come on threads of their own
        self._readers: list[RunReader] = []
        self._states: dict[Path, str] = {}  # of the runs in the folder, when it was listed
        self._until_listed = 0
        self._action_error = ""  # stays until the next action
        self._jobs: dict[str, Job[Any]] = {}  # the last one of each kind
        self.snapshots: list[RunSnapshot] = []
        self.visibility, self.controls, self.plots = Visibility(), RunControls(), Plots()
        self._box = ipywidgets.VBox([self.controls, self.plots])
        super().__init__("Training", [self.visibility, self._box])
        self.add_class("mg-monitor-panel")
        self._box.add_class("mg-monitor-box")
        self._polling = Polling(self.visibility, self.refresh, every)
        self.listen(self.controls, self._acts())
        self.controls.observe(self._show_controls, "asked")
        if run is not None:
            self.attach(run)

    # ------------------------------------------------------------ what it shows

    @property
    def run(self) -> Path | None:
        """The directory of the run that buttons act on."""
        return self._readers[0].run if self._readers else None

    @property
    def state(self) -> RunState:
        """Who trains that run now, and how far it is."""
        return run_state(self.run) if self.run is not None else RunState()

    def attach(self, run: Runs) -> None:
        """Show another run, or several; what it lacks is said in the error line."""
        names = [run] if isinstance(run, (str, Path)) else list(run)
        if not names:
            raise RequestError("attach needs a run directory, or several; got none.")
        with self._lock:
            kept = {reader.run: reader for reader in self._readers}
            paths = list(dict.fromkeys(Path(name) for name in names))
            self._readers = [kept.get(path) or RunReader(path) for path in paths]
            self._action_error = ""
            self.controls.asked = NEWEST
            self.status = f"Attached to {' and '.join(str(path) for path in paths)}."
            self.refresh()

    def refresh(self) -> None:
        """Read the runs once now, whether anybody can see the panel or not."""
        with self._lock:
            if self._closed:
                return
            if self._until_listed <= 0:
                self._states = {run: run_state(run).state for run in known_runs(self.runs)}
                self._until_listed = LISTED_EVERY
            self._until_listed -= 1
            if not self._readers:
                self._attach_newest()
            before, self.snapshots = self.snapshots, [one.read() for one in self._readers]
            for old, new in zip(before[:1], self.snapshots, strict=False):
                if old.run == new.run and old.state.state != new.state.state:
                    self.status = f"{new.run}: {new.state.state}."
            self._show()

    def _attach_newest(self) -> None:
        """Attach to the newest run that is trained, else the newest, when nobody has named one."""
        newest = next((run for run in self._states if run_state(run).alive), None)
        newest = newest or next(iter(self._states), None)
        if newest is not None:
            self._readers = [RunReader(newest)]
            self.status = f"Attached to {newest}."
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
        run = self._attached()
        if self.state.alive and read_command(run) == "stop":
            self._note(f"{run} is already stopping.")
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
        run, state = self._attached(), self.state
        if state.state == "paused":
            return self.go_on()
        if state.state == "finished":
            raise RequestError(f"{run} is finished; start a new training from it instead.")
        pid = start_process(run)
        self._note(f"{run} is trained by process {pid}.")

    def start(
        self, run: str | Path, *, data: Any, size: int = 64, kimg: float = 100.0, **settings: Any
    ) -> Job[Path]:
        """Check a new training, write its directory and train it in a process of its own.

        Returns at once; ``monitor.start(...).wait()`` waits until the process runs,
        or raises what is wrong. The arguments are those of `train`; ``run`` is a
        directory, or a name below ``runs``.
        """
        name = Path(run).name
        folder = new_run(self.runs if name == str(run) else Path(run).parent, name)

        def work() -> Path:
            from medgan_widgets.training import prepare_run  # torch is slow to load

            prepare_run(folder, data=data, size=size, kimg=kimg, **settings)
            start_process(folder)
            return folder

        def done(folder: Path) -> None:
            self._until_listed = 0
            self.attach(folder)
            self.status = f"{folder} is trained by process {self.state.pid}."

        return self._submit("start", f"Checking {folder}: its images are read.", work, done)

    def estimate(self, form: Mapping[str, Any]) -> Job[str]:
        """Measure what a training would take; its sentence is the job's one result."""
        arguments = training_arguments(form)
        arguments.pop("start_from", None)

        def work() -> str:
            from medgan_widgets.training import estimate_training

            return str(estimate_training(**arguments).text)

        def done(text: str) -> None:
            self.controls.estimate = text
            self.status = f"This training would take {text}."

        return self._submit("estimate", "Measuring a few steps.", work, done)

    def make_model(
        self, model_id: str, *, models: str | Path | None = None, **about: Any
    ) -> Job[ModelCard]:
        """Make a model of the run's averaged generator; returns at once, like `start`.

        The arguments are those of `make_model`: title, modality, organ, region,
        licence, and a statement of where the images come from.
        """
        run = self._attached()
        folder = models or getattr(self.catalogue, "folder", None) or "models"

        def work() -> ModelCard:
            from medgan_widgets.exporting import make_model  # torch is slow to load

            return make_model(run, model_id, models=folder, **about)

        return self._submit("model", f"Making {model_id} of {run}.", work, self._add_model)

    # ------------------------------------------------------------ how it does that

    def _attached(self) -> Path:
        if self.run is None:
            raise RequestError("no run is attached; choose one, or start a training.")
        return self.run

    def _ask(self, command: Command, effect: str) -> None:
        run, state = self._attached(), self.state
        if not state.alive:
            raise RequestError(f"nobody trains {run} now ({state.state}), so it cannot be asked.")
        send_command(run, command)
        self._note(f"{run} {effect}.")

    def _note(self, text: str) -> None:
        with self._lock:
            self._action_error = ""
            self.status = text
            self._until_listed = 0
            self.refresh()

    def _submit(
        self, kind: str, note: str, work: Callable[[], Any], done: Callable[[Any], None]
    ) -> Job[Any]:
        """Begin one of the long actions, unless one of its kind runs already."""

        def on_done(job: Job[Any]) -> None:
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
            self._action_error, self.error, self.status = "", "", note
            self.controls.busy = kind
            job = submit_background(lambda: [work()], name=kind, on_done=on_done)
            self._jobs[kind] = job
            return job

    def _add_model(self, card: ModelCard) -> None:
        remarks = [known_as(card.modality, MODALITIES)[1], known_as(card.organ, ORGANS)[1]]
        text = f"{card.id} is among the models now; open Explore."
        self.status = " ".join([text, *filter(None, remarks)])
        self.controls.made = card.id
        if self.on_model is not None:
            self.on_model(card)

    def _acts(self) -> dict[str, Callable[[dict[str, Any]], None]]:
        """Return what the page may ask for; it does so on whatever thread."""
        return {
            "pause": lambda _: self.pause(),
            "go on": lambda _: self.go_on(),
            "stop": lambda _: self.stop(),
            "resume": lambda _: self.resume(),
            "refresh": lambda _: self.refresh(),
            "attach": lambda message: self.attach(runs_named(message)),
            "start": lambda message: self._start_written(written(message, TRAINING)),
            "estimate": lambda message: self._estimate_written(written(message, TRAINING)),
            "model": lambda message: self._make_written(written(message, MODEL)),
        }

    def _start_written(self, form: Mapping[str, Any]) -> None:
        name = form.get("run", "")
        new_run(self.runs, name)  # a page names folders below `runs`, no others
        self.start(name, **training_arguments(form))

    def _estimate_written(self, form: Mapping[str, Any]) -> None:
        self.estimate(form)

    def _make_written(self, form: dict[str, str]) -> None:
        about = {"source", "statement_licence", "approval", "deidentification"} & set(form)
        statement = {name.removeprefix("statement_"): form.pop(name) for name in about}
        self.make_model(form.pop("model_id", ""), statement=statement, **form)

    def _fail(self, problem: BaseException) -> None:
        with self._lock:
            super()._fail(problem)
            self._action_error = self.error
            self._show_problems()

    def _show_problems(self) -> None:
        problems = [self._action_error, *(run.problem for run in self.snapshots)]
        self.error = " ".join(dict.fromkeys(filter(None, [*problems, self.controls.problem])))

    # ------------------------------------------------------------ what the page gets

    def _show(self) -> None:
        """Send what has changed; traits that are the same again send nothing."""
        if not self._polling.asleep and (self.plots.charts or any(r.ticks for r in self.snapshots)):
            self.plots.show(run_charts(self.snapshots))
        self._show_controls()

    @property
    def look(self) -> RunSnapshot:
        """The first run as it was last read; ``snapshots`` has all of them."""
        return self.snapshots[0] if self.snapshots else RunSnapshot(Path())

    def _show_controls(self, _: object = None) -> None:
        with self._lock:
            self.controls.show(self.snapshots, self._states, self.runs)
            self._show_problems()

    def _facts(self) -> Mapping[str, object]:
        run = self.look
        return {
            "run": str(self.run) if self.run is not None else None,
            "state": run.state.state,
            "kimg": round(run.kimg, 3),
            "pictures": len(run.pictures),
            "alarms": len(run.alarms),
        }

    def _picture(self) -> Image.Image | None:
        """Return losses and score beside each other, the newest picture below."""
        if not self.snapshots:
            self.refresh()
        if not self.snapshots:
            return None
        charts = run_charts(self.snapshots)
        page = paper([charts["losses"], charts["score"]])
        if not self.controls.picture:
            return page
        with Image.open(io.BytesIO(self.controls.picture)) as opened:
            newest = opened.convert("RGB")
        newest.thumbnail((page.width, 4 * page.width))
        whole = Image.new("RGB", (page.width, page.height + newest.height), "white")
        whole.paste(page, (0, 0))
        whole.paste(newest, (0, page.height))
        return whole

    def _release(self) -> None:
        self._polling.close()
        for widget in (self.controls, self.plots):
            widget.close()
        self._box.close()
