"""Training on a log on disk against the same log in memory, in turn, and how quickly it is checked.

The log is ten times what a fit holds of it, or more. `cold` is what a memory of a tenth of the log
leaves of the system's own copy of the files, which is nothing: their pages are dropped before the
fit, which then reads every byte from the disk, as it does once an epoch; where the system says that
it read less, nothing was measured. It is timed by the clock on the wall, since to wait for a disk
takes no processor time, beside a fit in memory timed so, too.
"""

from __future__ import annotations

import os
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
    n_pieces, n_each, turns = (4, 20_000, 1) if quick else (40, 100_000, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        disk = opl.write_log(path, (piece(n_each, seed) for seed in range(n_pieces)))
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        start = time.perf_counter()
        opl.open_log(path)
        checked = time.perf_counter() - start
        n_rounds = disk.n_rounds
        del disk  # pages of an open log are not forgotten
        held = in_fresh_process(held_mb, path)
        seconds = timed(path, size, turns)
    rates = {name: n_rounds / median(times) for name, times in seconds.items()}
    case, sizes = "ips from disk", {"n_rounds": n_rounds, "batch_size": 500, "n_actions": 50}
    rows = [row(case, name, rate, "rounds/s", **sizes) for name, rate in rates.items()]
    share = rates["on disk"] / rates["in memory"]
    cold = rates["cold, on the wall"] / rates["in memory, on the wall"]
    return [
        *rows,
        row(case, "ratio", share, "", (0.8, 0.95), **sizes),
        row(case, "ratio, cold", cold, "", (0.8, 0.95), **sizes),
        row(case, "size of the log", size, "MB", **sizes),
        row(case, "memory of a fit", held, "MB", **sizes),
        row(case, "size over memory", size / (held * 2**20 / 1e6), "", (10, 10), **sizes),
        row(case, "checking every shard", size / checked, "MB/s", **sizes),
    ]


def timed(path: Path, size: float, turns: int) -> dict[str, list[float]]:
    """Seconds of an epoch, in turn; of a cold log NaN unless its megabytes came from the disk."""
    in_memory = opl.open_log(path, check=False)[:]
    seconds: dict[str, list[float]] = {}
    for _ in range(turns):
        for name in ("in memory", "on disk", "cold"):
            if name == "cold":
                drop_pages(path)
            log = in_memory if name == "in memory" else opl.open_log(path, check=False)
            before = read_mb(), time.process_time(), time.perf_counter()
            opl.OffPolicyLearner("ips", **SETTINGS).fit(log)
            read, own, wall = read_mb(), time.process_time(), time.perf_counter()
            if name != "cold":
                seconds.setdefault(name, []).append(own - before[1])
            if name != "on disk":
                known = name == "in memory" or read - before[0] > 0.9 * size
                took = wall - before[2] if known else float("nan")
                seconds.setdefault(f"{name}, on the wall", []).append(took)
    return seconds


def read_mb() -> float:
    """What this process has read from disks, in MB; NaN where the system does not say."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes")) / 1e6


def drop_pages(path: Path) -> None:
    """Let the system forget what it holds of the files of a folder, where it can be asked to."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in path.iterdir():
        number = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(number)


def held_mb(path: Path) -> float:
    """The most that a fit holds beyond what its process held before."""
    disk = opl.open_log(path)
    before = resident_mb()
    forget_peak()
    opl.OffPolicyLearner("ips", **SETTINGS).fit(disk)
    return peak_mb() - before
