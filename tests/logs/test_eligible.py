"""What could be shown: sets found, cut and joined; logs that carry them, and are judged by them."""

import copy
import datetime
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl
from opl_lib.logs.eligible import joined

N_ITEMS = 6
ALL = np.ones((3, 3), dtype=bool)


@pytest.fixture(scope="module")
def eligible():
    """Eight sets in the order of time; item 5 is always there, item 0 in few."""
    rng = np.random.default_rng(0)
    sets = rng.random((8, N_ITEMS)) < np.linspace(0.3, 0.9, N_ITEMS)
    sets[:, 5] = True
    return opl.Eligible(sets, np.sort(rng.integers(8, size=4000)))


@pytest.fixture(scope="module")
def log(eligible):
    world = opl.SyntheticWorld(N_ITEMS, 3, 3, logging_policy=opl.softmax(1.0), random_state=0)
    drawn = world.sample(4000, random_state=1, eligible=eligible)
    rng = np.random.default_rng(2)
    return replace(drawn, timestamp=np.arange(4000), user_id=rng.integers(900, size=4000))


def test_sets_are_found_once_and_say_the_same_as_the_mask(eligible):
    mask = eligible.mask()
    shuffled = np.random.default_rng(3).permutation(4000)
    for rows in (slice(None), shuffled):
        found = opl.Eligible.of_mask(mask[rows])
        assert (found.mask() == mask[rows]).all()
        assert len(found.sets) == len(np.unique(mask, axis=0))
    assert (eligible.n_eligible == mask.sum(axis=1)).all()
    assert (eligible.n_offered == mask.sum(axis=0)).all()
    assert (eligible.mask([5, 3999]) == mask[[5, 3999]]).all()


@pytest.mark.parametrize(
    "rows",
    [slice(100, 200), np.arange(4000) % 3 == 0, [3, 3, 0], 7],
    ids=["slice", "mask", "list", "one"],
)
def test_rows_share_the_sets(eligible, rows):
    some = eligible[rows]
    assert np.array_equal(some.mask(), np.atleast_2d(eligible.mask()[rows]))
    assert some.sets is eligible.sets


def test_parts_joined_are_the_whole(eligible):
    parts = [eligible[:1000], eligible[3000:], eligible[1000:3000]]
    whole = joined(parts)
    assert (whole.mask() == np.concatenate([part.mask() for part in parts])).all()
    assert len(whole.sets) == len(opl.Eligible.of_mask(eligible.mask()).sets)


def test_nobody_can_write_to_them(eligible):
    sets = np.array([[True, False]])
    made = opl.Eligible(sets, [0])
    sets[:] = False
    assert made.mask().any()
    for one in (made, eligible[:5], pickle.loads(pickle.dumps(eligible)), copy.deepcopy(eligible)):
        for array in (one.sets, one.number):
            with pytest.raises(ValueError, match="read-only"):
                array[:] = 0


def test_ten_million_rounds_fit_into_a_hundred_megabytes():
    """A thousandth of the rounds is made; a round costs the bytes of its number."""
    rng = np.random.default_rng(0)
    sets = rng.random((2000, 5000)) < 0.3
    made = opl.Eligible(sets, rng.integers(2000, size=10_000))
    assert made.sets.nbytes + 1000 * made.number.nbytes <= 100e6
    log = opl.BanditFeedback(
        context=np.ones((10_000, 1)),
        action=sets.argmax(axis=1)[made.number],
        reward=np.zeros(10_000),
        pscore=np.full(10_000, 0.5),
        action_context=rng.normal(size=(5000, 1)),
        eligible=made,
    )
    assert log[::2].eligible.sets is made.sets


# ---- from dates

DAYS = np.datetime64("2026-03-01") + np.arange(8)
NAT = np.datetime64("NaT")
STARTS = np.array([NAT, DAYS[2], DAYS[5], NAT])
ENDS = np.array([DAYS[2], NAT, DAYS[6], NAT])


def by_hand(times, starts, ends):
    """Whether each item is there, time by time."""
    there = [
        [
            (pd.isna(s) or s <= t) and (pd.isna(e) or t < e)
            for s, e in zip(starts, ends, strict=True)
        ]
        for t in times
    ]
    return np.array(there)


def objects(dates):
    return [None if pd.isna(day) else pd.Timestamp(day).date() for day in dates]


@pytest.mark.parametrize(
    ("times", "starts", "ends"),
    [
        (DAYS, STARTS, ENDS),
        (DAYS.astype("M8[ns]"), STARTS.astype("M8[s]"), pd.Series(ENDS)),
        (np.repeat(DAYS, 2)[::-1], objects(STARTS), objects(ENDS)),
        (
            pd.Series(DAYS).dt.tz_localize("Asia/Tokyo"),
            pd.Series(STARTS).dt.tz_localize("Asia/Tokyo"),
            pd.Series(ENDS).dt.tz_localize("Asia/Tokyo"),
        ),
        (np.arange(8), [None, 2, 5, None], [2, None, 6, None]),
        (np.arange(8) / 2, [np.nan, 1, 2.5, np.nan], [1, np.nan, 3, np.nan]),
        (DAYS, [NAT] * 4, [NAT] * 4),
    ],
    ids=["days", "other units", "date objects", "zones", "integers", "floats", "open"],
)
def test_dates_say_the_same_as_by_hand(times, starts, ends):
    found = opl.Eligible.of_dates(times, starts, ends)
    assert (found.mask() == by_hand(list(times), list(starts), list(ends))).all()


