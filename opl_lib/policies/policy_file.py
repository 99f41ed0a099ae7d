"""The file of a two-tower policy: what is in it, and how it is told from a damaged one."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..files import write_atomically
from ..logs.columns import Columns
from ..logs.known_columns import from_text, to_text
from .known_items import KnownItems
from .towers import SideBySide, TwoTower, check_towers, mlp_widths

_Policy = TypeVar("_Policy")

_FORMAT = "opl_lib.TwoTowerPolicy 1"


def write_policy(path: Path, towers: TwoTower, temperature: float, columns: Columns | None) -> None:
    """Write towers, temperature and columns, whole or not at all."""
    check_towers(towers)
    weights = {name: _own(name, tensor) for name, tensor in towers.state_dict().items()}
    content = {
        "format": _FORMAT,
        "temperature": temperature,
        "mlp": towers.mlp_settings if _is_mlp(towers) else None,
        "weights": weights,
    }
    if columns is not None:
        content["columns"] = to_text(columns)
    content["sha256"] = _checksum(content)
    file = io.BytesIO()
    torch.save(content, file)
    write_atomically(path, file.getvalue())


def read_policy(
    path: Path, towers: TwoTower | None, make: Callable[[TwoTower, float, Columns | None], _Policy]
) -> _Policy:
    """Make a policy of a file; raise a ValueError unless it is what was written."""
    if towers is not None:
        check_towers(towers)
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise ValueError(f"{path} is {what}; a policy is loaded from the file that save wrote.")
    content = _read(path)
    weights, mlp = content["weights"], content["mlp"]
    if towers is None:
        if mlp is None:
            raise ValueError(
                f"{path} was saved from towers of your own: pass an untrained copy as towers=…"
            )
        # the file's own weights are compared with its settings before any memory is taken
        if not _fit_together(mlp, weights):
            raise _damaged(path, "its weights are not those of its settings")
        towers = TwoTower.mlp(**mlp, random_state=0)
    else:
        of_file, towers = _shapes(weights), copy.deepcopy(towers).cpu()
        if _shapes(towers.state_dict()) != of_file:
            towers = _beside_linear(towers, weights)
        if _shapes(towers.state_dict()) != of_file:
            raise ValueError(f"{path} holds the weights of other towers than these.")
    towers.load_state_dict(weights)
    try:
        return make(towers, content["temperature"], content.get("columns"))
    except ValueError as error:
        raise ValueError(f"the policy in {path} cannot be used: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    """What is in a file, if it is what was written."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        try:
            content = torch.load(file, weights_only=True, map_location="cpu")
            found = content["format"]
        except Exception as error:  # whatever a damaged file makes of its reader
            raise _damaged(path, "it cannot be read") from error
    if found != _FORMAT and str(found).startswith(_FORMAT.rpartition(" ")[0]):
        raise ValueError(
            f"{path} was written by TwoTowerPolicy.save of another version of opl_lib: it has the "
            f"format {found!r}, and this version reads {_FORMAT!r}. Save it again with this one."
        )
    try:
        right = _is_policy(content, size) and content["sha256"] == _checksum(content)
        if right and "columns" in content:
            content["columns"] = from_text(content["columns"])
    except Exception as error:
        raise _damaged(path, "its content cannot be read") from error
    if not right:
        raise _damaged(path, "its content is not that of its checksum")
    return content


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(
        f"{path} was not written by TwoTowerPolicy.save, or was damaged since: {why}. Save the "
        "policy again, or take another copy of the file."
    )


def _is_policy(content: dict[str, Any], size: int) -> bool:
    """Whether entries are of the right kinds, and take no more memory than the file itself."""
    mlp, weights = content["mlp"], content["weights"]
    return (
        content.keys() - {"columns"} == {"format", "temperature", "mlp", "weights", "sha256"}
        and type(content.get("columns", "")) is str
        and content["format"] == _FORMAT
        and type(content["temperature"]) is float
        and (mlp is None or _is_settings(mlp))
        and all(type(name) is str and _is_plain(tensor) for name, tensor in weights.items())
        and sum(tensor.nbytes for tensor in weights.values()) <= size
    )


def _is_settings(mlp: Any) -> bool:
    widths = [mlp[name] for name in mlp if name != "hidden"]
    return (
        mlp.keys() - {"dim_linear", "n_known"}
        == {"dim_context", "dim_action_context", "dim_embedding", "hidden"}
        and type(mlp["hidden"]) is list
        and all(type(width) is int for width in widths + mlp["hidden"])
        and mlp.get("dim_linear", 1) >= 1
        and mlp.get("n_known", 1) >= 1
    )


def _is_plain(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
    )


def _own(name: str, tensor: Any) -> Tensor:
    """A copy of a weight at its own size, without what torch.save cannot write plainly."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"towers: {name} is {type(tensor).__name__}, and only tensors are saved.")
    return tensor.detach().cpu().clone()


def _checksum(content: dict[str, Any]) -> str:
    names = ("format", "temperature", "mlp", *(["columns"] if "columns" in content else []))
    settings = [content[name] for name in names]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(content["weights"].items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_mlp(towers: TwoTower) -> bool:
    """Whether towers are still as `TwoTower.mlp` made them."""
    if towers.mlp_settings is None:
        return False
    made = TwoTower.mlp(**towers.mlp_settings, random_state=0)
    return all(
        repr(getattr(towers, name)) == repr(getattr(made, name))
        for name in ("context_tower", "action_tower")
    )


def _fit_together(mlp: dict[str, Any], weights: dict[str, Tensor]) -> bool:
    """Whether weights are those of fully connected layers of these widths."""
    widths, dim_linear, n_known = mlp_widths(mlp), mlp.get("dim_linear", 0), mlp.get("n_known", 0)
    n_layers = sum(len(of_one) - (0 if dim_linear else 1) for of_one in widths)
    if len(weights) != 2 * n_layers + (2 if n_known else 0):
        return False
    expected: dict[str, Any] = {}
    if n_known:
        expected["action_tower.known"] = n_known, mlp["dim_action_context"]
        expected["action_tower.own"] = n_known, dim_linear or mlp["dim_embedding"]
    for tower, of_one in zip(("context_tower", "action_tower"), widths, strict=True):
        layers = {f"{2 * layer}": pair for layer, pair in enumerate(pairwise(of_one))}
        if dim_linear:
            layers = {f"1.{name}": pair for name, pair in layers.items()}
            layers["0"] = of_one[0], dim_linear
        if n_known and tower == "action_tower":
            layers = {f"tower.{name}": pair for name, pair in layers.items()}
        for name, (width_in, width_out) in layers.items():
            expected[f"{tower}.{name}.weight"] = (width_out, width_in)
            expected[f"{tower}.{name}.bias"] = (width_out,)
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    return shapes == expected and all(w.dtype == torch.float32 for w in weights.values())


def _beside_linear(towers: TwoTower, weights: dict[str, Tensor]) -> TwoTower:
    """Towers beside linear ones, as the learner makes them by default, if a file holds such."""
    sides = []
    for name in ("context_tower", "action_tower"):
        known, own = weights.get(f"{name}.known"), weights.get(f"{name}.own")
        first = weights.get(f"{name}.0.weight" if own is None else f"{name}.tower.0.weight")
        if first is None or first.ndim != 2:
            return towers
        linear = nn.Linear(first.shape[1], first.shape[0])
        side: nn.Module = SideBySide([linear, getattr(towers, name)])
        sides.append(side if known is None or own is None else KnownItems(side, known, own))
    return TwoTower(*sides)


def _shapes(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: (tensor.dtype, tensor.shape) for name, tensor in weights.items()}
