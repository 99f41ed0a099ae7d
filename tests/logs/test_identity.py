"""Who is who: ids of rounds and items, users of joined logs, times."""

import datetime
import enum
import uuid
from collections import deque
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl
from opl_lib.arrays import as_array
from opl_lib.logs.readers import item_row_numbers

LARGE = 2**60
IDS = ["0" * 31 + digit for digit in "123"]


def log_of(**labels):
    n = len(next(iter(labels.values())))
    return opl.BanditFeedback(
        np.ones((n, 1)), np.arange(n) % 2, np.zeros(n), np.full(n, 0.5), np.eye(2), **labels
    )


def text(*values, **options):
    """Text of numpy's own kind, which numpy 1 has not."""
    kind = getattr(np.dtypes, "StringDType", None)
    return np.array(values, kind(**options) if kind else object)


def objects(*values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


# ---- ids of items


@pytest.mark.parametrize(
    ("logged", "ids", "rows"),
    [
        ([3, 1, 0], [0, 1, 3], [2, 1, 0]),
        (np.array([3, 1, 0], np.int8), np.array([0, 1, 3], np.uint64), [2, 1, 0]),
        ([3.0, 1.0, 0.0], [0, 1, 3], [2, 1, 0]),
        ([LARGE + 3, LARGE], np.array([LARGE, LARGE + 2, LARGE + 3], np.uint64), [2, 0]),
        (np.array([2**64 - 1, 2**64 - 2], np.uint64), objects(0, 2**64 - 2, 2**64 - 1), [2, 1]),
        (objects(10**30, 1), objects(0, 1, 10**30), [2, 1]),
        (["c", "b"], objects("a", "b", "c"), [2, 1]),
        (objects("c ", "b"), np.array(["a", "b", "c "]), [2, 1]),
        (np.array(["c", "b"], "S1"), np.array(["a", "b", "c"], "S2"), [2, 1]),
        (text("c", "b"), ["b", "c"], [1, 0]),
        (
            np.array(["2024-01-03", "2024-01-01"], "M8[D]"),
            np.array(["2024-01-01", "2024-01-02", "2024-01-03"], "M8[ns]"),
            [2, 0],
        ),
        (objects((1, "b"), (0, "a")), objects((0, "a"), (1, "a"), (1, "b")), [2, 0]),
        (objects(Decimal(3), Decimal(1)), [0, 1, 3], [2, 1]),
        ([True, False, False], [False, True], [1, 0, 0]),
        (objects(uuid.UUID(int=3), uuid.UUID(int=1)), objects(*map(uuid.UUID, IDS)), [2, 0]),
    ],
    ids=range(15),
)
def test_ids_are_found_whatever_holds_them(logged, ids, rows):
    assert item_row_numbers(np.asarray(logged), np.asarray(ids)).tolist() == rows


def test_ids_need_no_order():
    colour = enum.Enum("Colour", ["RED", "BLUE"])
    both = objects(colour.RED, colour.BLUE)
    assert item_row_numbers(both[::-1], both).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("logged", "ids", "message"),
    [
        (["0", "2"], [0, 1, 2], "action holds text, such as '0', and item_id holds numbers.* 0"),
        ([0, 2], ["0", "1", "2"], r"action holds numbers, such as 0, .* text.*\.astype\(str\)"),
        ([True, False], [0, 1], "action holds booleans, such as True, and item_id holds numbers"),
        ([b"a"], ["a"], "action holds bytes.* text"),
        (np.array(["2024-01-01"], "M8[D]"), ["2024-01-01"], "action holds dates.* text"),
        (np.array([1], "m8[D]"), [1], "action holds durations.* numbers"),
        (objects(datetime.date(2024, 1, 1)), ["2024-01-01"], "objects of type date.* text"),
        (np.array([LARGE], float), [LARGE, LARGE + 1], "action has 1.15.* in row 0: as float64"),
        ([LARGE], np.array([1, LARGE], float), "item_id of items has 1.15.*row 1: as float64"),
        (objects(float(LARGE)), [LARGE, LARGE + 1], "action has 1.15.* in row 0"),
        (np.array([2**24], np.float32), [2**24], r"float32, numbers from 16777216 on"),
        (np.array([2048], np.float16), [2048], r"float16, numbers from 2048 on"),
        ([1.0, np.inf], [1, 2], "action must be finite; row 1 has inf"),
        ([1.0, np.nan], [1, 2], "action is missing in row 1"),
        (objects("a", None), ["a", "b"], "action is missing in row 1"),
        (["a"], objects("a", pd.NA), "item_id of items is missing in row 1"),
        (objects(1, "a"), [1, 2], "action has values of several types: 1, of int, in row 0 and"),
        (["a"], objects("a", 1), "item_id of items has values of several types"),
        (objects([1], [2]), [1, 2], r"action has \[1\] in row 0, which cannot be compared"),
        (objects((1,), ([2],)), objects((1,)), r"action has \(\[2\],\) in row 1"),
        ([1], objects({"a": 1}), "item_id of items has .* in row 0, which cannot be compared"),
        (["a", "b "], ["a", "b"], r"row 1 has item 'b '.*'b' is, with other blanks.*str\.strip"),
        (["b"], ["a", " b"], r"row 0 has item 'b'.*' b' is, with other blanks"),
        (["z"], ["a", "b"], r"row 0 has item 'z', which is not in items\. Add its features"),
        ([7], [1, 2], r"row 0 has item 7, which is not in items\. Add its features"),
        (["a"], ["a", "b", "a"], "rows 0 and 2 are both 'a'"),
        ([1], [1.0, 2.0, 1.0], r"rows 0 and 2 are both 1\.0"),
        (np.array(["3000-01-01"], "M8[D]"), np.array(["1830-11-23"], "M8[ns]"), "convert one"),
    ],
)
def test_ids_that_cannot_be_told_apart_are_refused(logged, ids, message):
    with pytest.raises(ValueError, match=message):
        item_row_numbers(np.asarray(logged), np.asarray(ids))


