"""Diagnosis while learning: what becomes of a policy, epoch by epoch, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_number, warn_user
from ..evaluation.estimators import Estimator, as_estimator
from ..evaluation.evaluate import policy_terms
from ..logs.feedback import BanditFeedback, check_feedback
from ..logs.support import is_off_one, weight_diagnostics
from ..protocols import action_probabilities, for_items

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
# A mean weight this far from 1, and by three standard errors, is neither a trifle nor chance.
_FAR_FROM_ONE = 0.2
# Below this share of effective rounds an estimate has a hundred times the variance of a mean.
_TINY_ESS_SHARE = 0.01
# More of the policy than this has moved to items without a single logged round.
_MOVED_MASS = 0.05


class PolicyWarning(UserWarning):
    """A policy collapses, overfits the propensities or leaves the support of its log."""


class Watch:
    """Follow one fit, epoch by epoch, and warn when the policy goes where the log cannot follow.

    Pass `callbacks` to a fit. Each epoch costs one pass of the policy over the watched rounds.

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
    callbacks : dict of str to callable
        One a log and column, named such as ``"held_out_estimate"``: so every number is in the
        learner's `history_` too. The policy is looked at once an epoch, by whichever is called
        first.
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

    Notes
    -----
    The columns of `table`, each a mean over the watched rounds of its log:

    - ``estimate``: of ``V(π)``, by `estimator`; too high on rounds that are learned from.
    - ``mean_weight``, ``mean_weight_se``: the mean of ``w = π(a|x) / π_0(a|x)`` and its standard
      error. On rounds that are not learned from it is 1 up to chance, if every pscore is right and
      ``π_0`` can show whatever π wants. Learning can drive it off 1 on its own rounds.
    - ``ess_share``: the effective sample size ``(Σ w)² / Σ w²``, as a share of the rounds.
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
    >>> history = learner.fit(train, callbacks=watch.callbacks).history_
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
        reward_model: Any = None,
        max_rounds: int = 5_000,
        random_state: int = 0,
    ) -> None:
        logs = {"held_out": held_out, "train": train}
        logs = {name: log for name, log in logs.items() if log is not None}
        if not logs:
            raise ValueError("Watch needs a log to look at; pass held_out=…, train=… or both.")
        for log in logs.values():
            check_feedback(log)
        if len({log.n_actions for log in logs.values()}) > 1:
            raise ValueError(
                f"held_out has {held_out.n_actions} items but train has {train.n_actions}; both "
                "need the action_context of all items."
            )
        check_number("max_rounds", max_rounds, Integral, least=2)
        check_number("random_state", random_state, Integral, least=0)
        self.estimator, self.reward_model = as_estimator(estimator), reward_model
        if self.estimator.needs_reward_model and reward_model is None:
            raise ValueError(
                f"estimator {self.estimator.name!r} needs a fitted reward model: pass "
                "reward_model=…, or use 'snips'."
            )
        counts = sum(np.bincount(log.action, minlength=log.n_actions) for log in logs.values())
        self._never_logged = counts == 0
        self._logged_items = effective_number(counts)
        self._logs = {name: _sample(log, max_rounds, random_state) for name, log in logs.items()}
        self._epochs: list[dict[str, dict[str, float]]] = []
        self._policy: Any = None
        self._read: set[tuple[str, str]] = set()
        self._warned: set[str] = set()

    @property
    def callbacks(self) -> dict[str, Callable[[Any], float]]:
        """What to pass to a fit."""
        return {
            f"{log}_{column}": partial(self._call_back, (log, column))
            for log in self._logs
            for column in COLUMNS
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
            return f"{head}\nhas seen no epoch yet: call fit(log, callbacks=watch.callbacks)"
        ends = {0, len(self._epochs) - 1}
        shown = self.table.drop(columns="mean_weight_se")
        shown = shown[shown.index.isin(ends, level="epoch")].T
        lines = [head, shown.to_string(float_format="{:,.3f}".format)]
        return "\n".join(lines + [f"  ! {finding}" for finding in self.findings])

    def _call_back(self, name: tuple[str, str], policy: Any) -> float:
        """Look at the policy if this number of the last look was read before; read it."""
        if self._policy is not None and policy is not self._policy:
            raise ValueError("this Watch has followed another fit; make a new one for each fit.")
        if not self._epochs or name in self._read:
            self._look(policy)
            self._policy, self._read = policy, set()
        self._read.add(name)
        log, column = name
        return self._epochs[-1][log][column]

    def _look(self, policy: Any) -> None:
        self._epochs.append({name: self._diagnose(policy, log) for name, log in self._logs.items()})
        for kind, finding in self._findings().items():
            if kind not in self._warned:
                self._warned.add(kind)
                where = f"after epoch {len(self._epochs) - 1}, " if len(self._epochs) > 1 else ""
                warn_user(where + finding, PolicyWarning)

    def _diagnose(self, policy: Any, log: BanditFeedback) -> dict[str, float]:
        """A row of the table."""
        passed = _Recorder(for_items(policy, log.action_context))
        terms = policy_terms(passed, log, self.reward_model)
        weights = weight_diagnostics(terms.weight)
        with np.errstate(divide="ignore"):  # a logged item that π never shows: infinite
            log_ratio = -np.log(terms.weight)
        return {
            "estimate": float(self.estimator.per_row(terms).mean()),
            "mean_weight": weights["mean_weight"],
            "mean_weight_se": weights["mean_weight_se"],
            "ess_share": weights["ess"] / log.n_rounds,
            "entropy": passed.entropy / log.n_rounds,
            "effective_items": effective_number(passed.mass),
            "kl_from_logging": float(log_ratio.mean()),
            "unsupported_mass": float(passed.mass[self._never_logged].sum() / log.n_rounds),
        }

    def _findings(self) -> dict[str, str]:
        """What to worry about now, by kind."""
        if not self._epochs:
            return {}
        first, now = self._epochs[0], self._epochs[-1]
        off_first, off = (
            {name for name, row in epoch.items() if _is_far_off(row)} for epoch in (first, now)
        )
        found = {}
        if off_first:
            name = min(off_first)
            found["pscore"] = (
                f"the mean weight is {_mean_weight(first[name])} on the {name} rounds before any "
                "training. Likely cause: pscore is wrong, or the logging policy could not show "
                "every item. Cure: check how pscore was logged (feedback.support_report()), or "
                "estimate it (opl.estimate_propensities)."
            )
        elif "held_out" in off:
            found["support"] = (
                f"the mean weight is {_mean_weight(now['held_out'])} on held-out rounds; it was "
                f"{first['held_out']['mean_weight']:.2f} before training. Likely cause: the policy "
                "moved to items that the logging policy shows too rarely, or with a wrong pscore, "
                "and no estimate on these rounds can be trusted. Cure: clip or smooth the weights "
                "(opl.clipped_ips, opl.exponential_smoothing), stay close to the logging policy "
                "(opl.regularised), or stop earlier (opl.EarlyStopping)."
            )
        elif "train" in off and not first["train"]["estimate"] >= now["train"]["estimate"]:
            found["overfitting"] = (
                f"propensity overfitting: on the rounds it learns from, the estimate rose from "
                f"{first['train']['estimate']:.3g} to {now['train']['estimate']:.3g} while the "
                f"mean weight went to {_mean_weight(now['train'])}. Likely cause: the policy seeks "
                "or avoids the very items that were logged, whatever is good about them. Cure: a "
                "baseline or self-normalisation (opl.baseline_ips, opl.snips), objective='dr', or "
                "fewer epochs (opl.EarlyStopping)."
            )
        if len(self._epochs) == 1:
            return found
        name, row = next(iter(now.items()))
        n_rounds = self._logs[name].n_rounds
        if row["ess_share"] < _TINY_ESS_SHARE:
            found["ess"] = (
                f"the weights leave {row['ess_share'] * n_rounds:,.0f} effective rounds of "
                f"{n_rounds:,} ({name}). Likely cause: the policy concentrates on items that were "
                "rarely logged. Cure: a longer log, one made with more exploration, or a policy "
                "closer to the logging policy (opl.regularised, a higher temperature)."
            )
        if row["unsupported_mass"] > first[name]["unsupported_mass"] + _MOVED_MASS:
            found["unsupported"] = (
                f"{row['unsupported_mass']:.0%} of the policy is on items that were never logged; "
                f"it was {first[name]['unsupported_mass']:.0%} before training. Likely cause: a "
                "reward model that extrapolates, or learning that flees the logged items. Cure: "
                "serve logged items only, or let the logging policy show the others first."
            )
        if row["effective_items"] < math.cbrt(self._logged_items):
            found["collapse"] = (
                f"the policy shows {row['effective_items']:.1f} effective items, while the log "
                f"shows {self._logged_items:.1f}. Likely cause: updates so large that the softmax "
                "saturated on the first items that paid. Cure: a lower learning rate, more entropy "
                "(opl.regularised), a baseline (opl.baseline_ips), or objective='dr'. If one item "
                "is best for nearly everybody, nothing is wrong: compare with the best constant "
                "item."
            )
        return found


class _Recorder:
    """A policy that adds up what passes through it, so that all is had from one pass."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.entropy, self.mass = policy, 0.0, 0.0

    def __call__(self, context: np.ndarray, action_context: np.ndarray) -> np.ndarray:
        pi = action_probabilities(self.policy, context, action_context)
        self.mass = self.mass + pi.sum(axis=0)
        self.entropy += entropy(pi)
        return pi


def entropy(p: np.ndarray) -> float:
    """``−Σ p log p`` over all entries, in nats; an entry of 0 adds nothing."""
    return -float((p * np.log(np.where(p > 0, p, 1))).sum())


def effective_number(mass: np.ndarray) -> float:
    """``exp`` of the entropy of masses scaled to sum 1: 1 if one holds all, n if n are equal."""
    return math.exp(entropy(mass / mass.sum()))


def _sample(log: BanditFeedback, max_rounds: int, random_state: int) -> BanditFeedback:
    if log.n_rounds <= max_rounds:
        return log
    rng = np.random.default_rng(random_state)
    return log[np.sort(rng.choice(log.n_rounds, max_rounds, replace=False))]


def _is_far_off(row: dict[str, float]) -> bool:
    mean, error = row["mean_weight"], row["mean_weight_se"]
    return abs(mean - 1) > _FAR_FROM_ONE and is_off_one(mean, error)


def _mean_weight(row: dict[str, float]) -> str:
    return f"{row['mean_weight']:.2f} (standard error {row['mean_weight_se']:.2f})"
