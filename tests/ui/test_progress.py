"""What a person sees while a study runs: a row a trial, and where it is now."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.storage import open_storage
from inference_autotuner.optimizer.study import Study, open_study
from inference_autotuner.optimizer.trial import Infeasible, Measured, Params, TrialKind, TrialResult
from inference_autotuner.ui.progress import Progress
from inference_autotuner.workflows.events import (
    Line,
    Notice,
    PointMeasured,
    StepBegan,
    TrialBegan,
    TrialEnded,
)
from tests.optimizer.tasks import measurement, vllm_task


@pytest.fixture
def study() -> Study:
    task = vllm_task(
        {"max-num-seqs": [16, 64]},
        slos=[{"metric": "ttft", "statistic": "p99", "limit": "200ms"}],
    )
    return open_study(open_storage("memory://"), task, base="/", now_s=1.0)


def live(
    study: Study, *, is_terminal: bool = False, is_verbose: bool = False
) -> tuple[Progress, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=160, color_system=None)
    return Progress(study, console, is_verbose=is_verbose), text


def end(study: Study, params: Params, result: TrialResult) -> TrialEnded:
    kind = TrialKind.EXPLORE if params else TrialKind.BASELINE
    trial = study.begin(str(params), kind, params, now_s=1.0)
    return TrialEnded(study.tell(trial.number, result, now_s=2.0))


def test_a_trial_is_a_row_with_its_numbers_and_the_best_is_marked(study: Study) -> None:
    progress, text = live(study)
    with progress as hear:
        hear(end(study, {}, Measured(measurement(61.2, 0.1))))
        hear(end(study, {"max-num-seqs": 64}, Measured(measurement(118.9, 0.15))))
    lines = text.getvalue().splitlines()
    assert "output tok/s" in lines[1]
    assert "ttft p99" in lines[1]
    assert "(baseline)" in lines[2]
    assert "best so far" not in lines[2]
    for word in ("max-num-seqs=64", "118.9", "150 ms", "ok", "measured", "best so far"):
        assert word in lines[3]


def test_a_trial_without_a_score_shows_its_reason(study: Study) -> None:
    progress, text = live(study)
    with progress as hear:
        hear(end(study, {"max-num-seqs": 64}, Infeasible(Reason.OUT_OF_MEMORY, "no KV cache")))
    assert "infeasible  OutOfMemory: no KV cache" in text.getvalue()


def test_a_missed_slo_is_named(study: Study) -> None:
    progress, text = live(study)
    with progress as hear:
        hear(end(study, {}, Measured(measurement(61.2, 0.3))))
    assert "missed ttft p99" in text.getvalue()


def test_what_ended_before_is_shown_again(study: Study) -> None:
    end(study, {}, Measured(measurement(61.2)))
    progress, text = live(study)
    with progress:
        pass
    assert "61.2" in text.getvalue()


def test_engine_and_benchmark_output_is_shown_only_when_asked_for(study: Study) -> None:
    trial = study.begin("k", TrialKind.BASELINE, {}, now_s=1.0)
    for is_verbose in (False, True):
        progress, text = live(study, is_verbose=is_verbose)
        with progress as hear:
            hear(Line(trial, "engine", "loading [weights]"))
            hear(Notice("removed a leftover"))
        assert ("t-0000 engine: loading [weights]" in text.getvalue()) is is_verbose
        assert "removed a leftover" in text.getvalue()


def test_a_terminal_shows_where_a_trial_is_and_how_far_the_study(study: Study) -> None:
    end(study, {}, Measured(measurement(61.2)))
    running = study.begin("k", TrialKind.EXPLORE, {"max-num-seqs": 64}, now_s=1.0)
    study.note(0, spans={"deploy": 1.0})
    progress, text = live(study, is_terminal=True)
    with progress as hear:
        hear(TrialBegan(running))
        hear(StepBegan(running, "benchmark"))
        hear(PointMeasured(replace(running), 1, 3))
        progress._live.refresh()
    assert "max-num-seqs=64: benchmark 1/3 points" in text.getvalue()
    assert "trials" in text.getvalue()
