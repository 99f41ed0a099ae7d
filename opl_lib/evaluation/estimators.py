"""Estimators of the policy value, all of one form, from per-row terms.

Every estimator here is ``q̂(x, π) + f(w) (r − q̂(x, a))``: with a reward model or with 0 in its
place, with a function f that keeps, limits or drops the importance weights, and sometimes divided
by their mean. So the terms, their range and their errors are written once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from ..checks import check_number


@dataclass(frozen=True)
class Terms:
    """What the estimators need of a policy on a log, each of shape (..., n_rounds).

    Attributes
    ----------
    reward : array
    weight : array
        Importance weights ``π(a_i|x_i) / π_0(a_i|x_i)``.
    q_logged : array or None
        ``q̂(x_i, a_i)``.
    q_policy : array or None
        ``Σ_a π(a|x_i) q̂(x_i, a)``.
    difference : bool
        Whether to estimate ``V(π) − V(π_0)``: then every row's own reward, whose mean estimates
        ``V(π_0)``, is subtracted.
    user : integer array of shape (n_rounds,), or None
        Number of the row's user, from 0; None if every row is of another.
    """

    reward: np.ndarray
    weight: np.ndarray
    q_logged: np.ndarray | None = None
    q_policy: np.ndarray | None = None
    difference: bool = False
    user: np.ndarray | None = None

    def rows(self, rows: np.ndarray) -> Terms:
        """The terms of some rows; row numbers of shape (m, n) make m samples of n rows."""
        names = ("reward", "weight", "q_logged", "q_policy", "user")
        columns = {name: getattr(self, name) for name in names}
        return replace(self, **{k: None if c is None else c[rows] for k, c in columns.items()})

    def against_logging(self) -> Terms:
        """The same, for ``V(π) − V(π_0)``."""
        return replace(self, difference=True)


@dataclass(frozen=True)
class _Form:
    """What tells one estimator from another."""

    weight: Callable[[np.ndarray, float], np.ndarray]
    most: Callable[[float], float] = lambda limit: math.inf  # what weight() never exceeds
    uses_model: bool = False
    self_normalised: bool = False
    default_limit: Callable[[int], float] | None = None


def _keep(w: np.ndarray, limit: float) -> np.ndarray:
    return w


def _clip(w: np.ndarray, limit: float) -> np.ndarray:
    return np.minimum(w, limit)


def _switch(w: np.ndarray, limit: float) -> np.ndarray:
    return np.where(w <= limit, w, 0.0)


def _shrink(w: np.ndarray, limit: float) -> np.ndarray:
    return limit * w / (np.square(w) + limit)


def _constant(value: float) -> _Form:
    return _Form(lambda w, limit: np.full_like(w, value), lambda limit: value)


FORMS: dict[str, _Form] = {
    "avg": _constant(1.0),
    "dm": replace(_constant(0.0), uses_model=True),
    "ips": _Form(_keep),
    "snips": _Form(_keep, self_normalised=True),
    "clipped_ips": _Form(_clip, lambda limit: limit, default_limit=math.sqrt),
    "dr": _Form(_keep, uses_model=True),
    "sndr": _Form(_keep, uses_model=True, self_normalised=True),
    "switch_dr": _Form(_switch, lambda limit: limit, uses_model=True, default_limit=math.sqrt),
    "dros": _Form(
        _shrink, lambda limit: math.sqrt(limit) / 2, uses_model=True, default_limit=float
    ),
}


@dataclass(frozen=True)
class Estimator:
    """An estimator for `evaluate` and `select`, with a limit for its weights.

    A name alone, such as ``"dr"``, stands for the estimator with its default limit.

    Parameters
    ----------
    name : str
        One of the names below. With ``w`` the importance weight, ``q̂`` the reward model and
        ``q̂(x, π) = Σ_a π(a|x) q̂(x, a)``, the estimate is the mean over the rows of

        - ``"avg"``: ``r``, the value of the logging policy, whichever policy is asked about
        - ``"dm"``: ``q̂(x, π)``, the direct method
        - ``"ips"``: ``w r``
        - ``"snips"``: ``w r``, divided by the mean weight
        - ``"clipped_ips"``: ``min(w, M) r``
        - ``"dr"``: ``q̂(x, π) + w (r − q̂(x, a))``
        - ``"sndr"``: the same, with the correction divided by the mean weight
        - ``"switch_dr"``: the same, with the correction where ``w ≤ τ`` only
        - ``"dros"``: the same, with ``λ w / (w² + λ)`` in place of ``w``
    limit : float above 0, optional
        The M of ``"clipped_ips"``, the τ of ``"switch_dr"``, the λ of ``"dros"``. If not given,
        √n, √n and n for a log of n rows: for weights of finite variance the bias then vanishes as
        the log grows.

    Raises
    ------
    ValueError
        For an unknown name, a limit that is not above 0, or a limit for an estimator without one.

    Notes
    -----
    Marginalised IPS (MIPS) weights clusters of items, by the logging policy's probability of the
    logged item's whole cluster, which a log does not hold. Where it is known, make a log whose
    `action` is the cluster and whose `pscore` is that probability: ``"ips"`` of the policy's
    cluster probabilities on it is MIPS.

    References
    ----------
    Strehl et al., NeurIPS 2010 (clipped IPS); Ionides, "Truncated importance sampling", 2008 (√n);
    Swaminathan and Joachims, NeurIPS 2015 (SNIPS); Dudík, Langford and Li, ICML 2011 (DM, IPS, DR);
    Wang, Agarwal and Dudík, ICML 2017 (Switch-DR); Su et al., ICML 2020 (DRos);
    Saito and Joachims, ICML 2022 (MIPS).

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> log = world.sample(2000, random_state=1)
    >>> clipped = [opl.Estimator("clipped_ips", limit) for limit in (0.5, 2, 100)]
    >>> table = opl.evaluate(opl.epsilon_greedy(0.5), log, [*clipped, "ips"])
    >>> table.index.tolist()
    ['clipped_ips(0.5)', 'clipped_ips(2)', 'clipped_ips(100)', 'ips']
    >>> table.policy_value.is_monotonic_increasing  # the less is cut off, the more remains
    True
    """

    name: str
    limit: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name not in FORMS:
            raise ValueError(f"an estimator is one of {sorted(FORMS)}; got {self.name!r}.")
        if self.limit is not None:
            if self._form.default_limit is None:
                limited = sorted(name for name, form in FORMS.items() if form.default_limit)
                raise ValueError(
                    f"estimator {self.name!r} does not limit its weights; only {limited} take a "
                    f"limit. Leave limit={self.limit!r} out."
                )
            check_number("limit", self.limit, Real, above=0)

    def __str__(self) -> str:
        return self.name if self.limit is None else f"{self.name}({self.limit:g})"

    @property
    def needs_reward_model(self) -> bool:
        """Whether its terms contain q̂."""
        return self._form.uses_model

    @property
    def weighs(self) -> bool:
        """Whether its terms depend on the importance weights."""
        return self.name not in ("avg", "dm")

    def used_weight(self, terms: Terms) -> np.ndarray:
        """What the residual of each row is multiplied by, before any normalisation."""
        return self._form.weight(terms.weight, self._limit_for(terms.weight.shape[-1]))

    def per_row(self, terms: Terms) -> np.ndarray:
        """Terms whose mean over the last axis is the estimate: shape (..., n_rounds).

        Those of a ratio are linearised around it, so that they carry its delta-method error.
        """
        weight = self.used_weight(terms)
        if not self._form.self_normalised:
            return self._combine(terms, weight)
        with np.errstate(divide="ignore", invalid="ignore"):  # no weight at all: not a number
            weight = weight / weight.mean(axis=-1, keepdims=True)
        residual = terms.reward - (terms.q_logged if self.needs_reward_model else 0.0)
        ratio = (weight * residual).mean(axis=-1, keepdims=True)
        return self._combine(terms, weight) + ratio * (1 - weight)

    def term_range(
        self,
        n_rounds: int,
        reward_range: tuple[float, float],
        max_weight: float | None,
        difference: bool,
    ) -> tuple[float, float]:
        """The smallest and the largest value a row's term could have.

        Rewards and q̂ lie in `reward_range`, weights in [0, `max_weight`]. The terms are linear in
        each of these, so their extremes are at corners.
        """
        if self._form.self_normalised:
            raise ValueError(
                "interval 'empirical_bernstein' needs independent terms, and those of "
                f"{self.name!r} share the mean weight. Use 'ips', 'clipped_ips' or 'dr', or "
                "another interval."
            )
        most = self._form.most(self._limit_for(n_rounds))
        if max_weight is not None:
            most = min(most, max_weight)
        if math.isinf(most):
            raise ValueError(
                f"interval 'empirical_bernstein' needs a bound on the terms, and the weights of "
                f"{self.name!r} have none that is known. Pass max_weight=…, which is n_actions for "
                "a uniform logging policy and n_actions / epsilon for an epsilon-greedy one, or "
                "use opl.Estimator('clipped_ips', limit)."
            )
        least = most if self.name == "avg" else 0.0
        ends = np.array(list(itertools.product(*[reward_range] * 3, (least, most))))
        reward, q_logged, q_policy, weight = ends.T
        values = self._combine(Terms(reward, weight, q_logged, q_policy, difference), weight)
        return float(values.min()), float(values.max())

    @property
    def _form(self) -> _Form:
        return FORMS[self.name]

    def _limit_for(self, n_rounds: int) -> float:
        if self.limit is not None:
            return float(self.limit)
        default = self._form.default_limit
        return math.nan if default is None else default(n_rounds)

    def _combine(self, terms: Terms, weight: np.ndarray) -> np.ndarray:
        if self.needs_reward_model:
            value = terms.q_policy + weight * (terms.reward - terms.q_logged)
        else:
            value = weight * terms.reward
        return value - terms.reward if terms.difference else value


def as_estimator(estimator: str | Estimator) -> Estimator:
    """An estimator from its name or itself."""
    return estimator if isinstance(estimator, Estimator) else Estimator(estimator)
