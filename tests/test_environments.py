"""Synthetic worlds: the rows of obp, exact values, frequencies, moments."""

import functools

import numpy as np
import pytest

import opl_lib as opl
from opl_lib.checks import row_chunks

LOGGING_POLICIES = [
    opl.uniform(),
    opl.epsilon_greedy(0.3),
    opl.epsilon_greedy_as_published(0.1),
    opl.softmax(0.5),
]
REWARD_FUNCTIONS = ["logistic", "logistic_as_published"]


def make_world(**settings):
    default = {"n_actions": 6, "dim_context": 4, "dim_action_context": 4, "n_eval_contexts": 40}
    return opl.SyntheticWorld(**{**default, **settings})


def logit(q):
    return np.log(q / (1 - q))


@pytest.fixture
def tiny_chunks(monkeypatch):
    """Call it to make every loop over rows go a few rows at a time."""

    def shrink():
        few = functools.partial(row_chunks, max_elements=20)
        monkeypatch.setattr("opl_lib.environments.row_chunks", few)

    return shrink


# ---- the same rows as obp


@pytest.mark.parametrize("reward_function", REWARD_FUNCTIONS)
@pytest.mark.parametrize("logging_policy", LOGGING_POLICIES, ids=str)
def test_sample_draws_the_rows_of_obp_to_the_bit(logging_policy, reward_function):
    world = make_world(logging_policy=logging_policy, reward_function=reward_function)
    ours = world.sample(300, random_state=12)
    theirs = world.to_obp(random_state=12).obtain_batch_bandit_feedback(n_rounds=300)
    for name in ("context", "action", "reward", "pscore", "action_context"):
        np.testing.assert_array_equal(getattr(ours, name), theirs[name], err_msg=name)
    np.testing.assert_array_equal(theirs["expected_reward"], world.expected_reward(ours.context))


def test_obp_computes_the_same_policy_value():
    world = make_world()
    pi = opl.softmax(0.3)(world.eval_context, world.action_context)
    theirs = world.to_obp().calc_ground_truth_policy_value(
        expected_reward=world.expected_reward(world.eval_context), action_dist=pi[:, :, None]
    )
    assert world.policy_value(opl.softmax(0.3)) == pytest.approx(theirs, abs=1e-12)


# ---- values


def test_policy_value_equals_the_loop_over_contexts_and_items():
    world, policy = make_world(), opl.softmax(0.3)
    total = 0.0
    for x in world.eval_context:
        pi, q = policy(x[None], world.action_context)[0], world.expected_reward(x[None])[0]
        total += sum(pi[a] * q[a] for a in range(6))
    assert world.policy_value(policy) == pytest.approx(total / 40, abs=1e-12)


def test_policy_value_takes_other_contexts():
    world, policy = make_world(), opl.softmax(0.3)
    context = world.eval_context[:7]
    q = world.expected_reward(context)
    expected = (policy(context, world.action_context) * q).sum(axis=1).mean()
    assert world.policy_value(policy, context) == pytest.approx(expected, abs=1e-12)


def test_policy_value_takes_a_policy_object():
    world = make_world()
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(4, 4, hidden=(), dim_embedding=2, random_state=0))
    assert world.policy_value(policy) == world.policy_value(policy.predict_proba)


def test_reference_values_equal_brute_force_and_are_in_order():
    world = make_world(logging_policy=opl.epsilon_greedy(0.2))
    q = world.expected_reward(world.eval_context)
    pi_0 = world.logging_policy(world.eval_context, world.action_context)
    references = world.reference_values()
    assert references == pytest.approx(
        {
            "logging": (pi_0 * q).sum(axis=1).mean(),
            "uniform": q.mean(),
            "best constant item": max(q[:, a].mean() for a in range(6)),
            "optimum": q.max(axis=1).mean(),
        },
        abs=1e-12,
    )
    assert references["uniform"] < references["best constant item"] < references["optimum"]


def test_chunks_change_neither_values_nor_rows(tiny_chunks):
    world = make_world(logging_policy=opl.softmax(0.5))
    whole = world.sample(50, random_state=1), world.reference_values()
    tiny_chunks()
    parts = world.sample(50, random_state=1), world.reference_values()
    assert parts[1] == pytest.approx(whole[1], abs=1e-12)
    for name in ("context", "action", "reward"):
        np.testing.assert_array_equal(getattr(parts[0], name), getattr(whole[0], name))
    np.testing.assert_allclose(parts[0].pscore, whole[0].pscore, rtol=1e-12)


