"""In which order the rounds of a log on disk are taken, and by which process."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def order_of_blocks(seed: int, epoch: int, blocks: np.ndarray) -> np.ndarray:
    """The blocks of a log as an epoch takes them: a function of seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(blocks)


def order_in_group(seed: int, epoch: int, group: int, rows: np.ndarray) -> np.ndarray:
    """The rounds of some blocks as an epoch takes them; so a place in a log is one number."""
    return np.random.default_rng([seed, epoch, group]).permutation(rows)


def own_rounds(
    starts: np.ndarray, ends: np.ndarray, processes: tuple[int, int]
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Which rounds of some blocks a process reads: a run of each block, always the same one.

    Returns
    -------
    mine : boolean array of shape (n_rows,)
        Whether each round of the blocks, one block after the other, is its own.
    runs : list of (start, stop)
        Where they are in the log; if there are none, a round that is not its own.
    """
    rank, size = processes
    n = ends - starts
    first, last = n * rank // size, n * (rank + 1) // size
    begin = n.cumsum() - n
    mine = np.zeros(n.sum(), dtype=bool)
    for a, b in zip(begin + first, begin + last, strict=True):
        mine[a:b] = True
    runs = [(int(s + a), int(s + b)) for s, a, b in zip(starts, first, last, strict=True) if a < b]
    return mine, runs or [(int(starts[0]), int(starts[0]) + 1)]


def joined(parts: Iterable[np.ndarray], n_rows: int) -> np.ndarray:
    """Parts of so many rows, one after the other, of which one at a time is held beside them."""
    rows, at = np.empty(0), 0
    for part in parts:
        if at == 0:
            rows = np.empty((n_rows, *part.shape[1:]), part.dtype)
        rows[at : at + len(part)] = part
        at += len(part)
    return rows
