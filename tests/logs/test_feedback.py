"""The log: what it rejects and how it says so, splits, joins, conversions, support report."""

import copy
import dataclasses
import pickle

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl

REQUIRED = ("context", "action", "reward", "pscore", "action_context")
OPTIONAL = ("position", "user_id", "timestamp")


def columns_of(log):
    return {name: getattr(log, name) for name in (*REQUIRED, *OPTIONAL)}


def assert_equal_logs(got, expected):
    for name, column in columns_of(expected).items():
        np.testing.assert_array_equal(getattr(got, name), column, err_msg=name)


@pytest.fixture
def columns():
    """Four good rounds over three items, writable."""
    return {
        "context": np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5]]),
        "action": np.array([0, 2, 1, 2]),
        "reward": np.array([1.0, 0.0, 1.0, 0.0]),
        "pscore": np.array([0.5, 0.25, 0.25, 1.0]),
        "action_context": np.array([[1.0], [2.0], [3.0]]),
        "position": np.array([0, 1, 2, 0]),
        "user_id": np.array(["u", "v", "u", "w"]),
        "timestamp": np.array([3, 1, 2, 4]),
    }


def with_value(column, place, value):
    changed = column.astype(float)
    changed[place] = value
    return changed


# ---- what a log is


def test_a_log_knows_its_sizes(columns):
    log = opl.BanditFeedback(**columns)
    assert (log.n_rounds, len(log), log.n_actions) == (4, 4, 3)
    assert (log.dim_context, log.dim_action_context) == (2, 1)


def test_repr_shows_sizes_mean_reward_and_optional_columns(columns):
    assert repr(opl.BanditFeedback(**columns)) == (
        "BanditFeedback(4 rounds, 3 items, mean reward 0.5,\n"
        "               2 context features, 1 item features, position, user_id, timestamp)"
    )
    required = {name: columns[name] for name in REQUIRED}
    assert repr(opl.BanditFeedback(**required)).endswith("1 item features)")


def test_repr_of_rewards_whose_sum_overflows(columns):
    columns["reward"] = np.full(4, 1.5e308)
    with np.errstate(all="raise"):
        assert "mean reward 1.5e+308" in repr(opl.BanditFeedback(**columns))


def test_repr_of_a_large_log_groups_digits(small_log):
    log = small_log[np.zeros(12_345, dtype=int)]
    assert repr(log).startswith("BanditFeedback(12,345 rounds, 4 items")


def test_a_log_is_frozen(columns):
    log = opl.BanditFeedback(**columns)
    with pytest.raises(dataclasses.FrozenInstanceError):
        log.reward = columns["reward"]


def test_arrays_are_read_only_while_the_callers_stay_writable(columns):
    log = opl.BanditFeedback(**columns)
    for name, mine in columns.items():
        with pytest.raises(ValueError, match="read-only"):
            getattr(log, name)[0] = getattr(log, name)[1]
        assert mine.flags.writeable, name


def test_a_log_owns_its_data(columns):
    """Else `context[0] = nan` after the checks would be in the log."""
    log = opl.BanditFeedback(**columns)
    for name, mine in columns.items():
        before = mine[0].copy()
        mine[0] = mine[1]
        np.testing.assert_array_equal(getattr(log, name)[0], before, err_msg=name)


def test_parts_and_changed_copies_share_what_is_read_only(columns):
    log = opl.BanditFeedback(**columns)
    assert dataclasses.replace(log, position=None).context is log.context
    assert log[:2].action_context is log.action_context


def test_a_log_survives_a_pickle_with_its_units(columns):
    log = opl.BanditFeedback(**columns)
    assert log.units.name == "user"
    back = pickle.loads(pickle.dumps(log))
    assert_equal_logs(back, log)
    np.testing.assert_array_equal(back.units.number, log.units.number)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda log: pickle.loads(pickle.dumps(log, 5))]
)
def test_a_copy_of_a_log_is_as_read_only_as_the_log(columns, copied):
    log = opl.BanditFeedback(**columns, cluster_pscore=np.ones(4))
    back = copied(log)
    assert_equal_logs(back, log)
    for name in (*columns, "cluster_pscore"):
        assert not getattr(back, name).flags.writeable, name
    assert not back.units.number.flags.writeable


def test_an_unpickled_log_is_checked(columns):
    log = opl.BanditFeedback(**columns)
    object.__setattr__(log, "pscore", np.full(4, np.nan))
    with pytest.raises(ValueError, match="pscore must be in"):
        pickle.loads(pickle.dumps(log))


def test_what_was_read_only_when_passed_may_be_written_to_later(columns):
    """The array itself, set back to writeable, or a view that was made before."""
    view = columns["reward"][:]
    columns["reward"].flags.writeable = False
    log = opl.BanditFeedback(**columns)
    view[0] = np.nan
    columns["reward"].flags.writeable = True
    columns["reward"][1] = np.nan
    assert log.reward.tolist() == [1, 0, 1, 0]


def test_editing_a_frame_changes_no_log():
    clicks = pd.DataFrame({"age": [0.1, 0.2], "item": [0, 1], "click": [0.0, 1.0], "p": [0.5, 0.5]})
    clicks["user"], clicks["day"], items = ["u", "v"], [1, 2], pd.DataFrame({"f": [1.0, 2.0]})
    log = opl.BanditFeedback.from_dataframe(
        clicks,
        context=["age"],
        action="item",
        reward="click",
        pscore="p",
        user_id="user",
        timestamp="day",
        items=items.to_numpy(),
    )
    before = columns_of(log)
    before = {name: None if column is None else column.copy() for name, column in before.items()}
    clicks.iloc[0] = clicks.iloc[1]
    items.iloc[0] = np.nan
    for name, column in before.items():
        np.testing.assert_array_equal(getattr(log, name), column, err_msg=name)


