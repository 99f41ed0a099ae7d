"""The article's training loop, written anew from its formulas and settings, to be timed against.

Row-by-row data set behind a DataLoader, a softmax over all items, the log-trick surrogate with
automatic differentiation, ``torch.optim.Adam`` with its default settings, and for DR a q̂ that
scikit-learn's ``MLPRegressor`` predicts for all rounds, one column of items at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import opl_lib as opl


class Rounds(torch.utils.data.Dataset):
    """One round an index; every round carries q̂ and π_0 of all items, as in the article."""

    def __init__(self, log: opl.BanditFeedback, q_hat: torch.Tensor) -> None:
        self.action = torch.tensor(log.action)
        columns = [log.context, log.reward, log.pscore]
        self.columns = [torch.tensor(column, dtype=torch.float32) for column in columns]
        self.columns += [q_hat, torch.full_like(q_hat, 1 / log.n_actions)]

    def __len__(self) -> int:
        return len(self.action)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, ...]:
        return self.action[row], *(column[row] for column in self.columns)


def tower(width: int) -> nn.Sequential:
    hidden = [layer for _ in range(2) for layer in (nn.Linear(100, 100), nn.ELU())]
    return nn.Sequential(nn.Linear(width, 100), nn.ELU(), *hidden, nn.Linear(100, 100))


def make_towers(log: opl.BanditFeedback) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"context": tower(log.dim_context), "action": tower(log.dim_action_context)}
    )


def reward_model():
    """The article's regressor of the reward on the joined context and item features."""
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(hidden_layer_sizes=(10, 10, 10), random_state=12345)


def q_hat_by_columns(log: opl.BanditFeedback) -> torch.Tensor:
    """Fit the regressor, and predict every round with one item after the other."""
    pairs = np.concatenate([log.context, log.action_context[log.action]], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 200 iterations, the article's number, are too few
        model = reward_model().fit(pairs, log.reward)
    q_hat = np.zeros((log.n_rounds, log.n_actions))
    for number, item in enumerate(log.action_context):
        pairs = np.concatenate([log.context, np.tile(item, (log.n_rounds, 1))], axis=1)
        q_hat[:, number] = model.predict(pairs)
    return torch.from_numpy(q_hat).float()


def train(
    log: opl.BanditFeedback,
    objective: str,
    batch_size: int = 10,
    epochs: int = 1,
    towers: nn.ModuleDict | None = None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Train by ``"ips"``, ``"dr"`` or ``"regression"``; `tick` is called before every step."""
    towers = make_towers(log) if towers is None else towers
    optimizer = torch.optim.Adam(towers.parameters(), lr=1e-5, weight_decay=1e-6)
    q_hat = torch.zeros(log.n_rounds, log.n_actions)
    if objective == "dr":
        q_hat = q_hat_by_columns(log)
    loader = torch.utils.data.DataLoader(Rounds(log, q_hat), batch_size=batch_size)
    items = torch.tensor(log.action_context, dtype=torch.float32)
    for _ in range(epochs):
        loss_of_epoch = 0.0
        for a, x, r, p, q_hat_x, _ in loader:
            tick()
            optimizer.zero_grad()
            logits = towers["context"](x) @ towers["action"](items).T
            rows = torch.arange(len(a))
            if objective == "regression":
                q = torch.sigmoid(logits)[rows, a]
                loss = nn.functional.binary_cross_entropy(q, r)
            else:
                pi = torch.softmax(logits, dim=1)
                now, log_pi = pi.detach(), torch.log(pi + 1e-10)
                weight = now[rows, a] / p
                terms = weight * (r - q_hat_x[rows, a]) * log_pi[rows, a]
                loss = -(terms + (q_hat_x * now * log_pi).sum(dim=1)).mean()
            loss.backward()
            optimizer.step()
            loss_of_epoch += loss.item()
