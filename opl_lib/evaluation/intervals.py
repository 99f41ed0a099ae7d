"""Confidence bounds for the mean of per-row terms, one-sided and two-sided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from statistics import NormalDist
from typing import Any

import numpy as np

from ..checks import check_number, check_rows, row_chunks
from ..logs.support import per_user, standard_error
from .estimators import Estimator, Terms

INTERVALS = ("normal", "student_t", "bootstrap", "empirical_bernstein")
N_RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """How bounds are made from per-row terms; checked when it is made.

    Attributes
    ----------
    kind : {"normal", "student_t", "bootstrap", "empirical_bernstein"}
    reward_range : tuple of two floats, optional
        The smallest and the largest possible reward, for ``"empirical_bernstein"``.
    max_weight : float, optional
        The largest possible weight, for the same.
    random_state : int
        Fixes the resamples of ``"bootstrap"``.
    """

    kind: str = "normal"
    reward_range: tuple[float, float] | None = None
    max_weight: float | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        if self.kind not in INTERVALS:
            raise ValueError(f"interval must be one of {INTERVALS}; got {self.kind!r}.")
        check_number("random_state", self.random_state, Integral, least=0)
        if self.kind != "empirical_bernstein":
            for name in ("reward_range", "max_weight"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is used by interval='empirical_bernstein' only; leave it out for "
                        f"interval={self.kind!r}."
                    )
            return
        if self.reward_range is None:
            raise ValueError(
                "interval 'empirical_bernstein' needs the range of all possible rewards, which a "
                "log cannot show: pass reward_range=(0, 1) for clicks."
            )
        if not _is_range(self.reward_range):
            raise ValueError(
                "reward_range must be two finite numbers, the smaller first; "
                f"got {self.reward_range!r}."
            )
        if self.max_weight is not None:
            check_number("max_weight", self.max_weight, Real, least=1)  # their mean is 1

    def bounds(self, estimator: Estimator, terms: Terms, tail: float) -> tuple[float, float]:
        """A lower and an upper bound, each of which fails with probability `tail`.

        Together they are a two-sided interval of confidence ``1 − 2 tail``; either alone is a
        one-sided bound of confidence ``1 − tail``. NaN where the terms do not show the error.
        """
        if self.kind == "empirical_bernstein":
            low, high = self.term_range(estimator, terms)
        if not shows_its_error(estimator, terms):
            return math.nan, math.nan
        independent = per_user(estimator.per_row(terms), terms.user)
        if len(independent) == 1:
            return -math.inf, math.inf
        if self.kind == "normal":
            return normal(independent, tail)
        if self.kind == "student_t":
            return student_t(independent, tail)
        if self.kind == "bootstrap":
            return bootstrap(estimator, terms, tail, self.random_state)
        return empirical_bernstein(independent, tail, low, high)

    def term_range(self, estimator: Estimator, terms: Terms) -> tuple[float, float]:
        """The range used by ``"empirical_bernstein"``, once the log is seen to respect it."""
        if terms.user is not None:
            raise ValueError(
                f"interval 'empirical_bernstein' needs independent rows, and the "
                f"{len(terms.user):,} rows are of {terms.user.max() + 1:,} users. Use 'student_t' "
                "or 'bootstrap', which know of users; or make a log of one row a user."
            )
        low, high = self.reward_range
        must_be, cure = f"in reward_range [{low:g}, {high:g}]", "Correct reward_range."
        _check_within("reward", terms.reward, low, high, must_be, cure)
        if self.max_weight is not None:
            must_be = f"at most max_weight {self.max_weight:g}"
            cure = "Correct max_weight, or the log's pscore."
            _check_within("weight", terms.weight, 0, self.max_weight, must_be, cure)
        if estimator.needs_reward_model:
            must_be = f"in reward_range [{low:g}, {high:g}]"
            cure = "Use a model that stays in it, such as a classifier, or clip its predictions."
            for name in ("q_logged", "q_policy"):
                what = f"the reward model's prediction ({name})"
                _check_within(what, getattr(terms, name), low, high, must_be, cure)
        return estimator.term_range(
            len(terms.reward), (low, high), self.max_weight, terms.difference
        )


def shows_its_error(estimator: Estimator, terms: Terms) -> bool:
    """Whether the spread of the terms tells the error of their mean.

    Not that of the direct method, which is the error of q̂, and nothing if no row has any weight.
    """
    return estimator.name != "dm" and bool(estimator.used_weight(terms).any())


def normal(per_row: np.ndarray, tail: float) -> tuple[float, float]:
    """Mean ± z standard errors, with z from the normal distribution."""
    return _symmetric(per_row, NormalDist().inv_cdf(1 - tail) * standard_error(per_row))


def student_t(per_row: np.ndarray, tail: float) -> tuple[float, float]:
    """The same from Student's t with n − 1 degrees of freedom: exact for normal terms."""
    from scipy.special import stdtrit

    t = float(stdtrit(len(per_row) - 1, 1 - tail))
    return _symmetric(per_row, t * standard_error(per_row))


