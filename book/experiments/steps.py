"""One step, looked at: the value of an objective on a log and its gradient in all weights."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from opl_lib.answers import reward_predictions
from opl_lib.checks import check_number
from opl_lib.learning.batches import StackedLog
from opl_lib.learning.draws import Draws
from opl_lib.learning.inputs import Setup
from opl_lib.learning.sampling import find_head, sampled
from opl_lib.learning.stacks import stack_models
from opl_lib.learning.steps import exact, logged_only, streamed
from opl_lib.logs.feedback import BanditFeedback, check_feedback
from opl_lib.objectives import Objective, Regression, get_objective
from opl_lib.policies.towers import TwoTower
from opl_lib.protocols import PredictsReward


class _Given:
    """Predictions of a reward model for a log, as training asks for them."""

    def __init__(self, model: PredictsReward, log: BanditFeedback) -> None:
        self.q_hat = reward_predictions(model, log.context, log.action_context)
        self.action = log.action

    def predict_rows(self, rows: np.ndarray, items: np.ndarray | None = None) -> np.ndarray:
        return self.q_hat[rows] if items is None else self.q_hat[np.ix_(rows, items)]

    def predict_logged_item(self) -> np.ndarray:
        return self.q_hat[np.arange(len(self.action)), self.action]


def value_and_gradient(
    objective: str | Objective | Regression,
    towers: TwoTower,
    feedback: BanditFeedback,
    temperature: float = 1.0,
    catalogue: str = "exact",
    reward_model: PredictsReward | None = None,
    n_sampled: int = 256,
    head_contexts: np.ndarray | None = None,
    tile: int = 4096,
    random_state: int = 0,
) -> tuple[float, np.ndarray]:
    """An objective's value on one batch and its gradient in all weights, as a step computes them.

    To look at what training does; `OffPolicyLearner.fit` takes the same steps.

    Parameters
    ----------
    objective : str, Objective or Regression
    towers : TwoTower
        They are copied, not changed.
    feedback : BanditFeedback
        The rounds of the batch.
    temperature : float above 0
    catalogue : {"exact", "streamed", "sampled"}
        How the step sees the items, as in `OffPolicyLearner`; a regression sees the logged ones.
    reward_model : fitted reward model, optional
        The q̂ of the objectives that need one.
    n_sampled : int
        Items that ``"sampled"`` looks at, beside the logged ones; half of them are the head, if
        there is one.
    head_contexts : array of shape (m, dim_context), optional
        Contexts in which the items that the policy shows most, its head, are looked for.
    tile : int
        Items that ``"streamed"`` looks at together.
    random_state : int
        Fixes the sample.

    Returns
    -------
    value : float
    gradient : array of shape (n_weights,)

    Raises
    ------
    ValueError
        If the log lacks what the objective needs, or `catalogue` is none of the three.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> log = opl.SyntheticWorld(8, 3, 3, random_state=0).sample(50, random_state=0)
    >>> towers = opl.TwoTower.mlp(3, 3, hidden=(), dim_embedding=2, random_state=0)
    >>> at_once = value_and_gradient("ips", towers, log)[1]
    >>> in_tiles = value_and_gradient("ips", towers, log, catalogue="streamed", tile=3)[1]
    >>> bool(np.allclose(at_once, in_tiles, rtol=1e-3, atol=1e-6))
    True
    """
    check_feedback(feedback)
    objective = get_objective(objective)
    objective.check_log(feedback)
    check_number("temperature", temperature, above=0)
    stack = stack_models([copy.deepcopy(towers)])
    given = None if reward_model is None else [_Given(reward_model, feedback)]
    log = StackedLog([feedback], given)
    setup = Setup(stack, objective, log.action_context, torch.tensor([[[float(temperature)]]]))
    step = next(log.batches(feedback.n_rounds, None))
    if isinstance(objective, Regression):
        value = logged_only(setup, step)
    elif catalogue == "exact":
        value = exact(setup, step)
    elif catalogue == "streamed":
        value = streamed(setup, step, tile)
    elif catalogue == "sampled":
        settings: dict[str, Any] = {"n_sampled": n_sampled}
        if head_contexts is not None:
            contexts = torch.as_tensor(np.asarray(head_contexts, dtype=np.float32))[None]
            settings = {"n_sampled": n_sampled - n_sampled // 2}
            settings["head"] = find_head(setup, contexts, n_sampled // 2)
        draws = Draws([torch.Generator().manual_seed(random_state)])
        value = sampled(setup, step, draws=draws, **settings)
    else:
        raise ValueError(
            f"catalogue must be 'exact', 'streamed' or 'sampled' here; got {catalogue!r}."
        )
    return float(value), stack.flat.gradient.numpy().copy()
