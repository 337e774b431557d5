"""How long each step of a study's pods took, and how long nothing ran between two steps.

python tests/on_cluster/step_times.py WORKFLOW
"""

import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tests.on_cluster import site

STEPS = ("ask", "deploy", "benchmark", "tell", "release")


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def leaves(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Pods of steps that have ended, in order."""
    nodes = site.nodes(found)
    pods = [n for n in nodes.values() if n["type"] == "Pod" and n.get("finishedAt")]
    return sorted(pods, key=lambda node: str(node["startedAt"]))


def slot_of(node: dict[str, Any]) -> str:
    """The trial's slot, such as `trial(3:003)`."""
    return str(node["name"]).partition("].")[2].partition("[")[0]


def rows(pods: Sequence[dict[str, Any]]) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of every step, and of every gap before one, by step."""
    took: dict[str, list[float]] = defaultdict(list)
    gaps: dict[str, list[float]] = defaultdict(list)
    ended: dict[str, float] = {}
    for pod in pods:
        step, slot = pod["templateName"], slot_of(pod)
        took[step].append(seconds(pod["finishedAt"]) - seconds(pod["startedAt"]))
        if slot in ended:
            gaps[step].append(seconds(pod["startedAt"]) - ended[slot])
        ended[slot] = seconds(pod["finishedAt"])
    return took, gaps


def main(name: str) -> None:
    took, gaps = rows(leaves(site.workflow(name)))
    print(f"{'step':<12}{'pods':>6}{'mean s':>9}{'max s':>9}{'gap before, mean s':>21}{'max s':>9}")
    for step in (*STEPS, "sweep"):
        if not took[step]:
            continue
        before = gaps[step] or [0.0]
        print(
            f"{step:<12}{len(took[step]):>6}{statistics.mean(took[step]):>9.1f}"
            f"{max(took[step]):>9.1f}{statistics.mean(before):>21.1f}{max(before):>9.1f}"
        )
    whole = sum(statistics.mean(gaps[s]) for s in STEPS if gaps[s])
    print(f"gaps of one trial, together: {whole:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1])
