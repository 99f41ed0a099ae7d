"""Objectives by their names and by their settings."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import wraps
from numbers import Integral, Real
from typing import Any

from ..checks import check_number
from .base import SMALLEST, Formula, Found, Objective

# The library's formulas by their names, with their default settings.
OBJECTIVES: dict[str, Formula] = {}


def objective(**about: Any) -> Callable[[Callable[..., Found]], Objective]:
    """Decorate a formula without settings: it becomes an `Objective`, found by its name."""
    return lambda function: register(Objective(function, batched=True, **about))


def register(formula: Any) -> Any:
    """Let a formula be found by its function's name, and documented as its function is."""
    function = OBJECTIVES.setdefault(formula.name, formula).function
    for name in ("__doc__", "__module__", "__name__"):
        object.__setattr__(formula, name, getattr(function, name))
    object.__setattr__(formula, "__wrapped__", function)
    function.__qualname__ += ".function"  # where pickle finds it
    return formula


def objective_of_settings(
    limits: Mapping[str, Mapping[str, Any]], **about: Any
) -> Callable[[Callable[..., Found]], Callable[..., Objective]]:
    """Decorate a formula with settings: it becomes a function of them that makes an `Objective`.

    `limits` says for each setting what `check_number` asks of it. If all have defaults, the name
    alone stands for the objective with these.
    """

    def decorate(function: Callable[..., Found]) -> Callable[..., Objective]:
        signature = inspect.signature(function)
        _, _, *parameters = signature.parameters.values()
        signature = signature.replace(parameters=parameters, return_annotation="Objective")

        @wraps(function)
        def make(*args: Any, **kwargs: Any) -> Objective:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            for name, limit in limits.items():
                bound.arguments[name] = setting(name, bound.arguments[name], **limit)
            return Objective(function, bound.arguments, batched=True, **about)

        make.__signature__, make.function = signature, function  # type: ignore[attr-defined]
        function.__qualname__ += ".function"  # where pickle finds it
        if all(parameter.default is not parameter.empty for parameter in parameters):
            OBJECTIVES[function.__name__] = make()
        return make

    return decorate


def get_objective(objective: Any) -> Any:
    """Look up an objective or a regression by name, or wrap a function of one's own.

    Parameters
    ----------
    objective : str, Objective, Regression or callable
        A function is taken for an `Objective` that sees all items, one model at a time.

    Returns
    -------
    Objective or Regression

    Raises
    ------
    ValueError
        If it is none of these, or a function of the library that makes objectives of settings.
    """
    if isinstance(objective, Formula):
        return objective
    if isinstance(objective, str) and objective in OBJECTIVES:
        return OBJECTIVES[objective]
    if callable(objective) and not str(getattr(objective, "__module__", "")).startswith("opl_lib."):
        return Objective(objective)
    raise ValueError(
        f"objective must be one of {sorted(OBJECTIVES)}, an opl.Objective or a function of "
        f"(logits, batch); got {objective!r}. One with settings is made of them, "
        "for example opl.clipped_ips(max_weight=5) or opl.mips(cluster)."
    )


def setting(name: str, value: Any, *, kind: type = Real, **limits: Any) -> float:
    """A setting as a number of Python's; raise if it is out of range, or of single precision."""
    check_number(name, value, kind, **limits)
    number = int(value) if kind is Integral else float(value)
    if number != 0 and math.isfinite(number) and not SMALLEST <= abs(number) <= 1 / SMALLEST:
        raise ValueError(f"{name} must be a number of single precision; got {value!r}.")
    return number
