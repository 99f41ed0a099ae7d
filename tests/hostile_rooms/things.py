"""A small world and what is made of it, and things that answer what they are told to."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import Ridge

import opl_lib as opl


class Things:
    """A small world and what is made of it; numbers are exact in half precision."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.n, self.n_actions = 24, 3
        self.context = rng.integers(-8, 9, (self.n, 4)) / 8
        self.items = np.array([[0.0, 0.5], [1.0, -0.5], [0.25, 1.0]])
        self.square_items = np.array([[0.0, 0.5, 1, 0], [1.0, -0.5, 0, 0.5], [0.25, 1.0, 0, 0]])
        self.action = np.arange(self.n) % 3
        self.reward = rng.integers(0, 2, self.n).astype(float)
        self.pscore = rng.integers(1, 5, self.n) / 8
        self.eligible = np.arange(3) != (self.action + 1)[:, None] % 3  # two of three
        self.user = np.arange(self.n) // 2
        self.time = rng.permutation(self.n)
        self.columns = {
            "context": self.context,
            "action": self.action,
            "reward": self.reward,
            "pscore": self.pscore,
            "action_context": self.items,
        }
        self.log = opl.BanditFeedback(
            **self.columns, position=self.action, user_id=self.user, timestamp=self.time
        )
        self.plain = opl.BanditFeedback(**self.columns)
        self.wide = opl.BanditFeedback(
            **{**self.columns, "context": self.context[:, [0, 1, 2, 3, 0]]}
        )
        self.more_items = opl.BanditFeedback(
            **{**self.columns, "action_context": np.vstack([self.items, self.items])}
        )
        self.other_items = opl.BanditFeedback(
            **{**self.columns, "action_context": np.hstack([self.items, self.items])}
        )
        self.cluster = np.array([0, 0, 1])
        self.towers = opl.TwoTower.mlp(4, 2, hidden=(3,), dim_embedding=2, random_state=0)
        self.policy = opl.TwoTowerPolicy(self.towers)
        self.pi = np.tile([0.5, 0.25, 0.25], (self.n, 1))
        self.q = np.tile([0.5, 0.25, 0.0], (self.n, 1))
        self.model = opl.SklearnRewardModel(Ridge()).fit(self.log)
        self.cross_fitted = opl.cross_fit(opl.SklearnRewardModel(Ridge()), self.log)
        self.world = opl.SyntheticWorld(3, 4, 2, n_eval_contexts=8, random_state=0)
        self.frame = pd.DataFrame(
            {
                **{f"x{k}": self.context[:, k] for k in range(4)},
                "item": [f"i{k}" for k in self.action],
                "click": self.reward,
                "p": self.pscore,
                "slot": self.action,
                "user": self.user,
                "when": pd.to_datetime("2024-01-01") + pd.to_timedelta(self.time, "D"),
            }
        )
        self.table_of_items = pd.DataFrame(self.items, columns=["f", "g"])
        self.table_of_items["id"] = ["i0", "i1", "i2"]
        self.frames = self.frame[[f"x{k}" for k in range(4)]], self.table_of_items
        self.fitted_columns = opl.Columns.fit(
            self.frame,
            context=[f"x{k}" for k in range(4)],
            items=self.table_of_items,
            item_id="id",
        )
        self.candidates = pd.DataFrame(
            {
                "visit": np.repeat(np.arange(self.n), 3),
                "item": [f"i{k}" for k in range(3)] * self.n,
                "shown": (np.arange(3) == self.action[:, None]).ravel(),
            }
        ).join(self.frame.drop(columns="item"), on="visit")
        self.unweighted = opl.LogWithoutPropensities(
            {name: column for name, column in self.columns.items() if name != "pscore"},
            opl.BanditFeedback,
        )
        self.evaluated = opl.evaluate(opl.uniform(), self.log, ["ips", "snips"])
        self.calibration = opl.estimate_propensities(
            self.context, self.action, 3, DummyClassifier(strategy="prior"), n_folds=2
        ).calibration
        watch = opl.Watch(self.log)
        watch(self.policy)
        self.watched = watch.table
        self.folder = Path(tempfile.mkdtemp(prefix="hostile-"))
        atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
        self.file = self.folder / "policy.pt"
        self.policy.save(self.file)
        (self.folder / "empty").write_bytes(b"")
        (self.folder / "text.csv").write_text("user,item\n1,2\n")
        torch.save({"weights": torch.zeros(2)}, self.folder / "weights.pt")

    def learner(self, objective="ips", **settings):
        small = {"epochs": 1, "hidden": (2,), "dim_embedding": 2, "progress": False}
        return opl.OffPolicyLearner(objective, **{**small, **settings})

    def regressor(self, objective="auto", **settings):
        small = {"epochs": 1, "hidden": (2,), "dim_embedding": 2, "progress": False}
        return opl.TwoTowerRegressor(objective, **{**small, **settings})


@functools.cache
def things():
    return Things()


def gives(value):
    """A function that returns one thing, whatever it is asked."""
    return lambda *_: value


class Returns:
    """A policy, a reward model and a world's rewards that answer what they are told to."""

    def __init__(self, answer):
        self.answer = answer

    def predict_proba(self, context, action_context):
        return self.answer(len(context), len(action_context))

    def predict_reward(self, context, action_context):
        return self.answer(len(context), len(action_context))


class Fits(Returns):
    """A reward model that can be fitted too."""

    def fit(self, feedback):
        return self


class Coupons(opl.World):
    """A world of one's own, whose contexts or rewards are what it is told to."""

    def __init__(self, draws=None, rewards=None):
        t = things()
        super().__init__(t.items, t.context[:8], opl.uniform())
        self.draws, self.rewards = draws, rewards

    def draw_context(self, n_rounds, rng):
        return things().context[:n_rounds] if self.draws is None else self.draws(n_rounds)

    def reward_probability(self, context):
        shape = len(context), self.n_actions
        return np.full(shape, 0.5) if self.rewards is None else self.rewards(*shape)


class Stump:
    """A classifier of contexts whose probabilities are what it is told to."""

    def __init__(self, answer):
        self.answer = answer

    def get_params(self, deep=True):
        return {"answer": self.answer}

    def set_params(self, **params):
        return self

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x):
        return self.answer(len(x), len(self.classes_))
