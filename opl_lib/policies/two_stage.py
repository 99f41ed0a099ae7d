"""A policy in two stages: draw a cluster of items, then show its best item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..answers import action_probabilities, reward_predictions
from ..arrays import feature_matrix, integers, read_only
from ..checks import plain_arithmetic
from ..logs.clusters import check_clusters
from ..logs.eligible import eligible_mask
from ..logs.readers import is_frame
from ..protocols import (
    HasTemperature,
    PolicyLike,
    PredictsReward,
    for_items,
    policy_function,
    reward_function,
)


@dataclass(frozen=True, eq=False)
class TwoStagePolicy:
    """Draw a cluster from a policy, and show its item with the largest predicted reward.

    It takes features in arrays, as reward models do. Of data frames whose columns the policy knows
    pass ``log.columns.encode_context(frame)`` and ``log.columns.encode_items(items)``.

    Parameters
    ----------
    policy : policy
        Its probabilities are summed over each cluster.
    reward_model : reward model
        Fitted; with ``predict_reward(context, action_context)``.
    cluster : sequence of int, of length n_actions
        Cluster of every item; it is copied.

    Raises
    ------
    TypeError
        At construction, if `policy` is no policy or `reward_model` no reward model.
    ValueError
        At construction, if `cluster` does not hold integers.

    References
    ----------
    Saito, Yao and Joachims, "POTEC: Off-Policy Learning for Large Action Spaces via Two-Stage
    Policy Decomposition", ICLR 2025, with a deterministic second stage.
    """

    policy: PolicyLike
    reward_model: PredictsReward
    cluster: Sequence[int]

    def __post_init__(self) -> None:
        policy_function(self.policy)
        reward_function(self.reward_model)
        object.__setattr__(self, "cluster", read_only(integers("cluster", self.cluster)))

    @plain_arithmetic
    def predict_proba(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        """Probabilities of all items, above 0 for one item a cluster.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
            The items that `cluster` is for.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown: both stages choose among them.

        Returns
        -------
        array of shape (n, n_actions)
            Rows sum to 1.

        Raises
        ------
        ValueError
            If `cluster` is not one integer an item of `action_context`, a stage does not return
            what it should, or what is passed is a data frame whose columns the policy knows.
        """
        self._features("context", context)
        if len(self._features("action_context", action_context)) == 0:
            raise ValueError("action_context has no rows: there is no item to show.")
        cluster = check_clusters(self.cluster, len(action_context))
        if eligible is not None:
            eligible = eligible_mask(eligible, len(context), len(action_context))
        pi = action_probabilities(self.policy, context, action_context, eligible=eligible)
        q_hat = reward_predictions(self.reward_model, context, action_context)
        if eligible is not None:
            q_hat = np.where(eligible, q_hat, -np.inf)
        two_stages, rows = np.zeros_like(pi), np.arange(len(pi))
        for label in np.unique(cluster):
            items = np.flatnonzero(cluster == label)
            best = items[q_hat[:, items].argmax(axis=1)]
            two_stages[rows, best] = pi[:, items].sum(axis=1)
        return two_stages

    @property
    def temperature(self) -> float | None:
        """That of the first stage; None if it has none."""
        return self.policy.temperature if isinstance(self.policy, HasTemperature) else None

    def at_temperature(self, temperature: float) -> TwoStagePolicy:
        """The same two stages with clusters drawn at another temperature; 0 is greedy.

        Raises
        ------
        TypeError
            If the first stage has no temperature.
        """
        if not isinstance(self.policy, HasTemperature) or self.policy.temperature is None:
            raise TypeError(
                f"the first stage, {type(self.policy).__name__}, has no temperature: make a "
                "TwoStagePolicy of one that has, such as a TwoTowerPolicy."
            )
        return replace(self, policy=self.policy.at_temperature(temperature))

    def for_items(self, action_context: np.ndarray) -> TwoStagePolicy:
        """The same policy, whose first stage has encoded these items once, if it can do so."""
        check_clusters(self.cluster, len(self._features("action_context", action_context)))
        return replace(self, policy=for_items(self.policy, action_context))

    def _features(self, name: str, values: Any) -> np.ndarray:
        """An array of features; of a frame the two stages would see different ones."""
        if is_frame(values) and getattr(self.policy, "columns", None) is not None:
            encode = "encode_context" if name == "context" else "encode_items"
            raise ValueError(
                f"{name} is a data frame, and TwoStagePolicy takes arrays: its reward model knows "
                f"no columns. Pass log.columns.{encode}({name})."
            )
        return feature_matrix(name, values)
