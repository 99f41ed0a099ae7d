"""A click rate: one shift of the logit, exact over contexts, kept by what is made of a world."""

import numpy as np
import pytest

import opl_lib as opl
from opl_lib.worlds.sigmoid import shift_to, sigmoid

SIZES = {"n_actions": 6, "dim_context": 4, "dim_action_context": 4}


def make_world(**settings):
    return opl.SyntheticWorld(**{**SIZES, "n_eval_contexts": 40, **settings})


def logit(q):
    return np.log(q / (1 - q))


@pytest.mark.parametrize(
    "settings",
    [
        *({}, {"scale": 0.1}, {"scale": 30}, {"unexplained": 0.7}, {"n_actions": 200}),
        {"reward_function": "logistic_as_published"},
    ],
    ids=str,
)
@pytest.mark.parametrize("click_rate", [0.001, 0.015, 0.8])
def test_uniform_earns_the_click_rate_but_for_the_draw_of_contexts(settings, click_rate):
    world = make_world(click_rate=click_rate, n_eval_contexts=40_000, **settings)
    by_context = world.expected_reward(world.eval_context).mean(axis=1)
    error = by_context.std() / np.sqrt(len(by_context))
    assert abs(by_context.mean() - click_rate) < 4 * error
    assert world.reference_values()["uniform"] == pytest.approx(by_context.mean())


def test_the_mean_is_an_integral_and_no_sample():
    """Sigmoids of one slope, summed on a grid of its own."""
    intercept, slope = np.array([0.3, -1.0]), np.array([[2.0, 0.5], [0.0, 1.5]])
    shift = shift_to(0.05, intercept, slope)
    z = np.linspace(-9, 9, 200_001)
    density = np.exp(-(z**2) / 2)
    means = [
        np.average(sigmoid(b + s * z + shift), weights=density)
        for b, s in zip(intercept, np.sqrt((slope**2).sum(axis=0)), strict=True)
    ]
    assert np.mean(means) == pytest.approx(0.05, abs=1e-9)


def test_every_logit_is_shifted_by_one_number():
    plain, rare = make_world(), make_world(click_rate=0.02)
    shift = logit(rare.expected_reward(rare.eval_context)) - logit(
        plain.expected_reward(plain.eval_context)
    )
    np.testing.assert_allclose(shift, shift[0, 0], atol=1e-9)
    assert shift[0, 0] < -3
    np.testing.assert_array_equal(rare.action_context, plain.action_context)
    logged, same = (world.sample(50, random_state=1) for world in (rare, plain))
    np.testing.assert_array_equal(logged.context, same.context)


def test_the_number_of_contexts_of_evaluation_changes_no_reward():
    few, many = (make_world(click_rate=0.02, n_eval_contexts=n) for n in (3, 300))
    context = few.eval_context
    np.testing.assert_array_equal(few.expected_reward(context), many.expected_reward(context))


def test_new_items_and_obp_keep_the_shift():
    world = make_world(click_rate=0.02, unexplained=0.4)
    later, context = world.with_new_items(300), world.eval_context
    np.testing.assert_array_equal(
        later.expected_reward(context)[:, :6], world.expected_reward(context)
    )
    assert later.expected_reward(context)[:, 6:].mean() == pytest.approx(0.02, rel=0.5)
    ours = world.sample(300, random_state=12)
    theirs = world.to_obp(random_state=12).obtain_batch_bandit_feedback(n_rounds=300)
    for name in ("context", "action", "reward", "pscore"):
        np.testing.assert_array_equal(getattr(ours, name), theirs[name], err_msg=name)
    np.testing.assert_array_equal(theirs["expected_reward"], world.expected_reward(ours.context))


@pytest.mark.parametrize("click_rate", [0, 1, -0.1, 1e-7, 1 - 1e-7, float("nan"), "0.1", True])
def test_a_click_rate_out_of_range_is_rejected(click_rate):
    with pytest.raises(ValueError, match="click_rate must be a finite number of at least 1e-06"):
        make_world(click_rate=click_rate)


@pytest.mark.parametrize("scale", [1e4, 1e100])
def test_a_saturated_world_cannot_have_a_click_rate(scale):
    with pytest.raises(ValueError, match=r"click_rate=0\.1 cannot be met.* Take a smaller scale"):
        make_world(click_rate=0.1, scale=scale)
