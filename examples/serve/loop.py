"""Learn, serve, log, learn: a loop on one machine, against a shop whose truth is known.

python -m serve.loop FOLDER [--rounds 3] [--visitors 3000] [--seed 0]      (in examples/)
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import opl_lib as opl

from .client import connected
from .feedback import read_feedback
from .model import load_model, save_model
from .process import served

EPSILON, TEMPERATURE, AT_ONCE = 0.2, 0.02, 64


def shop(seed: int) -> opl.ShopWorld:
    """A shop of one slot, so that a request is a page."""
    return opl.ShopWorld(n_items=50, n_users=500, slots=1, click_rate=0.1, random_state=seed)


def loop(folder: Path, n_rounds: int, n_visitors: int, seed: int) -> Iterator[dict[str, float]]:
    """Serve any item first, then what was learned of the service's own log, round by round.

    Yields
    ------
    dict
        ``round``; the true ``value`` of what is served, that of its best items alone
        (``greedy``), clicks a visitor (``clicks``); the ``weight`` of a policy that draws any
        eligible item, on the log of this round, with its standard error (``weight_se``), and
        the largest distance from 1 of the weight of the served policy itself (``own_weight``).
    """
    world = shop(seed)
    items, ids = world.action_context, [f"i{number}" for number in range(world.n_items)]
    towers = opl.TwoTower.mlp(world.eval_context.shape[1], items.shape[1], random_state=seed)
    policy, epsilon = opl.TwoTowerPolicy(towers), 1.0
    for number in range(n_rounds + 1):
        save_model(folder / f"{number}", policy, items, ids, epsilon, k=20)
        log = _served(world, folder, number, ids, world.sample(n_visitors, 100 + number))
        yield {"round": number, **_judged(world, folder / f"{number}", log)}
        everything = read_feedback(folder / "log.jsonl", items, ids)
        policy = opl.BilinearLearner().fit(everything).policy_.at_temperature(TEMPERATURE)
        epsilon = EPSILON


def _served(
    world: opl.ShopWorld, folder: Path, number: int, ids: list[str], visits: opl.BanditFeedback
) -> opl.BanditFeedback:
    """The service's log of the visitors of another log, who see what the service shows."""
    q = world.reward_probability(visits)
    clicks = np.random.default_rng([world.random_state, number]).random(visits.n_rounds)
    version = load_model(folder / f"{number}").version
    with served(folder / f"{number}", folder / "log.jsonl", seconds=600) as (client, _):
        asyncio.run(_visit(str(client.base_url), visits, ids, q > clicks[:, np.newaxis]))
    return read_feedback(folder / "log.jsonl", world.action_context, ids, policy=version)


async def _visit(
    address: str, visits: opl.BanditFeedback, ids: list[str], would_click: np.ndarray
) -> None:
    """Some visitors at once: each asks, and says if it clicks."""
    sets = [[ids[a] for a in np.flatnonzero(mask)] for mask in visits.eligible.sets]
    number_of = {name: number for number, name in enumerate(ids)}
    waiting = iter(range(visits.n_rounds))

    async def visitors() -> None:
        async with connected(address) as service:
            for row in waiting:
                context, on_offer = visits.context[row].tolist(), sets[visits.eligible.number[row]]
                asked = {"context": context, "eligible": on_offer}
                shown = await service.post("/recommend", asked)
                if would_click[row, number_of[shown["action"]]]:
                    reward = {"request_id": shown["request_id"], "reward": 1.0}
                    await service.post("/reward", reward)

    await asyncio.gather(*(visitors() for _ in range(AT_ONCE)))


def _judged(world: opl.ShopWorld, folder: Path, log: opl.BanditFeedback) -> dict[str, float]:
    policy = load_model(folder).policy
    pi = policy.predict_proba(log.context, log.action_context, log.eligible)
    weight = 1 / log.eligible.n_eligible / log.pscore
    own = pi[np.arange(log.n_rounds), log.action] / log.pscore
    return {
        "value": world.policy_value(policy),
        "greedy": world.policy_value(policy.policy.at_temperature(0)),
        "clicks": log.reward.mean(),
        "weight": weight.mean(),
        "weight_se": weight.std() / np.sqrt(log.n_rounds),
        "own_weight": np.abs(own - 1).max(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m serve.loop", description=__doc__.split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="a new folder for policies and the log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--visitors", type=int, default=3000, help="of each round")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True)
    for row in loop(args.folder, args.rounds, args.visitors, args.seed):
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
