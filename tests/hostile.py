"""What a library must survive: every argument of every public function, given what it is not.

A kind says what an argument is: from a right value it makes values that a user would want refused,
and odd ones that mean the same. `hostile_rooms` says which kind each argument is of. A refusal is
good if it is a ValueError or a TypeError that the library itself raises, and that names the
argument. ``python tests/hostile.py`` counts what happens, and lists what should not.
"""

import datetime
import decimal
import fractions
import linecache
import re
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse
import torch

import opl_lib as opl

LIBRARY = str(Path(opl.__file__).parent)
SECONDS = 20  # more than any of these calls takes
OUTCOMES = ("refused", "accepted", "unclear", "wrong silently", "wrong type", "refused wrongly")
GOOD = OUTCOMES[:2]


class Kind(NamedTuple):
    """Values made of a right one: to be refused, to be taken for it, or either."""

    refused: Callable[[Any], dict[str, Any]]
    accepted: Callable[[Any], dict[str, Any]] = lambda right: {}
    either: Callable[[Any], dict[str, Any]] = lambda right: {}
    errors: tuple[type, ...] = (ValueError, TypeError)


@dataclass(frozen=True)
class Call:
    """A public function, right arguments for it, and the kind of each."""

    room: str
    name: str
    function: Callable[..., Any]
    right: dict[str, Any]
    kinds: dict[str, Kind] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One argument of a call replaced."""

    call: Call
    argument: str
    label: str
    value: Any
    wanted: str

    def __str__(self):
        return f"{self.call.name}({self.argument}={self.label})"


class Outcome(NamedTuple):
    kind: str
    said: str


# ---- values


def no_arrays():
    """Things that are no array of numbers, whatever its shape."""
    return {
        "None": None,
        "a number": 3.0,
        "text": "text",
        "a generator": (number for number in (0.5, 1.0)),
        "a set": {0.5, 1.0},
        "a dictionary": {"a": [0.5, 1.0]},
        "an object": object(),
        "a function": len,
        "a class": float,
        "ragged rows": [[0.5], [0.5, 1.0]],
        "a structured array": np.zeros(2, dtype=[("a", float), ("b", float)]),
    }


def no_numbers():
    """Things that are no one number."""
    return {
        "None": None,
        "text": "0.3",
        "bytes": b"0.3",
        "a list": [0.5],
        "an array": np.array([0.5, 0.25]),
        "a complex number": 0.5j,
        "NaN": float("nan"),
        "True": True,
        "numpy's True": np.True_,
        "a dictionary": {},
        "an object": object(),
        "a function": len,
        "a class": int,
        "a date": datetime.date(2024, 1, 1),
        "a missing value": pd.NA,
    }


def no_one(*but):
    """Things of no use to anyone: no log, policy, learner, callback or file."""
    given = {
        "None": None,
        "a number": 3,
        "text": "ips",
        "an empty list": [],
        "a dictionary": {"a": 1},
        "an object": object(),
        "True": True,
        "an array": np.zeros((2, 2)),
        "a class": dict,
    }
    return {label: value for label, value in given.items() if label not in but}


def changed(array, place, value, dtype=None):
    """A copy with one entry changed."""
    array = np.array(array, dtype=dtype)
    array[place] = value
    return array


def strided(array):
    return np.repeat(np.asarray(array), 2, axis=0)[::2]


def locked(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


def optional(kind):
    """The same, where None says that there is nothing."""
    return kind._replace(refused=lambda right: _but(kind.refused(right), "None"))


def but(kind, *labels):
    """The same without some values, which this argument may have."""
    return kind._replace(refused=lambda right: _but(kind.refused(right), *labels))


def also(kind, refused=None, accepted=None, either=None):
    """The same with more values; each a dictionary, or a function from a right value to one."""

    def both(make, more):
        def made(right):
            return {**make(right), **(more(right) if callable(more) else more or {})}

        return made

    return kind._replace(
        refused=both(kind.refused, refused),
        accepted=both(kind.accepted, accepted),
        either=both(kind.either, either),
    )


def _but(given, *labels):
    return {label: value for label, value in given.items() if label not in labels}


def _same_array(right):
    """The right array as everything that it may come as."""
    right = np.asarray(right)
    return {
        "a list": right.tolist(),
        "read-only": locked(right),
        "strided": strided(right),
        "in Fortran's order": np.array(right, order="F"),
        "big-endian": right.astype(right.dtype.newbyteorder(">")),
        "masked nowhere": np.ma.masked_array(right, mask=np.zeros(right.shape, bool)),
        "a tensor": torch.tensor(right.tolist(), dtype=torch.from_numpy(right.copy()).dtype),
    }


def _numeric(right):
    """What numbers must not be, whatever the shape."""
    right = np.asarray(right)
    masked = np.ma.masked_array(right, mask=changed(np.zeros(right.shape, bool), -1, True))
    return {
        **no_arrays(),
        "masked": masked,
        "complex": right * (1 + 1j),
        "complex without an imaginary part": right + 0j,
        "numbers as text": right.astype(str),
        "bytes": right.astype("S"),
        "words": np.full(right.shape, "a"),
        "objects with None": changed(right, -1, None, dtype=object),
        "objects with text": changed(right, -1, "a", dtype=object),
        "objects with pandas.NA": changed(right, -1, pd.NA, dtype=object),
        "decimals": changed(right, -1, decimal.Decimal("0.5"), dtype=object),
        "dates": np.full(right.shape, np.datetime64("2024-01-01")),
        "durations": np.full(right.shape, np.timedelta64(1, "D")),
        "a tensor that is being learned": torch.ones(right.shape, requires_grad=True),
    }


def _not_finite(right):
    last = (-1,) * np.ndim(right)
    return {
        "NaN": changed(right, last, np.nan, dtype=float),
        "infinity": changed(right, last, np.inf, dtype=float),
        "minus infinity": changed(right, last, -np.inf, dtype=float),
    }


def features(rows=False, width=False, single=False, no_rows=True):
    """A matrix of numbers: of the rows of other arguments, of one width, as float32."""

    def refused(right):
        right = np.asarray(right)
        nullable = pd.DataFrame(right).astype("Float64")
        nullable.iloc[-1, -1] = pd.NA
        dtype = object
        given = {
            **_numeric(right),
            **_not_finite(right),
            "sparse": scipy.sparse.csr_matrix(right),
            "sparse, in coordinates": scipy.sparse.coo_array(right),
            "a missing value in a nullable column": nullable,
            "a frame of categories": pd.DataFrame(right.astype(str)).astype("category"),
            "a frame with a column of text": pd.DataFrame(right).assign(b="b"),
            "one dimension": right[:, 0],
            "three dimensions": right[None],
            "no columns": right[:, :0],
            "rows that are lists": changed(np.empty(len(right), dtype), 0, [1.0], dtype),
        }
        if no_rows:
            given["an empty list"] = []
        if rows:
            given |= {"a row less": right[:-1], "a row more": np.vstack([right, right[:1]])}
        if width:
            given |= {
                "a column less": right[:, :-1],
                "a column more": right[:, [0, *range(right.shape[1])]],
            }
        if single:
            given["too large for single precision"] = changed(right, (-1, -1), 1e39, dtype=float)
        return given

    def accepted(right):
        right = np.asarray(right)
        return {
            **_same_array(right),
            "tuples": tuple(map(tuple, right.tolist())),
            "a frame": pd.DataFrame(right),
            "float32": right.astype(np.float32),
            "float16": right.astype(np.float16),
        }

    def either(right):
        return {"a nullable frame": pd.DataFrame(right).astype("Float64")}

    return Kind(refused, accepted, either)


def mask(one_row=False):
    """What could be shown: a row a round and a column an item, or perhaps one row for all."""

    def refused(right):
        right = np.asarray(right)
        given = {
            **_numeric(right),
            "numbers": right.astype(int),
            "fractions": right / 2,
            "NaN": np.where(right, np.nan, 1.0),
            "an empty list": [],
            "three dimensions": right[None],
            "a row less": right[:-1],
            "a column less": right[:, :-1],
            "a column more": right[:, [0, *range(right.shape[1])]],
            "a row of nothing": changed(right, -1, False),
            "one of fewer rounds": opl.Eligible.of_mask(right[:-1]),
        }
        return given if one_row else {**given, "one row": right[0]}

    def accepted(right):
        right = np.asarray(right)
        return {
            **_same_array(right),
            "a frame": pd.DataFrame(right),
            "one of opl.Eligible": opl.Eligible.of_mask(right),
        }

    return Kind(refused, accepted)


def column(low=None, high=None):
    """Numbers, one a round."""

    def refused(right):
        right = np.asarray(right)
        given = {
            **_numeric(right),
            **_not_finite(right),
            "an entry less": right[:-1],
            "an entry more": np.append(right, right[0]),
            "none": [],
            "two dimensions": right[:, None],
            "a missing value in a nullable column": pd.array(
                [*right[:-1].tolist(), None], "Float64"
            ),
            "categories": pd.Categorical(right.astype(str)),
        }
        if low is not None:
            given |= {f"an entry of {value}": changed(right, -1, value, float) for value in low}
        if high is not None:
            given |= {f"an entry of {value}": changed(right, -1, value, float) for value in high}
        return given

    def accepted(right):
        right = np.asarray(right)
        return {
            **_same_array(right),
            "a tuple": tuple(right.tolist()),
            "a column of a frame": pd.Series(right, index=range(5, 5 + len(right))),
            "a nullable column": pd.array(right, "Float64"),
            "float32": right.astype(np.float32),
            "float16": right.astype(np.float16),
        }

    return Kind(refused, accepted)


def integers(rows=True, high=None, negative=True):
    """Whole numbers, one a round or an item, from 0 to below a bound."""

    def refused(right):
        right = np.asarray(right)
        given = {
            **_numeric(right),
            "fractions": right + 0.5,
            "whole floats": right.astype(float),
            "missing": changed(right, -1, np.nan, float),
            "infinity": changed(right, -1, np.inf, float),
            "two dimensions": right[:, None],
            "too large": np.full(right.shape, 2**64 - 1, dtype=np.uint64),
            "truths": right > 0,
        }
        if right.ndim == 1:
            nullable = pd.array([*right[:-1].tolist(), None], "Int64")
            given["a missing value in a nullable column"] = nullable
        if rows:
            given |= {"an entry less": right[:-1], "an entry more": np.append(right, 0), "none": []}
        if negative:
            given["a negative number"] = changed(right, -1, -1)
        if high is not None:
            given["beyond the last"] = changed(right, -1, high)
        return given

    def accepted(right):
        right = np.asarray(right)
        return {
            **_same_array(right),
            "a tuple": tuple(right.tolist()),
            "a column of a frame": pd.Series(right, index=range(5, 5 + len(right))),
            "a nullable column": pd.array(right, "Int64"),
            "int8": right.astype(np.int8),
            "uint64": right.astype(np.uint64),
        }

    return Kind(refused, accepted)


def _labels(right):
    right = np.asarray(right)
    return {
        **no_arrays(),
        "masked": np.ma.masked_array(right, mask=changed(np.zeros(right.shape, bool), -1, True)),
        "None in it": changed(right, -1, None, object),
        "NaN in it": changed(right, -1, np.nan, float),
        "pandas.NA in it": changed(right, -1, pd.NA, object),
        "NaT in it": np.array(["2024-01-01"] * (len(right) - 1) + ["NaT"], "datetime64[D]"),
        "numbers and text": changed(right, -1, "a", object),
        "text and bytes": changed(np.full(len(right), "a", object), -1, b"a"),
        "lists": changed(np.full(len(right), None, object), slice(None), [[1]] * len(right)),
        "dictionaries": np.array([{"a": 1}] * len(right), dtype=object),
        "objects": np.array([object() for _ in right], dtype=object),
        "an entry less": right[:-1],
        "none": [],
        "two dimensions": right[:, None],
        "floats beyond 2**53": right + 2.0**60,
        "floats of half precision beyond 2**11": (right + 2.0**11).astype(np.float16),
    }


def labels():
    """Who it is: numbers, text or dates of one type."""

    def accepted(right):
        right = np.asarray(right)
        as_text = [f"{number:03d}" for number in right.tolist()]
        return {
            **_same_array(right),
            "text": as_text,
            "objects of text": np.array(as_text, dtype=object),
            "large integers": right + 2**60,
            "a column of a frame": pd.Series(right),
            "categories": pd.Categorical(as_text),
            "dates": right.astype("datetime64[D]"),
            "whole floats": right.astype(float),
        }

    return Kind(_labels, accepted)


def times():
    """When it was: numbers or dates."""

    def refused(right):
        right = np.asarray(right)
        days = [f"{day + 1}/1/2024" for day in right.tolist()]
        return {
            **_labels(right),
            "text": days,
            "objects of text": np.array(days, dtype=object),
            "bytes": np.array(days, dtype="S"),
            "text in a column": pd.Series(days, dtype="string"),
            "infinity": changed(right, -1, np.inf, float),
            "complex": right * (1 + 1j),
            "truths": right > 0,
        }

    def accepted(right):
        right = np.asarray(right)
        dates = right.astype("datetime64[D]")
        return {
            **_same_array(right),
            "dates": dates,
            "stamps with a zone": pd.Series(pd.to_datetime(dates, utc=True)),
            "dates of Python": np.array(dates.tolist(), dtype=object),
            "floats": right / 2,
            "durations": right.astype("timedelta64[D]"),
        }

    return Kind(refused, accepted)


def number(outside=(), infinity=False):
    """One finite number within bounds; `outside` are some beyond them."""

    def refused(right):
        given = {**no_numbers(), **{str(value): value for value in outside}}
        given |= {"a giant": 10**400, "minus infinity": -np.inf}
        return given if infinity else {**given, "infinity": np.inf}

    def accepted(right):
        return {"numpy's": np.float64(right), "single precision": np.float32(right)}

    return Kind(refused, accepted, lambda right: {"a fraction": fractions.Fraction(right)})


def count(least=1, most=None):
    """One whole number."""

    def refused(right):
        given = {
            **no_numbers(),
            "a half": 1.5,
            "a whole float": float(right),
            "infinity": np.inf,
            "a fraction": fractions.Fraction(3, 2),
            "a decimal": decimal.Decimal(2),
            str(least - 1): least - 1,
            "-1": -1,
        }
        return given if most is None else {**given, "too many": most + 1, "a giant": 2**200}

    return Kind(refused, lambda right: {"numpy's": np.int64(right), "short": np.int16(right)})


def seed():
    """A seed of generators."""

    def refused(right):
        return {
            **no_numbers(),
            "-1": -1,
            "a half": 1.5,
            "a whole float": 2.0,
            "infinity": np.inf,
            "2**32": 2**32,
            "128 bits": 122807528840384100672342137672332424406,
            "a generator of numpy": np.random.default_rng(0),
            "a seed sequence": np.random.SeedSequence(0),
        }

    def accepted(right):
        return {"numpy's": np.int64(right), "unsigned": np.uint32(right)}

    return Kind(refused, accepted)


def flag():
    """True or False."""

    def refused(right):
        return {
            "None": None,
            "text": "no",
            "other text": "True",
            "2": 2,
            "a half": 0.5,
            "NaN": float("nan"),
            "an empty list": [],
            "a list": [True],
            "an array": np.array([True, False]),
            "an object": object(),
            "a function": len,
            "a missing value": pd.NA,
        }

    return Kind(refused, lambda right: {"numpy's": np.bool_(right)})


def choice():
    """One of some names."""

    def refused(right):
        return {
            "None": None,
            "another": "zz",
            "nothing": "",
            "a blank too many": f"{right} ",
            "in capitals": str(right).upper(),
            "bytes": str(right).encode(),
            "a number": 3,
            "True": True,
            "a list": [right],
            "an array": np.array([right, right]),
            "a dictionary": {},
            "an object": object(),
            "a class": str,
            "NaN": float("nan"),
        }

    return Kind(refused, lambda right: {"numpy's": np.str_(right)})


def thing(refused=None, accepted=None, either=None, but=()):
    """An object of some kind: what is of no use to anyone is refused, and what is said besides."""
    kind = Kind(lambda right: no_one(*but))
    return also(kind, refused, accepted, either)


# ---- what happens


@contextmanager
def time_limit(seconds):
    """Raise TimeoutError where something takes longer."""

    def stop(*_):
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ask(function, arguments, seconds=SECONDS):
    """What a function returns, and the error that it raises; one of them is None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a warning of numpy is no refusal
        try:
            with time_limit(seconds):
                return function(**arguments), None
        except Exception as error:
            return None, error


