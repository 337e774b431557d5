"""What `autotuner run` shows while it runs: a row a trial, and below them where it is now."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from inference_autotuner.optimizer.forecast import remaining_trials, seconds_left
from inference_autotuner.optimizer.listing import (
    best_trial,
    latency_heading,
    objective_heading,
    trial_row,
)
from inference_autotuner.optimizer.study import Study
from inference_autotuner.optimizer.trial import Trial, describe_params
from inference_autotuner.optimizer.units import spoken_duration
from inference_autotuner.workflows.events import (
    Event,
    Line,
    Notice,
    PointMeasured,
    StepBegan,
    StudyEnded,
    TrialBegan,
    TrialEnded,
)

_PARAMS_WIDTH = 44
_BAR_WIDTH = 30


@dataclass
class _Activity:
    """What one running trial is doing."""

    trial: Trial
    step: str = "start"
    points: str = ""
    since_s: float = field(default_factory=time.monotonic)


class Progress:
    """Listens to a run. On a terminal the last lines live; elsewhere there are plain lines."""

    def __init__(self, study: Study, console: Console, *, is_verbose: bool) -> None:
        self._study = study
        self._console = console
        self._is_verbose = is_verbose
        self._activities: dict[int, _Activity] = {}
        self._lock = threading.Lock()
        self._began_s = time.monotonic()
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=2,
            transient=True,
            auto_refresh=console.is_terminal,
        )

    def __enter__(self) -> Callable[[Event], None]:
        """Prints what is there already, and begins to listen."""
        for line in header_lines(self._study):
            self._print(line, style="bold")
        for trial in self._study.trials():
            if trial.ended_s is not None:
                self._print_trial(trial)
        if self._console.is_terminal:
            self._live.start()
        return self.hear

    def __exit__(self, *_: object) -> None:
        """Takes the live lines away."""
        if self._console.is_terminal:
            self._live.stop()

    def hear(self, event: Event) -> None:
        """Shows one event; may be called from any thread."""
        with self._lock:
            self._hear(event)

    def _hear(self, event: Event) -> None:
        match event:
            case TrialBegan(trial=trial):
                self._activities[trial.number] = _Activity(trial)
            case StepBegan(trial=trial, step=step):
                self._enter_step(trial, step)
            case PointMeasured(trial=trial, done=done, total=total):
                if activity := self._activities.get(trial.number):
                    activity.points = f" {done}/{total} points"
            case TrialEnded(trial=trial):
                self._activities.pop(trial.number, None)
                self._print_trial(trial)
            case Line(trial=trial, source=source, text=text):
                if self._is_verbose:
                    self._print(f"{trial.name} {source}: {text}", style="dim")
            case Notice(text=text):
                self._print(text, style="yellow")
            case StudyEnded(finished=finished):
                self._activities.clear()
                self._print(f"{finished.reason}: {finished.sentence}.", style="dim")

    def _enter_step(self, trial: Trial, step: str) -> None:
        activity = self._activities.setdefault(trial.number, _Activity(trial))
        activity.step, activity.since_s, activity.points = step, time.monotonic(), ""
        if not self._console.is_terminal:
            params = describe_params(trial.params, self._study.space.baseline)
            self._print(f"{trial.name} {trial.kind} {step}: {params}")

    def _print_trial(self, trial: Trial) -> None:
        best = best_trial(self._study.task.spec, self._study.trials())
        is_best = best is not None and best.number == trial.number and trial.number > 0
        self._print(trial_line(self._study, trial) + ("   ← best so far" if is_best else ""))

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _render(self) -> Table:
        lines = Table.grid()
        for activity in list(self._activities.values()):
            lines.add_row(Text(self._activity_line(activity), style="cyan"))
        lines.add_row(self._bar())
        return lines

    def _activity_line(self, activity: _Activity) -> str:
        params = describe_params(activity.trial.params, self._study.space.baseline)
        spent = spoken_duration(time.monotonic() - activity.since_s)
        kind = f"{activity.trial.kind} " if activity.trial.number else ""
        return (
            f" {activity.trial.number:<3}{kind}{params}: {activity.step}{activity.points}, {spent}"
        )

    def _bar(self) -> Table:
        trials = self._study.trials()
        ended = sum(trial.ended_s is not None for trial in trials)
        left = remaining_trials(self._study.task.spec, trials)
        parts = [
            f"{ended}/{ended + left} trials",
            spoken_duration(time.monotonic() - self._began_s),
        ]
        if (seconds := seconds_left(self._study.task.spec, trials)) is not None:
            parts.append(f"about {spoken_duration(seconds)} left")
        row = Table.grid(padding=(0, 1))
        row.add_row(
            ProgressBar(total=max(1, ended + left), completed=ended, width=_BAR_WIDTH),
            Text(" · ".join(parts)),
        )
        return row


def header_lines(study: Study) -> list[str]:
    """The study in one line, and the headings above its trials."""
    spec = study.task.spec
    where = f"{study.space.engine.title} · {spec.deployment.mode}"
    headings = f"{objective_heading(spec):>14}  {latency_heading(spec):>12}"
    return [
        f"Study {study.name} · {where} · {study.space.size} params combinations, up to "
        f"{spec.budget.trials} trials and the proof",
        f" #   {'params vs baseline':<{_PARAMS_WIDTH}}  {headings}  {'slo':<6} state",
    ]


def trial_line(study: Study, trial: Trial) -> str:
    """One trial as a line of the listing."""
    row = trial_row(study.task.spec, trial, study.space.baseline)
    kind = "" if row.kind in ("baseline", "explore") else f" ({row.kind})"
    why = f"  {row.why}" if row.why else ""
    return (
        f" {row.number:<3} {row.params:<{_PARAMS_WIDTH}}  {row.objective:>14}  {row.latency:>12}  "
        f"{row.slo:<6} {row.state}{kind}{why}"
    )
