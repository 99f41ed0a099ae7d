"""Checks at the door: missing values, wrong types, probabilities, scale, the line of a warning."""

import re
import warnings
from decimal import Decimal
from fractions import Fraction
from numbers import Integral

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl
from opl_lib.answers import action_probabilities
from opl_lib.arrays import integers, numbers, row_chunks
from opl_lib.checks import check_number, warn_of_scale
from opl_lib.logs.readers import item_row_numbers, numeric_frame_column
from opl_lib.progress import progress_bar
from opl_lib.protocols import (
    EncodesItems,
    HasTemperature,
    KnownWorld,
    Learner,
    Policy,
    PredictsReward,
    RewardModel,
    policy_function,
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


# ---- numbers


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0, {"above": 0}, "x must be a finite number above 0; got 0."),
        (-1.5, {"least": 0, "most": 1}, "x must be a finite number of at least 0 and at most 1"),
        (2, {"least": 0, "most": 1}, "at most 1; got 2."),
        (float("inf"), {"least": 0}, "x must be a finite number of at least 0; got inf."),
        (float("nan"), {"finite": False}, "x must be a number; got nan."),
        (float("nan"), {"above": 0, "finite": False}, "x must be a number above 0; got nan."),
        (True, {"least": 0}, "got True."),
        ("1", {"least": 0}, "got '1'."),
        (None, {}, "x must be a finite number; got None."),
        (2.0, {"kind": Integral, "least": 1}, "x must be an integer of at least 1; got 2.0."),
        (-(2**70), {"kind": Integral, "least": 0}, "at least 0; got -1180591620717411303424."),
    ],
)
def test_a_number_out_of_its_range_is_named_with_it(value, limits, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_number("x", value, **limits)


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (float("inf"), {"above": 0, "finite": False}),
        (2**64, {"kind": Integral, "least": 0}),
        (10**400, {"kind": Integral}),
        (np.float32(0.5), {"least": 0, "most": 1}),
        (np.int8(1), {"kind": Integral, "least": 1, "most": 1}),
    ],
)
def test_a_number_within_its_range_passes(value, limits):
    check_number("x", value, **limits)


def test_a_fraction_is_no_number_that_arrays_know():
    with pytest.raises(ValueError, match=r"x must be a finite number.*; got Fraction\(1, 3\)"):
        check_number("x", Fraction(1, 3), above=0)


def test_a_seed_beyond_32_bits_is_refused_with_a_cure_that_helps():
    number = 2**64
    with pytest.raises(ValueError, match=r"random_state must be .* at most 4294967295") as caught:
        opl.SyntheticWorld(3, 2, 2, n_eval_contexts=1, random_state=number)
    cure = str(caught.value).partition("Make one of it: ")[2].rstrip(".")
    seed = eval(cure, {"numpy": np, "number": number})
    assert opl.SyntheticWorld(3, 2, 2, n_eval_contexts=1, random_state=seed).sample(5, 0).n_rounds


# ---- what a thing is


def test_what_a_thing_can_do_decides_what_it_is(small_world):
    towers = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, hidden=(), random_state=0))
    assert isinstance(towers, Policy | EncodesItems) and isinstance(towers, HasTemperature)
    assert not isinstance(opl.softmax(), HasTemperature)  # it has a number, and no other one
    assert isinstance(small_world, KnownWorld) and not isinstance(towers, KnownWorld)
    assert isinstance(opl.OffPolicyLearner("ips"), Learner)

    class Guess:
        def predict_reward(self, context, action_context):
            return np.zeros((len(context), len(action_context)))

    assert isinstance(Guess(), PredictsReward) and not isinstance(Guess(), RewardModel)


@pytest.mark.parametrize("thing", [None, 3, "uniform", np.eye(2)], ids=str)
def test_what_is_no_policy_is_refused(small_world, thing):
    message = f"a policy is an object with predict_proba.*got {type(thing).__name__}"
    with pytest.raises(TypeError, match=message):
        policy_function(thing)
    with pytest.raises(TypeError, match=message):
        small_world.policy_value(thing)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named_with_row_item_and_cure(value):
    pi = np.array([[0.5, 0.5], [0.5, value]])
    message = rf"returned {value} for item 1 in row 1 of the 2 it was asked for.*Fit it again"
    with pytest.raises(ValueError, match=message):
        action_probabilities(lambda context, items: pi, np.zeros((2, 1)), np.zeros((2, 1)))


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


def test_a_log_is_warned_of_once():
    first, second = log_of([[50.0], [51.0]]), log_of([[60.0], [61.0]])
    with pytest.warns(UserWarning, match="Towers learn badly") as caught:
        warn_of_scale([first, first, second])
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
    "cross-fit": lambda log: opl.cross_fit(opl.TwoTowerRegressor(**SETTINGS), log),
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


# ---- bars


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_a_bar_is_shown_on_demand(progress, shown, capsys):
    """And of itself in a terminal only, which this is not."""
    with progress_bar("count", 2, progress, unit="step") as bar:
        bar.update(2)
    printed = capsys.readouterr().err
    assert ("count: 100%" in printed and "step/s" in printed) == shown
