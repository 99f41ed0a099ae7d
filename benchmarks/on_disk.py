"""Training on a log on disk against the same log in memory, in turn, and how quickly it is checked.

The log is ten times what a fit holds of it at a time, or more; pages that the system still has in
memory are not read again from the disk, which is said by the size of the log.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measure import forget_peak, in_fresh_process, peak_mb, resident_mb, row

import opl_lib as opl

SETTINGS = {"epochs": 1, "batch_size": 500, "hidden": (50,), "dim_embedding": 20}


def piece(n_rounds: int, seed: int, n_actions: int = 50, dim: int = 20) -> opl.BanditFeedback:
    """Noise under uniform logging, in single precision."""
    rng = np.random.default_rng(seed)
    return opl.BanditFeedback(
        context=rng.normal(size=(n_rounds, dim)).astype(np.float32),
        action=rng.integers(n_actions, size=n_rounds),
        reward=rng.integers(2, size=n_rounds),
        pscore=np.full(n_rounds, 1 / n_actions),
        action_context=np.random.default_rng(0).normal(size=(n_actions, dim)),
    )


def run(quick: bool) -> list[dict[str, Any]]:
    n_pieces, n_each, turns = (4, 20_000, 1) if quick else (10, 100_000, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        disk = opl.write_log(path, (piece(n_each, seed) for seed in range(n_pieces)))
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        start = time.perf_counter()
        opl.open_log(path)
        checked = time.perf_counter() - start
        held = in_fresh_process(held_mb, path)
        logs = {"in memory": disk[:], "on disk": disk}
        seconds: dict[str, list[float]] = {name: [] for name in logs}
        for _ in range(turns):
            for name, log in logs.items():
                start = time.process_time()
                opl.OffPolicyLearner("ips", **SETTINGS).fit(log)
                seconds[name].append(time.process_time() - start)
    rates = {name: disk.n_rounds / median(times) for name, times in seconds.items()}
    case, sizes = "ips from disk", {"n_rounds": disk.n_rounds, "batch_size": 500, "n_actions": 50}
    rows = [row(case, name, rate, "rounds/s", **sizes) for name, rate in rates.items()]
    share = rates["on disk"] / rates["in memory"]
    return [
        *rows,
        row(case, "ratio", share, "", (0.8, 0.95), **sizes),
        row(case, "size of the log", size, "MB", **sizes),
        row(case, "memory of a fit", held, "MB", **sizes),
        row(case, "checking every shard", size / checked, "MB/s", **sizes),
    ]


def held_mb(path: Path) -> float:
    """The most that a fit holds beyond what its process held before."""
    disk = opl.open_log(path)
    before = resident_mb()
    forget_peak()
    opl.OffPolicyLearner("ips", **SETTINGS).fit(disk)
    return peak_mb() - before
