"""Logged bandit feedback: one frozen object that checks itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..protocols import PolicyLike
from . import readers
from .balance import feature_balance
from .report import LogReport, log_report
from .rounds import OPTIONAL, Rounds
from .support import SupportReport, support_report
from .units import mean

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class BanditFeedback(Rounds):
    """A log of rounds: who came, what was shown, what happened, how likely it was shown.

    The log checks itself when it is made, so every other function may trust it: it copies what is
    passed, once, and its arrays are read-only. Logs that are cut from it share its items. Only what
    ``numpy.load(path, mmap_mode="r")`` reads from disk, as floats or as actions of 64 bits, is not
    copied: leave such files as they are.

    Parameters
    ----------
    context : array of shape (n_rounds, dim_context)
        Features of the user or query of each round; finite numbers.
    action : integer array of shape (n_rounds,)
        The item shown, as a row number of `action_context`.
    reward : array of shape (n_rounds,)
        The observed reward; finite. Clicks are 0 and 1, but any real number is a valid reward.
    pscore : array of shape (n_rounds,)
        The probability in (0, 1] with which the logging policy showed this item, ``pi_0(a|x)``.
    action_context : array of shape (n_actions, dim_action_context)
        Features of every item that can be shown, the ones never logged included.
    position : integer array of shape (n_rounds,), optional
        The slot, from 0. Learning and evaluation take all rounds alike: for those of one slot, pass
        ``log[log.position == 0]``.
    user_id : array of shape (n_rounds,), optional
        Users, sessions or queries: whatever comes back. Splits and folds keep the rounds of one
        together, and errors allow for their likeness. Integers or text; floats below 2**53.
    timestamp : array of shape (n_rounds,), optional
        Times for `split_by_time`: numbers or dates, no text.
    cluster_pscore : array of shape (n_rounds,), optional
        The probability in [pscore, 1] of an item of this item's cluster; for the objectives `mips`,
        `offcem` and `potec`.
    eligible : Eligible or boolean array of shape (n_rounds, n_actions), optional
        What could be shown in each round, the item that was included; all items, if not given.
        Whatever sums over items, in learning and evaluation, sums over these.

    Raises
    ------
    ValueError
        If a shape, a range or a value is wrong. The message names argument, row and cure.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> log = opl.BanditFeedback(
    ...     context=[[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], action=[0, 2, 1], reward=[1, 0, 1],
    ...     pscore=[0.5, 0.25, 0.25], action_context=np.eye(3),
    ... )
    >>> log
    BanditFeedback(3 rounds, 3 items, mean reward 0.667,
                   2 context features, 3 item features)
    >>> log[log.reward > 0].n_rounds
    2
    """

    def __repr__(self) -> str:
        extras = [name for name in (*OPTIONAL, "eligible") if getattr(self, name) is not None]
        widths = f"{self.dim_context} context features, {self.dim_action_context} item features"
        return (
            f"BanditFeedback({self.n_rounds:,} rounds, {self.n_actions:,} items, "
            f"mean reward {mean(self.reward):.3g},\n"
            f"               {', '.join([widths, *extras])})"
        )

    @classmethod
    def from_dataframe(
        cls,
        frame: Any,
        *,
        context: Sequence[str],
        action: str,
        reward: str,
        pscore: str,
        items: Any,
        item_id: str | None = None,
        item_features: Sequence[str] | None = None,
        position: str | None = None,
        user_id: str | None = None,
        timestamp: str | None = None,
        eligible: Any = None,
    ) -> BanditFeedback:
        """Make a log from a data frame (pandas, polars, or any with ``frame[name].to_numpy()``).

        Parameters
        ----------
        frame : data frame of n_rounds rows
            The log; the other arguments name its columns.
        context : list of str
            Numeric columns that describe the user or query; standardised, if they are not near
            unit scale.
        action, reward, pscore : str
            Columns of the shown item, the reward, and the probability of having shown it.
        items : array of shape (n_actions, dim_action_context) or data frame
            Item features. With an array, `action` holds row numbers. With a data frame, `action`
            holds values of its column `item_id`, of its type.
        item_id : str, optional
            Column of `items` that identifies an item; required if `items` is a data frame.
        item_features : list of str, optional
            Numeric columns of `items`; all but `item_id` and `eligible` if not given.
        position, user_id, timestamp : str, optional
            Columns for the optional parts of the log.
        eligible : pair of str, or as in BanditFeedback; optional
            Two date columns of `items`: from when on, and before when, each could be shown; empty
            where it always was or still is. They are compared with `timestamp`.

        Returns
        -------
        BanditFeedback

        Raises
        ------
        ValueError
            If a column is missing or not numeric, an action is not among `items`, or what is said
            of columns of `items` cannot be.

        Examples
        --------
        >>> import pandas as pd
        >>> import opl_lib as opl
        >>> clicks = pd.DataFrame(
        ...     {"age": [31, 52], "item": ["b7", "a1"], "click": [0, 1], "prob": [0.9, 0.1]}
        ... )
        >>> items = pd.DataFrame({"id": ["a1", "b7"], "price": [3.0, 4.5]})
        >>> log = opl.BanditFeedback.from_dataframe(
        ...     clicks, context=["age"], action="item", reward="click", pscore="prob",
        ...     items=items, item_id="id",
        ... )
        >>> log.action
        array([1, 0])
        """
        readers.check_frame("frame", frame)
        names = {"position": position, "user_id": user_id, "timestamp": timestamp}
        optional = readers.optional_columns(frame, names)
        return cls(
            context=readers.frame_matrix(frame, context, "context"),
            reward=readers.numeric_frame_column(frame, reward, "reward"),
            pscore=readers.numeric_frame_column(frame, pscore, "pscore"),
            eligible=readers.on_offer(eligible, items, optional.get("timestamp")),
            **readers.item_columns(frame, action, items, item_id, item_features, eligible),
            **optional,
        )

    @classmethod
    def from_obp(
        cls, bandit_feedback: Mapping[str, Any], action_context: np.ndarray | None = None
    ) -> BanditFeedback:
        """Make a log from the dictionary of an ``obp`` dataset.

        Parameters
        ----------
        bandit_feedback : mapping
            With keys ``context``, ``action``, ``reward``, ``pscore``, ``action_context`` and
            optionally ``position``; and ``eligible``, which `to_obp` adds. Others are left, such as
            the oracle ``expected_reward``.
        action_context : array of shape (n_actions, dim_action_context), optional
            Item features in place of the dictionary's; ``np.eye(n_actions)`` for that of
            ``MultiClassToBanditReduction``, which has none.

        Returns
        -------
        BanditFeedback
        """
        return cls(**readers.obp_columns(bandit_feedback, action_context))

    def support_report(self, policy: PolicyLike | np.ndarray | None = None) -> SupportReport:
        """Say how well this log can speak about a policy, before anything is learned from it.

        Parameters
        ----------
        policy : policy or array of shape (n_rounds, n_actions), optional
            An object with ``predict_proba(context, action_context)``, a function like that, or the
            probabilities in all rounds. Uniform if not given: could this log judge every item?

        Returns
        -------
        SupportReport

        Examples
        --------
        >>> import opl_lib as opl
        >>> world = opl.SyntheticWorld(n_actions=5, random_state=0)
        >>> world.sample(1000, random_state=1).support_report()
        SupportReport(1,000 rounds, 5 items)
          effective sample size      1,000.0  (100.0% of the rounds)
          mean importance weight       1.000  (should be 1; standard error 0.000)
          max importance weight        1.000
          items never logged               0  (they hold 0.0% of the policy)
        """
        return support_report(self, policy)

    def report(self) -> LogReport:
        """Say what this log holds, whether it can be right, and what it can prove.

        Returns
        -------
        LogReport
            Its lines, and as `LogReport.findings` those that are not fine, with cause and cure.

        Examples
        --------
        >>> import opl_lib as opl
        >>> world = opl.SyntheticWorld(5, 4, 4, random_state=0)
        >>> report = world.sample(4000, random_state=1).report()
        >>> report.findings
        []
        >>> round(report["smallest gain, as logged"].numbers["per_1000"], 1)  # clicks
        39.3
        """
        return log_report(self)

    def balance(self) -> pd.DataFrame:
        """Ask whether the propensities fit the contexts, item by item and feature by feature.

        Those who were shown an item, weighted by ``1 / pscore``, should be like everybody. The mean
        weight of one policy can be 1 while this fails, as with propensities that are right on
        average and wrong for each visitor.

        Returns
        -------
        pandas.DataFrame of shape (1 + dim_context, n_actions)
            ``E[f(x) (1[a = b] / pscore − 1)]``, which is 0, estimated and divided by its standard
            error, for each item b, over the rounds in which it was eligible; first for ``f = 1``,
            then for each feature, less its mean. NaN for items that less than 30 rounds, or users,
            were shown. Of 100 such numbers, the largest is above 4 in one right log of a hundred;
            where single weights are very large, more often: a log that misses the giants has a sum
            that is off and an error that is too small. `PropensityEstimate.balance` needs no
            weights.

        References
        ----------
        Imai and Ratkovic, "Covariate balancing propensity score", Journal of the Royal Statistical
        Society B 2014.

        Examples
        --------
        >>> from dataclasses import replace
        >>> import opl_lib as opl
        >>> world = opl.SyntheticWorld(5, 4, 4, logging_policy=opl.softmax(1.0), random_state=0)
        >>> log = world.sample(2000, random_state=1)
        >>> popularity = np.bincount(log.action)[log.action] / log.n_rounds
        >>> wrong = replace(log, pscore=popularity)
        >>> [bool(each.balance().abs().max(axis=None) < 4) for each in (log, wrong)]
        [True, False]
        """
        return feature_balance(self)


def check_feedback(feedback: Any, name: str = "feedback") -> None:
    """Raise unless `feedback` is a log."""
    if not isinstance(feedback, BanditFeedback):
        raise TypeError(
            f"{name} must be a BanditFeedback; got {type(feedback).__name__}. "
            "Make one with BanditFeedback.from_dataframe or BanditFeedback.from_obp."
        )
