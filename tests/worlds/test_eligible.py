"""Worlds whose items come and go: logs, logging policies and true values among what is there."""

import numpy as np
import pytest

import opl_lib as opl

Q = np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.4]])
SETS = np.array([[True, True, False], [False, True, True], [True, True, True]])


class Season(opl.World):
    """Two kinds of visitors and three items, in sets that take turns."""

    def draw_context(self, n_rounds, rng):
        return np.eye(2)[rng.randint(2, size=n_rounds)]

    def draw_eligible(self, n_rounds, rng):
        return opl.Eligible(SETS, rng.randint(3, size=n_rounds))

    def reward_probability(self, context):
        return context @ Q


CONTEXT, MASK = np.eye(2)[[0, 1, 0, 1, 1]], SETS[[0, 1, 2, 0, 2]]


@pytest.fixture
def season():
    world = Season(np.eye(3), CONTEXT, opl.uniform())
    world.eval_eligible = MASK
    return world


LOGGING = {
    "uniform": opl.uniform(),
    "zipf": opl.zipf(1.5),
    "softmax": opl.softmax(0.7),
    "epsilon_greedy": opl.epsilon_greedy(0.3),
    "as_published": opl.epsilon_greedy_as_published(0.3),
    "own": lambda context, items: np.tile([0.2, 0.3, 0.1, 0.4], (len(context), 1)),
}
SMALL = {"n_actions": 4, "dim_context": 3, "dim_action_context": 3, "n_eval_contexts": 20}


def some_sets(n, m=4):
    mask = np.random.default_rng(n).random((n, m)) < 0.5
    mask[:, 1] = True
    return mask


@pytest.mark.parametrize("name", [*LOGGING, "stale_greedy", "with_new_items"])
def test_a_log_shows_what_is_eligible_with_its_probability(name, small_chunks):
    small_chunks()
    world = opl.SyntheticWorld(**SMALL, logging_policy=LOGGING.get(name), random_state=0)
    if name == "stale_greedy":
        policy = opl.stale_greedy(world, epsilon=0.3)
        world = opl.SyntheticWorld(**SMALL, logging_policy=policy, random_state=0)
    if name == "with_new_items":
        world = world.with_new_items(1)
    mask = some_sets(3000, world.n_actions)
    log = world.sample(3000, random_state=1, eligible=mask)
    assert (log.eligible.mask() == mask).all()
    report = log.support_report(opl.softmax(2.0))
    if name != "with_new_items":  # there the new item is never shown
        assert abs(report.mean_weight - 1) < 4 * report.mean_weight_se + 1e-9
        assert log.balance().abs().max(axis=None) < 4


def test_a_greedy_policy_explores_and_exploits_among_the_eligible():
    context, items = np.array([[1.0, 0.5, 0.2, 0.1]]), np.eye(4)
    mask = np.array([[False, True, True, True]])
    pi = opl.epsilon_greedy(0.3)(context, items, eligible=mask)
    np.testing.assert_allclose(pi, [[0, 0.8, 0.1, 0.1]])
    pi = opl.epsilon_greedy_as_published(0.3)(context, items, eligible=mask)
    np.testing.assert_allclose(pi[0, 1:], np.exp([0.8, 0.1, 0.1]) / np.exp([0.8, 0.1, 0.1]).sum())


@pytest.mark.parametrize("name", ["uniform", "zipf", "softmax"])
def test_others_are_renormalised(name):
    context, items, mask = (
        np.ones((5, 3)),
        np.random.default_rng(0).normal(size=(4, 3)),
        some_sets(5),
    )
    pi = LOGGING[name](context, items) * mask
    found = LOGGING[name](context, items, eligible=mask)
    np.testing.assert_allclose(found, pi / pi.sum(axis=1, keepdims=True))


def test_a_log_where_all_are_eligible_is_the_same_log():
    for policy in LOGGING.values():
        world = opl.SyntheticWorld(**SMALL, logging_policy=policy, random_state=0)
        plain, full = (
            world.sample(50, random_state=1, eligible=mask)
            for mask in (None, np.ones((50, 4), bool))
        )
        assert np.array_equal(plain.action, full.action)
        np.testing.assert_allclose(plain.pscore, full.pscore)


def test_a_world_says_what_is_eligible_when(season):
    log = season.sample(600, random_state=0)
    assert {tuple(row) for row in log.eligible.mask()} == {tuple(row) for row in SETS}
    assert (
        season.sample(600, random_state=0).eligible.number.tolist() == log.eligible.number.tolist()
    )
    given = season.sample(5, random_state=0, eligible=MASK)
    assert (given.eligible.mask() == MASK).all()
    with pytest.raises(ValueError, match="eligible is for 5 rounds"):
        season.sample(6, eligible=MASK)


def test_values_are_among_the_eligible(season):
    pi = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    table = CONTEXT @ pi * MASK
    table /= table.sum(axis=1, keepdims=True)
    value = (table * (CONTEXT @ Q)).sum(axis=1).mean()

    def policy(context, items):
        return context @ pi

    assert np.isclose(season.policy_value(policy), value)
    assert np.isclose(season.policy_value(policy, CONTEXT, eligible=MASK), value)
    everywhere = (CONTEXT @ (pi * Q)).sum(axis=1).mean()
    assert np.isclose(season.policy_value(policy, CONTEXT), everywhere)
    groups = season.value_by_group(policy, ["a", "b", "b"])
    assert np.isclose(groups.value.sum(), value) and np.isclose(
        groups.share["a"], table[:, 0].mean()
    )


def test_references_are_among_the_eligible(season, small_chunks):
    small_chunks()
    q = CONTEXT @ Q
    found = season.reference_values()
    uniform = (q * MASK).sum(axis=1) / MASK.sum(axis=1)
    assert np.isclose(found["uniform"], uniform.mean())
    assert np.isclose(found["logging"], uniform.mean())
    assert np.isclose(found["optimum"], np.where(MASK, q, 0).max(axis=1).mean())
    item = (q * MASK).sum(axis=0) / MASK.sum(axis=0)
    first = np.where(MASK, item, -1).argmax(axis=1)
    assert np.isclose(found["best_constant_item"], q[np.arange(5), first].mean())


def test_references_where_all_are_eligible_are_as_without(season):
    season.eval_eligible = None
    plain = season.reference_values()
    season.eval_eligible = np.ones(3, bool)
    assert season.reference_values() == pytest.approx(plain)
