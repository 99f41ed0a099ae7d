"""Towers, with the columns of their tables, as ONNX graphs that run without Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..checks import check_choice, from_extra
from ..files import as_path, write_atomically
from ..logs.encoders import Categories, Dates, Encoder, Numbers
from .known_items import KnownItems
from .towers import SideBySide
from .two_tower import TwoTowerPolicy

_ACTIVATIONS = {nn.ELU: "Elu", nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.Identity: "Identity"}
_SAME = 1e-6  # features that a known item is recognised by differ by less, whoever computes them


def export_onnx(policy: TwoTowerPolicy, path: str | Path, tower: str) -> None:
    """Write one of the two towers, with its columns, as an ONNX graph.

    Parameters
    ----------
    policy : TwoTowerPolicy
        Of the towers that learners and `TwoTower.mlp` make, or others of ``Linear``, ``ELU``,
        ``ReLU``, ``Tanh`` and ``Identity`` in ``Sequential``.
    path : str or Path
    tower : {"context", "items"}

    Raises
    ------
    TypeError
        If `policy` is no `TwoTowerPolicy`, or a tower has another layer.
    OSError
        If the file cannot be written.
    ModuleNotFoundError
        Without onnx: ``pip install "opl-lib[onnx]"``.

    Notes
    -----
    The output ``embedding`` has shape (n, dim_embedding), in single precision, for any n: the score
    is the inner product of two. Of a policy without columns the input is ``features``, (n, width),
    in single precision. Of one with columns there is an input of shape (n,) for each, by its name:

    - a column of numbers in double precision, NaN where missing; durations in days, truths 0 and 1;
    - a date in double precision, in days since 1970 with fractions, in UTC if it has a time zone;
    - text as strings, ``""`` where missing. If rare values are hashed, another input, its name and
      ``: hashed``, of shape (n, 16) has what they are hashed to; zeros for frequent values. ONNX
      has no operator for that: `Columns.encode_context` and `Columns.encode_items` do it.

    Items with vectors of their own are found by comparing features with those of all that are
    known, which takes (n, n_known, width) numbers: embed many items in parts.

    Examples
    --------
    >>> import tempfile
    >>> import opl_lib as opl
    >>> policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, random_state=0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     opl.export_onnx(policy, f"{folder}/context.onnx", "context")
    """
    if not isinstance(policy, TwoTowerPolicy):
        raise TypeError(f"policy must be a TwoTowerPolicy; got {type(policy).__name__}.")
    check_choice("tower", tower, ("context", "items"))
    path, graph = as_path("path", path), _Graph()
    columns = policy.columns
    encoders = () if columns is None else columns.context if tower == "context" else columns.items
    if encoders:
        parts = [graph.encoded(each) for each in encoders]
        features = graph.single(graph.add("Concat", *parts, axis=1))
    else:
        features = graph.input("features", np.float32, None)
    towers = policy.towers
    module = towers.context_tower if tower == "context" else towers.action_tower
    write_atomically(path, graph.file(graph.module(module, features)))


class _Graph:
    """The nodes of a graph so far; values are known by their names."""

    def __init__(self) -> None:
        self.onnx = from_extra("onnx", "onnx", "export_onnx")
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.constants: list[Any] = []

    def input(self, name: str, dtype: Any, *shape: int | None) -> str:
        """A value that the caller gives, of shape (n, *shape)."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        shape_of_all = ["n", *("width" if size is None else size for size in shape)]
        self.inputs.append(self.onnx.helper.make_tensor_value_info(name, kind, shape_of_all))
        return name

    def constant(self, value: Any, dtype: Any = np.float64) -> str:
        name = f"constant {len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The value that an operator makes of others."""
        name = f"value {len(self.nodes)}"
        node = self.onnx.helper.make_node(operator, list(inputs), [name], **attributes)
        self.nodes.append(node)
        return name

    def single(self, value: str) -> str:
        return self.add("Cast", value, to=self.onnx.TensorProto.FLOAT)

    def double(self, value: str) -> str:
        return self.add("Cast", value, to=self.onnx.TensorProto.DOUBLE)

    def file(self, output: str) -> bytes:
        """The graph, whose output is a value."""
        helper = self.onnx.helper
        self.nodes.append(helper.make_node("Identity", [output], ["embedding"]))
        float32 = self.onnx.TensorProto.FLOAT
        outputs = [helper.make_tensor_value_info("embedding", float32, ["n", "dim_embedding"])]
        graph = helper.make_graph(self.nodes, "tower", self.inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        self.onnx.checker.check_model(model)
        return model.SerializeToString()

    # ---- towers

    def module(self, module: nn.Module, features: str) -> str:
        """What a module makes of features."""
        if isinstance(module, nn.Linear):
            weights = (module.weight,) if module.bias is None else (module.weight, module.bias)
            given = [self.constant(_array(each), np.float32) for each in weights]
            return self.add("Gemm", features, *given, transB=1)
        if isinstance(module, KnownItems):
            return self._known(module, features)
        if isinstance(module, SideBySide):
            return self.add("Concat", *(self.module(each, features) for each in module), axis=1)
        if isinstance(module, nn.Sequential):
            for each in module:
                features = self.module(each, features)
            return features
        if type(module) in _ACTIVATIONS:
            alpha = {"alpha": module.alpha} if isinstance(module, nn.ELU) else {}
            return self.add(_ACTIVATIONS[type(module)], features, **alpha)
        raise TypeError(
            f"policy: a tower has a layer {type(module).__name__}, which is not exported. Export "
            "it with torch.onnx.export, and its columns by hand."
        )

    def _known(self, module: KnownItems, features: str) -> str:
        """Embeddings plus the vectors of those items that are known."""
        embeddings = self.module(module.tower, features)
        known, own = _array(module.known), _array(module.own)
        spread = self.add("Unsqueeze", features, self.constant([1], np.int64))
        distance = self.add("Abs", self.add("Sub", spread, self.constant(known[None], np.float32)))
        limit = self.constant(_SAME * np.maximum(np.abs(known), 1)[None], np.float32)
        far = self.single(self.add("Greater", distance, limit))
        differs = self.add("ReduceMax", far, axes=[2], keepdims=0)
        is_known = self.add("Sub", self.constant(1, np.float32), differs)
        width = module.tower(module.known[:1]).shape[1]
        wide = np.pad(own, [(0, 0), (0, width - own.shape[1])])
        vectors = self.add("MatMul", is_known, self.constant(wide, np.float32))
        return self.add("Add", embeddings, vectors)

    # ---- columns

    def encoded(self, encoder: Encoder) -> str:
        """The features of a column, (n, width), in double precision."""
        name = str(encoder.name)
        if isinstance(encoder, Categories):
            return self._categories(encoder, name)
        values = self._column(self.input(name, np.float64))
        missing = self.add("IsNaN", values)
        filled = self.add("Where", missing, self.constant(encoder.mean), values)
        if isinstance(encoder, Numbers):
            made = [self._scaled(filled, encoder.shift, encoder.scale)]
        else:
            made = self._dates(encoder, filled, missing)
        if encoder.has_missing:
            made.append(self.double(missing))
        return self.add("Concat", *made, axis=1)

    def _dates(self, encoder: Dates, day: str, missing: str) -> list[str]:
        bounds = self.constant(encoder.earliest), self.constant(encoder.latest)
        made = [self._scaled(self.add("Clip", day, *bounds), encoder.mean, encoder.scale)]
        whole = self.add("Floor", day)
        week = self._scaled(whole, -3, 7)
        turns = (
            (encoder.has_weekdays, self.add("Sub", week, self.add("Floor", week))),
            (encoder.has_hours, self.add("Sub", day, whole)),
        )
        for has, share in turns:
            for quarter in (0, 0.25) if has else ():  # sine, and cosine a quarter earlier
                turned = self.add("Add", share, self.constant(quarter))
                angle = self.add("Mul", turned, self.constant(2 * np.pi))
                made.append(self.add("Where", missing, self.constant(0), self.add("Sin", angle)))
        return made

    def _categories(self, encoder: Categories, name: str) -> str:
        n_frequent = len(encoder.frequent)
        number = self.add(
            "LabelEncoder",
            self._column(self.input(name, object)),
            domain="ai.onnx.ml",
            keys_strings=list(encoder.frequent),
            values_int64s=list(range(n_frequent)),
            default_int64=-1,
        )
        places = self.constant(np.arange(n_frequent)[None], np.int64)
        is_it = self.double(self.add("Equal", number, places))
        if not encoder.n_hashed:
            return is_it
        hashed = self.input(f"{name}: hashed", np.float64, encoder.n_hashed)
        return self.add("Concat", is_it, hashed, axis=1)

    def _column(self, values: str) -> str:
        return self.add("Unsqueeze", values, self.constant([1], np.int64))

    def _scaled(self, values: str, shift: float, scale: float) -> str:
        shifted = self.add("Sub", values, self.constant(shift))
        return self.add("Div", shifted, self.constant(scale))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.numpy(force=True)
