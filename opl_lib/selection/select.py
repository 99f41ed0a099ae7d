"""Choosing a policy from a log: fit on one part, select on a second, report on a third."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..checks import check_number
from ..evaluation.estimators import Estimator, Terms, as_estimator
from ..evaluation.evaluate import (
    check_confidence,
    diagnostics,
    ess_of_change,
    estimate,
    policy_terms,
)
from ..evaluation.intervals import Interval
from ..learning.learner import default_reward_model
from ..logs.feedback import BanditFeedback, check_feedback, user_numbers
from ..logs.support import is_off_one, per_user, standard_error

if TYPE_CHECKING:
    import pandas as pd

LOGGING = "logging"
MIN_ESS = 10.0


@dataclass(frozen=True, repr=False, eq=False)
class Selection:
    """What `select` found.

    Attributes
    ----------
    best : str
        Name of the chosen candidate; ``"logging"`` if none is surely better than the policy that
        made the log.
    policies : dict of str to policy
        Every candidate's policy. The logging policy is not among them: a log does not hold it.
    table : pandas.DataFrame
        All candidates on the selection part, best first: ``policy_value``; ``difference``, the
        estimate of ``V(π) − V(π_0)``, its ``std_error`` and ``lower_bound``; ``ess_change``, the
        effective number of rounds (of users, if the log knows them) that show what the policy does
        more often than the log, that of ``(w − 1)₊``; the diagnostics of `evaluate`; and
        ``eligible``, which is False where the bound means nothing: the mean weight is not 1, or
        `ess_change` is below `min_ess`. The estimates of the first rows are too high, as those of
        the best of many are.
    report : pandas.DataFrame
        The chosen one on the report part, which had no say in the choice: rows ``policy``,
        ``logging`` and ``difference``, with ``value``, ``std_error``, ``ci_lower``, ``ci_upper``.
    estimator : Estimator
        What both parts were judged by.
    confidence : float
        Of all lower bounds together, and of the intervals in `report`.
    min_ess : float
        The `ess_change` below which no bound was believed.
    n_rounds : tuple of three int
        Rounds of the three parts: fit, selection, report.
    """

    best: str
    policies: dict[str, Any]
    table: pd.DataFrame
    report: pd.DataFrame
    estimator: Estimator
    confidence: float
    min_ess: float
    n_rounds: tuple[int, int, int]

    @property
    def policy(self) -> Any:
        """The chosen policy; an error if the logging policy was chosen."""
        if self.best == LOGGING:
            raise ValueError(
                "the logging policy was chosen: no candidate is surely better than what runs now. "
                "Keep that, or collect a longer log; the candidates are in .policies."
            )
        return self.policies[self.best]

    def __repr__(self) -> str:
        fit, selection, report = (f"{n:,}" for n in self.n_rounds)
        shown = self.table[["difference", "lower_bound", "mean_weight", "ess_change"]]
        lines = [
            f"Selection(best={self.best!r}, {self.confidence:.0%} confidence, by {self.estimator})",
            f"fitted on {fit} rounds, selected on {selection}:",
            shown.to_string(float_format="{:,.3f}".format),
        ]
        for name, ess in self.table.ess_change[~self.table.eligible].items():
            why = "with a mean weight off 1"
            if ess < self.min_ess:
                why = f"on {ess:,.1f} effective rounds of the change, fewer than {self.min_ess:g},"
            lines.append(f"  ! {name} is not eligible: {why} no bound holds")
        if self.best == LOGGING:
            lines.append("no candidate is surely better than the logging policy: keep it")
        lines.append(f"reported on {report} other rounds:")
        lines.append(self.report.to_string(float_format="{:,.3f}".format))
        return "\n".join(lines)


def select(
    candidates: Mapping[str, Any],
    feedback: BanditFeedback | Sequence[BanditFeedback],
    temperatures: Sequence[float] | None = None,
    estimator: str | Estimator = "dr",
    reward_model: Any = None,
    confidence: float = 0.95,
    min_ess: float = MIN_ESS,
    interval: str = "student_t",
    fractions: tuple[float, float, float] = (0.5, 0.25, 0.25),
    reward_range: tuple[float, float] | None = None,
    max_weight: float | None = None,
    progress: bool | None = None,
    random_state: int = 0,
) -> Selection:
    """Choose the policy that is most surely better than the one that made the log.

    Learners are fitted on one part of the log. On a second part each policy gets a lower confidence
    bound of ``V(π) − V(π_0)``, and the largest bound wins; the logging policy, whose difference is
    0, takes part, so that doing nothing can win. A third part says what the winner is worth.

    Parameters
    ----------
    candidates : mapping of str to learner or policy
        A learner has ``fit(feedback)`` and then ``policy_``; it is copied, not changed. A policy is
        taken as it is, and must not have been learned on `feedback`.
    feedback : BanditFeedback, or three of them
        One log is split at random; a log with `user_id` so that no user is in two parts. Three logs
        are taken as the parts to fit, select and report on: split by time, say.
    temperatures : sequence of float, optional
        Serve every candidate that has ``at_temperature`` at each of these, 0 for greedy, instead
        of at its own: each is a candidate of its own, from one fit.
    estimator : str or Estimator
        What the differences are estimated by. The direct method has no error to bound.
    reward_model : reward model, optional
        An unfitted q̂ for the doubly robust estimators; fitted on the fit part. If not given, two
        towers.
    confidence : float in (0, 1)
        With this probability all the lower bounds hold together. With K candidates each bound fails
        with probability ``(1 − confidence) / K`` (Bonferroni), so that many candidates buy no luck.
    min_ess : float, at least 0
        A candidate whose `ess_change` on the selection part is smaller is not eligible: where a few
        rounds bear nearly all that is new, their spread does not show the error. 0 lets every
        candidate in.
    interval : {"student_t", "normal", "bootstrap", "empirical_bernstein"}
        How bounds are made; see `evaluate`.
    fractions : tuple of three floats
        Shares of the parts, with sum 1, if `feedback` is one log.
    reward_range, max_weight
        For ``"empirical_bernstein"``; see `evaluate`.
    progress : bool, optional
        Show a progress bar. If not given, on a terminal only.
    random_state : int
        Fixes the split and the bootstrap; learners have their own.

    Returns
    -------
    Selection

    Raises
    ------
    TypeError
        For a candidate that is neither a learner nor a policy.
    ValueError
        For no candidates, a name that is taken, or a setting out of range.

    Notes
    -----
    The question is whether π is better than ``π_0``, so the bound is on the difference. Both values
    are estimated from the same rows: for IPS the row's term is ``w r − r = (w − 1) r``, for DR
    ``q̂(x, π) − q̂(x, a) + (w − 1)(r − q̂(x, a))``. What is noise in both cancels. Where π agrees
    with ``π_0`` the weight is 1 and the IPS term is exactly 0, while two separate intervals would
    each carry the whole noise of the reward, and would count it twice.

    If every bound holds, a candidate with a positive bound is better than the logging policy; so
    the chosen policy is worse than it with probability at most ``1 − confidence``, as far as the
    interval is right. ``"student_t"``, ``"normal"`` and ``"bootstrap"`` are right for many rows and
    weights without rare giants. With giants they fail, and in the worst way: a log that misses them
    has a small spread, and the largest bound seeks out such candidates. Hence `min_ess`, which
    makes this rare, and cannot exclude it. Rows are taken to be
    independent, or users, if the log has a `user_id`; without it the rows of a user who came back
    count as if each were of another, and the bounds are too high.

    References
    ----------
    Saito and Nomura, "Hyperparameter optimization can even be harmful in off-policy learning and
    how to deal with it", IJCAI 2024: the largest of many estimates is too high, and a conservative
    surrogate, a lower bound, should choose. Thomas, Theocharous and Ghavamzadeh,
    "High-confidence off-policy evaluation", AAAI 2015, bound the value in the same spirit. That the
    bound is on the difference and shared by all candidates is this library's choice.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> small = dict(epochs=5, learning_rate=3e-3, hidden=(20,), dim_embedding=10)
    >>> candidates = {
    ...     "ips": opl.OffPolicyLearner("ips", **small),
    ...     "regression": opl.OffPolicyLearner("regression", **small),
    ... }
    >>> chosen = opl.select(candidates, world.sample(4000, random_state=1), temperatures=[1, 0])
    >>> sorted(chosen.table.index)
    ['ips @ 0', 'ips @ 1', 'logging', 'regression @ 0', 'regression @ 1']
    >>> world.policy_value(chosen.policy) > world.policy_value(world.logging_policy)
    True
    """
    import pandas as pd

    _check_candidates(candidates)
    temperatures = _check_temperatures(temperatures)
    estimator = as_estimator(estimator)
    if estimator.name in ("avg", "dm"):
        raise ValueError(
            f"estimator {estimator.name!r} has no error to bound; use 'ips' or 'dr', say."
        )
    check_confidence(confidence)
    check_number("min_ess", min_ess, Real, least=0)
    how = Interval(interval, reward_range, max_weight, random_state)
    to_fit, to_select, to_report = parts(feedback, fractions, random_state)

    n_fits = sum(hasattr(candidate, "fit") for candidate in candidates.values())
    n_steps = n_fits + estimator.needs_reward_model + len(candidates) + 1
    with _progress_bar("select", n_steps, progress) as bar:
        served = []
        for name, candidate in candidates.items():
            policy = candidate
            if hasattr(candidate, "fit"):
                policy = _policy_of(name, _fit(f"candidate {name!r}", candidate, to_fit))
                bar.update()
            served.append(_served(name, policy, temperatures))
        q_hat = None
        if estimator.needs_reward_model:
            q_hat = default_reward_model(to_fit.reward) if reward_model is None else reward_model
            q_hat = _fit("the reward model", q_hat, to_fit)
            bar.update()
        policies = _joined(served)
        tail = (1 - confidence) / len(policies)
        rows = {LOGGING: _judge(Estimator("avg"), _logging_terms(to_select), how, tail, 0)}
        for group in served:
            for name, policy in group.items():
                with _named(f"candidate {name!r}"):
                    terms = policy_terms(policy, to_select, q_hat)
                    rows[name] = _judge(estimator, terms, how, tail, min_ess)
            bar.update()
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("candidate")
        bound = table.lower_bound.where(table.eligible, -np.inf)
        table = table.loc[bound.sort_values(ascending=False, kind="stable").index]
        best = str(table.index[0])
        if best == LOGGING:
            judged, terms = Estimator("avg"), _logging_terms(to_report)
        else:
            judged, terms = estimator, policy_terms(policies[best], to_report, q_hat)
        report = _report(judged, terms, how, (1 - confidence) / 2)
        bar.update()
    sizes = (to_fit.n_rounds, to_select.n_rounds, to_report.n_rounds)
    return Selection(best, policies, table, report, estimator, confidence, min_ess, sizes)


def difference_bound(
    estimator: Estimator, terms: Terms, how: Interval, tail: float, min_ess: float
) -> tuple[float, bool]:
    """Lower bound of ``V(π) − V(π_0)``, and whether the weights let it be trusted."""
    lower, _ = how.bounds(estimator, terms.against_logging(), tail)
    off = is_off_one(float(terms.weight.mean()), standard_error(terms.weight))
    few = ess_of_change(terms) < min_ess
    return lower, not (off or few or math.isnan(lower))


def _judge(
    estimator: Estimator, terms: Terms, how: Interval, tail: float, min_ess: float
) -> dict[str, Any]:
    """A candidate's row of the selection table."""
    paired = estimator.per_row(terms.against_logging())
    lower, eligible = difference_bound(estimator, terms, how, tail, min_ess)
    return {
        "policy_value": float(estimator.per_row(terms).mean()),
        "difference": float(paired.mean()),
        "std_error": standard_error(per_user(paired, terms.user)),
        "lower_bound": lower,
        "ess_change": ess_of_change(terms),
        **diagnostics(terms),
        "eligible": eligible,
    }


