"""Items in clusters, and the propensity of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Number
from typing import Any

import numpy as np

from ..arrays import as_array, first_missing, integers
from ..checks import warn_user
from .classifier import Offered
from .feedback import BanditFeedback, check_feedback
from .propensities import estimate_among


def with_clusters(
    feedback: BanditFeedback,
    cluster: Sequence[int],
    classifier: Any = None,
    random_state: int = 0,
    floor: float | None = None,
) -> BanditFeedback:
    """The log with an estimate of `cluster_pscore`, for `mips`, `offcem` and `potec`.

    A cross-fitted classifier from contexts to the clusters of the logged items estimates it, as
    `estimate_propensities` does for items; where the log says what was eligible, a cluster has as
    many chances as it had items then. Where the logging policy is known for all items, sum its
    probabilities over the cluster instead. No estimate is below `pscore`, which it includes.

    Parameters
    ----------
    feedback : BanditFeedback
    cluster : sequence of int, of length n_actions
        Cluster of every item: a category, or clusters of item features.
    classifier : scikit-learn classifier, optional
        As in `estimate_propensities`.
    random_state : int
        Fixes the folds.
    floor : float in [1e-100, 1 / n_clusters], optional
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
        If `feedback` is no BanditFeedback, or `classifier` no classifier.

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
    labels, number = np.unique(check_clusters(cluster, feedback.n_actions), return_inverse=True)
    if len(labels) < 2:
        raise ValueError("all items are in one cluster, whose propensity is 1; give at least two.")
    offered = None
    if feedback.eligible is not None:
        offered = Offered.of(feedback.eligible, number)
    estimate = estimate_among(
        *(offered, feedback.context, number[feedback.action], len(labels), feedback.units),
        *(classifier, 5, floor, 10, random_state),
    )
    if estimate.findings:
        warn_user(
            "the estimated propensities of clusters may be wrong (an item below is a cluster): "
            + "; ".join(estimate.findings)
            + ". Cure: another classifier=… or floor=…, other clusters, or their true "
            "propensities, if the logging policy is known."
        )
    # a cluster is at least as likely as the item in it
    return replace(feedback, cluster_pscore=np.maximum(estimate.pscore, feedback.pscore))


def check_clusters(cluster: Sequence[int], n_actions: int) -> np.ndarray:
    """Clusters as an array; raise unless there is one integer an item."""
    named = as_array("cluster", cluster)
    others = [one for one in named.astype(object).flat if not isinstance(one, Number | np.bool_)]
    if others and first_missing(named) is None:
        raise ValueError(
            f"cluster must hold integers; got {others[0]!r}. Number the categories: "
            "pandas.factorize(pandas.Series(cluster))[0]."
        )
    number = integers("cluster", named)
    if len(number) != n_actions:
        raise ValueError(
            f"cluster has {len(number)} entries for {n_actions} items; give one an item."
        )
    return number
