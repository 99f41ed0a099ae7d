"""A formula of one's own is asked, so that torch can differentiate its value."""

from __future__ import annotations

import warnings
from collections.abc import Callable
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
