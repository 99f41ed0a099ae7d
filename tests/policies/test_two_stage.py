"""The policy in two stages: a cluster, then its best item."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import opl_lib as opl

CLUSTER = [0, 0, 1, 1, 1, 7]
TOWERS = opl.TwoTower.mlp(4, 4, (4,), 2, random_state=0)


@pytest.fixture
def world():
    return opl.SyntheticWorld(6, 4, 4, logging_policy=opl.softmax(1.0), random_state=0)


class Predictions:
    def __init__(self, q_hat):
        self.q_hat = np.array(q_hat)

    def predict_reward(self, context, action_context):
        return self.q_hat


def test_two_stages_by_hand():
    def policy(context, action_context):
        return np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])

    q_hat = Predictions([[0.9, 0.1, 0.2, 0.3], [0.1, 0.9, 0.3, 0.2]])
    two_stages = opl.TwoStagePolicy(policy, q_hat, cluster=[5, 5, 2, 2])
    pi = two_stages.predict_proba(np.zeros((2, 1)), np.zeros((4, 1)))
    np.testing.assert_allclose(pi, [[0.3, 0, 0, 0.7], [0, 0.7, 0.3, 0]])
    with pytest.raises(ValueError, match="4 entries for 3 items"):
        two_stages.predict_proba(np.zeros((2, 1)), np.zeros((3, 1)))


def by_hand(context, action_context):
    return np.full((len(context), len(action_context)), 1 / len(action_context))


@pytest.mark.parametrize("policy", [by_hand, opl.uniform()], ids=["function", "uniform"])
def test_a_temperature_is_only_offered_where_the_first_stage_has_one(policy):
    two_stages = opl.TwoStagePolicy(policy, Predictions(np.zeros((2, 6))), CLUSTER)
    assert two_stages.temperature is None
    with pytest.raises(TypeError, match=r"first stage, .*has no temperature: make a TwoStagePol"):
        two_stages.at_temperature(0)
    pi = two_stages.predict_proba(np.zeros((2, 4)), np.zeros((6, 4)))
    np.testing.assert_allclose(pi[:, [0, 2, 5]], [[1 / 3, 1 / 2, 1 / 6]] * 2)
    served = two_stages.for_items(np.zeros((6, 4)))
    assert served.policy is policy


def test_two_stages_are_selected_as_any_policy(world):
    """`select` asks every policy for temperatures that has some."""
    log = world.sample(600, random_state=1)
    q_hat = opl.SklearnRewardModel(Ridge()).fit(log)
    towers = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 4, (4,), 2, random_state=0))
    candidates = {
        "by hand": opl.TwoStagePolicy(by_hand, q_hat, CLUSTER),
        "towers": opl.TwoStagePolicy(towers, q_hat, CLUSTER),
    }
    chosen = opl.select(candidates, log, estimator="snips", temperatures=[1, 0])
    assert set(chosen.policies) == {"by hand", "towers @ 1", "towers @ 0"}


def test_the_first_stage_encodes_the_items_once(world):
    log, calls = world.sample(20, random_state=1), []
    towers = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 4, (4,), 2, random_state=0))
    towers.towers.action_tower.register_forward_hook(lambda *arguments: calls.append(1))
    two_stages = opl.TwoStagePolicy(towers, Predictions(np.zeros((20, 6))), CLUSTER)
    expected = two_stages.predict_proba(log.context, log.action_context)
    served = two_stages.for_items(log.action_context)
    calls.clear()
    for _ in range(2):
        pi = served.predict_proba(log.context, log.action_context)
        np.testing.assert_array_equal(pi, expected)
    assert calls == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, Predictions([]), CLUSTER), TypeError, "a policy is an object .*; got NoneType"),
        ((3, Predictions([]), CLUSTER), TypeError, "a policy is an object with .*; got int"),
        (
            (opl.uniform, Predictions([]), CLUSTER),
            TypeError,
            "got the class|does not take these two",
        ),
        ((TOWERS, Predictions([]), CLUSTER), TypeError, r"got towers. Make .*TwoTowerPolicy\(tow"),
        ((by_hand, Predictions, CLUSTER), TypeError, "got the class Predictions: make an object"),
        ((by_hand, Ridge(), CLUSTER), TypeError, "Ridge has none. Wrap a scikit-learn estimator"),
        ((by_hand, Predictions([]), [0.5] * 6), ValueError, "cluster must hold integers"),
        ((by_hand, Predictions([]), [[0, 1]]), ValueError, "cluster must have 1 dimension"),
    ],
    ids=[
        "no policy",
        "policy",
        "factory",
        "towers",
        "class",
        "reward model",
        "cluster",
        "shape of cluster",
    ],
)
def test_bad_stages_are_refused_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        opl.TwoStagePolicy(*arguments)


def test_potec_climbs_the_value_of_its_policy_in_two_stages(world):
    """What `potec` maximises is what `TwoStagePolicy` is worth, when q̂ is the truth."""
    log = opl.with_clusters(world.sample(3000, random_state=1), CLUSTER)
    q_hat = Predictions(world.expected_reward(log.context))
    q_hat.fit = lambda feedback: q_hat
    q_hat.predictor = lambda context, items: lambda rows, numbers: q_hat.q_hat[rows][:, numbers]
    learner = opl.OffPolicyLearner(
        opl.potec(CLUSTER), epochs=3, learning_rate=1e-3, reward_model=q_hat, n_folds=1
    )
    learner.fit(log)
    served = opl.TwoStagePolicy(learner.policy_, q_hat, CLUSTER)
    pi = served.predict_proba(log.context, log.action_context)
    value = (pi * q_hat.q_hat).sum(axis=1).mean()
    assert abs(learner.history_["objective"][-1] - value) < 0.03
    greedy = served.at_temperature(0).predict_proba(log.context, log.action_context)
    assert ((greedy == 0) | (greedy == 1)).all()


@pytest.mark.parametrize(
    ("context", "items", "message"),
    [
        (np.ones((2, 4)), None, "action_context must be an array; got None"),
        (np.ones((2, 4)), np.ones((0, 4)), "action_context has no rows: there is no item to show"),
        (np.ones((2, 4)), np.ones((5, 4)), "cluster has 6 entries for 5 items"),
        (np.ones((2, 4)), np.full((6, 4), np.nan), "action_context must be finite; row 0"),
        (None, np.ones((6, 4)), "context must be an array; got None"),
        (np.ones((2, 4)).astype(str), np.ones((6, 4)), "context .* a number stored as text"),
        (np.ma.masked_equal(np.eye(4), 1), np.ones((6, 4)), "context is masked in row 0"),
    ],
)
def test_two_stages_ask_of_features_what_a_log_asks(context, items, message):
    def says_uniform(context, action_context):
        return np.full((len(context), 6), 1 / 6)

    two_stages = opl.TwoStagePolicy(says_uniform, Predictions(np.zeros((2, 6))), CLUSTER)
    with pytest.raises(ValueError, match=message):
        two_stages.predict_proba(context, items)


def test_clusters_are_a_copy():
    cluster = np.array(CLUSTER)
    two_stages = opl.TwoStagePolicy(by_hand, Predictions(np.zeros((2, 6))), cluster)
    expected = two_stages.predict_proba(np.ones((2, 1)), np.ones((6, 1)))
    cluster[:] = 0
    np.testing.assert_array_equal(
        two_stages.predict_proba(np.ones((2, 1)), np.ones((6, 1))), expected
    )


def test_stages_that_are_no_numbers_are_an_error():
    def diverged(context, action_context):
        return np.full((2, 6), np.nan)

    features = np.ones((2, 4)), np.ones((6, 4))
    with pytest.raises(ValueError, match="the policy returned nan for item 0"):
        opl.TwoStagePolicy(diverged, Predictions(np.zeros((2, 6))), CLUSTER).predict_proba(
            *features
        )
    with pytest.raises(ValueError, match="predictions are not all finite, first in row 0"):
        opl.TwoStagePolicy(by_hand, Predictions(np.full((2, 6), np.inf)), CLUSTER).predict_proba(
            *features
        )


def test_data_frames_are_refused_where_only_the_first_stage_would_read_them():
    rounds = pd.DataFrame({"age": [20, 30, 40, 50], "item": list("abab"), "r": [0, 1, 1, 0]})
    items, names = pd.DataFrame({"item": ["a", "b"], "price": [5.0, 9.0]}), {"item_id": "item"}
    rounds["p"] = 0.5
    log = opl.BanditFeedback.from_dataframe(
        rounds, context=["age"], action="item", reward="r", pscore="p", items=items, **names
    )
    policy = opl.BilinearLearner(temperature=0.5).fit(log).policy_
    two_stages = opl.TwoStagePolicy(policy, Predictions(np.zeros((4, 2))), cluster=[0, 1])
    with pytest.raises(ValueError, match=r"context is a data frame.*encode_context\(context\)"):
        two_stages.predict_proba(rounds, items)
    for ask in (lambda x: two_stages.predict_proba(log.context, x), two_stages.for_items):
        with pytest.raises(ValueError, match=r"action_context is a data frame.*encode_items"):
            ask(items)
    features = log.columns.encode_context(rounds), log.columns.encode_items(items)
    np.testing.assert_array_equal(
        two_stages.predict_proba(*features), policy.predict_proba(rounds, items)
    )
