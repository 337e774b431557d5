import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inference_autotuner.workflows.leases import read_leases
from inference_autotuner.workflows.marks import marked_processes
from inference_autotuner.workflows.sweep import sweep

ROOT = Path(__file__).parents[2]
STEP = 11  # every line takes a minute: `python tests/workflows/killed_tuners.py 1 1`
TUNER = """
from tests.workflows import killed_tuners
killed_tuners.warden.watch = lambda: None
print("up", flush=True)
while True:
    killed_tuners.run_trial()
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("AUTOTUNER_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_tuner_killed_at_any_line_leaves_nothing_that_a_sweep_does_not_find() -> None:
    command = [sys.executable, str(ROOT / "tests/workflows/killed_tuners.py")]
    arguments = [str(random.randint(1, STEP)), str(STEP)]
    ran = subprocess.run([*command, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "removed ['process" in ran.stdout


def test_a_tuner_killed_at_any_moment_leaves_nothing_that_a_sweep_does_not_find() -> None:
    for _ in range(5):
        tuner = subprocess.Popen([sys.executable, "-c", TUNER], cwd=ROOT, stdout=subprocess.PIPE)
        assert tuner.stdout
        tuner.stdout.readline()
        time.sleep(random.uniform(0, 0.6))
        tuner.kill()
        tuner.wait()
        tuner.stdout.close()
        sweep()
        time.sleep(0.05)  # what was between fork and exec carries its mark now
        sweep()
        assert [*marked_processes(), *read_leases()] == []
