"""Propensities of clusters, and the policy in two stages."""

import numpy as np
import pytest

import opl_lib as opl

CLUSTER = [0, 0, 1, 1, 1, 7]


@pytest.fixture
def world():
    return opl.SyntheticWorld(6, 4, 4, logging_policy=opl.softmax(1.0), random_state=0)


def test_cluster_pscores_are_those_of_the_logging_policy(world):
    log = opl.with_clusters(world.sample(20_000, random_state=1), CLUSTER)
    pi_0 = world.logging_policy(log.context, log.action_context)
    same = np.equal.outer(np.array(CLUSTER)[log.action], CLUSTER)
    truth = (pi_0 * same).sum(axis=1)
    assert np.abs(log.cluster_pscore - truth).mean() < 0.03
    weight = np.array([np.mean(np.array(CLUSTER) == c) for c in CLUSTER])[log.action]
    assert abs((weight / log.cluster_pscore).mean() - 1) < 0.03


@pytest.mark.parametrize(
    ("cluster", "message"),
    [([0, 1], "2 entries for 6 items"), ([3] * 6, "at least two"), ([0.5] * 6, "integer")],
)
def test_bad_clusters_are_refused(world, cluster, message):
    with pytest.raises(ValueError, match=message):
        opl.with_clusters(world.sample(50, random_state=1), cluster)


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
