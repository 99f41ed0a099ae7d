"""From a log to a policy and a decision, in one call."""

from __future__ import annotations

import time
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from ..checks import check_flag, check_number, check_seed, plain_arithmetic
from ..evaluation.estimators import Estimator, as_estimator
from ..evaluation.intervals import Interval
from ..logs.feedback import BanditFeedback, check_feedback
from ..logs.units import Units
from ..progress import progress_bar
from ..protocols import Learner, PolicyLike, RewardModel, check_reward_model
from .candidates import check_candidates
from .choice import SHARED_CHANCE, Choice, choose
from .judge import MIN_ESS, MIN_REWARDS, Judge
from .kept import Kept
from .kinds import default_candidates
from .learned import Learned
from .pooled import judged_by_others


@plain_arithmetic
def learn(
    feedback: BanditFeedback,
    candidates: Mapping[str, Learner | PolicyLike] | None = None,
    *,
    confidence: float = 0.95,
    estimator: str | Estimator = "clipped_dr",
    reward_model: RewardModel | None = None,
    n_folds: int = 4,
    min_ess: float = MIN_ESS,
    min_rewards: float = MIN_REWARDS,
    budget: float | None = None,
    progress: bool | None = None,
    random_state: int = 0,
    checkpoint: str | Path | None = None,
) -> Learned:
    """Learn a policy from a log, say what it is worth, and whether to serve it.

    Candidates of different kinds are fitted on parts of the log, each part without one fold, and
    every round is judged by policies that have not seen it. One candidate is chosen, learned again
    from the whole log, and comes with one of three decisions: ``"serve"``, ``"test"`` it against
    what runs now, or ``"keep"`` what runs.

    Parameters
    ----------
    feedback : BanditFeedback
    candidates : mapping of str to learner or policy, optional
        What to choose from, as for `select`. The first is preferred: another one must be better by
        two standard errors. A learner may have `policies_`, a mapping from the ways in which what
        it learned can be served to policies. If not given: a bilinear regression, greedily and at
        several distances from the logging policy; two towers that learn what it leaves; the
        constant item; and, of a log that is not large, a shrunken value objective.
    confidence : float in (0, 1)
        With this probability all lower bounds hold together, so that ``"serve"`` is wrong with
        probability at most ``1 − confidence``, as far as the intervals are right.
    estimator : str or Estimator
        What gains are estimated by.
    reward_model : reward model, optional
        The unfitted q̂ that candidates are judged by. If not given, a `BilinearLearner`.
    n_folds : int, at least 2
        Parts of the log; of its users, if it has `user_id`.
    min_ess, min_rewards : float, at least 0
        No bound is believed of a policy whose change is shown by fewer effective rounds, or by
        fewer effective rounds with a reward.
    budget : float above 0, optional
        Seconds after which no further candidate is begun, and none is that would take longer than
        what is left, by the time of its first fit. The first candidate is always tried. What is
        left out then depends on the machine.
    progress : bool, optional
        Show a progress bar. If not given, on a terminal only.
    random_state : int
        Fixes folds and learners.
    checkpoint : str or Path, optional
        A folder, where what each candidate has learned is kept as soon as it is complete. A call
        that was killed, made again, loses the candidate in hand alone. Files are pickles: use none
        that somebody else made.

    Returns
    -------
    Learned
        With `policy`, `decision`, `reasons`, and all that they rest on.

    Raises
    ------
    TypeError
        For a candidate that is neither a learner nor a policy.
    ValueError
        For a setting out of range, a log of fewer rounds or users than folds, or a checkpoint of
        another log, other folds or other candidates.

    Notes
    -----
    The choice is made in two steps. The first candidate is preferred unless another one's estimate,
    on the same rounds, is higher by two standard errors of the difference; where bounds above 0
    exist, only among the candidates that have one. So noise moves the choice rarely, and the
    preferred candidate is one that the book's tables found hard to beat.

    The bounds hold together by the joint distribution of the estimates, which knows that candidates
    are alike, where Bonferroni's correction does not. Rounds are judged by policies that have not
    seen them. But chance that is in one fold has also taught the policies that the other folds
    judge, so errors of what was learned are widened, by a factor that was measured: theory only
    says that it lies between 1 and ``sqrt(2)``. No interval knows what ``"clipped_dr"`` leaves to
    its reward model: where a policy differs from a good logging policy in rounds of weights above
    ``sqrt(n)``, its estimate is too high by what is promised there; ``"dr"`` is not, and proves
    less. The policy that is returned has learned from the whole log: what is bounded is the mean of
    its siblings, each learned from less.

    Of a log whose propensities are all 1 nothing is judged, and the decision is ``"keep"``: what a
    candidate is estimated to gain is the word of a model that the log cannot check. `reasons` says
    how many rounds of exploration, or of a test, would see a gain of 10 %.

    References
    ----------
    Saito and Nomura, IJCAI 2024 (the largest estimate is too high); Zhan et al., "Policy learning
    with adaptively collected data", Management Science 2024 (policies judged by other folds);
    Hothorn, Bretz and Westfall, Biometrical Journal 2008 (joint bounds).

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> found = opl.learn(world.sample(5000, random_state=1))
    >>> found.decision
    'serve'
    >>> world.policy_value(found.policy) > world.policy_value(world.logging_policy)
    True
    """
    start = time.perf_counter()
    check_feedback(feedback)
    check_seed(random_state)
    _check_folds(n_folds, feedback.units)
    check_flag("progress", False if progress is None else progress)
    if budget is not None:
        check_number("budget", budget, above=0)
    if reward_model is not None:
        check_reward_model(reward_model)
    of = as_estimator(estimator)
    judge = Judge(of, confidence, min_ess, min_rewards, Interval("student_t"))
    left_out: dict[str, str] = {}
    if candidates is None:
        # a first fit that takes longer would leave no time for those of the folds
        end = None if budget is None else start + budget / (n_folds + 2)
        candidates, left_out = default_candidates(feedback, int(random_state), end)
    check_candidates(candidates)
    fold = feedback.units.folds(int(n_folds), int(random_state))
    with progress_bar("learn", len(candidates) + 2, progress) as bar:
        end = None if budget is None else start + budget
        policies, terms, skipped = judged_by_others(
            *(candidates, feedback, fold, judge.estimator, reward_model, end, bar.update),
            Kept(checkpoint, feedback, {"n_folds": n_folds, "random_state": random_state}),
        )
        given = {id(candidate) for candidate in candidates.values()}
        widen = {
            name: 1.0 if id(each) in given else SHARED_CHANCE for name, each in policies.items()
        }
        choice: Choice = choose(judge, terms, feedback, widen)
        bar.update()
    return Learned(
        policies=policies,
        choice=choice,
        left_out=left_out | skipped,
        estimator=judge.estimator,
        confidence=float(confidence),
        n_rounds=feedback.n_rounds,
        seconds=time.perf_counter() - start,
    )


def _check_folds(n_folds: Any, units: Units) -> None:
    check_number("n_folds", n_folds, Integral, least=2)
    if n_folds > len(units):
        if len(units) == 1 < units.n_rows:
            raise ValueError(
                f"all rounds of the log are of one {units.name}, and nobody is left to judge what "
                "is learned from it. Log more, or leave user_id out if the column is no user."
            )
        what = f"{len(units)} {units.name}{'' if len(units) == 1 else 's'}"
        raise ValueError(
            f"n_folds is {n_folds}, but the log has only {what}, and each is in one fold. Pass a "
            f"smaller n_folds, of at least 2, or a log of more {units.name}s."
        )
