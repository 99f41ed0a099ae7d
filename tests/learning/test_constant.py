"""The constant item: which one, how far its mean is shrunk, and what its policy shows."""

import pickle

import numpy as np
import pytest
from learning.learners import with_columns

import opl_lib as opl
from opl_lib.learning import constant


def shown(action, reward, pscore=None, items=None):
    """A log of given items and rewards, whose contexts say nothing."""
    action = np.asarray(action)
    items = np.eye(action.max() + 1) if items is None else np.asarray(items, float)
    return opl.BanditFeedback(
        context=np.ones((len(action), 1)),
        action=action,
        reward=np.asarray(reward, float),
        pscore=np.full(len(action), 1 / len(items)) if pscore is None else pscore,
        action_context=items,
    )


def clicks(rates, n_each, seed=0, **columns):
    """So many rounds of each item, with clicks at given rates."""
    rng = np.random.default_rng(seed)
    action = np.repeat(np.arange(len(rates)), n_each)
    return shown(action, rng.random(len(action)) < np.asarray(rates)[action], **columns)


# ---- which item


def test_the_item_with_the_largest_mean_is_found():
    log = clicks([0.1, 0.5, 0.3], [400, 400, 400])
    learner = opl.ConstantItemLearner()
    assert learner.fit(log) is learner
    assert learner.policy_ == opl.ConstantItemPolicy(1, fallback=[2, 0])
    assert repr(learner.policy_) == "ConstantItemPolicy(action=1)"
    means = [log.reward[log.action == item].mean() for item in range(3)]
    np.testing.assert_allclose(learner.value_, means, atol=0.03)


def test_a_bestseller_of_three_rounds_is_chance():
    log = clicks([0.2, 0.4, 1.0], [300, 300, 3])
    assert log.reward[log.action == 2].mean() == 1
    learner = opl.ConstantItemLearner().fit(log)
    assert learner.policy_.action == 1
    assert learner.value_[2] < learner.value_[1] < 0.45


def test_weights_undo_how_often_rounds_were_shown():
    """Item 0 is good in contexts where it is rarely shown, as the weights say."""
    reward = np.r_[np.ones(20), np.zeros(180), np.tile([1, 0], 200)]
    action = np.repeat([0, 1], [200, 400])
    pscore = np.r_[np.full(20, 0.1), np.full(180, 0.9), np.full(400, 0.5)]
    weight = 1 / pscore
    mean = [np.average(reward[action == item], weights=weight[action == item]) for item in range(2)]
    found = opl.ConstantItemLearner().fit(shown(action, reward, pscore)).value_
    np.testing.assert_allclose(found, mean, atol=0.02)
    assert abs(found[0] - 0.1) > 0.3


def test_large_weights_are_limited():
    """One click of a round that was shown once in a hundred makes no bestseller."""
    pscore = np.r_[0.01, np.full(599, 1 / 3)]
    log = clicks([0.1, 0.3, 0.2], [200, 200, 200], pscore=pscore)
    log = with_columns(log, reward=np.r_[1.0, log.reward[1:]])
    weight = 1 / log.pscore[:200]
    assert np.average(log.reward[:200], weights=weight) > 0.2
    assert opl.ConstantItemLearner().fit(log).value_[0] < 0.2


def test_means_of_few_rounds_are_drawn_to_what_the_features_say():
    """A hundred items of five rounds each, whose rate grows with a feature."""
    rng = np.random.default_rng(0)
    feature = np.sort(rng.uniform(-1, 1, 100))
    rates = 0.5 + 0.3 * feature
    items = np.column_stack([feature, rng.normal(size=100)])
    log = clicks(rates, np.full(100, 5), items=items)
    learner = opl.ConstantItemLearner().fit(log)
    own = np.bincount(log.action, log.reward) / 5
    assert np.square(learner.value_ - rates).mean() < 0.2 * np.square(own - rates).mean()
    assert rates[learner.policy_.action] > 0.7


def test_an_item_that_was_never_shown_has_the_mean_that_its_features_say():
    rng = np.random.default_rng(0)
    feature = rng.uniform(-1, 1, 60)
    log = clicks(0.5 + 0.4 * feature[:59], np.full(59, 20), items=feature[:, None])
    value = opl.ConstantItemLearner().fit(log).value_
    assert value[59] == pytest.approx(0.5 + 0.4 * feature[59], abs=0.1)