def test_the_year_9999_is_an_open_end():
    far = np.array(["9999-12-31"] * 2, dtype="M8[s]")
    found = opl.Eligible.of_dates(DAYS.astype("M8[ns]"), [DAYS[3], NAT], far)
    assert found.mask()[:, 0].tolist() == [False] * 3 + [True] * 5


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"timestamp": ["a"] * 8}, "timestamp is text"),
        ({"start": [1, 2, 3, 4]}, "start holds numbers, such as 1, and timestamp dates"),
        ({"start": STARTS[:3]}, "start has 3 rows and end 4"),
        ({"start": STARTS[:, None]}, "start must have 1 dimension"),
        ({"start": [NAT, DAYS[2], DAYS[7], NAT]}, "end: row 2 of the items ends at .* before its"),
        ({"start": [DAYS[1]] * 4}, "timestamp: in row 0, .*2026-03-01.*, no item was on offer"),
        (
            {"end": [datetime.datetime.now(datetime.UTC)] * 4},
            "items have a time zone, .* have none",
        ),
    ],
    ids=range(7),
)
def test_dates_that_cannot_be_are_refused(changed, message):
    given = {"timestamp": DAYS, "start": STARTS, "end": ENDS, **changed}
    with pytest.raises(ValueError, match=message):
        opl.Eligible.of_dates(**given)


@pytest.mark.parametrize(
    ("sets", "number", "message"),
    [
        (ALL.astype(int), [0], "sets must hold True and False; got dtype int64"),
        (ALL[0], [0], "sets must have 2 dimensions"),
        (ALL, [0, 3], r"number must be in \[0, 2\], .*; row 1 has 3"),
        (ALL, [0, -1], "row 1 has -1"),
        (ALL, [0.5], "number must hold integers"),
        (ALL, [], "number"),
        ([[True], [False]], [0], "sets: row 1 has no item"),
    ],
    ids=range(7),
)
def test_sets_that_are_none_are_refused(sets, number, message):
    with pytest.raises(ValueError, match=message):
        opl.Eligible(sets, number)


# ---- in a log


def columns(log):
    names = ("context", "action", "reward", "pscore", "action_context")
    return {name: getattr(log, name) for name in names}


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            np.ones((4000, 5), bool),
            "eligible is for 4,000 rounds and 5 items; the log has 4,000 an",
        ),
        (np.ones((3999, 6), bool), "eligible is for 3,999 rounds"),
        (np.ones((4000, 6)), "eligible must hold True and False; got dtype float64"),
        (np.ones(6, bool), "eligible must have 2 dimensions"),
        (np.arange(4000)[:, None] * np.ones(6) != 17, "eligible: row 17 has no item"),
    ],
    ids=range(5),
)
def test_a_log_takes_what_is_of_its_size(log, mask, message):
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback(**columns(log), eligible=mask)


def test_an_item_that_was_not_eligible_is_an_error_with_its_row(log):
    mask = log.eligible.mask()
    mask[123, log.action[123]] = False
    with pytest.raises(ValueError, match=f"row 123 was shown item {log.action[123]}, which was no"):
        opl.BanditFeedback(**columns(log), eligible=mask)


def test_whatever_is_cut_from_a_log_has_the_sets_of_its_rows(log):
    mask = log.eligible.mask()
    assert (log[10:20].eligible.mask() == mask[10:20]).all()
    first, second = log.split_by_time(0.25)
    assert (second.eligible.mask() == mask[3000:]).all()
    again = opl.BanditFeedback.concatenate([second, first])
    assert (again.eligible.mask() == np.roll(mask, 1000, axis=0)).all()
    for part in log.split(0.3):
        rows = np.isin(log.timestamp, part.timestamp)
        assert (part.eligible.mask() == mask[rows]).all()
    for same in (
        pickle.loads(pickle.dumps(log)),
        copy.deepcopy(log),
        replace(log, reward=log.reward),
    ):
        assert (same.eligible.mask() == mask).all()
    assert "eligible" in repr(log)
    with pytest.raises(ValueError, match="log 1 has no eligible but others have"):
        opl.BanditFeedback.concatenate([log, replace(log, eligible=None)])


def test_an_obp_dictionary_carries_the_mask(log):
    dictionary = replace(log, position=np.zeros(4000, int)).to_obp()
    assert (opl.BanditFeedback.from_obp(dictionary).eligible.mask() == log.eligible.mask()).all()
    assert "eligible" not in replace(log, eligible=None).to_obp()


CLICKS = pd.DataFrame({"x": 1.0, "item": list("abca"), "r": 0, "p": 0.5, "day": DAYS[[0, 1, 5, 0]]})
ITEMS = pd.DataFrame(
    {
        "id": list("abc"),
        "price": [1.0, 2, 3],
        "from": [NAT, NAT, DAYS[4]],
        "to": [DAYS[1], NAT, NAT],
    }
)
NAMED = {"context": ["x"], "action": "item", "reward": "r", "pscore": "p"}


