"""How far four gradients for a retriever are off, and how much they scatter, at one policy.

With replacement the chance ``S`` that an item is served has a formula. Drawn without it, in the
order of Plackett and Luce, it is ``S(a) = G(a) - G(next below a)``, where ``G(a)`` is the chance
that none of the ``K`` draws is liked better than ``a``: an integral over one variable.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .stage_pay import (
    DRAWS,
    all_drawn,
    all_ordered,
    proposed_drawn,
    proposed_ordered,
    ranker_scores,
    served,
    shown,
)
from .stages import world_of

N_CONTEXTS, N_DRAWS, N_POINTS = 3, 2_000, 24
JUDGED = ("vanilla", "credit", "served", "served, exact")


def served_with(z: Tensor, f: Tensor, k: int) -> Tensor:
    """The chance that each item is served, drawn with replacement; z and f of shape (n, items)."""
    order = f.argsort(-1)
    pi = torch.softmax(z, -1).gather(-1, order)
    up_to = pi.cumsum(-1)
    chance = up_to**k - (up_to - pi).clamp(min=0) ** k
    return torch.zeros_like(chance).scatter(-1, order, chance)


def served_without(z: Tensor, f: Tensor, k: int) -> Tensor:
    """The same, drawn without replacement.

    Give each item an exponential clock of rate pi; the k that ring first are a Plackett-Luce draw.
    G is the chance that the k-th of the less liked rings before the first of the better ones, whose
    clocks together have the rate W. With u = exp(-W t), G is the mean over u in (0, 1) of the
    chance that k of the less liked rang, each with probability 1 - u^(pi / W).
    """
    order = f.argsort(-1)
    pi = torch.softmax(z, -1).gather(-1, order)
    n = pi.shape[-1]
    points, weights = (torch.tensor(each) for each in np.polynomial.legendre.leggauss(N_POINTS))
    log_u = torch.log((points + 1) / 2)
    better = pi.flip(-1).cumsum(-1).flip(-1) - pi
    ring = -torch.expm1(log_u * (pi[:, None, :] / better[:, :-1, None])[..., None])
    counts = [torch.ones_like(ring[:, :, 0])] + [torch.zeros_like(ring[:, :, 0])] * k
    for item in range(n - 1):  # only into sets that have the item
        has = (torch.arange(n - 1) >= item).double()[None, :, None]
        p = ring[:, :, item] * has
        inner = [counts[c] * (1 - p) + (counts[c - 1] * p if c else 0) for c in range(k)]
        counts = [*inner, counts[k] + counts[k - 1] * p]
    up_to = torch.cat([(counts[k] * weights / 2).sum(-1), torch.ones_like(pi[:, :1])], -1)
    chance = torch.diff(up_to, dim=-1, prepend=torch.zeros_like(pi[:, :1]))
    return torch.zeros_like(chance).scatter(-1, order, chance)


EXACT = {"with": served_with, "without": served_without}


def jacobian(chance: Tensor, z: Tensor) -> Tensor:
    """The slopes of each item's chance by each score: (n, items, items)."""
    rows = [
        torch.autograd.grad(chance[:, a].sum(), z, retain_graph=True)[0]
        for a in range(chance.shape[1])
    ]
    return torch.stack(rows, 1)


def paid(log_chance: Any, z: Tensor, f: Tensor, k: int) -> Tensor:
    """The gradient that a click on each item pays: (n, items, items)."""
    n, items = z.shape
    rows = z.detach()[:, None, :].expand(n, items, items).clone().requires_grad_()
    a = torch.arange(items).expand(n, items)
    proposals = torch.zeros(n, items, k, dtype=torch.long)  # only their number is read
    log_chance(rows, proposals, a, f[:, None, :].expand_as(rows)).sum().backward()
    return rows.grad


