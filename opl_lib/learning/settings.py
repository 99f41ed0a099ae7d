"""The settings that every fit of two towers has, in scikit-learn's form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from numbers import Integral, Real

import numpy as np
import torch

from ..checks import MIN_TEMPERATURE, check_flag, check_number, check_seed
from ..devices import find_device
from ..objectives import Objective, Regression, get_objective
from ..policies.towers import TwoTower, check_towers
from .params import Params

# An update is what moves a policy: an epoch of a short log has few.
_MIN_EPOCHS = 10
_MIN_UPDATES = 1_000
REGRESSION_RATE = 1e-3
VALUE_RATE = 1e-4


@dataclass(eq=False)
class TwoTowerSettings(Params):
    """What learners and regressors of two towers share; see `OffPolicyLearner` for the meaning."""

    objective: str | Objective | Regression
    _: KW_ONLY
    epochs: int | None = None
    batch_size: int = 200
    learning_rate: float | None = None
    weight_decay: float = 0.0
    temperature: float | None = None
    hidden: Sequence[int] = (100, 100, 100)
    dim_embedding: int = 100
    towers: TwoTower | None = None
    shuffle: bool = True
    progress: bool | None = None
    random_state: int = 0
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ValueError or TypeError at the first setting that is out of range."""
        is_regression = isinstance(self.objective, str) and self.objective == "auto"
        if not is_regression:
            is_regression = isinstance(get_objective(self.objective), Regression)
        for name in ("epochs", "batch_size", "dim_embedding"):
            if name != "epochs" or self.epochs is not None:
                check_number(name, getattr(self, name), Integral, least=1)
        listed = isinstance(self.hidden, Sequence) and not isinstance(self.hidden, str | bytes)
        if not listed and not (isinstance(self.hidden, np.ndarray) and self.hidden.ndim == 1):
            raise ValueError(f"hidden must be a sequence of integers; got {self.hidden!r}.")
        for layer, width in enumerate(self.hidden):
            check_number(f"hidden[{layer}]", width, Integral, least=1)
        check_seed(self.random_state)
        if self.learning_rate is not None:
            check_number("learning_rate", self.learning_rate, above=0)
        check_number("weight_decay", self.weight_decay, least=0)
        if self.temperature is not None:
            self._check_temperature(is_regression)
        check_flag("shuffle", self.shuffle)
        if self.progress is not None:
            check_flag("progress", self.progress)
        if self.towers is not None:
            check_towers(self.towers)
        find_device(self.device)

    def _check_temperature(self, is_regression: bool) -> None:
        check_number("temperature", self.temperature, least=0)
        if self.temperature or not is_regression:
            check_number(
                *("temperature", self.temperature), least=MIN_TEMPERATURE, most=1 / MIN_TEMPERATURE
            )

    def for_fit(self, n_rounds: int, is_regression: bool) -> SettledSettings:
        """These settings with what was not given, in numbers of Python's.

        Those do not overflow as small integers do. Training a regression needs no temperature.
        """
        values = {each.name: getattr(self, each.name) for each in fields(TwoTowerSettings)}
        for name, value in values.items():
            if isinstance(value, Real) and not isinstance(value, bool):
                values[name] = int(value) if isinstance(value, Integral) else float(value)
        if values["epochs"] is None:
            n_batches = math.ceil(n_rounds / values["batch_size"])
            values["epochs"] = max(_MIN_EPOCHS, math.ceil(_MIN_UPDATES / n_batches))
        if values["learning_rate"] is None:
            values["learning_rate"] = REGRESSION_RATE if is_regression else VALUE_RATE
        values["temperature"] = values["temperature"] or 1.0
        return SettledSettings(**values)

    def serving_temperature(self, is_regression: bool) -> float:
        """Of `policy_`: a regression is served greedily unless told otherwise."""
        if self.temperature is None:
            return 0.0 if is_regression else 1.0
        return float(self.temperature)


@dataclass(eq=False)
class SettledSettings(TwoTowerSettings):
    """Settings of which none was left out."""

    epochs: int = _MIN_EPOCHS
    learning_rate: float = VALUE_RATE
    temperature: float = 1.0
