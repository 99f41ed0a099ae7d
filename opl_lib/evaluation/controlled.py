"""Estimates from which noise of known mean is subtracted, with the coefficients that do it best.

The importance weight has mean 1, and ``w q̂(x, a)`` has the mean of ``q̂(x, π)``. What a log holds
of these beyond their means is noise, and part of the noise of ``w r`` moves with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from .forms import Form
from .terms import Terms

_SINGULAR = 1e-12  # of the smallest eigenvalue of correlations that still counts

Controls = Callable[[Terms, np.ndarray], list[np.ndarray]]


def controlled(controls: Controls, needs_reward_model: bool = False) -> Form:
    """The intercept of a least-squares fit of ``w r`` on columns whose mean is 0.

    For a difference to the logging policy ``(w − 1) r`` is fitted, whose best coefficients are
    others. In the long run the variance is the smallest that coefficients can give: Owen, "Monte
    Carlo theory, methods and examples", 2013, section 8.9.
    """

    def columns(terms: Terms, w: np.ndarray) -> tuple[np.ndarray, ...]:
        known = terms.reward if terms.difference else np.zeros_like(w)
        of_fit = [np.ones_like(w), *controls(terms, w)]
        term = w * terms.reward - known
        products = [first * second for first, second in combinations_with_replacement(of_fit, 2)]
        return (known, *(term * each for each in of_fit), *products[1:])

    return Form(columns, _intercept, _intercept_gradient, needs_reward_model=needs_reward_model)


def weight_control(terms: Terms, w: np.ndarray) -> list[np.ndarray]:
    """The weight less its mean."""
    return [w - 1]


def model_controls(terms: Terms, w: np.ndarray) -> list[np.ndarray]:
    """The same, and what the weighted reward model says beyond its mean."""
    return [w - 1, w * terms.q_logged - terms.q_policy]


def _intercept(known: Any, *means: Any) -> Any:
    coefficients, _ = _fit(means)
    return coefficients[..., 0] + known


def _intercept_gradient(known: Any, *means: Any) -> list[Any]:
    """With ``θ = G⁻¹ v`` and g the first row of ``G⁻¹``, ``dθ_0 = g · (dv − dG θ)``."""
    coefficients, first = _fit(means)
    pairs = combinations_with_replacement(range(len(coefficients)), 2)
    of_products = [
        -first[j] * coefficients[k] - (first[k] * coefficients[j] if j != k else 0)
        for j, k in pairs
    ]
    return [1.0, *first, *of_products[1:]]


def _fit(means: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients, and the first row of the inverse of the second moments, each (..., k)."""
    size = next(k for k in range(1, len(means)) if k + k * (k + 1) // 2 - 1 == len(means))
    target = np.stack(np.broadcast_arrays(*means[:size]), axis=-1)
    moments = np.ones((*target.shape, size))
    pairs = list(combinations_with_replacement(range(size), 2))[1:]
    for (j, k), mean in zip(pairs, means[size:], strict=True):
        moments[..., j, k] = moments[..., k, j] = mean
    scale = np.sqrt(np.diagonal(moments, axis1=-2, axis2=-1))
    scale = np.where(scale > 0, scale, 1)
    inverse = _inverse(moments / scale[..., :, None] / scale[..., None, :])
    coefficients = np.einsum("...jk,...k->...j", inverse, target / scale) / scale
    return coefficients, inverse[..., 0, :] / scale / scale[..., :1]


def _inverse(moments: np.ndarray) -> np.ndarray:
    """Of what can be inverted; NaN stays NaN."""
    finite = np.isfinite(moments).all(axis=(-2, -1), keepdims=True)
    inverse = np.linalg.pinv(np.where(finite, moments, 0), rcond=_SINGULAR, hermitian=True)
    return np.where(finite, inverse, np.nan)