def _report(estimator: Estimator, terms: Terms, how: Interval, tail: float) -> pd.DataFrame:
    import pandas as pd

    rows = {
        "policy": estimate(estimator, terms, how, tail),
        LOGGING: estimate(Estimator("avg"), terms, how, tail),
        "difference": estimate(estimator, terms.against_logging(), how, tail),
    }
    columns = ["value", "std_error", "ci_lower", "ci_upper"]
    return pd.DataFrame.from_dict(rows, orient="index")[columns]


def _logging_terms(feedback: BanditFeedback) -> Terms:
    """The logging policy weighs each of its own rows by 1."""
    return Terms(feedback.reward, np.ones(feedback.n_rounds), user=user_numbers(feedback))


def _fit(what: str, model: Any, feedback: BanditFeedback) -> Any:
    model = copy.deepcopy(model)
    with _named(what):
        model.fit(feedback)
    return model


def _policy_of(name: str, learner: Any) -> Any:
    if not hasattr(learner, "policy_"):
        raise TypeError(
            f"candidate {name!r} has no policy_ after fit(feedback); a learner keeps there what "
            "it learned."
        )
    return learner.policy_


@contextmanager
def _named(what: str):
    """Say in any error which candidate it came from."""
    try:
        yield
    except Exception as error:
        error.add_note(f"This came from {what}.")
        raise