def test_no_array_of_all_rows_and_items_is_made(tiny_chunks):
    """A policy is asked for a few rows at a time, so that a large catalogue fits in memory."""
    rows_asked = []

    def policy(context, action_context):
        rows_asked.append(len(context))
        return np.full((len(context), 6), 1 / 6)

    tiny_chunks()
    world = make_world(logging_policy=policy)
    world.sample(10, random_state=0)
    world.policy_value(policy)
    assert max(rows_asked) == 3 and sum(rows_asked) == 50


# ---- frequencies


@pytest.mark.parametrize("logging_policy", LOGGING_POLICIES, ids=str)
def test_a_long_log_is_what_world_and_logging_policy_say(logging_policy):
    world = make_world(logging_policy=logging_policy)
    log, n = world.sample(20_000, random_state=5), 20_000
    pi_0 = logging_policy(log.context, log.action_context)
    q = world.expected_reward(log.context)
    np.testing.assert_allclose(log.pscore, pi_0[np.arange(n), log.action], rtol=1e-12)

    value = world.policy_value(logging_policy, log.context)
    assert abs(log.reward.mean() - value) < 4 * log.reward.std() / np.sqrt(n)
    for item in range(6):
        shown = log.action == item
        error = np.sqrt((pi_0[:, item] * (1 - pi_0[:, item])).sum()) / n
        assert abs(shown.mean() - pi_0[:, item].mean()) < 4 * error
        q_item = q[shown, item]
        error = np.sqrt((q_item * (1 - q_item)).sum()) / shown.sum()
        assert abs(log.reward[shown].mean() - q_item.mean()) < 4 * error
    # rewards follow q row by row: low where q is low, high where it is high
    q_logged = q[np.arange(n), log.action]
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        rows = (q_logged >= low) & (q_logged < high)
        error = np.sqrt((q_logged[rows] * (1 - q_logged[rows])).sum()) / rows.sum()
        assert abs(log.reward[rows].mean() - q_logged[rows].mean()) < 4 * error


def test_contexts_are_standard_normal():
    context = make_world().sample(20_000, random_state=0).context
    np.testing.assert_allclose(context.mean(axis=0), 0, atol=4 / np.sqrt(20_000))
    np.testing.assert_allclose(np.cov(context.T), np.eye(4), atol=4 * np.sqrt(2 / 20_000))


# ---- the reward function


def raw_logit(seed, context, n_actions):
    """The bilinear logit before it is standardised, term by term."""
    width = context.shape[1]
    rng = np.random.default_rng(seed)
    items = rng.uniform(size=(n_actions, width))
    bilinear = rng.uniform(-1, 1, size=(width + 1, width + 1))
    theta_x, theta_a = rng.uniform(-1, 1, size=(2, width + 1))
    x = np.column_stack([np.ones(len(context)), context])
    a = np.column_stack([np.ones(n_actions), items])
    return x @ bilinear @ a.T + (x @ theta_x)[:, None] + a @ theta_a


@pytest.mark.parametrize("seed", [0, 3])
def test_logit_is_the_bilinear_form_standardised(seed):
    context = np.random.default_rng(1).normal(size=(100_000, 4))
    raw = raw_logit(seed, context, 6)
    mean, std = raw.mean(), raw.std()
    standardised = logit(make_world(random_state=seed).expected_reward(context))
    np.testing.assert_allclose(standardised, (raw - mean) / std, atol=0.03)
    published = make_world(random_state=seed, reward_function="logistic_as_published")
    # in the published form the mean is divided by the standard deviation, the logit is not
    shift = (raw - logit(published.expected_reward(context))).mean()
    assert shift == pytest.approx(mean / std, abs=0.02)
    spread = (raw - logit(published.expected_reward(context))).std()
    assert spread < 1e-6


@pytest.mark.parametrize("dim", [2, 50])
def test_logistic_logit_has_mean_0_and_standard_deviation_1(dim):
    world = make_world(dim_context=dim, dim_action_context=dim)
    z = logit(world.expected_reward(np.random.default_rng(0).normal(size=(20_000, dim))))
    for terms, expected in ((z.mean(axis=1), 0), (np.square(z).mean(axis=1), 1)):
        assert abs(terms.mean() - expected) < 4 * terms.std() / np.sqrt(20_000)


def test_published_world_is_saturated_at_50_dimensions_and_the_other_is_not():
    def share_saturated(reward_function):
        world = make_world(dim_context=50, dim_action_context=50, reward_function=reward_function)
        q = world.expected_reward(np.random.default_rng(0).normal(size=(2000, 50)))
        return ((q < 0.01) | (q > 0.99)).mean()

    assert share_saturated("logistic_as_published") > 0.6
    assert share_saturated("logistic") < 0.01


