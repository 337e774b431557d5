"""The deployer for this machine: an engine is a process with its own session.

Order of the world: a warden watches, a lease is written, the process starts with its mark, the
lease is completed. Whatever is killed in between, a sweep finds the rest by lease or by mark.
"""

import errno
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from inference_autotuner.optimizer.engine import Launch
from inference_autotuner.optimizer.errors import Blame, DeployError, Failure, Reason
from inference_autotuner.workflows.deployer import Order, Server
from inference_autotuner.workflows.engine_log import read_tail, read_text
from inference_autotuner.workflows.engine_process import EngineProcess, log_path
from inference_autotuner.workflows.gpus import machine_gpus
from inference_autotuner.workflows.http_exchange import HOST, Answer, Exchange
from inference_autotuner.workflows.launching import Plan, launch_of, plan_launch
from inference_autotuner.workflows.leases import read_leases, remove_lease
from inference_autotuner.workflows.processes import this_process
from inference_autotuner.workflows.readiness import Listener, Outcome, Target, Wait
from inference_autotuner.workflows.sweep import sweep
from inference_autotuner.workflows.world import is_full, world_may_break

_CONFIG_S = 10.0
_NO_PROGRAM = {errno.ENOENT, errno.ENOEXEC, errno.EACCES, errno.ENOTDIR, errno.EISDIR}


class ProcessDeployer:
    """Runs engines on this machine. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, str], EngineProcess] = {}
        self._exit_codes: dict[tuple[str, str], int | None] = {}

    def deploy(
        self,
        order: Order,
        *,
        on_line: Callable[[str], None],
        on_room: Callable[[], None],
        is_cancelled: Callable[[], bool],
    ) -> Server | Failure:
        """Starts the server and waits until it serves a completion with this configuration.

        `on_line` hears the engine's log until the server is released, in a thread of its own;
        `on_room` is called as soon as the machine's GPUs were given to it.

        Raises:
            DeployError: The world broke, or the wait was cancelled (Reason.INTERRUPTED).
            StudyError: What was started cannot be ended.
        """
        self.release(order.study, order.trial)
        plan = plan_launch(order)
        if isinstance(plan, Failure):
            return plan
        engine = self._engines[order.study, order.trial] = EngineProcess(order.study, order.trial)
        outcome: Server | Failure | None = None
        try:
            with world_may_break():
                outcome = _bring_up(order, plan, engine, on_line, on_room, is_cancelled)
            return outcome
        finally:
            if not isinstance(outcome, Server):
                self.release(order.study, order.trial)

    def is_alive(self, order: Order) -> bool:
        """Whether the server still runs; cheap, asked every second."""
        engine = self._engines.get((order.study, order.trial))
        return engine is not None and engine.was_started and engine.exit_code is None

    def failure(self, order: Order) -> Failure:
        """What became of a server that died under load, from its log and exit code."""
        key = (order.study, order.trial)
        engine = self._engines.get(key)
        code = engine.exit_code if engine else self._exit_codes.get(key)
        found = _diagnose(order, code)
        if found.reason is Reason.CRASHED:
            return replace(found, reason=Reason.CRASHED_UNDER_LOAD)
        return found

    def log_tail(self, order: Order) -> str:
        """The end of the engine's log, at most 4 KiB; empty when there is none."""
        return read_tail(log_path(order.study, order.trial))

    def release(self, study: str, trial: str) -> None:
        """Returns only when the server is gone and its memory, port and GPUs are free.

        Raises:
            StudyError: It cannot be ended; what it holds stays taken.
        """
        key = (study, trial)
        engine = self._engines.get(key) or EngineProcess(study, trial)
        with world_may_break():
            engine.end()
            _forget_leases(study, trial)
        if engine.was_started:
            self._exit_codes[key] = engine.exit_code
        self._engines.pop(key, None)

    def sweep(self, study: str | None) -> list[str]:
        """Releases what killed runs left behind; names what it removed.

        Args:
            study: Only of this study, servers of this process included; None for every study of
                which no tuner runs any more.
        """
        for key in list(self._engines):
            if key[0] == study:
                self.release(*key)
        with world_may_break():
            return sweep(study)


