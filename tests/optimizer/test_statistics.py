"""Noise, intervals and bounds: what may be said, and when nothing may be said."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.optimizer.statistics import (
    NOISE_FLOOR,
    Difference,
    Noise,
    differences,
    lower_bound,
    mean,
    pooled_noise,
    student_quantile,
    upper_bound,
)

RUN = st.floats(-2, 2, allow_nan=False).map(lambda x: round(x, 6))
RUNS = st.lists(RUN, min_size=0, max_size=6).map(tuple)
ARMS = st.lists(RUNS, min_size=1, max_size=5).map(tuple)


def drawn(rng: np.random.Generator, count: int, merit: float = 0.0) -> tuple[float, ...]:
    return tuple(float(x) for x in rng.normal(merit, 0.05, count))


def test_noise_is_pooled_over_arms_of_different_merit() -> None:
    noise = pooled_noise([(0.0, 0.2), (1.0, 1.2), (5.0,)])
    assert noise == Noise(pytest.approx(math.sqrt(0.02)), 2)


@pytest.mark.parametrize("arms", [[], [()], [(1.0,), (2.0,)], [(1.0, 1.1)]])
def test_too_few_repeats_tell_no_noise(arms: list[tuple[float, ...]]) -> None:
    assert pooled_noise(arms) is None


def test_identical_runs_do_not_pass_for_certainty() -> None:
    (found,) = differences((0.0, 0.0, 0.0), ((0.005, 0.005, 0.005),))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 2 * NOISE_FLOOR
    assert not found.is_above_zero


def test_a_single_run_each_gives_a_point_and_no_interval() -> None:
    assert differences((0.0,), ((0.3,),)) == (Difference(0.3),)
    assert not Difference(0.3).is_above_zero
    assert not Difference(-0.3).is_below_zero


def test_without_a_reference_nothing_is_compared() -> None:
    assert differences((), ((0.1, 0.2), (0.3, 0.1))) == (None, None)


def test_an_arm_without_runs_leaves_the_others_comparable() -> None:
    missing, found = differences((0.0, 0.1), ((), (0.5, 0.6)))
    assert missing is None
    assert found is not None
    assert found.point == pytest.approx(0.5)


def test_more_arms_to_choose_from_make_every_interval_wider() -> None:
    rng = np.random.default_rng(3)
    reference, arm, *others = (drawn(rng, 5) for _ in range(6))
    (alone,) = differences(reference, (arm,), tuple(others))
    among = differences(reference, (arm, *others))[0]
    assert alone is not None
    assert among is not None
    assert alone.point == among.point
    assert width(among) > width(alone)


def test_more_runs_make_the_interval_narrower() -> None:
    rng = np.random.default_rng(4)
    few, many = (differences(drawn(rng, n), (drawn(rng, n),))[0] for n in (3, 12))
    assert width(many) < width(few)


def test_one_outlier_keeps_a_gain_from_being_certain() -> None:
    reference, steady = (0.0, 0.01, -0.01, 0.0, 0.01), (0.14, 0.15, 0.13)
    shaken = (*reference[:-1], -0.6)
    assert differences(reference, (steady,))[0].is_above_zero  # type: ignore[union-attr]
    assert not differences(shaken, (steady,))[0].is_above_zero  # type: ignore[union-attr]


def test_when_nothing_differs_the_best_of_three_rarely_looks_better() -> None:
    rng = np.random.default_rng(5)
    studies = [differences(drawn(rng, 5), tuple(drawn(rng, 3) for _ in range(3)))
               for _ in range(400)]  # fmt: skip
    false = sum(any(arm is not None and arm.is_above_zero for arm in arms) for arms in studies)
    assert false <= 0.05 * len(studies)


def test_the_intervals_of_all_arms_cover_the_truth_together() -> None:
    rng = np.random.default_rng(6)
    truth = (0.0, 0.1, -0.05)
    held = 0
    for _ in range(400):
        found = differences(drawn(rng, 5), tuple(drawn(rng, 3, merit) for merit in truth))
        held += all(covers(arm, merit) for arm, merit in zip(found, truth, strict=True))
    assert held >= 0.93 * 400


@given(reference=RUNS, arms=ARMS)
def test_whatever_the_runs_the_point_lies_within_its_interval(
    reference: tuple[float, ...], arms: tuple[tuple[float, ...], ...]
) -> None:
    for runs, found in zip(arms, differences(reference, arms), strict=True):
        assert (found is None) == (not runs or not reference)
        if found is not None and found.low is not None and found.high is not None:
            assert found.low < found.point < found.high
            assert math.isfinite(found.low)
            assert math.isfinite(found.high)


@given(reference=RUNS, arms=ARMS, shift=st.floats(-5, 5))
def test_a_change_of_unit_changes_nothing(
    reference: tuple[float, ...], arms: tuple[tuple[float, ...], ...], shift: float
) -> None:
    moved = tuple(tuple(run + shift for run in runs) for runs in arms)
    before = differences(reference, arms)
    after = differences(tuple(run + shift for run in reference), moved)
    for old, new in zip(before, after, strict=True):
        assert (old is None) == (new is None)
        if old is not None and new is not None and old.low is not None and new.low is not None:
            assert new.point == pytest.approx(old.point, abs=1e-9)
            assert new.low == pytest.approx(old.low, rel=1e-6, abs=1e-6)


@given(reference=RUNS, arms=ARMS)
def test_turning_the_direction_round_mirrors_every_interval(
    reference: tuple[float, ...], arms: tuple[tuple[float, ...], ...]
) -> None:
    mirrored = tuple(tuple(-run for run in runs) for runs in arms)
    there = differences(reference, arms)
    back = differences(tuple(-run for run in reference), mirrored)
    for one, other in zip(there, back, strict=True):
        if one is not None and other is not None and one.high is not None and other.low is not None:
            assert other.point == pytest.approx(-one.point, abs=1e-12)
            assert other.low == pytest.approx(-one.high, abs=1e-9)


def test_the_same_runs_give_the_same_interval_again() -> None:
    rng = np.random.default_rng(7)
    reference, arm = drawn(rng, 5), drawn(rng, 3)
    first = differences(reference, (arm,))
    differences.cache_clear()
    assert differences(reference, (arm,)) == first


@pytest.mark.parametrize(
    ("degrees", "expected"), [(2, 2.920), (3, 2.353), (5, 2.015), (10, 1.812), (60, 1.671)]
)
def test_the_quantile_is_students(degrees: int, expected: float) -> None:
    assert student_quantile(degrees) == pytest.approx(expected, rel=0.003)


def test_a_bound_needs_noise_and_runs() -> None:
    noise = Noise(0.1, 10)
    assert upper_bound((), noise) is None
    assert upper_bound((0.0, 0.1), None) is None
    assert lower_bound((), noise) is None


def test_the_upper_bound_is_missed_by_the_truth_once_in_twenty() -> None:
    rng = np.random.default_rng(8)
    missed = 0
    for _ in range(2000):
        arms = [drawn(rng, 3) for _ in range(4)]
        high = upper_bound(arms[0], pooled_noise(arms))
        assert high is not None
        missed += high < 0
    assert 0.03 < missed / 2000 < 0.07


def test_bounds_lie_on_both_sides_of_the_mean() -> None:
    runs, noise = (0.1, 0.3), Noise(0.1, 6)
    low, high = lower_bound(runs, noise), upper_bound(runs, noise)
    assert low is not None
    assert high is not None
    assert mean(runs) - low == pytest.approx(high - mean(runs))


def width(found: Difference | None) -> float:
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


def covers(found: Difference | None, truth: float) -> bool:
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high