def test_without_differences_all_values_are_near_the_mean():
    log = clicks(np.full(20, 0.3), np.full(20, 50))
    value = opl.ConstantItemLearner().fit(log).value_
    own = np.bincount(log.action, log.reward) / 50
    assert np.abs(value - 0.3).max() < 0.3 * np.abs(own - 0.3).max()


# ---- logs of every kind


@pytest.mark.parametrize(
    ("scale", "offset"), [(1e6, 0), (1, 100), (1e-6, -1), (1e300, 0), (1e-300, 0), (1e200, 1e200)]
)
def test_unit_and_offset_of_the_reward_change_nothing(scale, offset):
    log = clicks([0.1, 0.5, 0.3], [40, 40, 400])
    learner, other = (
        opl.ConstantItemLearner().fit(each)
        for each in (log, with_columns(log, reward=scale * log.reward + offset))
    )
    assert other.policy_ == learner.policy_
    np.testing.assert_allclose(other.value_, scale * learner.value_ + offset, rtol=1e-9)


def test_the_unit_of_propensities_changes_nothing_but_rounding():
    log = clicks([0.1, 0.5, 0.3], [40, 40, 400])
    tiny = with_columns(log, pscore=np.full(480, 2.3e-308))
    np.testing.assert_allclose(
        *(opl.ConstantItemLearner().fit(each).value_ for each in (log, tiny)), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("log", "value"),
    [
        (lambda: shown([0, 1, 1], [1, 1, 1]), [1, 1]),
        (lambda: shown([1], [0.25]), [0.25, 0.25]),
        (lambda: shown([0, 0, 0], [1, 0, 1], items=np.ones((2, 2))), [2 / 3, 2 / 3]),
    ],
    ids=["constant rewards", "one round", "one item of two"],
)
def test_where_nothing_can_be_learned_it_is_the_mean_and_the_first_item(log, value):
    learner = opl.ConstantItemLearner().fit(log())
    np.testing.assert_allclose(learner.value_, value)
    assert learner.policy_.action == 0


def test_single_precision_is_as_good():
    log = clicks([0.1, 0.5, 0.3], [40, 40, 400])
    single = opl.BanditFeedback(
        *(each.astype(np.float32) for each in (log.context,)),
        log.action,
        log.reward.astype(np.float32),
        log.pscore.astype(np.float32),
        1e5 + log.action_context.astype(np.float32),
    )
    np.testing.assert_allclose(
        opl.ConstantItemLearner().fit(single).value_,
        opl.ConstantItemLearner().fit(log).value_,
        rtol=1e-5,
    )


# ---- the policy


def test_the_policy_shows_its_item_always():
    policy = opl.ConstantItemPolicy(2)
    np.testing.assert_array_equal(
        policy.predict_proba(np.ones((3, 1)), np.eye(4)), np.tile([0, 0, 1, 0], (3, 1))
    )
    assert opl.ConstantItemPolicy(np.int64(2)) == policy


def test_what_is_no_item_is_named():
    with pytest.raises(ValueError, match=r"item is number 2, but there are 2 items: keep"):
        opl.ConstantItemPolicy(2).predict_proba(np.ones((3, 1)), np.eye(2))
    for action in (-1, 1.5, True, "a", None):
        with pytest.raises(ValueError, match="action must be an integer of at least 0; got"):
            opl.ConstantItemPolicy(action)
    with pytest.raises(TypeError, match="BanditFeedback"):
        opl.ConstantItemLearner().fit(np.eye(2))


MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 1], [1, 0, 0, 0]], dtype=bool)


def test_where_its_item_is_not_on_offer_the_next_of_the_ranking_is_shown():
    policy, given = opl.ConstantItemPolicy(2, fallback=[3, 0, 1]), (np.ones((4, 1)), np.eye(4))
    found = policy.predict_proba(*given, eligible=MASK)
    assert found.argmax(axis=1).tolist() == [2, 3, 3, 0] and (found.sum(axis=1) == 1).all()
    for_all = policy.predict_proba(*given, eligible=MASK[3])
    assert for_all.argmax(axis=1).tolist() == [0, 0, 0, 0]
    everywhere = policy.predict_proba(*given, eligible=np.ones(4, dtype=bool))
    np.testing.assert_array_equal(everywhere, policy.predict_proba(*given))
    short = opl.ConstantItemPolicy(2, fallback=(3,))
    with pytest.raises(ValueError, match=r"in row 3 neither item 2 .* one of the 1 of its fallb"):
        short.predict_proba(*given, eligible=MASK)


