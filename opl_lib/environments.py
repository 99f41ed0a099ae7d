"""Synthetic worlds whose expected reward is known, to see what a log alone cannot show."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np

from .checks import action_probabilities, check_number, for_items, row_chunks
from .feedback import BanditFeedback
from .logging_policies import uniform

REWARD_FUNCTIONS = ("logistic", "logistic_as_published")


class SyntheticWorld:
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

    Attributes
    ----------
    action_context : array of shape (n_actions, dim_action_context)
        The items.
    eval_context : array of shape (n_eval_contexts, dim_context)
        The contexts of evaluation, never part of a sampled log.

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
        self.reward_function = reward_function
        self.logging_policy = uniform() if logging_policy is None else logging_policy
        self.random_state = random_state

        rng = np.random.default_rng(random_state)
        self.action_context = rng.uniform(size=(n_actions, dim_action_context))
        coefficients = rng.uniform(-1, 1, size=(dim_context + 1, dim_action_context + 1))
        coefficients[:, 0] += rng.uniform(-1, 1, size=dim_context + 1)
        coefficients[0, :] += rng.uniform(-1, 1, size=dim_action_context + 1)
        # logit(x, a) = slope[a]·x + intercept[a], with x standard normal: its moments are exact
        per_item = coefficients @ np.column_stack([np.ones(n_actions), self.action_context]).T
        intercept, slope = per_item[0], per_item[1:]
        mean = intercept.mean()
        std = np.sqrt((np.square(slope).sum(axis=0) + np.square(intercept - mean)).mean())
        shift, scale = (mean, std) if reward_function == "logistic" else (mean / std, 1.0)
        self._intercept, self._slope = (intercept - shift) / scale, slope / scale

        self.eval_context = rng.normal(size=(n_eval_contexts, dim_context))
        self._draws = np.random.RandomState(rng.integers(2**32))

    @property
    def n_actions(self) -> int:
        """Number of items."""
        return len(self.action_context)

    @property
    def dim_context(self) -> int:
        """Number of context features."""
        return len(self._slope)

    def __repr__(self) -> str:
        return (
            f"SyntheticWorld(n_actions={self.n_actions}, dim_context={self.dim_context}, "
            f"dim_action_context={self.action_context.shape[1]}, "
            f"reward_function={self.reward_function!r}, logging_policy={self.logging_policy}, "
            f"n_eval_contexts={len(self.eval_context)}, random_state={self.random_state})"
        )

    def expected_reward(self, context: np.ndarray) -> np.ndarray:
        """The true ``q(x, a)``, the probability of a reward.

        Parameters
        ----------
        context : array of shape (n, dim_context)

        Returns
        -------
        array of shape (n, n_actions), in [0, 1]
            Large for many contexts and items: ask for a few rows at a time.
        """
        context = np.asarray(context)
        if context.ndim != 2 or context.shape[1] != self.dim_context:
            raise ValueError(
                f"context must have shape (n, {self.dim_context}) in this world; "
                f"got {context.shape}."
            )
        return _sigmoid(context @ self._slope + self._intercept)

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
        context = rng.normal(size=(n_rounds, self.dim_context))
        uniforms = rng.uniform(size=n_rounds)
        action, pscore, q_logged = np.empty(n_rounds, int), np.empty(n_rounds), np.empty(n_rounds)
        for rows in row_chunks(n_rounds, self.n_actions):
            pi_0 = action_probabilities(self.logging_policy, context[rows], self.action_context)
            action[rows] = _inverse_cdf(pi_0, uniforms[rows])
            pscore[rows] = pi_0[np.arange(len(pi_0)), action[rows]]
            logit = np.einsum("nd,dn->n", context[rows], self._slope[:, action[rows]])
            q_logged[rows] = _sigmoid(logit + self._intercept[action[rows]])
        return BanditFeedback(
            context=context,
            action=action,
            reward=rng.binomial(n=1, p=q_logged),
            pscore=pscore,
            action_context=self.action_context,
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

        def value(context: np.ndarray, q: np.ndarray) -> float:
            return (action_probabilities(policy, context, self.action_context) * q).sum()

        return self._average(value, self.eval_context if context is None else context)

    def reference_values(self) -> dict[str, float]:
        """The four lines every figure of policy values needs.

        Returns
        -------
        dict
            Values of the logging policy, the uniform policy, the best constant item (one item for
            everyone), and the optimum (the best item for each context).
        """
        item_values = sum(
            self.expected_reward(self.eval_context[rows]).sum(axis=0)
            for rows in row_chunks(len(self.eval_context), self.n_actions)
        ) / len(self.eval_context)
        return {
            "logging": self.policy_value(self.logging_policy),
            "uniform": float(item_values.mean()),
            "best constant item": float(item_values.max()),
            "optimum": self._average(lambda context, q: q.max(axis=1).sum(), self.eval_context),
        }

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

    def _average(
        self, total: Callable[[np.ndarray, np.ndarray], float], context: np.ndarray
    ) -> float:
        chunks = row_chunks(len(context), self.n_actions)
        parts = [total(context[rows], self.expected_reward(context[rows])) for rows in chunks]
        return float(sum(parts) / len(context))


def _inverse_cdf(pi: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Draw one item a row: the first whose cumulative probability exceeds the row's uniform."""
    cdf = pi.cumsum(axis=1)
    cdf /= cdf[:, -1:]
    return (cdf <= uniforms[:, None]).sum(axis=1)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
