"""A study: one search for one task revision, kept in Optuna's storage and nowhere else.

Every method may be called again after a crash: asking with the same key gives the same trial
back, telling twice keeps the first result.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from optuna.exceptions import (
    DuplicatedStudyError,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from inference_autotuner.optimizer.canonical import study_name
from inference_autotuner.optimizer.errors import (
    Reason,
    StorageUnavailableError,
    StudyError,
    StudyMismatchError,
)
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.objective import objective_values, violations
from inference_autotuner.optimizer.sampler import directions, propose, to_optuna
from inference_autotuner.optimizer.space import build_space
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import (
    Failed,
    Infeasible,
    Measured,
    Params,
    Trial,
    TrialKind,
    TrialResult,
    TrialState,
)

_STATES = {
    OptunaState.COMPLETE: TrialState.MEASURED,
    OptunaState.PRUNED: TrialState.INFEASIBLE,
    OptunaState.FAIL: TrialState.FAILED,
    OptunaState.RUNNING: TrialState.RUNNING,
    OptunaState.WAITING: TrialState.RUNNING,
}
LOG_TAIL_LIMIT = 4096


_PAUSE_S = 2.0
Given = ParamSpec("Given")
Got = TypeVar("Got")


def _persistent(call: Callable[[], Got], patience_s: float) -> Got:
    """Calls again while the storage does not answer, for so many seconds."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return call()
        except StorageUnavailableError:
            if time.monotonic() + _PAUSE_S > deadline:
                raise
            time.sleep(_PAUSE_S)


def _patient(
    method: Callable[Concatenate["Study", Given], Got],
) -> Callable[Concatenate["Study", Given], Got]:
    """Waits for a storage that does not answer, as long as the study has patience."""

    @wraps(method)
    def call(study: "Study", /, *args: Given.args, **kwargs: Given.kwargs) -> Got:
        return _persistent(lambda: method(study, *args, **kwargs), study.patience_s)

    return call


