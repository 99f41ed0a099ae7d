"""What makes an estimator, and the sample that it makes of terms.

A `Sample` is all that an interval needs to know: it holds no estimator and no policy.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import numbers
from ..checks import check_flag
from ..logs.units import Units
from ..protocols import takes
from .terms import Terms

Estimate = Callable[..., Any]  # from the means of columns, numbers or arrays, to the estimate
Gradient = Callable[..., Sequence[Any]]  # from the same to the derivative in each of them


@dataclass(frozen=True, eq=False)
class Sample:
    """An estimate, its independent terms, and how to make it anew from a resample.

    Attributes
    ----------
    value : float
        The estimate.
    terms : array of shape (n_units,)
        One a row, or a user with all of their rows. Their mean is the estimate; those of an
        estimate that is no mean are linearised around it (the delta method).
    shows_error : bool
        Whether the spread of the terms tells the error of the estimate.
    columns : array of shape (n_columns, n_rows)
        What the estimate is a function of, by the means.
    estimate : callable
        That function, of n_columns arguments.
    units : Units
        What is drawn in a resample.
    range : tuple of two floats, or None
        The smallest and the largest possible term, where it was asked for; one may be infinite.
    """

    value: float
    terms: np.ndarray
    shows_error: bool
    columns: np.ndarray
    estimate: Estimate
    units: Units
    range: tuple[float, float] | None = None

    @property
    def standard_error(self) -> float:
        """Of the estimate: NaN if its terms do not show it, infinite for a single term."""
        return Units(len(self.terms)).standard_error(self.terms) if self.shows_error else math.nan


@dataclass(frozen=True)
class Form:
    """What makes an estimator: pass one to `Estimator` to add one of your own.

    Parameters
    ----------
    columns : callable
        From `Terms` and the used weights, shape (n_rounds,), to one array of that shape, whose mean
        is the estimate; or, with `estimate`, to a tuple of such arrays. If it must be given three
        arguments, the third is the limit.
    estimate : callable, optional
        From the means of the columns, one argument each, to the estimate, made of numpy functions:
        the bootstrap passes arrays.
    gradient : callable, optional
        From the same to the derivatives of `estimate`, one a column, for the standard error. If not
        given, central differences.
    weight : callable
        The used weight f(w, limit): what the importance weights w are turned into.
    most : callable
        From the limit to what f never exceeds, if that is known.
    needs_reward_model : bool
        Whether `columns` reads `q_logged` or `q_policy`.
    weighs : bool
        Whether the estimate depends on the weights. If not, it has no error to choose by.
    default_limit : callable, optional
        From the number of rounds to the limit; None for an estimator without one.
    """

    columns: Callable[..., Any]
    estimate: Estimate | None = None
    gradient: Gradient | None = None
    weight: Callable[[np.ndarray, float], np.ndarray] = lambda w, limit: w
    most: Callable[[float], float] = lambda limit: math.inf
    needs_reward_model: bool = False
    weighs: bool = True
    default_limit: Callable[[int], float] | None = None

    def __post_init__(self) -> None:
        arguments = {"columns": 2, "weight": 2, "most": 1, "default_limit": 1}
        for name in (*arguments, "estimate", "gradient"):
            given = getattr(self, name)
            if given is None and name in ("estimate", "gradient", "default_limit"):
                continue
            if not callable(given):
                raise TypeError(f"{name} of a form must be a function; got {given!r}.")
            if name == "columns" and takes(given, 3):
                continue
            if name in arguments and not takes(given, arguments[name]):
                raise TypeError(f"{name} of a form must take {arguments[name]} arguments.")
        for name in ("needs_reward_model", "weighs"):
            check_flag(name, getattr(self, name))

    def per_row(self, terms: Terms, w: np.ndarray, limit: float = math.nan) -> np.ndarray:
        """Terms (n_rounds,) of a form whose estimate is their mean."""
        (column,) = self._columns(terms, w, limit)
        return column - (terms.reward if terms.difference else 0.0)

    def sample(
        self, terms: Terms, limit: float, known: tuple[float, float] | None = None
    ) -> Sample:
        """The estimate from `terms`, as independent terms of a range that is `known` or not."""
        used = _returned("weight", self.weight(terms.weight, limit), terms.weight.shape)
        estimate = self.estimate
        if estimate is None:
            per_row = self.per_row(terms, used, limit)
            columns, estimate = per_row[None], _itself
        else:
            columns = self._columns(terms, used, limit)
            per_row = linearised(columns, estimate, self.gradient)
            if terms.difference:
                per_row = per_row - terms.reward
                columns, estimate = np.vstack([columns, terms.reward]), _less_last(estimate)
        return Sample(
            value=float(per_row.mean()),
            terms=terms.units.terms(per_row),
            shows_error=bool(used.any()),
            columns=columns,
            estimate=estimate,
            units=terms.units,
            range=known,
        )

    def _columns(self, terms: Terms, w: np.ndarray, limit: float) -> np.ndarray:
        two = takes(self.columns, 2)
        found = self.columns(terms, w) if two else self.columns(terms, w, limit)
        if not isinstance(found, tuple | list):
            found = (found,)
        if len(found) != 1 and (self.estimate is None or not found):
            raise ValueError(
                "columns of a form must return one array where no estimate is made of several; "
                f"got {len(found)}."
            )
        return np.stack([_returned("columns", column, terms.reward.shape) for column in found])


def _returned(what: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that a function of a form has returned."""
    array = numbers(f"what {what} of a form returned", values, ndim=None, check_finite=False)
    if array.shape != shape:
        raise ValueError(f"{what} of a form must return shape {shape}; got {array.shape}.")
    return array