WRONG = {
    "twice": ([3, 3], "fallback names an item twice"),
    "itself": ([2], "or the item that it stands in for"),
    "negative": ([0, -1], "fallback must be numbers of items, from 0; got -1"),
    "floats": ([0.5], "fallback must hold integers"),
}


@pytest.mark.parametrize(("fallback", "message"), WRONG.values(), ids=WRONG)
def test_a_fallback_that_is_none_is_refused(fallback, message):
    with pytest.raises(ValueError, match=message):
        opl.ConstantItemPolicy(2, fallback)


def test_a_fallback_of_more_items_than_there_are_is_named():
    with pytest.raises(ValueError, match="fallback has item number 7, but there are 4 items"):
        opl.ConstantItemPolicy(2, [7]).predict_proba(np.ones((4, 1)), np.eye(4), eligible=MASK)


def test_the_learner_ranks_all_items_for_those_that_come_and_go():
    rng, rates = np.random.default_rng(0), np.array([0.1, 0.8, 0.5, 0.3])
    mask = np.tile(MASK, (500, 1))
    uniform = mask / mask.sum(axis=1, keepdims=True)
    action = (uniform.cumsum(axis=1) > rng.random((2_000, 1))).argmax(axis=1)
    pscore = uniform[np.arange(2_000), action]
    log = shown(action, rng.random(2_000) < rates[action], pscore, np.eye(4))
    log = with_columns(log, eligible=mask)
    policy = opl.ConstantItemLearner().fit(log).policy_
    assert policy == opl.ConstantItemPolicy(1, fallback=[2, 3, 0])
    found = policy.predict_proba(log.context, log.action_context, eligible=mask)
    assert (found.argmax(axis=1) == np.where(mask, rates, -1).argmax(axis=1)).all()


def test_it_is_judged_and_pickled_like_any_policy():
    log = clicks([0.1, 0.5, 0.3], [40, 40, 40])
    learner = pickle.loads(pickle.dumps(opl.ConstantItemLearner().fit(log)))
    table = opl.evaluate(learner.policy_, log, ["snips"])
    expected = log.reward[log.action == 1].mean()
    assert table.policy_value["snips"] == pytest.approx(expected)
    chosen = opl.select({"item": opl.ConstantItemLearner()}, log, estimator="ips")
    assert isinstance(chosen.policies["item"], opl.ConstantItemPolicy)
    assert repr(learner) == "ConstantItemLearner()"


# ---- the regression on features


def test_means_are_shrunk_also_where_features_tell_every_item_apart():
    rng = np.random.default_rng(0)
    rates = rng.beta(6, 14, 100)
    log = clicks(rates, np.full(100, 20))
    value = opl.ConstantItemLearner().fit(log).value_
    own = np.bincount(log.action, log.reward) / 20
    assert np.square(value - rates).mean() < 0.6 * np.square(own - rates).mean()


def weighted_ridge(features, target, size, penalty):
    """From features to predictions, with a free intercept: coefficients of the normal equations."""
    full = np.column_stack([np.ones(len(features)), features])
    penalised = full.T @ (size[:, None] * full) + penalty * np.diag(
        [0, *np.ones(full.shape[1] - 1)]
    )
    return np.linalg.solve(penalised, full.T @ (size * target))


def test_the_penalty_is_the_one_that_leaves_an_item_out_best():
    rng = np.random.default_rng(0)
    features, size = rng.normal(size=(15, 3)), rng.uniform(0.5, 20, 15)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    target = features @ [0.5, -0.2, 0] + rng.normal(size=15) / np.sqrt(size)
    full = np.column_stack([np.ones(15), features])
    errors = []
    for penalty in constant._PENALTIES * size.mean():
        others = [np.arange(15) != k for k in range(15)]
        left_out = [
            full[k] @ weighted_ridge(features[some], target[some], size[some], penalty)
            for k, some in enumerate(others)
        ]
        errors.append(size @ np.square(target - left_out))
    best = constant._PENALTIES[np.argmin(errors)] * size.mean()
    expected = full @ weighted_ridge(features, target, size, best)
    np.testing.assert_allclose(constant._ridge(features, target, size), expected)
