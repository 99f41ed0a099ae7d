"""The two-tower model: one encoder for contexts, one for items, one space for both."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import feature_matrix
from ..checks import check_number
from .index import find_twins


class TwoTower(nn.Module):
    """Score a context and an item by the inner product of their embeddings.

    Parameters
    ----------
    context_tower, action_tower : torch.nn.Module
        Any modules that map features of shape (n, width) to embeddings of shape (n, dim_embedding).
        The widths of the two towers are free; the embeddings must have the same size.

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
            Fixes the initial weights without touching torch's global generator.

        Returns
        -------
        TwoTower
        """
        settings: dict[str, Any] = {
            "dim_context": dim_context,
            "dim_action_context": dim_action_context,
            "dim_embedding": dim_embedding,
        }
        layers = {f"hidden[{layer}]": width for layer, width in enumerate(hidden)}
        for name, width in {**settings, **layers}.items():
            check_number(name, width, Integral, least=1)
        # numbers of one's own: a numpy integer could not be read from a file
        settings = {name: int(width) for name, width in settings.items()}
        hidden, dim_embedding = [int(width) for width in hidden], settings["dim_embedding"]
        with torch.random.fork_rng(devices=[]):
            if random_state is not None:
                torch.manual_seed(random_state)
            model = cls(
                _mlp([settings["dim_context"], *hidden, dim_embedding]),
                _mlp([settings["dim_action_context"], *hidden, dim_embedding]),
            )
        model.mlp_settings = {**settings, "hidden": hidden}
        return model

    def forward(self, context: Tensor, action_context: Tensor) -> Tensor:
        """Inner products of every context with every item: (n, d_x), (m, d_a) -> (n, m)."""
        return self.context_tower(context) @ self.action_tower(action_context).T


def check_towers(towers: Any) -> None:
    """Raise unless this is a `TwoTower` that scores as one, by its towers' inner products."""
    if not isinstance(towers, TwoTower):
        raise TypeError(f"towers must be a TwoTower; got {type(towers).__name__}.")
    if getattr(towers.forward, "__func__", None) is not TwoTower.forward:
        raise TypeError(
            f"{type(towers).__name__} has a forward of its own, which would never be called: only "
            "the towers are. Move what it does into context_tower and action_tower, and leave "
            "forward as it is."
        )


def embed(towers: TwoTower, name: str, features: Any) -> np.ndarray:
    """What the tower for `name`, "context" or "action_context", makes of features: (n, size)."""
    features = feature_matrix(name, np.array(features, dtype=np.float32))
    if len(features) == 0 and name == "action_context":
        raise ValueError("action_context has no rows: there is no item to show.")
    expected = (towers.mlp_settings or {}).get(f"dim_{name}", features.shape[1])
    if features.shape[1] != expected:
        raise ValueError(
            f"{name} has {features.shape[1]} features, but this policy was made for {expected};"
            " encode new data exactly as the training log was encoded."
        )
    tower = towers.context_tower if name == "context" else towers.action_tower
    modes = {module: module.training for module in tower.modules()}
    tower.eval()
    try:
        with torch.inference_mode():
            embedded = tower(torch.from_numpy(features)).numpy()
    finally:
        for module, mode in modes.items():  # parts that were frozen stay so
            module.training = mode
    if not np.isfinite(embedded).all():
        row = int(np.argmin(np.isfinite(embedded).all(axis=1)))
        raise ValueError(
            f"the towers have no finite embedding for row {row} of {name}: are features far from "
            "unit scale, or did training diverge?"
        )
    # a tower rounds a row by its place, so items that look the same would be told apart
    if name == "action_context":
        twins, first = find_twins(features)
        if len(twins):
            embedded = embedded.copy()  # it may be a weight of the tower
            embedded[twins] = embedded[first]
    return embedded


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers += [nn.Linear(width_in, width_out), nn.ELU()]
    return nn.Sequential(*layers[:-1])
