"""Learners, towers and logs that the tests of learning share."""

import numpy as np
import torch
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.objectives import Objective, get_objective


class Squared(torch.nn.Module):
    """A tower that is no stack of layers of this library: features and their squares."""

    def __init__(self, width, dim_embedding):
        super().__init__()
        self.linear = torch.nn.Linear(2 * width, dim_embedding)

    def forward(self, features):
        return torch.tanh(self.linear(torch.cat([features, features**2], dim=1)))


def custom_towers():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return opl.TwoTower(Squared(3, 5), Squared(2, 5))


def pretrained_towers():
    """Towers that have been through a fit."""
    world = opl.SyntheticWorld(4, dim_context=3, dim_action_context=2, random_state=0)
    learner = opl.OffPolicyLearner("regression", epochs=1, hidden=(6,), dim_embedding=4)
    return learner.fit(world.sample(60, random_state=3)).policy_.towers


ARCHITECTURES = {
    "mlp": lambda: {"hidden": (8,), "dim_embedding": 4},
    "linear": lambda: {"hidden": (), "dim_embedding": 4},
    "custom": lambda: {"towers": custom_towers()},
    "pretrained": lambda: {"towers": pretrained_towers()},
}


def make_learner(objective="ips", architecture="mlp", **settings):
    quick = {"epochs": 3, "batch_size": 50, "learning_rate": 1e-2, "progress": False}
    if needs_q_hat(get_objective(objective)):
        quick["reward_model"] = opl.SklearnRewardModel(Ridge())
    return opl.OffPolicyLearner(objective, **{**quick, **ARCHITECTURES[architecture](), **settings})


def make_regressor(objective="regression", **settings):
    quick = {"epochs": 3, "batch_size": 50, "learning_rate": 1e-2, "progress": False}
    return opl.TwoTowerRegressor(objective, **{**quick, **ARCHITECTURES["mlp"](), **settings})


def needs_q_hat(objective):
    return isinstance(objective, Objective) and "q_hat" in objective.needs


def probabilities(learner, log):
    return learner.policy_.predict_proba(log.context, log.action_context)


def with_columns(log, **change):
    columns = ("context", "action", "reward", "pscore", "action_context")
    return opl.BanditFeedback(**{**{name: getattr(log, name) for name in columns}, **change})


def checkerboard(n_rounds=240):
    """Three types of context, three items; a reward exactly if the item is that of the type."""
    rng = np.random.default_rng(0)
    context_type, action = rng.integers(0, 3, size=(2, n_rounds))
    return opl.BanditFeedback(
        context=np.eye(3)[context_type],
        action=action,
        reward=(action == context_type).astype(float),
        pscore=np.full(n_rounds, 1 / 3),
        action_context=np.eye(3)[::-1],
    )
