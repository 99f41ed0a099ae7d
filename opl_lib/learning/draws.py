"""Random numbers for steps: drawn on the processor, some steps ahead, and moved at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Steps that are drawn ahead, if they take no more numbers than these.
_STEPS_AHEAD = 64
_MAX_AHEAD = 2**20

Draw = Callable[[int, torch.Generator], Tensor]


class Draws:
    """Random numbers of K models, on a device.

    They are those that each step would draw from the generators for itself: the same on every
    device, and a step waits for none.

    Parameters
    ----------
    generators : sequence of K torch.Generator
        Each model's own, on the processor.
    device : torch.device
    """

    def __init__(
        self, generators: Sequence[torch.Generator], device: torch.device | str = "cpu"
    ) -> None:
        self.generators, self.device = generators, torch.device(device)
        self._kind: tuple = ()
        self._ahead: Tensor | None = None
        self._before: list[Tensor] = []
        self._draw: Draw = _integers(1, 1)
        self._used = 0

    def integers(self, bound: int, size: int) -> Tensor:
        """Whole numbers from 0 to bound − 1, (K, size)."""
        return self._next(("integers", bound, size), _integers(bound, size), size)

    def uniform(self, size: int) -> Tensor:
        """Numbers in [0, 1) in double precision, where the device has that: (K, size)."""
        return self._next(("uniform", size), _uniform(size), size)

    def state(self) -> list[Tensor]:
        """What each generator goes on from after the steps so far."""
        if self._ahead is None:
            return [generator.get_state() for generator in self.generators]
        states = []
        for before in self._before:
            generator = torch.Generator(device="cpu").set_state(before)
            self._draw(self._used, generator)
            states.append(generator.get_state())
        return states

    def go_on(self, states: Sequence[Tensor]) -> None:
        """Draw on from the states of before."""
        self._ahead = None
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)

    def _next(self, kind: tuple, draw: Draw, size: int) -> Tensor:
        if self._ahead is None or kind != self._kind or self._used == len(self._ahead):
            self.go_on(self.state())  # what was drawn ahead for another kind is drawn again
            n_steps = min(_STEPS_AHEAD, _MAX_AHEAD // (size * len(self.generators)))
            self._kind, self._draw, self._used = kind, draw, 0
            self._before = [generator.get_state() for generator in self.generators]
            drawn = [draw(max(n_steps, 1), generator) for generator in self.generators]
            ahead = torch.stack(drawn, dim=1)
            if self.device.type == "mps" and ahead.is_floating_point():
                ahead = ahead.float()
            self._ahead = ahead.to(self.device)
        self._used += 1
        return self._ahead[self._used - 1]


def _integers(bound: int, size: int) -> Draw:
    return lambda n_steps, generator: torch.randint(
        bound, (n_steps, size), generator=generator, device="cpu"
    )


def _uniform(size: int) -> Draw:
    return lambda n_steps, generator: torch.rand(
        n_steps, size, generator=generator, dtype=torch.float64, device="cpu"
    )
