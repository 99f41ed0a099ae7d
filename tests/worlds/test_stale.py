"""A logging policy that follows a stale model: near the truth without noise, worse with more."""

import numpy as np
import pytest

import opl_lib as opl

WORLD = opl.SyntheticWorld(6, 4, 3, n_eval_contexts=2_000, random_state=0)


def value(**settings):
    return WORLD.policy_value(opl.stale_greedy(WORLD, **settings))


def test_without_noise_it_is_the_optimum_but_for_exploration():
    references = WORLD.reference_values()
    expected = 0.9 * references["optimum"] + 0.1 * references["uniform"]
    assert value(epsilon=0.1, noise=0) == pytest.approx(expected)
    assert value(epsilon=1, noise=0) == pytest.approx(references["uniform"])


def test_one_item_is_shown_most_of_the_time_and_the_others_alike():
    pi = opl.stale_greedy(WORLD, epsilon=0.12)(WORLD.eval_context, WORLD.action_context)
    assert pi.shape == (2_000, 6)
    np.testing.assert_allclose(np.sort(pi, axis=1), [[0.02] * 5 + [0.9]] * 2_000)


def test_more_noise_earns_less():
    mean = [
        np.mean([value(noise=noise, random_state=seed) for seed in range(10)])
        for noise in (0, 0.25, 1, 4)
    ]
    assert mean == sorted(mean, reverse=True) and len(set(mean)) == 4
    assert mean[1] > WORLD.reference_values()["best_constant_item"]


def test_noise_is_measured_in_the_spread_of_the_logit_and_linear_in_the_context():
    many = opl.SyntheticWorld(3_000, 4, 3, n_eval_contexts=1, scale=2, random_state=0)
    stale = opl.stale_greedy(many, noise=0.5)._coefficients
    true = np.vstack([many._intercept, many._slope])
    noise = stale - true
    logits = np.random.default_rng(0).normal(size=(200, 4))
    logits = np.column_stack([np.ones(200), logits]) @ noise
    assert noise.std() * np.sqrt(5) == pytest.approx(0.5 * 2, rel=0.05)
    assert logits.std() == pytest.approx(0.5 * 2, rel=0.1)


def test_settings_fix_it():
    one, same = (opl.stale_greedy(WORLD, random_state=3) for _ in range(2))
    items = WORLD.action_context
    assert one == same != opl.stale_greedy(WORLD, random_state=4)
    np.testing.assert_array_equal(one(WORLD.eval_context, items), same(WORLD.eval_context, items))
    assert value(random_state=3) != value(random_state=4)
    assert "noise=0.5, random_state=3)" in repr(one)


def test_it_logs_in_a_world_that_is_made_once_more_and_in_its_later_ones():
    world = opl.SyntheticWorld(
        6, 4, 3, logging_policy=opl.stale_greedy(WORLD), n_eval_contexts=2_000, random_state=0
    )
    later = world.with_new_items(2)
    for each in (world, later):
        log = each.sample(2_000, random_state=0)
        assert log.support_report(each.logging_policy).mean_weight == pytest.approx(1)
        assert log.action.max() < 6
    references = world.reference_values()
    assert references["uniform"] < references["logging"] < references["optimum"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"epsilon": 0}, ValueError, r"epsilon must be in \(0, 1\]; got 0"),
        ({"noise": -1}, ValueError, "noise must be .* at least 0 and at most 1000; got -1"),
        ({"random_state": -1}, ValueError, "random_state must be an integer"),
        (
            {"world": opl.DigitsWorld()},
            TypeError,
            "world must be a SyntheticWorld; got DigitsWorld",
        ),
        ({"world": None}, TypeError, "world must be a SyntheticWorld; got None"),
    ],
    ids=range(5),
)
def test_wrong_settings_are_rejected(settings, error, message):
    with pytest.raises(error, match=message):
        opl.stale_greedy(**{"world": WORLD, **settings})


def test_other_items_and_contexts_are_rejected():
    policy = opl.stale_greedy(WORLD)
    with pytest.raises(ValueError, match=r"must have the 6 items of the world .*; got 5"):
        policy(WORLD.eval_context, WORLD.action_context[:5])
    with pytest.raises(ValueError, match=r"context must have shape \(n, 4\)"):
        policy(np.ones((2, 3)), WORLD.action_context)
