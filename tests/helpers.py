"""Policies and reward models that read tables through the one-hot contexts of the tiny world."""

import numpy as np

import opl_lib as opl

PI_0 = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6]])  # that of the tiny world
PI = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
GOOD = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
BAD = np.array([[0.1, 0.7, 0.2], [0.7, 0.1, 0.2]])
Q_HAT = np.array([[0.8, 0.3, 0.4], [0.3, 0.7, 0.2]])


def table_policy(pi=PI):
    """The policy of a table of two contexts and three items."""
    return lambda context, action_context: context @ pi


class TablePolicy:
    """A table that is changed in place, as training changes weights."""

    def __init__(self, pi=PI_0):
        self.pi, self.n_calls = np.array(pi, dtype=float), 0

    def predict_proba(self, context, action_context):
        self.n_calls += 1
        return context @ self.pi


class TableModel:
    """A reward model that predicts a table; its class remembers what the last was fitted on."""

    fitted_on = None

    def fit(self, feedback):
        type(self).fitted_on = feedback
        return self

    def predict_reward(self, context, action_context):
        return context @ Q_HAT


def log_of(contexts, actions, rewards, pi_0=PI_0, **columns):
    """A log of given rounds of the tiny world."""
    return opl.BanditFeedback(
        context=np.eye(2)[contexts],
        action=np.array(actions),
        reward=np.array(rewards, dtype=float),
        pscore=np.asarray(pi_0)[contexts, actions],
        action_context=np.eye(3),
        **columns,
    )
