"""What all benchmarks share: clocks that see single steps, processes of their own, rows of results.

A *run* is a function ``run(tick)`` that trains and calls ``tick()`` once a step; ``tick`` ends the
run by raising `Enough`. So a step is timed inside a real fit, without what the fit does once.

The clock is the process's own processor time. Of one thread on a quiet machine that is the time of
day; on a busy one it does not count the moments in which others run.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import opl_lib as opl

Tick = Callable[[], None]
Run = Callable[[Tick], Any]


class Enough(Exception):
    """The run has made the steps that it was asked for."""


def ticking(name: str, tick: Tick, after: int = 0) -> opl.Objective:
    """An objective that calls `tick` whenever a step asks for its value, after some steps."""
    from opl_lib.objectives import OBJECTIVES

    objective, steps = OBJECTIVES[name], itertools.count()

    @functools.wraps(objective.function)
    def function(logits, batch):
        if next(steps) >= after:
            tick()
        return objective.function(logits, batch, **objective.settings)

    return replace(objective, function=function, settings={}, name=name)


def step_seconds(run: Run, n_steps: int, n_warm: int = 5) -> list[float]:
    """Seconds of each of `n_steps` steps of a run, after some to warm up."""
    stamps: list[float] = []

    def tick() -> None:
        stamps.append(time.process_time())
        if len(stamps) > n_warm + n_steps:
            raise Enough

    try:
        run(tick)
    except Enough:
        return list(np.diff(stamps)[n_warm:])
    raise ValueError(f"the run ended after {len(stamps)} steps; make its log longer.")


def interleaved(
    runs: Mapping[str, Run], n_steps: int, rounds: int, n_warm: int = 5
) -> dict[str, float]:
    """Median seconds of a step of each run; they run in turn, so that noise touches all."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name] += step_seconds(run, n_steps, n_warm)
    return {name: median(times) for name, times in seconds.items()}


def make_log(n_rounds: int, n_actions: int, dim: int = 50) -> opl.BanditFeedback:
    """A log of noise under uniform logging: what a step costs does not depend on the data."""
    rng = np.random.default_rng(0)
    return opl.BanditFeedback(
        context=rng.normal(size=(n_rounds, dim)),
        action=rng.integers(n_actions, size=n_rounds),
        reward=rng.integers(2, size=n_rounds),
        pscore=np.full(n_rounds, 1 / n_actions),
        action_context=rng.uniform(size=(n_actions, dim)),
    )


def in_fresh_process(function: Callable[..., Any], *args: Any, n_threads: int = 1) -> Any:
    """Call a function of a module in a new interpreter, which inherits no memory and no imports."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_on_threads, n_threads, function, *args).result()


def _on_threads(n_threads: int, function: Callable[..., Any], *args: Any) -> Any:
    import torch

    torch.set_num_threads(n_threads)
    return function(*args)


def resident_mb() -> float:
    """Memory that this process holds now, in MB."""
    return _status_mb("VmRSS")


def peak_mb() -> float:
    """The most memory that this process has held, in MB; since `forget_peak` where Linux allows."""
    return _status_mb("VmHWM")


def forget_peak() -> None:
    """Start a new peak from what the process holds now."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def _status_mb(field: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))
    except OSError:  # not Linux: only the peak is known, in bytes
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def row(
    case: str,
    quantity: str,
    value: float,
    unit: str,
    goal: tuple[float, float] | None = None,
    **sizes: int,
) -> dict[str, Any]:
    """One row of the table of results.

    A goal is what must be reached and what was aimed at; if the second number is the smaller one,
    smaller is better.
    """
    required, aim = goal or (None, None)
    named = {"case": case, "quantity": quantity, "value": value, "unit": unit}
    return {**named, "required": required, "aim": aim, **sizes}
