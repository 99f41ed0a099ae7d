"""Adam on the weights of many models at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from .kernels import climb


class FlatWeights:
    """The trainable weights of K models as one vector, and their gradients as another.

    Parameters
    ----------
    groups : sequence of lists of K parameters
        The K parameters of a group have one shape, and all are trainable or none is. Afterwards
        they are views of `weights`, and their ``grad`` of `gradient`.

    Attributes
    ----------
    weights, gradient : tensor of shape (n_weights of all models,)
        Group after group; within a group, model after model.
    arrays : list of pairs of tensors of shape (K, ...)
        Weights and gradients of each group; the gradients are None if it is frozen.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        trainable = [group for group in groups if group[0].requires_grad]
        if not trainable:
            raise ValueError("the model has no trainable parameters; is everything frozen?")
        self.weights = torch.cat([p.detach().reshape(-1) for group in trainable for p in group])
        self.gradient = torch.zeros_like(self.weights)
        self.arrays: list[tuple[Tensor, Tensor | None]] = []
        self._spans: list[tuple[int, int]] = []
        start = 0
        for group in groups:
            if not group[0].requires_grad:
                self.arrays.append((torch.stack([p.detach() for p in group]), None))
                continue
            size, shape = group[0].numel(), (len(group), *group[0].shape)
            here = slice(start, start + len(group) * size)
            weights, gradients = self.weights[here].view(shape), self.gradient[here].view(shape)
            for parameter, weight, gradient in zip(group, weights, gradients, strict=True):
                parameter.data, parameter.grad = weight, gradient
            self.arrays.append((weights, gradients))
            self._spans.append((start, size))
            start = here.stop

    def are_finite(self) -> Tensor:
        """Whether all weights of each model are, (K,)."""
        if self.weights.sum().isfinite():  # and so is each of them
            return torch.ones(len(self.arrays[0][0]), dtype=torch.bool)
        parts = [weights for weights, gradient in self.arrays if gradient is not None]
        finite = [weights.isfinite().reshape(len(weights), -1).all(dim=1) for weights in parts]
        return torch.stack(finite).all(dim=0)

    def of_models(self, vector: Tensor, first: int, last: int) -> list[Tensor]:
        """The parts of a vector, laid out as `weights`, that belong to models first … last - 1."""
        return [vector[start + first * n : start + last * n] for start, n in self._spans]


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
        self._n_steps = flat.weights.new_zeros((), dtype=torch.float32)
        self._moments = [torch.zeros_like(flat.weights) for _ in "12"]
        vectors = [flat.weights, flat.gradient, *self._moments]
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

    @property
    def state(self) -> tuple[list[Tensor], Tensor]:
        """Both moments, laid out as the weights, and the number of steps; changed in place."""
        return self._moments, self._n_steps

    @torch.no_grad()
    def step(self) -> None:
        """Update all weights from their gradients, in place."""
        self._n_steps += 1
        for parts, rate, decay in self._groups:
            climb(parts, self._n_steps, rate, decay)
