"""A bilinear regression, and towers that learn what it leaves: what a learner is by default."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..logs.feedback import BanditFeedback
from ..objectives import Regression, get_objective
from ..objectives.regressions import mean_and_scale
from ..policies.known_items import KnownItems
from ..policies.towers import SideBySide, TwoTower
from ..policies.two_tower import TwoTowerPolicy
from .bilinear import LEAN, BilinearLearner
from .fit import Callback, Fit, StopFit, check_callback, new_policy, recorded
from .surroundings import own_modes

# Share of the units that only judge; updates without an improvement there after which a fit ends.
_HELD_OUT = 0.2
_PATIENCE = 500
_MIN_PATIENCE_EPOCHS = 2
# What the towers add is kept if it is so many standard errors above nothing on held-out rounds.
_CLEARLY = 2.0
_MIN_UNITS = 10
_REMEMBERED = ("epoch", "best_epoch", "best", "best_weights")


def start_rest(learner: Any, feedback: BanditFeedback, callback: Callback | None) -> Fit:
    """Fit the bilinear part, and make the towers ready to learn what it leaves."""
    check_callback(callback)
    objective = cast(Regression, get_objective("squared_error"))
    objective.check_log(feedback)
    bilinear = BilinearLearner().fit(feedback)
    can_split = len(feedback.units) >= _MIN_UNITS
    logs = feedback.split(_HELD_OUT, learner.random_state) if can_split else (feedback, feedback)
    _, scale = mean_and_scale(feedback.reward.astype(np.float64))
    unit = 2.0 ** round(math.log2(scale or 1.0))  # a power of two: dividing by it loses no bit
    to_fit, unseen = _without_bilinear(*logs, unit)
    own = new_policy(learner, feedback, True)
    if learner.towers is None:
        _say_nothing_yet(own.towers)
    fit = Fit(to_fit, own, objective, learner, link=objective.link(to_fit.reward))
    updates = math.ceil(to_fit.n_rounds / fit.settled.batch_size)
    patience = max(_MIN_PATIENCE_EPOCHS, round(_PATIENCE / updates))
    rest = _Rest(bilinear, fit, unseen, unit, learner.serving_temperature(True), patience, callback)
    fit.callback, fit.ended = rest, not can_split
    learner.objective_, learner.policy_, learner.history_ = objective, rest.policy, fit.history

    def finish() -> None:
        learner.policy_ = rest.best_policy()

    fit.finish = finish
    return fit


def _without_bilinear(
    to_fit: BanditFeedback, unseen: BanditFeedback, unit: float
) -> tuple[BanditFeedback, BanditFeedback]:
    """Both logs with what a bilinear regression on the first leaves of the rewards, in a unit."""
    bilinear = BilinearLearner().fit(to_fit)

    def left(log: BanditFeedback) -> BanditFeedback:
        reward = log.reward.astype(np.float64)
        return replace(log, reward=(reward - bilinear.predicted(log)) / unit)

    return left(to_fit), left(unseen)


@own_modes()
def _say_nothing_yet(towers: TwoTower) -> None:
    """Let all scores be 0: the last layer of one tower begins at 0, as in a residual network."""
    last = towers.context_tower[-1]  # type: ignore[index]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()


class _Rest:
    """The callback of the fit: judges the towers on held-out rounds, and keeps the best of them.

    The user's callback sees the policy of both parts.
    """

    def __init__(
        self,
        bilinear: BilinearLearner,
        fit: Fit,
        unseen: BanditFeedback,
        unit: float,
        temperature: float,
        patience: int,
        callback: Callback | None,
    ) -> None:
        assert fit.link is not None
        self.bilinear, self.fit, self.link, self.unseen = bilinear, fit, fit.link, unseen
        self.unit, self.temperature = unit, temperature
        self.patience, self.callback = patience, callback
        self.policy = self._of_both()
        self.epoch, self.best_epoch = -1, 0
        self.without = np.square(unseen.reward - self.link.mean)
        self.best, self.best_weights = self.without, self._weights()

    def __call__(self, own: TwoTowerPolicy) -> dict[str, float]:
        """Look at the towers of an epoch; end the fit if they no longer learn."""
        self.epoch += 1
        losses = np.square(self.unseen.reward - self._predicted(own))
        if losses.mean() < self.best.mean():
            self.best, self.best_epoch, self.best_weights = losses, self.epoch, self._weights()
        elif self.epoch >= self.best_epoch + self.patience:
            raise StopFit
        numbers = {"held_out": -float(losses.mean()) * self.unit * self.unit}
        if self.callback is not None:
            self._show(own.towers.state_dict())
            numbers |= recorded(self.callback(self.policy))
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, for a checkpoint."""
        return {name: getattr(self, name) for name in _REMEMBERED}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what another one remembered."""
        for name in _REMEMBERED:
            setattr(self, name, state[name])

    def best_policy(self) -> TwoTowerPolicy:
        """The policy of both parts, or of the first alone if the second is no clear gain."""
        gain = self.without - self.best
        if not gain.mean() > _CLEARLY * self.unseen.units.standard_error(gain):
            return self.bilinear.near_logging(LEAN, self.temperature).to(self.policy.device)
        self._show(self.best_weights)
        return self.policy

    def _predicted(self, own: TwoTowerPolicy) -> np.ndarray:
        u = own.embed_context(self.unseen.context)
        v = own.embed_items(self.unseen.action_context)[self.unseen.action]
        return self.link(torch.from_numpy(np.einsum("nd,nd->n", u, v))).numpy()

    @own_modes()
    def _of_both(self) -> TwoTowerPolicy:
        """Scores are in the towers' own unit; the temperature is in that of `near_logging`."""
        unit = (self.link.scale or 1.0) * self.unit
        spread = self.bilinear.spread_ or unit
        linear = self.bilinear.towers(spread / unit, LEAN)
        own = copy.deepcopy(self.fit.policy.towers).cpu()
        of_items = linear.action_tower
        known = of_items if isinstance(of_items, KnownItems) else None
        of_items = of_items if known is None else known.tower
        beside: nn.Module = SideBySide([*of_items.children(), own.action_tower])
        if known is not None:
            beside = KnownItems(beside, known.known, known.own)
        of_contexts = [*linear.context_tower.children(), own.context_tower]
        towers = TwoTower(SideBySide(of_contexts), beside)
        settings, alone = linear.mlp_settings, own.mlp_settings
        if settings is not None and alone is not None and "dim_linear" not in alone:
            towers.mlp_settings = {**alone, "dim_linear": settings["dim_embedding"]}
            if known is not None:
                towers.mlp_settings["n_known"] = settings["n_known"]
        columns, device = self.fit.policy.columns, self.fit.policy.device
        policy = TwoTowerPolicy(towers, self.temperature * spread / unit, columns, device)
        of_items = policy.towers.action_tower
        of_items = of_items.tower if isinstance(of_items, KnownItems) else of_items
        of_both = {"context_tower": policy.towers.context_tower, "action_tower": of_items}
        self.shown = {name: both[-1] for name, both in of_both.items()}  # type: ignore[index]
        return policy

    def _weights(self) -> dict[str, Tensor]:
        weights = self.fit.policy.towers.state_dict()
        return {name: w.detach().to("cpu", copy=True) for name, w in weights.items()}

    def _show(self, weights: Mapping[str, Tensor]) -> None:
        """Give the policy of both parts these weights of the towers."""
        for name, tower in self.shown.items():
            prefix = f"{name}."
            of_one = {key[len(prefix) :]: w for key, w in weights.items() if key.startswith(prefix)}
            tower.load_state_dict(of_one)
