"""Learning objectives: formulas of logits and a batch, to be maximised.

A formula takes

- ``logits``, shape (B, n_actions): ``<u(x), v(a)> / temperature`` of every item;
- ``batch``, a `Batch` of B logged rounds;

and returns its value, a scalar, or its value and the gradient of that in ``logits``. Without a
gradient, torch differentiates the value *in the logits*: towers, batching, sampling and streaming
are the learner's business. Regressions, which predict rewards and have no policy, take the scores
``<u(x), v(a)>`` of the logged items, shape (B,), instead.

Shapes count from the right: the formulas of this package also take a leading axis of K models,
``logits`` of shape (K, B, n_actions) with a batch each, and return K values.

`OBJECTIVES` holds them by name; to add one is to decorate a formula in one of these modules.
"""

from __future__ import annotations

from . import (
    baselines,
    check,
    clusters,
    doubly_robust,
    likelihoods,
    lists,
    regressions,
    regularisers,
    value,
    weighted,
)
from .base import Objective
from .baselines import *
from .batch import Batch
from .check import *
from .clusters import *
from .doubly_robust import *
from .likelihoods import *
from .lists import *
from .registry import OBJECTIVES, get_objective
from .regressions import *
from .regularisers import *
from .value import *
from .weighted import *

__all__ = ["OBJECTIVES", "Batch", "Objective", "get_objective"] + (
    baselines.__all__
    + check.__all__
    + clusters.__all__
    + doubly_robust.__all__
    + likelihoods.__all__
    + lists.__all__
    + regressions.__all__
    + regularisers.__all__
    + value.__all__
    + weighted.__all__
)
