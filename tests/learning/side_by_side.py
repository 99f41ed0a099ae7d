"""Small learners that differ as those of one stack may, and how their fits are compared."""

import numpy as np
import torch
from learning.learners import needs_q_hat
from sklearn.base import clone
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.objectives import get_objective


class Towers(torch.nn.Module):
    """A tower that the library did not make."""

    def __init__(self, width):
        super().__init__()
        self.linear = torch.nn.Linear(width, 4)

    def forward(self, features):
        return torch.tanh(self.linear(features))


def custom_towers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return opl.TwoTower(Towers(3), Towers(2))


def make_learner(objective="ips", **settings):
    quick = {"epochs": 2, "batch_size": 50, "learning_rate": 5e-3, "hidden": (8,)}
    if needs_q_hat(get_objective(objective)):
        quick["reward_model"] = opl.SklearnRewardModel(Ridge())
    return opl.OffPolicyLearner(objective, **{**quick, "dim_embedding": 4, **settings})


def varied(objective="ips", **settings):
    """Learners that differ in all that learners of one stack may differ in.

    All have some weight decay: Adam scales up even a gradient that is 0 but for rounding, as that
    of the items' last bias, and rounding depends on who else is in the stack.
    """
    return [
        make_learner(objective, random_state=0, weight_decay=0.01, **settings),
        make_learner(
            objective,
            random_state=1,
            weight_decay=0.01,
            learning_rate=1e-2,
            temperature=0.5,
            **settings,
        ),
        make_learner(objective, random_state=2, weight_decay=0.1, temperature=2, **settings),
        make_learner(objective, random_state=1, weight_decay=0.1, **settings),
    ]


def probabilities(learner, log):
    return learner.policy_.predict_proba(log.context, log.action_context)


def weights_of(learner):
    return [weights.detach() for weights in learner.policy_.towers.parameters()]


def assert_same_fit(learner, single, log, atol=1e-5):
    np.testing.assert_allclose(
        probabilities(learner, log), probabilities(single, log), rtol=0, atol=atol
    )
    assert learner.history_.keys() == single.history_.keys()
    for name, curve in single.history_.items():
        np.testing.assert_allclose(learner.history_[name], curve, rtol=1e-3, atol=1e-4)


def assert_same_as_alone(learners, logs, callback=None):
    singles = [clone(learner) for learner in learners]
    assert opl.fit_many(learners, logs, callback) == learners
    for learner, single, log in zip(learners, singles, logs, strict=True):
        assert_same_fit(learner, single.fit(log, callback), log)
