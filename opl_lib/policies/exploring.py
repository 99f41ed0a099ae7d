"""The policy that is served: the best that an index retrieves, and a share of chance for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ..arrays import row_chunks
from ..checks import check_number, check_seed, plain_arithmetic
from ..logs.columns import Columns
from ..logs.eligible import eligible_rows
from ..logs.known_columns import context_features, ids_of_items
from .drawn import Drawn
from .encode import single_features
from .index import Index, ItemIndex
from .two_tower import TwoTowerPolicy


class Draw(NamedTuple):
    """What is shown, how likely that was, and what else an index had found."""

    action: np.ndarray
    pscore: np.ndarray
    retrieved: np.ndarray


@dataclass(frozen=True, eq=False)
class ExploringPolicy(Drawn):
    """Show a retrieved item by the softmax, and now and then any item that may be shown.

    An index retrieves the `k` eligible items with the largest inner products. The policy is
    ``epsilon / |eligible| + (1 - epsilon) * softmax(<u(x), v(a)> / temperature)``, where the
    softmax is that over the retrieved items, and 0 for others. With an index that misses items, the
    propensities are still those of what is shown: what is retrieved is a part of the policy.

    Parameters
    ----------
    policy : TwoTowerPolicy
        Its towers, temperature and columns.
    epsilon : float in [0, 1]
        Share of the draws that may show any eligible item. At 0 only retrieved items are shown, and
        their log says nothing of any other.
    k : int, at least 1
        How many items are retrieved; all that are eligible, where those are fewer.
    index : callable
        Makes an index of item embeddings of shape (n_actions, dim_embedding).

    Raises
    ------
    TypeError
        If `policy` is no `TwoTowerPolicy`, or `index` cannot be called.
    ValueError
        If a number is out of range.

    References
    ----------
    Chen, Beutel, Covington, Jain, Belletti and Chi, "Top-K Off-Policy Correction for a REINFORCE
    Recommender System", WSDM 2019: a softmax over retrieved neighbours.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> learned = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 4, random_state=0))
    >>> policy = opl.ExploringPolicy(learned, epsilon=0.2, k=1)
    >>> policy.predict_proba(np.ones((1, 3)), np.eye(4)).round(2)
    array([[0.05, 0.05, 0.05, 0.85]])
    """

    policy: TwoTowerPolicy
    epsilon: float = 0.05
    k: int = 100
    index: Callable[[np.ndarray], Index] = ItemIndex
    _encoded: tuple[Any, Index] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.policy, TwoTowerPolicy):
            raise TypeError(f"policy must be a TwoTowerPolicy; got {type(self.policy).__name__}.")
        if not callable(self.index):
            raise TypeError(
                "index must be a function that makes an index of embeddings, such as "
                f"opl.ItemIndex; got {type(self.index).__name__}."
            )
        check_number("epsilon", self.epsilon, least=0, most=1)
        check_number("k", self.k, Integral, least=1)

    @property
    def columns(self) -> Columns | None:
        """How features are made of data frames."""
        return self.policy.columns

    def for_items(self, action_context: np.ndarray) -> ExploringPolicy:
        """The same policy with some items encoded and indexed once, for calls with this very array.

        Parameters
        ----------
        action_context : array of shape (n_actions, dim_action_context)
        """
        encoded, served = (action_context, self._index(action_context)), replace(self)
        object.__setattr__(served, "_encoded", encoded)
        return served

    @plain_arithmetic
    def _probabilities(self, context: Any, action_context: Any, eligible: Any) -> np.ndarray:
        features = single_features("context", context_features(self.columns, context))
        index = self._index(action_context)
        pi = np.zeros((len(features), len(index)))
        for rows, mask, items, share in self._retrieved(features, index, eligible):
            floor = np.ones((len(rows), pi.shape[1])) if mask is None else mask.astype(float)
            pi[rows] = self.epsilon * floor / floor.sum(axis=1, keepdims=True)
            pi[rows[:, np.newaxis], items] += (1 - self.epsilon) * share
        return pi

    def _sampled(
        self, context: Any, action_context: Any, random_state: int | None, eligible: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        action, pscore, _ = self.draw(context, action_context, random_state, eligible)
        return action, pscore

    @plain_arithmetic
    def draw(
        self,
        context: np.ndarray,
        action_context: np.ndarray,
        random_state: int | None = None,
        eligible: Any = None,
    ) -> Draw:
        """As `sample`, with the items that were retrieved.

        Parameters
        ----------
        context, action_context, random_state, eligible

        Returns
        -------
        Draw
            ``action`` and ``pscore`` of shape (n,), and ``retrieved`` of shape (n, k): row numbers
            of `action_context`, best first, and −1 where fewer are eligible.
        """
        check_seed(random_state, optional=True)
        features = single_features("context", context_features(self.columns, context))
        rng, index = np.random.default_rng(random_state), self._index(action_context)
        action, pscore = np.empty(len(features), dtype=np.int64), np.empty(len(features))
        retrieved = np.full((len(features), min(self.k, len(index))), -1)
        for rows, mask, items, share in self._retrieved(features, index, eligible):
            slot = (share.cumsum(axis=1) <= rng.random((len(rows), 1))).sum(axis=1)
            best = items[np.arange(len(rows)), np.minimum(slot, items.shape[1] - 1)]
            anything, n_eligible = _uniform(mask, (len(rows), len(index)), rng)
            shown = np.where(rng.random(len(rows)) < self.epsilon, anything, best)
            its_share = (share * (items == shown[:, np.newaxis])).sum(axis=1)
            action[rows], retrieved[rows, : items.shape[1]] = shown, items
            pscore[rows] = self.epsilon / n_eligible + (1 - self.epsilon) * its_share
        ids = ids_of_items(self.columns, action_context)
        return Draw(action if ids is None else ids[action], pscore, retrieved)

    def _retrieved(
        self, features: np.ndarray, index: Index, eligible: Any
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]]:
        """Numbers of rows, what is eligible there, what was retrieved, its shares of the softmax.

        Rows of one call have the same number of retrieved items.
        """
        size = len(features), len(index)
        mask_of = None if eligible is None else eligible_rows(eligible, *size)
        for chunk in row_chunks(*size):
            queries = self.policy.embed_context(features[chunk])
            mask, n_found = None, np.full(len(queries), min(self.k, size[1]))
            if mask_of is not None:
                mask = mask_of(chunk)
                n_found = np.minimum(n_found, mask.sum(axis=1))
            for k in np.unique(n_found):
                same = np.flatnonzero(n_found == k)
                theirs = None if mask is None else mask[same]
                items, scores = index.search(queries[same], int(k), theirs)
                yield chunk.start + same, theirs, items, self._shares(scores)

    def _shares(self, scores: np.ndarray) -> np.ndarray:
        """The softmax of scores, best first; at temperature 0 all of it is the first's."""
        if self.policy.temperature == 0:
            return np.ones((len(scores), 1)) * (np.arange(scores.shape[1]) == 0)
        best = scores.max(axis=1, keepdims=True).astype(np.float64)
        share = np.exp((scores - best) / self.policy.temperature)
        return share / share.sum(axis=1, keepdims=True)

    def _index(self, action_context: Any) -> Index:
        if self._encoded is not None and action_context is self._encoded[0]:
            return self._encoded[1]
        return self.index(self.policy.embed_items(action_context))


def _uniform(
    mask: np.ndarray | None, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, Any]:
    """An eligible item for each row, all of them alike, and how many there are."""
    if mask is None:
        return rng.integers(size[1], size=size[0]), size[1]
    n_eligible = mask.sum(axis=1)
    which = rng.integers(n_eligible)
    starts = np.cumsum(n_eligible) - n_eligible
    return np.nonzero(mask)[1][starts + which], n_eligible