def test_a_file_that_is_opened_for_reading_is_not_copied(columns, tmp_path):
    for name in ("context", "pscore", "action"):
        np.save(tmp_path / name, columns[name])
        columns[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
    log = opl.BanditFeedback(**columns)
    for name in ("context", "pscore", "action"):
        assert np.shares_memory(getattr(log, name), columns[name]), name
    np.save(tmp_path / "reward", columns["reward"])
    for mode in ("c", "r+"):  # which can be written to
        columns["reward"] = np.load(tmp_path / "reward.npy", mmap_mode=mode)
        log = opl.BanditFeedback(**columns)
        columns["reward"][0] = 7
        assert log.reward[0] == 1
        columns["reward"][0] = 1


def test_every_log_has_units_of_its_own(columns):
    log = opl.BanditFeedback(**columns)
    assert (len(log.units), log.units.name) == (3, "user")
    assert (len(log[1:].units), log[1:].units.name) == (3, "round")
    assert dataclasses.replace(log, user_id=None).units.name == "round"


def test_lists_booleans_and_small_types_are_accepted(columns):
    columns["reward"] = [True, False, True, False]
    columns["action"] = columns["action"].astype(np.uint8)
    columns["context"] = columns["context"].tolist()
    log = opl.BanditFeedback(**columns)
    assert log.reward.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert (log.reward.dtype, log.action.dtype) == (np.float64, np.int64)


def test_rewards_may_be_any_finite_number(columns):
    columns["reward"] = np.array([-3.0, 1e6, 0.5, 0.0])
    assert opl.BanditFeedback(**columns).reward.tolist() == [-3.0, 1e6, 0.5, 0.0]


# ---- what a log rejects


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": np.ones(4)}, r"context must have 2 dimensions; got shape \(4,\)"),
        ({"context": np.ones((4, 1, 1))}, r"context must have 2 dimensions; got shape \(4, 1, 1\)"),
        ({"context": np.ones((4, 0))}, "context has no columns; pass at least one feature"),
        ({"context": np.ones((0, 2))}, "the log is empty: context has 0 rows. Check the filter"),
        ({"context": np.ones((5, 2))}, "action has 4 rows but context has 5: every column"),
        ({"context": np.array([["a", "b"]] * 4)}, "context must be numeric; .*Encode categories"),
        ({"context": np.array([[1, None]] * 4)}, "context must be numeric; got dtype object"),
        ({"action": np.array([0.0, 1.0, 2.0, 0.0])}, r"action must hold integers; .*astype\(int\)"),
        ({"action": np.array([True, False, True, True])}, "action must hold integers; got .*bool"),
        ({"action": np.array(["0", "1", "2", "0"])}, "action must hold integers"),
        ({"action": np.array([0, 1, 3, 0])}, r"action must be in \[0, 2\].*row 2 has 3\. Renumber"),
        ({"action": np.array([0, -1, 2, 0])}, r"action must be in \[0, 2\].*row 1 has -1"),
        ({"action": np.zeros((4, 1), int)}, r"action must have 1 dimension; got shape \(4, 1\)"),
        ({"action": np.zeros(3, int)}, "action has 3 rows but context has 4"),
        ({"reward": np.ones((4, 1))}, r"reward must have 1 dimension; got shape \(4, 1\)"),
        ({"reward": np.ones(5)}, "reward has 5 rows but context has 4"),
        ({"reward": np.array(["1", "0", "1", "0"])}, "reward must be numeric; got dtype <U1"),
        ({"reward": np.ones(4) * 1j}, "reward must be numeric; got dtype complex128"),
        ({"pscore": np.ones(2)}, "pscore has 2 rows but context has 4"),
        ({"pscore": np.ones((4, 3))}, r"pscore must have 1 dimension; got shape \(4, 3\)"),
        ({"pscore": [0.5, 0.5, 0.0, 1]}, r"pscore must be in \(0, 1\]; row 2 has 0.0.*epsilon = 0"),
        ({"pscore": [0.5, 1.5, 0.5, 1]}, r"pscore must be in \(0, 1\]; row 1 has 1.5"),
        ({"pscore": [-0.1, 0.5, 0.5, 1]}, r"pscore must be in \(0, 1\]; row 0 has -0.1"),
        ({"pscore": [0.5, 0.5, 0.5, np.nan]}, r"pscore must be in \(0, 1\]; row 3 has nan"),
        ({"pscore": [np.inf, 0.5, 0.5, 1]}, r"pscore must be in \(0, 1\]; row 0 has inf"),
        ({"pscore": [0.5, 1e-320, 0.5, 1]}, "pscore must be such that 1 / p is finite; row 1 has"),
        ({"pscore": [5e-324] * 4}, "pscore must be such that 1 / p is finite; row 0 has 5e-324"),
        ({"pscore": [0.5, None, 0.5, 1]}, "pscore must be numeric; .*row 1 is missing"),
        ({"pscore": ["0.5"] * 4}, r"pscore must be numeric; .*'0\.5', a number stored as text"),
        ({"context": None}, "context must be an array; got None"),
        ({"action": None}, "action must be an array; got None"),
        ({"reward": (each for each in "1010")}, "reward must be an array; got an object of type g"),
        ({"context": {1.0: 2.0}}, "context must be an array; got {1.0: 2.0}"),
        ({"context": [[1.0], [1.0, 2.0], [1.0], [1.0]]}, "context cannot be read as an array"),
        ({"action_context": np.ones(3)}, r"action_context must have 2 dimensions; .*\(3,\)"),
        ({"action_context": np.ones((3, 0))}, "action_context has no columns"),
        ({"action_context": np.ones((1, 2))}, "action_context has 1 row: .*every item"),
        ({"action_context": np.array([["a"]] * 3)}, "action_context must be numeric"),
        ({"position": np.array([0, 1, -1, 0])}, "position must be 0 or more; row 2 has -1.*from 0"),
        ({"position": np.array([0.0, 1, 2, 0])}, "position must hold integers"),
        ({"position": np.zeros(3, int)}, "position has 3 rows but context has 4"),
        ({"user_id": np.array(["u", "v"])}, "user_id has 2 rows but context has 4"),
        ({"user_id": np.zeros((4, 2))}, r"user_id .*\(4, 2\)"),
        ({"user_id": 3}, "user_id"),
        ({"timestamp": np.arange(5)}, "timestamp has 5 rows but context has 4"),
        ({"timestamp": np.array([1.0, 2.0, np.nan, 3.0])}, "timestamp .*row 2"),
        ({"timestamp": np.array(["2020", "NaT", "2021", "2022"], "M8[D]")}, "timestamp .*row 1"),
    ],
)
def test_bad_columns_are_rejected_with_name_place_and_cure(columns, change, message):
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback(**{**columns, **change})


