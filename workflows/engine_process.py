"""One engine as a process of this machine, with all that it holds: GPUs, port, log, lease."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from inference_autotuner.optimizer.errors import DeployError, Reason, StudyError
from inference_autotuner.workflows import gpus, processes, warden
from inference_autotuner.workflows.engine_log import EngineLog
from inference_autotuner.workflows.launching import Plan, shown
from inference_autotuner.workflows.leases import Lease, this_machine, write_lease
from inference_autotuner.workflows.marks import Mark
from inference_autotuner.workflows.ports import Port, reserve_port, wait_until_free
from inference_autotuner.workflows.processes import Identity, this_process
from inference_autotuner.workflows.readiness import Listener, listener_of
from inference_autotuner.workflows.state import trial_folder
from inference_autotuner.workflows.sweep import end_marked

_GRACE_S = 5.0
_PORT_S = 1.0
_GPU_MEMORY_S = 60.0


class EngineProcess:
    """Takes what it needs one after the other, and gives back whatever it has taken.

    Args:
        study: Study name.
        trial: Trial name.
    """

    def __init__(self, study: str, trial: str) -> None:
        self._study = study
        self._trial = trial
        self._grant: gpus.Grant | None = None
        self._port: Port | None = None
        self._log: EngineLog | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: Identity | None = None
        self._ended: set[int] = set()

    @property
    def was_started(self) -> bool:
        """Whether there has been a process."""
        return self._process is not None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or when it was never started; negative for a signal."""
        return self._process.poll() if self._process else None

    @property
    def last_line(self) -> str:
        """The last words of its log."""
        return self._log.last_line() if self._log else ""

    @property
    def log_text(self) -> str:
        """All that is kept of its log."""
        return self._log.text() if self._log else ""

    def take_gpus(
        self,
        there: tuple[gpus.Gpu, ...],
        count: int,
        *,
        on_wait: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Waits until `count` of the GPUs are free.

        Raises:
            DeployError: The wait was cancelled.
        """
        self._grant = gpus.acquire(there, count, on_wait=on_wait, is_cancelled=is_cancelled)
        if self._grant is None:
            raise DeployError(Reason.INTERRUPTED, "stopped while it waited for GPUs")

    def take_port(self) -> int:
        """A port that nobody else gets."""
        self._port = reserve_port()
        return self._port.number

    def start(
        self, plan: Plan, args: tuple[str, ...], *, folder: str, on_line: Callable[[str], None]
    ) -> None:
        """Starts it in `folder`; each line may be the last one that this tuner runs.

        Raises:
            OSError: The program, the disk or the machine refuses.
        """
        assert self._grant
        plan = replace(plan, added={**plan.added, **self._grant.environment})
        self._log = EngineLog(log_path(self._study, self._trial), on_line)
        self._write_command(plan, args, folder)
        warden.watch()
        lease = self._lease()
        write_lease(lease)
        self._process = self._spawn(self._log, plan, args, folder)
        self._identity = processes.identify(self._process.pid)
        write_lease(replace(lease, engine=self._identity))

    def listener(self) -> Listener:
        """Who listens on its port."""
        assert self._port
        return listener_of(self._port.number, self._pids)

    def end(self) -> None:
        """Ends its processes, known or only marked, and gives back what it holds.

        Raises:
            StudyError: A process outlives SIGKILL, or GPU memory stays taken: so does the rest.
        """
        self._end_processes()
        if self._log:
            self._log.stop()
        if self._grant:
            self._give_back_gpus(self._grant)
        if self._port:
            self._give_back_port(self._port)

    def _pids(self) -> set[int]:
        return {who.pid for who in processes.family(self._identity)} if self._identity else set()

    def _spawn(
        self, log: EngineLog, plan: Plan, args: tuple[str, ...], folder: str
    ) -> "subprocess.Popen[bytes]":
        assert self._grant
        with log.open() as file:
            return subprocess.Popen(
                [*plan.program, *args],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=plan.environment(),
                start_new_session=True,
                pass_fds=self._grant.descriptors,
            )

    def _write_command(self, plan: Plan, args: tuple[str, ...], folder: str) -> None:
        command = {
            "command": [*plan.program, *args],
            "folder": folder,
            "environment": shown(plan.added),
        }
        path = trial_folder(self._study, self._trial) / "command.json"
        path.write_text(json.dumps(command, indent=2) + "\n")

    def _lease(self) -> Lease:
        assert self._grant
        assert self._port
        return Lease(
            self._study,
            self._trial,
            this_process(),
            machine=this_machine(),
            port=self._port.number,
            gpus=self._grant.names,
        )

    def _end_processes(self) -> None:
        """By mark, and by descent from our own child: that needs no mark."""
        owner = f"{self._study}/{self._trial}"

        def wants(mark: Mark) -> bool:
            is_ours = mark.tuner == this_process() or not processes.is_running(mark.tuner)
            return mark.owner == owner and is_ours

        roots = [self._identity] if self._identity else []
        ended = end_marked(wants, roots=roots, grace_s=_GRACE_S)
        self._ended |= {who.pid for who in ended}
        if self._process:
            self._process.wait()  # gone already: this collects it

    def _give_back_gpus(self, grant: gpus.Grant) -> None:
        if grant.gpus and not gpus.wait_until_unused(self._ended, _GPU_MEMORY_S):
            raise StudyError(
                f"GPU memory of ended processes is still taken after {_GPU_MEMORY_S:g} s; see "
                "nvidia-smi, and restart the machine if it stays"
            )
        grant.release()

    def _give_back_port(self, port: Port) -> None:
        if self._process:
            wait_until_free(port.number, _PORT_S)  # if it does not get free, another took it
        port.release()


def log_path(study: str, trial: str) -> Path:
    """Where the log of a trial's engine lies."""
    return trial_folder(study, trial) / "engine.log"
