"""Lease files: what this machine runs, written down before it starts.

The name of a file says whose lease it is (`<study>.<trial>.<tuner>.json`), so a damaged one
still tells, and two tuners never write the same file. A lease without an engine is an intent: the
process may or may not have been started, its mark decides.
"""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_autotuner.workflows.processes import Identity, is_running
from inference_autotuner.workflows.state import lease_folder

_SUFFIX = ".json"
TEMPORARY = ".tmp"


@dataclass(frozen=True)
class Lease:
    """One server that runs, or may have been left running.

    Attributes:
        study: Study name.
        trial: Trial name.
        tuner: The process that started it and answers for it.
        machine: Where; empty when the file is damaged.
        port: Where it listens.
        gpus: The GPUs it holds.
        engine: The server's process; None while it is about to be started.
    """

    study: str
    trial: str
    tuner: Identity
    machine: str = ""
    port: int = 0
    gpus: tuple[str, ...] = ()
    engine: Identity | None = None

    @property
    def owner(self) -> str:
        """As in the mark of its processes."""
        return f"{self.study}/{self.trial}"

    @property
    def path(self) -> Path:
        """Its file."""
        return lease_folder() / f"{self.study}.{self.trial}.{self.tuner}{_SUFFIX}"

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is another machine's: the state folder may lie on a shared disk."""
        return bool(self.machine) and _place(self.machine) != _place(this_machine())

    @property
    def is_left_behind(self) -> bool:
        """Whether its tuner ran on this machine and is gone."""
        if self.is_elsewhere:
            return False
        return _boot(self.machine) != _boot(this_machine()) or not is_running(self.tuner)


def this_machine() -> str:
    """Host, process namespace and boot: where a process number means something."""
    return f"{socket.gethostname()}/{_namespace()}/{_boot_id()}"


def write_lease(lease: Lease) -> None:
    """Puts the lease on the disk as a whole: nobody ever reads half of it.

    Raises:
        OSError: The disk is full or not writable.
    """
    folder = lease_folder()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{lease.path.name}{TEMPORARY}"
    try:
        with temporary.open("w") as file:
            json.dump(_to_json(lease), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(lease.path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(folder)


def remove_lease(lease: Lease) -> None:
    """Forgets the server; the second time does nothing."""
    lease.path.unlink(missing_ok=True)


def read_leases() -> list[Lease]:
    """Every lease there is; of a damaged one only what its name says."""
    found = (_read(path) for path in sorted(lease_folder().glob(f"*{_SUFFIX}")))
    return [lease for lease in found if lease]


def _read(path: Path) -> Lease | None:
    parts = path.name.removesuffix(_SUFFIX).rsplit(".", 2)
    tuner = Identity.parse(parts[-1])
    if len(parts) < 3 or tuner is None:
        return None
    return _from_json(Lease(parts[0], parts[1], tuner), path)


def _from_json(lease: Lease, path: Path) -> Lease | None:
    try:
        stored = json.loads(path.read_bytes())
        return Lease(
            lease.study,
            lease.trial,
            lease.tuner,
            machine=str(stored["machine"]),
            port=int(stored["port"]),
            gpus=tuple(map(str, stored["gpus"])),
            engine=Identity.parse(str(stored["engine"])),
        )
    except FileNotFoundError:  # released between listing and reading
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return lease


def _to_json(lease: Lease) -> Mapping[str, Any]:
    return {
        "machine": lease.machine,
        "port": lease.port,
        "gpus": list(lease.gpus),
        "engine": str(lease.engine or ""),
    }


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _place(machine: str) -> str:
    return machine.rpartition("/")[0]


def _boot(machine: str) -> str:
    return machine.rpartition("/")[2] if machine else _boot_id()


def _namespace() -> str:
    """Containers of one host number their processes apart."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
