"""A formula of one's own: whether it is one, and asked so that torch can differentiate it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor


def is_pair(found: Any) -> bool:
    """Whether a formula has returned its value and its gradient."""
    return isinstance(found, tuple) and len(found) == 2


def ask_differentiably(
    function: Callable[[Tensor], Any], logits: Tensor, may_be_pair: bool
) -> tuple[Any, Tensor]:
    """What a function returns of logits that torch can differentiate in, and these.

    They are the logits themselves, if somebody differentiates in them already.
    """
    inputs = logits
    if not (logits.requires_grad and torch.is_grad_enabled()):
        inputs = logits.detach().requires_grad_()
    try:
        with torch.enable_grad(), warnings.catch_warnings() if may_be_pair else nullcontext():
            if may_be_pair:  # one that gives its gradient may well take numbers out of tensors
                warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")
            return function(inputs), inputs
    except RuntimeError as error:
        # one that calculates with numpy, or in place, has to give its gradient itself
        if "requires grad" not in str(error) or not may_be_pair or inputs is logits:
            raise
        found = function(logits)
        if not is_pair(found):
            raise
        return found, inputs


def check_formula(function: Any, settings: Mapping[str, Any]) -> None:
    """Raise unless a function takes logits, a batch and some settings."""
    what = "function must be a formula (logits, batch) -> value, or -> (value, gradient)"
    if isinstance(function, type):
        raise TypeError(f"{what}; got the class {function.__name__}: make an object of it first.")
    if not callable(function):
        raise TypeError(f"{what}; got {function!r}.")
    try:
        inspect.signature(function).bind(None, None, **settings)
    except TypeError as error:
        taken = ", ".join(["logits", "batch", *settings])
        raise TypeError(f"{what}; {function!r} does not take ({taken}): {error}.") from error
    except ValueError:  # it is compiled, and does not say
        return