def test_a_cluster_is_at_least_as_likely_as_its_item(columns):
    at_least = columns["pscore"].copy()
    log = opl.BanditFeedback(**columns, cluster_pscore=at_least * (1 - 1e-9))
    assert repr(log).endswith("timestamp, cluster_pscore)")
    at_least[1] = 0.2
    message = r"cluster_pscore must be at least pscore, .*row 1 has 0.2. Sum .*np.maximum"
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback(**columns, cluster_pscore=at_least)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("name", "place", "where"),
    [
        ("context", (2, 1), "row 2, column 1"),
        ("reward", 3, "row 3"),
        ("action_context", (1, 0), "row 1, column 0"),
    ],
)
def test_numbers_must_be_finite(columns, name, place, where, value):
    columns[name] = with_value(columns[name], place, value)
    message = f"{name} must be finite; {where} has {value}. Drop or impute it."
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback(**columns)


# ---- rows of a log


@pytest.mark.parametrize(
    "rows",
    [slice(1, 3), slice(None, None, -1), [2, 0, 0], np.array([True, False, True, False]), -1],
    ids=str,
)
def test_indexing_takes_the_same_rows_of_every_column(columns, rows):
    log = opl.BanditFeedback(**columns)[rows]
    for name, column in columns.items():
        expected = column if name == "action_context" else np.atleast_1d(np.arange(4)[rows])
        expected = expected if name == "action_context" else column[expected]
        np.testing.assert_array_equal(getattr(log, name), expected, err_msg=name)


def test_indexing_keeps_missing_columns_missing(columns):
    log = opl.BanditFeedback(**{name: columns[name] for name in REQUIRED})[:2]
    assert (log.position, log.user_id, log.timestamp) == (None, None, None)


def test_an_empty_selection_is_an_error_that_names_the_filter(columns):
    with pytest.raises(ValueError, match=r"the log is empty.*Check the filter"):
        opl.BanditFeedback(**columns)[np.zeros(4, dtype=bool)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (4, r"rows must be in \[-4, 3\]; .* 4\."),
        (-5, r"rows must be in \[-4, 3\]"),
        ([0, 4], r"rows must be in \[-4, 3\]; row 1 has 4"),
        (2**70, "rows must be"),
        ([True, False], "rows is a mask of 2 rows, but the log has 4"),
        ([], "the log is empty.*Check the filter"),
        ([0.0, 1.0], "rows must be a slice, integers or a boolean mask.*float64"),
        (["a"], "rows must be a slice, integers or a boolean mask"),
        ("ab", "rows must be an array; got 'ab'"),
        (None, "rows must be an array; got None"),
        (True, "rows must be an array; got True"),
        (np.True_, "rows must be an array"),
        (1.5, "rows must be an array; got 1.5"),
        ((0, 1), "rows cannot be a tuple"),
        (Ellipsis, "rows must be an array"),
        (np.zeros((2, 2), int), r"one dimension; got shape \(2, 2\)"),
        (slice(None, None, 0), "rows cannot be a slice"),
        (slice("a", None), "rows cannot be a slice"),
        (slice(0.0, 2.0), "rows cannot be a slice"),
        (np.ma.masked_array([0, 1], [False, True]), "rows is masked in row 1"),
    ],
    ids=str,
)
def test_what_are_no_rows_is_refused(columns, rows, message):
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback(**columns)[rows]


def test_rows_may_be_of_any_integers_and_columns_of_a_frame(columns):
    log = opl.BanditFeedback(**columns)
    expected = log[[1, 3]].reward
    mask = pd.Series([False, True, False, True], index=[3, 2, 1, 0])
    for rows in (np.array([1, -1], np.int8), np.array([1, 3], np.uint64), mask, pd.Index([1, 3])):
        np.testing.assert_array_equal(log[rows].reward, expected)
    assert log[np.int8(1)].n_rounds == log[np.uint64(1) : np.int8(2)].n_rounds == 1


def test_a_loop_goes_through_the_rounds(columns):
    assert [each.reward.tolist() for each in opl.BanditFeedback(**columns)] == [[1], [0], [1], [0]]


# ---- splits


@pytest.fixture
def numbered_log(small_log):
    """The small log with its row number as the reward, so that rows can be recognised."""
    columns = {**columns_of(small_log), "reward": np.arange(120.0)}
    return opl.BanditFeedback(**columns)


def row_sets(logs):
    return [set(log.reward.astype(int).tolist()) for log in logs]


@pytest.mark.parametrize("method", ["split", "split_by_time"])
def test_splits_are_a_partition_of_the_rows(numbered_log, method):
    first, second = getattr(numbered_log, method)(test_fraction=0.25)
    first_rows, second_rows = row_sets([first, second])
    assert first_rows | second_rows == set(range(120))
    assert len(first) + len(second) == 120
    for part in (first, second):
        assert_equal_logs(part, numbered_log[part.reward.astype(int)])


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_split_has_the_size_asked_for_and_keeps_the_order(numbered_log, fraction):
    first, second = dataclasses.replace(numbered_log, user_id=None).split(fraction)
    assert len(second) == round(120 * fraction)
    assert (np.diff(first.reward) > 0).all() and (np.diff(second.reward) > 0).all()


