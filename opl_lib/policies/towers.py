"""The two-tower model: one encoder for contexts, one for items, one space for both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, pairwise
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import check_number, check_seed
from ..devices import device_of, is_known
from .known_items import KnownItems


class TwoTower(nn.Module):
    """Score a context and an item by the inner product of their embeddings.

    Parameters
    ----------
    context_tower, action_tower : torch.nn.Module
        Any modules that map features of shape (n, width) to embeddings of shape (n, dim_embedding),
        in single precision, on one device. The widths of the two are free; the embeddings must
        have the same size.

    Raises
    ------
    TypeError
        If a tower is no module.

    See Also
    --------
    TwoTower.mlp : towers of fully connected layers, the default of `OffPolicyLearner`.

    Notes
    -----
    Learning and policies call only the two towers, and take the inner products themselves. They
    refuse a subclass with a `forward` of its own, which would never be called: what it does to a
    context or an item belongs in that one's tower.

    References
    ----------
    Covington, Adams and Sargin, "Deep Neural Networks for YouTube Recommendations", RecSys 2016.

    Examples
    --------
    >>> import torch
    >>> import opl_lib as opl
    >>> model = opl.TwoTower(torch.nn.Linear(3, 8), torch.nn.Linear(5, 8))
    >>> model(torch.zeros(4, 3), torch.zeros(7, 5)).shape
    torch.Size([4, 7])
    """

    def __init__(self, context_tower: nn.Module, action_tower: nn.Module) -> None:
        super().__init__()
        for name, tower in (("context_tower", context_tower), ("action_tower", action_tower)):
            if not isinstance(tower, nn.Module):
                raise TypeError(
                    f"{name} must be a torch.nn.Module, an object and not a class, such as "
                    f"torch.nn.Linear(3, 8); got {tower!r}."
                )
        self.context_tower = context_tower
        self.action_tower = action_tower
        self.mlp_settings: dict | None = None

    @classmethod
    def mlp(
        cls,
        dim_context: int,
        dim_action_context: int,
        hidden: Sequence[int] = (100, 100, 100),
        dim_embedding: int = 100,
        random_state: int | None = None,
        dim_linear: int = 0,
        n_known: int = 0,
    ) -> TwoTower:
        """Two towers of fully connected layers with ELU activations, as in the article.

        Parameters
        ----------
        dim_context, dim_action_context : int
            Number of context and item features.
        hidden : sequence of int
            Units of the hidden layers of each tower; empty for linear towers.
        dim_embedding : int
            Size of the shared space.
        random_state : int, optional
            Fixes the initial weights, in any thread. Torch's global generator is not used.
        dim_linear : int
            Numbers of a linear layer beside the others, which come first in the embeddings: those
            then have ``dim_linear + dim_embedding`` entries. 0 for none.
        n_known : int
            Items that have vectors of their own, added to the first entries of their embeddings:
            those of the linear layer, if there is one. A learner says which. 0 for none.

        Returns
        -------
        TwoTower

        Raises
        ------
        ValueError
            If a width is no integer of at least 1, or the towers do not fit into memory.
        TypeError
            If `hidden` is no sequence.
        """
        settings: dict[str, Any] = {
            "dim_context": dim_context,
            "dim_action_context": dim_action_context,
            "dim_embedding": dim_embedding,
        }
        hidden = hidden.tolist() if isinstance(hidden, np.ndarray) else hidden
        if isinstance(hidden, str | bytes) or not isinstance(hidden, Sequence):
            raise TypeError(f"hidden must be a sequence of integers, as (100, 50); got {hidden!r}.")
        layers = {f"hidden[{layer}]": width for layer, width in enumerate(hidden)}
        for name, width in {**settings, **layers}.items():
            check_number(name, width, Integral, least=1)
        check_number("dim_linear", dim_linear, Integral, least=0)
        check_number("n_known", n_known, Integral, least=0)
        check_seed(random_state, optional=True)
        # numbers of one's own: a numpy integer could not be read from a file
        settings = {name: int(width) for name, width in settings.items()}
        settings["hidden"] = [int(width) for width in hidden]
        beside = {"dim_linear": int(dim_linear), "n_known": int(n_known)}
        settings |= {name: number for name, number in beside.items() if number}
        generator = torch.Generator()
        generator.seed() if random_state is None else generator.manual_seed(int(random_state))
        towers: list[nn.Module] = [_mlp(widths, generator) for widths in mlp_widths(settings)]
        if dim_linear:
            widths_in = settings["dim_context"], settings["dim_action_context"]
            linear = [_mlp([width, int(dim_linear)], generator)[0] for width in widths_in]
            towers = [SideBySide(both) for both in zip(linear, towers, strict=True)]
        if n_known:
            widths_of_known = int(dim_action_context), int(dim_linear or dim_embedding)
            known, own = (torch.zeros(int(n_known), width) for width in widths_of_known)
            towers[1] = KnownItems(towers[1], known, own)
        model = cls(*towers)
        model.mlp_settings = settings
        return model

    def forward(self, context: Tensor, action_context: Tensor) -> Tensor:
        """Inner products of every context with every item: (n, d_x), (m, d_a) -> (n, m)."""
        _check_tensor("context", context, self.context_tower)
        _check_tensor("action_context", action_context, self.action_tower)
        return self.context_tower(context) @ self.action_tower(action_context).T


class SideBySide(nn.ModuleList):
    """Modules of the same features, whose embeddings stand one after the other."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([module(features) for module in self], dim=-1)


