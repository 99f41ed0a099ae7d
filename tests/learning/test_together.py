"""What is made ready before the loop: any learner, its checks and its reward model."""

import dataclasses
import io
import sys

import numpy as np
import pytest
import torch
import tqdm
from learning.side_by_side import (
    assert_same_as_alone,
    assert_same_fit,
    make_learner,
    varied,
    weights_of,
)
from sklearn.base import clone
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.learning import batches

# ---- learners with a fit of their own


class Marked(opl.OffPolicyLearner):
    """A subclass that notes its calls."""

    def fit(self, feedback, callback=None):
        self.fitted_on, self.given = feedback, callback
        return super().fit(feedback, callback)


class Plain:
    """Not of this library."""

    def fit(self, feedback):
        self.policy_ = opl.uniform()
        return self


def test_the_fit_of_a_subclass_is_called(logs, stack_sizes):
    settings = make_learner().get_params()
    learners = [make_learner(), Marked(**settings), make_learner(random_state=1), Plain()]

    def look(policy):
        return {"a": 1}

    assert opl.fit_many(learners, logs, [None, look, None, None]) == learners
    assert learners[1].fitted_on is logs[1] and learners[1].given is look
    assert learners[1].history_["a"] == [1, 1, 1]
    assert stack_sizes == [2, 1] and hasattr(learners[3], "policy_")
    single = make_learner().fit(logs[1])
    assert all(map(torch.equal, weights_of(learners[1]), weights_of(single)))


def test_regressors_and_learners_are_fitted_by_one_call(logs):
    model = opl.TwoTowerRegressor(epochs=2, hidden=(8,), dim_embedding=4)
    learner = make_learner()
    alone = clone(model).fit(logs[0])
    assert opl.fit_many([model, learner], logs[0]) == [model, learner]
    pair = logs[0].context, logs[0].action_context
    np.testing.assert_array_equal(model.predict_reward(*pair), alone.predict_reward(*pair))
    assert hasattr(learner, "policy_")


class Breaks(Plain):
    def fit(self, feedback):
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("learner", "kind"),
    [
        (lambda: make_learner(learning_rate=1e30), opl.NonFiniteLossError),
        (lambda: make_learner(opl.mips([0, 0, 1, 1])), ValueError),
        (Breaks, RuntimeError),
    ],
    ids=["diverges", "lacks a column", "breaks"],
)
@pytest.mark.parametrize("names", [None, ["good", "bad"]])
def test_an_error_says_which_learner_it_came_from(learner, kind, names, logs):
    with pytest.raises(kind) as error:
        opl.fit_many([make_learner(), learner()], logs[0], names=names)
    assert error.value.__notes__ == [f"This came from {'bad' if names else 'learner 1'}."]


def test_many_fits_warn_once_of_a_log_far_from_unit_scale(logs):
    log = dataclasses.replace(logs[0], context=logs[0].context + np.array([0, 40, 0]))
    learners = [make_learner("dr", reward_model=None, random_state=seed) for seed in range(3)]
    with pytest.warns(UserWarning, match="context, column 1 has mean") as caught:
        opl.fit_many(learners, log)
    assert len(caught) == 1


def test_no_learners_are_no_work(logs):
    assert opl.fit_many([], logs[0]) == opl.fit_many([], []) == []


def test_iterables_will_do(logs):
    learners = varied()
    fitted = opl.fit_many(iter(learners), iter(logs), iter([None] * 4))
    assert fitted == learners and all(hasattr(learner, "policy_") for learner in learners)


# ---- checks before anything is fitted


@pytest.mark.parametrize(
    ("n_learners", "n_logs", "n_callbacks"), [(3, 2, 3), (3, 4, 3), (3, 3, 1), (0, 1, 0)]
)
def test_numbers_must_agree(n_learners, n_logs, n_callbacks, logs):
    message = f"got {n_learners} learners, {n_logs} logs, {n_callbacks} callbacks and"
    with pytest.raises(ValueError, match=message):
        opl.fit_many(varied()[:n_learners], logs[:n_logs], [None] * n_callbacks)


def test_a_learner_can_be_fitted_once_at_a_time(logs):
    learner = make_learner()
    with pytest.raises(ValueError, match="a learner comes twice: make one for each fit"):
        opl.fit_many([learner, make_learner(), learner], logs[0])


def test_every_learner_and_log_is_checked_before_any_is_fitted(logs):
    learners = [make_learner(), make_learner(towers=opl.TwoTower.mlp(9, 9, (4,)))]
    with pytest.raises(ValueError, match="9"):
        opl.fit_many(learners, logs[0])
    assert learners[0].history_ == {"objective": []}
    with pytest.raises(TypeError, match="BanditFeedback"):
        opl.fit_many(varied(), [*logs[:3], logs[3].to_obp()])


