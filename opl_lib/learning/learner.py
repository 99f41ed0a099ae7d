"""The learner of policies."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from pathlib import Path
from typing import Self

from ..checks import check_choice, check_number, plain_arithmetic
from ..logs.feedback import BanditFeedback
from ..objectives import Objective, Regression
from ..protocols import RewardModel, check_reward_model
from .cross_fitting import CrossFittedRewardModel
from .fit import Callback
from .regressor import TwoTowerRegressor
from .settings import TwoTowerSettings
from .together import fit_one

_CATALOGUES = ("auto", "exact", "streamed", "sampled")


@dataclass(eq=False)
class OffPolicyLearner(TwoTowerSettings):
    """Learn a two-tower policy from a log.

    By default a regression that is hard to beat: a `BilinearLearner`, which leans on the logging
    policy and is found exactly, beside towers that learn what it leaves, if held-out rounds show a
    gain; served greedily.

    Features should be near unit scale: standardise them, by the training log. Settings can be read,
    changed and cloned as scikit-learn's can; ``GridSearchCV`` needs an estimator of labels.

    Parameters
    ----------
    objective : str, Objective, Regression or callable
        ``"auto"``, that default; or what to maximise: a name of `opl_lib.objectives.OBJECTIVES`, an
        objective made of settings, such as ``opl.clipped_ips(max_weight=5)``, or a function of
        one's own, see `Objective`. Most estimate the policy's value. ``"regression"``,
        ``"squared_error"`` and ``"mrdr"`` predict the reward of the logged item, and the policy
        scores items by that; `TwoTowerRegressor` gives the predictions themselves.
    epochs : int, optional
        Passes over the log. If not given, at least ten, and 1,000 updates; of ``"auto"`` the most.
    batch_size : int
        Rounds per update.
    learning_rate : float, optional
        Of Adam. If not given, 1e-3 for regressions, and 1e-4 for others, which collapse if faster.
    weight_decay : float
        L2 penalty of Adam; the article uses 1e-6. However small, it moves a weight without
        gradient, as of an item never logged, towards 0 by about `learning_rate` a step.
    temperature : float, optional
        Of the softmax policy, in training and in `policy_`. If not given, 1; but 0 for regressions,
        which are served greedily, since a softmax of their predictions hides what they learned.
        That of ``"auto"`` is in units of `BilinearLearner`.
    hidden : sequence of int
        Hidden layers of each tower.
    dim_embedding : int
        Size of the shared space.
    towers : TwoTower, optional
        Towers to start from instead: of another architecture, or already trained. They are
        copied, not changed; `hidden` and `dim_embedding` are then not used. Only the towers are
        called, so that a subclass with a `forward` of its own is refused.
    reward_model : reward model, optional
        The q̂ of ``"dr"``, ``"dm"`` and all others that need one: see `opl_lib.reward_models`. If
        not given, two towers of the same shape and epochs, trained by regression. One that
        `cross_fit` made of the very log is used as it is: several learners can share it.
        ``"auto"`` takes none.
    n_folds : int
        Folds in which q̂ is cross-fitted; 1 fits and uses it on the same rows.
    catalogue : {"auto", "exact", "streamed", "sampled"}
        How a step of a value objective sees the items. ``"exact"`` takes all at once;
        ``"streamed"`` gives the same numbers from tiles of items, in memory that does not grow
        with the catalogue; ``"sampled"`` takes the logged items and a uniform sample, at a cost
        that does not grow with the catalogue, and degrades as the policy gets peaky. ``"auto"`` is
        exact while a batch has few logits, else streamed. Regressions see only the logged items,
        and objectives of your own all of them unless they say ``only_logged_item`` (`Objective`).
        Towers whose output depends on the other rows or on chance, as with batch normalisation or
        dropout, are not the same in tiles. Of a log with `eligible`, the items of a round are those
        that could be shown in it, in every way.
    n_sampled : int
        Items drawn a step by ``"sampled"``; not below the number of items it is exact instead.
    shuffle : bool
        Whether each epoch takes the rounds in a new order. The article does not.
    progress : bool, optional
        Show a progress bar. If not given, on a terminal only.
    random_state : int
        Fixes initial weights, order of the rounds and folds of q̂: two fits on one machine with
        the same thread count give the same bits. It does not fix what an objective of one's own
        draws from torch's global generator: that is the caller's, who may seed it.
    device : str or torch.device
        Where steps are taken and `policy_` calculates: ``"cpu"``; ``"cuda"`` or ``"cuda:1"``;
        ``"mps"``; or ``"auto"``, a CUDA GPU if there is one, else the CPU. See Notes.

    Attributes
    ----------
    policy_ : TwoTowerPolicy
        The learned policy.
    history_ : dict of str to list of float
        ``"objective"``, the mean over each epoch's rounds, and one list for each number that the
        callback returns, with its value before the first epoch and after each: NaN where the
        callback did not return it. ``"auto"`` adds ``"held_out"``, minus the squared error there.
    objective_ : Objective or Regression
        What was maximised.
    reward_model_ : CrossFittedRewardModel
        The fitted q̂, if the objective needs one. It holds the log, so that a pickled learner
        contains the log; `TwoTowerPolicy.save` does not.

    Raises
    ------
    ValueError
        At construction, in `set_params` or in `fit`, if a setting is out of range.
    TypeError
        There, if a setting, the log or the callback is no such thing.
    NonFiniteLossError
        In `fit`, if the objective stops being finite. `policy_` then holds the weights of the last
        epoch that ended well, and `history_` what was recorded so far.

    Notes
    -----
    Small towers gain little from a second thread, and on a busy machine lose much by waiting for
    it: call ``torch.set_num_threads(1)`` there.

    Fits in threads give the same bits as alone. Towers of one's own may draw, as dropout does, from
    torch's global generator, which all threads share: fits of such towers wait for each other,
    epoch by epoch, and leave the generator as it was, but a thread of one's own that draws from it
    meanwhile disturbs them.

    The CPU is the default, also where there is a GPU: numbers are then those of other machines, and
    small steps cost a GPU more in launches than in work. On another device the log's columns are
    sent once (those of a log on disk block by block), orders and samples are the same draws, and a
    step neither sends nor fetches nor waits; but for a q̂ of more than 33 million numbers, or for a
    log on disk, which is predicted on the CPU batch by batch. Numbers agree to rounding. The
    bilinear part of ``"auto"`` is found on the CPU. A checkpoint goes on on any device, and what is
    pickled opens without it. An objective or a tower of one's own makes its tensors where its
    inputs are. Steps are not captured in CUDA graphs, and nothing was measured on a GPU yet.

    A process that has fitted should not be forked, since torch's own threads do not survive that:
    start others by the method ``"spawn"`` or ``"forkserver"``, or by joblib's loky.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> learner = opl.OffPolicyLearner(objective="ips", epochs=5, learning_rate=1e-3)
    >>> policy = learner.fit(world.sample(2000, random_state=1)).policy_
    >>> world.policy_value(policy) > world.policy_value(world.logging_policy)
    True
    """

    objective: str | Objective | Regression = "auto"
    _: KW_ONLY
    reward_model: RewardModel | None = None
    n_folds: int = 2
    catalogue: str = "auto"
    n_sampled: int = 256

    def check(self) -> None:
        super().check()
        if not isinstance(self.reward_model, CrossFittedRewardModel | None):
            check_reward_model(self.reward_model)
        if self.objective == "auto" and self.reward_model is not None:
            raise ValueError("'auto' has no use for a reward_model: pass objective='dr', say.")
        check_choice("catalogue", self.catalogue, _CATALOGUES)
        for name in ("n_folds", "n_sampled"):
            check_number(name, getattr(self, name), Integral, least=1)

    @plain_arithmetic
    def fit(
        self,
        feedback: BanditFeedback,
        callback: Callback | None = None,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Learn from a log. What an earlier fit has learned is forgotten first.

        Parameters
        ----------
        feedback : BanditFeedback
        callback : callable, optional
            Called with the current policy before the first epoch and after every epoch; it returns
            None, or a dictionary of numbers that `history_` keeps by their names. This is where a
            curve of the true value comes from, in a world that has one. The policy goes on learning
            afterwards: keep a ``copy.deepcopy`` of it, not the policy. To end the fit, raise
            `StopFit`. A `Watch` is such a callback, and diagnoses the policy.
        checkpoint : str or Path, optional
            A file that is written every half minute, whole or not at all. A fit that was killed
            goes on from there when it is called again, to the same bits. What a callback remembers
            is kept if it has `state_dict` and `load_state_dict`; else it sees the later epochs
            alone. The file is a pickle: use none that somebody else made.

        Returns
        -------
        OffPolicyLearner
            This object, fitted. An interrupt leaves the weights of then, of ``"auto"`` the best.

        Raises
        ------
        ValueError
            If the checkpoint is of another log or other settings, with the reason, or was damaged.
        """
        fit_one(self, feedback, callback, checkpoint)
        return self

    def default_reward_model(self) -> TwoTowerRegressor:
        """The reward model, a `TwoTowerRegressor`, that is used if none is given."""
        names = ("epochs", "batch_size", "hidden", "dim_embedding", "progress", "random_state")
        return TwoTowerRegressor(**{name: getattr(self, name) for name in (*names, "device")})
