"""How sure a difference is: noise, simultaneous intervals, bounds. Numbers in, numbers out.

Everything here works on natural logarithms, where noise that grows with the value is even, and a
difference is a ratio: 0.14 is +15 %. Larger is better; callers turn signs round before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Runs = tuple[float, ...]
"""The logarithms that one configuration gave, one for each fresh server."""

CONFIDENCE = 0.95
RESAMPLES = 4000
# Servers that are started anew never agree better: vLLM scatters 1-3 %, llama.cpp up to 10 %.
# Two or three runs that happen to agree must not pass for certainty.
NOISE_FLOOR = 0.01
# One degree of freedom says nothing: its 95 % interval spans a factor of twelve noises.
FEWEST_DEGREES = 2

_Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """How much runs of one configuration scatter.

    Attributes:
        sd: Standard deviation of one run, on the scale of logarithms: 0.05 is about 5 %.
        degrees: Degrees of freedom that it rests on.
    """

    sd: float
    degrees: int

    def error(self, *counts: int) -> float:
        """Standard error of a sum or difference of means over so many runs each."""
        return self.sd * math.sqrt(sum(1 / count for count in counts))


@dataclass(frozen=True)
class Difference:
    """One configuration against another.

    Attributes:
        point: Difference of the means.
        low: Lower end of the interval; None when nothing can be said.
        high: Upper end of the interval; None when nothing can be said.
    """

    point: float
    low: float | None = None
    high: float | None = None

    @property
    def is_above_zero(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low is not None and self.low > 0

    @property
    def is_below_zero(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.high is not None and self.high < 0


def mean(runs: Runs) -> float:
    """Mean of at least one run."""
    return math.fsum(runs) / len(runs)


def pooled_noise(arms: Sequence[Runs]) -> Noise | None:
    """The scatter that all arms share; None where too few runs repeat one another.

    Three runs alone give a poor estimate, five arms of three runs a fair one; that arms scatter
    alike is the price.
    """
    degrees = sum(len(runs) - 1 for runs in arms if runs)
    if degrees < FEWEST_DEGREES:
        return None
    squares = math.fsum((x - mean(runs)) ** 2 for runs in arms if runs for x in runs)
    return Noise(max(math.sqrt(squares / degrees), NOISE_FLOOR), degrees)


@lru_cache(maxsize=128)
def differences(
    reference: Runs, arms: tuple[Runs, ...], others: tuple[Runs, ...] = ()
) -> tuple[Difference | None, ...]:
    """Each arm against the reference, with intervals that hold all at once.

    The largest of several differences is the luckiest one: the intervals are wide enough that in
    95 of 100 studies all of them cover the truth, and so does the one that looks best.

    Args:
        reference: Runs of what every arm is compared with.
        arms: Runs of each arm.
        others: Runs of further configurations; they only tell about noise.

    Returns:
        For each arm a difference; None where the arm or the reference has no run. Without
        enough repeats to tell the noise the differences have no interval.
    """
    alive = [runs for runs in arms if runs]
    if not reference or not alive:
        return (None,) * len(arms)
    noise = pooled_noise([reference, *arms, *others])
    critical = _critical(reference, alive, others) if noise else 0.0
    return tuple(_difference(reference, runs, noise, critical) if runs else None for runs in arms)


def _difference(reference: Runs, runs: Runs, noise: Noise | None, critical: float) -> Difference:
    point = mean(runs) - mean(reference)
    if noise is None:
        return Difference(point)
    reach = critical * noise.error(len(runs), len(reference))
    return Difference(point, point - reach, point + reach)


def _critical(reference: Runs, arms: Sequence[Runs], others: Sequence[Runs]) -> float:
    """How many standard errors the intervals reach.

    The bootstrap hears outliers and skew, but not from a handful of runs that agree by chance;
    normal theory is the least that is asked for.
    """
    everything = [np.array(runs) for runs in (reference, *arms, *others) if runs]
    counts = [len(runs) for runs in everything]
    bootstrap = _largest(_resampled(everything), counts, len(arms))
    normal = _largest(_simulated(counts), counts, len(arms))
    return float(max(np.quantile(bootstrap, CONFIDENCE), np.quantile(normal, CONFIDENCE)))


def _resampled(arms: Sequence[_Numbers]) -> tuple[_Numbers, _Numbers]:
    """Means (resamples x arms) and noise (resamples) of runs drawn from all residuals."""
    counts = [len(runs) for runs in arms]
    drawn = np.random.default_rng(0).choice(_residuals(arms), size=(RESAMPLES, sum(counts)))
    parts = np.split(drawn, np.cumsum(counts)[:-1], axis=1)
    means = np.stack([part.mean(axis=1) for part in parts], axis=1)
    squares = sum(((part - part.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) for part in parts)
    return means, np.maximum(np.sqrt(squares / (sum(counts) - len(counts))), NOISE_FLOOR)


def _residuals(arms: Sequence[_Numbers]) -> _Numbers:
    """Distances from the mean of n runs are too small by sqrt((n - 1) / n): that is undone."""
    repeated = [runs for runs in arms if len(runs) > 1]
    return np.concatenate(
        [(runs - runs.mean()) * math.sqrt(len(runs) / (len(runs) - 1)) for runs in repeated]
    )


def _simulated(counts: Sequence[int]) -> tuple[_Numbers, _Numbers]:
    """Means (resamples x arms) and noise (resamples) of normal runs with deviation 1."""
    rng = np.random.default_rng(0)
    degrees = sum(counts) - len(counts)
    means = rng.standard_normal((RESAMPLES, len(counts))) / np.sqrt(counts)
    return means, np.sqrt(rng.chisquare(degrees, RESAMPLES) / degrees)


def _largest(drawn: tuple[_Numbers, _Numbers], counts: Sequence[int], compared: int) -> _Numbers:
    """The largest studentized difference from the first arm, in each resample."""
    means, noise = drawn
    inverse = 1 / np.array(counts, dtype=np.float64)
    errors = np.sqrt(inverse[1 : compared + 1] + inverse[0])
    gaps = np.abs(means[:, 1 : compared + 1] - means[:, :1]) / (errors * noise[:, None])
    return np.asarray(gaps.max(axis=1), dtype=np.float64)


def upper_bound(runs: Runs, noise: Noise | None) -> float | None:
    """What the true mean stays below, 95 % sure; None when nothing can be said."""
    if not runs or noise is None:
        return None
    return mean(runs) + student_quantile(noise.degrees) * noise.error(len(runs))


def lower_bound(runs: Runs, noise: Noise | None) -> float | None:
    """What the true mean stays above, 95 % sure; None when nothing can be said."""
    high = upper_bound(runs, noise)
    return None if high is None else 2 * mean(runs) - high


def student_quantile(degrees: int) -> float:
    """The 95 % quantile of Student's t for two or more degrees of freedom, within 0.3 %.

    The series of Cornish and Fisher in 1 / degrees (Abramowitz and Stegun, 26.7.5).

    >>> round(student_quantile(4), 2), round(student_quantile(10), 2)
    (2.13, 1.81)
    """
    z = NormalDist().inv_cdf(CONFIDENCE)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(degrees) ** power for power, term in enumerate(terms, start=1))
