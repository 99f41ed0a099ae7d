"""Logged bandit feedback: one frozen object that checks itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import readers
from .columns import Columns
from .eligible import Eligible
from .examined import Examined
from .known_columns import check_known_before, fitted_columns, log_parts
from .pages import without_above
from .rounds import OPTIONAL
from .units import mean
from .without_propensities import LogWithoutPropensities


@dataclass(frozen=True, eq=False, repr=False)
class BanditFeedback(Examined):
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
        The slot, from 0. Learning and evaluation take all rounds alike: make the slot a column of
        the context, too, or take those of one slot, ``log[log.position == 0]``.
    user_id : array of shape (n_rounds,), optional
        Users, sessions, pages or queries: whatever comes back. Splits and folds keep the rounds of
        one together, and errors allow for their likeness. Integers or text; floats below 2**53.
    timestamp : array of shape (n_rounds,), optional
        Times for `split_by_time`: numbers or dates, no text.
    cluster_pscore : array of shape (n_rounds,), optional
        The probability in [pscore, 1] of an item of this item's cluster; for the objectives `mips`,
        `offcem` and `potec`.
    eligible : Eligible or boolean array of shape (n_rounds, n_actions), optional
        What could be shown in each round, the item that was included; all items, if not given.
        Whatever sums over items, in learning and evaluation, sums over these.
    columns : Columns, optional
        How features were made of the columns of a data frame: `from_dataframe` keeps them.
    item_ids : array of shape (n_actions,), optional
        What items are called; `from_dataframe` keeps the column `item_id`.

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
        extras = [
            name for name in (*OPTIONAL, "eligible", "columns") if getattr(self, name) is not None
        ]
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
        context: Sequence[str] | None = None,
        action: str,
        reward: str,
        pscore: str | None = None,
        items: Any,
        item_id: str | None = None,
        item_features: Sequence[str] | None = None,
        position: str | None = None,
        user_id: str | None = None,
        timestamp: str | None = None,
        eligible: Any = None,
        page_id: str | None = None,
        columns: Columns | None = None,
    ) -> BanditFeedback | LogWithoutPropensities:
        """Make a log from a data frame (pandas, polars, or any with ``frame[name].to_numpy()``).

        Numbers, text, categories, truths and dates are taken as they come, with missing values;
        `Columns` says what features become of them. The log and what is learned from it keep the
        columns, as ``log.columns`` and ``policy.columns``.

        Parameters
        ----------
        frame : data frame of n_rounds rows
            The log; the other arguments name its columns.
        context : list of str
            Columns that describe the user or query.
        action, reward : str
            Columns of the shown item and the reward.
        pscore : str, optional
            Column of the probability of having shown the item. If nobody wrote it down, leave it
            out: what is returned leads to `estimate_propensities`.
        items : array of shape (n_actions, dim_action_context) or data frame
            Item features. With an array, `action` holds row numbers. With a data frame, `action`
            holds values of its column `item_id`, of its type.
        item_id : str, optional
            Column of `items` that identifies an item; required if `items` is a data frame.
        item_features : list of str, optional
            Columns of `items`; all but `item_id` and `eligible` if not given.
        position, user_id, timestamp : str, optional
        eligible : pair of str, or as in BanditFeedback; optional
            Two date columns of `items`: from when on, and before when, each could be shown; empty
            where it always was or still is. They are compared with `timestamp`.
        page_id : str, optional
            Column of the page, where none shows an item twice, and `pscore` is the probability
            given what stands above: what does is taken from `eligible`, see `without_above`.
        columns : Columns, optional
            Those of another log, ``columns=train.columns``, in the place of `context`, `item_id`
            and `item_features`. If not given, columns are fitted on this frame. What is to be
            judged by a later frame has to be learned with columns that have not seen it; parts of
            one log share those of the whole, which have seen contexts and items, but no reward.

        Returns
        -------
        BanditFeedback, or LogWithoutPropensities if `pscore` is not given

        Raises
        ------
        ValueError
            If a column is missing, of no kind, or not known when an item is chosen; or an action is
            not among `items`. The message names the column.

        Examples
        --------
        >>> import pandas as pd
        >>> import opl_lib as opl
        >>> clicks = pd.DataFrame(
        ...     {"age": [31, 52], "item": ["b7", "a1"], "click": [0, 1], "prob": [0.9, 0.1]}
        ... ).assign(country=["DE", None])
        >>> items = pd.DataFrame({"id": ["a1", "b7"], "brand": ["North", "South"]})
        >>> log = opl.BanditFeedback.from_dataframe(
        ...     clicks, context=["age", "country"], action="item", reward="click", pscore="prob",
        ...     items=items, item_id="id",
        ... )
        >>> log.action
        array([1, 0])
        >>> log.columns.context_features
        ['age', 'country: missing', 'country = DE']
        """
        readers.check_frame("frame", frame)
        if columns is None:
            item_features = readers.features_of_items(items, item_id, item_features, eligible)
        columns = fitted_columns(columns, frame, context, items, item_id, item_features)
        check_known_before(columns, action=action, reward=reward, pscore=pscore)
        names = {"position": position, "user_id": user_id, "timestamp": timestamp}
        optional = readers.optional_columns(frame, names)
        parts = {
            **log_parts(columns, frame, action, items),
            "reward": readers.numeric_frame_column(frame, reward, "reward"),
            "eligible": readers.on_offer(eligible, items, optional.get("timestamp")),
            **optional,
        }
        if page_id is not None:
            parts["eligible"] = _left_on_page(frame, page_id, parts)
        if pscore is None:
            return LogWithoutPropensities(parts, cls)
        return cls(**parts, pscore=readers.numeric_frame_column(frame, pscore, "pscore"))

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

        Examples
        --------
        >>> import opl_lib as opl
        >>> log = opl.SyntheticWorld(4, 5, 5, random_state=0).sample(100, random_state=0)
        >>> opl.BanditFeedback.from_obp(log.to_obp()).n_rounds
        100
        """
        return cls(**readers.obp_columns(bandit_feedback, action_context))


def _left_on_page(frame: Any, page_id: str, parts: Mapping[str, Any]) -> Eligible:
    """What could be shown in the slots of pages, drawn without replacement."""
    if "position" not in parts:
        raise ValueError(
            f"page_id={page_id!r}: say with position=… which column has the slots, so that it is "
            "known what stands above what."
        )
    page = readers.frame_column(frame, page_id, "page_id")
    on_offer = parts["eligible"]
    if on_offer is None:
        on_offer = len(parts["action_context"])
    return without_above(page, parts["position"], parts["action"], on_offer)


def check_feedback(feedback: Any, name: str = "feedback") -> None:
    """Raise unless `feedback` is a log."""
    if isinstance(feedback, LogWithoutPropensities):
        raise TypeError(
            f"{name} has no propensities: estimate = opl.estimate_propensities({name}), read "
            f"estimate.findings, and pass {name}.with_pscore(estimate.pscore)."
        )
    if not isinstance(feedback, BanditFeedback):
        raise TypeError(
            f"{name} must be a BanditFeedback; got {type(feedback).__name__}. "
            "Make one with BanditFeedback.from_dataframe or BanditFeedback.from_obp."
        )