NO_FITS = {
    "one learner": (lambda log: (make_learner(), log), "learners must be a sequence of learners"),
    "none": (lambda log: (None, log), "learners must be a sequence of learners; got NoneType"),
    "a number": (lambda log: ([3], log), r"learners: int has no method fit"),
    "a class": (lambda log: ([opl.OffPolicyLearner], log), "OffPolicyLearner is a class; make an"),
    "no log": (lambda log: ([make_learner()], None), "feedbacks must be a sequence of logs"),
    "a frame": (
        lambda log: ([make_learner()], [{}]),
        "feedback must be a BanditFeedback; got dict",
    ),
    "another's log": (
        lambda log: ([Plain()], ["log"]),
        "feedback must be a BanditFeedback; got str",
    ),
    "callback": (
        lambda log: ([make_learner()], log, 3),
        "callbacks must be a sequence of functions",
    ),
    "callbacks": (lambda log: ([make_learner()], log, [3]), "callback must be a function of the"),
    "another's": (lambda log: ([Plain()], log, [3]), "callback must be a function of the policy"),
    "names": (lambda log: ([make_learner()], log, None, 3), "names must be a sequence of str"),
    "a name": (lambda log: ([make_learner()], log, None, [3]), "names must be a sequence of str"),
    "one text": (lambda log: ([make_learner()], log, None, "a"), "names must be a sequence of str"),
}


@pytest.mark.parametrize(("make", "message"), NO_FITS.values(), ids=NO_FITS)
def test_what_cannot_be_fitted_is_refused_before_anything_is(make, message, logs):
    learners, *others = make(logs[0])
    good = make_learner()
    if isinstance(learners, list):
        learners = [good, *learners]
        if isinstance(others[0], list):
            others[0] = [logs[0], *others[0]]
        if len(others) > 1 and isinstance(others[1], list):
            others[1] = [None, *others[1]]
        if len(others) > 2 and isinstance(others[2], list):
            others[2] = ["good", *others[2]]
    with pytest.raises(TypeError, match=message):
        opl.fit_many(learners, *others)
    assert not hasattr(good, "policy_")


CLUSTERED = {
    "mips": opl.mips([0, 0, 1, 1]),
    "offcem": opl.offcem([0, 0, 1, 1]),
    "potec": opl.potec([0, 0, 1, 1]),
    "regularised": opl.regularised(opl.mips([0, 0, 1, 1]), kl=0.1),
}


@pytest.mark.parametrize("objective", CLUSTERED.values(), ids=CLUSTERED)
def test_what_an_objective_needs_of_a_log_is_checked_before_anything_is_fitted(objective, logs):
    clustered = opl.BanditFeedback(
        *(getattr(logs[0], name) for name in ("context", "action", "reward", "pscore")),
        np.vstack([logs[0].action_context, [[0.0, 1.0]]]),
        cluster_pscore=np.full(120, 0.5),
    )
    for log, message in (
        (logs[0], r"no cluster_pscore\. Make it with opl\.with_clusters\(feedback, cluster\)"),
        (clustered, r"made for 4 items, but the log has 5\. Give its cluster .*opl\.with_clusters"),
    ):
        learner, other = make_learner(objective), make_learner()
        with pytest.raises(ValueError, match=message) as error:
            opl.fit_many([other, learner], [logs[0], log])
        assert repr(objective) in str(error.value)
        assert other.history_ == {"objective": []}
        assert not hasattr(learner, "policy_") and not hasattr(learner, "reward_model_")


RETURNED = {
    "a number": (lambda z, b: 0.5, r"a value that torch can differentiate .*got float"),
    "nothing": (lambda z, b: None, r"a value that torch can differentiate .*got NoneType"),
    "no slope": (lambda z, b: b.reward.mean(), "a value that torch can differentiate .*got Tensor"),
    "terms": (lambda z, b: z[:, 0], r"must return a scalar, .*got \(50,\) and \(50, 4\)"),
    "terms and a gradient": (
        lambda z, b: (b.reward, torch.zeros_like(z)),
        r"must return a scalar, .*got \(50,\) and \(50, 4\)",
    ),
    "one row": (
        lambda z, b: (z.mean(), torch.zeros(4)),
        r"of the shape of the logits, \(50, 4\); got \(\) and \(4,\)",
    ),
}


@pytest.mark.parametrize(("function", "message"), RETURNED.values(), ids=RETURNED)
def test_what_an_objective_of_ones_own_returns_is_checked(function, message, logs):
    own = opl.Objective(function, name="mine")
    with pytest.raises(ValueError, match=message) as error:
        make_learner(own).fit(logs[0])
    assert "objective 'mine'" in str(error.value)


@pytest.mark.parametrize("n_models", [1, 3])
def test_a_batched_objective_returns_a_value_a_model(n_models, logs):
    own = opl.Objective(lambda z, b: (z.mean(), torch.zeros_like(z)), batched=True, name="mine")
    learners = [make_learner(own, random_state=k) for k in range(n_models)]
    with pytest.raises(ValueError, match="'mine' must return a scalar"):
        opl.fit_many(learners, logs[0])


