"""Early stopping: the best of scripted epochs, patience, what is restored, what is rejected."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import BAD, GOOD, PI_0, TableModel, TablePolicy
from sklearn.linear_model import LogisticRegression

import opl_lib as opl
from opl_lib.evaluation.intervals import student_t


class Script:
    """A learner whose epochs are given: policies between the logging policy and GOOD or BAD."""

    def __init__(self, *shares):
        self.shares = shares

    def fit(self, feedback, callback=None):
        self.feedback_, self.policy_, self.history_ = feedback, TablePolicy(), {"objective": []}
        try:
            for epoch, share in enumerate((0.0, *self.shares)):
                if epoch > 0:
                    self.history_["objective"].append(0.0)
                end = GOOD if share > 0 else BAD
                self.policy_.pi[:] = (1 - abs(share)) * PI_0 + abs(share) * end
                callback(self.policy_)
        except opl.StopFit:
            pass
        return self


@pytest.fixture
def log(tiny_world):
    return tiny_world.sample(1000, random_state=0)


def mixed(share):
    return (1 - share) * PI_0 + share * GOOD


@pytest.mark.parametrize(
    ("shares", "patience", "best_epoch", "epochs_trained"),
    [
        ([0.3, 0.6, 0.9], None, 3, 3),
        ([0.3, 0.9, 0.6, -0.5], None, 2, 4),
        ([0.3, 0.9, 0.6, -0.5], 1, 2, 3),
        ([0.3, 0.2, 0.9, 0.6, 0.5, -0.5], 2, 3, 5),
        ([0.3, 0.2, 0.9, 0.6, 0.5, -0.5], 1, 1, 2),
        ([-0.3, -0.6], None, 0, 2),
        ([-0.3, -0.6, -0.9], 2, 0, 2),
    ],
)
def test_the_best_of_scripted_epochs_is_kept(shares, patience, best_epoch, epochs_trained, log):
    stopped = opl.EarlyStopping(Script(*shares), estimator="ips", patience=patience).fit(log)
    assert stopped.best_epoch_ == best_epoch
    best = 0.0 if best_epoch == 0 else shares[best_epoch - 1]
    np.testing.assert_allclose(stopped.policy_.pi, mixed(best))
    assert len(stopped.history_["objective"]) == epochs_trained
    assert len(stopped.history_["held_out"]) == epochs_trained + 1
    assert np.argmax(stopped.history_["held_out"]) == best_epoch


@pytest.mark.parametrize(("confidence", "tail"), [(0.95, 0.05), (0.5, 0.5)])
def test_the_bound_is_that_of_the_difference_on_the_held_out_rounds(confidence, tail, log):
    held_out = log[:300]
    stopped = opl.EarlyStopping(
        Script(0.5), held_out=held_out, estimator="ips", confidence=confidence
    ).fit(log[300:])
    weight = (held_out.context @ mixed(0.5))[np.arange(300), held_out.action] / held_out.pscore
    terms = (weight - 1) * held_out.reward
    bounds = stopped.history_["held_out"]
    assert bounds == pytest.approx([0, student_t(terms, tail)[0]])
    if confidence == 0.5:
        assert bounds[1] == pytest.approx(terms.mean())
    assert stopped.learner_.feedback_.n_rounds == 700


def test_held_out_rounds_are_not_learned_from(tiny_world):
    log = tiny_world.sample(100, random_state=0)
    users = opl.BanditFeedback(
        log.context,
        log.action,
        log.reward,
        log.pscore,
        log.action_context,
        user_id=np.arange(100) % 20,
    )
    assert opl.EarlyStopping(Script(0.5)).fit(log).learner_.feedback_.n_rounds == 80
    seen = opl.EarlyStopping(Script(0.5), held_out=0.5).fit(users).learner_.feedback_.user_id
    assert len(np.unique(seen)) == 10 and len(seen) == 50


def test_weights_that_do_not_average_one_are_never_the_best(log):
    """The policy wants item 0 in context 0, of which the held-out log was stripped."""
    held_out = log[(log.action != 0) & (log.context[:, 0] > 0)]
    stopped = opl.EarlyStopping(Script(0.9), held_out=held_out, estimator="ips").fit(log)
    assert stopped.history_["held_out"][1] == -np.inf
    assert stopped.best_epoch_ == 0


def test_an_untrained_policy_is_not_handed_out_in_silence(log):
    """Here the bound before training means nothing either."""
    halved = replace(log, pscore=log.pscore / 2)
    message = r"untrained policy.*After epoch 1, the mean weight is 2\.1\d .*feedback\.report"
    with pytest.warns(opl.PolicyWarning, match=message) as caught:
        stopped = opl.EarlyStopping(Script(0.3), estimator="ips").fit(halved)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert stopped.history_["held_out"] == [-np.inf] * 2 and stopped.best_epoch_ == 0

    class FarFromTheLog(Script):
        def fit(self, feedback, callback=None):
            self.policy_ = TablePolicy(mixed(0.6))
            callback(self.policy_)
            self.history_ = {}
            return self

    stopping = opl.EarlyStopping(FarFromTheLog(), min_ess=500)
    message = (
        r"no epoch has a bound .*After epoch 0, the effective rounds of the change are \d\d\.\d, "
        r"below min_ess=500, of 200 that judge\. Let more judge, lower min_ess"
    )
    with pytest.warns(opl.PolicyWarning, match=message):
        stopped = stopping.fit(log)
    assert stopped.history_["held_out"] == [-np.inf] and stopped.best_epoch_ == 0


def test_an_epoch_that_rests_on_too_few_rounds_is_never_the_best(log):
    held_out = log[:300]

    def ess(share):
        pi = (held_out.context @ mixed(share))[np.arange(300), held_out.action]
        more = np.maximum(pi / held_out.pscore - 1, 0)
        return more.sum() ** 2 / np.square(more).sum()

    # the change is scaled by the share, so all epochs but the first rest on the same rounds
    assert ess(0.9) == pytest.approx(ess(0.6))
    settings = {"held_out": held_out, "estimator": "ips"}
    stopped, demanding = (
        opl.EarlyStopping(Script(0.3, 0.6, 0.9), min_ess=m, **settings).fit(log[300:])
        for m in (0.99 * ess(0.9), 1.01 * ess(0.9))
    )
    assert (stopped.best_epoch_, demanding.best_epoch_) == (3, 0)
    assert demanding.history_["held_out"] == [0, *[-np.inf] * 3]


def test_an_epoch_that_rests_on_too_few_rewards_is_never_the_best(log):
    """As in `select`: one reward in a hundred rounds is counted, and not the rounds alone."""
    rare = replace(log, reward=(np.arange(log.n_rounds) % 100 == 0).astype(float))
    held_out = rare[:700]
    settings = {"held_out": held_out, "estimator": "ips", "confidence": 0.5}
    stopped, default = (
        opl.EarlyStopping(Script(0.9), **m, **settings).fit(rare[700:])
        for m in ({"min_rewards": 0}, {})
    )
    pi = (held_out.context @ mixed(0.9))[np.arange(700), held_out.action]
    carried = np.maximum(pi / held_out.pscore - 1, 0) * held_out.reward
    assert carried.sum() ** 2 / np.square(carried).sum() < 5
    assert np.isfinite(stopped.history_["held_out"]).all()
    assert default.history_["held_out"] == [0, -np.inf] and default.best_epoch_ == 0


def test_other_callbacks_see_every_epoch_and_are_in_the_history(log):
    seen = []
    stopped = opl.EarlyStopping(Script(0.9, 0.5, 0.4, 0.3), estimator="ips", patience=2)
    stopped.fit(log, lambda policy: seen.append(policy.pi[0, 0]) or {"mass": seen[-1]})
    assert stopped.history_["mass"] == pytest.approx([mixed(s)[0, 0] for s in (0, 0.9, 0.5, 0.4)])
    assert len(stopped.history_["held_out"]) == 4


def test_a_reward_model_is_fitted_on_the_rounds_that_are_learned_from(log):
    fitted = []

    class Model:
        def fit(self, feedback):
            fitted.append(feedback.n_rounds)
            return self

        def predict_reward(self, context, action_context):
            return np.full((len(context), len(action_context)), 0.5)

    stopped = opl.EarlyStopping(Script(0.5), estimator="dr", reward_model=Model()).fit(log)
    assert fitted == [800]
    assert stopped.best_epoch_ == 1


# ---- with the real learner

SETTINGS = {"learning_rate": 3e-2, "hidden": (8,), "dim_embedding": 4, "batch_size": 50}


def test_the_weights_of_the_best_epoch_are_restored(small_world):
    log = small_world.sample(600, random_state=2)
    snapshots = []

    def snapshot(policy):
        snapshots.append([p.detach().clone() for p in policy.towers.parameters()])

    learner = opl.OffPolicyLearner("ips", epochs=12, **SETTINGS)
    stopped = opl.EarlyStopping(learner).fit(log, snapshot)
    assert 0 < stopped.best_epoch_ < 12  # else there is nothing to restore: take another seed
    kept = list(stopped.policy_.towers.parameters())
    assert all(map(torch.equal, kept, snapshots[stopped.best_epoch_]))
    last = list(stopped.learner_.policy_.towers.parameters())
    assert not all(map(torch.equal, kept, last))
    assert not hasattr(learner, "policy_")


def test_patience_ends_the_fit_and_the_result_is_that_of_a_longer_one(small_world):
    log = small_world.sample(600, random_state=2)
    patient, hasty = (
        opl.EarlyStopping(opl.OffPolicyLearner("ips", epochs=n, **SETTINGS), patience=p).fit(log)
        for n, p in ((12, None), (100, 4))
    )
    assert hasty.learner_.epochs == 100
    trained = len(hasty.history_["held_out"]) - 1
    assert trained == hasty.best_epoch_ + 4 < 100
    shared = min(trained, 12) + 1
    assert hasty.history_["held_out"][:shared] == patient.history_["held_out"][:shared]
    assert len(hasty.history_["objective"]) == trained


def test_after_a_failure_policy_and_history_are_those_of_the_epochs_before(small_world):
    log, calls = small_world.sample(600, random_state=2), []

    def fails_in_epoch_3(logits, batch):
        calls.append(None)
        value, gradient = opl.ips(logits, batch)
        return value * (float("nan") if len(calls) > 2 * 10 else 1), gradient

    learner = opl.OffPolicyLearner(opl.Objective(fails_in_epoch_3), epochs=9, **SETTINGS)
    failing = opl.EarlyStopping(learner)
    with pytest.raises(opl.NonFiniteLossError, match="in epoch 3"):
        failing.fit(log, lambda policy: {"one": 1})
    two_epochs = opl.OffPolicyLearner("ips", epochs=2, **SETTINGS)
    stopped = opl.EarlyStopping(two_epochs).fit(log, lambda policy: {"one": 1})
    assert failing.history_ == stopped.history_
    assert failing.best_epoch_ == stopped.best_epoch_
    kept, expected = (each.policy_.towers.parameters() for each in (failing, stopped))
    assert all(map(torch.equal, kept, expected))


@pytest.mark.parametrize("progress", [None, False])
def test_its_reward_model_shows_progress_as_the_learner_does(progress, small_world, monkeypatch):
    seen, fit = [], opl.TwoTowerRegressor.fit
    monkeypatch.setattr(
        opl.TwoTowerRegressor,
        "fit",
        lambda self, *arguments: (seen.append(self.progress), fit(self, *arguments))[1],
    )
    learner = opl.OffPolicyLearner("ips", epochs=1, progress=progress, **SETTINGS)
    opl.EarlyStopping(learner, estimator="dr").fit(small_world.sample(600, random_state=2))
    assert seen == [progress]


class Diverging:
    """A reward model that can be fitted once."""

    n_fits = 0

    def fit(self, feedback):
        type(self).n_fits += 1
        if self.n_fits > 1:
            raise ArithmeticError("diverged")
        return self

    def predict_reward(self, context, action_context):
        return np.full((len(context), len(action_context)), 0.5)


def test_a_failed_fit_leaves_nothing_of_the_fit_before(log):
    stopping = opl.EarlyStopping(Script(0.5), estimator="dr", reward_model=Diverging()).fit(log)
    assert {"policy_", "best_epoch_", "learner_", "history_"} <= set(vars(stopping))
    with pytest.raises(ArithmeticError, match="diverged"):
        stopping.fit(log)
    assert not {"policy_", "best_epoch_", "learner_", "history_"} & set(vars(stopping))


def test_a_callback_that_stops_at_once_leaves_the_untrained_policy(log):
    def stop(policy):
        raise opl.StopFit

    stopped = opl.EarlyStopping(opl.OffPolicyLearner("ips", hidden=(4,)), min_ess=0)
    stopped.fit(log, callback=stop)
    assert stopped.best_epoch_ == 0
    assert stopped.policy_.greedy(log.context[:1], log.action_context).shape == (1,)


def test_a_callback_may_stop_the_fit(small_world):
    """The policy at which it stops is judged too."""
    epochs = []

    def third(policy):
        epochs.append(None)
        if len(epochs) > 3:
            raise opl.StopFit

    learner = opl.OffPolicyLearner("ips", epochs=9, **SETTINGS)
    stopped = opl.EarlyStopping(learner).fit(small_world.sample(600, random_state=2), third)
    assert len(stopped.history_["held_out"]) == 4 and stopped.best_epoch_ <= 3


# ---- what is rejected


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"learner": opl.uniform()}, TypeError, "must be an OffPolicyLearner, .*got uniform"),
        ({"held_out": 0}, ValueError, r"held_out must be a share .* in \(0, 1\), or a log; got 0"),
        ({"held_out": 1.0}, ValueError, "held_out must be a share of the rounds"),
        ({"held_out": None}, ValueError, "held_out must be .*; got None"),
        ({"estimator": "dm"}, ValueError, "'dm' has no error to bound; use 'snips' or 'dr'"),
        ({"estimator": "ipw"}, ValueError, "an estimator is one of"),
        ({"confidence": 1.0}, ValueError, "confidence must be in"),
        ({"min_ess": -1}, ValueError, "min_ess must be a finite number of at least 0; got -1"),
        ({"min_rewards": -1}, ValueError, "min_rewards must be a finite number of at least 0"),
        ({"patience": 0}, ValueError, "patience must be an integer of at least 1; got 0"),
        ({"random_state": -1}, ValueError, "random_state must be an integer of at least 0"),
    ],
    ids=str,
)
def test_bad_settings_are_rejected(settings, error, message):
    with pytest.raises(error, match=message):
        opl.EarlyStopping(**{"learner": Script(), **settings})


def test_a_callback_may_not_take_the_name_of_the_bound(log):
    with pytest.raises(
        ValueError, match="'held_out' is what history_ calls the bound; rename the number"
    ):
        opl.EarlyStopping(Script()).fit(log, lambda policy: {"held_out": 0.0})


def test_what_is_no_log_is_rejected():
    with pytest.raises(TypeError, match="feedback must be a BanditFeedback; got NoneType"):
        opl.EarlyStopping(Script()).fit(None)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"learner": opl.OffPolicyLearner}, TypeError, "got the class OffPolicyLearner: make an"),
        ({"learner": LogisticRegression()}, TypeError, "must be an OffPolicyLearner, .*got Logis"),
        ({"held_out": True}, ValueError, "held_out must be a share .*; got True"),
        ({"held_out": "0.2"}, ValueError, "held_out must be a share .*; got '0.2'"),
        ({"held_out": np.nan}, ValueError, "held_out must be a share .*; got nan"),
        ({"confidence": "0.9"}, ValueError, "confidence must be in"),
        ({"patience": 1.0}, ValueError, "patience must be an integer"),
        ({"random_state": 2**40}, ValueError, "random_state must be an integer of at most"),
        ({"reward_model": 3}, TypeError, r"reward_model must have fit\(feedback\)"),
        ({"reward_model": opl.TwoTowerRegressor}, TypeError, "the class TwoTowerRegressor: make"),
    ],
    ids=range(10),
)
def test_settings_are_checked_when_made_and_when_assigned(settings, error, message, log):
    with pytest.raises(error, match=message):
        opl.EarlyStopping(**{"learner": Script(), **settings})
    assigned = opl.EarlyStopping(Script(0.5)).fit(log)
    for name, value in settings.items():
        setattr(assigned, name, value)
    with pytest.raises(error, match=message):
        assigned.fit(log)
    assert not hasattr(assigned, "policy_")


@pytest.mark.parametrize("share", [np.float32(0.25), np.float64(0.25)])
def test_a_share_may_be_any_number(share, log):
    plain = opl.EarlyStopping(Script(0.5), held_out=0.25).fit(log)
    assert opl.EarlyStopping(Script(0.5), held_out=share).fit(log).history_ == plain.history_


def test_held_out_rounds_are_of_the_same_items(log):
    for held_out, message in (
        (replace(log, action_context=2 * np.eye(3)), "held_out has another action_context than fe"),
        (replace(log, context=np.ones((log.n_rounds, 3))), "held_out has dim_context = 3 but feed"),
    ):
        with pytest.raises(ValueError, match=message):
            opl.EarlyStopping(Script(0.5), held_out=held_out).fit(log)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (3, "callback must be a function of the policy, or None; got int"),
        ([print], "callback must be a function of the policy, or None; got list"),
        (opl.Watch, "callback is the class Watch: make an object of it first"),
        (lambda policy: 3, "a callback must return None or a dictionary of numbers.*got int"),
        (lambda policy: "ab", "a callback must return None or a dictionary of numbers.*got str"),
        (lambda policy: [], "a callback must return None or a dictionary of numbers.*got list"),
    ],
    ids=range(6),
)
def test_what_is_no_callback_is_named(callback, message, log):
    with pytest.raises(TypeError, match=message):
        opl.EarlyStopping(Script(0.5)).fit(log, callback)


def test_a_reward_model_whose_fit_returns_nothing_is_fitted_too(log):
    class Quiet(TableModel):
        def fit(self, feedback):
            super().fit(feedback)

    how = {"estimator": "dr", "held_out": 0.5}
    quiet = opl.EarlyStopping(Script(0.5), reward_model=Quiet(), **how).fit(log)
    plain = opl.EarlyStopping(Script(0.5), reward_model=TableModel(), **how).fit(log)
    assert quiet.history_ == plain.history_


def test_the_best_policy_is_plain_whatever_mode_the_caller_is_in(small_world):
    learner = opl.OffPolicyLearner("ips", epochs=1, hidden=(4,))
    with torch.inference_mode():
        stopped = opl.EarlyStopping(learner).fit(small_world.sample(300, random_state=0))
    weights = [*stopped.policy_.towers.parameters(), *stopped.learner_.policy_.towers.parameters()]
    assert not any(each.is_inference() for each in weights)


def test_a_number_that_a_callback_leaves_out_is_not_a_number(log):
    looks = iter([{}, {"v": 1.0}, None, {"v": 3.0}, {"w": 4.0}])
    learner = Script(0.1, 0.2, 0.3, 0.4)
    history = opl.EarlyStopping(learner).fit(log, callback=lambda policy: next(looks)).history_
    nan = np.nan
    np.testing.assert_array_equal(history["v"], [nan, 1, nan, 3, nan])
    np.testing.assert_array_equal(history["w"], [nan, nan, nan, nan, 4])
