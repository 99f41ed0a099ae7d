"""A retriever that is paid by the log of its own proposals: four gradients for two stages.

Of the reward ``r`` of the item that a ranker shows out of ``K`` proposals, the *vanilla* gradient
pays all proposals together, *credit* the chance that the shown item is proposed at all (CA-PG), and
*served* the chance ``S`` that it is shown, which chapter 19 has as a formula.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from opl_lib.worlds.synthetic import SyntheticWorld

from .stage_pay import DRAWS, GRADIENTS, ranker_scores, shown

N_ITEMS, DIM, N_EVAL = 60, 10, 1_000  # the worlds of chapter 19
SIZE, BATCH, STEPS, N_VISITORS = 3, 100, 600, 3_000
LOOKED_AT = (30, 100, 300, STEPS)
RATES = (1e-2, 3e-2)
DEVELOPMENT, REPORTED = tuple(range(800, 804)), tuple(range(20))
RANKERS = ("plain", "house")
N_PROPOSALS = 10


def world_of(seed: int) -> SyntheticWorld:
    """A world of chapter 19."""
    return SyntheticWorld(N_ITEMS, DIM, DIM, n_eval_contexts=N_EVAL, random_state=seed, scale=2.0)


class Towers:
    """Linear towers of several worlds, learned at once."""

    def __init__(self, worlds: list[SyntheticWorld], generators: list[torch.Generator]) -> None:
        items = np.stack([world.action_context for world in worlds])
        self.items = torch.cat([torch.ones(*items.shape[:2], 1), torch.tensor(items)], -1).double()
        shape = (DIM + 1, SIZE)
        both = [torch.randn(2, *shape, generator=g, dtype=torch.float64) for g in generators]
        self.weights = (torch.stack(both) / np.sqrt(DIM + 1)).requires_grad_()

    def __call__(self, x: Tensor) -> Tensor:
        x = torch.cat([torch.ones_like(x[..., :1]), x], -1)
        user, item = x @ self.weights[:, 0], self.items @ self.weights[:, 1]
        return user @ item.transpose(1, 2)


@dataclass(frozen=True)
class Site:
    """Visitors of several worlds, the truth about them, and what a ranker thinks."""

    x: Tensor
    q: Tensor
    f: Tensor

    @classmethod
    def of(cls, worlds: list[SyntheticWorld], x: Tensor, ranker: str) -> Site:
        q = np.stack([w.expected_reward(rows) for w, rows in zip(worlds, x.numpy(), strict=True)])
        return cls(x, torch.tensor(q).double(), torch.tensor(ranker_scores(q, ranker)).double())


@dataclass(frozen=True)
class StagesCell:
    """A gradient with a learning rate, behind a ranker; proposals `with` replacement or not."""

    gradient: str
    ranker: str
    replacement: str
    learning_rate: float

    results: ClassVar[tuple[str, ...]] = (
        *(f"value_{step}" for step in LOOKED_AT),
        *("top_k_value", "ranker_alone", "uniform", "best_constant_item", "optimum"),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.gradient:<18} {self.ranker:<6} {self.replacement:<8} {self.learning_rate:g}"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return n_seeds

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Learn from clicks on what the two stages show, and look at the truth on the way.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a world, the first weights, the visitors, the draws and the clicks.

        Returns
        -------
        list of dict
            The settings and ``seed``; the true value of the two stages, with proposals drawn, after
            some numbers of steps, and at the end with the K largest scores proposed; what the
            ranker earns alone; the reference values; ``seconds``.
        """
        start = time.perf_counter()
        worlds = [world_of(seed) for seed in seeds]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        visitors = _per_world(generators, torch.randn, N_VISITORS, DIM)
        site = Site.of(worlds, visitors, self.ranker)
        judged = torch.tensor(np.stack([world.eval_context for world in worlds])).double()
        judged_site = Site.of(worlds, judged, self.ranker)
        towers = Towers(worlds, generators)
        optimizer = torch.optim.Adam([towers.weights], lr=self.learning_rate)
        values: dict[str, list[float]] = {}
        for step in range(1, STEPS + 1):
            optimizer.zero_grad()
            (-self._gain(towers, site, generators)).backward()
            optimizer.step()
            if step in LOOKED_AT:
                values[f"value_{step}"] = self._values(towers, judged_site, drawn=True)
        values["top_k_value"] = self._values(towers, judged_site, drawn=False)
        alone = _earned(judged_site, judged_site.f.argmax(-1))
        seconds = (time.perf_counter() - start) / len(seeds)
        return [
            {
                **self.settings,
                "seed": seed,
                **{name: each[number] for name, each in values.items()},
                "ranker_alone": alone[number],
                **{name: worlds[number].reference_values()[name] for name in self.results[-3:]},
                "seconds": seconds,
            }
            for number, seed in enumerate(seeds)
        ]

    def _gain(self, towers: Towers, site: Site, generators: list[torch.Generator]) -> Tensor:
        """What has the gradient of this cell, on a batch of visitors of each world."""
        rows = torch.stack([torch.randint(N_VISITORS, (BATCH,), generator=g) for g in generators])
        batch = Site(*(_rows(each, rows) for each in (site.x, site.q, site.f)))
        z = towers(batch.x)
        uniform = _per_world(generators, torch.rand, BATCH, N_ITEMS).clamp(1e-12, 1 - 1e-12)
        items = DRAWS[self.replacement](z.detach(), N_PROPOSALS, uniform)
        a = shown(items, batch.f)
        chance = batch.q.gather(-1, a[..., None])[..., 0]
        reward = (_per_world(generators, torch.rand, BATCH) < chance).double()
        log_chances, with_baseline = GRADIENTS[self.gradient]
        if with_baseline:  # the mean of the other visitors
            reward = reward - (reward.sum(-1, keepdim=True) - reward) / (BATCH - 1)
        return (reward * log_chances[self.replacement](z, items, a, batch.f)).mean(-1).sum()

    def _values(self, towers: Towers, site: Site, drawn: bool) -> list[float]:
        with torch.no_grad():
            z = towers(site.x)
        if drawn:
            generator = torch.Generator().manual_seed(0)
            uniform = torch.rand(z.shape[1:], generator=generator, dtype=torch.float64)
            uniform = uniform.clamp(1e-12, 1 - 1e-12).expand_as(z)
            items = DRAWS[self.replacement](z, N_PROPOSALS, uniform)
        else:
            items = z.topk(N_PROPOSALS, dim=-1).indices
        return _earned(site, shown(items, site.f))


def _earned(site: Site, a: Tensor) -> list[float]:
    return site.q.gather(-1, a[..., None]).mean((1, 2)).tolist()


def _rows(table: Tensor, rows: Tensor) -> Tensor:
    return table.gather(1, rows[..., None].expand(-1, -1, table.shape[-1]))


def _per_world(
    generators: list[torch.Generator], draw: Callable[..., Tensor], *shape: int
) -> Tensor:
    return torch.stack([draw(*shape, generator=g, dtype=torch.float64) for g in generators])


def stages_cells() -> tuple[StagesCell, ...]:
    """Every gradient with every learning rate, behind both rankers, for both ways to draw."""
    return tuple(
        StagesCell(gradient, ranker, replacement, rate)
        for gradient in GRADIENTS
        for ranker in RANKERS
        for replacement in DRAWS
        for rate in RATES
    )
