"""A service in a process of its own, which ends with whoever started it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

EXAMPLES = Path(__file__).resolve().parents[1]


@contextmanager
def started(folder: str | Path, log: str | Path, seconds: float = 120) -> Iterator[Any]:
    """The process of a service on a free port, from its first moment; it lives so long at most."""
    path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "serve", str(folder), str(log), "--port=0"]
    process = subprocess.Popen(
        [*command, f"--seconds={seconds}"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()


@contextmanager
def served(
    folder: str | Path, log: str | Path, seconds: float = 120
) -> Iterator[tuple[httpx.Client, subprocess.Popen]]:
    """A client of a service that has started, and its process.

    Raises
    ------
    RuntimeError
        If it does not start; with what it said.
    """
    with started(folder, log, seconds) as process:
        with httpx.Client(base_url=_address(process), timeout=20, trust_env=False) as client:
            yield client, process


def _address(process: subprocess.Popen, seconds: float = 120) -> str:
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    address = process.stdout.readline().strip() if ready else ""
    if not address:
        process.kill()
        raise RuntimeError(f"the service did not start: {process.stderr.read().strip()}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            httpx.get(f"{address}/health", trust_env=False)
            return address
        except httpx.ConnectError:
            time.sleep(0.05)
    raise RuntimeError(f"{address} does not answer.")
