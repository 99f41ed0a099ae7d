"""One row a candidate: the rounds, the items and what could be shown; and what is refused."""

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl
from opl_lib.logs import candidates

ROLES = {
    "round_id": "visit",
    "shown": "shown",
    "action": "sku",
    "reward": "click",
    "pscore": "p",
    "context": ["device"],
    "item_features": ["price"],
}


def rows():
    """Two visits of three items each, in no order."""
    return pd.DataFrame(
        {
            "visit": ["v", "w", "v", "w", "v", "w"],
            "device": ["phone", "desk", "phone", "desk", "phone", "desk"],
            "sku": ["c", "a", "a", "b", "b", "c"],
            "price": [9.0, 1.0, 1.0, np.nan, np.nan, 9.0],
            "shown": [0, 0, 1, 0, 0, 1],
            "click": [np.nan, np.nan, 1, np.nan, np.nan, 0],
            "p": [np.nan, np.nan, 0.5, np.nan, np.nan, 0.25],
            "user": [7, 8, 7, 8, 7, 8],
        }
    )


def read(frame, **changes):
    return opl.read_candidates(frame, **{**ROLES, **changes})


def test_rounds_and_items_are_in_the_order_of_their_first_rows():
    log = read(rows(), user_id="user")
    assert log.action.tolist() == [1, 0]  # of c, a, b
    assert log.reward.tolist() == [1, 0] and log.pscore.tolist() == [0.5, 0.25]
    assert log.user_id.tolist() == [7, 8]
    assert log.columns.context_features == ["device = desk", "device = phone"]
    assert log.context.tolist() == [[0, 1], [1, 0]]
    assert log.action_context.tolist() == [[1, 0], [-1, 0], [0, 1]]
    assert log.columns.item_id == "sku"


def test_frames_of_polars_are_read_too():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({name: rows()[name].tolist() for name in rows()})
    np.testing.assert_array_equal(read(frame).action_context, read(rows()).action_context)


def test_items_may_have_a_table_of_their_own():
    items = pd.DataFrame({"id": ["a", "b", "c"], "brand": ["x", "y", "x"]})
    log = read(rows(), items=items, item_id="id", item_features=None)
    assert log.action.tolist() == [0, 2]
    later = read(rows(), items=items, context=None, item_features=None, columns=log.columns)
    np.testing.assert_array_equal(later.context, log.context)


def test_columns_of_an_earlier_log_are_used():
    log = read(rows())
    later = rows().assign(price=[18.0, 2.0, 2.0, 4.0, 4.0, 18.0])
    again = read(later, context=None, item_features=None, columns=log.columns)
    assert again.columns is log.columns
    np.testing.assert_allclose(again.action_context[:, 0], [(18 - 5) / 4, -0.75, -0.25])


def test_without_pscore_it_leads_to_an_estimate():
    assert isinstance(read(rows(), pscore=None), opl.LogWithoutPropensities)


def test_the_log_says_what_could_be_shown():
    some = rows().drop(index=3)  # the second visit without b
    assert read(some).eligible.mask().tolist() == [[True] * 3, [True, True, False]]
    assert read(rows()).eligible.mask().all()


def test_rounds_by_items_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr(candidates, "_MOST_PAIRS", 5)
    with pytest.raises(ValueError, match="action: 2 rounds of 3 items do not fit"):
        read(rows())


def at(row, name, value):
    frame = rows()
    frame[name] = frame[name].astype(object)
    frame.loc[row, name] = value
    return frame.infer_objects()


@pytest.mark.parametrize(
    ("frame", "changes", "message"),
    [
        (at(2, "shown", 0), {}, "shown: round 'v' shows 0 items, and must show one"),
        (at(0, "shown", 1), {}, "shown: round 'v' shows 2 items"),
        (at(0, "shown", 2), {}, "shown: column 'shown' must be 0 or 1; row 0 has 2"),
        (at(0, "sku", "a"), {"item_features": ["user"]}, "item_features: column 'user' has two"),
        (at(0, "sku", "b"), {"items": True}, "action: round 'v' has the same item twice"),
        (at(0, "device", "desk"), {}, "context: column 'device' has two values for round 'v'"),
        (rows(), {"context": ["price"]}, "column 'price' has two .*belongs to item_features"),
        (at(0, "price", 8.0), {}, "column 'price' has two values for item 'c', in rows 0 and 5"),
        (at(2, "click", np.nan), {}, "reward: column 'click' must be finite"),
        (rows(), {"round_id": "zz"}, "round_id: the data frame has no column 'zz'"),
        (rows(), {"item_id": "id"}, "item_id='id' names a column of items: pass items"),
        (at(0, "visit", None), {}, "round_id is missing in row 0"),
    ],
    ids=range(12),
)
def test_rows_that_disagree_are_refused_by_column_round_and_item(frame, changes, message):
    if "items" in changes:
        table = pd.DataFrame({"id": ["a", "b", "c"], "f": [1.0, 2.0, 3.0]})
        changes = {"items": table, "item_id": "id", "item_features": None}
    with pytest.raises(ValueError, match=message):
        read(frame, **changes)


# ---- as other shops write them