def _itself(column: Any) -> Any:
    return column


def _less_last(estimate: Estimate) -> Estimate:
    return lambda *means: estimate(*means[:-1]) - means[-1]


def extremes(
    form: Form, limit: float, reward_range: tuple[float, float], most: float, difference: bool
) -> tuple[float, float]:
    """Of terms at corners, where 0 times an infinite weight says what weight 0 says, too."""
    least = float(form.weight(np.zeros(1), limit)[0])
    ends = np.array(list(itertools.product(*[reward_range] * 3, (least, most))))
    reward, q_logged, q_policy, weight = ends.T
    finite = np.minimum(weight, np.finfo(float).max)
    corners = Terms(reward, finite, q_logged, q_policy, difference)
    with np.errstate(over="ignore", invalid="ignore"):
        values = form.per_row(corners, weight, limit)
    return float(np.nanmin(values)), float(np.nanmax(values))


def linearised(columns: np.ndarray, estimate: Estimate, gradient: Gradient | None) -> np.ndarray:
    """Terms (n,) whose mean is the estimate, and whose spread is that of the estimate.

    ``g(m) + Σ_k ∂g/∂m_k (c_k − m_k)`` for columns c_k of means m_k, shape (n_columns, n).
    """
    means = columns.mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # no weight at all: not a number
        if gradient is None:
            slopes = _slopes(columns, estimate)
        else:
            slopes = _returned("gradient", _of_means("gradient", gradient, means), means.shape)
        return estimated(estimate, means) + slopes @ (columns - means[:, None])


def estimated(estimate: Estimate, means: Sequence[Any]) -> Any:
    """The estimate from the means of columns, checked: one a resample, where means are arrays."""
    found = _of_means("estimate", estimate, means)
    array, shape = np.asarray(found), np.shape(means[0])
    if array.shape != shape or array.dtype.kind not in "biuf":
        raise ValueError(
            f"estimate of a form must return shape {shape} for means of shape {shape}; got "
            f"{type(found).__name__} of shape {array.shape}."
        )
    return found


def _of_means(name: str, function: Callable[..., Any], means: Sequence[Any]) -> Any:
    if not takes(function, len(means)):
        raise TypeError(f"{name} of a form must take {len(means)} means, one a column.")
    return function(*means)


def _slopes(columns: np.ndarray, estimate: Estimate) -> np.ndarray:
    """Central differences, with steps that are small against each mean or its error."""
    means, spread = columns.mean(axis=1), columns.std(axis=1) / math.sqrt(columns.shape[1])
    slopes = []
    for k, scale in enumerate(np.maximum(np.abs(means), spread)):
        step = np.zeros(len(means))
        step[k] = np.cbrt(np.finfo(float).eps) * (scale if scale > 0 else 1.0)
        ends = estimated(estimate, means + step), estimated(estimate, means - step)
        slopes.append(float(ends[0] - ends[1]) / (2 * step[k]))
    return np.array(slopes)
