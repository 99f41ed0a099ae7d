"""Extra memory of one exact step over a large catalogue: automatic differentiation and streaming.

Each step runs in a process of its own. Extra is the peak during the step minus what the process
held just before it, when the towers, the log and the gradients' arrays were there already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from measure import forget_peak, in_fresh_process, make_log, peak_mb, resident_mb, row

import opl_lib as opl


def run(quick: bool) -> list[dict[str, Any]]:
    n_actions, batch_size = (20_000, 64) if quick else (100_000, 256)
    sizes = {"n_actions": n_actions, "batch_size": batch_size}
    case = f"one exact IPS step, {n_actions:,} items"
    extra = {
        way: in_fresh_process(extra_mb, way, n_actions, batch_size)
        for way in ("naive", "exact", "streamed")
    }
    rows = [row(case, way, mb, "MB", **sizes) for way, mb in extra.items()]
    return [*rows, row(case, "ratio", extra["naive"] / extra["streamed"], "", (3, 6), **sizes)]


def extra_mb(way: str, n_actions: int, batch_size: int) -> float:
    """Extra memory of one step; a small one goes first, for what the first call allocates."""
    for n in (100, n_actions):
        step = {"naive": naive_step}.get(way, library_step)(way, n, batch_size)
        before = resident_mb()
        forget_peak()
        step()
        extra = peak_mb() - before
    return extra


def naive_step(way: str, n_actions: int, batch_size: int) -> Callable[[], None]:
    """A softmax over all items, differentiated by torch."""
    log = make_log(batch_size, n_actions)
    model = opl.TwoTower.mlp(log.dim_context, log.dim_action_context)
    context, items = (torch.tensor(x).float() for x in (log.context, log.action_context))
    action, reward, pscore = (torch.tensor(x) for x in (log.action, log.reward, log.pscore))

    def step() -> None:
        logits = model.context_tower(context) @ model.action_tower(items).T
        pi = torch.softmax(logits, dim=1)[torch.arange(batch_size), action]
        (-(pi * reward / pscore).mean()).backward()

    return step


def library_step(way: str, n_actions: int, batch_size: int) -> Callable[[], None]:
    """A pass of the library, as the training loop calls it."""
    from opl_lib.learning import steps
    from opl_lib.learning.batches import StackedLog
    from opl_lib.learning.stacks import stack_models

    feedback = make_log(batch_size, n_actions)
    log = StackedLog([feedback], None)
    stack = stack_models([opl.TwoTower.mlp(feedback.dim_context, feedback.dim_action_context)])
    setup = steps.Setup(stack, opl.ips, log.action_context, torch.ones(1, 1, 1))
    step = next(log.batches(batch_size, None))
    take_step = getattr(steps, way)
    return lambda: take_step(setup, step)
