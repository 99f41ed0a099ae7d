"""Where towers calculate: on the processor, or on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

# How many devices of a kind this machine has.
_COUNTS: Mapping[str, Callable[[], int]] = {
    "cpu": lambda: 1,
    "cuda": lambda: torch.cuda.device_count() if torch.cuda.is_available() else 0,
    "mps": lambda: int(torch.backends.mps.is_available()),
}
_AUTOCAST = ("cpu", "cuda", "mps")
_CURE = "pass device='cpu', or device='auto', which takes a CUDA GPU only where there is one"


def find_device(device: Any) -> torch.device:
    """The device that is meant by ``"cpu"``, ``"auto"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    ``"auto"`` is a CUDA GPU if there is one, else the processor.

    Raises
    ------
    ValueError
        If it is no device, or not one of this machine.
    """
    found = _parsed(device)
    if found is None or found.type not in _COUNTS:
        raise ValueError(
            "device must be 'cpu', 'auto', 'cuda', 'cuda:1' for the second GPU, 'mps' or one of "
            f"these as a torch.device; got {device!r}."
        )
    count = _COUNTS[found.type]()
    if count == 0:
        built = " (this torch is built without CUDA)" if torch.version.cuda is None else ""
        built = built if found.type == "cuda" else ""
        raise ValueError(
            f"device is {str(device)!r}, and torch finds no such device here{built}: {_CURE}."
        )
    if (found.index or 0) >= count:
        last = f"{found.type}:{count - 1}"
        raise ValueError(f"device is {str(device)!r}, and the last one here is {last!r}: {_CURE}.")
    if found.type != "cuda":
        return torch.device(found.type)
    return torch.device("cuda", torch.cuda.current_device() if found.index is None else found.index)


def _parsed(device: Any) -> torch.device | None:
    if not isinstance(device, str | torch.device):
        return None
    if device == "auto":
        return torch.device("cuda" if _COUNTS["cuda"]() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        return None


def is_known(device: torch.device) -> bool:
    """Whether towers can calculate on devices of this kind."""
    return device.type in _COUNTS


def device_of(module: nn.Module) -> torch.device:
    """Where the weights of a module are; the processor if it has none."""
    weights = next(chain(module.parameters(), module.buffers()), None)
    return torch.device("cpu") if weights is None else weights.device


@contextmanager
def without_autocast() -> Iterator[None]:
    """Calculate in full precision on every device, whatever the caller has set."""
    with ExitStack() as modes:
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        yield
