"""Adam on the weights of many models at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from .stacks import FlatWeights


class FlatAdam:
    """Adam with L2 weight decay: ``step`` climbs each model's gradient.

    The arithmetic is the fused kernel of ``torch.optim.Adam(fused=True)``, one pass over memory,
    called without ``torch.optim``, whose import costs seconds.

    Parameters
    ----------
    flat : FlatWeights
        Weights and gradients of K models.
    learning_rate, weight_decay : sequence of K floats
        Of each model; the weight decay is that of an L2 penalty, taken off the gradient.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
    """

    def __init__(
        self,
        flat: FlatWeights,
        learning_rate: Sequence[float],
        weight_decay: Sequence[float],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self._settings = {"beta1": betas[0], "beta2": betas[1], "eps": eps}
        self._n_steps = torch.zeros(())
        state = [torch.zeros_like(flat.weights) for _ in range(2)]
        self._groups = []
        models = list(enumerate(zip(learning_rate, weight_decay, strict=True)))
        for (rate, decay), group in groupby(models, key=lambda model: model[1]):
            numbers = [number for number, _ in group]
            vectors = [flat.weights, flat.gradient, *state]
            if len(numbers) < len(models):
                first, last = numbers[0], numbers[-1] + 1
                parts = [flat.of_models(vector, first, last) for vector in vectors]
            else:
                parts = [[vector] for vector in vectors]
            self._groups.append((rate, decay, parts))

    @torch.no_grad()
    def step(self) -> None:
        """Update all weights from their gradients, in place."""
        self._n_steps += 1
        for rate, decay, (weights, gradient, mean, square) in self._groups:
            torch._fused_adam_(
                weights,
                gradient,
                mean,
                square,
                [],
                [self._n_steps] * len(weights),
                lr=rate,
                weight_decay=decay,
                amsgrad=False,
                maximize=True,
                **self._settings,
            )