def test_expected_reward_is_a_probability_however_far_the_context():
    q = make_world().expected_reward(np.full((1, 4), 1e6))
    assert ((q >= 0) & (q <= 1)).all()


# ---- seeds


def fingerprint(world):
    log = world.sample(20)
    return [
        world.action_context,
        world.eval_context,
        world.expected_reward(world.eval_context),
        log.context,
        log.action,
        log.reward,
    ]


def test_one_seed_is_one_world():
    for one, other in zip(fingerprint(make_world()), fingerprint(make_world()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_is_another_world():
    pairs = zip(fingerprint(make_world()), fingerprint(make_world(random_state=1)), strict=True)
    assert not any(np.array_equal(one, other) for one, other in pairs)


def test_the_reward_function_and_logging_policy_do_not_change_the_items():
    other = make_world(reward_function="logistic_as_published", logging_policy=opl.softmax(1.0))
    np.testing.assert_array_equal(other.action_context, make_world().action_context)
    np.testing.assert_array_equal(other.eval_context, make_world().eval_context)


def test_samples_without_a_seed_continue_and_those_with_one_repeat():
    world = make_world()
    first, second = world.sample(10), world.sample(10)
    assert not np.array_equal(first.context, second.context)
    third, fourth = world.sample(10, random_state=3), world.sample(10, random_state=3)
    np.testing.assert_array_equal(third.context, fourth.context)


def test_a_seeded_sample_does_not_move_the_worlds_own_stream():
    world, other = make_world(), make_world()
    world.sample(10, random_state=3)
    np.testing.assert_array_equal(world.sample(10).context, other.sample(10).context)


def test_evaluation_contexts_are_never_those_of_a_log():
    world = make_world()
    logged = np.concatenate([world.sample(50).context, world.sample(50, random_state=0).context])
    assert not (logged[:, None] == world.eval_context[None]).all(axis=2).any()


# ---- what a world rejects


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_actions": 1}, "n_actions must be an integer of at least 2; got 1"),
        ({"n_actions": 2.0}, "n_actions must be an integer of at least 2; got 2.0"),
        ({"dim_context": 0}, "dim_context must be an integer of at least 1; got 0"),
        ({"dim_action_context": 0}, "dim_action_context must be an integer of at least 1; got 0"),
        ({"n_eval_contexts": 0}, "n_eval_contexts must be an integer of at least 1; got 0"),
        ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
        ({"reward_function": "linear"}, "reward_function must be one of .*; got 'linear'"),
        ({"logging_policy": "uniform"}, "logging_policy must be a function .*got 'uniform'"),
    ],
)
def test_bad_settings_of_a_world_are_rejected(setting, message):
    with pytest.raises(ValueError, match=message):
        make_world(**setting)


@pytest.mark.parametrize("n_rounds", [0, -5, 1.5])
def test_a_sample_has_at_least_one_round(n_rounds):
    with pytest.raises(ValueError, match=f"n_rounds must be .*at least 1; got {n_rounds}"):
        make_world().sample(n_rounds)


@pytest.mark.parametrize("context", [np.ones((3, 5)), np.ones(4)], ids=["width", "one row"])
def test_contexts_of_another_shape_are_rejected(context):
    with pytest.raises(ValueError, match=r"context must have shape \(n, 4\)"):
        make_world().policy_value(opl.uniform(), context=context)


def test_logits_are_not_taken_for_probabilities():
    def logits(context, action_context):
        return context @ action_context.T

    world = make_world(logging_policy=logits)
    message = r"no probability distribution in row 0 .*Did it return logits\? Apply a softmax"
    with pytest.raises(ValueError, match=message):
        world.sample(5)
    with pytest.raises(ValueError, match=message):
        world.policy_value(logits)


def test_a_logging_policy_of_inner_products_needs_one_width():
    world = make_world(dim_action_context=3, logging_policy=opl.softmax(1.0))
    with pytest.raises(ValueError, match="contexts have 4 features and items 3"):
        world.sample(5)


def test_repr_shows_how_to_make_the_world_again():
    assert repr(make_world(logging_policy=opl.epsilon_greedy(0.1))) == (
        "SyntheticWorld(n_actions=6, dim_context=4, dim_action_context=4, "
        "reward_function='logistic', logging_policy=epsilon_greedy(epsilon=0.1), "
        "n_eval_contexts=40, random_state=0)"
    )
