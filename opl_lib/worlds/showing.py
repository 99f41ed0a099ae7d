"""What logging policies are computed by: inner products, and shares of the items on offer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import feature_matrix, first, where
from ..logs.eligible import eligible_mask


def mostly_best(scores: np.ndarray, epsilon: float, eligible: Any = None) -> np.ndarray:
    """The item with the largest score, but for a share of rounds that explore: (n, n_actions)."""
    pi = np.full(scores.shape, epsilon / scores.shape[1])
    if eligible is not None:
        eligible = eligible_mask(eligible, *scores.shape)
        scores = np.where(eligible, scores, -np.inf)
        pi = epsilon * among(eligible, pi)
    pi[np.arange(len(pi)), scores.argmax(axis=1)] += 1 - epsilon
    return pi


def among(eligible: Any, pi: np.ndarray) -> np.ndarray:
    """Probabilities given that an item is eligible."""
    kept = np.where(eligible_mask(eligible, *pi.shape), pi, 0)
    return kept / kept.sum(axis=1, keepdims=True)


def checked(context: Any, action_context: Any) -> tuple[np.ndarray, np.ndarray]:
    """What a logging policy is asked about: rows of finite features, at least one item."""
    context = feature_matrix("context", context)
    action_context = feature_matrix("action_context", action_context)
    if len(action_context) == 0:
        raise ValueError("action_context has no rows: there is no item to show.")
    return context, action_context


def inner_products(
    context: np.ndarray, action_context: np.ndarray, temperature: float | None = None
) -> np.ndarray:
    """Finite products of every context with every item, by a temperature if given."""
    width = context.shape[1]
    if width != action_context.shape[1]:
        raise ValueError(
            f"this logging policy takes inner products, but contexts have {width} "
            f"features and items {action_context.shape[1]}; give both the same number."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        products = context @ action_context.T
        largest = np.abs(context).max(initial=0) * np.abs(action_context).max(initial=0) * width
        if temperature is not None:
            products, largest = products / temperature, largest / temperature
    if not np.isfinite(largest) and not np.isfinite(products).all():
        raise ValueError(
            "inner products of context and action_context"
            + (f" by temperature={temperature}" if temperature else "")
            + f" are not finite, first in {where(first(~np.isfinite(products)))}: divide context "
            "by a constant."
        )
    return products


def softmax_of(logits: np.ndarray, eligible: Any = None) -> np.ndarray:
    """Probabilities of logits, (n, n_actions), among the eligible."""
    if eligible is not None:
        logits = np.where(eligible_mask(eligible, *logits.shape), logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
