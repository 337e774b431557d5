"""Every trial as a row of CSV, for spreadsheets and notebooks."""

import csv
import io
from collections.abc import Mapping, Sequence

from inference_autotuner.manifests.tables import shown_metrics
from inference_autotuner.optimizer.metrics import Measurement, Metric, Statistic
from inference_autotuner.optimizer.spec import Spec
from inference_autotuner.optimizer.trial import Trial, TrialKind, TrialState

Cell = str | int | float
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_STEPS = ("queue", "deploy", "idle", "benchmark")
_BLANK = Trial(0, TrialKind.BASELINE, {}, TrialState.RUNNING)


def trials_csv(spec: Spec, trials: Sequence[Trial]) -> str:
    """One row a trial, in order.

    Columns: what the trial is, its params (`param:<flag>`, empty where the flag was not set), its
    objectives in units of the project (`objective:<metric>`, seconds or per second), how far each
    SLO was missed (`violation:<slo>`, relative; zero or less holds), how it ended, seconds,
    GPU-seconds, and what matters of each point (`<scenario> @<concurrency> <metric>`).

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    rows = [_row(spec, trial) for trial in trials]
    columns = list(dict.fromkeys(name for row in [_row(spec, _BLANK), *rows] for name in row))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([harmless(name) for name in columns])
    writer.writerows([harmless(row.get(name, "")) for name in columns] for row in rows)
    return buffer.getvalue()


def harmless(value: object) -> Cell:
    """A cell that no spreadsheet runs.

    >>> harmless("=1+1"), harmless("-1"), harmless(-1), harmless(True)
    ("'=1+1", '-1', -1, 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text.strip() == text


def _row(spec: Spec, trial: Trial) -> Mapping[str, object]:
    """A trial's cells by column."""
    names = [csv_name(objective.metric, objective.statistic) for objective in spec.objectives]
    values = dict(zip(names, trial.values, strict=False))
    flags = dict.fromkeys((*spec.parameters, *trial.params))
    return {
        "trial": trial.number,
        "kind": str(trial.kind),
        "state": str(trial.state),
        **{f"param:{flag}": trial.params.get(flag, "") for flag in flags},
        **{f"objective:{name}": values.get(name, "") for name in names},
        **{f"violation:{slo.title}": trial.violations.get(slo.title, "") for slo in spec.slos},
        "reason": str(trial.reason or ""),
        "message": trial.message,
        "attempt": trial.attempt,
        **{f"seconds_{step}": trial.spans.get(step, "") for step in _STEPS},
        "seconds": sum(trial.spans.values()),
        "gpus": trial.gpus,
        "gpu_seconds": trial.gpu_seconds,
        **(_points(spec, trial.measurement) if trial.measurement else {}),
    }


def _points(spec: Spec, measurement: Measurement) -> Mapping[str, object]:
    return {
        f"{point.scenario} @{point.concurrency} {csv_name(metric, statistic)}": point.value(
            metric, statistic
        )
        for point in measurement.points
        for metric, statistic in shown_metrics(spec)
    }


def csv_name(metric: Metric, statistic: Statistic | None) -> str:
    """A metric as part of a column's name.

    >>> csv_name(Metric.TTFT, Statistic.P99), csv_name(Metric.GOODPUT, None)
    ('ttft_p99', 'goodput')
    """
    return f"{metric}_{statistic}" if statistic else str(metric)
