"""The training loop: fits of a kind side by side. It knows towers, objective and steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from ..checks import plain_arithmetic
from ..progress import progress_bar
from .batches import StackedLog
from .checkpoints import Engine
from .draws import Draws
from .fit import Fit, what_failed
from .group import check_is_mean
from .inputs import Setup, StepInput
from .optimizer import FlatAdam, FlatWeights
from .places import Place, restore, state_of
from .sampling import Head, find_head, sampled
from .stacks import AutogradStack, stack_models
from .steps import exact, logged_only, streamed
from .surroundings import OwnDraws, own_modes, tiny_is_zero

# A stack encodes up to this many rows a step: beyond, its numbers leave the processor's cache.
_MAX_STACK_ROWS = 4096
_MAX_STACK = 64
# A small step on a GPU costs its launches, whatever the number of models.
_MAX_STACK_ROWS_ON_GPU = 2**20
_MAX_STACK_ON_GPU = 1024
# The head of a sampled softmax is found from this many contexts.
_HEAD_CONTEXTS = 64
_STEPS = {"logged": logged_only, "exact": exact, "streamed": streamed}


@plain_arithmetic
def train(fits: Sequence[Fit], engine: Engine | None = None, name: str = "fit") -> None:
    """Train fits, those of a kind side by side; one that failed says so in its `error`.

    What the engine keeps of them begins with a name.
    """
    engine, number = engine or Engine(), 0
    kinds: dict[tuple, list[Fit]] = {}
    for fit in fits:
        kinds.setdefault(fit.kind, []).append(fit)
    for alike in kinds.values():
        # Neighbours with one learning rate and weight decay share an update.
        alike.sort(key=lambda fit: (fit.settled.learning_rate, fit.settled.weight_decay))
        size = _stack_size(alike[0])
        for start in range(0, len(alike), size):
            _Run(alike[start : start + size], engine, f"{name} {number}").train()
            number += 1


def _stack_size(fit: Fit) -> int:
    most_rows, most = _MAX_STACK_ROWS, _MAX_STACK
    if fit.policy.device.type != "cpu":
        most_rows, most = _MAX_STACK_ROWS_ON_GPU, _MAX_STACK_ON_GPU
    return min(max(most_rows // fit.rows_encoded, 1), most)


class _Run:
    """One stack of fits in training."""

    @own_modes()
    def __init__(self, fits: Sequence[Fit], engine: Engine, name: str) -> None:
        self.engine, self.name = engine, name
        self.fits, self.settings, self.way = fits, fits[0].settled, fits[0].way
        device = fits[0].policy.device
        q_hats = [fit.q_hat for fit in fits if fit.q_hat is not None]
        logs = [fit.feedback for fit in fits]
        self.log = fits[0].own_log() or StackedLog(
            logs, q_hats or None, self.way == "logged", device
        )
        self.stack = stack_models([fit.policy.towers for fit in fits])
        of_fits = [fit.settled for fit in fits]
        rates, decays = [s.learning_rate for s in of_fits], [s.weight_decay for s in of_fits]
        self.optimizer = FlatAdam(self.stack.flat, rates, decays)
        temperature = torch.tensor([[[s.temperature]] for s in of_fits], dtype=torch.float32)
        offsets = torch.tensor([[fit.link.offset if fit.link else 0.0] for fit in fits])
        self.unit = _unit_of_each_weight(self.stack.flat, [fit.unit for fit in fits])
        self.setup = Setup(
            *(self.stack, fits[0].objective, self.log.action_context, temperature.to(device)),
            offsets.float().to(device),
        )
        self.orders, draws, self.looks = (
            [torch.Generator().manual_seed(s.random_state + k) for s in of_fits] for k in (0, 1, 2)
        )
        self.draws = Draws(draws, device)
        if self.way == "sampled" and self.log.sets is not None:
            _ = self.log.sets.lists  # made here, since a GPU is waited for
        draw = isinstance(self.stack, AutogradStack)  # perhaps, as dropout does
        self.own_draws = OwnDraws(self.settings.random_state, device) if draw else None
        self.head: Head | None = None
        self.place = Place(1, self.stack.flat.weights.clone(), [], [])
        self.at_start = self.orders_now()  # of the epoch

    def train(self) -> None:
        kept, group = self.engine.kept(self.name), self.engine.group
        if kept is not None:
            restore(self, kept)
        if group is not None:
            check_is_mean(self.setup.objective, self.log.n_actions)
        per_epoch = math.ceil(self.log.n_rounds / self.settings.batch_size)
        n_epochs = self.settings.epochs
        try:
            if kept is None:
                for fit in self.fits:
                    fit.call_back()
                self._agree()
            title, shown = self._title(), self.settings.progress
            with progress_bar(title, n_epochs * per_epoch, shown, "batch") as bar:
                bar.update((self.place.epoch - 1) * per_epoch + len(self.place.values))
                while self.place.epoch <= n_epochs and not all(fit.ended for fit in self.fits):
                    with own_modes(), tiny_is_zero(), self.own_draws or nullcontext():
                        values = self._climb(bar.update)
                    for fit, value in zip(self.fits, values, strict=True):
                        if not fit.ended:
                            fit.history["objective"].append(value)
                            fit.call_back()
                    self._agree()
                    self.place = Place(
                        self.place.epoch + 1, self.stack.flat.weights.clone(), [], []
                    )
                    self.at_start = self.orders_now()
                    self._keep()
            self._keep(done=True)
        finally:
            self._let_go()

    def _climb(self, update: Callable[[], object]) -> list[float]:
        """One epoch, or what is left of it; return the mean objective of each fit."""
        epoch, before, values, sizes = self.place
        take_step = self._step_of(epoch)
        self.stack.train()
        orders = self.orders if self.settings.shuffle else None
        batches = self.log.batches(
            self.settings.batch_size, orders, epoch, len(values), self.engine.processes
        )
        for step in batches:
            values.append(self.update(take_step, step))
            sizes.append(step.n_batch)
            update()
            self._keep()
        self.stack.train(False)
        of_batches = torch.stack(values).cpu()  # a GPU has been waited for here, and not before
        self._keep_what_is_finite(epoch, before, of_batches)
        share = torch.tensor(sizes, dtype=torch.float32) / self.log.n_rounds
        return [float(of_batches[:, number] @ share) for number in range(len(self.fits))]

    def update(self, take_step: Callable[[Setup, StepInput], Tensor], step: StepInput) -> Tensor:
        """Take one step with all models; return their objectives, which stay on the device."""
        value = take_step(self.setup, step)
        if self.engine.group is not None:
            value = self.engine.group.add(self.stack.flat.gradient, value, step.share)
        if self.unit is not None:
            self.stack.flat.gradient.div_(self.unit)
        self.optimizer.step()
        return value

    def orders_now(self) -> list[Tensor]:
        """What the generators of the orders would go on from."""
        return [generator.get_state() for generator in self.orders]

    def _keep(self, done: bool = False) -> None:
        self.engine.keep(self.name, lambda: state_of(self), done)

    def _agree(self) -> None:
        """Let all processes have the weights of the first, and end when it does."""
        if self.engine.group is None:
            return
        ended = [fit.ended for fit in self.fits]
        agreed = self.engine.group.agree(self.stack.flat.weights, ended)
        for fit, has_ended in zip(self.fits, agreed, strict=True):
            fit.ended = has_ended

    @own_modes()
    def _let_go(self) -> None:
        """Give each policy weights of its own, ready for use."""
        self.stack.train(False)
        for fit in self.fits:
            for parameter in fit.policy.towers.parameters():
                parameter.data, parameter.grad = parameter.data.clone(), None

    def _step_of(self, epoch: int) -> Callable[[Setup, StepInput], Tensor]:
        if self.way != "sampled":
            return _STEPS[self.way]
        n_sampled = self.fits[0].n_sampled
        at_start = not self.place.values
        if (
            at_start and (epoch - 1).bit_count() == 1
        ):  # the policy moves ever more slowly: after 1, 2, 4, 8, …
            contexts, eligible = self.log.look(self.looks, _HEAD_CONTEXTS)
            self.head = find_head(self.setup, contexts, n_sampled // 2, eligible)
        n_tail = n_sampled if self.head is None else n_sampled - n_sampled // 2
        return partial(sampled, n_sampled=n_tail, draws=self.draws, head=self.head)

    def _keep_what_is_finite(self, epoch: int, before: Tensor, values: Tensor) -> None:
        """Give fits that stopped being finite, or had ended, the weights from before the epoch."""
        flat = self.stack.flat
        weights_are = flat.are_finite().tolist()
        for number, fit in enumerate(self.fits):
            of_fit = values[:, number]
            finite = of_fit.isfinite().all() and weights_are[number]
            if not finite and not fit.ended:
                fit.error, fit.ended = what_failed(fit.objective, of_fit, epoch), True
            if fit.ended:
                own, old = (flat.of_models(v, number, number + 1) for v in (flat.weights, before))
                for part, good in zip(own, old, strict=True):
                    part.copy_(good)

    def _title(self) -> str:
        given = self.settings.objective
        name = f"fit {given}" if isinstance(given, str) and given != "auto" else "fit"
        return name if len(self.fits) == 1 else f"{name}, {len(self.fits)} models"


def _unit_of_each_weight(flat: FlatWeights, units: Sequence[float]) -> Tensor | None:
    """Give Adam, whose smallest step is absolute, gradients in the unit of the rewards."""
    if set(units) == {1}:
        return None
    unit = torch.empty_like(flat.weights)
    for number, of_model in enumerate(units):
        for part in flat.of_models(unit, number, number + 1):
            part.fill_(of_model)
    return unit