def test_split_is_not_the_head_and_tail_of_the_log(numbered_log):
    second = row_sets(numbered_log.split(0.5))[1]
    assert 15 < len(second & set(range(60))) < 45


def test_random_splits_are_reproducible_and_follow_random_state(numbered_log):
    split = numbered_log.split
    assert row_sets(split(random_state=5)) == row_sets(split(random_state=5))
    assert row_sets(split(random_state=5)) != row_sets(split(random_state=6))


def test_split_by_time_puts_nothing_earlier_after_anything_later(numbered_log):
    first, second = numbered_log.split_by_time(0.25)
    assert first.timestamp.max() < second.timestamp.min()
    assert len(second) == 30


def test_split_by_time_keeps_ties_together(columns):
    columns["timestamp"] = np.array([2, 1, 2, 1])
    first, second = opl.BanditFeedback(**columns).split_by_time(0.25)
    assert (first.timestamp.tolist(), second.timestamp.tolist()) == ([1, 1], [2, 2])


def test_split_by_time_never_leaves_the_first_log_empty(columns):
    columns["timestamp"] = np.array([1, 1, 1, 2])
    first, second = opl.BanditFeedback(**columns).split_by_time(0.5)
    assert (first.timestamp.tolist(), second.timestamp.tolist()) == ([1, 1, 1], [2])


@pytest.mark.parametrize(("fraction", "n_later"), [(0.3, 1), (0.4, 1), (0.6, 9), (0.9, 9)], ids=str)
def test_split_by_time_takes_the_cut_nearest_to_what_was_asked(tiny_world, fraction, n_later):
    """One round early, eight at once, one late: sides of 1 and 9, or of 9 and 1."""
    log = tiny_world.sample(10, random_state=0)
    log = dataclasses.replace(log, timestamp=np.array([0, *[1] * 8, 2]))
    first, second = log.split_by_time(fraction)
    assert (len(first), len(second)) == (10 - n_later, n_later)


def test_split_by_time_takes_dates(columns):
    columns["timestamp"] = np.array(["2020-02", "2020-01", "2020-04", "2020-03"], "M8[M]")
    second = opl.BanditFeedback(**columns).split_by_time(0.25)[1]
    assert second.timestamp.astype(str).tolist() == ["2020-04"]


def test_split_puts_no_user_in_both_logs(numbered_log):
    first, second = numbered_log.split(0.2)
    assert not set(first.user_id) & set(second.user_id)
    assert len(set(second.user_id)) == 6


@pytest.mark.parametrize("method", ["split", "split_by_time"])
@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan"), True, "0.3", None])
def test_fractions_out_of_range_are_rejected(small_log, method, fraction):
    with pytest.raises(ValueError, match=rf"test_fraction must be in \(0, 1\); got {fraction!r}"):
        getattr(small_log, method)(fraction)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "a", None, [1], 2**32])
def test_what_are_no_seeds_is_rejected(small_log, seed):
    with pytest.raises(ValueError, match=r"random_state must be an integer of at"):
        small_log.split(0.3, seed)


@pytest.mark.parametrize(
    ("method", "what"),
    [("split", "3 users"), ("split_by_time", "4 rounds")],
)
@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_split_that_leaves_one_side_empty_is_rejected(columns, method, what, fraction):
    message = f"test_fraction={fraction} of {what} leaves one side empty"
    with pytest.raises(ValueError, match=message):
        getattr(opl.BanditFeedback(**columns), method)(fraction)


def test_a_split_by_time_asks_for_times(columns):
    del columns["timestamp"]
    with pytest.raises(ValueError, match=r"this log has none\. Pass timestamp="):
        opl.BanditFeedback(**columns).split_by_time()


def test_equal_timestamps_cannot_be_split(columns):
    columns["timestamp"] = np.full(4, 7)
    with pytest.raises(ValueError, match="all timestamps are 7: the log cannot be split"):
        opl.BanditFeedback(**columns).split_by_time()


# ---- joins


def test_concatenate_joins_rows_in_order(numbered_log):
    parts = [numbered_log[:50], numbered_log[50:51], numbered_log[51:]]
    assert_equal_logs(opl.BanditFeedback.concatenate(parts), numbered_log)


def test_concatenate_keeps_each_logs_own_pscore(columns):
    other = {**columns, "pscore": np.full(4, 0.125)}
    joined = opl.BanditFeedback.concatenate(
        [opl.BanditFeedback(**columns), opl.BanditFeedback(**other)]
    )
    assert joined.pscore.tolist() == [*columns["pscore"], *other["pscore"]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_context": np.full((3, 1), 9.0)}, "log 1 has other item features than log 0"),
        ({"action_context": np.ones((4, 1))}, "log 1 has other item features than log 0"),
        ({"position": None}, "log 1 has no position but others have; add or drop it"),
        ({"timestamp": None}, "log 1 has no timestamp but others have"),
        ({"context": np.ones((4, 3))}, "log 1 .*3 .*log 0 .*2"),
    ],
)
def test_logs_that_do_not_fit_together_are_not_joined(columns, change, message):
    logs = [opl.BanditFeedback(**columns), opl.BanditFeedback(**{**columns, **change})]
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback.concatenate(logs)


def test_logs_without_optional_columns_are_joined_without_them(columns):
    log = opl.BanditFeedback(**{name: columns[name] for name in REQUIRED})
    joined = opl.BanditFeedback.concatenate([log, log])
    assert len(joined) == 8
    assert (joined.position, joined.user_id, joined.timestamp) == (None, None, None)


def test_concatenate_needs_a_log():
    with pytest.raises(ValueError, match="at least one log; got none"):
        opl.BanditFeedback.concatenate([])


