"""The log of a service as a `BanditFeedback`, to be learned from and judged by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import opl_lib as opl

from .records import by_request, read_records


def read_feedback(
    path: str | Path,
    items: np.ndarray,
    ids: Sequence[str],
    policy: str | None = None,
    without_reward: float | None = 0.0,
) -> opl.BanditFeedback:
    """What a service has shown, with its propensities, what was eligible, and what came of it.

    Parameters
    ----------
    path : str or Path
    items : array of shape (n_actions, dim_action_context)
        Features of all items that the log names, and perhaps of more.
    ids : sequence of str, of length n_actions
    policy : str, optional
        Version of a policy, if only what it has shown is asked for.
    without_reward : float, optional
        Reward of requests that nothing came of, as of pages without a click; None leaves them out.

    Returns
    -------
    opl_lib.BanditFeedback

    Raises
    ------
    ValueError
        If the log is damaged, names an item that `ids` does not, or has no such request.
    """
    everything, rewards = by_request(read_records(path), path)
    shown = [record for record in everything.values() if policy in (None, record["policy"])]
    if without_reward is None:
        shown = [record for record in shown if record["id"] in rewards]
    if not shown:
        raise ValueError(f"{path} has no request that was answered by the policy {policy!r}.")
    number_of = {str(name): number for number, name in enumerate(ids)}
    named = {record["action"] for record in shown}.union(*(r["eligible"] or () for r in shown))
    if unknown := sorted(named - number_of.keys()):
        raise ValueError(f"ids: {path} names the item {unknown[0]!r}, which is not among them.")
    return opl.BanditFeedback(
        context=np.array([record["context"] for record in shown]),
        action=np.array([number_of[record["action"]] for record in shown]),
        reward=np.array([rewards.get(record["id"], without_reward) for record in shown]),
        pscore=np.array([record["pscore"] for record in shown]),
        action_context=items,
        timestamp=np.array([record["time"] for record in shown]),
        eligible=_eligible(shown, number_of),
    )


def _eligible(shown: list[dict], number_of: dict[str, int]) -> opl.Eligible | None:
    """The distinct sets and the number of each request's; None if all items always were."""
    if all(record["eligible"] is None for record in shown):
        return None
    numbers: dict[tuple[str, ...], int] = {}
    everything = tuple(number_of)
    sets = [
        everything if record["eligible"] is None else tuple(record["eligible"]) for record in shown
    ]
    number = np.array([numbers.setdefault(each, len(numbers)) for each in sets])
    mask = np.zeros((len(numbers), len(number_of)), dtype=bool)
    for names, row in numbers.items():
        mask[row, [number_of[name] for name in names]] = True
    return opl.Eligible(mask, number)
