"""Where a run of fits is, as something that can be kept, and gone on from bit for bit."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .sampling import Head


class Place(NamedTuple):
    """How far a run has come.

    Attributes
    ----------
    epoch : int
        In progress, from 1.
    before : tensor
        The weights before it.
    values, sizes : list
        Of its batches so far: the objectives, and the rounds.
    """

    epoch: int
    before: Tensor
    values: list[Tensor]
    sizes: list[int]


def state_of(run: Any) -> dict[str, Any]:
    """All that a run needs to go on from here, on any device, in objects that nothing changes."""
    epoch, before, values, sizes = run.place
    moments, n_steps = run.optimizer.state
    values = list(torch.stack(values).cpu()) if values else []
    return {
        "place": (epoch, _kept(before), values, list(sizes)),
        "orders": list(run.at_start),
        "generators": [*run.draws.state(), *(g.get_state() for g in run.looks)],
        "own_draws": None if run.own_draws is None else run.own_draws.state(),
        "head": run.head and Head(*map(_kept, run.head)),
        "weights": _kept(run.stack.flat.weights),
        "optimizer": ([_kept(each) for each in moments], _kept(n_steps)),
        "fits": [_of_fit(fit) for fit in run.fits],
    }


def restore(run: Any, state: dict[str, Any]) -> None:
    """Put a run where another one was."""
    epoch, before, values, sizes = state["place"]
    device = run.stack.flat.weights.device
    values = [value.to(device) for value in values]
    run.place = Place(epoch, before.to(device, copy=True), values, list(sizes))
    run.at_start, head = state["orders"], state["head"]
    run.head = head and Head(*(part.to(device) for part in head))
    n_fits = len(run.orders)
    run.draws.go_on(state["generators"][:n_fits])
    of_others = (*state["orders"], *state["generators"][n_fits:])
    for generator, its in zip((*run.orders, *run.looks), of_others, strict=True):
        generator.set_state(its)
    if run.own_draws is not None:
        run.own_draws.go_on(state["own_draws"])
    run.stack.flat.weights.copy_(state["weights"])
    moments, n_steps = run.optimizer.state
    its_moments, its_steps = state["optimizer"]
    for own, its in zip((*moments, n_steps), (*its_moments, its_steps), strict=True):
        own.copy_(its)
    for fit, its in zip(run.fits, state["fits"], strict=True):
        _restore_fit(fit, its)


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True)


def _of_fit(fit: Any) -> dict[str, Any]:
    callback = fit.callback
    return {
        "history": {name: list(values) for name, values in fit.history.items()},
        "error": fit.error,
        "ended": fit.ended,
        "buffers": [_kept(buffer) for buffer in fit.policy.towers.buffers()],
        "callback": callback.state_dict() if hasattr(callback, "state_dict") else None,
    }


def _restore_fit(fit: Any, state: dict[str, Any]) -> None:
    fit.history.clear()
    fit.history.update({name: list(values) for name, values in state["history"].items()})
    fit.error, fit.ended = state["error"], state["ended"]
    with torch.no_grad():
        for own, its in zip(fit.policy.towers.buffers(), state["buffers"], strict=True):
            own.copy_(its)
    if state["callback"] is not None:
        fit.callback.load_state_dict(state["callback"])
