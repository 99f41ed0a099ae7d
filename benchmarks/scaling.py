"""A step by number of items, batch size and length of the log; and its floor.

The floor is what the step's arithmetic and memory traffic would take at the speeds that this very
process measures: the largest of multiply-adds at the rate of a large matrix product, and of bytes
at the rate of copying arrays as large as those the step works on.
"""

from __future__ import annotations

import functools
import time
from typing import Any, NamedTuple

import torch
from measure import interleaved, row
from steps import library

from opl_lib.learning.steps import encodes_by_round

N_SAMPLED = 256
# Above so many logits, the exact step would only show how much memory it takes.
MAX_LOGITS = 2 * 10**7
# Steps are made smaller in number as they grow, for a bounded time.
ROWS_PER_RUN = 400_000


class Point(NamedTuple):
    """A way to see the items, and the sizes."""

    way: str
    n_actions: int
    batch_size: int
    n_rounds: int

    @property
    def objective(self) -> str:
        return "regression" if self.way == "logged" else "ips"

    @property
    def n_encoded(self) -> int:
        """Items that a step encodes."""
        if self.way == "sampled":
            return self.batch_size + N_SAMPLED
        by_round = self.way == "logged" and encodes_by_round(self.n_actions, self.batch_size)
        return self.batch_size if by_round else self.n_actions


def run(quick: bool) -> list[dict[str, Any]]:
    rows = [
        row("this machine", "matrix product", flops_per_second() / 1e9, "GFLOP/s"),
        row("this machine", "copy in cache", bytes_per_second(2**20) / 1e9, "GB/s"),
        row("this machine", "copy in memory", bytes_per_second(2**28) / 1e9, "GB/s"),
    ]
    for sweep, points in sweeps(quick).items():
        for point in points:
            sizes = point._asdict()
            way = sizes.pop("way")
            rows += [
                row(f"by {sweep}", "step", 1000 * measured(point, quick), "ms", way=way, **sizes),
                row(f"by {sweep}", "floor", 1000 * floor(point), "ms", way=way, **sizes),
            ]
    return rows


def sweeps(quick: bool) -> dict[str, list[Point]]:
    ways = ("exact", "streamed", "sampled", "logged")
    items = (10, 1_000) if quick else (10, 100, 1_000, 5_000, 10_000, 100_000, 1_000_000)
    batches = (10, 100) if quick else (10, 100, 1_000, 5_000)
    lengths = (1_000, 2_000) if quick else (1_000, 10_000, 100_000)
    catalogue, middle = (500, 50) if quick else (5_000, 100)
    points = {
        "items": [Point(way, n, middle, 20 * middle) for n in items for way in ways],
        "batch size": [Point(way, catalogue, b, 10 * b) for b in batches for way in ways],
        "log size": [Point(way, 10, middle, n) for n in lengths for way in ("exact", "logged")],
    }
    return {sweep: [p for p in each if affordable(p)] for sweep, each in points.items()}


def affordable(point: Point) -> bool:
    if point.way == "sampled":
        return point.n_actions > N_SAMPLED  # with fewer it is exact
    logits = point.n_actions * point.batch_size
    return point.way != "exact" or logits <= MAX_LOGITS


def measured(point: Point, quick: bool) -> float:
    """Median seconds of a step."""
    settings = {} if point.way == "logged" else {"catalogue": point.way, "n_sampled": N_SAMPLED}
    run = library(
        point.objective,
        point.n_actions,
        batch_size=point.batch_size,
        n_rounds=point.n_rounds,
        **settings,
    )
    n_steps = max(2, min(50, ROWS_PER_RUN // (point.n_encoded + point.batch_size)))
    n_steps = 2 if quick else n_steps
    return interleaved({"": run}, n_steps, rounds=1, n_warm=min(n_steps, 5))[""]


def floor(point: Point) -> float:
    """Seconds of a step at this machine's speeds."""
    work = operations(point)
    return max(work["flops"] / flops_per_second(), work["bytes"] / bytes_per_second(work["held"]))


def operations(
    point: Point, width: int = 50, hidden: tuple[int, ...] = (100, 100, 100), d: int = 100
) -> dict[str, int]:
    """Floating-point operations, bytes moved, and bytes held, of one step on float32.

    Each array is read or written once a use. Streaming encodes the items once more, and makes the
    logits once more, than the exact step; it holds one tile of 4,096 items.
    """
    layers = list(zip((width, *hidden), (*hidden, d), strict=True))
    per_row = 2 * sum(a * b for a, b in layers)  # one pass of one row through one tower
    backward = 2 * per_row - 2 * width * hidden[0]  # nobody asks for the features' gradient
    b, m = point.batch_size, point.n_encoded
    logits = b * {"logged": 1, "sampled": 1 + N_SAMPLED}.get(point.way, m)
    forwards = 2 if point.way == "streamed" else 1
    flops = (b + m * forwards) * per_row + (b + m) * backward + (forwards + 2) * 2 * d * logits
    weights = 2 * sum(a * b + b for a, b in layers)
    held_rows = b + (min(m, 4096) if point.way == "streamed" else m)
    held_logits = b * min(m, 4096) if point.way == "streamed" else logits
    activations = width + sum(hidden) + d
    # Adam reads weights, gradient and two means, and writes all but the gradient.
    moved = 7 * weights + 3 * (b + m * forwards) * activations + 4 * forwards * logits
    held = 4 * weights + held_rows * activations + held_logits
    return {"flops": flops, "bytes": 4 * moved, "held": 4 * held}


@functools.cache
def flops_per_second(n: int = 1024) -> float:
    """Of a product of two n x n matrices; the best of some."""
    a, b = torch.rand(n, n), torch.rand(n, n)
    return 2 * n**3 / best_seconds(lambda: a @ b, 10)


def bytes_per_second(n_bytes: int) -> float:
    """Read and written by a copy between two arrays that hold as much together."""
    return _bytes_per_second(2 ** max(16, min(28, n_bytes.bit_length())))


@functools.cache
def _bytes_per_second(n_bytes: int) -> float:
    source = torch.ones(n_bytes // 8)  # half of it, in float32
    target = torch.ones_like(source)
    repeats = max(1, 2**24 // n_bytes)

    def copy() -> None:
        for _ in range(repeats):
            target.copy_(source)

    return repeats * n_bytes / best_seconds(copy, 10)


def best_seconds(function, times: int) -> float:
    seconds = []
    for _ in range(times):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)
