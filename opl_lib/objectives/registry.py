"""Objectives by name."""

from __future__ import annotations

from typing import Any

import torch

from .base import Objective
from .baselines import baseline_ips, snips
from .doubly_robust import dros, switch_dr
from .likelihoods import likelihood
from .regressions import identity, mrdr, regression, squared_error
from .value import dm, dr, ips
from .weighted import (
    clipped_ips,
    exponential_smoothing,
    implicit_exploration,
    logarithmic_smoothing,
    poem,
)

# Those that have no name of their own, since their settings have no defaults.
_MADE_OF_SETTINGS = {
    "mips": "opl.mips(cluster)",
    "offcem": "opl.offcem(cluster)",
    "potec": "opl.potec(cluster)",
    "top_k_ips": "opl.top_k_ips(k)",
    "regularised": "opl.regularised('dr', entropy=0.01)",
}
OBJECTIVES = {
    "regression": Objective(
        regression, to_reward=torch.sigmoid_, stacks=True, min_reward=0.0, max_reward=1.0
    ),
    "squared_error": Objective(squared_error, to_reward=identity, stacks=True),
    "mrdr": Objective(mrdr, to_reward=identity, stacks=True),
    "dm": Objective(dm, needs_reward_model=True, collapses=True, stacks=True),
    "ips": Objective(ips, collapses=True, stacks=True),
    "dr": Objective(dr, needs_reward_model=True, collapses=True, stacks=True),
    "snips": Objective(snips, collapses=True, stacks=True),
    "clipped_ips": clipped_ips(),
    "baseline_ips": baseline_ips(),
    "implicit_exploration": implicit_exploration(),
    "exponential_smoothing": exponential_smoothing(),
    "logarithmic_smoothing": logarithmic_smoothing(),
    "poem": poem(),
    "switch_dr": switch_dr(),
    "dros": dros(),
    "likelihood": likelihood(),
}


def get_objective(objective: str | Objective) -> Objective:
    """Look up an objective by name, or pass one through."""
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str) and objective in OBJECTIVES:
        return OBJECTIVES[objective]
    raise ValueError(
        f"objective must be one of {sorted(OBJECTIVES)} or an opl.Objective; got {objective!r}."
        + _what_to_pass(objective)
    )


def _what_to_pass(objective: Any) -> str:
    """What was probably meant: a name, an objective made of settings, or a wrapped function."""
    name, is_ours = objective, isinstance(objective, str)
    if callable(objective):
        name, module = (getattr(objective, of, "") for of in ("__name__", "__module__"))
        is_ours = module.startswith("opl_lib.objectives.")
    if is_ours and name in _MADE_OF_SETTINGS:
        return f" Pass one made of its settings, such as {_MADE_OF_SETTINGS[name]}."
    if is_ours and name in OBJECTIVES:
        if OBJECTIVES[name].function is objective:
            return f" Pass its name, {name!r}."
        return f" Call it, opl.{name}(), or pass its name, {name!r}."
    if callable(objective):
        return " Wrap a function of (logits, batch): opl.Objective(function)."
    return ""
