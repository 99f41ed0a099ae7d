"""A service is killed fifty times while it is asked, and fifty times while it starts.

Nothing that it acknowledged may be lost. A start finds a log whose last line is half written.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import row

import opl_lib as opl

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from serve.kills import killed, killed_at_start, lost
from serve.model import save_model
from serve.process import served

WIDTH, N_ITEMS = 5, 50


def run(quick: bool) -> list[dict[str, Any]]:
    n_kills, rng = 1 if quick else 50, np.random.default_rng(0)
    acknowledged: list[tuple[str, dict]] = []
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name) / "model", Path(name) / "log.jsonl"
        policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(WIDTH, WIDTH, random_state=0), 0.1)
        items = rng.normal(size=(N_ITEMS, WIDTH))
        save_model(folder, policy, items, [f"i{number}" for number in range(N_ITEMS)], k=10)
        for kill in range(n_kills):  # each starts with the log that the last one left
            acknowledged += killed(folder, log, WIDTH, 1.0, kill)
        start = time.perf_counter()
        with served(folder, log):
            seconds = 1.2 * (time.perf_counter() - start)  # some are killed after they started
        mended = sum(
            killed_at_start(folder, log, seconds * (kill + 1) / n_kills) for kill in range(n_kills)
        )
        n_lost = len(lost(log, acknowledged))  # reading also finds a line that is damaged
    case = f"{n_kills} kills while four clients ask, {n_kills} while it starts"
    return [
        row(case, "starts killed after the log was mended", mended, ""),
        row(case, "acknowledged", len(acknowledged), ""),
        row(case, "acknowledged and lost", n_lost, "", (0, 0)),
    ]