def empirical_bernstein(
    per_row: np.ndarray, tail: float, low: float, high: float
) -> tuple[float, float]:
    """Bounds that hold for every n, for independent terms in [low, high].

    ``mean ± ( sqrt(2 s² ln(2/tail) / n) + 7 (high − low) ln(2/tail) / (3 (n − 1)) )``, with the
    sample variance s²: Maurer and Pontil, COLT 2009, Theorem 4, scaled from [0, 1].
    """
    n, log = len(per_row), math.log(2 / tail)
    spread = math.sqrt(2 * per_row.var(ddof=1) * log / n)
    return _symmetric(per_row, spread + 7 * (high - low) * log / (3 * (n - 1)))


def bootstrap(
    estimator: Estimator, terms: Terms, tail: float, random_state: int
) -> tuple[float, float]:
    """Percentiles of the estimate over resampled logs: Efron and Tibshirani 1993, chapter 13.

    The whole estimate is made anew from each resample, so a ratio needs no linearisation. Users are
    drawn with all of their rows.
    """
    if tail * N_RESAMPLES < 1:
        raise ValueError(
            f"interval 'bootstrap' draws {N_RESAMPLES:,} resamples, too few to see a tail of "
            f"{tail:.2g}. Lower the confidence, take fewer candidates, or use 'student_t'."
        )
    n = len(terms.reward)
    rng = np.random.default_rng(random_state)
    means = np.empty(N_RESAMPLES)
    if terms.user is None:
        for some in row_chunks(N_RESAMPLES, n, max_elements=2**20):
            draws = rng.integers(n, size=(some.stop - some.start, n))
            means[some] = estimator.per_row(terms.rows(draws)).mean(axis=-1)
    else:
        rows_of = np.split(np.argsort(terms.user, kind="stable"), np.bincount(terms.user).cumsum())
        for resample in range(N_RESAMPLES):
            users = rng.integers(len(rows_of) - 1, size=len(rows_of) - 1)
            drawn = np.concatenate([rows_of[user] for user in users])
            means[resample] = estimator.per_row(terms.rows(drawn)).mean()
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return float(lower), float(upper)


def _symmetric(per_row: np.ndarray, width: float) -> tuple[float, float]:
    value = float(per_row.mean())
    return value - width, value + width


def _is_range(value: Any) -> bool:
    try:
        low, high = value
        return bool(math.isfinite(low) and math.isfinite(high) and low < high)
    except (TypeError, ValueError):
        return False


def _check_within(
    name: str, column: np.ndarray, low: float, high: float, must_be: str, cure: str
) -> None:
    slack = 1e-6 * max(1.0, abs(low), abs(high))  # single precision is no violation
    check_rows(name, column, (column >= low - slack) & (column <= high + slack), must_be, cure)
