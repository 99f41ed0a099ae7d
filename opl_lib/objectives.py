"""Learning objectives: pure functions from logits and a batch to a value and its logit gradient.

Every objective is to be maximised, and takes

- ``logits``, shape (B, n_actions): ``<u(x), v(a)> / temperature`` of every item, or, for the
  objectives that look only at the logged item, its scores ``<u(x), v(a)>``, shape (B,);
- ``batch``, a `Batch` of B logged rounds;

and returns its value, a scalar, and the gradient of that value with respect to ``logits``.

Shapes count from the right: the objectives of this module also take a leading axis of K models,
``logits`` of shape (K, B, n_actions) with a batch each, and return K values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


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
        The reward model's predictions for every item; only `dm` and `dr` use them.
    """

    action: Tensor
    reward: Tensor
    pscore: Tensor
    q_hat: Tensor | None = None

    def rows(self, rows: Tensor) -> Batch:
        """The batch of some of the rounds."""
        return Batch(*(None if column is None else column[rows] for column in self))


def linear_value(logits: Tensor, pseudo_reward: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of any estimate that is linear in the policy.

    With ``V̂ = mean_i Σ_a π(a|x_i) h_i(a)`` and ``π = softmax(logits)``,

        ∂V̂/∂z_ia = π(a|x_i) (h_i(a) − Σ_b π(b|x_i) h_i(b)) / B,

    a covariance under π. The direct method, IPS and DR differ only in the pseudo-reward h. The
    gradient equals that of the surrogate ``Σ_a stop_gradient(π(a|x)) h(a) log π(a|x)``, the
    log-trick form of the policy gradient (Williams 1992).

    Parameters
    ----------
    logits : tensor of shape (B, n_actions)
    pseudo_reward : tensor of shape (B, n_actions)
        ``h_i(a)``, which must not depend on the policy.

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B, n_actions)

    Examples
    --------
    >>> import torch
    >>> import opl_lib as opl
    >>> value, gradient = opl.linear_value(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    >>> value, gradient
    (tensor(0.5000), tensor([[ 0.2500, -0.2500]]))
    """
    pi = torch.softmax(logits, dim=-1)
    value = (pi * pseudo_reward).sum(dim=-1, keepdim=True)
    return value.mean(dim=(-2, -1)), pi * (pseudo_reward - value) / logits.shape[-2]


def ips(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Inverse propensity scoring: ``h_i(a) = 1[a = a_i] r_i / π_0(a_i|x_i)``.

    Unbiased if every pscore is right and above 0 wherever π is; its variance grows with the
    weights ``π/π_0``.

    Parameters
    ----------
    logits : tensor of shape (B, n_actions)
    batch : Batch

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B, n_actions)

    References
    ----------
    Horvitz and Thompson, JASA 1952; Dudík, Langford and Li, ICML 2011, section 2.
    """
    weighted_reward = (batch.reward / batch.pscore)[..., None]
    h = torch.zeros_like(logits).scatter_(-1, batch.action[..., None], weighted_reward)
    return linear_value(logits, h)


def dm(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Direct method: ``h_i(a) = q̂(x_i, a)``, as good as the reward model and no better.

    Parameters
    ----------
    logits : tensor of shape (B, n_actions)
    batch : Batch
        With `q_hat`.

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B, n_actions)

    References
    ----------
    Dudík, Langford and Li, ICML 2011, section 2.
    """
    return linear_value(logits, _q_hat(batch))


def dr(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Doubly robust: ``h_i(a) = q̂(x_i, a) + 1[a = a_i] (r_i − q̂(x_i, a_i)) / π_0(a_i|x_i)``.

    Unbiased if the pscore or q̂ is right, provided q̂ was not fitted on the same rows.

    Parameters
    ----------
    logits : tensor of shape (B, n_actions)
    batch : Batch
        With `q_hat`.

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B, n_actions)

    References
    ----------
    Dudík, Langford and Li, "Doubly Robust Policy Evaluation and Learning", ICML 2011, equation 1.
    """
    q_hat, logged = _q_hat(batch), batch.action[..., None]
    residual = (batch.reward[..., None] - q_hat.gather(-1, logged)) / batch.pscore[..., None]
    return linear_value(logits, q_hat.scatter_add(-1, logged, residual))


def regression(scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Minus the cross-entropy between the reward and ``sigmoid(<u(x), v(a)>)`` of the logged item.

    Parameters
    ----------
    scores : tensor of shape (B,)
        Inner products of the logged pairs.
    batch : Batch
        With rewards in [0, 1].

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B,)
        ``(r_i − sigmoid(s_i)) / B``.
    """
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, batch.reward, reduction="none"
    )
    return -loss.mean(dim=-1), (batch.reward - torch.sigmoid(scores)) / scores.shape[-1]


def squared_error(scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Minus the mean squared error between the reward and ``<u(x), v(a)>`` of the logged item.

    Parameters
    ----------
    scores : tensor of shape (B,)
        Inner products of the logged pairs.
    batch : Batch
        Any real rewards.

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B,)
        ``2 (r_i − s_i) / B``.
    """
    residual = batch.reward - scores
    return -residual.square().mean(dim=-1), 2 * residual / scores.shape[-1]


@dataclass(frozen=True)
class Objective:
    """An objective and what the learner must know to feed it.

    Parameters
    ----------
    function : callable
        ``(logits, batch) -> (value, gradient)``, as described at the top of `opl_lib.objectives`.
    needs_reward_model : bool
        Whether `Batch.q_hat` must be filled.
    to_reward : callable, optional
        Given, the objective is a regression: it takes the scores of the logged items only, shape
        (B,), and this function turns scores into predicted rewards.
    collapses : bool
        Say True if the value depends on the policy only through ``π(a_i|x_i)`` of the logged item
        and, with a reward model, through ``Σ_a π(a|x_i) q̂(x_i, a)``. The learner may then stream or
        sample the items of a large catalogue, and calls the function with fewer columns: column 0
        is the logged item, ``batch.action`` is 0, and the others stand for all other items. An
        entropy bonus or a look-up by item number does not collapse.
    stacks : bool
        Say True if the function also takes a leading axis of models, (K, B, n_actions), and returns
        K values. `fit_many` may then train K models as one.

    Examples
    --------
    An objective of one's own: IPS with a constant baseline.

    >>> import opl_lib as opl
    >>> def ips_minus_half(logits, batch):
    ...     return opl.ips(logits, batch._replace(reward=batch.reward - 0.5))
    >>> learner = opl.OffPolicyLearner(objective=opl.Objective(ips_minus_half))
    """

    function: Callable[[Tensor, Batch], tuple[Tensor, Tensor]]
    needs_reward_model: bool = False
    to_reward: Callable[[Tensor], Tensor] | None = None
    collapses: bool = False
    stacks: bool = False

    @property
    def is_regression(self) -> bool:
        """Whether the objective sees only the scores of the logged items."""
        return self.to_reward is not None


def _identity(scores: Tensor) -> Tensor:
    return scores


OBJECTIVES = {
    "regression": Objective(regression, to_reward=torch.sigmoid, stacks=True),
    "squared_error": Objective(squared_error, to_reward=_identity, stacks=True),
    "dm": Objective(dm, needs_reward_model=True, collapses=True, stacks=True),
    "ips": Objective(ips, collapses=True, stacks=True),
    "dr": Objective(dr, needs_reward_model=True, collapses=True, stacks=True),
}


def get_objective(objective: str | Objective) -> Objective:
    """Look up an objective by name, or pass one through."""
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, str) and objective in OBJECTIVES:
        return OBJECTIVES[objective]
    raise ValueError(
        f"objective must be one of {sorted(OBJECTIVES)} or an opl.Objective; got {objective!r}."
    )


def _q_hat(batch: Batch) -> Tensor:
    if batch.q_hat is None:
        raise ValueError("this objective needs batch.q_hat, predictions of shape (B, n_actions).")
    return batch.q_hat
