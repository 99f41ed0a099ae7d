"""The candidates that `learn` makes of a log, each of another kind."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np

from .. import objectives
from ..learning.bilinear import BilinearLearner
from ..learning.constant import ConstantItemLearner
from ..learning.fit import StopFit
from ..learning.learner import OffPolicyLearner
from ..logs.feedback import BanditFeedback
from ..objectives.regressions import mean_and_scale
from ..policies.two_tower import TwoTowerPolicy

# A value objective sees every item in every round: longer logs of more items take minutes.
_MAX_CELLS = 500_000
# Of rewards that are clicks, towers learn nothing that is clear from fewer, or from fewer others.
_MIN_CLICKS = 1_000
_MIN_UNITS = 20  # fewer hold no weights to speak of, and cannot be cross-fitted in every fold
_UPDATES, _BATCH_SIZE = 300, 200
_ENTROPY = 0.02  # in units of a click
_MAX_UNIT = 1e30


def default_candidates(
    feedback: BanditFeedback, random_state: int = 0, end: float | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Learners of different kinds by name, and why others were left out.

    Whether towers are one is tried on the whole log, until `end` on the clock of `perf_counter`.
    """
    found: dict[str, Any] = {"bilinear": BilinearLearner(), "constant item": ConstantItemLearner()}
    left_out = {}
    if why_not := _why_no_towers(feedback):
        left_out["towers"] = why_not
    else:
        towers = OffPolicyLearner(progress=False, random_state=random_state)
        until = _Until(end)
        tried: Any = copy.copy(towers).fit(feedback, until)
        if until.is_over:
            left_out["towers"] = "the budget is too small for a first fit of them"
        elif _has_layers(tried.policy_):
            found["towers"] = towers
        else:
            left_out["towers"] = "beside the bilinear regression they gained nothing that is clear"
    if why_not := _why_no_value(feedback):
        left_out["value"] = why_not
    else:
        found["value"] = _value_learner(feedback, random_state)
    return found, left_out


class _Until:
    """A callback that ends a fit at a time."""

    def __init__(self, end: float | None) -> None:
        self.end, self.is_over = end, False

    def __call__(self, policy: TwoTowerPolicy) -> None:
        self.is_over = self.end is not None and time.perf_counter() > self.end
        if self.is_over:
            raise StopFit


def _why_no_towers(feedback: BanditFeedback) -> str:
    """Why towers are not tried; empty if they are."""
    reward = feedback.reward
    if not np.isin(reward, (0, 1)).all():
        return ""
    clicks = int(np.count_nonzero(reward))
    few = min(clicks, len(reward) - clicks)
    if few >= _MIN_CLICKS:
        return ""
    what = "rounds with a reward" if few == clicks else "rounds without a reward"
    return (
        f"{few:,} {what} are fewer than {_MIN_CLICKS:,}, of which they would learn nothing that is "
        "clear: pass them as a candidate to try it"
    )


def _value_learner(feedback: BanditFeedback, random_state: int) -> OffPolicyLearner:
    """Learns the most of some that were tried: little shrinkage, little entropy, few updates."""
    entropy = _ENTROPY * _unit(feedback)
    return OffPolicyLearner(
        objectives.regularised(objectives.dros(10), entropy=entropy),
        epochs=math.ceil(_UPDATES / math.ceil(feedback.n_rounds / _BATCH_SIZE)),
        batch_size=_BATCH_SIZE,
        learning_rate=1e-3,
        hidden=(50,),
        dim_embedding=20,
        reward_model=BilinearLearner(lean=0),
        progress=False,
        random_state=random_state,
    )


def _unit(feedback: BanditFeedback) -> float:
    """Of the rewards: 1 for clicks, else their standard deviation."""
    reward = feedback.reward.astype(np.float64)
    return 1.0 if np.isin(reward, (0, 1)).all() else mean_and_scale(reward)[1] or 1.0


def _why_no_value(feedback: BanditFeedback) -> str:
    """Why a value objective is not tried; empty if it is."""
    if feedback.n_rounds * feedback.n_actions > _MAX_CELLS:
        return (
            f"{feedback.n_rounds:,} rounds of {feedback.n_actions:,} items are more than "
            f"{_MAX_CELLS:,} probabilities an epoch: pass it as a candidate to try it"
        )
    units = feedback.units
    if len(units) < _MIN_UNITS:
        return f"{len(units)} {units.name}s are fewer than {_MIN_UNITS}"
    if not 1 / _MAX_UNIT < _unit(feedback) < _MAX_UNIT:
        return f"single precision is too narrow for rewards that vary by {_unit(feedback):.3g}"
    try:
        objectives.dros(10).check_log(feedback)
    except ValueError as error:
        return str(error)
    return ""


def _has_layers(policy: TwoTowerPolicy) -> bool:
    settings = policy.towers.mlp_settings
    return settings is None or len(settings["hidden"]) > 0