def is_raised_by(error, folder):
    """Whether the innermost line is a `raise` in a folder, and not one that something escapes."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = trace.tb_frame.f_code.co_filename
    line = linecache.getline(file, trace.tb_lineno).strip()
    return file.startswith(folder) and line.startswith("raise")


def is_named(error, words):
    """Whether the message has one of some words in it, a reader's way to the argument."""
    said = "\n".join([str(error), *getattr(error, "__notes__", [])])
    return re.search(rf"(?<!\w)({words})", said) is not None


def judge(case, words, expected=None, folder=LIBRARY):
    """What became of a case, and what was said."""
    arguments = {**case.call.right, case.argument: case.value}
    returned, error = ask(case.call.function, arguments)
    if error is None:
        if case.wanted == "refused":
            return Outcome("wrong silently", f"took it, and returned {_shortly(returned)}")
        if case.wanted == "accepted" and not same(facts(returned), expected):
            return Outcome("wrong silently", f"another result: {_shortly(returned)}")
        return Outcome("accepted", "")
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if case.wanted == "accepted":
        return Outcome("refused wrongly", said)
    if not isinstance(error, case.call.kinds[case.argument].errors):
        return Outcome("wrong type", said)
    if isinstance(error, OSError):
        told = error.filename is not None or is_named(error, words)
        return Outcome("refused" if told else "unclear", said)
    if not is_raised_by(error, folder):
        return Outcome("wrong type", f"not the library's own {said}")
    return Outcome("refused" if is_named(error, words) else "unclear", said)


