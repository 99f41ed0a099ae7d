"""Fits and calls of `learn` killed by SIGKILL at random moments, and what became of them.

Each is started again until it is through; what it has learned is compared, bit for bit, with what
one that was never killed has.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle
import random
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from measure import row

import opl_lib as opl
from opl_lib.learning import checkpoints

# Each process is forked from one that has imported what it needs, and nothing else.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["opl_lib", "pandas"])


def learn(what: str, path: str | None, n_rounds: int, said: Connection) -> None:
    """Say that it begins, and a digest of what was learned."""
    torch.set_num_threads(1)
    checkpoints.EVERY_SECONDS = checkpoints._MAX_SHARE = 0
    log = opl.SyntheticWorld(6, 4, 4, random_state=0).sample(n_rounds, random_state=1)
    said.send("begins")
    if what == "fit":
        learner = opl.OffPolicyLearner("dr", epochs=3, batch_size=25, hidden=(8,), dim_embedding=4)
        policy = learner.fit(log, checkpoint=path).policy_
        found = policy.predict_proba(log.context, log.action_context)
    else:
        found = opl.learn(log, n_folds=2, checkpoint=path, progress=False).table
    said.send(hashlib.sha256(pickle.dumps(found)).hexdigest())


def run(quick: bool) -> list[dict[str, Any]]:
    rows, n_rounds = [], 1000 if quick else 4000
    for what in ("fit", "learn"):
        plain, seconds = through(what, None, n_rounds)
        n_kills, n_equal, n_through = killed(what, plain, seconds, 2 if quick else 50, n_rounds)
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


def start(what: str, path: str | None, n_rounds: int) -> tuple[Any, Connection]:
    """A process that has begun, and what it says."""
    said, says = processes.Pipe(duplex=False)
    process = processes.Process(target=learn, args=(what, path, n_rounds, says))
    process.start()
    says.close()
    said.recv()
    return process, said


def through(what: str, path: str | None, n_rounds: int) -> tuple[str, float]:
    """What a run that is left alone has learned, and its seconds."""
    (process, said), begin = start(what, path, n_rounds), time.perf_counter()
    try:
        found = said.recv()
    except EOFError:
        raise RuntimeError(f"{what} failed.") from None
    process.join()
    return found, time.perf_counter() - begin


def killed(
    what: str, plain: str, seconds: float, n_kills: int, n_rounds: int
) -> tuple[int, int, int]:
    """Kills, and of the runs that came through how many are equal to `plain`, and all."""
    rng, done, equal, runs = random.Random(0), 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        while done < n_kills:
            path = str(Path(folder) / f"{what} {runs}")
            for _ in range(min(5, n_kills - done)):
                process, _ = start(what, path, n_rounds)
                time.sleep(rng.uniform(0, seconds / 3))
                process.kill()
                process.join()
                done += process.exitcode == -9
            equal += through(what, path, n_rounds)[0] == plain
            runs += 1
    return done, equal, runs
