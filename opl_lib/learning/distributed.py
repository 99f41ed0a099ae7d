"""One fit by several processes, on one machine or on many."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..checks import plain_arithmetic
from ..devices import find_device
from ..logs.feedback import BanditFeedback, check_feedback
from .fit import Callback, check_callback
from .group import Group
from .learner import OffPolicyLearner
from .together import fit_one

# Seconds that processes wait for each other before they give up.
_PATIENCE = 600


@plain_arithmetic
def fit_distributed(
    learner: OffPolicyLearner,
    feedback: BanditFeedback,
    callback: Callback | None = None,
    checkpoint: str | Path | None = None,
) -> OffPolicyLearner:
    """Fit a learner by several processes: what one process learns, to rounding.

    Every process calls it with the same learner and log, as a script that ``torchrun
    --nproc-per-node=2 script.py`` starts does; on several machines, with torchrun's ``--nnodes``
    and ``--rdzv-endpoint``. Each computes the gradient of its part of every batch, one all-reduce
    adds them up, and all take the same step.

    Parameters
    ----------
    learner : OffPolicyLearner
        Its `batch_size` is that of all processes together. Its objective has to be a mean over
        rounds, such as ``"ips"``, ``"dr"`` or ``"regression"``; ``"auto"`` is found exactly, by one
        process.
    feedback : BanditFeedback
        The same log in each process. Of a `LogOnDisk` each reads a part of its own: of every block
        of rounds a run, the same one in each epoch. What is checked once, such as the range of the
        rewards, the first process reads for all; it is also the one to open the log with
        ``check=True``.
    callback : callable, optional
        As in `OffPolicyLearner.fit`; called in each process.
    checkpoint : str or Path, optional
        As there; the first process reads and writes it.

    Returns
    -------
    OffPolicyLearner
        The learner, fitted; the same in each process.

    Raises
    ------
    RuntimeError
        If there are no processes to fit with, or one is lost: after ten minutes without an answer,
        or at once if it was killed. Started again, they go on from the checkpoint.
    ValueError
        If learner or log differ between processes, or the objective is no mean over rounds.

    Notes
    -----
    Processes that `torch.distributed` has not connected yet are connected by gloo, or by nccl where
    the learner's `device` is a GPU, of which ``"cuda"`` gives each process its own, by torchrun's
    ``LOCAL_RANK``. That was not run yet: no machine with two GPUs was at hand. Connect them before
    the call to choose otherwise. Layers that draw, such as dropout,
    draw the same for each part of a batch. A log with `eligible` and a `sampled` catalogue is
    sampled by each process for its own rounds: there the numbers are those of one process on
    average.
    """
    if not isinstance(learner, OffPolicyLearner):
        raise TypeError(f"learner must be an OffPolicyLearner; got {type(learner).__name__}.")
    check_feedback(feedback)
    check_callback(callback)
    if learner.objective == "auto":
        raise ValueError(
            "learner has the objective 'auto', which one process finds exactly: learner.fit(log). "
            "For several, choose one that takes steps, such as 'dr' or 'regression'."
        )
    ours = not dist.is_initialized()
    if ours:
        _connect(learner.device)
    on_loss = "they begin anew, since there is no checkpoint=…"
    if checkpoint is not None:
        on_loss = f"they go on from {checkpoint}."
    try:
        fit_one(learner, feedback, callback, checkpoint, Group(on_loss))
    finally:
        if ours:
            dist.destroy_process_group()
    return learner


def _connect(device: str | torch.device) -> None:
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in os.environ]
    if missing:
        raise RuntimeError(
            "there are no processes to fit with: start the script by torchrun "
            "--nproc-per-node=2 script.py, or call torch.distributed.init_process_group first. In "
            "one process, learner.fit(feedback) does the same."
        )
    options: dict[str, Any] = {"timeout": timedelta(seconds=_PATIENCE)}
    torch.distributed.init_process_group(_backend(device), **options)


def _backend(device: str | torch.device) -> str:
    """Of a device; if it is a GPU without a number, let each process of a machine take its own."""
    if find_device(device).type != "cuda":
        return "gloo"
    if torch.device("cuda" if device == "auto" else device).index is None:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    return "cpu:gloo,cuda:nccl"
