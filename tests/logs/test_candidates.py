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
