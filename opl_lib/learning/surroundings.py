"""What a fit neither takes from its surroundings nor leaves there: torch's modes and its draws."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from ..devices import without_autocast

# One for all threads, as the generator is that it guards.
_GLOBAL_GENERATOR = threading.RLock()


@contextmanager
def own_modes() -> Iterator[None]:
    """Train as torch does by default, whatever modes and whichever device the caller has set."""
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        modes.enter_context(without_autocast())
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
    """A context in which torch's global generators are one's own, for towers that draw.

    They are that of the processor and that of a device, and shared by all threads: who enters waits
    until no other is in.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._generators: dict[str, tuple[Callable, Callable]] = {
            "cpu": (torch.get_rng_state, torch.set_rng_state)
        }
        if device.type == "cuda":
            own = partial(torch.cuda.get_rng_state, device)
            self._generators["cuda"] = own, partial(torch.cuda.set_rng_state, device=device)
        elif device.type == "mps":
            self._generators["mps"] = torch.mps.get_rng_state, torch.mps.set_rng_state
        self._state = {
            kind: torch.Generator(kind).manual_seed(seed).get_state() for kind in self._generators
        }
        self._is_in = False

    def state(self) -> dict[str, torch.Tensor]:
        """What the next draws would come from, by the kind of device."""
        return self._now() if self._is_in else self._state

    def go_on(self, state: Mapping[str, torch.Tensor]) -> None:
        """Draw on from a state of before; on another kind of device, from the seed."""
        self._state = {kind: state.get(kind, own) for kind, own in self._state.items()}

    def __enter__(self) -> None:
        _GLOBAL_GENERATOR.acquire()
        self._outside = self._now()
        self._set(self._state)
        self._is_in = True

    def __exit__(self, *error: object) -> None:
        self._state, self._is_in = self._now(), False
        self._set(self._outside)
        _GLOBAL_GENERATOR.release()

    def _now(self) -> dict[str, torch.Tensor]:
        return {kind: now() for kind, (now, _) in self._generators.items()}

    def _set(self, states: Mapping[str, torch.Tensor]) -> None:
        for kind, (_, put) in self._generators.items():
            put(states[kind])
