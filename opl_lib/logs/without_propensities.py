"""A log that did not record how likely it showed what: what is left to do before it is a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class LogWithoutPropensities:
    """A log without `pscore`; made by `BanditFeedback.from_dataframe`.

    Nothing is learned from it and no policy is judged by it: without the probability of what was
    shown, what the logging policy liked to show cannot be told from what is good. Three ways on:

    1. It was recorded somewhere: name its column, ``from_dataframe(…, pscore=…)``.
    2. What was shown was drawn, or differed for reasons that the contexts know: estimate it with
       `estimate_propensities`, read the estimate's `findings`, and pass it to `with_pscore`.
    3. A rule showed one item to each context, always the same: the propensities are 1. Pass
       ``with_pscore(np.ones(log.n_rounds))``, and read there what can still be learned.

    Attributes
    ----------
    columns : dict of str to array
        What the log has, checked, by the names of `BanditFeedback`.
    make : callable
        `BanditFeedback`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import opl_lib as opl
    >>> rng = np.random.default_rng(0)
    >>> clicks = pd.DataFrame({"age": rng.integers(18, 80, 400), "item": rng.integers(0, 2, 400)})
    >>> clicks["click"] = rng.integers(0, 2, 400)
    >>> unweighted = opl.BanditFeedback.from_dataframe(
    ...     clicks, context=["age"], action="item", reward="click", items=np.eye(2)
    ... )
    >>> estimate = opl.estimate_propensities(unweighted)
    >>> estimate.findings
    []
    >>> unweighted.with_pscore(estimate.pscore)
    BanditFeedback(400 rounds, 2 items, mean reward 0.512,
                   1 context features, 2 item features, columns)
    """

    columns: dict[str, Any]
    make: Callable[..., Any]

    def __post_init__(self) -> None:
        n_rounds = len(self.columns["context"])
        log = self.make(**self.columns, pscore=np.ones(n_rounds))  # which checks the others
        names = [each.name for each in fields(log) if each.name != "pscore"]
        object.__setattr__(self, "columns", {name: getattr(log, name) for name in names})

    def with_pscore(self, pscore: Any) -> Any:
        """The log with propensities.

        Parameters
        ----------
        pscore : array of shape (n_rounds,)
            The probability in (0, 1] of what was shown: an estimate, or ones if a rule chose.

        Returns
        -------
        BanditFeedback

        Raises
        ------
        ValueError
            As `BanditFeedback` does.

        Notes
        -----
        Where all propensities are 1, weights say nothing of items that the rule did not show:
        every estimate rests on a model of the reward. What can be learned is a regression or the
        direct method, ``OffPolicyLearner("regression")`` or ``"dm"``, which are right as far as
        the model is, and say nothing of where it is not; `learn` then advises a test at most. Two
        ways to more need more data than this log: of rankings, which of the items shown was clicked
        (CIPS, arXiv:2603.21485), and logs of other domains that explored (COPE, ICLR 2025). Neither
        is in this library. Cheapest is to explore from now on: to draw what one visitor in twenty
        is shown, and to log the probability.

        References
        ----------
        Sachdeva, Su and Joachims, "Off-policy bandits with deficient support", KDD 2020.
        """
        return self.make(**self.columns, pscore=pscore)

    def __len__(self) -> int:
        return self.n_rounds

    @property
    def n_rounds(self) -> int:
        """Number of logged rounds."""
        return len(self.columns["context"])

    @property
    def n_actions(self) -> int:
        """Number of items that can be shown."""
        return len(self.columns["action_context"])

    def __repr__(self) -> str:
        return (
            f"LogWithoutPropensities({self.n_rounds:,} rounds, {self.n_actions:,} items)\n"
            "  How likely was what was shown? If a column says so: from_dataframe(…, pscore=…).\n"
            "  If not: estimate = opl.estimate_propensities(log), read estimate.findings, then\n"
            "  log.with_pscore(estimate.pscore). If a rule always showed the same, it is 1:\n"
            "  log.with_pscore(np.ones(log.n_rounds)), which leaves the direct method."
        )


def shown_in(log: LogWithoutPropensities, *given: Any) -> tuple[Any, ...]:
    """Context, action, n_actions, user_id and eligible; of the last four none may be given, too."""
    names = "action", "n_actions", "user_id", "eligible"
    for name, value in zip(names, given, strict=True):
        if value is not None:
            raise ValueError(f"{name} is what the log says: leave it out; got {value!r}.")
    said = {**log.columns, "n_actions": log.n_actions}
    return tuple(said[name] for name in ("context", *names))


def classifier_for(log: LogWithoutPropensities) -> Any:
    """What estimates by default: features of columns are not to be standardised again.

    It would blow up rare categories. None for arrays of features.
    """
    if log.columns["columns"] is None:
        return None
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=1000)
