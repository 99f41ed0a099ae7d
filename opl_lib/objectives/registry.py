"""Objectives by name, and what else may stand for one."""

from __future__ import annotations

from typing import Any

from .base import OBJECTIVES, Formula, Objective


def get_objective(objective: Any) -> Any:
    """Look up an objective or a regression by name, or wrap a function of one's own.

    Parameters
    ----------
    objective : str, Objective, Regression or callable
        A function is taken for an `Objective` that sees all items, one model at a time.

    Returns
    -------
    Objective or Regression

    Raises
    ------
    ValueError
        If it is none of these, or a function of the library that makes objectives of settings.
    """
    if isinstance(objective, Formula):
        return objective
    if isinstance(objective, str) and objective in OBJECTIVES:
        return OBJECTIVES[objective]
    if callable(objective) and not str(objective.__module__).startswith("opl_lib."):
        return Objective(objective)
    raise ValueError(
        f"objective must be one of {sorted(OBJECTIVES)}, an opl.Objective or a function of "
        f"(logits, batch); got {objective!r}. One with settings is made of them, "
        "for example opl.clipped_ips(max_weight=5) or opl.mips(cluster)."
    )
