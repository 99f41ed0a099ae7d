"""Items that are drawn, one or a page of them, each with the probability to log."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch

from ..arrays import row_chunks
from ..checks import check_number, check_seed, plain_arithmetic, warn_user
from ..logs.eligible import eligible_rows
from ..logs.known_columns import context_features
from .encode import single_features
from .index import check_enough


@plain_arithmetic
def draw_items(
    policy: Any, context: Any, action_context: Any, random_state: Any, eligible: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What `TwoTowerPolicy.sample` returns."""
    check_seed(random_state, optional=True)
    features = single_features("context", context_features(policy.columns, context))
    policy, rng = policy.for_items(action_context), np.random.default_rng(random_state)
    item, pscore = np.empty(len(features), dtype=np.int64), np.ones(len(features))
    for rows, scores in _scores(policy, features, action_context, eligible):
        if policy.temperature == 0:
            item[rows] = scores.argmax(axis=1)
            continue
        log_pi = torch.log_softmax(policy._logits(scores), dim=1).numpy()
        item[rows] = (log_pi + rng.gumbel(size=log_pi.shape)).argmax(axis=1)
        pscore[rows] = np.exp(log_pi[np.arange(len(log_pi)), item[rows]])
    return policy._ids(action_context, item), pscore


@plain_arithmetic
def draw_pages(
    policy: Any, context: Any, action_context: Any, k: Any, random_state: Any, eligible: Any
) -> tuple[np.ndarray, np.ndarray]:
    """What `TwoTowerPolicy.recommend` returns."""
    check_seed(random_state, optional=True)
    features = single_features("context", context_features(policy.columns, context))
    policy = policy.for_items(action_context)
    check_number("k", k, Integral, least=1, most=len(action_context))
    if policy.temperature == 0:
        _say_twins(policy, action_context)
        page = policy.top_k(features, action_context, k, eligible)
        return page, np.ones(page.shape)
    rng, item = np.random.default_rng(random_state), np.empty((len(features), int(k)), np.int64)
    pscore = np.empty(item.shape)
    for rows, scores in _scores(policy, features, action_context, eligible, int(k)):
        item[rows], pscore[rows] = _pages(policy._logits(scores).numpy(), int(k), rng)
    return policy._ids(action_context, item), pscore


def _say_twins(policy: Any, action_context: Any) -> None:
    """Warn of items that only their order tells apart: twins, or all where nothing was learned."""
    index = policy._index(action_context)
    if len(index._twins):
        pair = np.array([index._first[0], index._twins[0]])
        first, other = policy._ids(action_context, pair).tolist()
        warn_user(
            f"action_context: {len(index._twins)} of {len(index)} items always have the score of "
            f"an earlier one, such as {other!r} that of {first!r}, and a greedy policy shows the "
            "earlier one first. Give items features that differ; if they do, the policy learned "
            "nothing of them, and a temperature above 0 shows all alike."
        )


def _scores(
    policy: Any, features: np.ndarray, action_context: Any, eligible: Any, k: int = 1
) -> Iterator[tuple[slice, np.ndarray]]:
    """Scores of a few rows at a time, −∞ of what cannot be shown; raise if k items cannot."""
    size = len(features), len(action_context)
    can_be_shown = None if eligible is None else eligible_rows(eligible, *size)
    for rows in row_chunks(*size):
        scores = policy._scores(features[rows], action_context, rows.start)
        if can_be_shown is not None:
            mask = can_be_shown(rows)
            check_enough(mask, k, rows.start)
            scores[~mask] = -np.inf
        yield rows, scores


def _pages(logits: np.ndarray, k: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The k largest of logits (n, m) plus Gumbel noise, and each one's share of what is left.

    That is a draw by the softmax without replacement (Plackett and Luce).
    """
    noisy = logits + rng.gumbel(size=logits.shape)
    page = np.argsort(-noisy, axis=1, kind="stable")[:, :k]
    left, rows = logits.copy(), np.arange(len(logits))
    pscore = np.empty(page.shape)
    for slot, item in enumerate(page.T):
        largest = left.max(axis=1, keepdims=True)
        total = np.exp(left - largest).sum(axis=1)
        pscore[:, slot] = np.exp(left[rows, item] - largest[:, 0]) / total
        left[rows, item] = -np.inf
    return page, pscore
