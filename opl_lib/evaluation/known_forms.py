"""The forms of the estimators that have names: columns of terms and what is made of their means.

Most are ``q̂(x, π) + f(w) (r − q̂(x, a))``: with a reward model or with 0 in its place, with a
function f that keeps, limits or drops the importance weights, and sometimes divided by their mean.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .controlled import controlled, model_controls, weight_control
from .forms import Form
from .terms import Terms


def _ratio(weighted: Any, weight: Any, direct: Any = 0.0) -> Any:
    return weighted / weight + direct


def _ratio_gradient(weighted: Any, weight: Any, *direct: Any) -> list[Any]:
    return [1 / weight, -weighted / weight**2, *(1.0 for _ in direct)]


def _exponentials(terms: Terms, w: np.ndarray, limit: float) -> tuple[np.ndarray, ...]:
    """``exp(−λ (w r − min))``, with λ in units of the spread of w r, and what undoes the units."""
    weighted = w * terms.reward
    least, spread = weighted.min(), weighted.std() or 1.0
    inverse_rate = spread / limit
    exponential = np.exp((least - weighted) / inverse_rate)
    return exponential, np.full_like(w, inverse_rate), np.full_like(w, least)


def _log_mean(exponential: Any, inverse_rate: Any, least: Any) -> Any:
    return least - inverse_rate * np.log(exponential)


def _log_mean_gradient(exponential: Any, inverse_rate: Any, least: Any) -> list[Any]:
    return [-inverse_rate / exponential, -np.log(exponential), 1.0]


def _constant(form: Form, value: float) -> Form:
    return replace(
        form, weight=lambda w, _: np.full_like(w, value), most=lambda _: value, weighs=False
    )


_IPS = Form(lambda t, w: w * t.reward)
_DR = Form(lambda t, w: t.q_policy + w * (t.reward - t.q_logged), needs_reward_model=True)
_SNIPS = Form(lambda t, w: (w * t.reward, w), _ratio, _ratio_gradient)
FORMS: dict[str, Form] = {
    "avg": _constant(_IPS, 1.0),
    "dm": _constant(_DR, 0.0),
    "ips": _IPS,
    "snips": _SNIPS,
    "clipped_ips": replace(_IPS, weight=np.minimum, most=float, default_limit=math.sqrt),
    "beta_ips": controlled(weight_control),
    "lse": Form(
        _exponentials,
        _log_mean,
        _log_mean_gradient,
        default_limit=lambda n_rounds: 0.5 / math.sqrt(n_rounds),
    ),
    "dr": _DR,
    "clipped_dr": replace(_DR, weight=np.minimum, most=float, default_limit=math.sqrt),
    "sndr": replace(
        _SNIPS,
        columns=lambda t, w: (w * (t.reward - t.q_logged), w, t.q_policy),
        needs_reward_model=True,
    ),
    "beta_dr": controlled(model_controls, needs_reward_model=True),
    "switch_dr": replace(
        _DR,
        weight=lambda w, limit: np.where(w <= limit, w, 0.0),
        most=float,
        default_limit=math.sqrt,
    ),
    "dros": replace(
        _DR,
        weight=lambda w, limit: limit * w / (np.square(w) + limit),
        most=lambda limit: math.sqrt(limit) / 2,
        default_limit=float,
    ),
}