# ---- data frames


@pytest.fixture(params=["pandas", "polars"])
def frames(request):
    """The same log in pandas and in polars: (rounds, items), with item ids that are strings."""
    library = pytest.importorskip(request.param)
    rounds = {
        "age": [31, 52, 40],
        "visits": [1.5, 0.0, 2.5],
        "item": ["c", "a", "b"],
        "click": [0, 1, 1],
        "prob": [0.9, 0.1, 0.5],
        "slot": [0, 2, 1],
        "user": ["u", "v", "u"],
        "day": [3, 1, 2],
    }
    items = {"id": ["a", "b", "c"], "price": [3.0, 4.5, 1.0], "stock": [7, 8, 9]}
    return library.DataFrame(rounds), library.DataFrame(items)


NAMES = {
    "context": ["age", "visits"],
    "action": "item",
    "reward": "click",
    "pscore": "prob",
    "item_id": "id",
}


def test_from_dataframe_puts_every_column_in_its_place(frames):
    rounds, items = frames
    log = opl.BanditFeedback.from_dataframe(
        rounds, items=items, position="slot", user_id="user", timestamp="day", **NAMES
    )
    age, visits = np.array([31, 52, 40]), np.array([1.5, 0.0, 2.5])
    for k, column in enumerate((age, visits)):
        np.testing.assert_allclose(log.context[:, k], (column - column.mean()) / column.std())
    assert log.action.tolist() == [2, 0, 1]
    assert log.reward.tolist() == [0, 1, 1]
    assert log.pscore.tolist() == [0.9, 0.1, 0.5]
    price = np.array([3.0, 4.5, 1.0])
    np.testing.assert_allclose(log.action_context[:, 0], (price - price.mean()) / price.std())
    assert np.argsort(log.action_context[:, 1]).tolist() == [0, 1, 2]
    assert log.position.tolist() == [0, 2, 1]
    assert log.user_id.tolist() == ["u", "v", "u"]
    assert log.timestamp.tolist() == [3, 1, 2]


def test_from_dataframe_takes_some_item_features(frames):
    log = opl.BanditFeedback.from_dataframe(
        frames[0], items=frames[1], item_features=["stock"], **NAMES
    )
    assert log.columns.item_features == ["stock"]
    np.testing.assert_allclose(log.action_context[:, 0] * np.sqrt(2 / 3), [-1, 0, 1])


def test_from_dataframe_takes_row_numbers_with_an_item_array(frames):
    names = {**NAMES, "action": "slot", "item_id": None}
    log = opl.BanditFeedback.from_dataframe(frames[0], items=np.eye(3), **names)
    assert log.action.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": ["age", "height"]}, "context: the data frame has no column 'height'; it has"),
        ({"context": "age"}, "context must be a list of column names; got the string 'age'"),
        ({"context": []}, "context must name at least one column"),
        ({"reward": "user"}, "reward: column 'user' has dtype"),
        ({"reward": "clicks"}, "reward: the data frame has no column 'clicks'"),
        ({"pscore": "p"}, "pscore: the data frame has no column 'p'"),
        ({"action": "article"}, "action: the data frame has no column 'article'"),
        ({"action": "user"}, "action: row 0 has item 'u', which is not in items. Add its features"),
        ({"item_id": None}, "items is a data frame: say with item_id="),
        ({"item_id": "ids"}, "item_id of items: the data frame has no column 'ids'"),
        (
            {"item_features": ["colour"]},
            "item_features of items: the data frame has no column 'colour'",
        ),
        ({"item_features": "price"}, "item_features must be a list of column names"),
        ({"item_features": ["price", "price"]}, "item_features names the column 'price' twice"),
        ({"position": "place"}, "position: the data frame has no column 'place'"),
        ({"user_id": "u"}, "user_id: the data frame has no column 'u'"),
        ({"timestamp": "t"}, "timestamp: the data frame has no column 't'"),
    ],
)
def test_from_dataframe_rejects_with_role_and_column(frames, change, message):
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback.from_dataframe(frames[0], items=frames[1], **{**NAMES, **change})


def test_from_dataframe_rejects_an_item_table_with_one_id_twice():
    rounds = pd.DataFrame({"x": [1.0], "item": ["a"], "r": [1], "p": [1.0]})
    items = pd.DataFrame({"id": ["a", "b", "a"], "price": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="item_id is not unique in items; keep one row per item"):
        opl.BanditFeedback.from_dataframe(
            rounds, context=["x"], action="item", reward="r", pscore="p", items=items, item_id="id"
        )


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (None, TypeError, "frame must be a data frame, such as .* got NoneType"),
        ({"x": [1.0]}, TypeError, "frame must be a data frame, .* got dict"),
        ([[1.0]], TypeError, "frame must be a data frame, .* got list"),
        (np.ones((2, 4)), TypeError, "frame must be a data frame, .* got ndarray"),
        (pd.Series([1.0]), TypeError, "frame must be a data frame, .* got Series"),
        (pd.DataFrame, TypeError, "frame must be a data frame, .* got DataFrame"),
        (type("Table", (), {"columns": ["age"]})(), TypeError, "frame must be .* got Table"),
        (pd.DataFrame({"age": []}), ValueError, "the log is empty: frame has no rows"),
    ],
    ids=range(8),
)
def test_what_is_no_frame_is_refused(frame, error, message):
    with pytest.raises(error, match=message):
        from_frame(frame)