def compared(mean: Tensor, square: Tensor, truth: Tensor) -> dict[str, float]:
    """Bias, noise and direction of gradients with some mean and mean square, one a context."""
    scale = (truth**2).sum(-1).mean().sqrt()
    spread = square - (mean**2).sum(-1)
    return {
        "bias": float(((mean - truth) ** 2).sum(-1).mean().sqrt() / scale),
        "noise": float(spread.mean().sqrt() / scale),
        "cosine": float(torch.cosine_similarity(mean, truth, dim=-1).mean()),
    }


@dataclass(frozen=True)
class StageGradientsCell:
    """A ranker, how many proposals it gets, and whether they are drawn `with` replacement."""

    ranker: str
    replacement: str
    n_proposals: int

    results: ClassVar[tuple[str, ...]] = ("gradient", "bias", "noise", "cosine")

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.ranker:<6} {self.replacement:<8} {self.n_proposals:>3} proposals"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return n_seeds * (1 + self.n_proposals * (self.replacement == "without"))

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Compare what one visitor's click pays with the gradient of the value.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, some of its visitors, and a retriever that half knows them.

        Returns
        -------
        list of dict
            One row a gradient: the settings and ``seed``; ``gradient``; its ``bias``, exact, and
            its ``noise``, the standard deviation for one visitor, both as root mean squares over
            the visitors and in units of that of the true gradient; the ``cosine`` of its mean with
            the true one, mean over the visitors; ``seconds``.
        """
        rows = []
        for seed in seeds:
            start = time.perf_counter()
            moments = self._moments(seed)
            seconds = (time.perf_counter() - start) / len(moments)
            for gradient, found in moments.items():
                row = {**self.settings, "seed": seed, "gradient": gradient}
                rows.append({**row, **found, "seconds": seconds})
        return rows

    def _moments(self, seed: int) -> dict[str, dict[str, float]]:
        world, generator = world_of(seed), torch.Generator().manual_seed(seed)
        q_numpy = world.expected_reward(world.eval_context[:N_CONTEXTS])
        q = torch.tensor(q_numpy).double()
        f = torch.tensor(ranker_scores(q_numpy, self.ranker)).double()
        noise = torch.randn(q.shape, generator=generator, dtype=torch.float64)
        z = (torch.logit(q) / 2 + noise).requires_grad_()
        chance = EXACT[self.replacement](z, f, self.n_proposals)
        slopes = jacobian(chance, z)
        chance = chance.detach()
        truth = (q[..., None] * slopes).sum(1)
        clicked = (chance * q)[..., None]
        proposed = {"with": proposed_drawn, "without": proposed_ordered}[self.replacement]
        pays = {
            "credit": paid(proposed, z, f, self.n_proposals),
            "served": paid(served, z, f, self.n_proposals),
            "served, exact": slopes / chance.clamp(min=1e-300)[..., None],
        }
        square = self._vanilla(z.detach(), q, f, generator)
        found = {"vanilla": compared(truth, square, truth)}
        for name, each in pays.items():
            mean, square = (clicked * each).sum(1), (clicked * each**2).sum((1, 2))
            found[name] = compared(mean, square, truth)
        return found

    def _vanilla(self, z: Tensor, q: Tensor, f: Tensor, generator: torch.Generator) -> Tensor:
        """The mean square of what a visitor pays all proposals, from draws: (contexts,)."""
        many = z.expand(N_DRAWS, *z.shape).clone().requires_grad_()
        uniform = torch.rand(many.shape, generator=generator, dtype=torch.float64)
        items = DRAWS[self.replacement](
            many.detach(), self.n_proposals, uniform.clamp(1e-12, 1 - 1e-12)
        )
        a = shown(items, f.expand_as(many))
        log_chance = {"with": all_drawn, "without": all_ordered}[self.replacement]
        log_chance(many, items, a, f).sum().backward()
        chance = q.expand_as(many).gather(-1, a[..., None])[..., 0]
        return (chance * (many.grad**2).sum(-1)).mean(0)