def facts(thing):
    """What can be compared of a result: nested tuples and dictionaries of arrays."""
    if isinstance(thing, opl.BanditFeedback):
        names = ("context", "action", "reward", "pscore", "action_context", "position")
        users = None if thing.user_id is None else np.unique(thing.user_id, return_inverse=True)[1]
        when = None if thing.timestamp is None else np.argsort(thing.timestamp, kind="stable")
        given = {name: getattr(thing, name) for name in names}
        return {**given, "users": users, "when": when, "eligible": facts(thing.eligible)}
    if isinstance(thing, opl.Eligible):
        return thing.mask()
    if isinstance(thing, pd.DataFrame | pd.Series):
        return {"index": list(thing.index), "values": thing.to_numpy()}
    if isinstance(thing, opl.TwoTowerPolicy):
        weights = [weight.detach().numpy() for weight in thing.towers.parameters()]
        return {"weights": tuple(weights), "temperature": thing.temperature}
    if isinstance(thing, opl.World):
        return {"items": thing.action_context, "contexts": thing.eval_context}
    if isinstance(thing, torch.nn.Module):
        return tuple(weight.detach().numpy() for weight in thing.parameters())
    if torch.is_tensor(thing):
        return thing.detach().numpy()
    if hasattr(thing, "policy_"):
        return facts(thing.policy_)
    if hasattr(thing, "pscore") and hasattr(thing, "calibration"):
        return thing.pscore
    if isinstance(thing, dict):
        return {name: facts(value) for name, value in thing.items()}
    if isinstance(thing, list | tuple):
        return tuple(facts(value) for value in thing)
    if thing is None or isinstance(thing, np.ndarray | int | float | str | np.generic):
        return thing
    return type(thing).__name__


