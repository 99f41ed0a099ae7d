"""What a thing must be able to do to be a policy, a reward model, a learner or a world.

A thing is what it can do: any class with these methods is one, without inheriting from anything.
Logs are `Any` here, because this module stands below them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

Predict: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


@runtime_checkable
class Policy(Protocol):
    """Says how likely it shows each item.

    Its method may take a third argument by the name `eligible`: a boolean mask (n, n_actions) of
    the items that it may show.
    """

    def predict_proba(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Probabilities of shape (n, n_actions), whose rows sum to 1."""


# what every function takes for a policy: an object or a function
PolicyLike: TypeAlias = Policy | Predict


@runtime_checkable
class EncodesItems(Policy, Protocol):
    """A policy that can encode items once, before it is asked chunk by chunk."""

    def for_items(self, action_context: np.ndarray) -> Policy:
        """The same policy, quicker for these items."""


@runtime_checkable
class HasTemperature(Policy, Protocol):
    """A policy that can be served nearer to greedy; one whose `temperature` is None cannot."""

    @property
    def temperature(self) -> float | None:
        """Large is nearly uniform, 0 is greedy."""

    def at_temperature(self, temperature: float) -> Policy:
        """The same policy at another temperature."""


@runtime_checkable
class PredictsReward(Protocol):
    """A fitted reward model."""

    def predict_reward(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Predictions of shape (n, n_actions)."""


@runtime_checkable
class RewardModel(PredictsReward, Protocol):
    """A reward model that can be fitted, and copied before it is."""

    def fit(self, feedback: Any) -> Any:
        """Learn from a `BanditFeedback`."""


@runtime_checkable
class PreparesPredictions(PredictsReward, Protocol):
    """A reward model that encodes contexts and items once, before it is asked for a few rows."""

    def predictor(
        self, context: np.ndarray, action_context: np.ndarray
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """A function from row numbers (m,) and item numbers (k,) to predictions (m, k)."""


@runtime_checkable
class Learner(Protocol):
    """Learns a policy from a log."""

    def fit(self, feedback: Any) -> Any:
        """Learn from a `BanditFeedback`, and return itself."""


@runtime_checkable
class FittedLearner(Learner, Protocol):
    """A learner that has learned."""

    policy_: Policy


@runtime_checkable
class KnownWorld(Protocol):
    """A world whose true policy values are known; `opl_lib.World` helps to write one."""

    logging_policy: PolicyLike

    def sample(self, n_rounds: int, random_state: int | None = None) -> Any:
        """Draw a `BanditFeedback`."""

    def policy_value(self, policy: PolicyLike) -> float:
        """The true value of a policy."""


def for_items(policy: Any, action_context: np.ndarray) -> Any:
    """Let a policy that can do so encode the items once, before it is asked chunk by chunk."""
    policy_function(policy)
    return policy.for_items(action_context) if isinstance(policy, EncodesItems) else policy


def is_array(policy: Any) -> bool:
    """Whether somebody passes probabilities in the place of a policy."""
    if isinstance(policy, type | np.generic) or isinstance(policy, Policy):
        return False
    if isinstance(policy, list | tuple):
        return not any(isinstance(each, Policy) or callable(each) for each in policy)
    return hasattr(policy, "__array__") or hasattr(policy, "tocsr")


def policy_function(policy: Any) -> Predict:
    """What returns a policy's probabilities; raise if it is no policy."""
    what = (
        "a policy is an object with predict_proba(context, action_context), or a function of the "
        "same arguments"
    )
    if isinstance(policy, type):
        raise TypeError(f"{what}; got the class {policy.__name__}: make an object of it first.")
    if is_array(policy):
        raise TypeError(
            f"{what}; got {type(policy).__name__}. An array of probabilities for the rounds of a "
            "log is taken by evaluate and support_report alone: other rounds need a policy."
        )
    function = policy.predict_proba if isinstance(policy, Policy) else policy
    if not callable(function):
        raise TypeError(f"{what}; got {type(policy).__name__}.")
    if hasattr(function, "context_tower"):
        raise TypeError(f"{what}; got towers. Make one of them: opl.TwoTowerPolicy(towers).")
    if not takes(function, 2):
        if takes(function, 2, "eligible"):
            raise TypeError(
                f"{what}; {type(policy).__name__} cannot be called without eligible=…. Give it a "
                "default: def policy(context, action_context, eligible=None)."
            )
        raise TypeError(
            f"{what}; {type(policy).__name__} does not take these two. Of a classifier of contexts "
            "whose classes are all items, in order: "
            "lambda context, action_context: model.predict_proba(context)."
        )
    return function


def takes(function: Callable[..., Any], n_arguments: int, *names: str) -> bool:
    """Whether a function can be called with so many arguments, and others by their names."""
    try:
        inspect.signature(function).bind(*[None] * n_arguments, **dict.fromkeys(names))
    except TypeError:
        return False
    except ValueError:  # it is compiled, and does not say
        return True
    return True


def has_parameter(function: Callable[..., Any], parameter: str) -> bool:
    """Whether a function has a parameter of this name; it does not if it cannot say."""
    try:
        return parameter in inspect.signature(function).parameters
    except ValueError:  # it is compiled
        return False


def reward_function(reward_model: Any) -> Predict:
    """What returns a reward model's predictions; raise if it is no reward model."""
    what = "a reward model has a method predict_reward(context, action_context)"
    if isinstance(reward_model, type):
        raise TypeError(
            f"{what}; got the class {reward_model.__name__}: make an object of it first."
        )
    if isinstance(reward_model, PredictsReward) and callable(reward_model.predict_reward):
        return reward_model.predict_reward
    raise TypeError(
        f"{what}; {type(reward_model).__name__} has none. "
        "Wrap a scikit-learn estimator in opl.SklearnRewardModel."
    )


def check_reward_model(model: Any) -> None:
    """Raise unless it is a reward model that can be fitted."""
    what = "reward_model must have fit(feedback) and predict_reward(context, action_context); got "
    if isinstance(model, type):
        raise TypeError(f"{what}the class {model.__name__}: make an object of it first.")
    if not isinstance(model, RewardModel):
        raise TypeError(
            f"{what}{type(model).__name__}. Wrap a scikit-learn estimator in "
            "opl.SklearnRewardModel, a model that is fitted already in opl.FittedRewardModel."
        )
