"""Kills `autotuner run` at random moments, goes on with the same command, and prints what is left.

    python tests/robustness/kill_table.py TASK [kills] [seed]

Every run is a process of its own that gets SIGKILL after a random time; then the same command
starts again. At the end the command runs to its end, and the table shows what a kill did: one
study, no params explored twice, no process left, one verdict. State lies in a new folder.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil

from inference_autotuner.optimizer.storage import open_storage, storage_url
from inference_autotuner.optimizer.study import load_study, study_names
from inference_autotuner.optimizer.trial import TrialKind, TrialState

_LONGEST_LIFE_S = 12.0
_END_S = 1800.0


@dataclass(frozen=True)
class Row:
    """What one kill met and left."""

    number: int
    lived_s: float
    trials: int
    told: int
    doing: str
    processes_left: int
    left_after_next_start: int


def ours(state: Path) -> list[psutil.Process]:
    """Processes that belong to this state folder, the tuner itself excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if "AUTOTUNER_OWNER" in environment and environment.get("AUTOTUNER_STATE") == str(state):
            found.append(process)
    return found


def start(task: str, state: Path) -> subprocess.Popen[bytes]:
    """The command, as a person types it."""
    command = [str(Path(sys.executable).with_name("autotuner")), "run", task]
    environment = {**os.environ, "AUTOTUNER_STATE": str(state)}
    log = (state / "run.log").open("ab")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def counts(state: Path) -> tuple[int, int, str]:
    """Trials, told trials, and what was running."""
    journal = state / "journal.log"
    if not journal.exists() or not study_names(open_storage(storage_url(journal))):
        return 0, 0, "start"
    storage = open_storage(storage_url(journal))
    trials = load_study(storage, study_names(storage)[0]).trials()
    running = [f"{t.kind} {t.number}" for t in trials if t.state is TrialState.RUNNING]
    return len(trials), sum(t.ended_s is not None for t in trials), ", ".join(running) or "between"


def kill_once(number: int, task: str, state: Path, lives_s: float) -> Row | None:
    """One life; None when the study came to its end within it."""
    before = {process.pid for process in ours(state)}
    process = start(task, state)
    deadline = time.monotonic() + lives_s
    inherited = before
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return None
        inherited &= {p.pid for p in ours(state)}
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    trials, told, doing = counts(state)
    return Row(number, lives_s, trials, told, doing, len(ours(state)), len(inherited))


def finish(task: str, state: Path) -> None:
    """The last run, to the study's end."""
    process = start(task, state)
    if process.wait(timeout=_END_S) != 0:
        sys.exit(f"the last run failed:\n{(state / 'run.log').read_text()[-3000:]}")


def check(state: Path) -> list[str]:
    """What must hold in the end; the first word says whether it does."""
    storage = open_storage(storage_url(state / "journal.log"))
    names = study_names(storage)
    study = load_study(storage, names[0])
    trials = study.trials()
    explored = Counter(
        study.space.identity(trial.params)
        for trial in trials
        if trial.kind in (TrialKind.BASELINE, TrialKind.EXPLORE)
        and trial.state is not TrialState.FAILED
    )
    verdict = study.attribute("verdict")
    facts = {
        f"one study ({len(names)})": len(names) == 1,
        f"no params explored twice ({len(explored)} params)": max(explored.values()) == 1,
        "no trial left running": all(t.ended_s is not None for t in trials),
        f"no process left ({len(ours(state))})": not ours(state),
        "no lease left": not list((state / "leases").glob("*.json")),
        f"a verdict ({verdict['kind'] if verdict else None})": verdict is not None,
        "a report": (state / "studies" / study.name / "results" / "report.html").exists(),
    }
    states = Counter(str(trial.state) for trial in trials)
    return [f"{'yes' if holds else 'NO'}  {what}" for what, holds in facts.items()] + [
        f"     trials: {json.dumps(states)}"
    ]


def main(task: str, kills: int, seed: int) -> int:
    """Prints the table; exit code 1 when something does not hold."""
    state = Path(tempfile.mkdtemp(prefix="autotuner-kills-"))
    rng = random.Random(seed)
    print(f"{kills} kills, seed {seed}")
    print(f"{'kill':>4} {'lived':>7} {'trials':>7} {'told':>5}  {'running':<16} left  later")
    previous: Row | None = None
    for number in range(1, kills + 1):
        row = kill_once(number, task, state, rng.uniform(0.5, _LONGEST_LIFE_S))
        if row is None:
            print(f"{number:>4}  the study came to its end")
            break
        if previous is not None and row.told < previous.told:
            print("NO  a told trial was lost")
        print(
            f"{row.number:>4} {row.lived_s:>6.1f}s {row.trials:>7} {row.told:>5}  {row.doing:<16} "
            f"{row.processes_left:>4}  {row.left_after_next_start:>4}",
            flush=True,
        )
        previous = row
    finish(task, state)
    lines = check(state)
    print("\n".join(lines))
    shutil.rmtree(state)
    return int(any(line.startswith("NO") for line in lines))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(
        main(
            arguments[0],
            int(arguments[1]) if len(arguments) > 1 else 20,
            int(arguments[2]) if len(arguments) > 2 else 1,
        )
    )