@pytest.fixture
def clicks():
    return pd.DataFrame({"age": [0.1, 0.2], "item": ["a", "b"], "click": [0, 1], "p": [0.5, 0.5]})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"context": 3}, TypeError, "context must be a list of column names; got int"),
        ({"context": None}, TypeError, "context must be a list of column names; got NoneType"),
        ({"context": {"age"}}, TypeError, "context must be a list of column names; got set"),
        ({"context": {"age": 1}}, TypeError, "context must be a list of column names; got dict"),
        ({"context": [["age"]]}, TypeError, r"context must be the name of one column; got \['age"),
        ({"reward": ["click"]}, TypeError, r"reward must be the name of one column; got \['click"),
        ({"reward": None}, ValueError, "reward: the data frame has no column None"),
        ({"items": None, "item_id": None}, ValueError, "items must be an array; got None"),
        ({"items": np.ones(2), "item_id": None}, ValueError, "items must have 2 dimensions"),
        ({"items": pd.DataFrame, "item_id": None}, ValueError, "items must be an array"),
        ({"items": pd.DataFrame({"id": []})}, ValueError, "items has no rows"),
        ({"item_features": 3}, TypeError, "item_features must be a list of column names; got int"),
    ],
    ids=range(12),
)
def test_roles_that_name_no_columns_are_refused(clicks, change, error, message):
    with pytest.raises(error, match=message):
        from_frame(clicks, **change)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("age", [0.1, np.inf], "context: column 'age' must be finite; row 1 has inf"),
        ("click", [np.nan, 1], "reward: column 'click' must be finite; row 0 has nan"),
        ("p", ["0.5", "0.5"], r"pscore: column 'p' .*'0\.5', a number stored as text"),
        ("age", [None, None], "context: column 'age' is missing in every row"),
        ("age", [0.1j, 0.2], "context: column 'age' .*Take its real part"),
    ],
    ids=range(5),
)
def test_bad_values_of_a_frame_are_named_with_its_column(clicks, column, values, message):
    with pytest.raises(ValueError, match=message):
        from_frame(clicks.assign(**{column: values}))


def test_names_of_several_levels_are_given_in_full(clicks):
    names = [("age", "log"), ("item", "log"), ("click", "log"), ("p", "log")]
    clicks.columns = pd.MultiIndex.from_tuples(names)
    with pytest.raises(ValueError, match=r"names of 2 levels, and 'age' is a part.*\('age', 'log'"):
        from_frame(clicks)
    roles = dict(zip(("action", "reward", "pscore"), names[1:], strict=True))
    assert from_frame(clicks, context=names[:1], **roles).action.tolist() == [0, 1]
    clicks.columns = pd.MultiIndex.from_tuples([names[0], names[0], *names[2:]])
    with pytest.raises(ValueError, match=r"several columns called \('age', 'log'\)"):
        from_frame(clicks, context=names[:1], **{**roles, "action": names[2]})


# ---- obp's dictionary


def test_obp_round_trip_keeps_every_column_obp_knows(small_log):
    back = opl.BanditFeedback.from_obp(small_log.to_obp())
    for name in (*REQUIRED, "position"):
        np.testing.assert_array_equal(getattr(back, name), getattr(small_log, name))


def test_to_obp_says_the_sizes(small_log):
    dictionary = small_log.to_obp()
    assert (dictionary["n_rounds"], dictionary["n_actions"]) == (120, 4)


def test_from_obp_leaves_the_oracle(small_log):
    log = opl.BanditFeedback.from_obp({**small_log.to_obp(), "expected_reward": np.ones((120, 4))})
    assert not hasattr(log, "expected_reward")


@pytest.mark.parametrize("key", REQUIRED)
def test_from_obp_names_the_missing_key(small_log, key):
    dictionary = small_log.to_obp()
    with pytest.raises(ValueError, match=f"the obp dictionary lacks {key}; it has"):
        opl.BanditFeedback.from_obp({k: v for k, v in dictionary.items() if k != key})
    with pytest.raises(ValueError, match=f"the obp dictionary lacks {key}; it has"):
        opl.BanditFeedback.from_obp({**dictionary, key: None})


@pytest.mark.parametrize("given", [None, 3, [1], "context", np.ones(3)], ids=str)
def test_what_is_no_dictionary_is_refused(given):
    with pytest.raises(TypeError, match="bandit_feedback must be the dictionary of an obp dataset"):
        opl.BanditFeedback.from_obp(given)


def test_from_obp_takes_item_features_that_the_dictionary_lacks_or_has(small_log):
    dictionary = small_log.to_obp()
    lacking = {key: value for key, value in dictionary.items() if key != "action_context"}
    for source in (lacking, dictionary):
        log = opl.BanditFeedback.from_obp(source, action_context=np.eye(4))
        np.testing.assert_array_equal(log.action_context, np.eye(4))
        np.testing.assert_array_equal(log.context, small_log.context)
    with pytest.raises(ValueError, match=r"lacks action_context; .* Pass item features"):
        opl.BanditFeedback.from_obp(lacking)


# ---- support


def test_support_report_equals_the_hand_computation(columns):
    pi = np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5]])
    del columns["user_id"]
    report = opl.BanditFeedback(**columns).support_report(lambda context, items: pi)
    # weights 0.5/0.5, 0.5/0.25, 0.5/0.25, 0.5/1
    assert report.mean_weight == pytest.approx((1 + 2 + 2 + 0.5) / 4)
    assert report.ess == pytest.approx(5.5**2 / (1 + 4 + 4 + 0.25))
    assert report.max_weight == 2
    deviations = np.array([1, 2, 2, 0.5]) - 1.375
    assert report.mean_weight_se == pytest.approx(np.sqrt((deviations**2).sum() / 3 / 4))
    assert (report.n_rounds, report.n_actions) == (4, 3)
    assert (report.n_unsupported, report.unsupported_mass) == (0, 0)


def test_support_report_counts_items_never_logged_and_their_mass(columns):
    columns["action_context"] = np.ones((5, 1))
    pi = np.tile([0.1, 0.2, 0.3, 0.15, 0.25], (4, 1))
    report = opl.BanditFeedback(**columns).support_report(lambda context, items: pi)
    assert report.n_unsupported == 2
    assert report.unsupported_mass == pytest.approx(0.4)


