"""Choosing a policy from a log: fit on one part, select on a second, report on a third."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_flag, plain_arithmetic
from ..evaluation.estimators import Estimator, as_estimator
from ..evaluation.intervals import Interval
from ..evaluation.terms import policy_terms
from ..learning.together import named
from ..logs.feedback import BanditFeedback
from ..progress import progress_bar
from ..protocols import Learner, PolicyLike, PredictsReward, RewardModel
from .apart import warn_of_shared_rounds
from .candidates import check_candidates, check_temperatures, fit_all, most_policies, parts, serve
from .judge import LOGGING, MIN_ESS, MIN_REWARDS, Judge
from .kept import Kept
from .selected import Selection

if TYPE_CHECKING:
    import pandas as pd


@plain_arithmetic
def select(
    candidates: Mapping[str, Learner | PolicyLike],
    feedback: BanditFeedback | Sequence[BanditFeedback],
    temperatures: Sequence[float] | None = None,
    estimator: str | Estimator = "dr",
    reward_model: RewardModel | None = None,
    confidence: float = 0.95,
    min_ess: float = MIN_ESS,
    min_rewards: float = MIN_REWARDS,
    interval: str = "student_t",
    fractions: tuple[float, float, float] = (0.5, 0.25, 0.25),
    reward_range: tuple[float, float] | None = None,
    max_weight: float | None = None,
    progress: bool | None = None,
    random_state: int = 0,
    checkpoint: str | Path | None = None,
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
    min_ess, min_rewards : float, at least 0
        A candidate whose `ess_change`, or `ess_reward_change`, on the selection part is smaller is
        not trusted: where a few rounds, or a few clicks, bear nearly all that is new, their spread
        does not show the error. 0 lets every candidate in.
    interval : {"student_t", "normal", "bootstrap", "empirical_bernstein", "betting"}
        How bounds are made; see `evaluate`.
    fractions : tuple of three floats
        Shares of the parts, with sum 1, if `feedback` is one log.
    reward_range, max_weight
        For ``"empirical_bernstein"`` and ``"betting"``; see `evaluate`.
    progress : bool, optional
        Show a progress bar. If not given, on a terminal only.
    random_state : int
        Fixes the split and the bootstrap; learners have their own.
    checkpoint : str or Path, optional
        As in `learn`.

    Returns
    -------
    Selection

    Raises
    ------
    TypeError
        For a candidate that is neither a learner nor a policy.
    ValueError
        For no candidates, a name that is taken, a setting out of range, or another checkpoint.

    Warns
    -----
    UserWarning
        If there is something to learn, and two given logs have most of their rounds in common.

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
    has a small spread, and the largest bound seeks out such candidates. Hence `min_ess`, and
    `min_rewards`, which counts those of its rounds that have a reward: at one click in seventy, ten
    effective rounds hold none. They make this rare, and cannot exclude it. Rows are taken to be
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
    check_candidates(candidates)
    taus = check_temperatures(temperatures)
    how = Interval(interval, reward_range, max_weight, random_state)
    check_flag("progress", False if progress is None else progress)
    judge = Judge(as_estimator(estimator), confidence, min_ess, min_rewards, how)
    to_fit, to_select, to_report = parts(feedback, fractions, random_state)
    learns = any(isinstance(each, Learner) for each in candidates.values())
    if learns and isinstance(feedback, Sequence):
        warn_of_shared_rounds({f"feedback[{k}]": log for k, log in enumerate(feedback)})
    n_most = most_policies(candidates, taus)
    judge.check(n_most, to_select.units)
    judge.check(1, to_report.units)
    with progress_bar("select", n_most + 2, progress) as bar:
        kept = Kept(checkpoint, to_fit, {})
        learned, q_hat = fit_all(candidates, judge.estimator, reward_model, to_fit, kept)
        bar.update()
        policies = serve(learned, taus)
        table, reasons = _judged(judge, policies, to_select, q_hat, bar.update)
        best = str(table.index[0])
        terms = None if best == LOGGING else policy_terms(policies[best], to_report, q_hat)
        report = judge.report(terms, to_report)
        bar.update()
    sizes = (to_fit.n_rounds, to_select.n_rounds, to_report.n_rounds)
    found = (best, policies, table, report, reasons, judge.estimator)
    return Selection(*found, confidence, min_ess, min_rewards, sizes)


def _judged(
    judge: Judge,
    policies: Mapping[str, PolicyLike],
    feedback: BanditFeedback,
    q_hat: PredictsReward | None,
    judged_one: Callable[[], Any],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """All candidates and the logging policy, best first, and why bounds do not count."""
    import pandas as pd

    rows = {LOGGING: judge.logging_row(feedback, len(policies))}
    why = {}
    for name, policy in policies.items():
        with named(f"candidate {name!r}"):
            terms = policy_terms(policy, feedback, q_hat)
            rows[name], why[name] = judge.row(terms, len(policies), feedback.is_deterministic)
        judged_one()
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("candidate")
    bound = table.lower_bound.where(table.trusted, -np.inf)
    table = table.loc[bound.sort_values(ascending=False, kind="stable").index]
    return table, {name: why[name] for name in table.index[~table.trusted]}
