"""K two-tower models side by side, with the gradients that a step needs.

A tower of a stack encodes features and returns the embeddings with a *pullback*: a function that
takes the gradient of a loss in the embeddings and adds what follows from it to the gradients of the
weights. Two kinds of stack give the same numbers:

- `MLPStack`, K models of `TwoTower.mlp`: one batched matrix product serves a layer of all models,
  and the backward pass is written out, which spares a small network most of what automatic
  differentiation costs it;
- `AutogradStack`, one model of any architecture, differentiated by torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .towers import TwoTower

Pullback = Callable[[Tensor], None]


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

    def of_models(self, vector: Tensor, first: int, last: int) -> list[Tensor]:
        """The parts of a vector, laid out as `weights`, that belong to models first … last - 1."""
        return [vector[start + first * n : start + last * n] for start, n in self._spans]


class MLPStack:
    """K models of `TwoTower.mlp` of one shape, each tower trainable or frozen as a whole.

    Attributes
    ----------
    context_tower, action_tower
        With ``encode(features of shape (K, m, width)) -> (embeddings, pullback)``.
    flat : FlatWeights
    """

    def __init__(self, models: Sequence[TwoTower]) -> None:
        self.n_models = len(models)
        towers = [[m.context_tower for m in models], [m.action_tower for m in models]]
        layers = [list(zip(*tower, strict=True))[::2] for tower in towers]  # without activations
        side_by_side = [layer for tower in layers for layer in tower]
        self.flat = FlatWeights(
            [[layer.weight for layer in group] for group in side_by_side]
            + [[layer.bias for layer in group] for group in side_by_side]
        )
        n, n_context = len(side_by_side), len(layers[0])
        arrays = list(zip(self.flat.arrays[:n], self.flat.arrays[n:], strict=True))
        self.context_tower = _MLPTowers(arrays[:n_context])
        self.action_tower = _MLPTowers(arrays[n_context:])

    def forget_gradient(self) -> None:
        """Let the next pullback of each tower replace its gradient rather than add to it."""
        self.context_tower.fresh = self.action_tower.fresh = True

    def train(self, mode: bool = True) -> None:
        """Nothing: these towers behave alike in training and in use."""


class _MLPTowers:
    """One tower of K models: fully connected layers with ELU between them."""

    def __init__(self, layers: Sequence[tuple]) -> None:
        self.weights = [weight for (weight, _), _ in layers]  # (K, out, in)
        self.biases = [bias[:, None] for _, (bias, _) in layers]  # (K, 1, out)
        self.gradients = [(d_weight, d_bias) for (_, d_weight), (_, d_bias) in layers]
        self.trainable = self.gradients[0][0] is not None
        self.fresh = True

    def encode(self, features: Tensor) -> tuple[Tensor, Pullback]:
        inputs, h = [], features
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = nn.functional.elu_(h) if depth else h
            inputs.append(h)
            h = torch.baddbmm(bias, h, weight.mT)
        return h, lambda gradient: self._pull_back(gradient, inputs)

    def _pull_back(self, gradient: Tensor, inputs: Sequence[Tensor]) -> None:
        if not self.trainable:
            return
        for depth in reversed(range(len(inputs))):
            d_weight, d_bias = self.gradients[depth]
            if self.fresh:
                torch.bmm(gradient.mT, inputs[depth], out=d_weight)
                torch.sum(gradient, dim=1, out=d_bias)
            else:
                d_weight.baddbmm_(gradient.mT, inputs[depth])
                d_bias += gradient.sum(dim=1)
            if depth:
                gradient = torch.bmm(gradient, self.weights[depth])
                gradient = _elu_backward(gradient, 1, 1, 1, True, inputs[depth])
        self.fresh = False


_elu_backward = torch.ops.aten.elu_backward.default


class AutogradStack:
    """One model of any architecture, as a stack with K = 1.

    Attributes
    ----------
    context_tower, action_tower
        With ``encode(features of shape (1, m, width)) -> (embeddings, pullback)``.
    flat : FlatWeights
    """

    n_models = 1

    def __init__(self, model: TwoTower) -> None:
        self.model = model
        self.flat = FlatWeights([[p] for p in model.parameters() if p.requires_grad])
        self.context_tower = _AutogradTower(model.context_tower)
        self.action_tower = _AutogradTower(model.action_tower)

    def forget_gradient(self) -> None:
        """Set the gradient to zero."""
        self.flat.gradient.zero_()

    def train(self, mode: bool = True) -> None:
        """Tell layers such as dropout whether this is training."""
        self.model.train(mode)


class _AutogradTower:
    def __init__(self, tower: nn.Module) -> None:
        self.tower = tower

    def encode(self, features: Tensor) -> tuple[Tensor, Pullback]:
        with torch.enable_grad():
            embedding = self.tower(features[0])

        def pullback(gradient: Tensor) -> None:
            if embedding.requires_grad:
                embedding.backward(gradient[0])

        return embedding.detach()[None], pullback


def stack_models(models: Sequence[TwoTower]) -> MLPStack | AutogradStack:
    """Put models side by side; their weights become views of one vector.

    Raises
    ------
    ValueError
        If there are several models and not all are `is_plain_mlp`.
    """
    if all(is_plain_mlp(model) for model in models):
        return MLPStack(models)
    if len(models) > 1:
        raise ValueError("only models made by TwoTower.mlp can be trained side by side.")
    return AutogradStack(models[0])


def is_plain_mlp(model: TwoTower) -> bool:
    """Whether the towers are still those of `TwoTower.mlp`, each trainable or frozen as a whole."""
    n_uses = len(list(model.named_parameters(remove_duplicate=False)))
    return (
        model.mlp_settings is not None
        and len(list(model.parameters())) == n_uses  # no weights are shared
        and _is_plain_tower(model.context_tower)
        and _is_plain_tower(model.action_tower)
    )


def _is_plain_tower(tower: nn.Module) -> bool:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        type(tower) is nn.Sequential
        and len(tower) % 2 == 1
        and all(type(layer) is nn.Linear and layer.bias is not None for layer in tower[::2])
        and all(type(layer) is nn.ELU and layer.alpha == 1 for layer in tower[1::2])
        and not any(getattr(module, kind) for module in tower.modules() for kind in hooks)
        and len({parameter.requires_grad for parameter in tower.parameters()}) == 1
    )
