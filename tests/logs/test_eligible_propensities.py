"""Propensities, of items and of clusters, estimated among what could be shown."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

import opl_lib as opl

N, M = 6000, 6
PRIOR = DummyClassifier(strategy="prior")


def log_of(policy, random_state=0):
    """Popular items are rarely there, so that a count confuses the two."""
    rng = np.random.default_rng(random_state)
    sets = rng.random((12, M)) < np.linspace(0.3, 0.9, M)
    sets[:, 4:] = True
    world = opl.SyntheticWorld(M, 3, 3, logging_policy=policy, random_state=0)
    eligible = opl.Eligible(sets, np.sort(rng.integers(12, size=N)))
    return world.sample(N, random_state=random_state + 1, eligible=eligible)


def estimate(log, classifier, **settings):
    return opl.estimate_propensities(log.context, log.action, M, classifier, **settings)


@pytest.mark.parametrize(
    ("policy", "classifier"),
    [(opl.uniform(), PRIOR), (opl.zipf(1.0), PRIOR), (opl.softmax(2.0), None)],
    ids=["uniform", "popularity", "softmax"],
)
def test_they_are_found_among_the_eligible_only(policy, classifier):
    log = log_of(policy)
    among, blind = (
        estimate(log, classifier, eligible=eligible) for eligible in (log.eligible, None)
    )
    assert np.abs(among.pscore - log.pscore).mean() < 0.015
    assert np.abs(blind.pscore - log.pscore).mean() > 0.05
    assert among.findings == []
    assert (among.item_weights.mean_weight - 1).abs().max() < 0.1
    assert abs(among.mean_weight - 1) < 3 * among.mean_weight_se + 0.01
    uniform = 1 / among.pscore / log.eligible.n_eligible
    assert np.isclose(among.max_weight, uniform.max())
    found = replace(log, pscore=among.pscore)
    assert found.support_report(opl.uniform()).findings == []


def test_a_popularity_that_is_personal_is_found_out():
    log = log_of(opl.softmax(0.5))
    assert any(
        "whom" in finding for finding in estimate(log, PRIOR, eligible=log.eligible).findings
    )


def test_calibration_counts_pairs_of_what_was_eligible():
    log = log_of(opl.uniform())
    found = estimate(log, PRIOR, eligible=log.eligible)
    assert found.calibration.n_pairs.sum() == log.eligible.n_eligible.sum()
    assert found.calibration.n_shown.sum() == N


def test_items_that_were_never_eligible_are_not_missed():
    log = log_of(opl.uniform())
    rows, others = log.action != 0, np.arange(M) != 0
    log = replace(log[rows], eligible=log.eligible.mask()[rows] & others)
    found = estimate(log, PRIOR, eligible=log.eligible)
    assert found.findings == [] and np.isnan(found.item_weights.mean_weight[0])


def test_all_eligible_is_as_none():
    world = opl.SyntheticWorld(M, 3, 3, logging_policy=opl.zipf(1.0), random_state=0)
    log = world.sample(500, random_state=1)
    for user_id in (None, np.arange(500) // 2):
        plain, full = (
            estimate(log, PRIOR, eligible=mask, user_id=user_id)
            for mask in (None, np.ones((500, M), bool))
        )
        np.testing.assert_allclose(plain.pscore, full.pscore)
        for table in ("calibration", "item_weights", "balance"):
            pd.testing.assert_frame_equal(getattr(plain, table), getattr(full, table))


def test_what_was_shown_must_be_eligible():
    log = log_of(opl.uniform())
    mask = log.eligible.mask()
    mask[7, log.action[7]] = False
    with pytest.raises(ValueError, match="row 7 was shown item"):
        estimate(log, PRIOR, eligible=mask)


def test_a_cluster_has_the_chances_of_its_eligible_items():
    log, cluster = log_of(opl.uniform()), np.array([0, 0, 0, 0, 1, 1])
    found = opl.with_clusters(log, cluster, PRIOR)
    of_one = log.eligible.mask()[:, 4:].sum(axis=1) / log.eligible.n_eligible
    true = np.where(log.action >= 4, of_one, 1 - of_one)
    assert np.abs(found.cluster_pscore - true).max() < 0.03
    assert np.array_equal(found.eligible.mask(), log.eligible.mask())
