"""Adam on the weights of many models at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from .kernels import climb
from .stacks import FlatWeights


class FlatAdam:
    """Adam with L2 weight decay: ``step`` climbs each model's gradient.

    Parameters
    ----------
    flat : FlatWeights
        Weights and gradients of K models.
    learning_rate, weight_decay : sequence of K floats
        Of each model; neighbours with the same share an update.
    """

    def __init__(
        self, flat: FlatWeights, learning_rate: Sequence[float], weight_decay: Sequence[float]
    ) -> None:
        self._n_steps = torch.zeros(())
        vectors = [flat.weights, flat.gradient, *(torch.zeros_like(flat.weights) for _ in "12")]
        self._groups = []
        models = list(enumerate(zip(learning_rate, weight_decay, strict=True)))
        for (rate, decay), group in groupby(models, key=lambda model: model[1]):
            numbers = [number for number, _ in group]
            if len(numbers) == len(models):
                parts = [[vector] for vector in vectors]
            else:
                ends = numbers[0], numbers[-1] + 1
                parts = [flat.of_models(vector, *ends) for vector in vectors]
            self._groups.append((parts, rate, decay))

    @torch.no_grad()
    def step(self) -> None:
        """Update all weights from their gradients, in place."""
        self._n_steps += 1
        for parts, rate, decay in self._groups:
            climb(parts, self._n_steps, rate, decay)
