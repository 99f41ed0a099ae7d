"""Estimates that are linear in the policy: the direct method, IPS, doubly robust."""

from __future__ import annotations

from torch import Tensor

from ..checks import check_number
from .batch import Batch, floats, items, predictions, softmax
from .registry import objective

__all__ = ["dm", "dr", "ips", "linear_value"]


def linear_value(
    logits: Tensor,
    pseudo_reward: Tensor | float,
    action: Tensor | None = None,
    correction: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Value and gradient of any estimate that is linear in the policy.

    With ``V̂ = mean_i Σ_a π(a|x_i) h_i(a)`` and ``π = softmax(logits)``,

        ∂V̂/∂z_ia = π(a|x_i) (h_i(a) − Σ_b π(b|x_i) h_i(b)) / B,

    a covariance under π. The direct method, IPS and DR differ only in the pseudo-reward h. The
    gradient equals that of the surrogate ``Σ_a stop_gradient(π(a|x)) h(a) log π(a|x)``, the
    log-trick form of the policy gradient (Williams 1992).

    Parameters
    ----------
    logits : tensor of shape (B, n_actions)
    pseudo_reward : tensor of shape (B, n_actions), or float
        ``h_i(a)``, which must not depend on the policy.
    action : integer tensor of shape (B,), optional
        An item a round, such as the logged one.
    correction : tensor of shape (B,), optional
        What is added to the pseudo-reward of that item only.

    Returns
    -------
    value : scalar tensor
    gradient : tensor of shape (B, n_actions)

    Raises
    ------
    ValueError
        If only one of `action` and `correction` is given, or a shape is another.
    TypeError
        If what should be a tensor is none.

    Examples
    --------
    >>> import torch
    >>> import opl_lib as opl
    >>> value, gradient = opl.linear_value(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    >>> value, gradient
    (tensor(0.5000), tensor([[ 0.2500, -0.2500]]))
    """
    if (action is None) != (correction is None):
        raise ValueError("give linear_value both action and correction, or neither.")
    logits = floats("logits", logits)
    if logits.ndim < 2:
        raise ValueError(f"logits must have shape (B, n_actions); got {tuple(logits.shape)}.")
    if isinstance(pseudo_reward, Tensor):
        pseudo_reward = floats("pseudo_reward", pseudo_reward, logits.shape)
    else:
        check_number("pseudo_reward", pseudo_reward)
    if action is not None:
        action = items("action", action, logits.shape[:-1], logits.shape[-1])
        correction = floats("correction", correction, logits.shape[:-1])
    return climb(logits, pseudo_reward, action, correction)


def climb(
    logits: Tensor,
    pseudo_reward: Tensor | float,
    action: Tensor | None = None,
    correction: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`linear_value` of what is known to be right."""
    # A large catalogue costs what its (B, n_actions) arrays cost: make two, and write into one.
    pi = softmax(logits)
    terms = pi * pseudo_reward
    if action is not None and correction is not None:
        logged = action[..., None]
        terms.scatter_add_(-1, logged, pi.gather(-1, logged) * correction[..., None])
    value = terms.sum(dim=-1, keepdim=True)
    gradient = terms.addcmul_(pi, value, value=-1).div_(logits.shape[-2])
    return value.mean(dim=(-2, -1)), gradient


@objective(only_logged_item=True)
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
    return climb(logits, 0.0, batch.action, batch.reward / batch.pscore)


@objective(needs=("q_hat",), only_logged_item=True)
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
    return climb(logits, predictions(batch)[0])


@objective(needs=("q_hat",), only_logged_item=True)
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
    q_hat, residual = predictions(batch)
    return climb(logits, q_hat, batch.action, residual / batch.pscore)
