import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from inference_autotuner.manifests import svg
from inference_autotuner.manifests.plots import draw_finalists, draw_undo
from inference_autotuner.manifests.proof_sections import comparison_section
from inference_autotuner.manifests.roles import Role, Roles, build_roles
from inference_autotuner.manifests.search_plots import (
    draw_flags,
    draw_progress,
    influential_flags,
    ordered_values,
    running_best,
)
from inference_autotuner.manifests.tradeoff_plot import Axis, draw_tradeoff, pareto_front
from inference_autotuner.optimizer.metrics import Direction, Metric, Statistic
from inference_autotuner.optimizer.trial import Trial, TrialKind, TrialState
from inference_autotuner.optimizer.verdict import Change, FlagChange
from tests.samples import sample_study


def roles_of(name):
    study = sample_study(name)
    return build_roles(study.task, study.trials, study.verdict)


def tips(drawing):
    root = ElementTree.fromstring(drawing.svg)
    return [title.text for group in root.iter("g") for title in group.findall("title")]


def throughput_and_ttft(roles):
    axes = Axis(Metric.OUTPUT_THROUGHPUT), Axis(Metric.TTFT, Statistic.P99, is_worst=True)
    return draw_tradeoff(roles, *axes, name="t")


def test_every_measured_trial_is_a_point_with_its_params():
    roles = roles_of("Better")
    shown = tips(throughput_and_ttft(roles))
    assert len(shown) == len(roles.measured)
    (baseline,) = [tip for tip in shown if tip.startswith("#0 ")]
    assert re.fullmatch(r"#0 \(baseline\): output tok/s [\d.]+, ttft p99 \d+ ms", baseline)


def test_the_limit_is_drawn_where_an_axis_has_one():
    assert "SLO 6000 ms" in throughput_and_ttft(roles_of("Better")).svg
    assert "SLO" not in throughput_and_ttft(roles_of("objectives")).svg


def test_an_infeasible_trial_is_a_mark_on_the_axis_of_the_progress():
    roles = roles_of("Better")
    drawing = draw_progress(roles)
    assert Role.INFEASIBLE in drawing.roles
    assert len(tips(drawing)) == len(roles.explored)
    assert any("infeasible OutOfMemory" in tip for tip in tips(drawing))


def test_runs_are_drawn_for_each_finalist_and_not_for_a_lone_baseline():
    roles = roles_of("Better")
    drawing = draw_finalists(roles, [roles.baseline, roles.winner])
    expected = len(roles.runs(roles.baseline)) + len(roles.runs(roles.winner))
    assert len(tips(drawing)) == expected
    assert draw_finalists(roles, [roles.baseline]) is None


def test_the_same_configuration_spelled_otherwise_is_the_winner_too():
    roles = roles_of("Better")
    other = replace(roles.trials[-1], params={"threads": 1})
    assert Roles(roles.space, [other], roles.winner).role(other) is Role.WINNER


def test_a_measurement_whose_value_is_no_number_is_not_drawn():
    study = sample_study("Better")
    trials = [replace(study.trials[0], values=(float("nan"),)), *study.trials[1:]]
    roles = build_roles(study.task, trials, study.verdict)
    assert trials[0] not in roles.measured
    assert roles.role(trials[0]) is Role.FAILED


def test_the_winner_is_drawn_below_the_baseline_and_once():
    study = sample_study("Better")
    roles = build_roles(study.task, study.trials, study.verdict)
    finalist = replace(study.verdict.finalists[-1], params=roles.winner)
    verdict = replace(study.verdict, finalists=(study.verdict.finalists[0], finalist))
    shown = next(
        picture.svg for picture in comparison_section(roles, verdict).pictures if picture.legend
    )
    labels = [roles.describe(p) for p in (roles.baseline, roles.winner)]
    labels.append("threads=1 parallel=2 batch-size=256 ubatch-size=128")
    places = [shown.index(f">{text}</text>") for text in labels]
    assert places == sorted(places)
    assert shown.count(f">{labels[1]}</text>") == 1


def test_undo_bars_are_drawn_for_flags_that_were_undone():
    flags = [
        FlagChange("a", 1, None, True, Change(0.4, 0.3, 0.5)),
        FlagChange("b", 1, None, False, Change(0.0, -0.01, 0.02)),
        FlagChange("c", 1, None, False, None),
    ]
    shown = draw_undo(flags).svg
    assert "a: default → 1" in shown
    assert "b: default → 1" in shown
    assert "c: default" not in shown
    assert draw_undo(flags[2:]) is None


def test_at_most_six_flags_are_drawn():
    trials = [
        Trial(
            n, TrialKind.EXPLORE, {f"f{i}": n for i in range(9)}, TrialState.MEASURED, values=(n,)
        )
        for n in (1, 2)
    ]
    assert len(influential_flags(trials)) == 6


def test_a_flag_with_one_value_is_not_drawn():
    trials = [
        Trial(n, TrialKind.EXPLORE, {"a": n, "b": 1}, TrialState.MEASURED, values=(float(n),))
        for n in (1, 2)
    ]
    assert influential_flags(trials) == ["a"]


def test_values_are_in_the_order_people_expect():
    assert ordered_values([16, None, "on", 4, True, 16]) == ["default", "4", "16", "on", "true"]


def test_the_best_so_far_counts_only_trials_that_hold_every_slo():
    def trial(number, value, excess):
        return Trial(
            number,
            TrialKind.EXPLORE,
            {},
            TrialState.MEASURED,
            values=(value,),
            violations={"ttft p99": excess},
        )

    trials = [trial(0, 10.0, -0.1), trial(1, 30.0, 0.2), trial(2, 20.0, 0.0), trial(3, 15.0, -1.0)]
    assert running_best(trials, Direction.MAXIMIZE) == [(0, 10.0), (2, 20.0)]
    assert running_best(trials, Direction.MINIMIZE) == [(0, 10.0)]


@pytest.mark.parametrize(
    ("up", "front"),
    [
        (Direction.MINIMIZE, [(1.0, 1.0), (3.0, 2.0)]),
        (Direction.MAXIMIZE, [(2.0, 5.0), (3.0, 2.0)]),
    ],
)
def test_the_pareto_front_is_what_nothing_beats_both_ways(up, front):
    places = [(1.0, 1.0), (2.0, 5.0), (3.0, 2.0), (0.5, 1.5)]
    assert pareto_front(places, Direction.MAXIMIZE, up) == front


def test_nothing_measured_draws_nothing():
    roles = roles_of("crashes")
    assert throughput_and_ttft(roles) is None
    assert draw_progress(roles) is None
    assert draw_flags(roles) is None


def test_texts_of_any_kind_can_be_drawn():
    with svg.drawing():
        figure = svg.new_figure(100)
        axes = figure.add_subplot()
        axes.set_title(svg.label("$x^2$ <b> & \0 漢字 \ud800", 60))
        shown = svg.to_svg(figure, name="n", title="a<b", description="c&d")
    assert "$x^2$ &lt;b&gt; &amp; " in shown
    ElementTree.fromstring(shown)
    assert not re.search(r">\s+<", shown)


def test_ids_of_a_figure_begin_with_its_name():
    shown = draw_progress(roles_of("Better")).svg
    assert all(found.startswith("progress-") for found in re.findall(r' id="([^"]+)"', shown))