@pytest.mark.parametrize("dtype", ["object", "string", "category", "Int64", "Float64", "int8"])
def test_ids_of_a_frame_may_be_of_any_dtype(dtype):
    text = dtype in ("object", "string", "category")
    ids = ["a", "b", "c"] if text else [1, 2, 3]
    frame = pd.DataFrame({"x": [0.0, 1.0], "i": ids[:0:-1], "r": [0, 1], "p": [0.5, 0.5]})
    items = pd.DataFrame({"id": ids, "f": [1.0, 2.0, 3.0]})
    log = opl.BanditFeedback.from_dataframe(
        frame.astype({"i": dtype}),
        context=["x"],
        action="i",
        reward="r",
        pscore="p",
        items=items,
        item_id="id",
    )
    assert log.action.tolist() == [2, 1]


@pytest.mark.parametrize("column", ["i", "x"])
def test_columns_that_numpy_has_no_type_for_are_refused(column):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"x": [0, 1], "i": [0, 1], "r": [0, 1], "p": [0.5, 0.5]})
    frame = frame.with_columns(polars.col(column).cast(polars.Int128))
    with pytest.raises(ValueError, match=f"column '{column}', of Int128, cannot be read"):
        opl.BanditFeedback.from_dataframe(
            frame, context=["x"], action="i", reward="r", pscore="p", items=np.eye(2)
        )


# ---- users and times


@pytest.mark.parametrize("sequence", [list, tuple, deque])
@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([1, "1"], "several types: 1, of int, in row 0 and '1', of str, in row 1"),
        ([b"1", "1"], "several types: b'1', of bytes, in row 0"),
        ([b"1", 1], "several types: b'1', of bytes, in row 0"),
        ([True, 1], "several types: True, of bool, in row 0 and 1, of int, in row 1"),
        ([np.True_, 1], "several types"),
        ([0.5, True], "several types"),
        ([np.timedelta64(1, "D"), 1], "several types"),
        ([True, LARGE * 8 + 1], "several types"),
        ([0.5, LARGE + 1], "several types: 0.5, of float, in row 0 and"),
        (["a", np.nan], "user_id is missing in row 1"),
        (["a", None], "user_id is missing in row 1"),
        ([1, np.nan], "user_id is missing in row 1"),
        ([{1}, {2}], "which cannot be compared"),
        (
            [frozenset({1}), frozenset({2})],
            "cannot be sorted.* neither equal nor one before the other",
        ),
    ],
)
def test_users_of_several_types_in_a_sequence_are_refused(sequence, users, message):
    with pytest.raises(ValueError, match=message):
        log_of(user_id=sequence(users * 30))


