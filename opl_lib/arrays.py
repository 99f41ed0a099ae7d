"""What comes in as an array: taken as it is meant, or refused with place and cure."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import islice
from numbers import Integral, Number, Real
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

# An array of rows by items is never larger than this: 64 MiB of double-precision numbers.
MAX_ELEMENTS = 2**23
_own: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()


def read_only(array: np.ndarray) -> np.ndarray:
    """A copy that nobody can write to; of such a copy, or of a file opened for reading, itself.

    What somebody else made may be read-only today and written to tomorrow, here or in another view.
    """
    if array.flags.writeable or not (_own.get(id(array)) is array or _is_on_disk(array)):
        array = array.copy(order="K")
        array.flags.writeable = False
        _own[id(array)] = array
    return array


def _is_on_disk(array: Any) -> bool:
    while isinstance(array, np.ndarray) and not array.flags.writeable:
        array = array.base
    return isinstance(array, mmap.mmap) and memoryview(array).readonly


def row_chunks(n_rounds: int, n_actions: int, max_elements: int | None = None) -> list[slice]:
    """Slices of rows such that a (rows, n_actions) array stays below `max_elements`."""
    step = max(1, (max_elements or MAX_ELEMENTS) // max(1, n_actions))
    return [slice(start, min(start + step, n_rounds)) for start in range(0, n_rounds, step)]


def as_array(name: str, values: Any) -> np.ndarray:
    """Anything like an array, of at least one dimension and with nothing masked."""
    if hasattr(values, "tocsr"):
        raise ValueError(
            f"{name} is a sparse matrix, and must be a dense array: pass {name}.toarray(), or "
            "reduce its columns first, as sklearn.decomposition.TruncatedSVD does."
        )
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        row = int(np.argwhere(np.ma.getmaskarray(values))[0][0])
        raise ValueError(f"{name} is masked in row {row}. Drop or fill masked values.")
    try:
        array = np.asarray(values)
    except Exception as error:  # of whatever library the values come from
        cure = " Convert it first: .detach().float()." if hasattr(values, "detach") else ""
        raise ValueError(f"{name} cannot be read as an array: {error}{cure}") from error
    native = getattr(getattr(values, "dtype", None), "numpy_dtype", array.dtype)
    if native.kind in "biuf" and array.dtype.kind == "O" and first_missing(array) is None:
        array = array.astype(native)  # a nullable column of an older pandas, with nothing missing
    if array.ndim == 0:
        raise ValueError(f"{name} must be an array; got {_shortly(values)}.")
    return array


def numbers(name: str, values: Any, ndim: int | None, check_finite: bool = True) -> np.ndarray:
    """Real numbers, in floating point; of any number of dimensions, if that is None."""
    array = as_array(name, values)
    if array.dtype.kind not in "bifu":
        why = why_no_number(array, "Encode categories")
        raise ValueError(f"{name} must be numeric; got dtype {array.dtype}{why}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension{'s' * (ndim > 1)}; got shape {array.shape}."
        )
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    if check_finite and not np.isfinite(array).all():
        place = first(~np.isfinite(array))
        raise ValueError(
            f"{name} must be finite; {where(place)} has {array[place]}. Drop or impute it."
        )
    return array


def feature_matrix(name: str, values: Any, width: int | None = None) -> np.ndarray:
    """Finite features, (rows, columns), of at least one column; of `width`, if it is known."""
    array = numbers(name, values, ndim=2)
    if array.shape[1] == 0:
        raise ValueError(f"{name} has no columns; pass at least one feature, or a column of ones.")
    if width is not None and array.shape[1] != width:
        raise ValueError(
            f"{name} has {array.shape[1]} features, but the training log had {width}: encode new "
            "data exactly as that was encoded."
        )
    return array


def single_precision(name: str, array: np.ndarray) -> np.ndarray:
    """Finite numbers as the float32 that towers compute with."""
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)
    if not np.isfinite(single).all():
        place = first(~np.isfinite(single))
        raise ValueError(
            f"{name} is too large for single precision: {where(place)} has {array[place]}. "
            "Divide it by a constant, or standardise it."
        )
    return single


def integers(name: str, values: Any) -> np.ndarray:
    """Whole numbers, (n,), as int64."""
    array = as_array(name, values)
    if (row := first_missing(array)) is not None:
        raise ValueError(f"{name} is missing in row {row}. Drop the row.")
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must hold integers; got dtype {array.dtype}. "
            f"Convert it with {name}.astype(int) if its values are whole numbers."
        )
    if array.ndim != 1:
        raise ValueError(f"{name} must have 1 dimension; got shape {array.shape}.")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        row = int(array.argmax())
        raise ValueError(f"{name} is too large for an integer of 64 bits in row {row}.")
    return array.astype(np.int64, copy=False)


def row_numbers(rows: Any, n_rounds: int) -> np.ndarray:
    """Some of n rows, (m,): a slice, row numbers or a boolean mask."""
    if isinstance(rows, slice):
        ends = (rows.start, rows.stop, rows.step)
        if rows.step == 0 or not all(end is None or isinstance(end, Integral) for end in ends):
            raise ValueError(f"rows cannot be a slice with the ends and step {ends}.")
        return np.arange(*rows.indices(n_rounds))
    if isinstance(rows, tuple):  # places in several dimensions, as of numpy.nonzero
        if len(rows) != 1:
            raise ValueError(f"rows cannot be a tuple, as of {len(rows)} dimensions. Pass a list.")
        rows = rows[0]
    single = isinstance(rows, Integral) and not isinstance(rows, bool)
    chosen = as_array("rows", [rows] if single else rows)
    if chosen.shape == (0,):
        return np.empty(0, dtype=np.int64)
    if chosen.ndim != 1 or chosen.dtype.kind not in "biu":
        raise ValueError(
            "rows must be a slice, integers or a boolean mask of one dimension; got shape "
            f"{chosen.shape} and dtype {chosen.dtype}."
        )
    if chosen.dtype.kind == "b":
        if len(chosen) != n_rounds:
            raise ValueError(f"rows is a mask of {len(chosen)} rows, but the log has {n_rounds}.")
        return np.flatnonzero(chosen)
    good = (chosen < n_rounds) & (chosen >= -n_rounds)
    check_rows("rows", chosen, good, f"in [-{n_rounds}, {n_rounds - 1}]", "Take rows of this log.")
    return chosen.astype(np.int64) % n_rounds


def round_down_to_one(pscore: np.ndarray) -> np.ndarray:
    """Take probabilities that rounding has put just above 1 for 1."""
    just_above = (pscore > 1) & (pscore < 1 + 1e-6)
    return np.where(just_above, pscore.dtype.type(1), pscore) if just_above.any() else pscore


def check_rows(name: str, column: np.ndarray, good: np.ndarray, must_be: str, cure: str) -> None:
    """Raise, with the first row that is not good."""
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{name} must be {must_be}; row {row} has {column[row]}. {cure}")


def first(bad: np.ndarray) -> tuple[int, ...]:
    """The first place where a mask is true."""
    return tuple(int(i) for i in np.argwhere(bad)[0])


def where(place: tuple[int, ...]) -> str:
    """``(3,)`` and ``(3, 0)`` in words."""
    return f"row {place[0]}" + "".join(f", column {column}" for column in place[1:])


def why_no_number(array: np.ndarray, encode: str) -> str:
    """The end of a message: the first entry that is no number, and the cure; `encode` for text."""
    encode += " first, for example with pandas.get_dummies."
    for place, value in _entries(array):
        if isinstance(value, np.str_ | np.bytes_ | np.complexfloating):
            value = value.item()
        if _is_missing(value):
            return f"; {where(place)} is missing ({value}). Drop the row or impute the value."
        if isinstance(value, complex):
            return f"; {where(place)} has {value!r}. Take its real part, or two columns."
        if isinstance(value, np.datetime64 | np.timedelta64) or hasattr(value, "isoformat"):
            return f"; {where(place)} has {value}. Count it from a day, as in days since then."
        if isinstance(value, str | bytes) and (how := number_in_text(value)):
            return f"; {where(place)} has {value!r}, a number stored as text. Convert it, {how}."
        if isinstance(value, Number) and not isinstance(value, Real):
            return f"; {where(place)} has {value!r}. Convert it, as with .astype(float)."
        if not isinstance(value, Real | np.bool_):
            return f"; {where(place)} has {_shortly(value)}. {encode}"
    return ", though every entry is a number. Convert it, as with .astype(float)."


def _entries(array: np.ndarray) -> Iterator[tuple[tuple[int, ...], Any]]:
    """Of objects all, of what else is no number the first: one is as good as another there."""
    yield from islice(np.ndenumerate(array), None if array.dtype.kind == "O" else 1)


def number_in_text(value: str | bytes) -> str:
    """How text is made a number, where it is one; else nothing."""
    if _is_number(value):
        return "as with .astype(float) or pandas.to_numeric"
    if isinstance(value, str) and _is_number(value.replace(",", ".")):
        return "with .str.replace(',', '.').astype(float) if the comma is the decimal point"
    return ""


def _is_number(value: str | bytes) -> bool:
    try:
        return float(value) is not None
    except ValueError:
        return False


def _is_missing(value: Any) -> bool:
    """None, NaN, NaT or pandas.NA: what is not equal to itself, or will not say."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True
    except ValueError:  # an array, of which some entries may be missing and others not
        return False


def missing(array: np.ndarray) -> np.ndarray:
    """Where there is None, NaN, NaT or pandas.NA."""
    if array.dtype.kind != "O":
        return array != array
    return np.array([_is_missing(value) for value in array.flat], bool).reshape(array.shape)


def first_missing(array: np.ndarray) -> int | None:
    """The first row with something missing."""
    where_missing = missing(array)
    return first(where_missing)[0] if where_missing.any() else None


def _shortly(value: Any) -> str:
    """A value for a message: what it says of itself if that is short, else its type."""
    said = repr(value)
    return said if len(said) <= 30 else f"an object of type {type(value).__name__}"
