"""Serving: indices against exact search, exact search among a million, and the service.

Each index and exact search take turns, on embeddings of towers and on random numbers, in which no
index finds any structure. The service runs in a process of its own with one thread; its client,
in another, has some connections that each ask again as soon as they are answered. Every answer was
on the disk before it was given.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from measure import row

import opl_lib as opl

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from serve.client import connected
from serve.model import INDEXES, save_model
from serve.process import served

BREADTHS = {"compressed": (40, 70, 100, 200, 400), "HNSW": (10, 40, 80, 160, 320, 640)}
CONNECTIONS = (1, 4, 8, 16)
WIDTH, DIM = 40, 100


def run(quick: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    sizes = (2_000, 50) if quick else (50_000, 300)
    rows = [each for kind in ("random", "towers") for each in recall_and_latency(kind, *sizes)]
    rows += [exact(20_000 if quick else 1_000_000, 5 if quick else 40)]
    return rows + service(1_000 if quick else 100_000, 0.5 if quick else 3)


def towers(random_state: int = 0) -> opl.TwoTowerPolicy:
    """Towers that nobody has trained: what they cost does not depend on the weights."""
    return opl.TwoTowerPolicy(
        opl.TwoTower.mlp(WIDTH, WIDTH, dim_embedding=DIM, random_state=random_state), 0.05
    )


def embedded(kind: str, n_actions: int, n_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of items, and of contexts."""
    rng = np.random.default_rng(0)
    if kind == "random":
        return tuple(rng.normal(size=(n, DIM)).astype(np.float32) for n in (n_actions, n_queries))
    policy, items = towers(), rng.normal(size=(n_actions, WIDTH))
    return policy.embed_items(items), policy.embed_context(rng.normal(size=(n_queries, WIDTH)))


def recall_and_latency(
    kind: str, n_actions: int, n_queries: int, k: int = 10
) -> Iterator[dict[str, Any]]:
    """One query at a time: milliseconds, and the share of the true best that is found."""
    embeddings, queries = embedded(kind, n_actions, n_queries)
    exact = opl.ItemIndex(embeddings)
    best = [exact.search(query[np.newaxis], k)[0][0] for query in queries]
    for name, make in (("compressed", opl.CompressedIndex), ("HNSW", opl.HNSWIndex)):
        start, case = time.perf_counter(), f"{kind}, {name}"
        index, reached = make(embeddings), False
        taken = time.perf_counter() - start
        yield row(case, "seconds to build", taken, "s", n_actions=n_actions)
        for breadth in BREADTHS[name]:
            index.breadth = breadth
            found, ms = in_turn(exact, index, queries, k)
            both = zip(found, best, strict=True)
            recall = float(np.mean([len(set(a) & set(b)) / k for a, b in both]))
            goal = (4, 6) if recall >= 0.95 and not reached else None
            reached |= recall >= 0.95
            for quantity, value, unit in (
                ("recall@10", recall, ""),
                ("exact", ms[0], "ms"),
                ("approximate", ms[1], "ms"),
                ("times exact", ms[0] / ms[1], ""),
            ):
                its = goal if quantity == "times exact" else None
                named = f"{case}, breadth {breadth}"
                yield row(named, quantity, value, unit, its, n_actions=n_actions)


def in_turn(
    exact: opl.ItemIndex, index: Any, queries: np.ndarray, k: int
) -> tuple[list[np.ndarray], tuple[float, float]]:
    """What an index finds, and the median milliseconds of a query of exact search and of it."""
    found, exact_ms, its_ms = [], [], []
    for query in queries[:, np.newaxis]:
        start = time.perf_counter()
        exact.search(query, k)
        middle = time.perf_counter()
        found.append(index.search(query, k)[0][0])
        its_ms.append(1000 * (time.perf_counter() - middle))
        exact_ms.append(1000 * (middle - start))
    return found, (median(exact_ms), median(its_ms))


def exact(n_actions: int, n_queries: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    index = opl.ItemIndex(rng.normal(size=(n_actions, 64)).astype(np.float32))
    queries = rng.normal(size=(n_queries, 1, 64)).astype(np.float32)
    ms = []
    for query in queries:
        start = time.perf_counter()
        index.search(query, 10)
        ms.append(1000 * (time.perf_counter() - start))
    goal = (50, 30)
    return row("exact top-10, 64 numbers", "one query", median(ms), "ms", goal, n_actions=n_actions)


def service(n_actions: int, seconds: float) -> list[dict[str, Any]]:
    """Requests a second, and the time that one in a hundred takes longer than, by connections."""
    rng, rows = np.random.default_rng(0), []
    items = rng.normal(size=(n_actions, WIDTH))
    ids = [f"i{number}" for number in range(n_actions)]
    for index in INDEXES:
        with tempfile.TemporaryDirectory() as folder:
            save_model(Path(folder) / "model", towers(), items, ids, k=50, index=index)
            measured = []
            with served(Path(folder) / "model", Path(folder) / "log", 300) as (client, _):
                for n in CONNECTIONS:
                    asyncio.run(ask(str(client.base_url), n, seconds / 8))  # to warm up
                    measured.append((n, *asyncio.run(ask(str(client.base_url), n, seconds))))
        within = [each[1] for each in measured if each[2] <= 50]
        best = max(within, default=None)
        for n, rate, p99 in measured:
            case, sizes = f"service, {index}, {n} connections", {"n_actions": n_actions}
            goal = (200, 1000) if rate == best and index != "exact" else None
            rows.append(row(case, "requests a second", rate, "1/s", goal, **sizes))
            rows.append(row(case, "p99", p99, "ms", (50, 50) if goal else None, **sizes))
    return rows


async def ask(address: str, n_connections: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and the 99th percentile of their milliseconds."""
    contexts = np.random.default_rng(1).normal(size=(64, WIDTH)).round(4)
    bodies = [json.dumps({"context": context.tolist()}).encode() for context in contexts]
    taken: list[float] = []
    end = time.perf_counter() + seconds

    async def visitors() -> None:
        async with connected(address) as connection:
            while (start := time.perf_counter()) < end:
                await connection.send("/recommend", bodies[len(taken) % len(bodies)])
                taken.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(visitors() for _ in range(n_connections)))
    return len(taken) / (time.perf_counter() - start), 1000 * float(np.quantile(taken, 0.99))