@pytest.mark.parametrize(
    "users",
    [
        [2**64 - 1, 5, 2**64 - 2],
        [np.uint64(2**64 - 1), 2**64 - 2, 1],
        [2**63 + 1, -1, 2**63],
        [2**64 + 1, 2**64, 0],
        [1, np.int64(2), np.uint8(3)],
        [1, 0.5, np.float32(2)],
        ["a", np.str_("b"), "c"],
        ["a", "a\0", "b"],
        [np.datetime64("2024-01-01"), np.datetime64("2024-01-02"), np.datetime64("2024-01-03")],
        [False, True, np.True_],
        [frozenset({1}), frozenset({1, 2}), frozenset({1, 2, 3})],
    ],
    ids=range(11),
)
def test_users_in_a_list_stay_apart(users):
    log = log_of(user_id=users * 2)
    assert log.user_id.tolist() == np.array(users * 2, dtype=log.user_id.dtype).tolist()
    assert len(log.units) == len(set(users))


def test_users_that_are_sets_are_sorted_only_if_they_can_be():
    chain = [frozenset(range(n)) for n in (2, 1, 3)]
    assert len(log_of(user_id=chain * 2).units) == 3


def test_large_users_in_a_list_are_integers():
    assert log_of(user_id=[2**64 - 1, 5]).user_id.dtype == np.uint64


@pytest.mark.parametrize(
    ("timestamp", "kind"),
    [
        (objects(datetime.time(9), datetime.time(8)), "objects of type time"),
        (objects(*map(uuid.UUID, IDS)), "objects of type UUID"),
        (objects(frozenset({1}), frozenset({2})), "objects of type frozenset"),
        (objects((2024, 1), (2024, 2)), "objects of type tuple"),
        (objects(pd.Interval(0, 1), pd.Interval(1, 2)), "objects of type Interval"),
        (np.array([(1, 2), (2, 1)], "i8,i8"), "records"),
    ],
)
def test_what_can_be_sorted_but_has_no_date_is_no_time(timestamp, kind):
    with pytest.raises(ValueError, match=f"timestamp must hold numbers or dates; it holds {kind}"):
        log_of(timestamp=timestamp)


@pytest.mark.parametrize(
    "timestamp",
    [
        [datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 2)],
        [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02", tz="UTC")],
        [datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)],
    ],
)
def test_the_cure_of_dates_that_do_not_compare_is_one(timestamp):
    cure = r"pandas\.to_datetime\(timestamp, utc=True\)"
    with pytest.raises(ValueError, match=cure) as refused:
        log_of(timestamp=timestamp)
    assert "astype" not in str(refused.value)
    assert len(log_of(timestamp=pd.to_datetime(timestamp, utc=True)).split_by_time(0.5)[1]) == 1


class Nullable:
    """A column whose type names one of numpy's, and whose array is one of objects."""

    def __init__(self, kind, *values):
        self.dtype, self.values = type("Kind", (), {"numpy_dtype": np.dtype(kind)}), values

    def __array__(self, dtype=None, copy=None):
        return objects(*self.values)


def test_a_nullable_column_of_numbers_is_one_of_numbers_and_no_other_is_changed():
    users = as_array("user_id", Nullable("i8", LARGE, LARGE + 1))
    assert users.dtype == np.int64
    assert users.tolist() == [LARGE, LARGE + 1]
    zoned = pd.Timestamp("2024-01-01", tz="Asia/Tokyo")
    for kind, value in (("M8[us]", zoned), ("M8[us]", "no date"), ("O", Decimal("1.5"))):
        kept = as_array("timestamp", Nullable(kind, value, value))
        assert kept.dtype == object
        assert kept.tolist() == [value, value]


