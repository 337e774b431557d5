"""The mark in the environment of every process that a trial starts, and who carries it.

It names the trial, the tuner and the state folder, so that a process can be judged by itself,
whatever became of lease files: another user's, another state folder's and a living tuner's
processes are never taken for leftovers.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from inference_autotuner.workflows.processes import Identity, ancestors, identify, this_process
from inference_autotuner.workflows.state import state_id

OWNER = "AUTOTUNER_OWNER"
STATE = "AUTOTUNER_STATE_ID"
TUNER = "AUTOTUNER_TUNER"


@dataclass(frozen=True)
class Mark:
    """What a marked process says of itself.

    Attributes:
        owner: Study and trial, `<study>/<trial>`.
        tuner: The tuner that started it.
    """

    owner: str
    tuner: Identity

    @property
    def study(self) -> str:
        """The study alone."""
        return self.owner.rpartition("/")[0]


def mark_environment(owner: str) -> dict[str, str]:
    """What each process of the trial `<study>/<trial>` must have in its environment."""
    return {
        OWNER: owner,
        STATE: state_id(),
        TUNER: str(this_process()),
        # Engines set their process titles with a library that would overwrite the mark else.
        "SPT_NOENV": "1",
    }


def without_mark(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that no trial owns."""
    return {k: v for k, v in environment.items() if k not in (OWNER, STATE, TUNER)}


def marked_processes() -> dict[Identity, Mark]:
    """Every process that carries a mark of this state folder, but for this one and its parents."""
    spared = ancestors()
    here = state_id()
    found: dict[Identity, Mark] = {}
    for pid in psutil.pids():
        identity = None if pid in spared else identify(pid)
        if identity and (mark := _read_mark(pid, here)) and identify(pid) == identity:
            found[identity] = mark
    return found


def _read_mark(pid: int, here: str) -> Mark | None:
    try:
        environment = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return None
    if environment.get(STATE) != here or OWNER not in environment:
        return None
    tuner = Identity.parse(environment.get(TUNER, ""))
    return Mark(environment[OWNER], tuner) if tuner else None
