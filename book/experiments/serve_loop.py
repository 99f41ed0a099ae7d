"""Learn, serve, log, learn: rounds of the loop of ``examples/serve``, over HTTP."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from .tables import RESULTS

N_ROUNDS = 3
QUANTITIES = ("value", "greedy", "clicks", "weight", "weight_se", "own_weight")


@dataclass(frozen=True)
class ServeLoopCell:
    """How many visitors a round has."""

    n_visitors: int

    results: ClassVar[tuple[str, ...]] = (
        *(f"{name}_{number}" for number in range(N_ROUNDS + 1) for name in QUANTITIES),
        *("logging", "uniform", "best_constant_item", "optimum"),
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The fields as they stand in the table."""
        return asdict(self)

    @property
    def title(self) -> str:
        """The cell, for people."""
        return f"{self.n_visitors} visitors a round"

    def cost(self, n_seeds: int) -> int:
        """About what the cell costs, relative to others."""
        return self.n_visitors * n_seeds // 100

    def run(self, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
        """Serve any item, then thrice what was learned of the service's own log.

        Parameters
        ----------
        seeds : tuple of int
            Each fixes a shop, its visitors and their clicks; what is drawn for them is not fixed.

        Returns
        -------
        list of dict
            The settings and ``seed``; of each round what `serve.loop.loop` says; the reference
            values; ``seconds``.
        """
        examples = str(RESULTS.parent / "examples")
        if examples not in sys.path:
            sys.path.insert(0, examples)
        from serve.loop import loop, shop

        rows = []
        for seed in seeds:
            start = time.perf_counter()
            row = {**self.settings, "seed": seed}
            with tempfile.TemporaryDirectory() as folder:
                for said in loop(Path(folder), N_ROUNDS, self.n_visitors, seed):
                    row |= {f"{name}_{said['round']}": said[name] for name in QUANTITIES}
            row |= shop(seed).reference_values()
            rows.append({**row, "seconds": time.perf_counter() - start})
        return rows
