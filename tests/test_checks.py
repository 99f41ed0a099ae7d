"""Checks at the door: missing values, wrong types, probabilities, scale, the line of a warning."""

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl
from opl_lib.checks import (
    action_probabilities,
    integers,
    item_row_numbers,
    numbers,
    numeric_frame_column,
    row_chunks,
    told_of_scale,
    warn_of_scale,
)

NO_NUMBERS = [
    ([1.0, None, 0.0], r"row 1 is missing \(None\)\. Drop the row or impute the value"),
    ([1.0, 2, pd.NA], r"row 2 is missing \(<NA>\)\. Drop the row or impute the value"),
    ([1.0, "x", float("nan")], r"row 1 has 'x'\. .*pandas\.get_dummies"),
    ([Decimal("0.5"), 1], r"row 0 has Decimal\('0\.5'\)\. Convert it, as with \.astype\(float\)"),
    ([1.0, 2, True], r"though every entry is a number\. Convert it, as with \.astype\(float\)"),
]


@pytest.mark.parametrize(("values", "message"), NO_NUMBERS)
def test_the_first_entry_that_is_no_number_is_named_with_its_cure(values, message):
    column = np.array(values, dtype=object)
    with pytest.raises(ValueError, match="reward must be numeric; got dtype object.*" + message):
        numbers("reward", column, ndim=1)
    frame = pd.DataFrame({"r": column})
    with pytest.raises(ValueError, match="reward: column 'r' has dtype object.*" + message):
        numeric_frame_column(frame, "r", "reward")


def test_in_a_table_the_column_is_named_too():
    table = np.array([[1, 2], [3, None]], dtype=object)
    with pytest.raises(ValueError, match=r"context must be .*; row 1, column 1 is missing"):
        numbers("context", table, ndim=2)


@pytest.mark.parametrize("missing", [None, pd.NA, float("nan")])
def test_a_missing_integer_is_named_with_its_row(missing):
    with pytest.raises(ValueError, match=r"action is missing in row 2\. Drop the row"):
        integers("action", np.array([0, 1, missing], dtype=object))
    with pytest.raises(ValueError, match=r"action is missing in row 2\. Drop the row"):
        integers("action", [0.0, 1.0, float("nan")])


def test_an_item_that_is_described_twice_is_named_with_both_rows():
    with pytest.raises(ValueError, match=r"one row per item: rows 1 and 3 are both 'b'\."):
        item_row_numbers(np.array(["a"]), np.array(["a", "b", "c", "b", "a"]))


def test_no_items_need_no_chunks():
    assert row_chunks(5, 0) == [slice(0, 5)]
    assert row_chunks(0, 4) == []


@pytest.mark.parametrize("sign", [-1, 1])
def test_probabilities_may_miss_1_by_rounding_and_no_more(sign):
    def off_by(error):
        pi = np.array([[0.5, 0.5 + sign * error]])
        return action_probabilities(lambda context, items: pi, np.zeros((1, 1)), np.zeros((2, 1)))

    assert off_by(0.9e-4).shape == (1, 2)
    with pytest.raises(ValueError, match="no probability distribution in row 0"):
        off_by(1.1e-4)


# ---- features far from unit scale


def log_of(context, action_context=((0.0,), (1.0,))):
    n = len(context)
    return opl.BanditFeedback(
        np.array(context),
        np.zeros(n, dtype=int),
        np.zeros(n),
        np.full(n, 0.5),
        np.array(action_context),
    )


@pytest.mark.parametrize("shape", [(1.0, 1.0), (1.0, -1.0)], ids=["mean", "spread"])
def test_features_are_warned_of_beyond_a_mean_or_a_spread_of_10(shape):
    for name in ("context", "action_context"):
        for size, is_far in ((9.9, False), (10.1, True)):
            features = size * np.array(shape)[:, None]
            log = log_of(**{"context": [[0.0], [0.0]], name: features})
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                warn_of_scale([log])
            assert [f"{name}, column 0 has" in str(w.message) for w in caught] == [True] * is_far


def test_a_log_is_warned_of_once_and_its_parts_are_not():
    first, second = log_of([[50.0], [51.0]]), log_of([[60.0], [61.0]])
    with pytest.warns(UserWarning, match="Towers learn badly") as caught:
        warn_of_scale([first, first, second])
        with told_of_scale():
            warn_of_scale([first[:1]])
    assert len(caught) == 2
    with pytest.warns(UserWarning, match="Towers learn badly"):
        warn_of_scale([first])


def far_from_unit_scale(world):
    log = world.sample(60, random_state=0)
    return log_of_columns(log, context=40 + 20 * log.context)


def log_of_columns(log, **change):
    columns = ("context", "action", "reward", "pscore", "action_context")
    return opl.BanditFeedback(**{**{name: getattr(log, name) for name in columns}, **change})


SETTINGS = {"epochs": 1, "hidden": (4,), "dim_embedding": 2}
FITS = {
    "fit": lambda log: opl.OffPolicyLearner("ips", **SETTINGS).fit(log),
    "folds of the default reward model": lambda log: opl.OffPolicyLearner("dr", **SETTINGS).fit(
        log
    ),
    "in a comprehension": lambda log: [
        opl.OffPolicyLearner("ips", **SETTINGS).fit(each) for each in [log]
    ],
    "many": lambda log: opl.fit_many(
        [opl.OffPolicyLearner("ips", random_state=k, **SETTINGS) for k in range(3)], log
    ),
    "cross-fit": lambda log: opl.cross_fit(opl.OffPolicyLearner("regression", **SETTINGS), log),
    "evaluate": lambda log: opl.evaluate(opl.uniform(), log, ["dr"]),
}


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_a_fit_warns_once_and_at_the_callers_line(fit, small_world):
    log = far_from_unit_scale(small_world)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(log)
    assert len(caught) == 1 and "context, column" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_reward_models_without_towers_may_have_features_of_any_scale(small_world):
    from sklearn.linear_model import Ridge

    opl.cross_fit(opl.SklearnRewardModel(Ridge()), far_from_unit_scale(small_world))