def mlp_widths(settings: dict[str, Any]) -> list[list[int]]:
    """The widths of the layers of both towers."""
    between = [*settings["hidden"], settings["dim_embedding"]]
    return [[settings["dim_context"], *between], [settings["dim_action_context"], *between]]


def first_layer(tower: nn.Module) -> nn.Linear | None:
    """The layer that takes the features, if it is one that says how many it takes."""
    while isinstance(tower, KnownItems) or (
        isinstance(tower, nn.Sequential | SideBySide) and len(tower)
    ):
        tower = tower.tower if isinstance(tower, KnownItems) else tower[0]
    return tower if isinstance(tower, nn.Linear) else None


def tower_widths(towers: TwoTower) -> tuple[int | None, int | None]:
    """How many features of a context and of an item the towers take, where they say so."""
    of_context, of_item = first_layer(towers.context_tower), first_layer(towers.action_tower)
    return (
        None if of_context is None else of_context.in_features,
        None if of_item is None else of_item.in_features,
    )


def _check_tensor(name: str, features: Any, tower: nn.Module) -> None:
    if not isinstance(features, Tensor):
        raise TypeError(
            f"{name} must be a tensor; got {type(features).__name__}. Arrays are for the methods "
            "of TwoTowerPolicy."
        )
    layer = first_layer(tower)
    if layer and (
        features.shape[1:] != (layer.in_features,) or features.dtype != layer.weight.dtype
    ):
        raise ValueError(
            f"{name} must be a tensor of shape (n, {layer.in_features}) and dtype "
            f"{layer.weight.dtype}; got {tuple(features.shape)} and {features.dtype}."
        )


class _NotStarted(nn.Linear):
    """A layer without weights yet: torch would draw them by its global generator."""

    def reset_parameters(self) -> None:
        pass


def _mlp(widths: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Layers as `torch.nn.Linear` starts them, by a generator of their own."""
    layers: list[nn.Module] = []
    with torch.inference_mode(False):
        for width_in, width_out in pairwise(widths):
            try:
                layer = _NotStarted(width_in, width_out, device="cpu", dtype=torch.float32)
            except (RuntimeError, TypeError, MemoryError) as error:
                raise ValueError(
                    f"a layer from {width_in} to {width_out} units does not fit into memory: "
                    "choose a smaller hidden=…, dim_embedding=… or number of features."
                ) from error
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            bound = 1 / math.sqrt(width_in)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
            layer.__class__ = nn.Linear  # type: ignore[assignment]
            layers += [layer, nn.ELU()]
    return nn.Sequential(*layers[:-1])


def check_towers(towers: Any) -> None:
    """Raise unless this is a `TwoTower` that can be called, and scores by its towers alone."""
    if not isinstance(towers, TwoTower):
        raise TypeError(f"towers must be a TwoTower; got {type(towers).__name__}.")
    if getattr(towers.forward, "__func__", None) is not TwoTower.forward:
        raise TypeError(
            f"{type(towers).__name__} has a forward of its own, which would never be called: only "
            "the towers are. Move what it does into context_tower and action_tower, and leave "
            "forward as it is."
        )
    for name, weights in chain(towers.named_parameters(), towers.named_buffers()):
        if isinstance(weights, nn.UninitializedParameter):
            raise ValueError(f"towers: {name} has no size yet. Call the towers on features first.")
        if weights.device != device_of(towers) or not is_known(weights.device):
            raise ValueError(f"towers: {name} is on {weights.device}. Move it: towers.cpu().")
        if weights.dtype != torch.float32 and (weights.is_floating_point() or weights.is_complex()):
            raise ValueError(
                f"towers: {name} is of dtype {weights.dtype}, and must be of single precision. "
                "Convert it: towers.float()."
            )
        if not torch.isfinite(weights.detach()).all():
            raise ValueError(
                f"towers: {name} has weights that are not finite. Did training diverge? Fit them "
                "again on finite features, at a lower learning rate."
            )
