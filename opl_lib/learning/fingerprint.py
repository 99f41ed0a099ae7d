"""What something is, as a short text: equal for equal settings and logs, in any process."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..logs.feedback import BanditFeedback
from ..logs.on_disk import LogOnDisk
from .params import Params


def fingerprint(value: Any) -> str:
    """A number or a short text as it is; else a hash of the content."""
    said = "".join(_said(value, ()))
    return said if len(said) <= 60 else hashlib.sha256(said.encode()).hexdigest()[:16]


def fingerprints(value: Any) -> dict[str, str]:
    """The settings of a learner, each by its name."""
    settings = _settings(value) if isinstance(value, Params) else {"it": value}
    settings = {name: v for name, v in settings.items() if name != "progress"}
    return {"class": type(value).__name__} | {n: fingerprint(v) for n, v in settings.items()}


def _said(value: Any, within: tuple[int, ...]) -> list[str]:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return [repr(value)]
    if id(value) in within:
        return ["…"]
    within = (*within, id(value))
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, LogOnDisk):
        return [f"log {value.checksum}"]
    if isinstance(value, np.ndarray):
        return _of_array(value, within)
    if isinstance(value, Tensor):
        return _of_array(value.detach().cpu().numpy(), within)
    if isinstance(value, BanditFeedback):
        parts: Any = {field: getattr(value, field) for field in value.__dataclass_fields__}
    elif isinstance(value, nn.Module):
        parts = [[*map(repr, value.modules())][:1], dict(value.state_dict())]
    elif isinstance(value, Mapping):
        parts = [[key, value[key]] for key in value]
    elif isinstance(value, Sequence):
        return ["[", *(part for each in value for part in [*_said(each, within), ","]), "]"]
    elif isinstance(value, Set):
        parts = sorted(fingerprint(each) for each in value)
    elif isinstance(value, functools.partial):
        parts = [value.func, value.args, value.keywords]
    elif isinstance(value, type) or hasattr(value, "__code__"):
        code = getattr(value, "__code__", None)
        cells = getattr(value, "__closure__", None) or ()
        name = f"{value.__module__}.{value.__qualname__}"
        parts = [code and code.co_code, [cell.cell_contents for cell in cells]]
    else:
        settings = _settings(value) if isinstance(value, Params) else vars_of(value)
        parts = [[key, settings[key]] for key in sorted(settings)]
    return [name, *_said(parts, within)]


def _settings(value: Params) -> dict[str, Any]:
    """Without the device: a fit goes on wherever it is."""
    return {name: v for name, v in value.get_params().items() if name != "device"}


def vars_of(value: Any) -> dict[str, Any]:
    """The attributes of an object; none of one that keeps them to itself."""
    return dict(getattr(value, "__dict__", {}))


def _of_array(array: np.ndarray, within: tuple[int, ...]) -> list[str]:
    if array.dtype.kind == "O":
        return _said(array.tolist(), within)
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return [f"{array.dtype.str}{array.shape}{content}"]
