"""What a log says of itself before anything is learned from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..protocols import PolicyLike
from .balance import feature_balance
from .known_columns import name_features
from .parted import Parted
from .report import LogReport, log_report
from .support import SupportReport, support_report

if TYPE_CHECKING:
    import pandas as pd


class Examined(Parted):
    """The part of `BanditFeedback` that asks whether a log can be trusted, and about what."""

    def support_report(self, policy: PolicyLike | np.ndarray) -> SupportReport:
        """Say how well this log can speak about a policy; of the log itself, ask `report`.

        Parameters
        ----------
        policy : policy or array of shape (n_rounds, n_actions)
            An object with ``predict_proba(context, action_context)``, a function like that, or the
            probabilities in all rounds.

        Returns
        -------
        SupportReport

        Examples
        --------
        >>> import opl_lib as opl
        >>> world = opl.SyntheticWorld(n_actions=5, random_state=0)
        >>> world.sample(1000, random_state=1).support_report(opl.uniform())
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
        return name_features(feature_balance(self), self.columns)
