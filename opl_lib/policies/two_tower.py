"""The policy that a two-tower model defines: a softmax over inner products."""

from __future__ import annotations

import copy
import os
import pickle
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import row_chunks
from ..checks import MIN_TEMPERATURE, check_number
from .index import ItemIndex
from .towers import TwoTower, check_towers, embed

_FORMAT = "opl_lib.TwoTowerPolicy 1"


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
        check_number("temperature", temperature, Real, least=0)
        if temperature > 0:
            check_number("temperature", temperature, Real, least=MIN_TEMPERATURE)
        self.towers = towers
        self.temperature = float(temperature)
        self._encoded: tuple[Any, ItemIndex] | None = None

    def __repr__(self) -> str:
        n_weights = sum(p.numel() for p in self.towers.parameters())
        return f"TwoTowerPolicy({n_weights:,} weights, temperature={self.temperature:g})"

    def at_temperature(self, temperature: float) -> TwoTowerPolicy:
        """The same towers served at another temperature; 0 is greedy."""
        return TwoTowerPolicy(self.towers, temperature)

    def for_items(self, action_context: np.ndarray) -> TwoTowerPolicy:
        """The same policy with some items encoded once, ahead of time.

        Parameters
        ----------
        action_context : array of shape (n_actions, dim_action_context)
            Every call that passes this very array uses the embeddings of now, whatever becomes of
            its values or of the weights; calls with another array encode it as usual.

        Returns
        -------
        TwoTowerPolicy
        """
        served = copy.copy(self)
        served._encoded = (action_context, self._index(action_context))
        return served

    def predict_proba(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Probabilities of all items.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)

        Returns
        -------
        float64 array of shape (n, n_actions)
            Rows sum to 1.
        """
        if self.temperature == 0:
            pi = np.zeros((len(context), len(action_context)))
            pi[np.arange(len(pi)), self.greedy(context, action_context)] = 1
            return pi
        return torch.softmax(self._logits(context, action_context), dim=1).numpy()

    def scores(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Inner products ``<u(x), v(a)>``, without the temperature: (n, n_actions)."""
        return self._index(action_context).scores(self.embed_context(context))

    def greedy(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """The item with the largest inner product for each context: integer array of shape (n,)."""
        return self.top_k(context, action_context, k=1)[:, 0]

    def top_k(self, context: np.ndarray, action_context: np.ndarray, k: int) -> np.ndarray:
        """The `k` items with the largest inner products, best first.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action_context : array of shape (n_actions, dim_action_context)
        k : int in [1, n_actions]

        Returns
        -------
        integer array of shape (n, k)
        """
        return self._index(action_context).search(self.embed_context(context), k)[0]

    def sample(
        self, context: np.ndarray, action_context: np.ndarray, random_state: int | None = None
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

        Returns
        -------
        action : integer array of shape (n,)
        pscore : array of shape (n,)
            ``π(action|x)``, to be logged with the action.
        """
        rng = np.random.default_rng(random_state)
        action, pscore = np.empty(len(context), dtype=np.int64), np.ones(len(context))
        served = self.for_items(action_context)
        for rows in row_chunks(len(context), len(action_context)):
            if self.temperature == 0:
                action[rows] = served.greedy(context[rows], action_context)
                continue
            logits = served._logits(context[rows], action_context)
            log_pi = torch.log_softmax(logits, dim=1).numpy()
            action[rows] = (log_pi + rng.gumbel(size=log_pi.shape)).argmax(axis=1)
            pscore[rows] = np.exp(log_pi[np.arange(len(log_pi)), action[rows]])
        return action, pscore

    def embed_context(self, context: np.ndarray) -> np.ndarray:
        """Context embeddings ``u(x)``: (n, d_x) -> (n, dim_embedding)."""
        return embed(self.towers, "context", context)

    def embed_items(self, action_context: np.ndarray) -> np.ndarray:
        """Item embeddings ``v(a)``: (n_actions, d_a) -> (n_actions, dim_embedding)."""
        return self._index(action_context).embeddings

    def to_obp(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        """Probabilities in the shape of ``obp``'s `action_dist`: (n, n_actions, 1)."""
        return self.predict_proba(context, action_context)[:, :, np.newaxis]

    def save(self, path: str | Path) -> None:
        """Write weights and settings to a file, atomically; no code is pickled.

        Parameters
        ----------
        path : str or Path
            Any file name; an existing file is replaced only when the new one is complete.
        """
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        weights = {name: tensor.clone() for name, tensor in self.towers.state_dict().items()}
        content = {
            "format": _FORMAT,
            "temperature": self.temperature,
            "mlp": self.towers.mlp_settings,
            "weights": weights,
        }
        try:
            torch.save(content, partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path, towers: TwoTower | None = None) -> TwoTowerPolicy:
        """Read a policy written by `save`.

        Parameters
        ----------
        path : str or Path
        towers : TwoTower, optional
            Towers of the same architecture; needed only if they are not those of `TwoTower.mlp`.
            It is copied, not changed.

        Returns
        -------
        TwoTowerPolicy

        Raises
        ------
        ValueError
            If the file was not written by `save`, does not say how to build the towers and no
            `towers` are given, or holds the weights of another architecture.
        """
        try:
            content = torch.load(path, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
            raise ValueError(f"{path} was not written by TwoTowerPolicy.save.") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f"{path} was not written by TwoTowerPolicy.save.")
        if towers is None and content["mlp"] is None:
            raise ValueError(
                f"{path} was saved from towers of your own: pass an untrained copy as towers=…"
            )
        towers = TwoTower.mlp(**content["mlp"]) if towers is None else copy.deepcopy(towers)
        try:
            towers.load_state_dict(content["weights"])
        except RuntimeError as error:
            raise ValueError(f"{path} holds the weights of other towers than these.") from error
        return cls(towers, content["temperature"])

    def _logits(self, context: np.ndarray, action_context: np.ndarray) -> Tensor:
        return torch.from_numpy(self.scores(context, action_context)).double() / self.temperature

    def _index(self, action_context: np.ndarray) -> ItemIndex:
        if self._encoded is not None and action_context is self._encoded[0]:
            return self._encoded[1]
        return ItemIndex(embed(self.towers, "action_context", action_context))
