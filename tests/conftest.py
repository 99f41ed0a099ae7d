"""Fixtures of the unit tests: a world small enough to enumerate, and a small log of features."""

import itertools
import math
from dataclasses import dataclass

import matplotlib
import numpy as np
import pytest
import torch

import opl_lib as opl

# Not by the environment: the notebooks' kernels inherit that and would show no figures.
matplotlib.use("Agg")
torch.set_num_threads(1)


@dataclass(frozen=True)
class TinyWorld:
    """Two contexts, three items, rewards 0 or 1: every expectation is a short sum."""

    p_x: np.ndarray  # (2,)
    pi_0: np.ndarray  # (2, 3)
    q: np.ndarray  # (2, 3)

    def logs(self, n_rounds):
        """Every possible log, as (its probability, context types, actions, rewards)."""
        rounds = []
        for x, a, r in itertools.product(range(2), range(3), range(2)):
            p_reward = self.q[x, a] if r else 1 - self.q[x, a]
            rounds.append((self.p_x[x] * self.pi_0[x, a] * p_reward, x, a, float(r)))
        for log in itertools.product(rounds, repeat=n_rounds):
            p, x, a, r = zip(*log, strict=True)
            yield math.prod(p), np.array(x), np.array(a), np.array(r)

    def value(self, pi):
        """The true value of a policy table of shape (2, 3), an array or a tensor."""
        weights = self.p_x[:, None] * self.q
        return (pi * (torch.tensor(weights) if torch.is_tensor(pi) else weights)).sum()

    def sample(self, n_rounds, random_state):
        """A log whose contexts are one-hot types."""
        rng = np.random.default_rng(random_state)
        x = rng.choice(2, size=n_rounds, p=self.p_x)
        action = np.array([rng.choice(3, p=self.pi_0[i]) for i in x])
        return opl.BanditFeedback(
            context=np.eye(2)[x],
            action=action,
            reward=rng.binomial(1, self.q[x, action]),
            pscore=self.pi_0[x, action],
            action_context=np.eye(3),
        )


@pytest.fixture
def small_chunks(monkeypatch):
    """Call it to make every loop over rows go a few rows at a time: arrays of 20 numbers."""
    return lambda: monkeypatch.setattr("opl_lib.arrays.MAX_ELEMENTS", 20)


@pytest.fixture(scope="session")
def tiny_world():
    return TinyWorld(
        p_x=np.array([0.4, 0.6]),
        pi_0=np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]]),
        q=np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.4]]),
    )


@pytest.fixture(scope="session")
def small_world():
    """Context and item features of different widths, so that none can stand in for the other."""
    return opl.SyntheticWorld(
        n_actions=4, dim_context=3, dim_action_context=2, n_eval_contexts=50, random_state=0
    )


@pytest.fixture(scope="session")
def small_log(small_world):
    """120 rounds with every optional column; 30 users, 60 distinct times, in no order."""
    log = small_world.sample(120, random_state=1)
    rng = np.random.default_rng(2)
    columns = ("context", "action", "reward", "pscore", "action_context")
    return opl.BanditFeedback(
        **{name: getattr(log, name) for name in columns},
        position=rng.integers(0, 3, size=120),
        user_id=rng.permutation(np.arange(120) % 30),
        timestamp=rng.permutation(np.arange(120) // 2),
    )