class Study:
    """One search in the storage. Threads of one process may share it.

    Attributes:
        patience_s: How long a call waits for a storage that does not answer. A step on a cluster
            sets it: what it has measured cost GPU-hours, and must not be lost to a restart.
    """

    patience_s = 0.0

    def __init__(self, storage: BaseStorage, study_id: int, name: str, task: TuningTask) -> None:
        self._storage = storage
        self._id = study_id
        self.name = name
        self.task = task
        self.space = build_space(task.spec)
        self._lock = threading.RLock()

    @_patient
    def trials(self) -> list[Trial]:
        """Every trial so far, by number."""
        return [parse_trial(trial) for trial in self._frozen()]

    def _frozen(self) -> list[FrozenTrial]:
        with translated_errors():
            return self._storage.get_all_trials(self._id, deepcopy=False)

    def trial(self, number: int) -> Trial:
        """One trial.

        Raises:
            StudyError: There is no such trial.
        """
        trials = self.trials()
        if not 0 <= number < len(trials):
            raise StudyError(f"{self.name} has no trial {number}; it has {len(trials)}")
        return trials[number]

    @_patient
    def find(self, key: str) -> Trial | None:
        """The trial that was asked for with `key`."""
        # Only this one is parsed: the measurements of a thousand trials take a second and more.
        return next((parse_trial(t) for t in self._frozen() if _key(t) == key), None)

    def propose(self, trials: Sequence[Trial]) -> Params | None:
        """Params to explore next, or None when every combination was tried."""
        return propose(self.space, trials)

    @_patient
    def begin(self, key: str, kind: TrialKind, params: Params, *, now_s: float) -> Trial:
        """The trial of `key`: made on the first call, the same one on every later call."""
        with self._lock, translated_errors():
            if known := self.find(key):
                return known
            asked = {
                "key": key,
                "kind": str(kind),
                "params": dict(params),
                "gpus": self.space.gpus(params),
                "started_s": now_s,
            }
            # One record holds key, params and state: no moment at which a kill leaves a
            # trial without them.
            trial_id = self._storage.create_new_trial(
                self._id, template_trial=self._template(params, asked)
            )
            return parse_trial(self._storage.get_trial(trial_id))

    def _template(self, params: Params, asked: Mapping[str, Any]) -> FrozenTrial:
        values, distributions = to_optuna(self.space, params) or ({}, {})
        return create_trial(
            state=OptunaState.RUNNING,
            params=values,
            distributions=distributions,
            user_attrs={"asked": asked},
        )

    @_patient
    def note(self, /, number: int, **progress: Any) -> None:
        """Adds to what is known of a running trial: `attempt`, `spans`, `engine_args`, ….

        After the trial was told nothing is written: the first result stays as it is.
        """
        with self._lock, translated_errors():
            trial_id = self._trial_id(number)
            frozen = self._storage.get_trial(trial_id)
            if not frozen.state.is_finished():
                merged = {**frozen.user_attrs.get("progress", {}), **progress}
                self._storage.set_trial_user_attr(trial_id, "progress", merged)

    @_patient
    def noted(self, number: int) -> Mapping[str, Any]:
        """What `note` kept of a trial."""
        with translated_errors():
            trial_id = self._trial_id(number)
            noted: Mapping[str, Any] = self._storage.get_trial_user_attrs(trial_id).get(
                "progress", {}
            )
            return noted

    @_patient
    def tell(self, number: int, result: TrialResult, *, now_s: float) -> Trial:
        """Records a result once; the first one wins. Returns the trial as it is stored."""
        with self._lock, translated_errors():
            trial_id = self._trial_id(number)
            with suppress(UpdateFinishedTrialError):  # somebody else told it in between, and first
                if not self._storage.get_trial(trial_id).state.is_finished():
                    self._write(trial_id, result, now_s)
            return parse_trial(self._storage.get_trial(trial_id))

    def _write(self, trial_id: int, result: TrialResult, now_s: float) -> None:
        """Everything about a result, and its state last: a kill in between leaves it RUNNING."""
        told: dict[str, Any] = {"ended_s": now_s}
        values: tuple[float, ...] | None = None
        match result:
            case Measured(measurement=measurement):
                told["measurement"] = measurement.to_json()
                told["violations"] = violations(self.task.spec, measurement)
                values = objective_values(self.task.spec, measurement)
                state = OptunaState.COMPLETE
            case Infeasible(reason=reason):
                # Samplers forget FAILed trials and would crash at the same place again.
                state = OptunaState.PRUNED
                self._constrain(trial_id, str(reason), 1.0)
            case Failed():
                state = OptunaState.FAIL
        if not isinstance(result, Measured):
            told |= {"reason": str(result.reason), "message": result.message}
            told["log_tail"] = result.log_tail[-LOG_TAIL_LIMIT:]
        for name, violation in told.get("violations", {}).items():
            self._constrain(trial_id, name, violation)
        self._storage.set_trial_user_attr(trial_id, "told", told)
        self._storage.set_trial_state_values(trial_id, state, values)

    def _constrain(self, trial_id: int, name: str, value: float) -> None:
        """As Optuna's `set_constraint`, but the last value wins.

        A kill may come before the state is written, and the trial is then measured again.
        """
        self._storage.set_trial_system_attr(trial_id, f"constraints:{name}", value)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    @_patient
    def set_attribute(self, name: str, value: Any) -> None:
        """Keeps something about the whole study: `phase`, `verdict`, `facts`."""
        with self._lock, translated_errors():
            self._storage.set_study_user_attr(self._id, name, value)

    @_patient
    def attribute(self, name: str) -> Any:
        """What `set_attribute` kept, or None."""
        with translated_errors():
            return self._storage.get_study_user_attrs(self._id).get(name)


def open_study(storage: BaseStorage, task: TuningTask, *, base: str, now_s: float) -> Study:
    """The study of a task: made on the first call, the same one on every later call.

    Args:
        storage: Where it is kept.
        task: A task without mistakes.
        base: Folder at which the task's relative paths start.
        now_s: Unix time.

    Raises:
        StudyMismatchError: The stored study was made from another task.
    """
    name = study_name(task)
    with translated_errors():
        try:
            study_id = storage.create_new_study(directions(build_space(task.spec)), name)
        except DuplicatedStudyError:
            study_id = storage.get_study_id_from_name(name)
        attributes = storage.get_study_user_attrs(study_id)
        if "task" not in attributes:
            created = {"base": base, "created_s": now_s, "phase": "running"}
            for key, value in created.items():
                storage.set_study_user_attr(study_id, key, value)
            storage.set_study_user_attr(study_id, "task", task.model_dump(mode="json"))
            attributes = storage.get_study_user_attrs(study_id)
    stored = TuningTask.model_validate(attributes["task"])
    if study_name(stored) != name:
        raise StudyMismatchError(
            f"{name} was made from another task than this one; give the task another name"
        )
    return Study(storage, study_id, name, task)


