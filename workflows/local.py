"""The executor for one machine: threads that run the steps of trials until nothing is left."""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from inference_autotuner.optimizer.benchmarks.genai_bench import workload_mistakes
from inference_autotuner.optimizer.errors import Reason, TaskError
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.plan import Finished, Wait
from inference_autotuner.optimizer.study import Study
from inference_autotuner.optimizer.trial import Failed, Trial, TrialState
from inference_autotuner.workflows import steps
from inference_autotuner.workflows.benchmark import measure
from inference_autotuner.workflows.deployer import Deployer
from inference_autotuner.workflows.events import Listener, Notice, StudyEnded
from inference_autotuner.workflows.facts import machine_facts
from inference_autotuner.workflows.load_generator import find_program
from inference_autotuner.workflows.run_lock import run_lock
from inference_autotuner.workflows.tokenizers import tokenizer_of

_POLL_S = 1.0


@dataclass
class Stop:
    """How a person ends a run: once for "no new trials", twice for "now"."""

    _asked: threading.Event = field(default_factory=threading.Event)
    _now: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """Finish what runs; the second call ends it."""
        if self._asked.is_set():
            self._now.set()
        self._asked.set()

    def at_once(self) -> None:
        """End what runs, and clean up."""
        self._asked.set()
        self._now.set()

    @property
    def is_asked(self) -> bool:
        """Whether no new trial is to begin."""
        return self._asked.is_set()

    @property
    def is_now(self) -> bool:
        """Whether running trials are to end."""
        return self._now.is_set()


def run_study(
    study: Study,
    deployer: Deployer,
    listener: Listener,
    stop: Stop,
    *,
    measure: Callable[..., Measurement] = measure,
) -> Finished:
    """Runs a study to its end, or until it is stopped; goes on where an earlier run stopped.

    Raises:
        StudyBusyError: Another process runs it.
        StudyError: It cannot go on.
    """
    with run_lock(study.name):
        check_tools(study)
        steps.note_begin(study)
        study.set_attribute("facts", machine_facts())
        for leftover in deployer.sweep(study.name):
            listener(Notice(f"removed a leftover of an earlier run: {leftover}"))
        finished = _Run(study, deployer, listener, stop, measure).run()
        steps.note_end(study, finished)
        listener(StudyEnded(finished))
        return finished


def check_tools(study: Study) -> None:
    """What every trial needs, asked for before a server is started.

    Raises:
        StudyError: genai-bench is not installed.
        TaskError: It cannot run this workload, or no tokenizer can be made for the model.
    """
    if mistakes := workload_mistakes(study.task.spec.workload):
        raise TaskError(mistakes)
    find_program()
    tokenizer_of(study.task.spec, base=study.attribute("base"))


class _Run:
    """The threads of one run and what they share."""

    def __init__(
        self,
        study: Study,
        deployer: Deployer,
        listener: Listener,
        stop: Stop,
        measure: Callable[..., Measurement],
    ) -> None:
        self._study = study
        self._stop = stop
        self._changed = threading.Condition()
        self._broken = threading.Event()
        self._site = steps.Site(
            study,
            deployer,
            listener,
            is_cancelled=lambda: self._is_cancelled,
            measure=measure,
        )
        self._left_over = [t for t in study.trials() if t.state is TrialState.RUNNING]

    @property
    def _is_cancelled(self) -> bool:
        return self._stop.is_now or self._broken.is_set()

    @property
    def _is_stopping(self) -> bool:
        return (
            self._stop.is_asked
            or self._broken.is_set()
            or bool(self._study.attribute("stop_requested"))
        )

    def run(self) -> Finished:
        """Every worker works until the study is finished; the first error ends them all."""
        with ThreadPoolExecutor(self._study.task.spec.budget.parallel, "trial") as pool:
            workers = [
                pool.submit(self._work) for _ in range(self._study.task.spec.budget.parallel)
            ]
            done, _ = wait(workers, return_when=FIRST_EXCEPTION)
            if any(worker.exception() for worker in done):
                self._broken.set()
        return [worker.result() for worker in workers][0]

    def _work(self) -> Finished:
        while True:
            asked = self._ask()
            if isinstance(asked, Finished):
                return asked
            if isinstance(asked, Trial):
                steps.run_trial(self._site, asked)
            with self._changed:
                if isinstance(asked, Wait):
                    self._changed.wait(_POLL_S)
                else:
                    self._changed.notify_all()

    def _ask(self) -> Trial | Wait | Finished:
        """One thread at a time: two that ask together would get the same proposal."""
        with self._changed:
            while self._left_over and not self._is_stopping:
                if taken_up := self._take_up(self._left_over.pop(0)):
                    return taken_up
            key = f"local-{len(self._study.trials())}"
            return steps.ask(
                self._study, key, now_s=self._site.now_s(), is_stopping=self._is_stopping
            )

    def _take_up(self, trial: Trial) -> Trial | None:
        """A trial that a killed run left; None when it is likely what kills the tuner."""
        if trial.attempt >= steps.MOST_ATTEMPTS:
            message = f"the tuner was killed {trial.attempt} times while this trial ran"
            steps.tell(self._site, trial, Failed(Reason.INTERRUPTED, message))
            return None
        # The server of a killed tuner has ended with it: nothing was held since.
        self._study.note(trial.number, attempt=trial.attempt + 1, held_since_s=None)
        return self._study.trial(trial.number)