def same(one, other):
    """Whether two facts are equal, to the precision of a half-precision column."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if one is None or isinstance(one, str):
        return one == other
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.kind not in "biuf":
        return np.array_equal(one, other)
    return one.shape == other.shape and np.allclose(one, other, 1e-3, 1e-4, equal_nan=True)


def _shortly(value):
    try:
        return " ".join(repr(value).split())[:80]
    except Exception:  # what was accepted may not even be printed
        return f"an object of type {type(value).__name__}"


# ---- all of it


def cases_of(call):
    """Every argument replaced by every value of its kind."""
    for argument, kind in call.kinds.items():
        right = call.right.get(argument)
        for wanted in ("refused", "accepted", "either"):
            for label, value in getattr(kind, wanted)(right).items():
                yield Case(call, argument, label, value, wanted)


def attack(calls, words, folder=LIBRARY):
    """All cases of all calls with their outcomes, right arguments first."""
    for call in calls:
        returned, error = ask(call.function, call.right)
        if error is not None:
            case = Case(call, "all", "right", None, "accepted")
            yield case, Outcome("refused wrongly", f"{type(error).__name__}: {error}")
            continue
        expected = facts(returned)
        for case in cases_of(call):
            yield case, judge(case, words(case.argument), expected, folder)


def main(*rooms):
    """Print the counts by room, and what should not have happened."""
    from hostile_rooms import calls, words

    found = list(attack([call for call in calls() if not rooms or call.room in rooms], words))
    for room in dict.fromkeys(case.call.room for case, _ in found):
        counted = Counter(outcome.kind for case, outcome in found if case.call.room == room)
        print(f"{room:12}", *(f"{kind} {counted[kind]}" for kind in OUTCOMES), sep="  ")
    counted = Counter(outcome.kind for _, outcome in found)
    print(f"{'all':12}", *(f"{kind} {counted[kind]}" for kind in OUTCOMES), sep="  ")
    for case, outcome in found:
        if outcome.kind not in GOOD:
            print(f"{case.call.room}: {outcome.kind}: {case}: {outcome.said}")


if __name__ == "__main__":
    main(*sys.argv[1:])
