"""Watching a fit: what becomes of a policy, epoch by epoch, and what to do about it."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from ..checks import check_number, check_seed, plain_arithmetic, warn_user
from ..evaluation.estimators import Estimator, as_estimator
from ..evaluation.terms import policy_terms
from ..logs.feedback import BanditFeedback, check_feedback
from ..logs.support import weight_diagnostics
from ..protocols import PolicyLike, PredictsReward, for_items, reward_function
from .apart import check_alike, warn_of_shared_rounds
from .findings import Recorder, effective_number, facts, findings

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "estimate",
    "mean_weight",
    "mean_weight_se",
    "ess_share",
    "entropy",
    "effective_items",
    "kl_from_logging",
    "unsupported_mass",
)


class PolicyWarning(UserWarning):
    """A policy collapses, overfits the propensities or leaves the support of its log."""


class Watch:
    """Follow one fit, epoch by epoch, and warn when the policy goes where the log cannot follow.

    It is a callback: ``learner.fit(log, callback=watch)``. Each epoch costs one pass over the
    watched rounds; its numbers are in the learner's `history_`, too, as ``"held_out_estimate"``.

    Parameters
    ----------
    held_out : BanditFeedback, optional
        Rounds that the fit does not see.
    train : BanditFeedback, optional
        The rounds that it learns from. Propensity overfitting is seen only here, and is named with
        more certainty if `held_out` is there to compare. At least one of the two is needed.
    estimator : str or Estimator
        What ``estimate`` is.
    reward_model : fitted reward model, optional
        The q̂ of ``"dm"`` and the doubly robust estimators, fitted on other rounds than `held_out`.
    max_rounds : int, at least 2
        Of a longer log, so many rounds are drawn once and watched.
    random_state : int
        Fixes that draw.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a log and epoch, the one before training being 0; columns below.
    findings : list of str
        What to worry about at the last epoch, in plain words with cause and cure; empty if nothing.

    Raises
    ------
    ValueError
        At construction, without any log, for an estimator without its reward model, or for a
        setting out of range. In a fit, if this watch has already followed another.

    Warns
    -----
    PolicyWarning
        In the first epoch of each kind of finding, while the fit can still be interrupted.
    UserWarning
        At construction, if the two logs have most of their rounds in common.

    Notes
    -----
    The columns of `table`, each a mean over the watched rounds of its log:

    - ``estimate``: of ``V(π)``, by `estimator`; too high on rounds that are learned from.
    - ``mean_weight``, ``mean_weight_se``: the mean of ``w = π(a|x) / π_0(a|x)`` and its standard
      error. On rounds that are not learned from it is 1 up to chance, if every pscore is right and
      ``π_0`` can show whatever π wants. Learning can drive it off 1 on its own rounds.
    - ``ess_share``: the effective sample size ``(Σ w)² / Σ w²``, as a share of the rounds; of
      users and their sums, if the log has a `user_id`.
    - ``entropy``: of ``π(·|x)`` in nats, the mean over the contexts: 0 for a deterministic policy.
    - ``effective_items``: ``exp(−Σ_a π̄(a) log π̄(a))`` with the marginal policy
      ``π̄(a) = mean over contexts of π(a|x)``: as many equally frequent items would be as diverse.
      A deterministic policy may have many; a constant item has 1.
    - ``kl_from_logging``: the mean of ``log(π_0(a|x) / π(a|x))`` over the logged items, which
      estimates ``KL(π_0 ‖ π)``. It is the one distance to ``π_0`` that needs nothing but the
      logged pscores and no weights. It grows as π drops what ``π_0`` shows, is infinite if π never
      shows a logged item, and can be below 0 by chance.
    - ``unsupported_mass``: the share of π on items that no round of either log shows.

    Findings are rules of thumb with these limits. The mean weight is off if it differs from 1 by
    more than 0.2 and by three standard errors: before training, that is a matter of the log; later,
    on `train`, of overfitting, and on `held_out`, of support. The effective sample size is too
    small below 1 % of the rounds. A policy collapses below the cube root of the effective number of
    logged items, such as 2.2 of 10, or 10 of 1,000; where one item is best for nearly everybody,
    that is right, and the finding is a false alarm. More than 0.05 of the policy that has moved to
    items never logged has left the support.

    References
    ----------
    Swaminathan and Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS
    2015 (propensity overfitting, and the mean weight as its sign); Sachdeva, Su and Joachims,
    "Off-policy bandits with deficient support", KDD 2020.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> train, test = world.sample(2000, random_state=1).split(0.3)
    >>> watch = opl.Watch(test, train)
    >>> learner = opl.OffPolicyLearner("ips", epochs=3, learning_rate=1e-3)
    >>> history = learner.fit(train, callback=watch).history_
    >>> watch.table.shape  # two logs, the epoch before training and three more
    (8, 8)
    >>> watch.table.loc["held_out"].estimate.tolist() == history["held_out_estimate"]
    True
    >>> watch.findings
    []
    """

    def __init__(
        self,
        held_out: BanditFeedback | None = None,
        train: BanditFeedback | None = None,
        estimator: str | Estimator = "snips",
        reward_model: PredictsReward | None = None,
        max_rounds: int = 5_000,
        random_state: int = 0,
    ) -> None:
        given = {"held_out": held_out, "train": train}
        logs = {name: log for name, log in given.items() if log is not None}
        if not logs:
            raise ValueError("Watch needs a log to look at; pass held_out=…, train=… or both.")
        for name, log in logs.items():
            check_feedback(log, name)
        check_alike(logs)
        warn_of_shared_rounds(logs)
        check_number("max_rounds", max_rounds, Integral, least=2)
        check_seed(random_state)
        self.estimator, self.reward_model = as_estimator(estimator), reward_model
        self._check()
        logged = np.concatenate([log.action for log in logs.values()])
        counts = np.bincount(logged, minlength=next(iter(logs.values())).n_actions)
        self._never_logged = counts == 0
        self._logged_items = effective_number(counts)
        self._logs = {name: _sample(log, max_rounds, random_state) for name, log in logs.items()}
        self._epochs: list[dict[str, dict[str, float]]] = []
        self._policy: PolicyLike | None = None
        self._warned: set[str] = set()

    @plain_arithmetic
    def __call__(self, policy: PolicyLike) -> dict[str, float]:
        """Look at the policy of an epoch; warn, and return what is seen."""
        if self._policy is not None and policy is not self._policy:
            raise ValueError("this Watch has followed another fit; make a new one for each fit.")
        self._check()
        self._epochs.append({name: self._diagnose(policy, log) for name, log in self._logs.items()})
        self._policy = policy
        for kind, finding in self._findings().items():
            if kind not in self._warned:
                self._warned.add(kind)
                where = f"after epoch {len(self._epochs) - 1}, " if len(self._epochs) > 1 else ""
                warn_user(where + finding, PolicyWarning)
        return {
            f"{name}_{column}": number
            for name, row in self._epochs[-1].items()
            for column, number in row.items()
        }

    @property
    def table(self) -> pd.DataFrame:
        """One row a log and epoch."""
        import pandas as pd

        rows = {
            (log, number): epoch[log]
            for log in self._logs
            for number, epoch in enumerate(self._epochs)
        }
        index = pd.MultiIndex.from_tuples(rows, names=["log", "epoch"])
        return pd.DataFrame(list(rows.values()), index, columns=list(COLUMNS))

    @property
    def findings(self) -> list[str]:
        """What to worry about at the last epoch; empty if nothing."""
        return list(self._findings().values())

    def __repr__(self) -> str:
        logs = ", ".join(f"{log.n_rounds:,} {name} rounds" for name, log in self._logs.items())
        head = f"Watch({logs}, by {self.estimator})"
        if not self._epochs:
            return f"{head}\nhas seen no epoch yet: call fit(log, callback=watch)"
        ends = {0, len(self._epochs) - 1}
        shown = self.table.drop(columns="mean_weight_se")
        shown = shown[shown.index.isin(ends, level="epoch")].T
        lines = [head, shown.to_string(float_format="{:,.3f}".format)]
        return "\n".join(lines + [f"  ! {finding}" for finding in self.findings])

    def _check(self) -> None:
        """Raise unless estimator and reward model, which may have been assigned, go together."""
        self.estimator = as_estimator(self.estimator)
        if self.reward_model is not None:
            reward_function(self.reward_model)
        elif self.estimator.needs_reward_model:
            raise ValueError(
                f"estimator {self.estimator.name!r} needs a fitted reward model: pass "
                "reward_model=…, or use 'snips'."
            )

    def _diagnose(self, policy: PolicyLike, log: BanditFeedback) -> dict[str, float]:
        """A row of the table."""
        passed = Recorder(for_items(policy, log.action_context))
        q_hat = self.reward_model if self.estimator.needs_reward_model else None
        terms = policy_terms(passed, log, q_hat)
        weights = weight_diagnostics(terms.weight, terms.units)
        with np.errstate(divide="ignore"):  # a logged item that π never shows: infinite
            log_ratio = -np.log(terms.weight)
        return {
            "estimate": self.estimator.sample(terms).value,
            "mean_weight": weights["mean_weight"],
            "mean_weight_se": weights["mean_weight_se"],
            "ess_share": weights["ess"] / len(terms.units),
            "entropy": passed.entropy / log.n_rounds,
            "effective_items": effective_number(passed.mass),
            "kl_from_logging": float(log_ratio.mean()),
            "unsupported_mass": float(passed.mass[self._never_logged].sum() / log.n_rounds),
        }

    def _findings(self) -> dict[str, str]:
        """What to worry about now, by kind."""
        if not self._epochs:
            return {}
        units = next(iter(self._logs.values())).units
        return findings(facts(self._epochs, units, self._logged_items))


def _sample(log: BanditFeedback, max_rounds: int, random_state: int) -> BanditFeedback:
    if log.n_rounds <= max_rounds:
        return log
    rng = np.random.default_rng(random_state)
    return log[np.sort(rng.choice(log.n_rounds, max_rounds, replace=False))]