def test_an_objective_may_return_what_autograd_still_holds(logs):
    def by_autograd(logits, batch):
        logits = logits.clone().requires_grad_()
        value, gradient = opl.ips(logits, batch)
        return value, gradient

    own = make_learner(opl.Objective(by_autograd)).fit(logs[0])
    named = make_learner().fit(logs[0])
    assert all(map(torch.equal, weights_of(own), weights_of(named)))
    assert own.history_ == named.history_


# ---- reward models


def test_reward_models_are_fitted_side_by_side(logs, stack_sizes):
    learners = varied("dr", reward_model=None)
    singles = [clone(learner) for learner in learners]
    opl.fit_many(learners, logs)
    assert stack_sizes == [8, 4]  # two folds of each log, all of 60 rounds
    for learner, single, log in zip(learners, singles, logs, strict=True):
        single.fit(log)
        assert_same_fit(learner, single, log)
        np.testing.assert_array_equal(learner.reward_model_.fold, single.reward_model_.fold)
        q_hat, expected = (m.reward_model_.predict_rows(np.arange(120)) for m in (learner, single))
        np.testing.assert_allclose(q_hat, expected, rtol=0, atol=1e-5)
        assert learner.reward_model_.feedback is log


def test_folds_may_differ_within_a_stack(logs, stack_sizes):
    learners = varied("dr")
    for learner, n_folds in zip(learners, [1, 2, 3, 5], strict=True):
        learner.n_folds = n_folds
    assert_same_as_alone(learners, logs)
    assert max(stack_sizes) == 4
    assert [len(learner.reward_model_.models) for learner in learners] == [1, 2, 3, 5]


def reward_models_of_every_kind(log):
    learners = varied("dr")
    small = {"epochs": 2, "batch_size": 50, "hidden": (8,), "dim_embedding": 4}
    learners[1].reward_model = opl.TwoTowerRegressor("regression", **small)
    learners[2].reward_model = None
    learners[3].reward_model = opl.SklearnRewardModel(Ridge(alpha=9))
    return learners


@pytest.mark.parametrize("catalogue", ["exact", "streamed", "sampled"])
@pytest.mark.parametrize("n_tables", [1, 4])
def test_a_large_q_hat_is_predicted_by_the_tile(n_tables, catalogue, logs, monkeypatch):
    feedbacks = logs if n_tables == 4 else logs[:1] * 4

    def fitted():
        learners = reward_models_of_every_kind(logs[0])
        for learner in learners:
            learner.set_params(catalogue=catalogue, n_sampled=3)
        return opl.fit_many(learners, feedbacks)

    stored = fitted()
    monkeypatch.setattr(batches, "MAX_STORED_Q_HAT", 4 * 120 * 4)
    monkeypatch.setattr(opl.CrossFittedRewardModel, "predict_logged_item", None)
    fitted()  # as much as may be stored
    monkeypatch.undo()
    monkeypatch.setattr(batches, "MAX_STORED_Q_HAT", 4 * 120 * 4 - 1)
    for learner, other, log in zip(fitted(), stored, feedbacks, strict=True):
        assert_same_fit(learner, other, log)


def test_learners_share_a_reward_model_that_is_cross_fitted_already(small_log):
    settings = {"epochs": 2, "batch_size": 30, "hidden": (8,), "progress": False}
    own = opl.OffPolicyLearner("dr", **settings).fit(small_log)
    q_hat = opl.cross_fit(own.default_reward_model(), small_log)
    shared = [opl.OffPolicyLearner(name, reward_model=q_hat, **settings) for name in ("dr", "dm")]
    opl.fit_many(shared, small_log)
    assert all(learner.reward_model_ is q_hat for learner in shared)
    asked = small_log.context, small_log.action_context
    np.testing.assert_allclose(
        shared[0].policy_.predict_proba(*asked), own.policy_.predict_proba(*asked), rtol=1e-5
    )
    with pytest.raises(ValueError, match="another log"):
        opl.OffPolicyLearner("dr", reward_model=q_hat, **settings).fit(small_log[:50])


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("progress", "names"), [(None, ["fit, 2 models:", "fit dr:"]), (False, [])]
)
def test_the_default_reward_model_shows_as_much_as_the_learner(progress, names, logs, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    bar = tqdm.tqdm
    at_once = {"delay": 0, "mininterval": 0}
    monkeypatch.setattr(tqdm, "tqdm", lambda **settings: bar(**{**settings, **at_once}))
    make_learner("dr", reward_model=None, progress=progress).fit(logs[0])
    shown = terminal.getvalue()
    assert all(name in shown for name in names) and bool(shown) == bool(names)