def _served(name: str, policy: Any, temperatures: tuple[float, ...]) -> dict[str, Any]:
    if not temperatures or not hasattr(policy, "at_temperature"):
        return {name: policy}
    return {f"{name} @ {tau:g}": policy.at_temperature(tau) for tau in temperatures}


def _joined(served: Sequence[dict[str, Any]]) -> dict[str, Any]:
    policies: dict[str, Any] = {}
    for group in served:
        for name, policy in group.items():
            if name in policies:
                raise ValueError(f"two candidates are called {name!r}; rename one.")
            policies[name] = policy
    return policies


def parts(
    feedback: Any, fractions: Sequence[float] = (0.5, 0.25, 0.25), random_state: int = 0
) -> tuple[BanditFeedback, BanditFeedback, BanditFeedback]:
    """Three logs, to fit, select and report on: those given, or a random split of one."""
    if isinstance(feedback, Sequence):
        if len(feedback) != 3:
            raise ValueError(
                "feedback must be one log or three, to fit, select and report on; "
                f"got {len(feedback)}."
            )
        for log in feedback:
            check_feedback(log)
        return tuple(feedback)
    check_feedback(feedback)
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-9:
        raise ValueError(
            f"fractions must be three shares above 0 with sum 1, such as (0.5, 0.25, 0.25); "
            f"got {fractions!r}."
        )
    _, selection, report = shares
    by_user = feedback.user_id is not None
    split = BanditFeedback.split_by_group if by_user else BanditFeedback.split
    to_fit, held_out = split(feedback, selection + report, random_state)
    return to_fit, *split(held_out, report / (selection + report), random_state + 1)


