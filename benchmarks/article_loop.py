"""The article's training loop, written anew from its formulas and settings, to be timed against.

Row-by-row data set behind a DataLoader, a softmax over all items, the log-trick surrogate with
automatic differentiation, ``torch.optim.Adam`` with its default settings.
"""

import numpy as np
import torch
from torch import nn

import opl_lib as opl


class Rounds(torch.utils.data.Dataset):
    """One round an index; every round carries q̂ and π_0 of all items, as in the article."""

    def __init__(self, log: opl.BanditFeedback) -> None:
        shape = (log.n_rounds, log.n_actions)
        columns = (
            log.context,
            log.reward,
            log.pscore,
            np.zeros(shape),
            np.full(shape, 1 / shape[1]),
        )
        self.action = torch.tensor(log.action)
        self.columns = [torch.tensor(column, dtype=torch.float32) for column in columns]

    def __len__(self) -> int:
        return len(self.action)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, ...]:
        return self.action[row], *(column[row] for column in self.columns)


def tower(width: int) -> nn.Sequential:
    hidden = [layer for _ in range(2) for layer in (nn.Linear(100, 100), nn.ELU())]
    return nn.Sequential(nn.Linear(width, 100), nn.ELU(), *hidden, nn.Linear(100, 100))


def train(log: opl.BanditFeedback, objective: str, batch_size: int = 10) -> None:
    """One epoch of ``"ips"``, ``"dr"`` (with q̂ = 0, at the cost of any) or ``"regression"``."""
    towers = nn.ModuleDict(
        {"context": tower(log.dim_context), "action": tower(log.dim_action_context)}
    )
    optimizer = torch.optim.Adam(towers.parameters(), lr=1e-5, weight_decay=1e-6)
    items = torch.tensor(log.action_context, dtype=torch.float32)
    for a, x, r, p, q_hat, _ in torch.utils.data.DataLoader(Rounds(log), batch_size=batch_size):
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
            terms = weight * (r - q_hat[rows, a]) * log_pi[rows, a]
            loss = -(terms + (q_hat * now * log_pi).sum(dim=1)).mean()
        loss.backward()
        optimizer.step()