def load_study(storage: BaseStorage, name: str, *, patience_s: float = 0.0) -> Study:
    """A study by its name, or by the beginning of its name when only one begins like that.

    Args:
        storage: Where it is kept.
        name: Its name, or the beginning of it.
        patience_s: How long this call, and every later one of the study, waits for a storage that
            does not answer.

    Raises:
        StudyError: There is none, or several, or it cannot be read.
    """
    study = _persistent(lambda: _load(storage, name), patience_s)
    study.patience_s = patience_s
    return study


def _load(storage: BaseStorage, name: str) -> Study:
    found = [n for n in study_names(storage) if n == name]
    found = found or [n for n in study_names(storage) if n.startswith(name)]
    if len(found) != 1:
        known = ", ".join(found or study_names(storage)[-5:]) or "none yet"
        problem = "several studies begin like that" if found else "there is no such study"
        raise StudyError(f"{name}: {problem}; studies: {known}")
    with translated_errors():
        study_id = storage.get_study_id_from_name(found[0])
        stored = storage.get_study_user_attrs(study_id).get("task")
    if stored is None:
        raise StudyError(f"{found[0]} was not made by inference-autotuner, or is just being made")
    try:
        task = TuningTask.model_validate(stored)
    except ValueError as error:
        raise StudyError(
            f"{found[0]} was made by another version of inference-autotuner, and this one cannot "
            f"read its task: {error}"
        ) from error
    return Study(storage, study_id, found[0], task)


def study_names(storage: BaseStorage) -> list[str]:
    """Every study in the storage, oldest first."""
    with translated_errors():
        return [study.study_name for study in storage.get_all_studies()]


def _key(frozen: FrozenTrial) -> str | None:
    key: str | None = frozen.user_attrs.get("asked", {}).get("key")
    return key


def parse_trial(frozen: FrozenTrial) -> Trial:
    """A trial as a value of ours."""
    asked = frozen.user_attrs.get("asked", {})
    progress = frozen.user_attrs.get("progress", {})
    told = frozen.user_attrs.get("told", {}) if frozen.state.is_finished() else {}
    measurement = told.get("measurement")
    return Trial(
        number=frozen.number,
        kind=TrialKind(asked.get("kind", TrialKind.EXPLORE)),
        params=asked.get("params", {}),
        state=_STATES[frozen.state],
        key=asked.get("key", ""),
        values=tuple(frozen.values or ()),
        violations=told.get("violations", {}),
        measurement=Measurement.from_json(measurement) if measurement else None,
        reason=Reason(told["reason"]) if "reason" in told else None,
        message=told.get("message", ""),
        attempt=progress.get("attempt", 1),
        spans=progress.get("spans", {}),
        gpus=asked.get("gpus", 0),
        started_s=asked.get("started_s", 0.0),
        held_since_s=progress.get("held_since_s"),
        ended_s=told.get("ended_s"),
        engine_args=tuple(progress.get("engine_args", ())),
        resolved=progress.get("resolved", {}),
        log_tail=told.get("log_tail") or progress.get("log_tail", ""),
    )


@contextmanager
def translated_errors() -> Iterator[None]:
    """Optuna's and the file system's errors in our words.

    A storage service and a database have told theirs in our words already.
    """
    try:
        yield
    except OSError as error:
        raise StorageUnavailableError(
            f"the storage cannot be written: {error.strerror or error}. Nothing that was told is "
            "lost; mend it and run the same command again."
        ) from error
    except StorageInternalError as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise StorageUnavailableError(
            f"the database does not answer: {reason}. Nothing that was told is lost; run the same "
            "command again."
        ) from error
