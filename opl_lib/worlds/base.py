"""What every world does: draw logs, and know the true value of a policy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..answers import action_probabilities
from ..arrays import feature_matrix, read_only
from ..checks import check_seed, plain_arithmetic
from ..logs.eligible import Eligible, as_eligible
from ..logs.feedback import BanditFeedback
from ..protocols import PolicyLike, policy_function
from .asked import check_count
from .draws import draw_items
from .logging_policies import ignores_context
from .values import KnownRewards


class World(KnownRewards):
    """A world of items, contexts and rewards of 0 or 1 that draws logs and knows what is true.

    A subclass says how contexts are drawn, `draw_context`, and what the probability of a reward is,
    `reward_probability`. It may also say who comes back, `users_of`; which items can be shown when,
    `draw_eligible` in logs and `eval_eligible` in the contexts of evaluation; and give the
    probabilities of some items without going through all, `reward_probability_of`.

    Parameters
    ----------
    action_context : array of shape (n_actions, dim_action_context)
        The items.
    eval_context : array of shape (n_eval_contexts, dim_context)
        The contexts of evaluation, never part of a sampled log.
    logging_policy : policy
        Such as ``opl.uniform()``.
    random_state : int in [0, 2**32)
        Fixes the stream that logs without a seed of their own are drawn from.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> class Coupons(opl.World):
    ...     def draw_context(self, n_rounds, rng):
    ...         return np.eye(2)[rng.randint(2, size=n_rounds)]
    ...
    ...     def reward_probability(self, context):
    ...         return context @ np.array([[0.9, 0.2, 0.5], [0.1, 0.8, 0.4]])
    >>> world = Coupons(np.eye(3), eval_context=np.eye(2), logging_policy=opl.uniform())
    >>> world.sample(1000, random_state=0).n_rounds
    1000
    >>> {name: round(value, 2) for name, value in world.reference_values().items()}
    {'logging': 0.48, 'uniform': 0.48, 'best_constant_item': 0.5, 'optimum': 0.85}
    """

    def __init__(
        self,
        action_context: np.ndarray,
        eval_context: np.ndarray,
        logging_policy: PolicyLike,
        random_state: int = 0,
    ) -> None:
        check_seed(random_state)
        policy_function(logging_policy)
        # logs share what is read-only in the place of copying it
        self.action_context = read_only(feature_matrix("action_context", action_context))
        self.eval_context = read_only(feature_matrix("eval_context", eval_context))
        for name in ("action_context", "eval_context"):
            if len(getattr(self, name)) == 0:
                raise ValueError(f"{name} has no rows.")
        self.logging_policy = logging_policy
        self._draws = np.random.RandomState(random_state)

    def draw_context(self, n_rounds: int, rng: np.random.RandomState) -> np.ndarray:
        """To be written by a subclass: contexts of a log, (n_rounds, dim_context)."""
        raise NotImplementedError(f"{type(self).__name__} must define draw_context(n_rounds, rng).")

    def users_of(self, context: np.ndarray) -> np.ndarray | None:
        """May be written by a subclass: the `user_id` of a log; None where nobody comes back."""
        return None

    def draw_eligible(self, n_rounds: int, rng: np.random.RandomState) -> Any:
        """May be written by a subclass: what can be shown in each round of a log, as in `sample`.

        None where all items always can.
        """
        return None

    @plain_arithmetic
    def sample(
        self, n_rounds: int, random_state: int | None = None, eligible: Any = None
    ) -> BanditFeedback:
        """Draw a log: contexts from the world, items from the logging policy, rewards from q.

        Parameters
        ----------
        n_rounds : int, at least 1
            Length of the log.
        random_state : int in [0, 2**32), optional
            Fixes this log. If not given, each call continues the world's own stream.
        eligible : Eligible or boolean array of shape (n_rounds, n_actions), optional
            What can be shown in each round. If not given, what `draw_eligible` says: all items.

        Returns
        -------
        BanditFeedback
        """
        check_count("n_rounds", n_rounds, least=1)
        check_seed(random_state, optional=True)
        rng = self._draws if random_state is None else np.random.RandomState(random_state)
        context = feature_matrix("what draw_context returned", self.draw_context(n_rounds, rng))
        if context.shape != (n_rounds, self.dim_context):
            raise ValueError(
                f"draw_context returned shape {context.shape}; expected (n_rounds, dim_context) = "
                f"{(n_rounds, self.dim_context)}."
            )
        eligible = self.draw_eligible(n_rounds, rng) if eligible is None else eligible
        if eligible is not None:
            eligible = as_eligible(eligible, n_rounds, self.n_actions)
        action, pscore = self._choose(context, rng.uniform(size=n_rounds), eligible)
        return BanditFeedback(
            context=context,
            action=action,
            reward=rng.binomial(n=1, p=self._expected_reward_by_rows(context, action)),
            pscore=pscore,
            action_context=self.action_context,
            user_id=self.users_of(context),
            eligible=eligible,
        )

    def _choose(
        self, context: np.ndarray, uniforms: np.ndarray, eligible: Eligible | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Items that the logging policy shows, and how likely it was to show them."""
        if eligible is None and ignores_context(self.logging_policy):
            # one row of probabilities is those of all: the same draws without (n, n_actions)
            pi_0 = action_probabilities(self.logging_policy, context[:1], self.action_context)[0]
            cdf = pi_0.cumsum()
            action = np.searchsorted(cdf / cdf[-1], uniforms, side="right")
            return action, pi_0[action]
        return draw_items(self.logging_policy, context, self.action_context, uniforms, eligible)
