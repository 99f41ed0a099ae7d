"""Propensities of clusters."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier

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


def test_folds_follow_random_state(world):
    log = world.sample(300, random_state=1)
    one, same, other = (
        opl.with_clusters(log, CLUSTER, random_state=seed).cluster_pscore for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, pd.Categorical])
def test_clusters_that_are_text_are_numbered_by_the_cure(world, kind):
    log, cluster = world.sample(300, random_state=1), kind(["a", "a", "a", "a", "b", "b"])
    with pytest.raises(
        ValueError, match=r"got .*'a'.*: pandas\.factorize\(pandas\.Series\(cluster"
    ):
        opl.with_clusters(log, cluster)
    numbered = opl.with_clusters(log, pd.factorize(pd.Series(cluster))[0])
    numbers = opl.with_clusters(log, [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(numbered.cluster_pscore, numbers.cluster_pscore)


def test_the_floor_is_passed_on(world):
    log = world.sample(300, random_state=1)
    with pytest.warns(UserWarning, match=r"% of the rounds are at the floor"):
        floored = opl.with_clusters(log, CLUSTER, floor=0.3)
    assert floored.cluster_pscore.min() == 0.3
    assert opl.with_clusters(log, CLUSTER).cluster_pscore.min() < 0.3
    with pytest.raises(
        ValueError, match=r"floor must be at most 1 / n_actions = 0\.3333; got 0\.5"
    ):
        opl.with_clusters(log, CLUSTER, floor=0.5)


def test_what_the_estimate_finds_is_told(world):
    """A classifier that ignores the context, of a logging policy that does not."""
    log = world.sample(5_000, random_state=1)
    with pytest.warns(
        UserWarning, match=r"propensities of clusters may be wrong .*Cure: "
    ) as caught:
        opl.with_clusters(log, CLUSTER, DummyClassifier(strategy="prior"))
    assert "standard errors off" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_no_cluster_is_less_likely_than_its_item(world):
    """A cluster holds its item; an estimate of 300 rounds does not know."""
    log = opl.with_clusters(world.sample(300, random_state=1), CLUSTER)
    assert (log.cluster_pscore >= log.pscore).all()
    assert (log.cluster_pscore[log.action == 5] == log.pscore[log.action == 5]).sum() > 3


def test_users_stay_in_one_fold():
    """A forest that remembers a visitor knows the cluster that this visitor is always shown."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(100), 5)
    shown = rng.integers(2, size=100)[user]
    log = opl.BanditFeedback(
        context=rng.normal(size=(100, 3))[user],
        action=shown,
        reward=np.zeros(500),
        pscore=np.full(500, 0.01),
        action_context=np.eye(2),
    )
    forest = RandomForestClassifier(20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        means = [
            opl.with_clusters(each, [0, 1], forest).cluster_pscore.mean()
            for each in (log, dataclasses.replace(log, user_id=user))
        ]
    assert means[0] > 0.9 and abs(means[1] - 0.5) < 0.1
