"""Estimators of the policy value: a form each, with a limit for its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from ..checks import check_flag, check_number, plain_arithmetic
from .forms import Form, Sample, extremes
from .intervals import checked_range
from .known_forms import FORMS
from .terms import Terms


@dataclass(frozen=True)
class Estimator:
    """An estimator for `evaluate` and `select`, with a limit for its weights.

    A name alone, such as ``"dr"``, stands for the estimator with its default limit.

    Parameters
    ----------
    name : str
        One of the names below, or, with `form`, another. With ``w`` the importance weight, ``q̂``
        the reward model and ``q̂(x, π) = Σ_a π(a|x) q̂(x, a)``, the estimate is the mean over the
        rows of

        - ``"avg"``: ``r``, the value of the logging policy, whichever policy is asked about
        - ``"dm"``: ``q̂(x, π)``, the direct method
        - ``"ips"``: ``w r``
        - ``"snips"``: ``w r``, divided by the mean weight
        - ``"beta_ips"``: ``w (r − β) + β``, with the baseline β of the smallest variance,
          ``Cov(w, w r) / Var(w)``
        - ``"lse"``: ``w r``, in a mean that damps giants, ``−log(mean(exp(−λ w r / s))) s / λ``,
          with s the standard deviation of ``w r``
        - ``"clipped_ips"``: ``min(w, M) r``
        - ``"dr"``: ``q̂(x, π) + w (r − q̂(x, a))``
        - ``"clipped_dr"``: the same, with ``min(w, M)`` in place of ``w``
        - ``"sndr"``: the same, with the correction divided by the mean weight
        - ``"beta_dr"``: ``w r − β (w − 1) − γ (w q̂(x, a) − q̂(x, π))``, with the β and γ of the
          smallest variance
        - ``"switch_dr"``: the same, with the correction where ``w ≤ τ`` only
        - ``"dros"``: the same, with ``λ w / (w² + λ)`` in place of ``w``
    limit : float above 0, optional
        The M of ``"clipped_ips"`` and ``"clipped_dr"``, the τ of ``"switch_dr"``, the λ of
        ``"dros"`` and that of ``"lse"``. If not given, √n, √n, n and 0.5/√n for a log of n rows:
        for weights of finite variance the bias then vanishes as the log grows.
    form : Form, optional
        What an estimator of another name is; see the second example.

    Raises
    ------
    ValueError
        For an unknown name, a limit that is not above 0, a limit for an estimator without one, or a
        form under a name that is taken.

    Notes
    -----
    The weight has mean 1, so noise around it can be subtracted. ``"snips"`` does it with the
    estimate for a baseline, ``"dr"`` with a reward model; ``"beta_ips"`` and ``"beta_dr"`` fit the
    coefficients to the log, by least squares with an intercept, and to the difference where that is
    estimated. In the long run none of IPS, SNIPS and DR has a smaller variance than ``"beta_dr"``,
    whatever the reward model. Gupta et al. write ``E[(w² − w) r] / E[w² − w]``, which is the same
    in the long run; its denominator may be near 0 for a policy near the logging policy.

    Marginalised IPS (MIPS) weights clusters of items, by the logging policy's probability of the
    logged item's whole cluster, which a log does not hold. Where it is known, make a log whose
    `action` is the cluster and whose `pscore` is that probability: ``"ips"`` of the policy's
    cluster probabilities on it is MIPS.

    References
    ----------
    Strehl et al., NeurIPS 2010 (clipped IPS); Ionides, "Truncated importance sampling", 2008 (√n);
    Swaminathan and Joachims, NeurIPS 2015 (SNIPS); Dudík, Langford and Li, ICML 2011 (DM, IPS, DR);
    Wang, Agarwal and Dudík, ICML 2017 (Switch-DR); Su et al., ICML 2020 (DRos);
    Saito and Joachims, ICML 2022 (MIPS); Gupta et al., RecSys 2024 (β-IPS); Jeunen and Ustimenko,
    RecSys 2024 (β of a difference); Owen, "Monte Carlo theory, methods and examples", 2013, chapter
    8 (β by regression); Behnamnia et al., ICML 2025 (LSE, and the second example).

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> log = world.sample(2000, random_state=1)
    >>> clipped = [opl.Estimator("clipped_ips", limit) for limit in (0.5, 2, 100)]
    >>> table = opl.evaluate(opl.epsilon_greedy(0.5), log, [*clipped, "ips"])
    >>> table.index.tolist()
    ['clipped_ips(0.5)', 'clipped_ips(2)', 'clipped_ips(100)', 'ips']
    >>> table.policy_value.is_monotonic_increasing  # the less is cut off, the more remains
    True

    The logarithm of a mean of exponentials, ``−log(mean(exp(−λ w r))) / λ``, damps giants softly.
    It is no mean of rows, but a function of one, and here λ is 1 in any unit of the reward:

    >>> form = opl.Form(lambda terms, w: (np.exp(-w * terms.reward),), lambda m: -np.log(m))
    >>> own = opl.Estimator("own", form=form)
    >>> table = opl.evaluate(opl.epsilon_greedy(0.5), log, [own, "ips"])
    >>> bool(table.std_error["own"] < table.std_error["ips"])
    True
    """

    name: str
    limit: float | None = None
    form: Form | None = None

    def __post_init__(self) -> None:
        known = isinstance(self.name, str) and self.name in FORMS
        if self.form is None and not known:
            raise ValueError(
                f"an estimator is one of {sorted(FORMS)}, or has a form=opl.Form(…) of its own; "
                f"got {self.name!r}."
            )
        if not isinstance(self.form, Form | None):
            raise TypeError(f"form must be an opl.Form; got {type(self.form).__name__}.")
        if self.form is not None and (known or not isinstance(self.name, str)):
            raise ValueError(f"name of an own form must be a new one; got {self.name!r}.")
        if self.limit is not None:
            if self._form.default_limit is None:
                limited = sorted(name for name, form in FORMS.items() if form.default_limit)
                raise ValueError(
                    f"estimator {self.name!r} does not limit its weights; only {limited} take a "
                    f"limit. Leave limit={self.limit!r} out."
                )
            check_number("limit", self.limit, above=0)
            if not isinstance(self.limit, int | float):
                object.__setattr__(self, "limit", float(self.limit))

    def __str__(self) -> str:
        return self.name if self.limit is None else f"{self.name}({self.limit:g})"

    @property
    def needs_reward_model(self) -> bool:
        """Whether its terms contain q̂."""
        return self._form.needs_reward_model

    @property
    def weighs(self) -> bool:
        """Whether its terms depend on the importance weights."""
        return self._form.weighs

    @plain_arithmetic
    def sample(
        self,
        terms: Terms,
        reward_range: tuple[float, float] | None = None,
        max_weight: float | None = None,
    ) -> Sample:
        """The estimate as independent terms; with a `reward_range`, the range of these too."""
        if not isinstance(terms, Terms):
            raise TypeError(f"terms must be opl.Terms; got {type(terms).__name__}.")
        if self.needs_reward_model and (terms.q_logged is None or terms.q_policy is None):
            raise ValueError(
                f"estimator {str(self)!r} needs q_logged and q_policy: pass a reward model."
            )
        found, n = None, len(terms.reward)
        if reward_range is not None:
            reward_range = checked_range(reward_range)
            found = self.term_range(n, reward_range, max_weight, terms.difference)
            if max_weight is not None:
                max_weight = float(max_weight) if math.isfinite(max_weight) else None
            terms.check_within(reward_range, max_weight, self.needs_reward_model)
        with np.errstate(over="ignore", invalid="ignore"):
            sample = self._form.sample(terms, self._limit_for(n), found)
            self._check_finite(sample, terms)
        return sample

    def _check_finite(self, sample: Sample, terms: Terms) -> None:
        """Raise if terms are too large, or no numbers; a ratio without any weight may be none."""
        if self._form.estimate is not None and not sample.shows_error:
            return
        if not math.isfinite(np.square(sample.terms - sample.value).sum()):
            row = int(terms.weight.argmax())
            raise ValueError(
                f"the estimate {str(self)!r} is not finite, or its error is not. The largest "
                f"weight is {terms.weight[row]:.3g}, in row {row}, and the largest reward "
                f"{np.abs(terms.reward).max():.3g}. Likely cause: a pscore that is far too small "
                "(feedback.report()), a reward or a reward model in far too small a unit, "
                "or a form that is not defined here."
            )

    @plain_arithmetic
    def term_range(
        self,
        n_rounds: int,
        reward_range: tuple[float, float],
        max_weight: float | None = None,
        difference: bool = False,
    ) -> tuple[float, float]:
        """The smallest and the largest value a row's term could have.

        Rewards and q̂ lie in `reward_range`, weights in [0, `max_weight`]. The terms are monotone in
        each of these, so their extremes are at corners. If `max_weight` is infinite, so may be an
        end.
        """
        check_number("n_rounds", n_rounds, Integral, least=1)
        reward_range = checked_range(reward_range)
        if max_weight is not None:
            check_number("max_weight", max_weight, above=0, finite=False)
            max_weight = float(max_weight)
        check_flag("difference", difference)
        if self._form.estimate is not None:
            raise ValueError(
                "intervals 'empirical_bernstein' and 'betting' need a mean of independent terms, "
                f"and {str(self)!r} is a function of several. Use 'ips', 'clipped_ips' or 'dr', or "
                "another interval."
            )
        limit = self._limit_for(n_rounds)
        most = self._form.most(limit)
        check_number("what most of a form returned", most, least=0, finite=False)
        most = min(float(most), math.inf if max_weight is None else max_weight)
        if math.isfinite(most) or max_weight is not None:
            found = extremes(self._form, limit, reward_range, most, difference)
            if not np.isinf(found).all():
                return found
        raise ValueError(
            f"this interval needs a bound on the terms, and the weights of {str(self)!r} have none "
            "that is known. Pass max_weight=…, which is n_actions for a uniform logging policy and "
            "n_actions / epsilon for an epsilon-greedy one, or use "
            "opl.Estimator('clipped_ips', limit)."
        )

    @property
    def _form(self) -> Form:
        return FORMS[self.name] if self.form is None else self.form

    def _limit_for(self, n_rounds: int) -> float:
        if self.limit is not None:
            return float(self.limit)
        if self._form.default_limit is None:
            return math.nan
        default = self._form.default_limit(n_rounds)
        check_number("what default_limit of a form returned", default, above=0)
        return float(default)


def as_estimator(estimator: str | Estimator) -> Estimator:
    """An estimator from its name or itself."""
    return estimator if isinstance(estimator, Estimator) else Estimator(estimator)
