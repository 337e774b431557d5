"""The verdict for programs: `verdict.yaml`.

Fields, beside `apiVersion` and `kind: Verdict`:

- `metadata.name` is the study, `metadata.task` the task's name, `metadata.ended` a time or null.
- `verdict` is `Better`, `Inconclusive`, `KeepCurrent` or `NothingFeasible`; `summary` says why.
- `params` are what to serve with: the winner's, else the baseline's; null where there is no answer.
- `engine.name`, `engine.version`, `engine.args`: the exact command line for these params, without
  the program; a secret is written as `$NAME` of the variable that must bring it. In mode `ome` the
  container's `args` as in `manifest.yaml`, where a secret is `$(NAME)`.
- `objective`: metric, statistic and direction of what decides.
- `gain`: the winner against the baseline as `point`, `low`, `high` (95 % interval), relative, above
  zero is better; null without a winner.
- `flags`: what the winner of the search changed: `flag`, `value`, `baseline` (null is the engine's
  default), `isKept`, `cost` of undoing it (as `gain`, above zero is worse without it).
- `margins`: `slo`, `limit`, `value`, `margin`, `marginLow` (95 % sure), `baselineMargin`; limits
  and values in seconds or per second, margins as share of the limit.
- `runs`, `baselineRuns`: fresh servers that the gain rests on.
- `finalists`: `params`, `runs`, `gain`, `isSound`, `crashes`.
- `nearest`: only for `NothingFeasible`: `trial`, `params`, `slo`, `limit`, `value`.
- `reasons`: how often each reason ended a trial without a score.

A field keeps its name and meaning as long as `apiVersion` stays; new ones may come.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from inference_autotuner.manifests.command import Variable, Word
from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.spec import API_VERSION, TuningTask
from inference_autotuner.optimizer.verdict import Verdict

_AS_THEY_ARE = ("params", "reasons")
"""Mappings whose keys are names of flags and reasons, not fields of ours."""


def verdict_yaml(
    task: TuningTask,
    engine: Engine,
    verdict: Verdict,
    *,
    study: str,
    ended_s: float | None,
    words: Sequence[Word],
) -> str:
    """A verdict as YAML, the same bytes for the same verdict.

    Args:
        task: The task.
        engine: Its engine.
        verdict: The answer.
        study: Study name.
        ended_s: Unix time at which the last trial ended; None where none has.
        words: The command line for the verdict's params; empty where there are none.
    """
    objective = task.spec.objectives[0]
    answer = _fields(verdict.to_dict())
    document = {
        "apiVersion": API_VERSION,
        "kind": "Verdict",
        "metadata": {"name": study, "task": task.metadata.name, "ended": _time(ended_s)},
        "verdict": answer.pop("kind"),
        "summary": answer.pop("summary"),
        "params": answer.pop("params"),
        "engine": {
            "name": engine.name,
            "version": task.spec.engine.version or engine.version,
            "args": [f"${w.name}" if isinstance(w, Variable) else w for w in words],
        },
        "objective": {
            "metric": str(objective.metric),
            "statistic": str(objective.statistic) if objective.statistic else None,
            "direction": str(objective.metric.direction),
        },
        **answer,
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=88)


def _time(unix_s: float | None) -> str | None:
    return None if unix_s is None else datetime.fromtimestamp(round(unix_s), UTC).isoformat()


def _fields(value: Any) -> Any:
    """Plain values under names in the style of Kubernetes, numbers with six digits."""
    if isinstance(value, Mapping):
        return {
            _camel(str(name)): dict(inner) if _is_open(str(name), inner) else _fields(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_fields(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.6g}")
    return value


def _is_open(name: str, value: object) -> bool:
    return name in _AS_THEY_ARE and isinstance(value, Mapping)


def _camel(name: str) -> str:
    """A field's name as in Kubernetes.

    >>> _camel("baseline_runs")
    'baselineRuns'
    """
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)
