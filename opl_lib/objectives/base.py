"""What every objective is made of: the batch, the objective's own description, shared pieces."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from ..logs.feedback import BanditFeedback


class Batch(NamedTuple):
    """B logged rounds, as tensors.

    Attributes
    ----------
    action : integer tensor of shape (B,)
        The logged items.
    reward : float tensor of shape (B,)
    pscore : float tensor of shape (B,)
        ``pi_0(a|x)`` of the logged items.
    q_hat : float tensor of shape (B, n_actions), optional
        The reward model's predictions for every item, for the objectives that need one.
    cluster_pscore : float tensor of shape (B,), optional
        ``Σ pi_0(b|x)`` over the items b of the logged item's cluster, for `mips`, `offcem` and
        `potec`.
    """

    action: Tensor
    reward: Tensor
    pscore: Tensor
    q_hat: Tensor | None = None
    cluster_pscore: Tensor | None = None


@dataclass(frozen=True, repr=False)
class Objective:
    """An objective and what the learner must know to feed it.

    Calling it calls its function.

    Parameters
    ----------
    function : callable
        ``(logits, batch) -> (value, gradient)``, as described at the top of `opl_lib.objectives`.
        One defined at the top of a module, so that experiments can send it to other processes.
    needs_reward_model : bool
        Whether `Batch.q_hat` must be filled.
    to_reward : callable, optional
        Given, the objective is a regression: it takes the scores of the logged items only, shape
        (B,), and this function turns scores into predicted rewards; it may overwrite them.
    collapses : bool
        Say True if the value depends on the policy only through ``π(a_i|x_i)`` of the logged item
        and, with a reward model, has ``mean_i Σ_a π(a|x_i) q̂(x_i, a)`` added to that. The learner
        may then stream or sample the items of a large catalogue, and calls the function with fewer
        columns: column 0 is the logged item, ``batch.action`` is 0, and the others stand for all
        other items. An entropy bonus or a look-up by item number does not collapse.
    stacks : bool
        Say True if the function also takes a leading axis of models, (K, B, n_actions), and returns
        K values. `fit_many` may then train K models as one.
    name : str, optional
        How it is printed; if not given, the function's name.
    min_reward, max_reward : float
        The rewards that the objective is made for.
    needs_cluster_pscore : bool
        Whether `Batch.cluster_pscore` must be filled.
    n_actions : int, optional
        The number of items that it is made for, if it knows them by number.

    Examples
    --------
    An objective of one's own: IPS with a constant baseline.

    >>> import opl_lib as opl
    >>> def ips_minus_half(logits, batch):
    ...     return opl.ips(logits, batch._replace(reward=batch.reward - 0.5))
    >>> opl.Objective(ips_minus_half)
    ips_minus_half
    >>> learner = opl.OffPolicyLearner(objective=opl.Objective(ips_minus_half))
    """

    function: Callable[[Tensor, Batch], tuple[Tensor, Tensor]]
    needs_reward_model: bool = False
    to_reward: Callable[[Tensor], Tensor] | None = None
    collapses: bool = False
    stacks: bool = False
    name: str = ""
    min_reward: float = -math.inf
    max_reward: float = math.inf
    needs_cluster_pscore: bool = False
    n_actions: int | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "objective"))

    def __call__(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return self.function(logits, batch)

    def __repr__(self) -> str:
        return self.name

    @property
    def is_regression(self) -> bool:
        """Whether the objective sees only the scores of the logged items."""
        return self.to_reward is not None

    def check_log(self, feedback: BanditFeedback) -> None:
        """Raise ValueError if a log lacks what the objective needs, or has other items."""
        self.check_rewards(feedback.reward)
        if self.n_actions is not None and self.n_actions != feedback.n_actions:
            raise ValueError(
                f"objective {self.name!r} is made for {self.n_actions} items, but the log has "
                f"{feedback.n_actions}. Give its cluster one entry an item, the same as to "
                "opl.with_clusters(feedback, cluster)."
            )
        if self.needs_cluster_pscore and feedback.cluster_pscore is None:
            raise ValueError(
                f"objective {self.name!r} needs the propensities of clusters, and this log has no "
                "cluster_pscore. Make it with opl.with_clusters(feedback, cluster)."
            )

    def check_rewards(self, reward: np.ndarray) -> None:
        """Raise ValueError at the first reward that the objective is not made for."""
        outside = (reward < self.min_reward) | (reward > self.max_reward)
        if outside.any():
            row = int(np.argmax(outside))
            raise ValueError(
                f"objective {self.name!r} is made for rewards from {self.min_reward:g} to "
                f"{self.max_reward:g}; row {row} has {reward[row]:g}. Rescale the rewards, or take "
                "an objective for any reward, such as 'squared_error' or 'dr'."
            )


def with_settings(
    function: Callable[..., tuple[Tensor, Tensor]], settings: dict[str, Any], **flags: Any
) -> Objective:
    """An objective named after a function's settings, which can be pickled."""
    shown = ", ".join(
        f"{key}={value:g}" if isinstance(value, Real) else f"{key}={value!r}"
        for key, value in settings.items()
    )
    name = f"{function.__name__.lstrip('_')}({shown})"
    return Objective(partial(function, **settings), stacks=True, name=name, **flags)


def check_setting(name: str, value: Any, most: float = math.inf, positive: bool = False) -> None:
    """Raise unless a setting is a number from 0, or above 0, to `most`, infinity included."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and 0 <= value <= most) or (positive and value == 0):
        low = "above 0" if positive else "of at least 0"
        high = f" and at most {most:g}" if most < math.inf else ""
        raise ValueError(f"{name} must be a number {low}{high}; got {value!r}.")


def importance_weights(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """``π``, shape (B, n_actions), and the logged items' ``log(π / π_0)``, shape (B,)."""
    log_pi = torch.log_softmax(logits, dim=-1)
    log_pi_logged = log_pi.gather(-1, batch.action[..., None])[..., 0]
    return log_pi.exp(), log_pi_logged - batch.pscore.log()


def logged_gradient(pi: Tensor, batch: Batch, slope: Tensor) -> Tensor:
    """Logit gradient of ``mean_i f_i`` if f_i sees the policy only through ``π(a_i|x_i)``.

    With ``slope_i = ∂f_i / ∂log π(a_i|x_i)``, which is ``w_i f_i'(w_i)`` for a function of the
    importance weight, it is ``slope_i (1[a = a_i] − π(a|x_i)) / B``.
    """
    slope = slope[..., None] / pi.shape[-2]
    return (-slope * pi).scatter_add_(-1, batch.action[..., None], slope)


def needed(batch: Batch, column: str, what: str) -> Tensor:
    """A column of the batch that an objective cannot do without."""
    values = getattr(batch, column)
    if values is None:
        raise ValueError(f"this objective needs batch.{column}, {what}.")
    return values


def predictions(batch: Batch) -> tuple[Tensor, Tensor]:
    """q̂ of all items, (B, n_actions), and the residual of the logged ones, (B,)."""
    q_hat = needed(batch, "q_hat", "predictions of shape (B, n_actions)")
    return q_hat, batch.reward - q_hat.gather(-1, batch.action[..., None])[..., 0]
