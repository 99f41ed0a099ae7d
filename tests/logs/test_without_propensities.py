"""Logs without propensities, and logs of a rule: where they lead, and what they may not do."""

import pickle
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl

N = 600


def tables(seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, N)
    p = 1 / (1 + np.exp(-(age - 50) / 15))
    sku = np.where(rng.random(N) < p, "b", "a")
    clicks = pd.DataFrame(
        {"age": age, "sku": sku, "click": rng.integers(0, 2, N), "user": np.arange(N) // 2}
    )
    clicks["p"] = np.where(sku == "b", p, 1 - p)
    return clicks, pd.DataFrame({"id": ["a", "b"], "price": [1.0, 20.0]})


def read(clicks, items, **changes):
    given = {"context": ["age"], "action": "sku", "reward": "click", "item_id": "id", **changes}
    return opl.BanditFeedback.from_dataframe(clicks, items=items, **given)


@pytest.fixture
def unweighted():
    return read(*tables())


def test_it_leads_to_estimate_propensities_by_name(unweighted):
    assert (unweighted.n_rounds, len(unweighted), unweighted.n_actions) == (N, N, 2)
    assert repr(unweighted).startswith("LogWithoutPropensities(600 rounds, 2 items)")
    assert "opl.estimate_propensities(log)" in repr(unweighted)
    with pytest.raises(TypeError, match=r"feedback has no propensities: .*estimate_propensities"):
        opl.learn(unweighted)
    with pytest.raises(TypeError, match="no propensities"):
        opl.OffPolicyLearner("ips").fit(unweighted)


def test_an_estimate_from_the_log_makes_a_log(unweighted):
    clicks, items = tables()
    estimate = opl.estimate_propensities(unweighted)
    assert list(estimate.balance.index) == ["1", "age"]
    assert np.abs(estimate.pscore - clicks.p).mean() < 0.05
    log = unweighted.with_pscore(estimate.pscore)
    recorded = read(clicks, items, pscore="p")
    assert isinstance(log, opl.BanditFeedback) and log.columns == recorded.columns
    np.testing.assert_array_equal(log.action, recorded.action)
    np.testing.assert_array_equal(log.pscore, estimate.pscore)


def test_folds_keep_the_users_of_the_log_together():
    clicks, items = tables()
    log = read(clicks, items, user_id="user")
    estimate = opl.estimate_propensities(log)
    columns = log.columns
    expected = opl.estimate_propensities(
        columns["context"], columns["action"], 2, user_id=columns["user_id"]
    )
    np.testing.assert_allclose(estimate.pscore, expected.pscore, atol=0.01)


def test_an_estimate_is_among_what_could_be_shown():
    clicks, items = tables()
    mask = np.ones((N, 2), dtype=bool)
    mask[:200, 0] = clicks.sku[:200] == "a"  # only b was there, or both
    log = read(clicks, items, eligible=mask)
    assert (log.columns["eligible"].mask() == mask).all()
    estimate, alone = opl.estimate_propensities(log), ~mask.all(axis=1)
    assert (estimate.pscore[alone] == 1).all() and (estimate.pscore[~alone] < 1).all()
    assert list(estimate.balance.index) == ["1", "age"]
    assert (log.with_pscore(estimate.pscore).eligible.mask() == mask).all()
    with pytest.raises(ValueError, match="eligible is what the log says: leave it out"):
        opl.estimate_propensities(log, eligible=mask)


@pytest.mark.parametrize(
    "given", [{"action": np.zeros(N, int)}, {"n_actions": 2}, {"user_id": [1]}]
)
def test_what_the_log_says_is_not_said_twice(unweighted, given):
    with pytest.raises(ValueError, match=f"{next(iter(given))} is what the log says"):
        opl.estimate_propensities(unweighted, **given)


def test_its_columns_are_checked_at_once():
    clicks, items = tables()
    with pytest.raises(ValueError, match="reward: column 'click' must be finite; row 3"):
        read(clicks.assign(click=clicks.click.where(clicks.index != 3)), items)
    with pytest.raises(ValueError, match="pscore must be in"):
        read(clicks, items).with_pscore(np.zeros(N))


def test_it_survives_a_pickle(unweighted):
    assert pickle.loads(pickle.dumps(unweighted)).with_pscore(np.ones(N)).n_rounds == N


# ---- a rule chose


@pytest.fixture
def of_a_rule():
    clicks, items = tables()
    clicks["sku"] = np.where(clicks.age > 50, "b", "a")
    return read(clicks, items).with_pscore(np.ones(N))


def test_a_log_of_a_rule_is_recognised(of_a_rule, small_log):
    assert of_a_rule.is_deterministic and not small_log.is_deterministic
    report = of_a_rule.support_report(opl.uniform())
    assert report.is_deterministic
    assert report.findings[0].startswith("every pscore is 1: a rule chose what was shown")
    assert not any("the mean weight is not 1" in finding for finding in report.findings)
    assert "! every pscore is 1" in repr(report)


def test_of_a_rule_learn_keeps_what_runs_whatever_a_model_promises(of_a_rule):
    found = opl.learn(of_a_rule, {"bilinear": opl.BilinearLearner()}, min_ess=0, min_rewards=0)
    assert found.decision == "keep"
    assert found.reasons[0].startswith("no candidate can be judged: every pscore is 1")
    for name in ("explore from now on", "direct method", "CIPS", "COPE", "A rule chose"):
        assert name in found.reasons[0]
    assert "nothing in the log can check that" in found.reasons[1]
    assert not any("A/B test of 1 rounds" in reason for reason in found.reasons)
    assert all("every pscore is 1" in why for why in found.not_trusted.values())
    assert repr(found).count("every pscore is 1") == 2  # once for all candidates


@pytest.mark.parametrize("of", [1 - 1e-7, np.float32(1)])
def test_what_rounding_leaves_of_1_is_1(of, of_a_rule):
    log = replace(of_a_rule, pscore=np.full(N, of))
    assert log.is_deterministic
    assert log.report()["propensities"].verdict == "wrong"
    assert opl.learn(log, {"bilinear": opl.BilinearLearner()}).decision == "keep"


def test_the_size_of_a_test_is_that_of_no_model(of_a_rule):
    """A policy of which half is new asks for the same test, and for less exploration."""
    size = {}
    age, shown = of_a_rule.context[:, 0], of_a_rule.action
    threshold = (age[shown == 0].max() + age[shown == 1].min()) / 2
    for share in (1, 0.5):

        def other(context, action_context, share=share):
            old = (context[:, 0] > threshold).astype(int)
            return (1 - share) * np.eye(2)[old] + share * np.eye(2)[1 - old]

        said = " ".join(opl.learn(of_a_rule, {"other": other}).reasons)
        found = re.findall(r"([\d,]+) rounds (?:of which|an arm)", said)
        size[share] = [int(n.replace(",", "")) for n in found]
    assert size[1][1] == size[0.5][1]
    assert size[1][0] > 3 * size[0.5][0]


def test_so_many_rounds_of_exploration_see_the_gain_four_times_of_five():
    """A rule shows item 0 of four, clicked at 0.1; item 1, which it never shows, has 0.11."""
    rng = np.random.default_rng(0)
    n = 5_000
    rule = opl.BanditFeedback(
        np.ones((n, 1)), np.zeros(n, int), (np.arange(n) % 10 == 0), np.ones(n), np.eye(4)
    )
    found = opl.learn(rule, {"one": one_item(1)}, estimator="ips")
    said = " ".join(found.reasons)
    n_rounds = int(re.search(r"about ([\d,]+) rounds of which 5%", said)[1].replace(",", ""))
    share, r, other = 0.05 / 4, np.array([0.0, 1.0]), 0.1
    shown = rng.binomial(n_rounds, share, 2000)
    clicks = np.array([rng.binomial(shown, 0.11), rng.binomial(n_rounds - shown, other)])
    counts = np.array([shown - clicks[0], clicks[0], n_rounds - shown - clicks[1], clicks[1]])
    terms = np.concatenate([(1 / share - 1) * (r - other), -(r - other)])
    mean = terms @ counts / n_rounds
    error = np.sqrt((np.square(terms) @ counts / n_rounds - mean**2) / n_rounds)
    assert 0.72 < np.mean(mean > 1.645 * error) < 0.82


def one_item(item):
    return lambda context, action_context: np.eye(4)[np.full(len(context), item)]


def test_select_keeps_what_runs(of_a_rule):
    chosen = opl.select(
        {"bilinear": opl.BilinearLearner(lean=0)},
        of_a_rule,
        min_ess=0,
        reward_model=opl.BilinearLearner(lean=0),
    )
    assert chosen.best == "logging" and not chosen.table.trusted["bilinear"]


def test_a_policy_that_is_the_rule_is_judged(of_a_rule):
    def rule(context, action_context):
        return np.eye(2)[(context[:, 0] > threshold).astype(int)]

    threshold = (50.5 - tables()[0].age.mean()) / tables()[0].age.std(ddof=0)
    report = of_a_rule.support_report(rule)
    assert report.mean_weight == 1 and report.max_weight == 1
    found = opl.learn(of_a_rule, {"rule": rule}, estimator="ips")
    assert found.not_trusted == {} or "every pscore" not in found.not_trusted.get("rule", "")
