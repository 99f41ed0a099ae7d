"""Logged bandit feedback: one frozen object that checks itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import (
    check_rows,
    feature_matrix,
    frame_column,
    integers,
    item_row_numbers,
    labels,
    numbers,
    numeric_frame_column,
    round_down_to_one,
    row_chunks,
)
from ..protocols import action_probabilities, for_items
from .support import SupportReport, feature_balance, weight_diagnostics

if TYPE_CHECKING:
    import pandas as pd

_PER_ROW = (
    *("context", "action", "reward", "pscore"),
    *("position", "user_id", "timestamp", "cluster_pscore"),
)


@dataclass(frozen=True, eq=False, repr=False)
class BanditFeedback:
    """A log of rounds: who came, what was shown, what happened, how likely it was shown.

    The log checks itself when it is made, so every other function may trust it. Its arrays are
    read-only views of what was passed.

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
        The slot, from 0, in which the item was shown. It is kept, and nothing more: learning and
        evaluation take all rounds alike. For one slot, take ``log[log.position == 0]``.
    user_id : array of shape (n_rounds,), optional
        Users, sessions or queries: whatever comes back. `select`, `EarlyStopping` and `cross_fit`
        keep the rounds of one together, and errors allow for their likeness.
    timestamp : array of shape (n_rounds,), optional
        Sortable times for `split_by_time`.
    cluster_pscore : array of shape (n_rounds,), optional
        The probability in (0, 1] with which the logging policy showed an item of this item's
        cluster; for the objectives `mips`, `offcem` and `potec`.

    Raises
    ------
    ValueError
        If a shape, a range or a value is wrong. The message names argument, row and cure.

    Examples
    --------
    >>> import numpy as np
    >>> import opl_lib as opl
    >>> log = opl.BanditFeedback(
    ...     context=np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]),
    ...     action=np.array([0, 2, 1]),
    ...     reward=np.array([1, 0, 1]),
    ...     pscore=np.array([0.5, 0.25, 0.25]),
    ...     action_context=np.eye(3),
    ... )
    >>> log
    BanditFeedback(3 rounds, 3 items, mean reward 0.667,
                   2 context features, 3 item features)
    >>> log[log.reward > 0].n_rounds
    2
    """

    context: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    pscore: np.ndarray
    action_context: np.ndarray
    position: np.ndarray | None = None
    user_id: np.ndarray | None = None
    timestamp: np.ndarray | None = None
    cluster_pscore: np.ndarray | None = None

    def __post_init__(self) -> None:
        context = feature_matrix("context", self.context)
        action_context = feature_matrix("action_context", self.action_context)
        n_rounds, n_actions = len(context), len(action_context)
        if n_rounds == 0:
            raise ValueError("the log is empty: context has 0 rows. Check the filter that made it.")
        if n_actions < 2:
            raise ValueError(
                f"action_context has {n_actions} row: with one item there is nothing to choose. "
                "Pass the features of every item that could have been shown."
            )
        columns = {
            "context": context,
            "action": integers("action", self.action),
            "reward": numbers("reward", self.reward, ndim=1),
            "pscore": _probabilities("pscore", self.pscore),
            "position": None if self.position is None else integers("position", self.position),
            "user_id": None if self.user_id is None else labels("user_id", self.user_id),
            "timestamp": None if self.timestamp is None else labels("timestamp", self.timestamp),
            "cluster_pscore": None
            if self.cluster_pscore is None
            else _probabilities("cluster_pscore", self.cluster_pscore),
        }
        for name, column in columns.items():
            if column is not None and len(column) != n_rounds:
                raise ValueError(
                    f"{name} has {len(column)} rows but context has {n_rounds}: "
                    "every column needs one entry per round."
                )
        check_rows(
            "action",
            columns["action"],
            (columns["action"] >= 0) & (columns["action"] < n_actions),
            f"in [0, {n_actions - 1}], a row number of action_context",
            "Renumber the items, or pass the features of all of them.",
        )
        for name in ("pscore", "cluster_pscore"):
            if columns[name] is not None:
                check_rows(
                    name,
                    columns[name],
                    (columns[name] > 0) & (columns[name] <= 1),
                    "in (0, 1]",
                    "A logging policy that can never show the logged item cannot be reweighted "
                    "(was epsilon = 0?); above 1 is no probability (a weight, or another column?).",
                )
        if columns["position"] is not None:
            check_rows(
                "position",
                columns["position"],
                columns["position"] >= 0,
                "0 or more",
                "Positions count from 0; leave position out if the log has no slots.",
            )
        for name, column in {**columns, "action_context": action_context}.items():
            if column is not None:
                if column.flags.writeable:
                    column = column.view()
                    column.flags.writeable = False
                object.__setattr__(self, name, column)

    @property
    def n_rounds(self) -> int:
        """Number of logged rounds."""
        return len(self.action)

    @property
    def n_actions(self) -> int:
        """Number of items that can be shown."""
        return len(self.action_context)

    @property
    def dim_context(self) -> int:
        """Number of context features."""
        return self.context.shape[1]

    @property
    def dim_action_context(self) -> int:
        """Number of item features."""
        return self.action_context.shape[1]

    def __len__(self) -> int:
        return self.n_rounds

    def __repr__(self) -> str:
        extras = [
            name for name in ("position", "user_id", "timestamp") if getattr(self, name) is not None
        ]
        widths = f"{self.dim_context} context features, {self.dim_action_context} item features"
        return (
            f"BanditFeedback({self.n_rounds:,} rounds, {self.n_actions:,} items, "
            f"mean reward {self.reward.mean():.3g},\n"
            f"               {', '.join([widths, *extras])})"
        )

    def __getitem__(self, rows: Any) -> BanditFeedback:
        """Return the log of some rounds: a slice, row numbers or a boolean mask."""
        rows = np.atleast_1d(np.arange(self.n_rounds)[rows])
        columns = {name: getattr(self, name) for name in _PER_ROW}
        chosen = {name: None if c is None else c[rows] for name, c in columns.items()}
        return BanditFeedback(**chosen, action_context=self.action_context)

    def split(
        self, test_fraction: float = 0.3, random_state: int = 0
    ) -> tuple[BanditFeedback, BanditFeedback]:
        """Split the rounds at random.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the rounds that goes to the second log.
        random_state : int
            Fixes the draw.

        Returns
        -------
        first, second : BanditFeedback
        """
        n_test = self._n_test(test_fraction, self.n_rounds, "rounds")
        order = np.random.default_rng(random_state).permutation(self.n_rounds)
        return self[np.sort(order[n_test:])], self[np.sort(order[:n_test])]

    def split_by_time(self, test_fraction: float = 0.3) -> tuple[BanditFeedback, BanditFeedback]:
        """Split so that every round of the second log is later than every round of the first.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the rounds that goes to the second log; rounds with equal timestamps stay
            together, so the share is met as nearly as they allow.

        Returns
        -------
        first, second : BanditFeedback

        Raises
        ------
        ValueError
            If the log has no timestamps, or all are equal.
        """
        if self.timestamp is None:
            raise ValueError("split_by_time needs timestamps; this log has none. Pass timestamp=…")
        n_test = self._n_test(test_fraction, self.n_rounds, "rounds")
        cut = np.sort(self.timestamp)[self.n_rounds - n_test]
        later = self.timestamp >= cut
        if later.all():
            later = self.timestamp > cut
        if not later.any():
            raise ValueError(f"all timestamps are {cut}: the log cannot be split by time.")
        return self[~later], self[later]

    def split_by_group(
        self, test_fraction: float = 0.3, random_state: int = 0
    ) -> tuple[BanditFeedback, BanditFeedback]:
        """Split so that no user has rounds in both logs.

        Parameters
        ----------
        test_fraction : float in (0, 1)
            Share of the users, not of the rounds, that goes to the second log.
        random_state : int
            Fixes the draw.

        Returns
        -------
        first, second : BanditFeedback

        Raises
        ------
        ValueError
            If the log has no `user_id`, or fewer than two users.
        """
        if self.user_id is None:
            raise ValueError("split_by_group needs groups; this log has none. Pass user_id=…")
        users, user = np.unique(self.user_id, return_inverse=True)
        n_test = self._n_test(test_fraction, len(users), "users")
        held_out = np.random.default_rng(random_state).permutation(len(users))[:n_test]
        in_test = np.isin(user, held_out)
        return self[~in_test], self[in_test]

    @staticmethod
    def _n_test(test_fraction: float, n: int, what: str) -> int:
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction must be in (0, 1); got {test_fraction}.")
        n_test = round(test_fraction * n)
        if not 0 < n_test < n:
            raise ValueError(
                f"test_fraction={test_fraction} of {n} {what} leaves one side empty; "
                "take another fraction or a longer log."
            )
        return n_test

    @classmethod
    def concatenate(cls, logs: Sequence[BanditFeedback]) -> BanditFeedback:
        """Join logs over the same items, each with the pscore of its own logging policy.

        Parameters
        ----------
        logs : sequence of BanditFeedback
            At least one; all with equal `action_context` and the same optional columns.

        Returns
        -------
        BanditFeedback
        """
        if not logs:
            raise ValueError("concatenate needs at least one log; got none.")
        for number, log in enumerate(logs):
            if not np.array_equal(log.action_context, logs[0].action_context):
                raise ValueError(
                    f"log {number} has other item features than log 0; encode the items of all "
                    "logs together before joining them."
                )
            if log.dim_context != logs[0].dim_context:
                raise ValueError(
                    f"log {number} has {log.dim_context} context features but log 0 has "
                    f"{logs[0].dim_context}; encode the contexts of all logs together."
                )
        joined = {}
        for name in _PER_ROW:
            columns = [getattr(log, name) for log in logs]
            missing = [number for number, column in enumerate(columns) if column is None]
            if missing and len(missing) < len(logs):
                raise ValueError(f"log {missing[0]} has no {name} but others have; add or drop it.")
            joined[name] = None if missing else np.concatenate(columns)
        return cls(**joined, action_context=logs[0].action_context)

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
            holds values of its column `item_id`, of any type.
        item_id : str, optional
            Column of `items` that identifies an item; required if `items` is a data frame.
        item_features : list of str, optional
            Numeric columns of `items`; all but `item_id` if not given.
        position, user_id, timestamp : str, optional
            Columns for the optional parts of the log.

        Returns
        -------
        BanditFeedback

        Raises
        ------
        ValueError
            If a column is missing or not numeric, or an action is not among `items`.

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

        def matrix(source: Any, names: Sequence[str], what: str) -> np.ndarray:
            if isinstance(names, str):
                raise ValueError(
                    f"{what} must be a list of column names; got the string {names!r}."
                )
            if len(names) == 0:
                raise ValueError(f"{what} must name at least one column.")
            return np.column_stack([numeric_frame_column(source, name, what) for name in names])

        if hasattr(items, "columns"):
            if item_id is None:
                raise ValueError(
                    "items is a data frame: say with item_id=… which column identifies an item."
                )
            ids = frame_column(items, item_id, "item_id")
            names = item_features
            if names is None:
                names = [name for name in items.columns if name != item_id]
            action_context = matrix(items, names, "item_features")
            actions = item_row_numbers(frame_column(frame, action, "action"), ids)
        else:
            action_context = items
            actions = frame_column(frame, action, "action")
        optional = {"position": position, "user_id": user_id, "timestamp": timestamp}
        return cls(
            context=matrix(frame, context, "context"),
            action=actions,
            reward=numeric_frame_column(frame, reward, "reward"),
            pscore=numeric_frame_column(frame, pscore, "pscore"),
            action_context=action_context,
            **{
                role: frame_column(frame, name, role)
                for role, name in optional.items()
                if name is not None
            },
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
            optionally ``position``. Other keys, such as the oracle ``expected_reward``, are left.
        action_context : array of shape (n_actions, dim_action_context), optional
            Item features in place of the dictionary's. That of ``MultiClassToBanditReduction`` has
            none; one-hot features, ``np.eye(n_actions)``, tell its classes apart.

        Returns
        -------
        BanditFeedback

        Raises
        ------
        ValueError
            If a key is missing.
        """
        required = ("context", "action", "reward", "pscore", "action_context")
        columns = {key: bandit_feedback.get(key) for key in (*required, "position")}
        if action_context is not None:
            columns["action_context"] = action_context
        missing = [key for key in required if columns[key] is None]
        if missing:
            cure = " Pass item features as action_context=…" if "action_context" in missing else ""
            raise ValueError(
                f"the obp dictionary lacks {', '.join(missing)}; it has {sorted(bandit_feedback)}."
                + cure
            )
        return cls(**columns)

    def to_obp(self) -> dict[str, Any]:
        """Return the dictionary that ``obp.ope.OffPolicyEvaluation`` takes.

        Returns
        -------
        dict
            ``n_rounds``, ``n_actions`` and the arrays under ``obp``'s names.
        """
        names = ("context", "action_context", "action", "position", "reward", "pscore")
        arrays = {name: getattr(self, name) for name in names}
        return {"n_rounds": self.n_rounds, "n_actions": self.n_actions, **arrays}

    def support_report(self, policy: Callable | Any | None = None) -> SupportReport:
        """Say how well this log can speak about a policy, before anything is learned from it.

        Parameters
        ----------
        policy : policy, optional
            An object with ``predict_proba(context, action_context)``, or a function of the same
            arguments, that returns probabilities of shape (n_rounds, n_actions). Uniform if not
            given, which asks: could this log judge every item?

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
        policy = for_items(policy, self.action_context)
        counts = np.bincount(self.action, minlength=self.n_actions)
        pi_logged, unsupported = np.empty(self.n_rounds), np.empty(self.n_rounds)
        for rows in row_chunks(self.n_rounds, self.n_actions):
            pi = action_probabilities(policy, self.context[rows], self.action_context)
            pi_logged[rows] = pi[np.arange(len(pi)), self.action[rows]]
            unsupported[rows] = pi[:, counts == 0].sum(axis=1)
        return SupportReport(
            n_rounds=self.n_rounds,
            n_actions=self.n_actions,
            n_unsupported=int((counts == 0).sum()),
            unsupported_mass=float(unsupported.mean()),
            **weight_diagnostics(pi_logged / self.pscore),
        )

    def balance(self) -> pd.DataFrame:
        """Ask whether the propensities fit the contexts, item by item and feature by feature.

        Those who were shown an item, weighted by ``1 / pscore``, should be like everybody. The mean
        weight of one policy can be 1 while this fails, as with propensities that are right on
        average and wrong for each visitor.

        Returns
        -------
        pandas.DataFrame of shape (1 + dim_context, n_actions)
            ``E[f(x) (1[a = b] / pscore − 1)]``, which is 0, estimated and divided by its standard
            error, for each item b; first for ``f = 1``, the mean weight of showing the item to
            everyone, then for each feature, less its mean. NaN for items that were shown less than
            30 times. Of so many numbers the largest is above 3 now and then: of 100, above 4 in one
            right log of a hundred. Where single weights are very large, it is above that in right
            logs too: one that misses the giants has a sum that is off and an error that is too
            small. `PropensityEstimate.balance`, which knows the probabilities of all items, needs
            no weights.

        References
        ----------
        Imai and Ratkovic, "Covariate balancing propensity score", Journal of the Royal Statistical
        Society B 2014, who estimate propensities so that this holds.

        Examples
        --------
        >>> import opl_lib as opl
        >>> world = opl.SyntheticWorld(5, 4, 4, logging_policy=opl.softmax(1.0), random_state=0)
        >>> log = world.sample(2000, random_state=1)
        >>> bool(log.balance().abs().max(axis=None) < 4)
        True
        >>> popularity = np.bincount(log.action)[log.action] / log.n_rounds
        >>> wrong = opl.BanditFeedback(
        ...     log.context, log.action, log.reward, popularity, log.action_context
        ... )
        >>> bool(wrong.balance().loc["1"].abs().max() < 0.01)
        True
        >>> bool(wrong.balance().abs().max(axis=None) > 8)
        True
        """
        return feature_balance(self.context, self.action, self.pscore, self.n_actions)


def _probabilities(name: str, values: Any) -> np.ndarray:
    return round_down_to_one(numbers(name, values, ndim=1, check_finite=False))


def check_feedback(feedback: Any) -> None:
    """Raise unless `feedback` is a log."""
    if not isinstance(feedback, BanditFeedback):
        raise TypeError(
            f"feedback must be a BanditFeedback; got {type(feedback).__name__}. "
            "Make one with BanditFeedback.from_dataframe or BanditFeedback.from_obp."
        )


def user_numbers(feedback: BanditFeedback) -> np.ndarray | None:
    """Number of each row's user, from 0; None if nobody came twice, as far as the log knows."""
    if feedback.user_id is None:
        return None
    users, number = np.unique(feedback.user_id, return_inverse=True)
    return None if len(users) == feedback.n_rounds else number
