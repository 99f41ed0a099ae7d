"""Two fused kernels of torch that are not public, and the same in public operations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_BETAS, _EPS = (0.9, 0.999), 1e-8
_FUSED_ADAM = getattr(torch, "_fused_adam_", None)
_ELU_BACKWARD = getattr(torch.ops.aten, "elu_backward", None)


def through_elu(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient in the input of an ELU, from that in its output and the output."""
    if _ELU_BACKWARD is None:
        return torch.addcmul(gradient, gradient, output.clamp(max=0))  # its slope is output + 1
    return _ELU_BACKWARD(gradient, 1, 1, 1, True, output)


def climb(vectors: Sequence[Sequence[Tensor]], n_steps: Tensor, rate: float, decay: float) -> None:
    """One step of Adam uphill, in place.

    ``torch.optim.Adam`` does the same, but its import costs seconds.

    Parameters
    ----------
    vectors : four lists of tensors
        Weights, gradients, and Adam's running means of the gradient and of its square.
    n_steps : scalar tensor
        Number of this step, from 1.
    rate, decay : float
        Learning rate, and the weight decay of an L2 penalty, taken off the gradient.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    """
    if _FUSED_ADAM is not None:
        _FUSED_ADAM(
            *vectors,
            [],
            [n_steps] * len(vectors[0]),
            lr=rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            eps=_EPS,
            weight_decay=decay,
            amsgrad=False,
            maximize=True,
        )
        return
    rest = [1 - beta ** n_steps.double() for beta in _BETAS]
    for weights, gradient, mean, square in zip(*vectors, strict=True):
        gradient = decay * weights - gradient
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        spread = square.div(rest[1]).sqrt_().add_(_EPS)
        weights.sub_(mean.div(rest[0]).div_(spread), alpha=rate)