def test_times_of_periods_that_do_not_compare_are_refused():
    with pytest.raises(ValueError, match="timestamp cannot be sorted, such as Period"):
        log_of(timestamp=objects(pd.Period("2024-01", "M"), pd.Period("2024-01-01", "D")))


@pytest.mark.parametrize(
    ("user_id", "message"),
    [
        (np.array([1, LARGE], float), "user_id has 1.15.* in row 1: as float64"),
        (np.array([1, 2**24], np.float32), "user_id has 16777216.* in row 1: as float32"),
        (objects(0.5, float(LARGE)), "user_id has 1.15.* in row 1"),
        ([0.0, np.inf], "user_id must be finite; row 1 has inf"),
        (text("a", None, na_object=None), "missing in row 1"),
        (objects([1], [2]), r"user_id has \[1\] in row 0, which cannot be compared"),
        (objects(1j, 2j), "user_id cannot be sorted, such as 1j in row 0"),
        ([[1], [2, 3]], "user_id cannot be read as an array"),
        ({1, 2}, "user_id must be an array"),
        (iter([1, 2]), "user_id must be an array"),
    ],
)
def test_users_that_cannot_be_told_apart_are_refused(user_id, message):
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback(np.ones((2, 1)), [0, 1], [0, 1], [0.5] * 2, np.eye(2), user_id=user_id)


@pytest.mark.parametrize(
    ("timestamp", "message"),
    [
        (["5/1/2024", "25/2/2024"], r"timestamp is text, such as '5/1/2024'.*pandas\.to_datetime"),
        (objects("2024-01-01", "2024-02-01"), "timestamp is text, such as '2024-01-01'"),
        (np.array([b"1", b"2"]), "timestamp is text, such as b'1'"),
        (text("1", "2"), "timestamp is text, such as '1'"),
        (pd.Series(["1", "2"], dtype="category"), "timestamp is text"),
        ([True, False], "timestamp must hold numbers or dates; it holds booleans"),
        (objects(True, False), "timestamp must hold numbers or dates; it holds booleans"),
        ([1j, 2j], "timestamp must hold numbers or dates; it holds complex numbers"),
        ([1.0, np.inf], "timestamp must be finite; row 1 has inf"),
        (objects(datetime.date(2024, 1, 1), pd.NaT), "timestamp is missing in row 1"),
        (
            objects(pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01", tz="UTC")),
            "timestamp cannot be sorted, such as",
        ),
        (
            objects(datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 2)),
            "timestamp has values of several types",
        ),
    ],
)
def test_what_are_no_times_is_refused(timestamp, message):
    with pytest.raises(ValueError, match=message):
        log_of(timestamp=timestamp)


@pytest.mark.parametrize(
    "timestamp",
    [
        [2, 1, 3],
        [2.5, 1.0, 3.0],
        np.array(["2024-01-02", "2024-01-01", "2024-01-03"], "M8[D]"),
        np.array([2, 1, 3], "m8[s]"),
        objects(*(datetime.date(2024, 1, day) for day in (2, 1, 3))),
        objects(*(datetime.datetime(2024, 1, day) for day in (2, 1, 3))),
        pd.Series(pd.to_datetime(["2024-01-02", "2024-01-01", "2024-01-03"], utc=True)),
        pd.period_range("2024-01", periods=3, freq="M")[[1, 0, 2]],
        objects(*(datetime.timedelta(day) for day in (2, 1, 3))),
    ],
    ids=range(9),
)
def test_what_are_times_is_split_by_them(timestamp):
    first, second = log_of(timestamp=timestamp).split_by_time(0.34)
    assert (len(first), len(second)) == (2, 1)
    assert second.timestamp[0] == np.asarray(timestamp)[2]


