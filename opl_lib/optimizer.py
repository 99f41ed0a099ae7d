"""Adam on one flat vector.

The same update as ``torch.optim.Adam``, to rounding. Small towers have many small weight arrays;
updating them as one vector avoids most of the overhead of a step, and leaving ``torch.optim``
unimported saves the seconds that its first use costs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class FlatAdam:
    """Adam with L2 weight decay: ``step`` lowers the loss whose ``backward`` was called.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
        Trainable, of one dtype. Afterwards they are views of one vector.
    learning_rate : float
    weight_decay : float
        L2 penalty, added to the gradient.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        if not parameters:
            raise ValueError("the model has no trainable parameters; is everything frozen?")
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.betas, self.eps = betas, eps
        self.weights = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        self.gradient = torch.zeros_like(self.weights)
        start = 0
        for parameter in parameters:
            here = slice(start, start + parameter.numel())
            parameter.data = self.weights[here].view_as(parameter)
            parameter.grad = self.gradient[here].view_as(parameter)
            start = here.stop
        self.mean = torch.zeros_like(self.weights)
        self.square = torch.zeros_like(self.weights)
        self.n_steps = 0

    def zero_grad(self) -> None:
        """Forget the gradient."""
        self.gradient.zero_()

    @torch.no_grad()
    def step(self) -> Tensor:
        """Update the weights from the gradient, in place, and return them as one vector."""
        self.n_steps += 1
        beta1, beta2 = self.betas
        if self.weight_decay:
            self.gradient.add_(self.weights, alpha=self.weight_decay)
        self.mean.lerp_(self.gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(self.gradient, self.gradient, value=1 - beta2)
        scale = (1 - beta2**self.n_steps) ** 0.5
        denominator = self.square.sqrt().div_(scale).add_(self.eps)
        rate = self.learning_rate / (1 - beta1**self.n_steps)
        return self.weights.addcdiv_(self.mean, denominator, value=-rate)
