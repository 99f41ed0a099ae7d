"""Settings, in scikit-learn's form."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from learning.learners import (
    ARCHITECTURES,
    make_learner,
    make_regressor,
    probabilities,
    with_columns,
)
from sklearn.base import clone

import opl_lib as opl
from opl_lib.objectives import OBJECTIVES


class KnowsRewards:
    """Predicts, and cannot be fitted."""

    def predict_reward(self, context, action_context):
        return np.full((len(context), len(action_context)), 1e300)


every_objective = pytest.mark.parametrize("objective", OBJECTIVES)
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)

BAD_SETTINGS = [
    ({"objective": "IPS"}, "objective must be one of .* got 'IPS'"),
    ({"objective": None}, "objective must be one of"),
    ({"objective": 3}, "an opl.Objective or a function of .*got 3"),
    ({"objective": "mips"}, r"One with settings is made of them, for example .*opl\.mips\(cluster"),
    ({"objective": opl.mips}, r"One with settings is made of them, for .*opl\.mips\(cluster"),
    ({"objective": opl.clipped_ips}, r"One with settings .*opl\.clipped_ips\(max_weight=5\)"),
    ({"catalogue": "all"}, "catalogue must be one of .*'auto', .*got 'all'"),
    ({"n_sampled": 0}, "n_sampled must be an integer of at least 1; got 0"),
    ({"epochs": 0}, "epochs must be an integer of at least 1; got 0"),
    ({"epochs": 1.5}, "epochs must be an integer of at least 1; got 1.5"),
    ({"epochs": True}, "epochs must be an integer of at least 1; got True"),
    ({"epochs": "10"}, "epochs must be an integer of at least 1; got '10'"),
    ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
    ({"batch_size": None}, "batch_size must be an integer of at least 1; got None"),
    ({"n_folds": 0}, "n_folds must be an integer of at least 1; got 0"),
    ({"dim_embedding": 0}, "dim_embedding must be an integer of at least 1; got 0"),
    ({"hidden": (8, 0)}, r"hidden\[1\] must be an integer of at least 1; got 0"),
    ({"hidden": (8.0,)}, r"hidden\[0\] must be an integer of at least 1; got 8.0"),
    ({"hidden": 8}, "hidden must be a .*got 8"),
    ({"hidden": None}, "hidden must be a .*got None"),
    ({"learning_rate": 0}, "learning_rate must be a finite number above 0; got 0"),
    ({"learning_rate": -1e-3}, "learning_rate must be a finite number above 0; got -0.001"),
    ({"learning_rate": float("nan")}, "learning_rate must be a finite number above 0; got nan"),
    ({"learning_rate": float("inf")}, "learning_rate must be a finite number above 0; got inf"),
    ({"learning_rate": "fast"}, "learning_rate must be a finite number above 0; got 'fast'"),
    ({"weight_decay": -1e-6}, "weight_decay must be a finite number of at least 0; got -1e-06"),
    ({"objective": "ips", "temperature": 0}, "temperature must be a finite number of at least 1e-"),
    ({"temperature": -1}, "temperature must be a finite number of at least 0; got -1"),
    ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
    ({"random_state": None}, "random_state must be an integer of at least 0; got None"),
]


@pytest.mark.parametrize(("setting", "message"), BAD_SETTINGS)
def test_bad_settings_are_rejected_by_the_constructor(setting, message):
    with pytest.raises(ValueError, match=message):
        opl.OffPolicyLearner(**setting)
    if not setting.keys() & {"n_folds", "catalogue", "n_sampled"}:  # of the learner alone
        with pytest.raises(ValueError, match=message):
            opl.TwoTowerRegressor(**setting)


@pytest.mark.parametrize(("setting", "message"), BAD_SETTINGS)
def test_bad_settings_in_set_params_change_nothing(setting, message):
    learner = make_learner("ips")
    before = learner.get_params()
    with pytest.raises(ValueError, match=message):
        learner.set_params(**{"shuffle": False, **setting})
    assert learner.get_params() == before


def test_set_params_names_the_settings_there_are():
    with pytest.raises(
        ValueError, match=r"'lr' is not a setting; the settings are .*learning_rate"
    ):
        make_learner().set_params(lr=1e-3)


@pytest.mark.parametrize("bad", [{"shuffle": "no"}, {"shuffle": None}, {"progress": "yes"}])
def test_switches_are_true_or_false(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be True"):
        opl.OffPolicyLearner(**bad)


@pytest.mark.parametrize("edge", [{"weight_decay": 0}, {"hidden": ()}, {"random_state": 0}])
def test_edges_of_the_allowed_range_are_good(edge):
    opl.OffPolicyLearner(**edge)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", np.int64(2)),
        ("batch_size", np.int64(50)),
        ("hidden", (np.int64(8),)),
        ("hidden", [8]),
        ("hidden", np.array([8])),
        ("dim_embedding", np.int64(4)),
        ("random_state", np.int64(0)),
        ("n_folds", np.int64(2)),
        ("learning_rate", np.float64(1e-2)),
        ("temperature", np.float64(1.0)),
        ("weight_decay", np.float32(1e-6)),
    ],
)
def test_numbers_of_numpy_do_what_numbers_of_python_do(name, value, small_log, tmp_path):
    plain = value.item() if isinstance(value, np.generic) else (8,)
    numpy_learner = make_learner("dr", **{name: value}).fit(small_log)
    plain_learner = make_learner("dr", **{name: plain}).fit(small_log)
    np.testing.assert_array_equal(
        probabilities(numpy_learner, small_log), probabilities(plain_learner, small_log)
    )
    numpy_learner.policy_.save(tmp_path / "policy")
    opl.TwoTowerPolicy.load(tmp_path / "policy")


@every_architecture
@every_objective
def test_scikit_learn_clones_a_learner_without_what_it_learned(objective, architecture, small_log):
    learner = make_learner(objective, architecture).fit(small_log)
    copied = clone(learner)
    assert not hasattr(copied, "policy_")
    assert {name: repr(value) for name, value in copied.get_params().items()} == {
        name: repr(value) for name, value in learner.get_params().items()
    }
    np.testing.assert_array_equal(
        probabilities(copied.fit(small_log), small_log), probabilities(learner, small_log)
    )


def test_get_params_and_set_params_round_trip():
    settings = make_learner("dr", "custom", n_folds=3, random_state=5).get_params()
    other = opl.OffPolicyLearner()
    assert other.set_params(**settings) is other
    assert other.get_params() == settings


def test_settings_are_stored_as_given():
    hidden = [4, 4]
    assert opl.OffPolicyLearner(hidden=hidden).hidden is hidden


def test_settings_after_the_objective_go_by_name():
    for kind, objective in ((opl.OffPolicyLearner, "ips"), (opl.TwoTowerRegressor, "auto")):
        with pytest.raises(TypeError, match="positional"):
            kind(objective, 10)


# ---- subclasses with settings of their own


@dataclass(eq=False)
class Bonus(opl.OffPolicyLearner):
    """Learns from rewards with a bonus."""

    bonus: float = 0.0
    lambda_: float = 1.0

    def fit(self, feedback, callback=None):
        log = with_columns(feedback, reward=feedback.reward + self.bonus * self.lambda_)
        return super().fit(log, callback)


def test_a_subclass_has_its_setting_beside_the_others():
    learner = Bonus("ips", bonus=0.5, epochs=3)
    assert learner.get_params()["bonus"] == 0.5 and learner.get_params()["epochs"] == 3
    assert learner.set_params(bonus=2.0, epochs=4) is learner
    assert (learner.bonus, learner.epochs, learner.objective) == (2.0, 4, "ips")
    copied = clone(learner)
    assert type(copied) is Bonus and copied.get_params() == learner.get_params()
    with pytest.raises(ValueError, match=r"'bonsu' is not a setting; the settings are .*'bonus'"):
        learner.set_params(bonsu=1)
    with pytest.raises(ValueError, match="epochs must be"):
        learner.set_params(bonus=3.0, epochs=0)
    assert learner.bonus == 2.0


def test_the_fit_of_a_subclass_keeps_its_settings(small_log):
    settings = {"epochs": 2, "hidden": (8,), "dim_embedding": 4, "learning_rate": 1e-2}
    learner = Bonus("ips", bonus=0.5, lambda_=2.0, **settings)
    for _ in range(2):
        learner.fit(small_log)
        assert (learner.bonus, learner.lambda_) == (0.5, 2.0)
    log = with_columns(small_log, reward=small_log.reward + 1)
    plain = opl.OffPolicyLearner("ips", **settings).fit(log)
    np.testing.assert_array_equal(probabilities(learner, log), probabilities(plain, log))


# ---- settings of another kind, and settings assigned later

OTHER_KINDS = {
    "text for layers": ({"hidden": "88"}, "hidden must be a sequence of integers; got '88'"),
    "no text": ({"hidden": ""}, "hidden must be a sequence of integers; got ''"),
    "bytes": ({"hidden": b"ab"}, "hidden must be a sequence of integers; got b'ab'"),
    "no dimension": ({"hidden": np.array(8)}, "hidden must be a sequence of integers"),
    "a table": ({"hidden": np.ones((2, 2), int)}, "hidden must be a sequence of integers"),
    "nested": ({"hidden": [8, [8, 8]]}, r"hidden\[1\] must be an integer"),
    "shuffle": ({"shuffle": 1}, "shuffle must be True or False; got 1"),
    "progress": ({"progress": 0}, "progress must be True or False; got 0"),
    "128 bits": ({"random_state": 2**127}, r"random_state must be .* at most 4294967295; .*Seed"),
    "seed of bool": ({"random_state": True}, "random_state must be an integer"),
    "rate of array": ({"learning_rate": np.ones(2)}, "learning_rate must be a finite number"),
    "rate of complex": ({"learning_rate": 1j}, "learning_rate must be a finite number"),
    "rate too large": ({"learning_rate": 10**400}, "learning_rate must be a finite number"),
    "cold": ({"temperature": 1e-310}, "temperature must be a finite number of at least 1e-38"),
    "hot": ({"temperature": 1e300}, r"temperature must be .* at most .*; got 1e\+300"),
    "towers": ({"towers": np.ones(2)}, "towers must be a TwoTower; got ndarray"),
    "class of towers": ({"towers": opl.TwoTower}, "towers must be a TwoTower; got type"),
    "objective of array": ({"objective": np.zeros(2)}, "objective must be one of"),
    "class of objective": ({"objective": opl.Objective}, "objective must be one of"),
}
LEARNERS_OWN = {
    "reward_model": ({"reward_model": 3}, "reward_model must have fit.feedback. .*got int"),
    "class of reward_model": ({"reward_model": opl.TwoTowerRegressor}, "TwoTowerRegressor"),
    "fitted reward_model": (
        {"reward_model": KnowsRewards()},
        "fitted already in opl.Fitted",
    ),
    "n_folds": ({"n_folds": True}, "n_folds must be an integer of at least 1; got True"),
    "catalogue": ({"catalogue": np.array(["exact"])}, "catalogue must be one of"),
    "n_sampled": ({"n_sampled": 2.0}, "n_sampled must be an integer of at least 1; got 2.0"),
}


@pytest.mark.parametrize("name", [*OTHER_KINDS, *LEARNERS_OWN])
def test_settings_of_another_kind_are_refused_where_they_are_given(name, small_log):
    setting, message = {**OTHER_KINDS, **LEARNERS_OWN}[name]
    with pytest.raises((TypeError, ValueError), match=message):
        opl.OffPolicyLearner(**{"objective": "ips", **setting})


@pytest.mark.parametrize("name", [*OTHER_KINDS, *LEARNERS_OWN])
def test_settings_that_are_assigned_are_checked_by_fit(name, small_log):
    setting, message = {**OTHER_KINDS, **LEARNERS_OWN}[name]
    learners = [make_learner("ips", epochs=1).fit(small_log)]
    if name in OTHER_KINDS:
        learners.append(make_regressor(epochs=1).fit(small_log))
    for learner in learners:
        for key, value in setting.items():
            setattr(learner, key, value)
        with pytest.raises((TypeError, ValueError), match=message):
            learner.fit(small_log)
        assert not hasattr(learner, "policy_")


@pytest.mark.parametrize(
    "small",
    [
        {"epochs": np.uint8(255)},
        {"batch_size": np.uint8(100)},
        {"batch_size": np.int8(50), "catalogue": "sampled", "n_sampled": np.uint8(2)},
        {"n_folds": np.int8(2), "random_state": np.uint8(255)},
        {"learning_rate": np.float16(0.5), "temperature": np.float16(0.5)},
    ],
)
def test_small_numbers_do_not_overflow(small, small_log):
    found, right = (
        make_learner("dr", **settings).fit(small_log)
        for settings in (
            small,
            {k: v if k == "catalogue" else v.item() for k, v in small.items()},
        )
    )
    assert found.history_ == right.history_
    assert len(found.history_["objective"]) == int(small.get("epochs", 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_towers_that_are_not_finite_are_refused(bad, small_log):
    towers = ARCHITECTURES["custom"]()["towers"]
    learner = make_learner("ips", towers=towers)
    with torch.no_grad():
        towers.action_tower.linear.weight[1, 2] = bad
    with pytest.raises(ValueError, match=r"action_tower\.linear\.weight has weights that are not"):
        learner.fit(small_log)


# ---- numbers of a log that towers cannot calculate with


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("reward", 1e300, r"reward is too large for single precision: row 3 has 1e\+300"),
        ("context", 1e39, "context is too large for single precision: row 3, column 0 has 1e"),
        ("action_context", -1e39, "action_context is too large for single .*: row 3, column 0"),
        ("pscore", 1e-300, "pscore is too small for single precision: row 3 has 1e-300"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_finite_in_double_precision_only_is_named(column, value, message, small_log):
    values = getattr(small_log, column).astype(np.float64)
    values[(3, 0) if values.ndim == 2 else 3] = value
    log = with_columns(small_log, **{column: values})
    with pytest.raises(ValueError, match=message):
        make_learner("ips").fit(log)


def test_so_is_a_prediction_of_a_reward_model(small_log):
    class Huge(KnowsRewards):
        def fit(self, feedback):
            return self

    with pytest.raises(ValueError, match="reward model returned is too large for single precision"):
        make_learner("dr", reward_model=Huge()).fit(small_log)


@pytest.mark.parametrize("objective", ["auto", "regression", "squared_error"])
def test_a_regression_may_be_told_to_be_served_greedily(objective, small_log):
    settings = {"epochs": 2, "hidden": (4,), "dim_embedding": 4, "progress": False}
    untold, told = (
        opl.OffPolicyLearner(objective, temperature=temperature, **settings).fit(small_log).policy_
        for temperature in (None, 0)
    )
    assert told.temperature == untold.temperature == 0
    given = small_log.context, small_log.action_context
    np.testing.assert_array_equal(told.scores(*given), untold.scores(*given))


def test_a_reward_model_that_would_not_be_used_is_refused():
    with pytest.raises(ValueError, match="'auto' has no use for a reward_model: pass objective="):
        opl.OffPolicyLearner(reward_model=opl.BilinearLearner())
    learner = opl.OffPolicyLearner("dr", reward_model=opl.BilinearLearner())
    with pytest.raises(ValueError, match="'auto' has no use"):
        learner.set_params(objective="auto")
    assert learner.objective == "dr"
