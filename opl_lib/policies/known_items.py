"""Items that a tower knows by more than their features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class KnownItems(nn.Module):
    """A tower of items, some of which have vectors of their own, added to their embeddings.

    An item is known by its features, to the last bit in single precision: wherever it stands in a
    catalogue, and whatever else is there. Others are embedded by the tower alone. The items are
    looked up on the processor, wherever the tower calculates.

    Parameters
    ----------
    tower : torch.nn.Module
    known : tensor of shape (n_known, width)
        Features of the items, all different.
    own : tensor of shape (n_known, k)
        Their vectors, added to the first k numbers of an embedding.
    """

    known: Tensor
    own: Tensor

    def __init__(self, tower: nn.Module, known: Tensor, own: Tensor) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("known", known)
        self.register_buffer("own", own)

    def forward(self, features: Tensor) -> Tensor:
        embeddings = self.tower(features)
        number = find(self.known.numpy(force=True), features.numpy(force=True))
        rows = torch.from_numpy(number).to(self.own.device)
        own = torch.cat([self.own, self.own.new_zeros(1, self.own.shape[1])])[rows]
        return embeddings + nn.functional.pad(own, (0, embeddings.shape[1] - own.shape[1]))


def different(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of features that differ in single precision: where each first is; each row's number."""
    rows = np.ascontiguousarray(features.astype(np.float32) + np.float32(0))
    _, first, number = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, number


def find(known: np.ndarray, features: np.ndarray) -> np.ndarray:
    """The number of the known item (m, width) that each row of features is, or m."""
    number = {row: number for number, row in enumerate(_rows(known))}
    return np.array([number.get(row, len(known)) for row in _rows(features)])


def _rows(features: np.ndarray) -> list[bytes]:
    """The bits of each row in single precision; −0 is 0."""
    return [row.tobytes() for row in features.astype(np.float32) + np.float32(0)]