# ---- joins


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("timestamp", [[1, 2], np.array(["2024-01-01"], "M8[D]")], "numbers in log 0.*dates in"),
        ("timestamp", [[1, 2], np.array([1], "m8[D]")], "numbers in log 0.*durations in log 1"),
        ("user_id", [["a"], ["b"], [1]], "text in log 0, such as 'a', and numbers in log 2.* 1:"),
        ("user_id", [["a"], [b"a"]], "text in log 0.* bytes in log 1"),
        ("user_id", [[1, 0], [True, False]], "numbers in log 0.* booleans in log 1"),
        (
            "user_id",
            [[LARGE, LARGE + 1], np.array([LARGE + 2], np.uint64)],
            "int64 in log 0 and uint64 in log 1",
        ),
        ("user_id", [[0.5, 1.5], [LARGE + 1]], "float64 in log 0 and int64 in log 1"),
        ("user_id", [[0.5, 1.5], [LARGE]], "float64 in log 0 and int64 in log 1"),
        (
            "timestamp",
            [np.array(["3000-01-01"], "M8[D]"), np.array(["2024-01-01"], "M8[ns]")],
            r"datetime64\[D\] in log 0 and datetime64\[ns\] in log 1.*to_datetime\(…, utc=True\)",
        ),
        (
            "timestamp",
            [
                pd.to_datetime(["2024-01-01"], utc=True).astype(object),
                np.array(["2024-01-01"], "M8[D]"),
            ],
            "objects of type Timestamp in log 0.* dates in log 1",
        ),
    ],
    ids=range(10),
)
def test_logs_whose_labels_do_not_join_are_refused(name, columns, message):
    logs = [log_of(**{name: column}) for column in columns]
    with pytest.raises(ValueError, match=f"{name} .*{message}"):
        opl.BanditFeedback.concatenate(logs)


@pytest.mark.parametrize(
    "columns",
    [
        [["a", "b"], ["long name", "b"]],
        [["a", "b"], objects("c", "b")],
        [np.array([1, 2], np.int8), np.array([3, 2])],
        [np.array([LARGE, LARGE + 1]), np.array([LARGE + 2, 5], np.int64)],
        [np.array([2**64 - 1, 2**64 - 2], np.uint64)] * 2,
        [np.array([1, 2]), np.array([3, 2], np.uint64)],
        [np.array([1, 2]), np.array([0.5, 2.0])],
        [np.array([1, 2], np.float32), np.array([0.5, 2.0])],
        [objects(10**30, 10**30 + 1), np.array([1, 2])],
        [objects((1, "a"), (1, "b")), objects((2, "a"), (1, "b"))],
    ],
    ids=range(10),
)
def test_users_stay_apart_when_logs_are_joined(columns):
    joined = opl.BanditFeedback.concatenate([log_of(user_id=column) for column in columns])
    expected = [user for column in columns for user in np.asarray(column).tolist()]
    assert joined.user_id.tolist() == expected
    assert len(joined.units) == len(set(expected))


def test_times_of_two_units_are_joined_in_one():
    day, second = (np.array(["2024-01-02"], f"M8[{unit}]") for unit in "Ds")
    joined = opl.BanditFeedback.concatenate([log_of(timestamp=day), log_of(timestamp=second)])
    assert (joined.timestamp == np.datetime64("2024-01-02")).all()


@pytest.mark.parametrize(
    ("logs", "error", "message"),
    [
        (None, TypeError, "logs must be a list of logs; got NoneType"),
        (3, TypeError, "logs must be a list of logs; got int"),
        ([None], TypeError, "logs must be a list of BanditFeedback; entry 0 is NoneType"),
        ("ab", TypeError, "entry 0 is str"),
        ({"a": 1}, TypeError, "entry 0 is str"),
        ([opl.BanditFeedback], TypeError, "entry 0 is type"),
        ((), ValueError, "at least one log; got none"),
    ],
    ids=str,
)
def test_what_is_no_list_of_logs_is_not_joined(logs, error, message):
    with pytest.raises(error, match=message):
        opl.BanditFeedback.concatenate(logs)


def test_one_log_is_no_list_but_a_generator_is_one():
    log = log_of(user_id=[1, 2])
    with pytest.raises(TypeError, match="logs must be a list of logs; got BanditFeedback"):
        opl.BanditFeedback.concatenate(log)
    assert len(opl.BanditFeedback.concatenate(each for each in (log, log))) == 4
