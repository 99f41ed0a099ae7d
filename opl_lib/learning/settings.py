"""The settings that every fit of two towers has, in scikit-learn's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from numbers import Integral, Real
from typing import Any, Self

import numpy as np

from ..checks import check_number
from ..objectives import Objective, Regression, get_objective
from ..policies.towers import TwoTower


@dataclass(eq=False)
class TwoTowerSettings:
    """What learners and regressors of two towers share; see `OffPolicyLearner` for the meaning."""

    objective: str | Objective | Regression
    _: KW_ONLY
    epochs: int = 10
    batch_size: int = 200
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    temperature: float = 1.0
    hidden: Sequence[int] = (100, 100, 100)
    dim_embedding: int = 100
    towers: TwoTower | None = None
    shuffle: bool = True
    progress: bool | None = None
    random_state: int = 0

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ValueError at the first setting that is out of range."""
        if self.objective != "auto":
            get_objective(self.objective)
        for name in ("epochs", "batch_size", "dim_embedding"):
            check_number(name, getattr(self, name), Integral, least=1)
        if not isinstance(self.hidden, Sequence | np.ndarray):
            raise ValueError(f"hidden must be a sequence of integers; got {self.hidden!r}.")
        for layer, width in enumerate(self.hidden):
            check_number(f"hidden[{layer}]", width, Integral, least=1)
        check_number("random_state", self.random_state, Integral, least=0)
        check_number("learning_rate", self.learning_rate, Real, above=0)
        check_number("temperature", self.temperature, Real, above=0)
        check_number("weight_decay", self.weight_decay, Real, least=0)
        if self.shuffle not in (True, False):
            raise ValueError(f"shuffle must be True or False; got {self.shuffle!r}.")
        if self.progress not in (True, False, None):
            raise ValueError(f"progress must be True, False or None; got {self.progress!r}.")
        if self.towers is not None and not isinstance(self.towers, TwoTower):
            raise ValueError(
                f"towers must be a TwoTower or None; got {type(self.towers).__name__}."
            )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name, as scikit-learn does (`deep` changes nothing)."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def set_params(self, **params: Any) -> Self:
        """Change settings by name and return the learner; bad settings change nothing."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"{name!r} is not a setting; the settings are {sorted(known)}.")
        type(self)(**{**known, **params})
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def forget(self) -> None:
        """Check the settings, which may have changed, and clear what an earlier fit learned."""
        self.check()
        for name in vars(self).keys() - self.get_params().keys():
            if name.endswith("_"):
                delattr(self, name)