def _check_candidates(candidates: Any) -> None:
    if not isinstance(candidates, Mapping) or len(candidates) == 0:
        raise ValueError(
            "candidates must be a mapping from names to learners or policies, with at least one; "
            f"got {candidates!r}."
        )
    for name, candidate in candidates.items():
        if not isinstance(name, str):
            raise ValueError(f"candidates must have names that are strings; got {name!r}.")
        if name == LOGGING:
            raise ValueError("'logging' is the policy that made the log; rename the candidate.")
        methods = [getattr(candidate, method, None) for method in ("fit", "predict_proba")]
        if not any(callable(method) for method in (*methods, candidate)):
            raise TypeError(
                f"candidate {name!r} is neither a learner with fit(feedback) nor a policy with "
                f"predict_proba(context, action_context); got {type(candidate).__name__}."
            )


def _check_temperatures(temperatures: Any) -> tuple[float, ...]:
    if temperatures is None:
        return ()
    if not isinstance(temperatures, Sequence | np.ndarray) or len(temperatures) == 0:
        raise ValueError(
            f"temperatures must be a sequence such as [1, 0], or None; got {temperatures!r}."
        )
    for number, tau in enumerate(temperatures):
        check_number(f"temperatures[{number}]", tau, Real, least=0)
    return tuple(dict.fromkeys(float(tau) for tau in temperatures))


def _progress_bar(what: str, total: int, progress: bool | None) -> tqdm:
    return tqdm(
        total=total,
        desc=what,
        disable=None if progress is None else not progress,
        delay=0 if progress else 1,
    )
