"""Kill a service while it is asked, start it again, and see that nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np

from .process import served, started
from .records import read_records, to_line


def killed(
    folder: Path, log: Path, width: int, seconds: float, random_state: int
) -> Iterator[tuple[str, dict]]:
    """Ask one service by four threads, kill it, and give what it has acknowledged.

    Yields
    ------
    kind : {"shown", "reward"}
    answer : dict
    """
    rng, answers = np.random.default_rng(random_state), []
    context = rng.normal(size=width).tolist()
    with served(folder, log) as (client, process):
        address, over = str(client.base_url), threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=address, timeout=5, trust_env=False) as mine:
                with suppress(httpx.HTTPError):
                    while not over.is_set():
                        shown = mine.post("/recommend", json={"context": context}).json()
                        answers.append(("shown", shown))
                        reward = {"request_id": shown["request_id"], "reward": 1.0}
                        answers.append(("reward", mine.post("/reward", json=reward).json()))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2000):  # until the first answers, at most 20 seconds
            if answers or over.wait(0.01):
                break
        over.wait(seconds * rng.random())  # then at any moment
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        over.set()
        for thread in threads:
            thread.join()
    yield from answers


def killed_at_start(folder: Path, log: Path, seconds: float) -> bool:
    """Tear the end of a log, start a service on it, and kill that after so many seconds.

    Returns
    -------
    bool
        If it had mended the log by then.
    """
    half = to_line({"kind": "shown", "id": "never acknowledged"})[:30]
    with open(log, "ab") as file:
        file.write(half)
    with started(folder, log) as process:
        time.sleep(seconds)
        process.kill()
        process.wait()
    return not log.read_bytes().endswith(half)


def lost(log: Path, acknowledged: list[tuple[str, dict]]) -> list[tuple[str, dict]]:
    """What was acknowledged and is not in the log, or otherwise than it was said."""
    records = list(read_records(log))
    shown = {each["id"]: each for each in records if each["kind"] == "shown"}
    rewards = {each["id"]: each["reward"] for each in records if each["kind"] == "reward"}

    def is_there(kind: str, answer: dict) -> bool:
        name = answer["request_id"]
        if kind == "reward":
            return rewards.get(name) == answer["reward"]
        record = shown.get(name, {})
        return all(record.get(key) == answer[key] for key in ("action", "pscore", "policy"))

    return [each for each in acknowledged if not is_there(*each)]
