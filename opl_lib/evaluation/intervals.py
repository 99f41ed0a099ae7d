"""Confidence bounds of an estimate, one-sided and two-sided, from its sample alone."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from ..arrays import row_chunks
from ..checks import check_choice, check_number, check_seed
from ..logs.units import Units
from .betting import betting
from .forms import Sample, estimated

RANGED = ("empirical_bernstein", "betting")
INTERVALS = ("normal", "student_t", "bootstrap", *RANGED)
N_RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """How bounds are made from a sample; checked when it is made.

    Attributes
    ----------
    kind : {"normal", "student_t", "bootstrap", "empirical_bernstein", "betting"}
    reward_range : tuple of two floats, optional
        The smallest and the largest possible reward, for the last two.
    max_weight : float, optional
        The largest possible weight, for the same; infinite if ``"betting"`` is not given it.
    random_state : int
        Fixes the resamples of ``"bootstrap"`` and the order of ``"betting"``.
    """

    kind: str = "normal"
    reward_range: tuple[float, float] | None = None
    max_weight: float | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        check_choice("interval", self.kind, INTERVALS)
        check_seed(self.random_state)
        if self.kind not in RANGED:
            for name in ("reward_range", "max_weight"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is used by interval='empirical_bernstein' and 'betting' only; "
                        f"leave it out for interval={self.kind!r}."
                    )
            return
        if self.reward_range is None:
            raise ValueError(
                f"interval {self.kind!r} needs the range of all possible rewards, which a log "
                "cannot show: pass reward_range=(0, 1) for clicks."
            )
        object.__setattr__(self, "reward_range", checked_range(self.reward_range))
        if self.max_weight is not None:
            check_number("max_weight", self.max_weight, least=1)  # their mean is 1
            object.__setattr__(self, "max_weight", float(self.max_weight))
        elif self.kind == "betting":
            object.__setattr__(self, "max_weight", math.inf)

    def check(self, tail: float, units: Units) -> None:
        """Raise unless it can bound a tail for units like these: to be asked before any fit."""
        if self.kind == "bootstrap" and tail * N_RESAMPLES < 1:
            raise ValueError(
                f"interval 'bootstrap' draws {N_RESAMPLES:,} resamples, too few to see a tail of "
                f"{tail:.2g}. Lower the confidence, take fewer candidates, or use 'student_t'."
            )
        if self.kind in ("normal", "student_t") and 1 - tail == 1:
            raise ValueError(
                f"interval {self.kind!r} cannot tell a tail of {tail:.2g} from none: lower the "
                "confidence."
            )
        if self.kind in RANGED and units.number is not None:
            raise ValueError(
                f"interval {self.kind!r} needs independent rows, and the "
                f"{units.n_rows:,} rows are of {len(units):,} users. Use 'student_t' or "
                "'bootstrap', which know of users; or make a log of one row a user."
            )

    def bounds(self, sample: Sample, tail: float) -> tuple[float, float]:
        """A lower and an upper bound, each of which fails with probability `tail`.

        Together they are a two-sided interval of confidence ``1 − 2 tail``; either alone is a
        one-sided bound of confidence ``1 − tail``. NaN where the terms do not show the error.
        """
        self.check(tail, sample.units)
        if not sample.shows_error:
            return math.nan, math.nan
        if len(sample.terms) == 1:
            return -math.inf, math.inf
        if self.kind == "normal":
            return normal(sample.terms, tail)
        if self.kind == "student_t":
            return student_t(sample.terms, tail)
        if self.kind == "bootstrap":
            return bootstrap(sample, tail, self.random_state)
        assert sample.range is not None
        if self.kind == "betting":
            return betting(sample.terms, tail, *sample.range, self.random_state)
        return empirical_bernstein(sample.terms, tail, *sample.range)


def normal(terms: np.ndarray, tail: float) -> tuple[float, float]:
    """Mean ± z standard errors, with z from the normal distribution, for independent terms (n,)."""
    return _symmetric(terms, NormalDist().inv_cdf(1 - tail) * _standard_error(terms))


def student_t(terms: np.ndarray, tail: float) -> tuple[float, float]:
    """The same from Student's t with n − 1 degrees of freedom: exact for normal terms."""
    from scipy.special import stdtrit

    t = float(stdtrit(len(terms) - 1, 1 - tail))
    return _symmetric(terms, t * _standard_error(terms))


def empirical_bernstein(
    terms: np.ndarray, tail: float, low: float, high: float
) -> tuple[float, float]:
    """Bounds that hold for every n, for independent terms in [low, high].

    ``mean ± ( sqrt(2 s² ln(2/tail) / n) + 7 (high − low) ln(2/tail) / (3 (n − 1)) )``, with the
    sample variance s²: Maurer and Pontil, COLT 2009, Theorem 4, scaled from [0, 1].
    """
    n, log = len(terms), math.log(2 / tail)
    spread = math.sqrt(2 * terms.var(ddof=1) * log / n)
    return _symmetric(terms, spread + 7 * (high - low) * log / (3 * (n - 1)))


def bootstrap(sample: Sample, tail: float, random_state: int) -> tuple[float, float]:
    """Percentiles of the estimate over resampled logs: Efron and Tibshirani 1993, chapter 13.

    The whole estimate is made anew from each resample, so a ratio needs no linearisation. Users are
    drawn with all of their rows, as the sums over these.
    """
    units, n = sample.units, len(sample.units)
    sums = [units.sums(column) for column in sample.columns]
    sizes = None if units.number is None else units.sums(np.ones(units.n_rows))
    rng = np.random.default_rng(random_state)
    estimates = np.empty(N_RESAMPLES)
    for some in row_chunks(N_RESAMPLES, n, max_elements=2**20):
        drawn = rng.integers(n, size=(some.stop - some.start, n))
        n_rows = n if sizes is None else sizes[drawn].sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):  # a resample without any weight
            means = [each[drawn].sum(axis=-1) / n_rows for each in sums]
            estimates[some] = estimated(sample.estimate, means)
    lower, upper = np.quantile(estimates, [tail, 1 - tail])
    return float(lower), float(upper)


def _standard_error(terms: np.ndarray) -> float:
    return Units(len(terms)).standard_error(terms)


def _symmetric(terms: np.ndarray, width: float) -> tuple[float, float]:
    value = float(terms.mean())
    return value - width, value + width


def checked_range(reward_range: Any) -> tuple[float, float]:
    """The smallest and the largest reward; raise if it is anything else."""
    found: list[float] = []
    if isinstance(reward_range, Sequence | np.ndarray) and not isinstance(reward_range, str):
        with contextlib.suppress(ValueError):
            for end in reward_range:
                check_number("reward_range", end)
                found.append(float(end))
    if len(found) != 2 or not found[0] < found[1] or math.isinf(found[1] - found[0]):
        raise ValueError(
            f"reward_range must be two finite numbers, the smaller first; got {reward_range!r}."
        )
    return found[0], found[1]
