"""Verdicts of whole simulated studies: each of the four kinds, and what they rest on."""

import json
import random
from typing import Any

import pytest

from inference_autotuner.optimizer.errors import Reason
from inference_autotuner.optimizer.judgment import decide
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.space import build_space
from inference_autotuner.optimizer.trial import Infeasible, Params, Trial, TrialKind, TrialState
from inference_autotuner.optimizer.verdict import Verdict, VerdictKind
from tests.samples import Server, point, run_study, sample_task, steady_server


def one_flag(gain: float, scatter: float = 0.02) -> Server:
    """Only one thread instead of the default changes anything."""

    def serve(params: Params, noise: random.Random) -> Measurement | Infeasible:
        factor = gain if params.get("threads") == 1 else 1.0
        return steady_server(factor, scatter)(params, noise)

    return serve


def judged(server: Server, seed: int = 1, **spec: Any) -> tuple[Verdict, list[Trial]]:
    task = sample_task(**spec)
    trials = run_study(task, server, seed)
    return decide(build_space(task.spec), trials), trials


def test_a_real_gain_is_better_and_only_the_flag_that_gives_it_is_kept() -> None:
    verdict, _ = judged(one_flag(1.4))
    assert verdict.kind is VerdictKind.BETTER
    assert verdict.params == {"threads": 1}
    assert verdict.gain is not None
    assert verdict.gain.low is not None
    assert verdict.gain.high is not None
    assert 0 < verdict.gain.low < 0.4 < verdict.gain.high
    assert [flag.flag for flag in verdict.flags if flag.is_kept] == ["threads"]
    assert "threads=1 gives +" in verdict.summary
    assert "every SLO holds" in verdict.summary


def test_nothing_is_called_better_when_nothing_differs() -> None:
    kinds = [judged(steady_server(scatter=0.05), seed)[0].kind for seed in range(12)]
    assert kinds.count(VerdictKind.BETTER) <= 1


def test_everything_worse_keeps_the_baseline() -> None:
    def worse(params: Params, noise: random.Random) -> Measurement | Infeasible:
        return steady_server(0.5 if params else 1.0)(params, noise)

    verdict, trials = judged(worse)
    assert verdict.kind is VerdictKind.KEEP_CURRENT
    assert verdict.params == {}
    assert not any(trial.kind is TrialKind.CONFIRM for trial in trials)


def test_without_repeats_nothing_is_proved() -> None:
    verdict, _ = judged(one_flag(2.0), confirm={"repeats": 0})
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "threads=1" in verdict.summary


def test_a_missed_slo_everywhere_names_the_limit_that_would_be_met() -> None:
    verdict, trials = judged(
        one_flag(1.2), slos=[{"metric": "tpot", "statistic": "p99", "limit": "1ms"}]
    )
    assert verdict.kind is VerdictKind.NOTHING_FEASIBLE
    assert verdict.params is None
    assert verdict.nearest is not None
    assert verdict.nearest.slo == "tpot p99"
    assert verdict.nearest.value > verdict.nearest.limit == 0.001
    smallest = min(max(t.violations.values()) for t in trials if t.violations)
    assert verdict.nearest.value == pytest.approx(0.001 * (1 + smallest))
    assert f"trial {verdict.nearest.trial}" in verdict.summary


def test_when_nothing_runs_the_reasons_are_counted() -> None:
    def crash(params: Params, noise: random.Random) -> Measurement | Infeasible:
        return Infeasible(Reason.OUT_OF_MEMORY, "no room")

    verdict, trials = judged(crash)
    assert verdict.kind is VerdictKind.NOTHING_FEASIBLE
    assert verdict.reasons == {"OutOfMemory": len(trials)}
    assert "OutOfMemory" in verdict.summary


def test_a_baseline_that_cannot_run_loses_to_params_that_can() -> None:
    def needs_a_flag(params: Params, noise: random.Random) -> Measurement | Infeasible:
        if params.get("threads") != 1:
            return Infeasible(Reason.CRASHED, "it does not run")
        return steady_server()(params, noise)

    verdict, _ = judged(needs_a_flag)
    assert verdict.kind is VerdictKind.BETTER
    assert "the baseline does not" in verdict.summary


def test_a_baseline_that_misses_an_slo_loses_to_params_that_hold_it() -> None:
    def slow_start(params: Params, noise: random.Random) -> Measurement | Infeasible:
        wait = 0.3 if params.get("threads") == 1 else 3.0
        speed = 20 * (1 + noise.gauss(0, 0.02))
        return Measurement((point(1, speed, wait=wait), point(4, speed, wait=wait)))

    limit = {"metric": "ttft", "statistic": "p99", "limit": "3s"}
    verdict, _ = judged(slow_start, slos=[limit])
    assert verdict.kind is VerdictKind.BETTER
    assert "which the baseline does not" in verdict.summary
    assert verdict.margins[0].margin > 0


def test_a_finalist_that_crashes_once_on_a_fresh_server_is_not_the_answer() -> None:
    """Its other runs stay and are as fast as ever: only the crash speaks against it."""
    task = sample_task(confirm={"finalists": 1, "repeats": 3})
    trials = run_study(task, one_flag(1.4))
    space = build_space(task.spec)
    proof = [t for t in trials if t.kind in (TrialKind.CONFIRM, TrialKind.UNDO)]
    finalist = next(t for t in proof if t.params)
    again = Trial(
        number=len(trials),
        kind=TrialKind.CONFIRM,
        params=finalist.params,
        state=TrialState.INFEASIBLE,
        reason=Reason.CRASHED,
        started_s=trials[-1].started_s,
        ended_s=trials[-1].ended_s,
    )
    confirmed = [t for t in trials if t.kind is not TrialKind.UNDO]
    assert decide(space, confirmed).kind is VerdictKind.BETTER
    verdict = decide(space, [*confirmed, again])
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert verdict.finalists[0].crashes == 1


def test_exploring_alone_is_never_proof() -> None:
    task = sample_task()
    explored = [t for t in run_study(task, one_flag(3.0)) if t.kind is not TrialKind.CONFIRM]
    explored = [t for t in explored if t.kind is not TrialKind.UNDO]
    assert decide(build_space(task.spec), explored).kind is VerdictKind.INCONCLUSIVE


def test_a_latency_objective_is_told_as_less() -> None:
    objective = {"metric": "e2e_latency", "statistic": "p99"}
    verdict, _ = judged(one_flag(1.5), objectives=[objective])
    assert verdict.kind is VerdictKind.BETTER
    assert verdict.gain is not None
    assert verdict.gain.point == pytest.approx(1 / 3, abs=0.05)
    assert "% less e2e p99" in verdict.summary


@pytest.mark.parametrize("count", [0, 1, 2, 5, 12, 18, 25, 60])
def test_a_verdict_is_there_at_any_moment_and_survives_json(count: int) -> None:
    task = sample_task()
    trials = run_study(task, one_flag(1.4))[:count]
    verdict = decide(build_space(task.spec), trials)
    assert verdict.summary
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict
