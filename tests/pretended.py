"""A pretended GPU: tensors that say they are elsewhere, and whose numbers the processor calculates.

Torch has a kind of device without numbers, "meta"; here it has some. As on a GPU, an operation on
tensors of two devices is an error, and a number has to be fetched before Python can look at it.
While `strict` is on, nothing may be fetched or sent, and no operation may have to wait for numbers.
"""

from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from opl_lib import devices

ELSEWHERE = torch.device("meta")
aten = torch.ops.aten
# A GPU is waited for by what returns a number, or something whose size its numbers decide.
_WAITS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class MovedInAStep(AssertionError):
    """What a step must not do."""


class Elsewhere(torch.Tensor):
    """A tensor on the pretended device."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            *(cls, inner.shape, inner.stride(), inner.storage_offset()),
            dtype=inner.dtype,
            device=ELSEWHERE,
        )

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.numpy:
            if not kwargs.get("force"):
                raise TypeError("can't convert a tensor of another device to numpy")
            return args[0].cpu().numpy(force=True)
        if function is torch.Tensor.tolist:
            return args[0].cpu().tolist()
        with torch._C.DisableTorchFunctionSubclass():
            found = function(*args, **kwargs)
        if function == torch.Tensor.data.__set__:
            args[0].inner = args[1].inner
        return found

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError("a tensor of the pretended device has left its context")


class Pretended(TorchDispatchMode):
    """The context in which the device is there."""

    def __init__(self):
        super().__init__()
        self.strict, self.n_moves = False, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
        there = [t for t in tensors if isinstance(t, Elsewhere)]
        here = [t for t in tensors if not isinstance(t, Elsewhere)]
        assert not any(t.device == ELSEWHERE for t in here), "a tensor without numbers"
        to = kwargs.get("device")
        moves = bool(tensors) and to is not None and tensors[0].device.type != to.type
        moves = moves or (function is aten.copy_.default and bool(there and here))
        self._count(function, moves, there, here, args, kwargs)
        if there and here and not moves:
            raise RuntimeError(f"expected all tensors on the same device, in {function}")
        if to == ELSEWHERE:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        with torch._C._DisableTorchDispatch():
            found = function(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        is_there = to == ELSEWHERE or (bool(there) and to is None)
        if function is aten.copy_.default:
            is_there = isinstance(args[0], Elsewhere)
        known = {id(t.inner): t for t in there}

        def outer(value):
            if not isinstance(value, torch.Tensor) or not is_there:
                return value
            return known[id(value)] if id(value) in known else Elsewhere(value)

        return tree_map(outer, found)

    def _count(self, function, moves, there, here, args, kwargs):
        waits = bool(_WAITS & set(function.tags))
        if function in (aten.index.Tensor, aten.index_put_.default):  # by places, or by a mask
            waits = any(i is not None and i.dtype == torch.bool for i in args[1])
        self.n_moves += moves
        made_here = not there and kwargs.get("device") != ELSEWHERE
        if self.strict and (moves or waits or here or made_here):
            raise MovedInAStep(f"{function} in a step")

    @contextmanager
    def relaxed(self):
        """For what is allowed in a step."""
        strict, self.strict = self.strict, False
        yield
        self.strict = strict


def _inner(value):
    return value.inner if isinstance(value, Elsewhere) else value


@contextmanager
def pretended_device(monkeypatch):
    """The pretended device, on which learners and policies can be."""
    monkeypatch.setattr(devices, "_COUNTS", {**devices._COUNTS, "meta": lambda: 1})
    with Pretended() as device:
        yield device
