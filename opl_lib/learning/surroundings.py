"""What a fit neither takes from its surroundings nor leaves there: torch's modes and its draws."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

# One for all threads, as the generator is that it guards.
_GLOBAL_GENERATOR = threading.RLock()


@contextmanager
def own_modes() -> Iterator[None]:
    """Train as torch does by default, on the processor, whatever modes the caller has set."""
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        modes.enter_context(torch.autocast("cpu", enabled=False))
        if torch.get_default_device().type != "cpu":
            modes.enter_context(torch.device("cpu"))
        yield


@contextmanager
def tiny_is_zero() -> Iterator[None]:
    """Take numbers below 1e-38, which are slow, for 0: a mode of this thread."""
    was_on = float(torch.tensor(1e-39, dtype=torch.float32) * 1) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


class OwnDraws:
    """A context in which torch's global generator is one of one's own, for towers that draw.

    It is shared by all threads: who enters waits until no other is in.
    """

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator(device="cpu").manual_seed(seed).get_state()
        self._is_in = False

    def state(self) -> torch.Tensor:
        """What the next draw would come from."""
        return torch.get_rng_state() if self._is_in else self._state

    def go_on(self, state: torch.Tensor) -> None:
        """Draw on from a state of before."""
        self._state = state

    def __enter__(self) -> None:
        _GLOBAL_GENERATOR.acquire()
        self._outside = torch.get_rng_state()
        torch.set_rng_state(self._state)
        self._is_in = True

    def __exit__(self, *error: object) -> None:
        self._state, self._is_in = torch.get_rng_state(), False
        torch.set_rng_state(self._outside)
        _GLOBAL_GENERATOR.release()
