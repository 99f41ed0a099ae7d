"""How inner products are served: a softmax over them, the best of them, and draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..logs.columns import Columns
from ..logs.eligible import eligible_mask
from ..logs.known_columns import ids_of_items
from .drawn import Drawn
from .index import ItemIndex, best_items, inner_products
from .recommend import draw_items, draw_pages


class ServedProducts(Drawn):
    """The part of `TwoTowerPolicy` that needs embeddings, whatever they are made by."""

    columns: Columns | None

    @property
    def temperature(self) -> float:
        """Large is nearly uniform, 0 is greedy."""
        raise NotImplementedError

    def _embedded(
        self, context: Any, action_context: Any, first_row: int = 0
    ) -> tuple[np.ndarray, ItemIndex]:
        raise NotImplementedError

    def _probabilities(self, context: Any, action_context: Any, eligible: Any) -> np.ndarray:
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
        """The item with the largest inner product for each context, as `top_k`: (n,)."""
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
        array of shape (n, k)
            Row numbers of `action_context`, or ids of the items of a frame.
        """
        queries, index = self._embedded(context, action_context)
        number = best_items(index, queries, k, eligible, "context")[0]
        return self._ids(action_context, number)

    def _sampled(
        self, context: Any, action_context: Any, random_state: int | None, eligible: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        return draw_items(self, context, action_context, random_state, eligible)

    def recommend(
        self,
        context: np.ndarray,
        action_context: np.ndarray,
        k: int = 1,
        random_state: int | None = None,
        eligible: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a page of `k` different items for each context: what to show, and what to log.

        Parameters
        ----------
        context : array of shape (n, dim_context), or data frame of n visitors
        action_context : array of shape (n_actions, dim_action_context), or data frame of items
        k : int in [1, n_actions]
            At most as many as are eligible.
        random_state : int, optional
            As in `sample`.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            Items that may be shown, in each row or in all.

        Returns
        -------
        items : array of shape (n, k)
            The first is drawn by the policy, each other one by the policy among those that are
            left. Row numbers of `action_context`, or ids of the items of a frame.
        pscore : array of shape (n, k)
            The probability of each, given those before it, to be logged with it; 1 if greedy.

        Warns
        -----
        UserWarning
            If the policy is greedy and only their order tells some items apart.
        """
        return draw_pages(self, context, action_context, k, random_state, eligible)

    def to_obp(
        self, context: np.ndarray, action_context: np.ndarray, eligible: Any = None
    ) -> np.ndarray:
        """Probabilities in the shape of ``obp``'s `action_dist`: (n, n_actions, 1)."""
        return self.predict_proba(context, action_context, eligible)[:, :, np.newaxis]

    def _scores(self, context: Any, action_context: Any, first_row: int = 0) -> np.ndarray:
        queries, index = self._embedded(context, action_context, first_row)
        return inner_products(index, queries, first_row, "context")

    def _logits(self, scores: np.ndarray) -> Tensor:
        return torch.from_numpy(scores).double() / self.temperature

    def _ids(self, action_context: Any, number: np.ndarray) -> np.ndarray:
        ids = ids_of_items(self.columns, action_context)
        return number if ids is None else ids[number]
