"""Worlds whose expected reward is known, to see what a log alone cannot show."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..arrays import read_only
from ..checks import check_choice, check_number, check_seed
from ..protocols import PolicyLike, policy_function
from .asked import check_count
from .base import World
from .logging_policies import FirstItems, uniform
from .logit import REWARD_FUNCTIONS, BilinearLogit
from .sigmoid import sigmoid

_MAX_SCALE = 1e100  # long before, every q is 0 or 1
_LEAST_RATE = 1e-6  # of clicks, or of their absence


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
    logging_policy : policy, optional
        A function ``(context, action_context) -> probabilities`` of shape (n_rounds, n_actions), or
        an object with such a ``predict_proba``; `uniform` if not given.
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
    click_rate : float in [1e-6, 1 - 1e-6], optional
        Shifts the logit, by one number for all, so that this is the mean of q over contexts and
        items, and so what `uniform` earns but for the draw of `eval_context`. If not given, nothing
        is shifted. New items keep the shift.

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
    >>> round(references["best_constant_item"], 2), round(references["optimum"], 2)
    (0.53, 0.62)
    """

    def __init__(
        self,
        n_actions: int = 10,
        dim_context: int = 50,
        dim_action_context: int = 50,
        reward_function: str = "logistic",
        logging_policy: PolicyLike | None = None,
        n_eval_contexts: int = 10_000,
        random_state: int = 0,
        scale: float = 1.0,
        unexplained: float = 0.0,
        click_rate: float | None = None,
    ) -> None:
        sizes = {
            "n_actions": (n_actions, 2),
            "dim_context": (dim_context, 1),
            "dim_action_context": (dim_action_context, 1),
            "n_eval_contexts": (n_eval_contexts, 1),
        }
        for name, (value, least) in sizes.items():
            check_count(name, value, least)
        check_seed(random_state)
        check_choice("reward_function", reward_function, REWARD_FUNCTIONS)
        check_number("scale", scale, above=0)
        if scale > _MAX_SCALE:
            raise ValueError(f"scale must be at most {_MAX_SCALE:g}; got {scale}.")
        check_number("unexplained", unexplained, least=0, most=1)
        if click_rate is not None:
            check_number("click_rate", click_rate, least=_LEAST_RATE, most=1 - _LEAST_RATE)
            click_rate = float(click_rate)
        scale, unexplained = float(scale), float(unexplained)
        self.reward_function, self.random_state = reward_function, int(random_state)
        self.scale, self.unexplained, self.click_rate = scale, unexplained, click_rate
        self.is_new = read_only(np.zeros(n_actions, dtype=bool))
        self._made_from: tuple[SyntheticWorld, int] | None = None

        rng = np.random.default_rng(random_state)
        items = rng.uniform(size=(n_actions, dim_action_context))
        items.flags.writeable = False
        self._logit = BilinearLogit(
            rng, items, dim_context, reward_function, scale, unexplained, random_state, click_rate
        )
        self._intercept, self._slope = self._logit.of(items, first_item=0)
        super().__init__(
            items,
            rng.normal(size=(n_eval_contexts, dim_context)),
            uniform() if logging_policy is None else logging_policy,
            int(rng.integers(2**32)),
        )

    def __repr__(self) -> str:
        if self._made_from is not None:
            return "{!r}.with_new_items({})".format(*self._made_from)
        click_rate = "" if self.click_rate is None else f", click_rate={self.click_rate:g}"
        return (
            f"SyntheticWorld(n_actions={self.n_actions}, dim_context={self.dim_context}, "
            f"dim_action_context={self.action_context.shape[1]}, "
            f"reward_function={self.reward_function!r}, logging_policy={self.logging_policy}, "
            f"n_eval_contexts={len(self.eval_context)}, random_state={self.random_state}, "
            f"scale={self.scale:g}, unexplained={self.unexplained:g}{click_rate})"
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
        >>> tomorrow.sample(1000, random_state=1).report()["items never logged"].text
        '2, 20.0% of what was on offer'
        """
        check_count("n_new", n_new, least=1)
        world = copy.copy(self)
        rng = np.random.default_rng([self.random_state, self.n_actions])
        items = rng.uniform(size=(n_new, self.action_context.shape[1]))
        intercept, slope = self._logit.of(items, first_item=self.n_actions)
        world.action_context = read_only(np.concatenate([self.action_context, items]))
        world._intercept = np.concatenate([self._intercept, intercept])
        world._slope = np.concatenate([self._slope, slope], axis=1)
        world.is_new = read_only(np.concatenate([self.is_new, np.ones(n_new, dtype=bool)]))
        world.logging_policy = FirstItems(self.logging_policy, self.n_actions)
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

        check_seed(random_state)
        logging = policy_function(self.logging_policy)
        dataset = SyntheticBanditDataset(
            n_actions=self.n_actions,
            dim_context=self.dim_context,
            reward_function=lambda context, action_context, random_state: self.expected_reward(
                context
            ),
            behavior_policy_function=lambda context, action_context, random_state: logging(
                context, action_context
            ),
            random_state=random_state,
        )
        dataset.action_context = self.action_context
        return dataset

    def draw_context(self, n_rounds: int, rng: np.random.RandomState) -> np.ndarray:
        """Standard normal contexts."""
        return rng.normal(size=(n_rounds, self.dim_context))

    def reward_probability(self, context: np.ndarray) -> np.ndarray:
        """Sigmoid of the logit of every item."""
        with np.errstate(over="ignore", invalid="ignore"):  # expected_reward refuses no numbers
            return sigmoid(context @ self._slope + self._intercept)

    def reward_probability_of(self, context: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Sigmoid of the logit of given items."""
        with np.errstate(over="ignore", invalid="ignore"):
            logit = np.einsum("nd,dn...->n...", context, self._slope[:, action])
            return sigmoid(logit + self._intercept[action])
