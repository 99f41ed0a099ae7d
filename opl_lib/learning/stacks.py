"""K two-tower models side by side, with the gradients that a step needs.

A tower of a stack encodes features and returns the embeddings with a *pullback*: a function that
takes the gradient of a loss in the embeddings and adds what follows from it to the gradients of the
weights. Or it scores features against queries, ``<query, embedding>``; the pullback then takes the
gradient in the scores, and returns that in the queries. Two kinds of stack give the same numbers:

- `MLPStack`, K models of `TwoTower.mlp`: one batched matrix product serves a layer of all models,
  and the backward pass is written out, which spares a small network most of what automatic
  differentiation costs it;
- `AutogradStack`, one model of any architecture, differentiated by torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..policies.towers import TwoTower
from .kernels import through_elu
from .optimizer import FlatWeights

Pullback = Callable[[Tensor], None]
QueryPullback = Callable[[Tensor], Tensor]


class MLPStack:
    """K models of `TwoTower.mlp` of one shape, each tower trainable or frozen as a whole.

    Attributes
    ----------
    context_tower, action_tower
        With ``encode(features of shape (K, m, width)) -> (embeddings, pullback)`` and
        ``score(queries of shape (K, B, dim_embedding), features) -> (scores (K, B, m), pullback)``;
        a third argument of the shape of the scores is what they are added to, in place.
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

    def zero_grad(self) -> None:
        """Let the next pullback of each tower replace its gradient rather than add to it."""
        self.context_tower.accumulate = self.action_tower.accumulate = False

    def train(self, mode: bool = True) -> None:
        """Nothing: these towers behave alike in training and in use."""


class _MLPTowers:
    """One tower of K models: fully connected layers with ELU between them."""

    def __init__(self, layers: Sequence[tuple]) -> None:
        self.weights = [weight for (weight, _), _ in layers]  # (K, out, in)
        self.biases = [bias[:, None] for _, (bias, _) in layers]  # (K, 1, out)
        self.gradients = [(d_weight, d_bias) for (_, d_weight), (_, d_bias) in layers]
        self.trainable = self.gradients[0][0] is not None
        self.accumulate = False

    def encode(self, features: Tensor) -> tuple[Tensor, Pullback]:
        inputs = self._inputs(features)
        embedding = torch.baddbmm(self.biases[-1], inputs[-1], self.weights[-1].mT)
        return embedding, lambda gradient: self._pull_back(gradient, inputs, len(inputs) - 1)

    def score(
        self, query: Tensor, features: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, QueryPullback]:
        if query.shape[1] >= features.shape[1]:
            return _score_by_encoding(self, query, features, start)
        # Fewer queries than items: the last layer, which is linear, is applied to the queries.
        inputs, weight, bias = self._inputs(features), self.weights[-1], self.biases[-1]
        h, p = inputs[-1], torch.bmm(query, weight)  # (K, m, width), (K, B, width)
        if start is None:
            scores = torch.baddbmm(query @ bias.mT, p, h.mT)
        else:
            scores = start.add_(query @ bias.mT).baddbmm_(p, h.mT)

        def pullback(gradient: Tensor) -> Tensor:
            gradient_p, total = torch.bmm(gradient, h), gradient.sum(dim=2, keepdim=True)
            if self.trainable:
                d_weight, d_bias = self.gradients[-1]
                beta = int(self.accumulate)
                torch.baddbmm(d_weight, query.mT, gradient_p, beta=beta, out=d_weight)
                d_bias.mul_(beta).add_((query * total).sum(dim=1))
                if len(inputs) > 1:
                    gradient_h = through_elu(torch.bmm(gradient.mT, p), h)
                    self._pull_back(gradient_h, inputs, len(inputs) - 2)
                self.accumulate = True
            return torch.baddbmm(total * bias, gradient_p, weight.mT)

        return scores, pullback

    def _inputs(self, features: Tensor) -> list[Tensor]:
        """What goes into each layer."""
        inputs = [features]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = torch.baddbmm(bias, inputs[-1], weight.mT)
            inputs.append(nn.functional.elu_(h))
        return inputs

    def _pull_back(self, gradient: Tensor, inputs: Sequence[Tensor], last: int) -> None:
        """From the gradient of what a layer puts out, through it and all layers below."""
        if not self.trainable:
            return
        for depth in range(last, -1, -1):
            d_weight, d_bias = self.gradients[depth]
            if self.accumulate:
                d_weight.baddbmm_(gradient.mT, inputs[depth])
                d_bias += gradient.sum(dim=1)
            else:
                torch.bmm(gradient.mT, inputs[depth], out=d_weight)
                torch.sum(gradient, dim=1, out=d_bias)
            if depth:
                gradient = torch.bmm(gradient, self.weights[depth])
                gradient = through_elu(gradient, inputs[depth])
        self.accumulate = True


def _score_by_encoding(
    tower: _MLPTowers | _AutogradTower, query: Tensor, features: Tensor, start: Tensor | None
) -> tuple[Tensor, QueryPullback]:
    embedding, pull_back = tower.encode(features)

    def pullback(gradient: Tensor) -> Tensor:
        pull_back(gradient.mT @ query)
        return gradient @ embedding

    scores = query @ embedding.mT if start is None else start.baddbmm_(query, embedding.mT)
    return scores, pullback


class AutogradStack:
    """One model of any architecture, as a stack with K = 1.

    Attributes
    ----------
    context_tower, action_tower
        With ``encode`` and ``score``, as those of an `MLPStack`.
    flat : FlatWeights
    """

    n_models = 1

    def __init__(self, model: TwoTower) -> None:
        self.model = model
        self.flat = FlatWeights([[p] for p in model.parameters() if p.requires_grad])
        self.context_tower = _AutogradTower(model.context_tower)
        self.action_tower = _AutogradTower(model.action_tower)

    def zero_grad(self) -> None:
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
            embedding = self.tower(features[0]).to(features.dtype)

        def pullback(gradient: Tensor) -> None:
            if embedding.requires_grad:
                embedding.backward(gradient[0])

        return embedding.detach()[None], pullback

    def score(
        self, query: Tensor, features: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, QueryPullback]:
        return _score_by_encoding(self, query, features, start)


Stack = MLPStack | AutogradStack


def stack_models(models: Sequence[TwoTower]) -> Stack:
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
        isinstance(tower, nn.Sequential)
        and type(tower) is nn.Sequential
        and len(tower) % 2 == 1
        and all(type(layer) is nn.Linear and layer.bias is not None for layer in list(tower)[::2])
        and all(type(layer) is nn.ELU and layer.alpha == 1 for layer in list(tower)[1::2])
        and not any(getattr(module, kind) for module in tower.modules() for kind in hooks)
        and len({parameter.requires_grad for parameter in tower.parameters()}) == 1
    )
