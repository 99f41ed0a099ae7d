"""Embeddings of contexts and items: what goes into a tower is checked, and what comes out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..arrays import feature_matrix, single_precision
from ..devices import device_of
from .index import ItemIndex, find_twins, plain_torch
from .towers import SideBySide, TwoTower, check_towers, first_layer

# Layers that calculate the same in training and in use. What else a tower is made of is put in its
# mode for use by one thread at a time.
_WITHOUT_MODE = (
    *(nn.Sequential, SideBySide, nn.Linear),
    *(nn.ELU, nn.ReLU, nn.Tanh, nn.GELU, nn.Identity),
)
_changing_mode = threading.RLock()


def single_features(name: str, features: Any) -> np.ndarray:
    """Features as towers take them."""
    return single_precision(name, feature_matrix(name, features))


def embed(towers: TwoTower, name: str, features: Any, first_row: int = 0) -> np.ndarray:
    """What the tower for `name`, "context" or "action_context", makes of features: (n, size).

    They may share memory with the towers. `first_row` is the number of the first row in messages.
    """
    features = single_features(name, features)
    if len(features) == 0 and name == "action_context":
        raise ValueError("action_context has no rows: there is no item to show.")
    tower = towers.context_tower if name == "context" else towers.action_tower
    layer = first_layer(tower)
    if layer and features.shape[1] != layer.in_features:
        raise ValueError(
            f"{name} has {features.shape[1]} features, but this policy was made for "
            f"{layer.in_features}; encode new data exactly as the training log was encoded."
        )
    with _in_use(tower), plain_torch():
        try:
            output = tower(torch.from_numpy(features).to(device_of(towers)))
        except RuntimeError:
            check_towers(towers)  # they may have been converted, or moved, since they were checked
            raise
        embedded = _as_embeddings(name, output, len(features))
    if not np.isfinite(embedded).all():
        row = first_row + int(np.argmin(np.isfinite(embedded).all(axis=1)))
        raise ValueError(
            f"the towers have no finite embedding for row {row} of {name}: are features far from "
            "unit scale, or did training diverge?"
        )
    # a tower rounds a row by its place, so items that look the same would be told apart
    if name == "action_context":
        twins, first = find_twins(features)
        if len(twins):
            embedded = embedded.copy()
            embedded[twins] = embedded[first]
    return embedded


def embed_queries(
    towers: TwoTower, context: Any, index: ItemIndex, first_row: int = 0
) -> np.ndarray:
    """Embeddings of contexts, to be multiplied with those of an index."""
    queries = embed(towers, "context", context, first_row)
    if queries.shape[1] != index.embeddings.shape[1]:
        raise ValueError(
            f"context_tower returns {queries.shape[1]} numbers a row, and action_tower "
            f"{index.embeddings.shape[1]}: give both towers the same dim_embedding."
        )
    return queries


def _as_embeddings(name: str, output: Any, n_rows: int) -> np.ndarray:
    """What a tower returned, if that is an embedding a row."""
    if not isinstance(output, Tensor):
        raise TypeError(
            f"the tower for {name} must return a tensor, one embedding a row; it returned "
            f"{type(output).__name__}."
        )
    if output.ndim != 2 or len(output) != n_rows or output.is_complex():
        raise ValueError(
            f"the tower for {name} must return real numbers of shape ({n_rows}, dim_embedding); "
            f"it returned {output.dtype} of shape {tuple(output.shape)}."
        )
    dtype = torch.float64 if output.dtype == torch.float64 else torch.float32
    return output.to(dtype).numpy(force=True)


@contextmanager
def _in_use(tower: nn.Module) -> Iterator[None]:
    """A tower in its mode for use. Parts that were frozen stay so, and nothing is left changed."""
    if all(type(module) in _WITHOUT_MODE for module in tower.modules()):
        yield
        return
    with _changing_mode:
        modes = {module: module.training for module in tower.modules()}
        if any(modes.values()):
            tower.eval()
            try:
                yield
            finally:
                for module, mode in modes.items():
                    module.training = mode
            return
    yield
