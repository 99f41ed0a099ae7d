"""What one GPU would do: an exact step over a million items, and small fits side by side.

Without a GPU nothing is measured, and the rows say so. The library's steps run on the processor;
this measures the products that a step consists of, as a bound from below.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from measure import row

GOALS = {
    "exact step, 1,000,000 items x 256 rounds": ("ms", (40.0, 15.0)),
    "1,024 small fits side by side, a model-step": ("µs", (5.0, 2.0)),
}


def run(quick: bool) -> list[dict[str, Any]]:
    measured = dict.fromkeys(GOALS, float("nan"))
    if torch.cuda.is_available():
        n_items, n_models = (10_000, 16) if quick else (1_000_000, 1_024)
        times = (step_over_items(n_items) * 1e3, step_of_models(n_models) / n_models * 1e6)
        measured = dict(zip(GOALS, times, strict=True))
    case = "one GPU" if torch.cuda.is_available() else "one GPU: not measured"
    return [row(case, name, measured[name], *GOALS[name]) for name in GOALS]


def seconds(step: Any, n: int = 20) -> float:
    """Of a step on the GPU, after some to warm up."""
    for number in range(n + 5):
        if number == 5:
            torch.cuda.synchronize()
            start = time.perf_counter()
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / n


def step_over_items(n_items: int, n_rounds: int = 256, dim: int = 100) -> float:
    items = torch.randn(n_items, dim, device="cuda", requires_grad=True)
    query = torch.randn(n_rounds, dim, device="cuda", requires_grad=True)

    def step() -> None:
        (query @ items.T).log_softmax(dim=1)[:, 0].mean().backward()

    return seconds(step)


def step_of_models(n_models: int, n_rounds: int = 100, width: int = 30) -> float:
    weights = torch.randn(n_models, width, width, device="cuda", requires_grad=True)
    inputs = torch.randn(n_models, n_rounds, width, device="cuda")

    def step() -> None:
        torch.bmm(torch.nn.functional.elu(torch.bmm(inputs, weights)), weights).mean().backward()

    return seconds(step)
