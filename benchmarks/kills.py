"""Fits and calls of `learn` killed by SIGKILL at random moments, and what became of them.

Each is started again until it is through; what it has learned is compared, bit for bit, with what
one that was never killed has.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import row

SCRIPT = """
import hashlib, pickle, sys
import torch
torch.set_num_threads(1)
import opl_lib as opl
from opl_lib.learning import checkpoints
checkpoints.EVERY_SECONDS = checkpoints._MAX_SHARE = 0

what, path = sys.argv[1:]
path = path or None
world = opl.SyntheticWorld(6, 4, 4, random_state=0)
log = world.sample(4000, random_state=1)
print("begins", flush=True)
if what == "fit":
    learner = opl.OffPolicyLearner("dr", epochs=3, batch_size=25, hidden=(8,), dim_embedding=4)
    found = learner.fit(log, checkpoint=path).policy_.predict_proba(log.context, log.action_context)
else:
    found = opl.learn(log, n_folds=2, checkpoint=path, progress=False).table
print(hashlib.sha256(pickle.dumps(found)).hexdigest())
"""


def run(quick: bool) -> list[dict[str, Any]]:
    rows = []
    for what in ("fit", "learn"):
        plain, seconds = through(what, "")
        n_kills, n_equal, n_through = killed(what, plain, seconds, 2 if quick else 50)
        rows += [
            row(f"{what}, killed", "kills", n_kills, ""),
            row(f"{what}, killed", "runs that came through", n_through, ""),
            row(
                f"{what}, killed",
                "share equal to one never killed",
                n_equal / n_through,
                "",
                (1, 1),
            ),
        ]
    return rows


def start(what: str, path: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, what, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def through(what: str, path: str) -> tuple[str, float]:
    """What a run that is left alone has learned, and its seconds."""
    process, begin = start(what, path), time.perf_counter()
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{what} failed.")
    return said, time.perf_counter() - begin


def killed(what: str, plain: str, seconds: float, n_kills: int) -> tuple[int, int, int]:
    """Kills, and of the runs that came through how many are equal to `plain`, and all."""
    rng, done, equal, runs = random.Random(0), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        while done < n_kills:
            path = str(Path(folder) / f"{what} {runs}")
            for _ in range(min(5, n_kills - done)):
                process = start(what, path)
                time.sleep(rng.uniform(0, seconds / 3))
                process.kill()
                process.communicate()
                done += process.returncode == -9
            equal += through(what, path)[0] == plain
            runs += 1
    return done, equal, runs
