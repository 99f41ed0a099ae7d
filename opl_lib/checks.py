"""Checks of settings, with errors that name the cure, and warnings at the caller's line."""

from __future__ import annotations

import functools
import importlib
import math
import sys
import warnings
from collections.abc import Callable, Iterable
from fractions import Fraction
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np

_P = ParamSpec("_P")
_R = TypeVar("_R")

# A feature is far from unit scale if its mean or standard deviation is above the one, or its
# largest value below the other.
_MAX_SCALE, _MIN_SCALE = 10, 0.01
# Scores are single-precision numbers: divided by less than this they could be infinite.
MIN_TEMPERATURE = 1e-38
# The largest seed that numpy, torch and scikit-learn all take.
MAX_SEED = 2**32 - 1


def check_number(
    name: str,
    value: Any,
    kind: type = Real,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    finite: bool = True,
) -> None:
    """Raise unless `value` is a number of a kind and within bounds, and finite if that is asked."""
    bounds, number = [], value
    allowed = isinstance(value, kind) and not isinstance(value, bool | Fraction)
    allowed = allowed and value == value
    if allowed and kind is not Integral:
        try:
            number = float(value)  # of 16 bits it could not be compared with the bounds
            allowed = math.isfinite(number) or not finite
        except OverflowError:  # an integer beyond the largest float
            allowed = False
    if least is not None:
        bounds.append(f"of at least {least}")
        allowed = allowed and number >= least
    if above is not None:
        bounds.append(f"above {above}")
        allowed = allowed and number > above
    if most is not None:
        bounds.append(f"at most {most}")
        allowed = allowed and number <= most
    if not allowed:
        what = "an integer" if kind is Integral else "a finite number" if finite else "a number"
        raise ValueError(
            f"{name} must be {what} {' and '.join(bounds)}".rstrip() + f"; got {value!r}."
        )


def check_seed(value: Any, name: str = "random_state", optional: bool = False) -> None:
    """Raise unless `value` is a seed: an integer that every generator takes, or perhaps None."""
    if optional and value is None:
        return
    if isinstance(value, Integral) and int(value) > MAX_SEED:
        raise ValueError(
            f"{name} must be an integer of at most {MAX_SEED}; got {value}. Make one of it: "
            "int(numpy.random.SeedSequence(number).generate_state(1)[0])."
        )
    check_number(name, value, Integral, least=0)


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False; got {value!r}.")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise unless `value` is one of some names."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {known}; got {value!r}.")


def from_extra(module: str, extra: str, user: str) -> Any:
    """A module that comes with an extra; raise an error that names the extra if it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{user} needs {module}, which is not installed: pip install "opl-lib[{extra}]".'
        ) from error


def plain_arithmetic(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function calculate as numpy does by default, whatever the caller's `numpy.seterr`."""

    @functools.wraps(function)
    def calculate(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
            return function(*args, **kwargs)

    return calculate


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this package, however deep in it this is."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def warn_of_scale(feedbacks: Iterable[Any]) -> None:
    """Warn once of every log with features that towers learn badly from."""
    for log in {id(log): log for log in feedbacks}.values():
        for name in ("context", "action_context"):
            on_disk = name == "context"  # perhaps: then the first part says enough
            features = next(iter(log.chunks(name))) if on_disk else log.action_context
            mean = features.mean(axis=0, dtype=np.float64)
            spread = features.std(axis=0, dtype=np.float64)
            size, largest = np.maximum(np.abs(mean), spread), np.abs(features).max(axis=0)
            off = (size > _MAX_SCALE) | ((largest > 0) & (largest < _MIN_SCALE))
            if off.any():
                column = int(off.argmax() if size.max() <= _MAX_SCALE else size.argmax())
                side = "context_features" if name == "context" else "item_features"
                names = getattr(getattr(log, "columns", None), side, None)
                which = repr(names[column]) if names else column
                warn_user(
                    f"{name}, column {which} has mean {mean[column]:.3g} and standard deviation "
                    f"{spread[column]:.3g}. Towers learn badly from features far from unit scale: "
                    "standardise them, with the mean and standard deviation of the training log "
                    "for all logs."
                )
