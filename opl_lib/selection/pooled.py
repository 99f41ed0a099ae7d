"""Every round of a log judged once, by policies that have not seen it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..evaluation.estimators import Estimator
from ..evaluation.terms import Terms, policy_terms
from ..learning.bilinear import BilinearLearner
from ..learning.many import fit_many
from ..learning.together import named
from ..logs.feedback import BanditFeedback
from ..logs.units import Units
from ..protocols import FittedLearner, Learner, PolicyLike, RewardModel
from .kept import Kept

Ways = dict[str, PolicyLike]


def judged_by_others(
    candidates: Mapping[str, Any],
    feedback: BanditFeedback,
    fold: np.ndarray,
    estimator: Estimator,
    reward_model: RewardModel | None,
    end: float | None,
    done_one: Callable[[], Any],
    kept: Kept,
) -> tuple[Ways, dict[str, Terms], dict[str, str]]:
    """Policies learned from the whole log, the terms of their siblings, and what had no time."""
    parts = [feedback[fold != k] for k in range(fold.max() + 1)]
    unseen = [feedback[fold == k] for k in range(fold.max() + 1)]
    q_hats: list[Any] = [None for _ in parts]
    if estimator.needs_reward_model:
        model = BilinearLearner() if reward_model is None else reward_model
        q_hats = kept.get("the reward model", model, lambda: _fitted(model, parts))
    done_one()
    policies: Ways = {}
    terms: dict[str, Terms] = {}
    left_out: dict[str, str] = {}
    for name, candidate in candidates.items():
        fitted = q_hats if reward_model is None and _is_default(candidate) else None
        logs, ends = [feedback, *parts], end if policies else None
        found = _ways(name, candidate, logs, fitted, ends, kept)
        if isinstance(found, str):
            left_out[name] = found
        else:
            whole, *siblings = found
            for way, policy in whole.items():
                if way in policies:
                    raise ValueError(f"two candidates are called {way!r}; rename one.")
                with named(f"candidate {way!r}"):
                    of_folds = [each[way] for each in siblings]
                    terms[way] = _pooled(of_folds, unseen, fold, q_hats, feedback.units)
                policies[way] = policy
        done_one()
    return policies, terms, left_out


def _fitted(model: Any, parts: list[BanditFeedback]) -> list[Any]:
    copies = [copy.deepcopy(model) for _ in parts]
    return fit_many(copies, parts, names=["the reward model"] * len(parts))


def _is_default(candidate: Any) -> bool:
    """Whether a candidate is the very reward model that is used if none is given."""
    default = BilinearLearner()
    return type(candidate) is BilinearLearner and candidate.get_params() == default.get_params()


def _ways(
    name: str,
    candidate: Any,
    logs: list[BanditFeedback],
    fitted: list[Any] | None,
    end: float | None,
    kept: Kept,
) -> list[Ways] | str:
    """The policies that a candidate learns from each log, by way of serving; or why it has not."""
    if not isinstance(candidate, Learner):
        return [{name: candidate}] * len(logs)
    try:
        return kept.get(name, candidate, lambda: _learned(name, candidate, logs, fitted, end))
    except _NoTimeError as no_time:
        return str(no_time)


class _NoTimeError(Exception):
    """The budget does not suffice for a candidate."""


def _learned(
    name: str,
    candidate: Any,
    logs: list[BanditFeedback],
    fitted: list[Any] | None,
    end: float | None,
) -> list[Ways]:
    """The same, learned now. Some may be fitted already, to all logs but the first."""
    start = time.perf_counter()
    if end is not None and start >= end:
        raise _NoTimeError("the budget was spent before it began")
    learners = [copy.deepcopy(candidate) for _ in logs]
    names = [f"candidate {name!r}"] * len(logs)
    if fitted is not None and fitted[0] is not None:
        learners[1:] = fitted
        fit_many(learners[:1], logs[:1], names=names[:1])
    elif end is None:
        fit_many(learners, logs, names=names)
    else:
        fit_many(learners[:1], logs[:1], names=names[:1])
        seconds = (time.perf_counter() - start) * len(logs)
        if start + seconds > end:
            said = f"it would take about {seconds:.0f} seconds, and the budget has fewer left"
            raise _NoTimeError(said)
        fit_many(learners[1:], logs[1:], names=names[1:])
    ways = [_served(name, learner) for learner in learners]
    for of_fold in ways[1:]:
        if of_fold.keys() != ways[0].keys():
            raise ValueError(
                f"candidate {name!r} has the policies_ {[*ways[0]]} of the whole log and "
                f"{[*of_fold]} of a part: give them the same names for every log."
            )
    return ways


def _served(name: str, learner: Any) -> Ways:
    ways = getattr(learner, "policies_", None)
    if isinstance(ways, Mapping) and ways:
        return {f"{name}, {way}" if way else name: policy for way, policy in ways.items()}
    if not isinstance(learner, FittedLearner):
        raise TypeError(
            f"candidate {name!r} has no policy_ after fit(feedback); a learner keeps there what it "
            "learned."
        )
    return {name: learner.policy_}


def _pooled(
    siblings: list[PolicyLike],
    unseen: list[BanditFeedback],
    fold: np.ndarray,
    q_hats: list[Any],
    units: Units,
) -> Terms:
    """Terms of all rounds, each by the sibling that has not seen its fold."""
    names = ["reward", "weight", *([] if q_hats[0] is None else ["q_logged", "q_policy"])]
    columns: dict[str, Any] = {name: np.empty(len(fold)) for name in names}
    for k, (policy, part) in enumerate(zip(siblings, unseen, strict=True)):
        of_fold = policy_terms(policy, part, q_hats[k])
        for name, column in columns.items():
            column[fold == k] = getattr(of_fold, name)
    return Terms(**columns, units=units)
