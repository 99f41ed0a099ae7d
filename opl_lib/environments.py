"""Worlds whose expected reward is known, to see what a log alone cannot show."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import action_probabilities, check_number, for_items, integers, row_chunks
from .feedback import BanditFeedback
from .logging_policies import uniform

if TYPE_CHECKING:
    import pandas as pd

REWARD_FUNCTIONS = ("logistic", "logistic_as_published")


class World:
    """What every world does with its items, its contexts and its expected reward.

    A subclass sets the attributes, says how contexts are drawn (`_draw_context`) and what the
    expected reward is (`_expected_reward`).

    Attributes
    ----------
    action_context : array of shape (n_actions, dim_action_context)
        The items.
    eval_context : array of shape (n_eval_contexts, dim_context)
        The contexts of evaluation, never part of a sampled log.
    logging_policy : callable
        ``(context, action_context) -> probabilities`` of shape (n_rounds, n_actions).
    """

    action_context: np.ndarray
    eval_context: np.ndarray
    logging_policy: Callable[[np.ndarray, np.ndarray], np.ndarray]
    _draws: np.random.RandomState

    def _draw_context(self, n_rounds: int, rng: np.random.RandomState) -> np.ndarray:
        raise NotImplementedError

    def _expected_reward(self, context: np.ndarray, action: np.ndarray | None) -> np.ndarray:
        raise NotImplementedError

    def _user_id(self, context: np.ndarray) -> Sequence[int] | None:
        """Who comes back; None in a world of ever new visitors."""
        return None

    @property
    def n_actions(self) -> int:
        """Number of items."""
        return len(self.action_context)

    @property
    def dim_context(self) -> int:
        """Number of context features."""
        return self.eval_context.shape[1]

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
        context = np.asarray(context)
        if context.ndim != 2 or context.shape[1] != self.dim_context:
            raise ValueError(
                f"context must have shape (n, {self.dim_context}) in this world; "
                f"got {context.shape}."
            )
        if action is not None:
            action = np.asarray(action)
            if action.ndim not in (1, 2) or len(action) != len(context):
                raise ValueError(
                    f"action must have shape (n,) or (n, k), with n = {len(context)} contexts; "
                    f"got {action.shape}."
                )
            integers("action", action.ravel())
            if action.size and not 0 <= action.min() <= action.max() < self.n_actions:
                raise ValueError(
                    f"action must be in [0, {self.n_actions - 1}], a row number of action_context; "
                    f"got {action.min()} to {action.max()}."
                )
        return self._expected_reward(context, action)

    def sample(self, n_rounds: int, random_state: int | None = None) -> BanditFeedback:
        """Draw a log: contexts from the world, items from the logging policy, rewards from q.

        Parameters
        ----------
        n_rounds : int, at least 1
            Length of the log.
        random_state : int, optional
            Fixes this log. If not given, each call continues the world's own stream.

        Returns
        -------
        BanditFeedback
        """
        check_number("n_rounds", n_rounds, Integral, least=1)
        rng = self._draws if random_state is None else np.random.RandomState(random_state)
        context = self._draw_context(n_rounds, rng)
        action, pscore = self._choose(context, rng.uniform(size=n_rounds))
        return BanditFeedback(
            context=context,
            action=action,
            reward=rng.binomial(n=1, p=self._expected_reward_of(context, action)),
            pscore=pscore,
            action_context=self.action_context,
            user_id=self._user_id(context),
        )

    def policy_value(self, policy: Any, context: np.ndarray | None = None) -> float:
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

        Returns
        -------
        float in [0, 1]
        """
        policy = for_items(policy, self.action_context)
        context = self.eval_context if context is None else context
        total = 0.0
        for rows in row_chunks(len(context), self.n_actions):
            q = self.expected_reward(context[rows])
            total += (action_probabilities(policy, context[rows], self.action_context) * q).sum()
        return float(total / len(context))

    def value_by_group(
        self, policy: Any, group: np.ndarray, context: np.ndarray | None = None
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

        group = np.asarray(group)
        if group.shape != (self.n_actions,):
            raise ValueError(
                f"group must hold one label an item, shape ({self.n_actions},); got {group.shape}."
            )
        policy = for_items(policy, self.action_context)
        context = self.eval_context if context is None else context
        share, value = np.zeros(self.n_actions), np.zeros(self.n_actions)
        for rows in row_chunks(len(context), self.n_actions):
            pi = action_probabilities(policy, context[rows], self.action_context)
            share += pi.sum(axis=0)
            value += (pi * self.expected_reward(context[rows])).sum(axis=0)
        table = pd.DataFrame({"share": share, "value": value}) / len(context)
        table = table.groupby(pd.Index(group, name="group")).sum()
        table["mean_reward"] = (table["value"] / table["share"]).where(table["share"] > 0)
        return table

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
        items = np.asarray(items)
        context = self.eval_context if context is None else context
        if user not in ("cascade", "best"):
            raise ValueError(f"user must be 'cascade' or 'best'; got {user!r}.")
        if items.ndim != 2 or len(items) != len(context) or items.shape[1] == 0:
            raise ValueError(
                f"items must have shape (n, k), a list for each of the {len(context)} contexts; "
                f"got {items.shape}."
            )
        repeats = (np.diff(np.sort(items, axis=1), axis=1) == 0).any(axis=1)
        if repeats.any():
            row = int(np.argmax(repeats))
            raise ValueError(f"items: the list of row {row} shows an item twice: {items[row]}.")
        q = self._expected_reward_of(context, items)
        earned = q.max(axis=1) if user == "best" else 1 - (1 - q).prod(axis=1)
        return float(earned.mean())

    def reference_values(self) -> dict[str, float]:
        """The four lines every figure of policy values needs.

        Returns
        -------
        dict
            Values of the logging policy, the uniform policy, the best constant item (one item for
            everyone), and the optimum (the best item for each context).
        """
        logging, optimum, item_values = 0.0, 0.0, np.zeros(self.n_actions)
        for rows in row_chunks(len(self.eval_context), self.n_actions):
            context = self.eval_context[rows]
            q = self.expected_reward(context)
            pi_0 = action_probabilities(self.logging_policy, context, self.action_context)
            logging += (pi_0 * q).sum()
            optimum += q.max(axis=1).sum()
            item_values += q.sum(axis=0)
        n = len(self.eval_context)
        return {
            "logging": float(logging / n),
            "uniform": float((item_values / n).mean()),
            "best constant item": float((item_values / n).max()),
            "optimum": float(optimum / n),
        }

    def _choose(self, context: np.ndarray, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items that the logging policy shows, and how likely it was to show them."""
        if _ignores_context(self.logging_policy):
            # one row of probabilities is those of all: the same draws without (n, n_actions)
            pi_0 = action_probabilities(self.logging_policy, context[:1], self.action_context)[0]
            cdf = pi_0.cumsum()
            action = np.searchsorted(cdf / cdf[-1], uniforms, side="right")
            return action, pi_0[action]
        action, pscore = np.empty(len(context), int), np.empty(len(context))
        for rows in row_chunks(len(context), self.n_actions):
            pi_0 = action_probabilities(self.logging_policy, context[rows], self.action_context)
            action[rows] = _inverse_cdf(pi_0, uniforms[rows])
            pscore[rows] = pi_0[np.arange(len(pi_0)), action[rows]]
        return action, pscore

    def _expected_reward_of(self, context: np.ndarray, action: np.ndarray) -> np.ndarray:
        """``q(x, a)`` of given items only, a few rows at a time."""
        chunks = row_chunks(len(context), self.dim_context * action[0].size)
        return np.concatenate([self.expected_reward(context[r], action[r]) for r in chunks])


class SyntheticWorld(World):
    """A world with item features, binary rewards and a known expected reward ``q(x, a)``.

    Contexts are standard normal and item features uniform on [0, 1). The logit of a click is
    bilinear in both, ``x̃ᵀ M ã + θ_x·x̃ + θ_a·ã``, where x̃ and ã carry a leading 1 and all
    coefficients are uniform on [-1, 1]. This is the world of ``obp``'s logistic reward function,
    and `to_obp` gives it to ``obp`` as a dataset that draws the same rows.

    Parameters
    ----------
    n_actions : int, at least 2
        Number of items.
    dim_context, dim_action_context : int, at least 1
        Number of context and item features.
    reward_function : {"logistic", "logistic_as_published"}
        How the logit is standardised before the sigmoid. ``"logistic"`` subtracts its mean and
        divides by its standard deviation. ``"logistic_as_published"`` follows the source of
        ``obp`` 0.5.7, which subtracts mean/std and does not divide, so that nearly every q is 0
        or 1; the article's figures were made there. Both use the exact moments over contexts and
        items, so that every (x, a) has one q; ``obp`` uses those of each sample instead.
    logging_policy : callable
        ``(context, action_context) -> probabilities`` of shape (n_rounds, n_actions).
    n_eval_contexts : int
        Number of fixed contexts on which policy values are computed.
    random_state : int
        Fixes items, coefficients and the contexts of evaluation.
    scale : float above 0
        Multiplies the standardised logit. Small: every q is near 0.5, so rewards are mostly noise.
        Large: nearly every q is 0 or 1.
    unexplained : float in [0, 1]
        Share of the variance between items that their features do not explain. It comes from
        coefficients that each item draws for itself, so it can be learned from the item's own
        rounds, and carried to no other item. Use more items than features: with fewer, even a
        linear item tower tells every item from all others, and can learn it all.

    Attributes
    ----------
    action_context : array of shape (n_actions, dim_action_context)
        The items.
    eval_context : array of shape (n_eval_contexts, dim_context)
        The contexts of evaluation, never part of a sampled log.
    is_new : boolean array of shape (n_actions,)
        The items that came by `with_new_items`.

    Notes
    -----
    A log of a million items needs no array of rounds by items if the logging policy is `uniform`;
    other logging policies, and all values, are computed a few rows at a time. Beside a few arrays
    of the size of `action_context`, the world holds one of shape (dim_context + 1, n_actions).

    References
    ----------
    Saito et al., "Open Bandit Dataset and Pipeline", NeurIPS Datasets and Benchmarks 2021.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(logging_policy=opl.epsilon_greedy(0.1))
    >>> world.sample(1000, random_state=1)
    BanditFeedback(1,000 rounds, 10 items, mean reward 0.468,
                   50 context features, 50 item features)
    >>> references = world.reference_values()
    >>> round(references["best constant item"], 2), round(references["optimum"], 2)
    (0.53, 0.62)
    """

    def __init__(
        self,
        n_actions: int = 10,
        dim_context: int = 50,
        dim_action_context: int = 50,
        reward_function: str = "logistic",
        logging_policy: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
        n_eval_contexts: int = 10_000,
        random_state: int = 0,
        scale: float = 1.0,
        unexplained: float = 0.0,
    ) -> None:
        sizes = {
            "n_actions": (n_actions, 2),
            "dim_context": (dim_context, 1),
            "dim_action_context": (dim_action_context, 1),
            "n_eval_contexts": (n_eval_contexts, 1),
            "random_state": (random_state, 0),
        }
        for name, (value, least) in sizes.items():
            check_number(name, value, Integral, least=least)
        if reward_function not in REWARD_FUNCTIONS:
            raise ValueError(
                f"reward_function must be one of {REWARD_FUNCTIONS}; got {reward_function!r}."
            )
        if logging_policy is not None and not callable(logging_policy):
            raise ValueError(
                "logging_policy must be a function of (context, action_context), such as "
                f"opl.uniform(); got {logging_policy!r}."
            )
        check_number("scale", scale, Real, above=0)
        check_number("unexplained", unexplained, Real, least=0)
        if unexplained > 1:
            raise ValueError(f"unexplained must be in [0, 1]; got {unexplained}.")
        self.reward_function = reward_function
        self.logging_policy = uniform() if logging_policy is None else logging_policy
        self.random_state = random_state
        self.scale, self.unexplained = scale, unexplained
        self.is_new = np.zeros(n_actions, dtype=bool)
        self._made_from: tuple[SyntheticWorld, int] | None = None

        rng = np.random.default_rng(random_state)
        self.action_context = rng.uniform(size=(n_actions, dim_action_context))
        coefficients = rng.uniform(-1, 1, size=(dim_context + 1, dim_action_context + 1))
        coefficients[:, 0] += rng.uniform(-1, 1, size=dim_context + 1)
        coefficients[0, :] += rng.uniform(-1, 1, size=dim_action_context + 1)
        self._coefficients = coefficients
        per_item = _per_item(coefficients, self.action_context)
        self._centre = per_item.mean(axis=1, keepdims=True)
        self._spread = per_item.std(axis=1, keepdims=True)
        per_item = self._with_own_effects(per_item, first_item=0)
        # logit(x, a) = slope[a]·x + intercept[a], with x standard normal: its moments are exact
        intercept, slope = per_item[0], per_item[1:]
        mean = intercept.mean()
        std = np.sqrt((np.square(slope).sum(axis=0) + np.square(intercept - mean)).mean())
        self._shift, self._std = (mean, std) if reward_function == "logistic" else (mean / std, 1.0)
        self._intercept, self._slope = self._standardised(per_item)

        self.eval_context = rng.normal(size=(n_eval_contexts, dim_context))
        self._draws = np.random.RandomState(rng.integers(2**32))

    def __repr__(self) -> str:
        if self._made_from is not None:
            return "{!r}.with_new_items({})".format(*self._made_from)
        return (
            f"SyntheticWorld(n_actions={self.n_actions}, dim_context={self.dim_context}, "
            f"dim_action_context={self.action_context.shape[1]}, "
            f"reward_function={self.reward_function!r}, logging_policy={self.logging_policy}, "
            f"n_eval_contexts={len(self.eval_context)}, random_state={self.random_state}, "
            f"scale={self.scale:g}, unexplained={self.unexplained:g})"
        )

    def with_new_items(self, n_new: int) -> SyntheticWorld:
        """This world some time later: the same items, and new ones that no log has shown.

        Items keep their numbers and the new ones follow; the expected reward is the same function.
        The logging policy shows the old items as before, and a new one never, so a seeded sample
        has the same rounds in both worlds. Policy values are averaged over the same contexts, so
        that what new items are worth is a difference of two values.

        Parameters
        ----------
        n_new : int, at least 1
            Number of items to add.

        Returns
        -------
        SyntheticWorld
            A new world, whose `is_new` marks the new items; this one stays as it is.

        Examples
        --------
        >>> import opl_lib as opl
        >>> today = opl.SyntheticWorld(n_actions=8, random_state=0)
        >>> tomorrow = today.with_new_items(2)
        >>> tomorrow.sample(1000, random_state=1).support_report().n_unsupported
        2
        """
        check_number("n_new", n_new, Integral, least=1)
        world = copy.copy(self)
        rng = np.random.default_rng([self.random_state, self.n_actions])
        items = rng.uniform(size=(n_new, self.action_context.shape[1]))
        per_item = _per_item(self._coefficients, items)
        per_item = self._with_own_effects(per_item, first_item=self.n_actions)
        intercept, slope = self._standardised(per_item)
        world.action_context = np.concatenate([self.action_context, items])
        world._intercept = np.concatenate([self._intercept, intercept])
        world._slope = np.concatenate([self._slope, slope], axis=1)
        world.is_new = np.concatenate([self.is_new, np.ones(n_new, dtype=bool)])
        world.logging_policy = _FirstItems(self.logging_policy, self.n_actions)
        world._draws = np.random.RandomState(rng.integers(2**32))
        world._made_from = (self, n_new)
        return world

    def to_obp(self, random_state: int = 0) -> Any:
        """This world as an ``obp.dataset.SyntheticBanditDataset``.

        Its first ``obtain_batch_bandit_feedback(n)`` draws the rows of ``sample(n, random_state)``.

        Parameters
        ----------
        random_state : int
            Seed of the dataset.

        Returns
        -------
        obp.dataset.SyntheticBanditDataset
        """
        from obp.dataset import SyntheticBanditDataset

        def logging_probabilities(
            context: np.ndarray, action_context: np.ndarray, random_state: int
        ):
            return self.logging_policy(context, action_context)

        def expected_reward(context: np.ndarray, action_context: np.ndarray, random_state: int):
            return self.expected_reward(context)

        dataset = SyntheticBanditDataset(
            n_actions=self.n_actions,
            dim_context=self.dim_context,
            reward_function=expected_reward,
            behavior_policy_function=logging_probabilities,
            random_state=random_state,
        )
        dataset.action_context = self.action_context
        return dataset

    def _draw_context(self, n_rounds: int, rng: np.random.RandomState) -> np.ndarray:
        return rng.normal(size=(n_rounds, self.dim_context))

    def _expected_reward(self, context: np.ndarray, action: np.ndarray | None) -> np.ndarray:
        if action is None:
            return _sigmoid(context @ self._slope + self._intercept)
        logit = np.einsum("nd,dn...->n...", context, self._slope[:, action])
        return _sigmoid(logit + self._intercept[action])

    def _with_own_effects(self, per_item: np.ndarray, first_item: int) -> np.ndarray:
        """Exchange a share of what sets items apart for draws of each item's own."""
        if self.unexplained == 0:
            return per_item
        rng = np.random.default_rng([self.random_state, first_item, 1])
        own = rng.normal(size=per_item.T.shape).T * self._spread
        explained = per_item - self._centre
        return (
            self._centre
            + np.sqrt(1 - self.unexplained) * explained
            + np.sqrt(self.unexplained) * own
        )

    def _standardised(self, per_item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Intercept and slope of the logit that the sigmoid takes."""
        intercept, slope = per_item[0], per_item[1:]
        return (
            (intercept - self._shift) / self._std * self.scale,
            slope / self._std * self.scale,
        )


@dataclass(frozen=True)
class _FirstItems:
    """Show the first `n_items` as another logging policy does, and the later ones never."""

    policy: Callable[[np.ndarray, np.ndarray], np.ndarray]
    n_items: int

    def __call__(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        pi = np.zeros((len(context), len(action_context)))
        pi[:, : self.n_items] = self.policy(context, action_context[: self.n_items])
        return pi


def _ignores_context(policy: Any) -> bool:
    if isinstance(policy, _FirstItems):
        return _ignores_context(policy.policy)
    return isinstance(policy, uniform)


def _per_item(coefficients: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Intercept and slope of every item before they are standardised: (dim_context + 1, n)."""
    return coefficients @ np.column_stack([np.ones(len(items)), items]).T


def _inverse_cdf(pi: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draw one item a row: the first whose cumulative probability exceeds the row's uniform."""
    cdf = pi.cumsum(axis=1)
    cdf /= cdf[:, -1:]
    return (cdf <= uniforms[:, None]).sum(axis=1)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
