"""What policies are worth where the expected reward is known."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..answers import action_probabilities
from ..arrays import row_chunks
from ..checks import check_choice, plain_arithmetic
from ..logs.eligible import eligible_rows
from ..protocols import PolicyLike, for_items
from .asked import contexts, item_labels, item_lists, known_items, reward_probabilities
from .references import references

if TYPE_CHECKING:
    import pandas as pd


class KnownRewards:
    """Items and contexts whose expected reward is known: the half of `World` that judges."""

    action_context: np.ndarray
    eval_context: np.ndarray
    logging_policy: PolicyLike
    eval_eligible: Any = None  # what can be shown in each of `eval_context`; None for all items

    def reward_probability(self, context: np.ndarray) -> np.ndarray:
        """To be written by a subclass: ``q(x, a)`` of all items, (n, n_actions).

        Ask `expected_reward`, which checks its arguments.
        """
        raise NotImplementedError(f"{type(self).__name__} must define reward_probability(context).")

    def reward_probability_of(self, context: np.ndarray, action: np.ndarray) -> np.ndarray:
        """May be written by a subclass: ``q(x, a)`` of given items, without going through all.

        `action` has shape (n,) or (n, k), and so has what is returned.
        """
        shape = len(context), self.n_actions
        q = reward_probabilities(self.reward_probability(context), shape)
        columns = action if action.ndim == 2 else action[:, None]
        return np.take_along_axis(q, columns, axis=1).reshape(action.shape)

    @property
    def n_actions(self) -> int:
        """Number of items."""
        return len(self.action_context)

    @property
    def dim_context(self) -> int:
        """Number of context features."""
        return self.eval_context.shape[1]

    @plain_arithmetic
    def expected_reward(self, context: np.ndarray, action: np.ndarray | None = None) -> np.ndarray:
        """The true ``q(x, a)``, the probability of a reward.

        Parameters
        ----------
        context : array of shape (n, dim_context)
        action : integer array of shape (n,) or (n, k), optional
            Items to ask about in each context; all items if not given.

        Returns
        -------
        array of the shape of `action`, or (n, n_actions), in [0, 1]
            All items of many contexts are large: ask for a few rows at a time.

        Raises
        ------
        ValueError
            If a shape is wrong, or an item is not a row number of `action_context`.
        """
        context = contexts(context, self.dim_context)
        if action is None:
            q, shape = self.reward_probability(context), (len(context), self.n_actions)
        else:
            action = known_items("action", action, len(context), self.n_actions)
            q, shape = self.reward_probability_of(context, action), action.shape
        return reward_probabilities(q, shape)

    @plain_arithmetic
    def policy_value(
        self, policy: PolicyLike, context: np.ndarray | None = None, eligible: Any = None
    ) -> float:
        """The true value ``V(π)``: exact over items and rewards, averaged over fixed contexts.

        All policies are compared on the same contexts, so differences between them carry far less
        error than the values themselves.

        Parameters
        ----------
        policy : policy
            An object with ``predict_proba(context, action_context)``, or a function of the same
            arguments, that returns probabilities of shape (n, n_actions).
        context : array of shape (n, dim_context), optional
            Contexts to average over; `eval_context` if not given.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            What can be shown in these contexts; if neither they nor it are given, `eval_eligible`.

        Returns
        -------
        float in [0, 1]
        """
        total, n = 0.0, 0
        for pi, q, _ in self._shown(policy, context, eligible):
            total, n = total + (pi * q).sum(), n + len(q)
        return float(total / n)

    @plain_arithmetic
    def value_by_group(
        self,
        policy: PolicyLike,
        group: np.ndarray,
        context: np.ndarray | None = None,
        eligible: Any = None,
    ) -> pd.DataFrame:
        """The true value of a policy, split over groups of items, such as old and new ones.

        Parameters
        ----------
        policy : policy
            As in `policy_value`.
        group : array of shape (n_actions,)
            A label for each item.
        context : array of shape (n, dim_context), optional
            Contexts to average over; `eval_context` if not given.
        eligible : boolean array of shape (n, n_actions) or (n_actions,), optional
            As in `policy_value`.

        Returns
        -------
        pandas.DataFrame
            One row a group: ``share``, how often the policy shows an item of it; ``value``, what it
            earns there, ``E[Σ_{a in group} π(a|x) q(x, a)]``; and ``mean_reward``, their ratio
            (NaN if the group is never shown). The shares sum to 1 and the values to `policy_value`.

        Examples
        --------
        >>> import opl_lib as opl
        >>> world = opl.SyntheticWorld(n_actions=8, random_state=0).with_new_items(2)
        >>> world.value_by_group(opl.uniform(), world.is_new).share.round(3).to_dict()
        {False: 0.8, True: 0.2}
        """
        import pandas as pd

        group = item_labels("group", group, self.n_actions)
        share, value, n = np.zeros(self.n_actions), np.zeros(self.n_actions), 0
        for pi, q, _ in self._shown(policy, context, eligible):
            share, n = share + pi.sum(axis=0), n + len(q)
            value += (pi * q).sum(axis=0)
        table = pd.DataFrame({"share": share, "value": value}) / n
        table = table.groupby(pd.Index(group, name="group")).sum()
        table["mean_reward"] = (table["value"] / table["share"]).where(table["share"] > 0)
        return table

    @plain_arithmetic
    def list_value(
        self, items: np.ndarray, user: str = "cascade", context: np.ndarray | None = None
    ) -> float:
        """The true value of showing, or of proposing, several items in each context.

        Parameters
        ----------
        items : integer array of shape (n, k)
            The list of each context, best first and without repetition, such as
            ``policy.top_k(world.eval_context, world.action_context, k)``.
        user : {"cascade", "best"}
            ``"cascade"``: the user looks from the top and takes the first item that pleases, each
            on its own with probability q, so that a list earns ``1 − Π_j (1 − q(x, a_j))``.
            ``"best"``: a second stage that knows q serves the best of the list, which earns
            ``max_j q(x, a_j)``. A second stage of your own picks one item of each list: the value
            of these lists of one is that of the two stages together.
        context : array of shape (n, dim_context), optional
            The contexts of the lists; `eval_context` if not given.

        Returns
        -------
        float in [0, 1]

        References
        ----------
        Craswell et al., "An experimental comparison of click position-bias models", WSDM 2008 (the
        cascade model).

        Examples
        --------
        >>> import numpy as np
        >>> import opl_lib as opl
        >>> world = opl.SyntheticWorld(n_actions=8, n_eval_contexts=100, random_state=0)
        >>> everything = np.tile(np.arange(8), (100, 1))
        >>> best = world.list_value(everything, user="best")
        >>> bool(np.isclose(best, world.reference_values()["optimum"]))
        True
        """
        check_choice("user", user, ("cascade", "best"))
        context = self._evaluated(context)
        items = item_lists("items", items, len(context), self.n_actions)
        q = self._expected_reward_by_rows(context, items)
        earned = q.max(axis=1) if user == "best" else 1 - (1 - q).prod(axis=1)
        return float(earned.mean())

    @plain_arithmetic
    def reference_values(self) -> dict[str, float]:
        """The four lines every figure of policy values needs.

        Returns
        -------
        dict
            ``"logging"``: the value of the logging policy. ``"uniform"``: that of showing every
            item alike. ``"best_constant_item"``: that of the best item for everyone.
            ``"optimum"``: that of the best item for each context. Where `eval_eligible` says what
            can be shown, all are among these; the item for everyone is then the one of highest
            mean reward, over the contexts in which it can be shown, of those that can.
        """
        return references(functools.partial(self._shown, self.logging_policy), self.n_actions)

    def _shown(
        self, policy: PolicyLike, context: np.ndarray | None = None, eligible: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
        """What a policy shows, earns and might show, (rows, n_actions), a few rows at a time."""
        policy = for_items(policy, self.action_context)
        eligible = self.eval_eligible if context is None and eligible is None else eligible
        context = self._evaluated(context)
        shape = len(context), self.n_actions
        can_be_shown = None if eligible is None else eligible_rows(eligible, *shape)
        for rows in row_chunks(*shape):
            asked = None if can_be_shown is None else can_be_shown(rows)
            pi = action_probabilities(
                policy, context[rows], self.action_context, rows.start, shape[0], asked
            )
            yield pi, self.expected_reward(context[rows]), asked

    def _evaluated(self, context: Any) -> np.ndarray:
        """Contexts to average over: those given, at least one, or the world's own."""
        if context is None:
            return self.eval_context
        context = contexts(context, self.dim_context)
        if len(context) == 0:
            raise ValueError("context has no rows: there is nothing to average over.")
        return context

    def _expected_reward_by_rows(self, context: np.ndarray, action: np.ndarray) -> np.ndarray:
        """``q(x, a)`` of given items only, a few rows at a time."""
        chunks = row_chunks(len(context), self.dim_context * action[0].size)
        return np.concatenate([self.expected_reward(context[r], action[r]) for r in chunks])
