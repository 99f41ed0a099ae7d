"""Choosing, learning and watching on logs whose items come and go."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import opl_lib as opl

SMALL = {"hidden": (8,), "dim_embedding": 4, "batch_size": 100, "learning_rate": 1e-2}


class Shop(opl.SyntheticWorld):
    """Good items are rarely there, in logs as in evaluation."""

    def __init__(self):
        super().__init__(8, 3, 3, n_eval_contexts=400, random_state=0)
        self.eval_eligible = self.draw_eligible(400, np.random.RandomState(0))

    def draw_eligible(self, n_rounds, rng):
        sets = rng.uniform(size=(10, 8)) < np.linspace(0.3, 0.9, 8)
        sets[:, 5:] = True
        return opl.Eligible(sets, rng.randint(10, size=n_rounds))


@pytest.fixture(scope="module")
def shop():
    return Shop()


@pytest.fixture(scope="module")
def log(shop):
    return shop.sample(3000, random_state=1)


@pytest.fixture(scope="module")
def good(shop):
    return lambda context, items: softmax(8 * shop.expected_reward(context))


def softmax(logits):
    weights = np.exp(logits)
    return weights / weights.sum(axis=1, keepdims=True)


def test_a_good_candidate_is_chosen_and_its_gain_is_right(shop, log, good):
    gain = shop.policy_value(good) - shop.policy_value(shop.logging_policy)
    candidates = {"good": good, "softmax": opl.softmax(1.0)}
    chosen = opl.select(candidates, log, estimator="ips")
    assert chosen.best == "good" and not chosen.reasons
    found = opl.learn(log, candidates, estimator="ips", progress=False)
    assert found.decision == "serve" and found.best == "good" and not found.not_trusted
    for report in (chosen.report, found.report):
        assert abs(report.value["difference"] - gain) < 4 * report.std_error["difference"]
    blind = opl.select(candidates, replace(log, eligible=None), estimator="ips")
    assert "the mean weight is" in blind.reasons["good"]


def test_a_watch_has_nothing_to_say_of_a_right_log_before_training(log, good):
    first, second = log.split(0.4)
    watch = opl.Watch(second, first)
    watch(good)
    assert watch.findings == []
    row = watch.table.loc[("held_out", 0)]
    shown = np.where(second.eligible.mask(), good(second.context, None), 0)
    shown /= shown.sum(axis=1, keepdims=True)
    logs = np.log(np.where(shown > 0, shown, 1))
    assert row.entropy == pytest.approx(-(shown * logs).sum(axis=1).mean())
    blind = opl.Watch(replace(second, eligible=None), replace(first, eligible=None))
    with pytest.warns(opl.PolicyWarning, match="mean weight"):
        blind(good)


def test_early_stopping_keeps_a_policy_that_has_learned(shop, log):
    learner = opl.OffPolicyLearner("ips", epochs=8, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("error", opl.PolicyWarning)
        stopped = opl.EarlyStopping(learner, min_ess=1.0).fit(log)
    assert stopped.best_epoch_ > 0
    assert shop.policy_value(stopped.policy_) > shop.policy_value(shop.logging_policy)


def test_learners_are_candidates(shop, log):
    candidates = {
        "bilinear": opl.BilinearLearner(),
        "constant": opl.ConstantItemLearner(),
        "towers": opl.OffPolicyLearner("ips", epochs=3, **SMALL),
    }
    found = opl.learn(log, candidates, n_folds=2, progress=False)
    off_one = [name for name, why in found.not_trusted.items() if "mean weight" in why]
    assert off_one == []
    assert shop.policy_value(found.policy) > shop.policy_value(shop.logging_policy)


def test_a_rehearsal_is_among_the_eligible(shop, good):
    table = opl.rehearse(
        lambda log: opl.select({"good": good}, log, estimator="ips"), shop, 800, n_logs=3
    )
    gain = shop.policy_value(good) - shop.policy_value(shop.logging_policy)
    assert table.best.tolist() == ["good"] * 3
    assert np.allclose(table.difference, gain)
