"""Learning objectives: pure functions from logits and a batch to a value and its logit gradient.

Every objective is to be maximised, and takes

- ``logits``, shape (B, n_actions): ``<u(x), v(a)> / temperature`` of every item, or, for the
  objectives that look only at the logged item, its scores ``<u(x), v(a)>``, shape (B,);
- ``batch``, a `Batch` of B logged rounds;

and returns its value, a scalar, and the gradient of that value with respect to ``logits``.

Shapes count from the right: the objectives of this package also take a leading axis of K models,
``logits`` of shape (K, B, n_actions) with a batch each, and return K values.

An objective without settings is a plain function; one with settings is made by a function of them,
such as ``clipped_ips(max_weight=10)``. If all its settings have defaults, its name stands for it.
"""

from __future__ import annotations

from .base import Batch, Objective
from .baselines import baseline_ips, snips
from .clusters import mips, offcem, potec
from .doubly_robust import dros, switch_dr
from .likelihoods import likelihood
from .lists import top_k_ips
from .registry import OBJECTIVES, get_objective
from .regressions import mrdr, regression, squared_error
from .regularisers import regularised
from .value import dm, dr, ips, linear_value
from .weighted import (
    clipped_ips,
    exponential_smoothing,
    implicit_exploration,
    logarithmic_smoothing,
    poem,
)

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Objective",
    "baseline_ips",
    "clipped_ips",
    "dm",
    "dr",
    "dros",
    "exponential_smoothing",
    "get_objective",
    "implicit_exploration",
    "ips",
    "likelihood",
    "linear_value",
    "logarithmic_smoothing",
    "mips",
    "mrdr",
    "offcem",
    "poem",
    "potec",
    "regression",
    "regularised",
    "snips",
    "squared_error",
    "switch_dr",
    "top_k_ips",
]