def _bring_up(
    order: Order,
    plan: Plan,
    engine: EngineProcess,
    on_line: Callable[[str], None],
    on_room: Callable[[], None],
    is_cancelled: Callable[[], bool],
) -> Server | Failure:
    there = machine_gpus()
    if there and order.gpus > len(there):
        return _too_few_gpus(order.gpus, len(there))
    engine.take_gpus(there, order.gpus, on_wait=on_line, is_cancelled=is_cancelled)
    on_room()
    launch = launch_of(order, plan.model, engine.take_port())
    args = order.engine.command_line(launch)
    try:
        engine.start(plan, args, folder=order.base, on_line=on_line)
    except OSError as error:
        if error.errno in _NO_PROGRAM and not engine.was_started:
            return _cannot_run(plan, order, error)
        raise
    return _wait(order, launch, engine, is_cancelled) or Server(
        url=f"http://{HOST}:{launch.port}",
        served_name=order.engine.served_name(launch),
        engine_args=args,
        resolved={**_told(order, launch.port), **order.engine.read_log(engine.log_text)},
    )


def _wait(
    order: Order, launch: Launch, engine: EngineProcess, is_cancelled: Callable[[], bool]
) -> Failure | None:
    wait = Wait(
        Target(
            port=launch.port,
            health_path=order.engine.health_path,
            served_name=order.engine.served_name(launch),
            timeout_s=order.spec.deployment.readyTimeout,
            is_alive=lambda: engine.exit_code is None,
            is_cancelled=is_cancelled,
            listener=engine.listener,
        )
    )
    match wait.run():
        case Outcome.SERVES:
            return None
        case Outcome.CANCELLED:
            raise DeployError(Reason.INTERRUPTED, "stopped while the engine was starting")
        case Outcome.DIED:
            return _diagnose(order, engine.exit_code)
        case Outcome.NOT_OURS:
            return _port_taken(launch.port)
        case Outcome.NEVER_READY:
            if engine.listener() is Listener.FOREIGN:
                return _port_taken(launch.port)
            return _never_ready(order, wait.last, engine)


def _diagnose(order: Order, exit_code: int | None) -> Failure:
    """By its log; but an engine that cannot write its log cannot say that the disk is full."""
    path = log_path(order.study, order.trial)
    found = order.engine.classify(read_text(path), exit_code)
    if found.blame is Blame.PARAMS and is_full(path.parent):
        message = f"nothing more can be written to {path.parent}; the engine ended or hung"
        return Failure(Blame.WORLD, Reason.DISK_FULL, message)
    return found


def _too_few_gpus(wanted: int, there: int) -> Failure:
    return Failure(
        Blame.PARAMS,
        Reason.UNSUPPORTED,
        f"the trial wants {wanted} GPUs and this machine has {there} to give; lower "
        "spec.deployment.gpus, or exclude such params with a constraint",
    )


def _cannot_run(plan: Plan, order: Order, error: OSError) -> Failure:
    return Failure(
        Blame.TASK,
        Reason.ENGINE_NOT_FOUND,
        f"{plan.program[0]} cannot be run in {order.base}: {error.strerror}; is it a program "
        "for this machine?",
    )


def _port_taken(port: int) -> Failure:
    return Failure(
        Blame.WORLD,
        Reason.PORT_IN_USE,
        f"another program listens on port {port}; the next attempt takes another one",
    )


def _never_ready(order: Order, last: str, engine: EngineProcess) -> Failure:
    """A log may tell more than that it hangs, such as a hub that does not answer."""
    found = _diagnose(order, None)
    if found.reason not in (Reason.NEVER_READY, Reason.CRASHED, Reason.CRASHED_UNDER_LOAD):
        return found
    said = engine.last_line
    return Failure(
        Blame.PARAMS,
        Reason.NEVER_READY,
        f"no completion within {order.spec.deployment.readyTimeout:g} s; {last}; "
        + (f"its log ends: {said}" if said else "its log is empty"),
    )


def _told(order: Order, port: int) -> Mapping[str, Any]:
    """What the engine says of its configuration; nothing when it does not say it in time."""
    if order.engine.config_path is None:
        return {}
    exchange = Exchange(port, order.engine.config_path, timeout_s=_CONFIG_S)
    answer = exchange.wait(_CONFIG_S) or Answer(None)
    exchange.give_up()
    return order.engine.read_config(answer.json()) if answer.status == 200 else {}


def _forget_leases(study: str, trial: str) -> None:
    for lease in read_leases():
        is_ours = lease.tuner == this_process() or lease.is_left_behind
        if (lease.study, lease.trial) == (study, trial) and is_ours:
            remove_lease(lease)
