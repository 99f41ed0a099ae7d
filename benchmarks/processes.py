"""Two processes against one with the same work a process: rounds a second, over twice those of one.

Both take steps on as many rounds a process, over many items; they meet in an all-reduce a step.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import row

SCRIPT = """
import sys, time
from datetime import timedelta
import torch, torch.distributed as dist
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[5])
from measure import make_log
import opl_lib as opl

rank, size, n_actions, n_steps = map(int, sys.argv[1:5])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[6]}", rank=rank, world_size=size,
                        timeout=timedelta(seconds=200))
batch = 128 * size
log = make_log(batch * n_steps, n_actions, dim=20)
learner = opl.OffPolicyLearner(
    "ips", epochs=2, batch_size=batch, hidden=(50,), dim_embedding=20, catalogue="streamed",
    progress=False,
)
ends = []
opl.fit_distributed(learner, log, lambda policy: ends.append(time.perf_counter()))
if rank == 0:
    print(n_steps * batch / (ends[2] - ends[1]))
    print(4 * sum(p.numel() for p in learner.policy_.towers.parameters()))
dist.destroy_process_group()
"""


def run(quick: bool) -> list[dict[str, Any]]:
    n_actions, n_steps, turns = (500, 3, 1) if quick else (100_000, 4, 2)
    found: dict[int, list[list[float]]] = {1: [], 2: []}
    for _ in range(turns):
        for size, runs in found.items():
            runs.append(rounds_a_second(size, n_actions, n_steps))
    best = {size: max(rate for rate, _ in runs) for size, runs in found.items()}
    case, sizes = "processes on one machine", {"n_actions": n_actions, "batch_size": 128}
    rows = [
        row(case, f"{size} processes", rate, "rounds/s", **sizes) for size, rate in best.items()
    ]
    return [
        *rows,
        row(case, "ratio", best[2] / (2 * best[1]), "", (0.7, 0.85), **sizes),
        row(case, "bytes of an all-reduce", found[2][0][1], "B", **sizes),
    ]


def rounds_a_second(size: int, n_actions: int, n_steps: int) -> list[float]:
    """Of one epoch of several processes, after one to warm up; and the bytes of the weights."""
    with tempfile.TemporaryDirectory() as folder:
        here = str(Path(__file__).parent)
        arguments = [str(size), str(n_actions), str(n_steps), here, f"{folder}/store"]
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(rank), *arguments],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for rank in range(size)
        ]
        said = [process.communicate(timeout=300)[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError("a process of the benchmark failed.")
    return [float(number) for number in said[0].split()]