FOREIGN = {
    "shown as text": (lambda: rows().assign(shown=rows().shown.astype(str)), {}, "stored as text"),
    "shown as yes": (lambda: rows().assign(shown="yes"), {}, "row 0 has 'yes'. It is text"),
    "shown is a rank": (
        lambda: rows().assign(shown=[2, 2, 1, 3, 3, 1]),
        {},
        "be 0 or 1; row 0",
    ),
    "shown is missing": (lambda: at(0, "shown", np.nan), {}, "must be finite; row 0 has nan"),
    "several chosen": (lambda: rows().assign(shown=1), {}, "shows 3 items, and must show one"),
    "none chosen": (lambda: rows().assign(shown=0), {}, "shows 0 items"),
    "rounds of one id": (lambda: rows().assign(visit="v"), {}, "round 'v' shows 2 items"),
    "rounds by item": (rows, {"round_id": "sku"}, "round 'b' shows 0 items"),
    "a candidate twice": (lambda: pd.concat([rows(), rows()[:1]]), {}, "round 'v' has the same"),
    "empty": (lambda: rows()[:0], {}, "the log is empty: frame has no rows"),
    "shown rows alone": (lambda: rows()[rows().shown == 1], {}, "every round has one candidate"),
    "an item without id": (lambda: at(0, "sku", None), {}, "action is missing in row 0"),
    "giant ids": (lambda: rows().assign(sku=2.0**60), {}, "cannot be told from their neighbours"),
    "ids of two types": (lambda: at(0, "visit", 3), {}, "round_id has values of several types"),
    "percent": (lambda: rows().assign(p=100 * rows().p), {}, "if percent, divide by 100"),
    "logarithms": (lambda: rows().assign(p=np.log(rows().p)), {}, "pass numpy.exp of them"),
    "weights": (lambda: rows().assign(p=1 / rows().p), {}, "pass their inverse"),
    "a probability of 0": (lambda: at(2, "p", 0.0), {}, "was epsilon = 0"),
    "no probability": (lambda: at(2, "p", np.nan), {}, "column 'p' must be finite"),
    "decimal commas": (lambda: at(2, "p", "0,5"), {}, "decimal point"),
    "a reward to come": (lambda: at(2, "click", None), {}, "If it has not arrived yet"),
    "rewards as text": (lambda: at(2, "click", "1,0"), {}, "decimal point"),
    "a price with a comma": (lambda: rows().assign(price="9,0"), {}, "'9,0' in row 0, a number"),
    "an infinite price": (lambda: at(0, "price", np.inf), {}, "'price' must be finite"),
    "a context of the outcome": (rows, {"context": ["click"]}, "two values for round 'v'"),
    "a visitor known in part": (lambda: at(0, "device", None), {}, "two values for round 'v'"),
    "two users": (
        lambda: rows().assign(user=[7, 8, 7, 8, 9, 8]),
        {"user_id": "user"},
        "user_id: round 'v' is of 7 in row 2 and of 9 in row 4. Does round_id tell",
    ),
    "a column twice": (lambda: pd.concat([rows(), rows()[["p"]]], axis=1), {}, "several columns"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_frames_are_refused_with_their_cure(what):
    frame, changes, message = FOREIGN[what]
    with pytest.raises(ValueError, match=message):
        read(frame(), **changes)


def test_rows_are_said_to_be_counted_among_those_that_were_shown():
    with pytest.raises(ValueError, match="row 0 has 0") as raised:
        read(at(2, "p", 0.0))
    assert raised.value.__notes__ == ["Rows are counted among those where 'shown' is 1."]


def test_a_reward_of_what_was_not_shown_is_doubted():
    with pytest.warns(UserWarning, match="row 0 was not shown and has 1, and row 2, .*'v'.* has 0"):
        read(rows().assign(click=[1, 0, 0, 0, 0, 0]))
    repeated = read(rows().assign(click=[1, 0, 1, 0, 1, 0]))  # the round's, in each of its rows
    assert repeated.reward.tolist() == [1, 0]


def test_probabilities_of_a_round_that_do_not_sum_to_1_are_doubted():
    scores = rows().assign(p=[0.9, 0.25, 0.5, 0.5, 0.9, 0.25])
    with pytest.warns(UserWarning, match="round 'v' have 2.3 together, as those of 50% of the"):
        read(scores)
    right = read(rows().assign(p=[0.2, 0.25, 0.5, 0.5, 0.3, 0.25]))
    repeated = read(rows().assign(p=[0.5, 0.25, 0.5, 0.25, 0.5, 0.25]))
    assert right.pscore.tolist() == repeated.pscore.tolist() == [0.5, 0.25]


def test_frames_as_they_come_are_read():
    right = read(rows())
    for frame in (
        rows().set_index(pd.Index([0] * 6)),
        rows().assign(shown=rows().shown.astype(bool)),
        rows().assign(sku=[name.encode() for name in rows().sku]),
        rows().assign(visit=[2**62, 2**62 + 1] * 3),
        pd.concat([rows()[3:], rows()[:3]]).sort_values("sku", key=lambda sku: sku.map("cab".find)),
    ):
        assert sorted(read(frame).pscore) == sorted(right.pscore)
        assert sorted(read(frame).reward) == sorted(right.reward)
