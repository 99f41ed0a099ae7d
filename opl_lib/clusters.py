"""Items in clusters: the propensity of a cluster, and a policy that first draws a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .checks import (
    action_probabilities,
    for_items,
    integers,
    policy_function,
    reward_function,
    reward_predictions,
    warn_user,
)
from .feedback import BanditFeedback, check_feedback
from .propensities import estimate_propensities


def with_clusters(
    feedback: BanditFeedback,
    cluster: Sequence[int],
    model: Any = None,
    random_state: int = 0,
    floor: float | None = None,
) -> BanditFeedback:
    """The log with an estimate of `cluster_pscore`, for `mips`, `offcem` and `potec`.

    A cross-fitted classifier from contexts to the clusters of the logged items estimates it, as
    `estimate_propensities` does for items. Where the logging policy is known for all items, sum its
    probabilities over the cluster instead.

    Parameters
    ----------
    feedback : BanditFeedback
    cluster : sequence of int, of length n_actions
        Cluster of every item: a category, or clusters of item features.
    model : scikit-learn classifier, optional
        As in `estimate_propensities`.
    random_state : int
        Fixes the folds.
    floor : float in (0, 1 / n_clusters], optional
        As in `estimate_propensities`: every estimate is raised to at least this.

    Returns
    -------
    BanditFeedback

    Raises
    ------
    ValueError
        If `cluster` is not one integer an item, all items are in one cluster, or `floor` is out of
        range.
    TypeError
        If `feedback` is no BanditFeedback, or `model` no classifier.

    Warns
    -----
    UserWarning
        With the findings of `estimate_propensities`, if there are any. Its "items" are the clusters
        here, numbered in their order.

    References
    ----------
    Saito and Joachims, "Off-Policy Evaluation for Large Action Spaces via Embeddings", ICML 2022.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(6, 5, 5, logging_policy=opl.uniform(), random_state=0)
    >>> log = opl.with_clusters(world.sample(4000, random_state=1), cluster=[0, 0, 0, 0, 1, 1])
    >>> bool(abs(log.cluster_pscore[log.action < 4].mean() - 4 / 6) < 0.02)
    True
    """
    check_feedback(feedback)
    labels, number = np.unique(_clusters(cluster, feedback.n_actions), return_inverse=True)
    if len(labels) < 2:
        raise ValueError("all items are in one cluster, whose propensity is 1; give at least two.")
    estimate = estimate_propensities(
        feedback.context,
        number[feedback.action],
        len(labels),
        model=model,
        floor=floor,
        random_state=random_state,
    )
    if estimate.findings:
        warn_user(
            "the estimated propensities of clusters may be wrong (an item below is a cluster): "
            + "; ".join(estimate.findings)
            + ". Cure: another model=… or floor=…, other clusters, or their true propensities, if "
            "the logging policy is known."
        )
    return replace(feedback, cluster_pscore=estimate.pscore)


@dataclass(frozen=True)
class TwoStagePolicy:
    """Draw a cluster from a policy, and show its item with the largest predicted reward.

    Parameters
    ----------
    policy : policy
        Its probabilities are summed over each cluster.
    reward_model : reward model
        Fitted; with ``predict_reward(context, action_context)``.
    cluster : sequence of int, of length n_actions
        Cluster of every item.

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

    policy: Any
    reward_model: Any
    cluster: Sequence[int]

    def __post_init__(self) -> None:
        if self.policy is not None:  # which is uniform
            policy_function(self.policy)
        reward_function(self.reward_model)
        integers("cluster", self.cluster)

    def predict_proba(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Probabilities of all items, above 0 for one item a cluster.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
            The items that `cluster` is for.

        Returns
        -------
        array of shape (n, n_actions)
            Rows sum to 1.

        Raises
        ------
        ValueError
            If `cluster` is not one integer an item of `action_context`.
        """
        cluster = _clusters(self.cluster, len(action_context))
        pi = action_probabilities(self.policy, context, action_context)
        q_hat = reward_predictions(self.reward_model, context, action_context)
        two_stages, rows = np.zeros_like(pi), np.arange(len(pi))
        for label in np.unique(cluster):
            items = np.flatnonzero(cluster == label)
            best = items[q_hat[:, items].argmax(axis=1)]
            two_stages[rows, best] = pi[:, items].sum(axis=1)
        return two_stages

    @property
    def at_temperature(self) -> Callable[[float], TwoStagePolicy]:
        """Function to the same two stages with clusters drawn at a temperature; 0 is greedy.

        It is there if `policy` has it; else an AttributeError says so.
        """
        change = getattr(self.policy, "at_temperature", None)
        if change is None:
            raise AttributeError(
                f"the first stage, {type(self.policy).__name__}, has no at_temperature: make "
                "a TwoStagePolicy of one that has, such as a TwoTowerPolicy."
            )
        return lambda temperature: replace(self, policy=change(temperature))

    def for_items(self, action_context: np.ndarray) -> TwoStagePolicy:
        """The same policy, whose first stage has encoded these items once, if it can do so."""
        return replace(self, policy=for_items(self.policy, action_context))


def _clusters(cluster: Sequence[int], n_actions: int) -> np.ndarray:
    cluster = integers("cluster", cluster)
    if len(cluster) != n_actions:
        raise ValueError(
            f"cluster has {len(cluster)} entries for {n_actions} items; give one an item."
        )
    return cluster
