"""Candidates of a selection: what may be one, how they learn and how they are served."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from ..arrays import numbers
from ..checks import MAX_SEED, MIN_TEMPERATURE, check_number
from ..evaluation.estimators import Estimator
from ..learning.many import fit_many
from ..learning.regressor import TwoTowerRegressor
from ..logs.feedback import BanditFeedback, check_feedback
from ..protocols import (
    FittedLearner,
    HasTemperature,
    Learner,
    Policy,
    PolicyLike,
    PredictsReward,
    RewardModel,
    check_reward_model,
    policy_function,
    takes,
)
from .apart import check_alike
from .judge import LOGGING
from .kept import Kept

Parts = tuple[BanditFeedback, BanditFeedback, BanditFeedback]


def fit_all(
    candidates: Mapping[str, Any],
    estimator: Estimator,
    reward_model: RewardModel | None,
    to_fit: BanditFeedback,
    kept: Kept,
) -> tuple[dict[str, PolicyLike], PredictsReward | None]:
    """Copies of all that learns, fitted side by side: every candidate's policy, and q̂.

    Where they are kept, they are fitted one after the other.
    """
    if reward_model is not None:
        check_reward_model(reward_model)
    learners = {
        name: copy.deepcopy(candidate)
        for name, candidate in candidates.items()
        if isinstance(candidate, Learner)
    }
    models = {f"candidate {name!r}": learner for name, learner in learners.items()}
    q_hat: Any = None
    if estimator.needs_reward_model:
        q_hat = TwoTowerRegressor() if reward_model is None else copy.deepcopy(reward_model)
        models["the reward model"] = q_hat
    if kept.folder is None:
        fit_many(list(models.values()), [to_fit] * len(models), names=list(models))
    else:
        models = {
            name: _fitted_or_kept(name, model, to_fit, kept) for name, model in models.items()
        }
        learners = {name: models[f"candidate {name!r}"] for name in learners}
        q_hat = models.get("the reward model")
    learned: dict[str, PolicyLike] = dict(candidates)
    for name, learner in learners.items():
        if not isinstance(learner, FittedLearner):
            raise TypeError(
                f"candidate {name!r} has no policy_ after fit(feedback); a learner keeps there "
                "what it learned."
            )
        learned[name] = learner.policy_
    return learned, q_hat


def _fitted_or_kept(name: str, model: Any, to_fit: BanditFeedback, kept: Kept) -> Any:
    return kept.get(name, model, lambda: fit_many([model], [to_fit], names=[name])[0])


def serve(learned: Mapping[str, PolicyLike], taus: tuple[float, ...]) -> dict[str, PolicyLike]:
    """Every policy at every temperature, if it has one."""
    policies: dict[str, PolicyLike] = {}
    for name, policy in learned.items():
        served = {name: policy}
        if taus and _has_temperature(policy):
            served = {f"{name} @ {tau:g}": policy.at_temperature(tau) for tau in taus}
        for each in served:
            if each in policies:
                raise ValueError(f"two candidates are called {each!r}; rename one.")
        policies |= served
    return policies


def _has_temperature(policy: Any) -> TypeGuard[HasTemperature]:
    return isinstance(policy, HasTemperature) and policy.temperature is not None


def most_policies(candidates: Mapping[str, Any], taus: tuple[float, ...]) -> int:
    """How many are judged, if every learner learns a policy that has a temperature."""
    return sum(
        max(1, len(taus)) if isinstance(each, Learner) or _has_temperature(each) else 1
        for each in candidates.values()
    )


def parts(
    feedback: BanditFeedback | Sequence[BanditFeedback],
    fractions: Sequence[float] = (0.5, 0.25, 0.25),
    random_state: int = 0,
) -> Parts:
    """Three logs, to fit, select and report on: those given, or a random split of one."""
    if isinstance(feedback, Sequence):
        if len(feedback) != 3:
            raise ValueError(
                "feedback must be one log or three, to fit, select and report on; "
                f"got {len(feedback)}."
            )
        for number, log in enumerate(feedback):
            check_feedback(log, f"feedback[{number}]")
        check_alike({f"feedback[{number}]": log for number, log in enumerate(feedback)})
        to_fit, to_select, to_report = feedback
        return to_fit, to_select, to_report
    check_feedback(feedback)
    shares = numbers("fractions", fractions, ndim=1)
    if shares.shape != (3,) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-9:
        raise ValueError(
            f"fractions must be three shares above 0 with sum 1, such as (0.5, 0.25, 0.25); "
            f"got {fractions!r}."
        )
    _, selection, report = (float(share) for share in shares)
    to_fit, held_out = feedback.split(selection + report, random_state)
    second_seed = (int(random_state) + 1) % (MAX_SEED + 1)
    return to_fit, *held_out.split(report / (selection + report), second_seed)


def check_candidates(candidates: Any) -> None:
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
        if isinstance(candidate, type):
            raise TypeError(
                f"candidate {name!r} is the class {candidate.__name__}: make an object of it first."
            )
        what = "is neither a learner with fit(feedback) nor a policy"
        if not (isinstance(candidate, Learner | Policy) or callable(candidate)):
            raise TypeError(
                f"candidate {name!r} {what} with "
                f"predict_proba(context, action_context); got {type(candidate).__name__}."
            )
        if not isinstance(candidate, Learner):
            try:
                policy_function(candidate)
            except TypeError as error:
                raise TypeError(f"candidate {name!r} {what}: {error}") from error
        elif not takes(candidate.fit, 1):
            raise TypeError(
                f"candidate {name!r} {what}: the fit of {type(candidate).__name__} does not take "
                "a log alone. Of a fitted classifier of contexts whose classes are all items, in "
                "order: lambda context, action_context: model.predict_proba(context)."
            )


def check_temperatures(temperatures: Any) -> tuple[float, ...]:
    if temperatures is None:
        return ()
    is_list = isinstance(temperatures, Sequence) and not isinstance(temperatures, str)
    is_array = hasattr(temperatures, "__array__") and np.ndim(temperatures) == 1
    if not (is_list or is_array) or len(temperatures) == 0:
        raise ValueError(
            f"temperatures must be a sequence such as [1, 0], or None; got {temperatures!r}."
        )
    for number, tau in enumerate(temperatures):
        check_number(f"temperatures[{number}]", tau, least=0)
        if 0 < tau < MIN_TEMPERATURE:
            raise ValueError(
                f"temperatures[{number}] must be at least {MIN_TEMPERATURE}, or 0; got {tau!r}."
            )
    return tuple(dict.fromkeys(float(tau) for tau in temperatures))
