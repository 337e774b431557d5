"""How this machine stands: GPUs, cores and their load, disk, leftovers, limits."""

import contextlib
import math
import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from inference_autotuner.optimizer.errors import NotWritableError
from inference_autotuner.workflows.finding import Finding, State
from inference_autotuner.workflows.gpus import machine_gpus
from inference_autotuner.workflows.leases import read_leases
from inference_autotuner.workflows.locks import lock_folder, try_lock
from inference_autotuner.workflows.marks import marked_processes
from inference_autotuner.workflows.processes import is_running
from inference_autotuner.workflows.state import lease_folder, state_folder

_WATCH_S = 1.0
_BUSY = 0.15  # of a core; benchmarks of a quarter busy machine scatter by more than flags do
_LITTLE_DISK = 5 << 30
_NO_DISK = 200 << 20
_FILES = 4096


def examine_machine() -> list[Finding]:
    """Hardware, then the folders, then what earlier runs left."""
    return [_gpus(), _cores(), _memory(), _state_folder(), _locks(), _leftovers(), _files()]


def _gpus() -> Finding:
    found = machine_gpus()
    if found:
        return Finding(
            "GPUs", State.OK, f"{len(found)} to give: {', '.join(g.name for g in found)}"
        )
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("GPUs", State.OK, "none: nvidia-smi is not installed")
    if said := _complaint(program):
        return Finding("GPUs", State.WARN, f"nvidia-smi fails: {said}", "mend the driver")
    remedy = "unset CUDA_VISIBLE_DEVICES and AUTOTUNER_GPUS, or name GPUs there"
    return Finding("GPUs", State.WARN, "none is left to this user", remedy)


def _complaint(nvidia_smi: str) -> str:
    try:
        ran = subprocess.run([nvidia_smi, "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return (ran.stdout + ran.stderr).strip()[:200] if ran.returncode else ""


def _cores() -> Finding:
    cores = usable_cores()
    busy = sum(psutil.cpu_percent(interval=_WATCH_S, percpu=True)) / 100
    found = f"{cores:g}, of which others use {busy:.1f}"
    if busy <= _BUSY * cores:
        return Finding("cores", State.OK, found)
    busiest = _busiest()
    remedy = "measure on a quiet machine: busy cores change results more than most flags do"
    return Finding("cores", State.WARN, found + (f" (most: {busiest})" if busiest else ""), remedy)


def usable_cores() -> float:
    """Cores that this process may use: those it may run on, less where a container has fewer."""
    allowed = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):  # macOS cannot pin processes
        allowed = len(os.sched_getaffinity(0))
    return min(float(allowed), _container_cores())


def _container_cores() -> float:
    """A container's share in cores; no limit where none is set."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    return math.inf


def _busiest() -> str:
    """The program that uses most of a core."""
    watched = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            process.cpu_percent()
            watched.append(process)
    time.sleep(_WATCH_S / 2)
    shares: list[tuple[float, str]] = []
    for process in watched:
        with contextlib.suppress(psutil.Error):
            shares.append((process.cpu_percent(), f"{process.name()}, process {process.pid}"))
    share, name = max(shares, default=(0.0, ""))
    return name if share > 10 else ""


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    found = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    if memory.available > memory.total / 4:
        return Finding("memory", State.OK, found)
    return Finding("memory", State.WARN, found, "end what uses it: engines need room to start")


def _state_folder() -> Finding:
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        remedy = "make it writable, or name another folder in AUTOTUNER_STATE"
        return Finding("state folder", State.BAD, f"{folder}: {error.strerror}", remedy)
    found = f"{folder}, {free / 2**30:.1f} GiB free"
    if free > _LITTLE_DISK:
        return Finding("state folder", State.OK, found)
    state = State.WARN if free > _NO_DISK else State.BAD
    return Finding("state folder", state, found, "make room, or name another in AUTOTUNER_STATE")


def _locks() -> Finding:
    folder = lock_folder()
    try:
        if lock := try_lock("doctor"):
            lock.release(is_kept=False)
    except OSError as error:
        remedy = "make it writable for all users, or name another folder in AUTOTUNER_LOCKS"
        return Finding("locks", State.BAD, f"{folder}: {error.strerror}", remedy)
    return Finding("locks", State.OK, str(folder))


def _leftovers() -> Finding:
    try:
        marked = marked_processes()
    except NotWritableError:  # without the folder nothing tells our processes from those of others
        found = "not looked for without a state folder"
        return Finding("leftovers", State.WARN, found, "mend the state folder")
    leases = read_leases()
    left = [f"server of {lease.owner}" for lease in leases if lease.is_left_behind]
    left += [
        f"process {who.pid} of {mark.owner}"
        for who, mark in marked.items()
        if not is_running(mark.tuner)
    ]
    if left:
        return Finding("leftovers", State.WARN, "; ".join(left), "autotuner janitor")
    elsewhere = sum(lease.is_elsewhere for lease in leases)
    more = f"; {elsewhere} on other machines, see {lease_folder()}" if elsewhere else ""
    return Finding("leftovers", State.OK, f"none, {len(leases) - elsewhere} servers running{more}")


def _files() -> Finding:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= _FILES:
        return Finding("open files", State.OK, f"up to {limit} in one process")
    can = "" if most == resource.RLIM_INFINITY or most >= _FILES else " (as root: raise nofile)"
    remedy = f"ulimit -n {_FILES}{can}: each concurrent request needs one"
    return Finding("open files", State.WARN, f"only {limit} in one process", remedy)
