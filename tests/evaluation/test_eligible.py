"""Estimates from logs whose items come and go: unbiased, by enumeration."""

import itertools
from dataclasses import replace

import helpers
import numpy as np
import pandas as pd
import pytest
from helpers import PI, Q_HAT, TableModel

import opl_lib as opl
from opl_lib.evaluation.estimators import FORMS
from opl_lib.evaluation.terms import policy_terms

# what is there depends on who comes: nobody may call the sets random
SETS = np.array([[True, True, False], [False, True, True], [True, True, True]])
P_SET = np.array([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]])
table_policy = helpers.table_policy(PI)


def among(pi, eligible):
    kept = pi * eligible
    return kept / kept.sum(axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def every_round(tiny_world):
    """Each possible round once, and its probability."""
    rounds = []
    for x, s, a, r in itertools.product(range(2), range(3), range(3), range(2)):
        p = among(tiny_world.pi_0[x], SETS[s])[a]
        if p > 0:
            p_reward = tiny_world.q[x, a] if r else 1 - tiny_world.q[x, a]
            rounds.append((tiny_world.p_x[x] * P_SET[x, s] * p * p_reward, p, x, s, a, r))
    probability, pscore, x, s, a, r = map(np.array, zip(*rounds, strict=True))
    log = opl.BanditFeedback(np.eye(2)[x], a, r, pscore, np.eye(3), eligible=opl.Eligible(SETS, s))
    return probability, log


def true_value(world, pi):
    shown = np.array([[among(pi[x], each) for each in SETS] for x in range(2)])  # (2, 3, 3)
    return np.einsum("x,xs,xsa,xa->", world.p_x, P_SET, shown, world.q)


@pytest.mark.parametrize("name", ["ips", "dr"])
def test_estimates_are_exactly_unbiased_with_changing_sets(tiny_world, every_round, name):
    probability, log = every_round
    assert np.isclose(probability.sum(), 1)
    terms = policy_terms(table_policy, log, TableModel())
    of_round = terms.weight * terms.reward
    if name == "dr":
        of_round = terms.q_policy + terms.weight * (terms.reward - terms.q_logged)
    assert np.isclose(probability @ of_round, true_value(tiny_world, PI), atol=1e-12)
    assert np.isclose(probability @ terms.weight, 1, atol=1e-12)
    wrong = policy_terms(table_policy, replace(log, eligible=None))
    assert abs(probability @ wrong.weight - 1) > 0.05


def test_what_a_model_predicts_is_summed_over_the_eligible(every_round):
    _, log = every_round
    pi = among(log.context @ PI, log.eligible.mask())
    terms = policy_terms(table_policy, log, TableModel())
    np.testing.assert_allclose(terms.q_policy, (pi * (log.context @ Q_HAT)).sum(axis=1))


def test_a_mean_over_a_log_is_that_of_an_enumeration(tiny_world, every_round):
    probability, log = every_round
    drawn = np.random.default_rng(0).choice(len(probability), size=20_000, p=probability)
    table = opl.evaluate(table_policy, log[drawn], reward_model=TableModel())
    value = true_value(tiny_world, PI)
    away = (table.policy_value - value) / table.std_error
    assert away.abs().max() < 3.5
    assert (table.mean_weight - 1).abs().max() < 0.03


def test_an_array_must_keep_to_the_sets(every_round):
    _, log = every_round
    pi = among(log.context @ PI, log.eligible.mask())
    by_array, by_policy = (
        opl.evaluate(policy, log, ["ips", "snips"]) for policy in (pi, table_policy)
    )
    pd.testing.assert_frame_equal(by_array, by_policy)
    with pytest.raises(ValueError, match=r"an array, has 0.5 for item 2 in row 0, where it is not"):
        opl.evaluate(log.context @ PI, log, ["ips"])


def test_a_policy_without_anything_to_show_is_an_error_with_the_row(every_round):
    _, log = every_round
    first = int(np.argmin(log.eligible.mask()[:, 0]))
    with pytest.raises(ValueError, match=f"no probability .* row {first} of the {log.n_rounds}"):
        opl.evaluate(lambda context, items: np.eye(3)[[0] * len(context)], log, ["ips"])


@pytest.mark.parametrize("with_users", [True, False])
def test_where_all_items_are_eligible_every_estimate_is_as_without(tiny_world, with_users):
    log = tiny_world.sample(200, random_state=0)
    if with_users:
        log = replace(log, user_id=np.arange(200) // 3)
    full = replace(log, eligible=np.ones((200, 3), bool))
    for difference in (True, False):
        plain, masked = (
            opl.evaluate(
                table_policy, each, list(FORMS), reward_model=TableModel(), difference=difference
            )
            for each in (log, full)
        )
        pd.testing.assert_frame_equal(plain, masked)
