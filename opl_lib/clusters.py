"""Items in clusters: the propensity of a cluster, and a policy that first draws a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .checks import action_probabilities, integers, reward_predictions
from .feedback import BanditFeedback, check_feedback
from .propensities import estimate_propensities


def with_clusters(
    feedback: BanditFeedback, cluster: Sequence[int], model: Any = None, random_state: int = 0
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

    Returns
    -------
    BanditFeedback

    Raises
    ------
    ValueError
        If `cluster` is not one integer an item, or all items are in one cluster.
    TypeError
        If `feedback` is no BanditFeedback, or `model` no classifier.

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
        random_state=random_state,
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

    References
    ----------
    Saito, Yao and Joachims, "POTEC: Off-Policy Learning for Large Action Spaces via Two-Stage
    Policy Decomposition", ICLR 2025, with a deterministic second stage.
    """

    policy: Any
    reward_model: Any
    cluster: Sequence[int]

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

    def at_temperature(self, temperature: float) -> TwoStagePolicy:
        """The same two stages, with clusters drawn at another temperature; 0 is greedy."""
        return replace(self, policy=self.policy.at_temperature(temperature))


def _clusters(cluster: Sequence[int], n_actions: int) -> np.ndarray:
    cluster = integers("cluster", cluster)
    if len(cluster) != n_actions:
        raise ValueError(
            f"cluster has {len(cluster)} entries for {n_actions} items; give one an item."
        )
    return cluster
