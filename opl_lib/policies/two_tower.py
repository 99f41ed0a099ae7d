"""The policy that a two-tower model defines: a softmax over inner products."""

from __future__ import annotations

import copy
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import row_chunks
from ..checks import MIN_TEMPERATURE, check_number, check_seed, plain_arithmetic
from ..files import as_path
from ..logs.eligible import eligible_mask, eligible_rows
from .encode import embed, embed_queries, single_features
from .index import ItemIndex, best_items, inner_products
from .policy_file import read_policy, write_policy
from .towers import TwoTower, check_towers


class TwoTowerPolicy:
    """Recommend with probability ``softmax(<u(x), v(a)> / temperature)``.

    The policy holds no item table: items are an argument of every call, so items that training
    never saw are served like any other.

    Parameters
    ----------
    towers : TwoTower
        The trained towers. Only the towers are called: a `forward` of a subclass is refused.
    temperature : float, at least 0
        Large is nearly uniform, small is nearly greedy, 0 is greedy: all probability on the item
        with the largest inner product, or on the first of them, if several items look the same.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, random_state=0))
    >>> policy.predict_proba(np.ones((1, 3)), np.eye(2)).sum(axis=1)
    array([1.])
    >>> policy.at_temperature(0).predict_proba(np.ones((1, 3)), np.eye(2)).max()
    np.float64(1.0)
    """

    def __init__(self, towers: TwoTower, temperature: float = 1.0) -> None:
        check_towers(towers)
        self._towers = towers
        self.temperature = temperature
        self._encoded: tuple[Any, ItemIndex] | None = None

    def __repr__(self) -> str:
        n_weights = sum(p.numel() for p in self.towers.parameters())
        return f"TwoTowerPolicy({n_weights:,} weights, temperature={self.temperature:g})"

    @property
    def towers(self) -> TwoTower:
        """The towers, which are not exchanged for others: make another policy of those."""
        return self._towers

    @property
    def temperature(self) -> float:
        """Large is nearly uniform, 0 is greedy."""
        return self._temperature

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        check_number("temperature", temperature, Real, least=0)
        if temperature > 0:
            check_number("temperature", temperature, Real, least=MIN_TEMPERATURE)
        self._temperature = float(temperature)

    def at_temperature(self, temperature: float) -> TwoTowerPolicy:
        """The same towers served at another temperature; 0 is greedy."""
        other = copy.copy(self)
        other.temperature, other._encoded = temperature, None
        return other

    def for_items(self, action_context: np.ndarray) -> TwoTowerPolicy:
        """The same policy with some items encoded once, ahead of time.

        Parameters
        ----------
        action_context : array of shape (n_actions, dim_action_context)
            Every call that passes this very array uses the embeddings of now, whatever becomes of
            its values or of the weights: make another array of items that change. Calls with
            another array encode it as usual.
        """
        served = copy.copy(self)
        served._encoded = (action_context, self._index(action_context))
        return served

    def predict_proba(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        """Probabilities of all items.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown, in each row or in all; others get probability 0.

        Returns
        -------
        float64 array of shape (n, n_actions)
            Rows sum to 1.
        """
        scores = self._scores(context, action_context)
        if eligible is not None:
            scores[~eligible_mask(eligible, *scores.shape)] = -np.inf
        if self.temperature == 0:
            pi = np.zeros(scores.shape)
            pi[np.arange(len(pi)), scores.argmax(axis=1)] = 1
            return pi
        return torch.softmax(self._logits(scores), dim=1).numpy()

    def scores(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Inner products ``<u(x), v(a)>``, without the temperature: (n, n_actions)."""
        return self._scores(context, action_context)

    def greedy(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        """The item with the largest inner product for each context: integer array of shape (n,)."""
        return self.top_k(context, action_context, 1, eligible)[:, 0]

    def top_k(
        self, context: np.ndarray, action_context: np.ndarray, k: int, eligible: Any = None
    ) -> np.ndarray:
        """The `k` items with the largest inner products, best first.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
        k : int in [1, n_actions]
            At most as many as are eligible.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown, in each row or in all.

        Returns
        -------
        integer array of shape (n, k)
        """
        queries, index = self._embedded(context, action_context)
        return best_items(index, queries, k, eligible, "context")[0]

    @plain_arithmetic
    def sample(
        self,
        context: np.ndarray,
        action_context: np.ndarray,
        random_state: int | None = None,
        eligible: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw one item for each context, and say with which probability: what to show and to log.

        Adding Gumbel noise to log-probabilities and taking the largest draws from the softmax.
        Rows are handled a few at a time, so a large catalogue needs little memory.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
        random_state : int, optional
            For serving, leave it out: every call draws anew. A number repeats the draw, as a test
            or an experiment needs; given the same one at every request, all requests share the
            same noise, and what is shown is no longer random.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown, in each row or in all.

        Returns
        -------
        action : integer array of shape (n,)
        pscore : array of shape (n,)
            ``π(action|x)``, to be logged with the action.
        """
        check_seed(random_state, optional=True)
        context, rng = single_features("context", context), np.random.default_rng(random_state)
        served = self.for_items(action_context)
        can_be_shown = None
        if eligible is not None:
            can_be_shown = eligible_rows(eligible, len(context), len(action_context))
        action, pscore = np.empty(len(context), dtype=np.int64), np.ones(len(context))
        for rows in row_chunks(len(context), len(action_context)):
            scores = served._scores(context[rows], action_context, rows.start)
            if can_be_shown is not None:
                scores[~can_be_shown(rows)] = -np.inf
            if self.temperature == 0:
                action[rows] = scores.argmax(axis=1)
                continue
            log_pi = torch.log_softmax(self._logits(scores), dim=1).numpy()
            action[rows] = (log_pi + rng.gumbel(size=log_pi.shape)).argmax(axis=1)
            pscore[rows] = np.exp(log_pi[np.arange(len(log_pi)), action[rows]])
        return action, pscore

    def embed_context(self, context: np.ndarray) -> np.ndarray:
        """Context embeddings ``u(x)``: (n, d_x) -> (n, dim_embedding)."""
        return embed(self.towers, "context", context).copy()

    def embed_items(self, action_context: np.ndarray) -> np.ndarray:
        """Item embeddings ``v(a)``, a copy: (n_actions, d_a) -> (n_actions, dim_embedding)."""
        return self._index(action_context).embeddings.copy()

    def to_obp(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        """Probabilities in the shape of ``obp``'s `action_dist`: (n, n_actions, 1)."""
        return self.predict_proba(context, action_context, eligible)[:, :, np.newaxis]

    def save(self, path: str | Path) -> None:
        """Write weights and settings to a file, atomically; no code is pickled.

        Parameters
        ----------
        path : str or Path
            Any file name; an existing file is replaced only when the new one is complete. It keeps
            its mode, and a symbolic link still points to it. Several may save to one path at once.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If weights are not finite.
        """
        write_policy(as_path("path", path), self.towers, self.temperature)

    @classmethod
    def load(cls, path: str | Path, towers: TwoTower | None = None) -> TwoTowerPolicy:
        """Read a policy written by `save`.

        Parameters
        ----------
        path : str or Path
        towers : TwoTower, optional
            Towers of the same architecture; needed only if they are not those of `TwoTower.mlp`.
            It is copied, not changed. Of the learner's default these are the towers that it was
            given; the linear ones beside them are in the file.

        Returns
        -------
        TwoTowerPolicy

        Raises
        ------
        ValueError
            If the file was not written by `save` or was changed since, as a checksum tells; if it
            does not say how to build the towers and no `towers` are given; or if it holds the
            weights of another architecture.
        OSError
            If the file cannot be read.
        """
        return read_policy(as_path("path", path), towers, cls)

    def _scores(self, context: Any, action_context: Any, first_row: int = 0) -> np.ndarray:
        queries, index = self._embedded(context, action_context, first_row)
        return inner_products(index, queries, first_row, "context")

    def _logits(self, scores: np.ndarray) -> Tensor:
        return torch.from_numpy(scores).double() / self.temperature

    def _embedded(
        self, context: Any, action_context: Any, first_row: int = 0
    ) -> tuple[np.ndarray, ItemIndex]:
        index = self._index(action_context)
        return embed_queries(self.towers, context, index, first_row), index

    def _index(self, action_context: Any) -> ItemIndex:
        if self._encoded is not None and action_context is self._encoded[0]:
            return self._encoded[1]
        return ItemIndex(embed(self.towers, "action_context", action_context))