def test_support_report_takes_a_policy_object_and_chunks(columns, small_chunks):
    log = opl.BanditFeedback(**columns)
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(2, 1, hidden=(), dim_embedding=2, random_state=0))
    whole = log.support_report(policy)
    small_chunks()
    parts = log.support_report(policy)
    assert dataclasses.asdict(parts) == pytest.approx(dataclasses.asdict(whole))


def test_a_right_log_has_no_findings(tiny_world):
    log = tiny_world.sample(500, random_state=0)
    assert log.support_report(opl.uniform()).findings == []
    assert "!" not in repr(log.support_report(opl.uniform()))


def test_wrong_pscores_are_a_finding(tiny_world):
    log = tiny_world.sample(500, random_state=0)
    columns = {**columns_of(log), "pscore": np.minimum(1, log.pscore * 1.5)}
    report = opl.BanditFeedback(**columns).support_report(opl.uniform())
    assert [finding[:26] for finding in report.findings] == ["the mean weight is not 1: "]
    assert "  ! the mean weight is not 1: pscore is wrong" in repr(report)


def test_balance_is_the_distance_of_each_term_from_zero(tiny_world):
    log = tiny_world.sample(500, random_state=0)
    table = log.balance()
    assert list(table.index) == ["1", "x0", "x1"] and list(table) == [0, 1, 2]
    for feature, f in enumerate([np.ones(500), *(log.context - log.context.mean(axis=0)).T]):
        for item in range(3):
            terms = f * ((log.action == item) / log.pscore - 1)
            distance = terms.mean() / (terms.std(ddof=1) / np.sqrt(500))
            assert table.iloc[feature, item] == pytest.approx(distance)
    assert abs(table).max(axis=None) < 4


def test_balance_says_nothing_of_items_that_were_hardly_shown(tiny_world):
    log = tiny_world.sample(500, random_state=0)
    rare = np.flatnonzero(log.action == 2)[29:]
    some = log[np.setdiff1d(np.arange(500), rare)]
    assert some.balance().isna().all().tolist() == [False, False, True]
    assert log[:20].balance().isna().all(axis=None)


def test_balance_is_that_of_features_wherever_they_are_centred(tiny_world):
    log = tiny_world.sample(500, random_state=0)
    wrong = dataclasses.replace(log, pscore=np.full(500, 1 / 3))
    moved = dataclasses.replace(wrong, context=100 + 10 * log.context)
    np.testing.assert_allclose(moved.balance(), wrong.balance(), atol=1e-6)
    assert abs(moved.balance().drop("1")).max(axis=None) > 5


def test_a_right_log_is_rarely_out_of_balance():
    """Of 25 numbers the largest is above 3.5 in one log of a hundred."""
    world = opl.SyntheticWorld(5, 4, 4, logging_policy=opl.softmax(1.0), n_eval_contexts=1)
    largest = [abs(world.sample(1000, s).balance()).max(axis=None) for s in range(200)]
    assert (np.array(largest) > 3.54).sum() <= 7  # of a Poisson with mean 2: 0.1 %


def test_rounded_propensities_are_no_finding():
    world = opl.SyntheticWorld(7, 4, 4, n_eval_contexts=1)
    log = world.sample(500, random_state=0)
    for pscore, n_findings in ((0.143, 0), (0.14, 1)):
        rounded = dataclasses.replace(log, pscore=np.full(500, pscore))
        assert len(rounded.support_report(opl.uniform()).findings) == n_findings


def test_few_effective_rounds_are_a_finding():
    n = 400
    log = opl.BanditFeedback(
        context=np.ones((n, 1)),
        action=np.r_[0, np.ones(n - 1, int)],
        reward=np.zeros(n),
        pscore=np.r_[0.001, np.full(n - 1, 0.999)],
        action_context=np.eye(2),
    )
    findings = log.support_report(opl.uniform()).findings
    assert any("effective rounds of 400" in finding for finding in findings)


@pytest.mark.parametrize("pscore", [1e-9, 1e-30, 1e-160, 1e-300, 3e-308])
@pytest.mark.parametrize("n_degenerate", [1, 2, 4])
def test_degenerate_propensities_are_a_finding(tiny_world, pscore, n_degenerate):
    """One alone may leave the mean weight within its own error."""
    log = tiny_world.sample(40, random_state=0)
    changed = log.pscore.copy()
    changed[:n_degenerate] = pscore
    report = dataclasses.replace(log, pscore=changed).support_report(opl.uniform())
    assert any(f.startswith("the largest weight is") for f in report.findings)
    assert max(map(len, repr(report).splitlines())) < 250
    numbers = dataclasses.asdict(report)
    assert all(np.isfinite(n) for n in numbers.values() if not isinstance(n, str)), numbers
    assert report.ess == pytest.approx(n_degenerate, rel=1e-6)
    assert report.mean_weight == pytest.approx(n_degenerate / 3 / pscore / 40, rel=1e-6)
    terms = np.r_[np.ones(n_degenerate), np.zeros(40 - n_degenerate)]
    expected = terms.std(ddof=1) / np.sqrt(40)
    assert report.mean_weight_se * 3 * pscore == pytest.approx(expected, rel=1e-6)


def test_balance_asks_for_weights_that_can_be_squared(tiny_world):
    log = tiny_world.sample(40, random_state=0)
    changed = log.pscore.copy()
    changed[3] = 1e-300
    with pytest.raises(ValueError, match=r"pscore must be at least 1e-100, .*; row 3 has 1e-300"):
        dataclasses.replace(log, pscore=changed).balance()


@pytest.mark.parametrize("power", [-1000, -600, 600, 1000])
def test_balance_is_that_of_features_of_any_size(tiny_world, power):
    log = tiny_world.sample(500, random_state=0)
    huge = dataclasses.replace(log, context=np.ldexp(log.context, [power, 0]))
    np.testing.assert_array_equal(huge.balance(), log.balance())


