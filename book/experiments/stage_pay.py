"""What a click on a shown proposal pays a retriever: chances, of which it climbs the logarithm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

HOUSE = 2.0  # what the house ranker adds to the logit of every fifth item


def ranker_scores(q: np.ndarray, ranker: str) -> np.ndarray:
    """The log-odds of a ranker that knows q, with the bonus of the house or without."""
    return np.log(q / (1 - q)) + (ranker == "house") * HOUSE * (np.arange(q.shape[-1]) % 5 == 0)


def without_replacement(z: Tensor, k: int, uniform: Tensor) -> Tensor:
    """k items each, in the order of a Plackett-Luce draw."""
    return (z - torch.log(-torch.log(uniform))).topk(k, dim=-1).indices


def with_replacement(z: Tensor, k: int, uniform: Tensor) -> Tensor:
    """k independent draws each."""
    edges = torch.softmax(z, -1).cumsum(-1)
    found = torch.searchsorted(edges, uniform[..., :k].contiguous())
    return found.clamp(max=z.shape[-1] - 1)


def shown(items: Tensor, f: Tensor) -> Tensor:
    """Of the proposals the one that the ranker likes best."""
    best = f.gather(-1, items).argmax(-1, keepdim=True)
    return items.gather(-1, best)[..., 0]


def all_ordered(z: Tensor, items: Tensor, a: Tensor, f: Tensor) -> Tensor:
    """The log-probability of all proposals in their order, drawn without replacement."""
    log_pi = torch.log_softmax(z, -1).gather(-1, items)
    gone = torch.exp(log_pi).cumsum(-1) - torch.exp(log_pi)
    return (log_pi - torch.log1p(-gone.clamp(max=1 - 1e-12))).sum(-1)


def all_drawn(z: Tensor, items: Tensor, a: Tensor, f: Tensor) -> Tensor:
    """The log-probability of all proposals, drawn with replacement."""
    return torch.log_softmax(z, -1).gather(-1, items).sum(-1)


def proposed_ordered(z: Tensor, items: Tensor, a: Tensor, f: Tensor) -> Tensor:
    """The log-chance that the shown item is proposed, as the code of CA-PG approximates it.

    Proposals are drawn without replacement; at each place the items before are taken to be the
    likeliest ones.
    """
    k, own = items.shape[-1], a[..., None]
    pi = torch.softmax(z, -1)
    others = pi.scatter(-1, own, 0.0).topk(k - 1, dim=-1).values.cumsum(-1)
    left = torch.cat([torch.ones_like(pi[..., :1]), 1 - others], -1)
    at_place = (pi.gather(-1, own) / left.clamp(min=1e-12)).clamp(max=1 - 1e-9)
    return torch.log(-torch.expm1(torch.log1p(-at_place).sum(-1)))


def proposed_drawn(z: Tensor, items: Tensor, a: Tensor, f: Tensor) -> Tensor:
    """The log-chance that the shown item is proposed, drawn with replacement."""
    pi = torch.softmax(z, -1).gather(-1, a[..., None])[..., 0].clamp(max=1 - 1e-9)
    return torch.log(-torch.expm1(items.shape[-1] * torch.log1p(-pi)))


def served(z: Tensor, items: Tensor, a: Tensor, f: Tensor) -> Tensor:
    """The log-chance that the shown item is shown, as if proposals were drawn with replacement."""
    k, pi, own = items.shape[-1], torch.softmax(z, -1), a[..., None]
    up_to = (pi * (f <= f.gather(-1, own))).sum(-1)
    pi = pi.gather(-1, own)[..., 0]
    ratio = ((up_to - pi) / up_to).clamp(0, 1 - 1e-12)
    return k * torch.log(up_to) + torch.log(1 - ratio**k)


DRAWS = {"with": with_replacement, "without": without_replacement}

# What is differentiated, by how proposals are drawn; and whether a baseline is taken off.
GRADIENTS: dict[str, tuple[dict[str, Callable[..., Tensor]], bool]] = {
    "vanilla": ({"with": all_drawn, "without": all_ordered}, False),
    "vanilla, baseline": ({"with": all_drawn, "without": all_ordered}, True),
    "credit": ({"with": proposed_drawn, "without": proposed_ordered}, False),
    "served": ({"with": served, "without": served}, False),
    "served, baseline": ({"with": served, "without": served}, True),
}
