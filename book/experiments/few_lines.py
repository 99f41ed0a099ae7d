"""Peers of a few lines of scikit-learn, with settings to choose from, all served greedily.

As in `peers`, each function takes a log to learn from and a seed, and returns policies by setting.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from opl_lib.arrays import row_chunks
from opl_lib.logs.feedback import BanditFeedback

Policy = Callable[[np.ndarray, np.ndarray], np.ndarray]
PENALTIES = (10.0, 100.0, 1_000.0, 10_000.0)


def ridge_on_products(log: BanditFeedback, seed: int) -> dict[str, Policy]:
    """Scikit-learn's ridge on all products of context and item features, served greedily."""
    from sklearn.linear_model import Ridge

    return {f"penalty={penalty:g}": _on_products(log, Ridge(penalty)) for penalty in PENALTIES}


def logistic_on_products(log: BanditFeedback, seed: int) -> dict[str, Policy]:
    """Scikit-learn's logistic regression on the same products, served greedily."""
    from sklearn.linear_model import LogisticRegression

    return {
        f"penalty={penalty:g}": _on_products(log, LogisticRegression(C=1 / penalty, max_iter=1000))
        for penalty in PENALTIES
    }


def _on_products(log: BanditFeedback, model: Any) -> Policy:
    """A linear model of the products of (1, x) and (1, a), features brought to one scale."""
    from sklearn.preprocessing import StandardScaler

    scale_x, scale_a = StandardScaler().fit(log.context), StandardScaler().fit(log.action_context)
    left = _with_one(scale_x.transform(log.context))
    right = _with_one(scale_a.transform(log.action_context))
    products = left[:, :, None] * right[log.action][:, None, :]
    model.fit(products.reshape(log.n_rounds, -1), log.reward)
    coefficients = model.coef_.reshape(products.shape[1:])

    def policy(context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        items = _with_one(scale_a.transform(action_context))
        return _greedy(_with_one(scale_x.transform(context)) @ coefficients @ items.T)

    return policy


def boosting(log: BanditFeedback, seed: int) -> dict[str, Policy]:
    """Scikit-learn's gradient boosting on context and item features side by side, greedily."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    joined = np.hstack([log.context, log.action_context[log.action]])
    policies = {}
    for rate, leaves in ((0.03, 8), (0.1, 8), (0.1, 31)):
        model = HistGradientBoostingRegressor(
            learning_rate=rate, max_leaf_nodes=leaves, random_state=seed
        )
        model.fit(joined, log.reward)
        policies[f"learning_rate={rate:g}, leaves={leaves}"] = partial(_row_by_row, model)
    return policies


def _row_by_row(model: Any, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
    """The item that a model of joined features predicts the most for, some contexts at a time."""
    n_items, pi = len(action_context), []
    for rows in row_chunks(len(context), n_items):
        x = np.repeat(context[rows], n_items, axis=0)
        joined = np.hstack([x, np.tile(action_context, (len(context[rows]), 1))])
        pi.append(_greedy(model.predict(joined).reshape(-1, n_items)))
    return np.concatenate(pi)


def constant_item(log: BanditFeedback, seed: int) -> dict[str, Policy]:
    """One item for all: the one with the largest mean reward, shrunk towards a guess.

    Means are self-normalised. How far they are shrunk follows from how much they differ from the
    guess beyond their errors, which is empirical Bayes (Morris, JASA 1983).
    """
    from sklearn.cluster import KMeans
    from sklearn.linear_model import RidgeCV

    n_clusters = round(log.n_actions**0.5)
    cluster = KMeans(n_clusters, n_init=4, random_state=seed).fit_predict(log.action_context)
    mean, n_effective = _means(log, np.arange(log.n_actions))
    ridge = RidgeCV(np.logspace(-2, 4, 13))
    ridge.fit(log.action_context, mean, sample_weight=n_effective)
    guesses = {
        "the mean": _means(log, np.zeros(log.n_actions, int))[0],
        "its cluster's mean": _means(log, cluster)[0],
        "a ridge on item features": ridge.predict(log.action_context),
    }
    return {
        f"towards {name}": _constant(_shrunk(mean, guess, log.reward.var() / n_effective))
        for name, guess in guesses.items()
    }


def _means(log: BanditFeedback, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each item's group: the self-normalised mean reward, and how many rounds it is worth.

    A group that was never shown has the mean of all, and hardly any rounds.
    """
    shown, weight = group[log.action], 1 / log.pscore
    total = np.bincount(shown, weight, group.max() + 1)
    squares = np.bincount(shown, weight**2, group.max() + 1)
    mean = np.full(len(total), np.average(log.reward, weights=weight))
    np.divide(np.bincount(shown, weight * log.reward, len(total)), total, mean, where=total > 0)
    n_effective = np.full(len(total), 1e-9)
    np.divide(total**2, squares, n_effective, where=total > 0)
    return mean[group], n_effective[group]


def _shrunk(mean: np.ndarray, guess: np.ndarray, variance: np.ndarray) -> np.ndarray:
    off = np.average((mean - guess) ** 2 - variance, weights=1 / variance)
    return guess + (mean - guess) * max(off, 0.0) / (max(off, 0.0) + variance)


def _constant(values: np.ndarray) -> Policy:
    return lambda context, action_context: _greedy(np.tile(values, (len(context), 1)))


def _with_one(features: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(features)), features])


def _greedy(values: np.ndarray) -> np.ndarray:
    pi = np.zeros(values.shape)
    pi[np.arange(len(pi)), values.argmax(axis=1)] = 1
    return pi