def test_a_data_frame_of_items_says_it_in_two_columns():
    log = opl.BanditFeedback.from_dataframe(
        CLICKS, **NAMED, items=ITEMS, item_id="id", timestamp="day", eligible=("from", "to")
    )
    wanted = [[1, 1, 0], [0, 1, 0], [0, 1, 1], [1, 1, 0]]
    assert log.eligible.mask().astype(int).tolist() == wanted
    assert log.columns.item_features == ["price"]
    given = opl.BanditFeedback.from_dataframe(
        CLICKS, **NAMED, items=ITEMS[["id", "price"]], item_id="id", eligible=log.eligible.mask()
    )
    assert (given.eligible.mask() == log.eligible.mask()).all()


def test_dates_of_items_are_features_where_they_are_named_or_known():
    given = {"items": ITEMS, "item_id": "id", "timestamp": "day", "eligible": ("from", "to")}
    named = opl.BanditFeedback.from_dataframe(
        CLICKS, **NAMED, **given, item_features=["price", "from"]
    )
    assert named.columns.item_features[0] == "price" and len(named.columns.items) == 2
    shared = {**NAMED, **given, "context": None, "item_id": None, "columns": named.columns}
    again = opl.BanditFeedback.from_dataframe(CLICKS, **shared)
    assert again.columns == named.columns
    assert (again.eligible.mask() == named.eligible.mask()).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"timestamp": None}, "say with timestamp="),
        ({"eligible": ("from", "till")}, "eligible, of items: the data frame has no column 'till'"),
        ({"items": np.eye(3), "item_id": None}, "names columns of items, but items is no data f"),
        ({"frame": CLICKS.assign(item=list("abcc"))}, "row 3 was shown item 2"),
    ],
    ids=range(4),
)
def test_columns_that_do_not_say_it_are_refused(changed, message):
    given = {"frame": CLICKS, "items": ITEMS, "item_id": "id", "timestamp": "day", **NAMED}
    with pytest.raises(ValueError, match=message):
        opl.BanditFeedback.from_dataframe(**{**given, "eligible": ("from", "to"), **changed})


# ---- what is computed among them


def test_uniform_among_the_eligible_has_a_mean_weight_of_one(log):
    report = log.support_report(opl.uniform())
    assert abs(report.mean_weight - 1) < 3 * report.mean_weight_se
    assert report.findings == []
    assert np.isclose(report.max_weight, (1 / log.pscore / log.eligible.n_eligible).max())
    blind = replace(log, eligible=None)
    assert blind.support_report(opl.uniform()).findings  # as it was said of a right log


@pytest.mark.parametrize("with_users", [True, False])
def test_balance_of_a_right_log_finds_nothing_and_of_a_wrong_one_something(log, with_users):
    log = log if with_users else replace(log, user_id=None)
    stale = replace(log, pscore=np.roll(log.pscore, 1))
    halved = replace(log, pscore=log.pscore / 2)
    assert log.balance().abs().max(axis=None) < 4
    for wrong in (replace(log, eligible=None), stale, halved):
        assert wrong.balance().abs().max(axis=None) > 4


@pytest.mark.parametrize("with_users", [True, False])
def test_balance_is_a_sum_over_the_rounds_in_which_an_item_was_eligible(log, with_users):
    log = log if with_users else replace(log, user_id=None)
    table, n = log.balance(), len(log.units)
    for item in range(N_ITEMS):
        term = log.eligible.mask()[:, item] * ((log.action == item) / log.pscore - 1)
        term = log.units.sums(term * (log.context[:, 0] - log.context[:, 0].mean()))
        error = np.sqrt((np.square(term).sum() - term.sum() ** 2 / n) * n / (n - 1))
        assert np.isclose(table.loc["x0", item], term.sum() / error)


def test_items_that_were_never_eligible_are_not_missed(log):
    mask = log.eligible.mask()
    never = log[log.action != 1]
    never = replace(never, eligible=mask[log.action != 1] & (np.arange(N_ITEMS) != 1))
    assert never.support_report(opl.uniform()).n_unsupported == 0
    assert replace(never, eligible=None).support_report(opl.uniform()).n_unsupported == 1


@pytest.mark.parametrize("with_users", [True, False])
def test_where_all_items_are_eligible_nothing_changes(with_users):
    world = opl.SyntheticWorld(N_ITEMS, 3, 3, logging_policy=opl.softmax(1.0), random_state=0)
    plain = world.sample(1000, random_state=1)
    if with_users:
        plain = replace(plain, user_id=np.random.default_rng(2).integers(300, size=1000))
    full = replace(plain, eligible=np.ones((1000, N_ITEMS), dtype=bool))
    pd.testing.assert_frame_equal(plain.balance(), full.balance())
    for policy in (opl.uniform(), opl.epsilon_greedy(0.2)):
        assert repr(plain.support_report(policy)) == repr(full.support_report(policy))