def test_items_never_logged_are_a_finding(tiny_world):
    log = tiny_world.sample(500, random_state=0)
    columns = {**columns_of(log), "action_context": np.eye(4)}
    findings = opl.BanditFeedback(**columns).support_report(opl.uniform()).findings
    assert any(f.startswith("25.0% of the policy is on items the log never") for f in findings)


def test_support_report_prints_its_numbers(columns):
    del columns["user_id"]
    lines = repr(opl.BanditFeedback(**columns).support_report(opl.uniform())).splitlines()
    assert lines[0] == "SupportReport(4 rounds, 3 items)"
    assert lines[1].split()[3:] == ["3.3", "(81.8%", "of", "the", "rounds)"]


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        (lambda x, a: x @ np.ones((2, 3)), ValueError, r"row 0 .*sum 3.*logits\? Apply a softmax"),
        (lambda x, a: np.ones((4, 2)) / 2, ValueError, r"shape \(4, 2\); expected .* \(4, 3\)"),
        (
            lambda x, a: np.full((4, 3), np.nan),
            ValueError,
            "nan for item 0 in row 0 .*Fit",
        ),
        (lambda x, a: np.tile([1.5, -0.5, 0], (4, 1)), ValueError, "min -0.5"),
        ("uniform", TypeError, r"predict_proba\(context, action_context\), or a function.* str"),
    ],
)
def test_support_report_rejects_what_is_no_policy(columns, policy, error, message):
    with pytest.raises(error, match=message):
        opl.BanditFeedback(**columns).support_report(policy)


# ---- values that are nearly right, missing or ambiguous


def test_a_pscore_that_rounding_put_above_one_is_one(columns):
    columns["pscore"] = np.array([0.5, 0.25, 0.25, 1.0000001], dtype=np.float32)
    assert columns["pscore"][3] > 1
    assert opl.BanditFeedback(**columns).pscore[3] == 1
    columns["pscore"] = np.array([0.5, 0.25, 0.25, 1.001])
    with pytest.raises(ValueError, match=r"row 3 has 1.001.*above 1 is no probability"):
        opl.BanditFeedback(**columns)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT])
@pytest.mark.parametrize("name", ["user_id", "timestamp"])
def test_a_missing_label_is_named_with_its_row(columns, name, missing):
    columns[name] = np.array(["a", "b", missing, "c"], dtype=object)
    with pytest.raises(ValueError, match=f"{name} is missing in row 2"):
        opl.BanditFeedback(**columns)


def test_labels_of_mixed_types_are_rejected_at_once(columns):
    columns["user_id"] = np.array(["a", 1, "b", 2], dtype=object)
    with pytest.raises(ValueError, match=r"user_id has values of several types: .* one type"):
        opl.BanditFeedback(**columns)


def test_a_missing_position_is_named_with_its_row(columns):
    columns["position"] = np.array([0, np.nan, 1, 2])
    with pytest.raises(ValueError, match="position is missing in row 1"):
        opl.BanditFeedback(**columns)


@pytest.mark.parametrize("name", ["context", "action", "reward", "pscore", "user_id"])
def test_masked_values_are_not_read_through_their_mask(columns, name):
    values = np.asarray(columns[name])
    mask = np.zeros(values.shape, dtype=bool)
    mask[2] = True
    columns[name] = np.ma.masked_array(values, mask)
    with pytest.raises(ValueError, match=f"{name} is masked in row 2"):
        opl.BanditFeedback(**columns)
    columns[name] = np.ma.masked_array(values, np.zeros_like(mask))
    opl.BanditFeedback(**columns)


def from_frame(clicks, **changes):
    items = pd.DataFrame({"id": ["a", "b"], "price": [1.0, 2.0]})
    roles = {"context": ["age"], "action": "item", "reward": "click", "pscore": "p"}
    return opl.BanditFeedback.from_dataframe(
        clicks, **{**roles, "items": items, "item_id": "id", **changes}
    )


@pytest.mark.parametrize("change", [{"item_id": "id"}, {"item_features": ["price"]}], ids=str)
def test_an_item_array_has_no_columns_to_name(change):
    clicks = pd.DataFrame({"age": [0.1, 0.2], "item": [0, 1], "click": [0, 1], "p": [0.5, 0.5]})
    with pytest.raises(ValueError, match=f"{next(iter(change))}=.* but items is no data frame"):
        from_frame(clicks, **{"items": np.eye(2), "item_id": None, **change})


def test_ambiguous_frames_are_rejected():
    clicks = pd.DataFrame({"age": [0.1, 0.2], "item": ["a", "b"], "click": [0, 1], "p": [0.5, 0.5]})
    assert from_frame(clicks).n_rounds == 2
    with pytest.raises(ValueError, match="item_features must name at least one column"):
        from_frame(clicks, item_features=[])
    twice = pd.concat([clicks, clicks[["age"]]], axis=1)
    with pytest.raises(ValueError, match="several columns called 'age'"):
        from_frame(twice)
    polars = pytest.importorskip("polars")
    eager = polars.from_pandas(clicks.astype({"item": object}))
    with pytest.raises(TypeError, match="context must be the name of one column; got"):
        from_frame(eager, context=[polars.col("age")])
    with pytest.raises(ValueError, match="'pair' has several values a row; make columns of them"):
        from_frame(eager.with_columns(pair=polars.struct("age", "click")), context=["pair"])
    with pytest.raises(TypeError, match=r"lazy; call \.collect"):
        from_frame(polars.from_pandas(clicks.astype({"item": object})).lazy())


def test_splitting_keeps_string_users_whole(columns):
    columns["user_id"] = np.array(["x", "y", "x", "z"])
    first, second = opl.BanditFeedback(**columns).split(0.34, random_state=0)
    assert not set(first.user_id) & set(second.user_id)
    assert sorted([*first.user_id, *second.user_id]) == ["x", "x", "y", "z"]
