"""Digits as a world: whose rows they are, exact values by labels, and obp's reduction beside it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import opl_lib as opl

IMAGES, LABELS = load_digits(return_X_y=True)
LABEL_OF = {tuple(image): label for image, label in zip(IMAGES, LABELS, strict=True)}


def labels_of(context):
    """Looked up in the original data by pixel, not by the world."""
    return np.array([LABEL_OF[tuple(image)] for image in np.rint(context * 16)])


@pytest.fixture(scope="module")
def world():
    return opl.DigitsWorld()


# ---- whose rows


def test_every_image_serves_one_end(world):
    assert len(world.log_context) == 1797 - 50 - 600 and len(world.eval_context) == 600
    together = np.concatenate([world.log_context, world.eval_context])
    assert len(np.unique(together, axis=0)) == 1747
    assert together.min() == 0 and together.max() == 1


def test_a_log_draws_only_from_the_images_of_logs(world):
    log = world.sample(3000, random_state=0)
    drawn, available = {tuple(x) for x in log.context}, {tuple(x) for x in world.log_context}
    assert drawn <= available and len(drawn) > 0.8 * len(available)


def test_an_image_is_a_user_who_comes_back(world):
    log = world.sample(3000, random_state=0)
    np.testing.assert_array_equal(world.log_context[log.user_id], log.context)
    first, second = log.split(0.5)
    assert not {tuple(x) for x in first.context} & {tuple(x) for x in second.context}


def test_items_are_one_hot_classes(world):
    np.testing.assert_array_equal(world.action_context, np.eye(10))
    assert (world.n_actions, world.dim_context) == (10, 64)


# ---- rewards and values


def test_expected_reward_is_one_for_the_label_and_zero_else(world):
    np.testing.assert_array_equal(
        world.expected_reward(world.eval_context), np.eye(10)[labels_of(world.eval_context)]
    )
    lists = np.tile([3, 8], (600, 1))
    expected = labels_of(world.eval_context)[:, None] == lists
    np.testing.assert_array_equal(world.expected_reward(world.eval_context, lists), expected)


def test_rewards_of_a_log_say_whether_the_class_was_right(world):
    log = world.sample(500, random_state=1)
    np.testing.assert_array_equal(log.reward, labels_of(log.context) == log.action)
    assert 0 < log.reward.mean() < 1


def test_contexts_may_be_rounded_to_single_precision(world):
    context = world.eval_context[:5]
    np.testing.assert_array_equal(
        world.expected_reward(context.astype(np.float32)), world.expected_reward(context)
    )


def test_the_value_of_a_policy_is_its_accuracy(world):
    share = np.array([LABELS[i] == 0 for i in range(1797)])  # any fixed yes or no an image
    right_on = {tuple(image / 16) for image in IMAGES[share]}

    def zero_if_zero(context, action_context):
        return np.eye(10)[[0 if tuple(x) in right_on else 9 for x in context]]

    labels = labels_of(world.eval_context)
    assert world.policy_value(zero_if_zero) == pytest.approx(np.isin(labels, [0, 9]).mean())


def test_reference_values_are_known(world):
    labels = labels_of(world.eval_context)
    references = world.reference_values()
    assert references["optimum"] == 1
    assert references["uniform"] == pytest.approx(0.1)
    assert references["best_constant_item"] == pytest.approx(np.bincount(labels).max() / 600)
    predicted = world.logging_policy.classifier.predict(world.eval_context)
    accuracy = (predicted == labels).mean()
    assert references["logging"] == pytest.approx(0.5 * accuracy + 0.05)
    assert 0.6 < accuracy < 0.95


def test_value_by_group_and_lists_work_as_in_other_worlds(world):
    groups = world.value_by_group(opl.uniform(), np.arange(10) < 5)
    assert groups.share.tolist() == pytest.approx([0.5, 0.5])
    assert groups.value.sum() == pytest.approx(0.1)
    everything = np.tile(np.arange(10), (600, 1))
    assert world.list_value(everything) == 1


# ---- the logging policy


def test_logging_policy_is_a_mixture_of_one_class_and_uniform(world):
    pi_0 = world.logging_policy(world.eval_context, world.action_context)
    assert np.sort(pi_0, axis=1)[:, :9] == pytest.approx(0.05)
    assert pi_0.max(axis=1) == pytest.approx(0.55)


def test_pscore_and_frequencies_are_those_of_the_logging_policy(world):
    log = world.sample(20_000, random_state=3)
    pi_0 = world.logging_policy(log.context, log.action_context)
    np.testing.assert_allclose(log.pscore, pi_0[np.arange(20_000), log.action])
    followed = log.pscore > 0.5
    assert abs(followed.mean() - 0.55) < 4 * np.sqrt(0.55 * 0.45 / 20_000)


def test_alpha_0_is_uniform_logging():
    world = opl.DigitsWorld(alpha=0)
    assert world.sample(100, random_state=0).pscore == pytest.approx(0.1)
    assert world.reference_values()["logging"] == pytest.approx(0.1)


# ---- seeds and settings


def test_one_seed_is_one_world_and_another_is_another(world):
    same, other = opl.DigitsWorld(), opl.DigitsWorld(random_state=1)
    np.testing.assert_array_equal(same.eval_context, world.eval_context)
    log, again = (w.sample(50, random_state=2) for w in (world, same))
    for name in ("context", "action", "reward"):
        np.testing.assert_array_equal(getattr(log, name), getattr(again, name))
    assert not np.array_equal(other.eval_context, world.eval_context)


def test_repr_shows_how_to_make_the_world_again():
    world = opl.DigitsWorld(0.3, n_classifier_rows=40, n_eval_contexts=90, random_state=2)
    assert repr(world) == (
        "DigitsWorld(alpha=0.3, n_classifier_rows=40, n_eval_contexts=90, random_state=2)"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": -0.1}, "alpha must be a finite number of at least 0; got -0.1"),
        ({"alpha": 1.0}, r"alpha must be in \[0, 1\); got 1.0. At 1 the log has no support"),
        ({"n_classifier_rows": 9}, "n_classifier_rows must be an integer of at least 10; got 9"),
        ({"n_eval_contexts": 0}, "n_eval_contexts must be an integer of at least 1; got 0"),
        ({"n_eval_contexts": 1747}, "is 1797, which leaves no image for logs: there are 1797"),
        ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
    ],
)
def test_bad_settings_are_rejected(setting, message):
    with pytest.raises(ValueError, match=message):
        opl.DigitsWorld(**setting)


def test_contexts_that_are_no_images_are_rejected(world):
    context = world.eval_context[:3].copy()
    context[1, 20] += 0.5
    with pytest.raises(ValueError, match="context: row 1 is no image of this data set"):
        world.expected_reward(context)
    with pytest.raises(ValueError, match=r"context must have shape \(n, 64\)"):
        world.expected_reward(np.zeros((2, 63)))


# ---- obp's own reduction, with our policies in place of its learners


@pytest.fixture(scope="module")
def reductions():
    """Obp's data sets of two disjoint halves: one to learn from, one to evaluate on."""
    from obp.dataset import MultiClassToBanditReduction
    from sklearn.linear_model import LogisticRegression

    order, halves = np.random.default_rng(0).permutation(1797), []
    for number, rows in enumerate(np.split(order, [900])):
        dataset = MultiClassToBanditReduction(
            X=IMAGES[rows] / 16,
            y=LABELS[rows],
            base_classifier_b=LogisticRegression(max_iter=1000),
            alpha_b=0.5,
        )
        dataset.split_train_eval(eval_size=0.8, random_state=number)
        halves.append((dataset, dataset.obtain_batch_bandit_feedback(random_state=number)))
    return halves


@pytest.mark.parametrize("objective", ["ips", "regression"])
def test_a_policy_learned_here_is_judged_by_obp_unchanged(reductions, objective):
    from obp.ope import InverseProbabilityWeighting, OffPolicyEvaluation

    (_, feedback), (dataset, held_out) = reductions
    classes = np.eye(10)
    log = opl.BanditFeedback.from_obp(feedback, action_context=classes)
    learner = opl.OffPolicyLearner(
        objective, epochs=30, learning_rate=1e-2, hidden=(32,), dim_embedding=16, random_state=0
    )
    policy = learner.fit(log).policy_

    action_dist = policy.to_obp(held_out["context"], classes)
    truth = dataset.calc_ground_truth_policy_value(action_dist)
    assert truth > held_out["reward"].mean() + 0.2

    ope = OffPolicyEvaluation(held_out, ope_estimators=[InverseProbabilityWeighting()])
    theirs = ope.estimate_policy_values(action_dist)["ipw"]
    test = opl.BanditFeedback.from_obp(held_out, action_context=classes)
    ours = opl.evaluate(policy, test, ["ips"]).loc["ips"]
    assert ours.policy_value == pytest.approx(theirs, rel=1e-6)
    assert abs(theirs - truth) < 4 * ours.std_error
