"""A check of objectives of one's own: is the gradient that of the value, are the claims true?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..checks import check_seed, plain_arithmetic
from .base import Objective
from .batch import Batch
from .registry import get_objective

__all__ = ["check_objective"]

_N_ROUNDS, _N_ACTIONS = 6, 5


@plain_arithmetic
def check_objective(objective: str | Objective, random_state: int = 0) -> None:
    """Raise unless an objective is what it says, on random rounds in double precision.

    Checked are its shapes; that a gradient of its own is that of its value, by differences; that K
    models at once are K models, if it says `batched`; and that two columns do for all items, if it
    says `only_logged_item`.

    Parameters
    ----------
    objective : str, Objective or callable
        As `OffPolicyLearner` takes it.
    random_state : int
        Fixes the rounds.

    Raises
    ------
    ValueError
        At the first thing that is wrong, with the round, the item and both numbers.

    Examples
    --------
    >>> import opl_lib as opl
    >>> def ips_downhill(logits, batch):
    ...     value, gradient = opl.ips(logits, batch)
    ...     return value, -gradient
    >>> opl.check_objective("ips")
    >>> opl.check_objective(opl.Objective(ips_downhill))
    Traceback (most recent call last):
        ...
    ValueError: objective ips_downhill: the gradient at round 0, item 0 is ...
    """
    objective = get_objective(objective)
    check_seed(random_state)
    if not isinstance(objective, Objective):
        raise ValueError(f"objective {objective!r} is a regression, which has no policy gradient.")
    draws = np.random.default_rng(random_state)
    first, second = (_draw(objective, draws) for _ in range(2))
    logits, batch = first
    value, gradient = _ask(objective, logits, batch)
    if isinstance(objective.function(logits, batch, **objective.settings), tuple):
        slope = _slope(objective, logits, batch)
        _compare(f"objective {objective}: the gradient", gradient, slope)
    if objective.batched:
        pairs = zip(batch, second[1], strict=True)
        columns = [None if a is None or b is None else torch.stack([a, b]) for a, b in pairs]
        stacked = Batch(*columns)  # type: ignore[arg-type]
        both = _ask(objective, torch.stack([logits, second[0]]), stacked, "batched")
        alone = torch.stack([value, objective(*second)[0]])
        _compare(f"objective {objective} is not batched: the value", both[0], alone)
        alone = torch.stack([gradient, objective(*second)[1]])
        _compare(f"objective {objective} is not batched: the gradient", both[1], alone)
    if objective.only_logged_item:
        collapsed = _ask(objective, *_two_columns(logits, batch), "only_logged_item")[0]
        what = f"objective {objective} sees more than the logged item: its value on two columns"
        _compare(what, collapsed, value)


def _ask(
    objective: Objective, logits: Tensor, batch: Batch, claim: str = ""
) -> tuple[Tensor, Tensor]:
    """Value and gradient, of the right shapes."""
    try:
        value, gradient = objective(logits, batch)
    except Exception as error:
        if not claim:
            raise
        what = f"objective {objective} is not {claim}: it fails on logits of shape"
        raise ValueError(f"{what} {tuple(logits.shape)}.") from error
    shape = logits.shape[:-2]
    if value.shape != shape or gradient.shape != logits.shape:
        raise ValueError(
            f"objective {objective}: value and gradient must have shapes {tuple(shape)} and "
            f"{tuple(logits.shape)}; got {tuple(value.shape)} and {tuple(gradient.shape)}."
        )
    if not (value.isfinite().all() and gradient.isfinite().all()):
        raise ValueError(f"objective {objective}: value or gradient is not finite.")
    return value, gradient


def _draw(objective: Objective, draws: np.random.Generator) -> tuple[Tensor, Batch]:
    n, m = _N_ROUNDS, objective.n_actions or _N_ACTIONS
    pscore, q_hat = 0.1 + 0.8 * draws.random(n), draws.random((n, m))
    columns = {"q_hat": q_hat, "cluster_pscore": pscore + (1 - pscore) * draws.random(n)}
    given = {name: torch.from_numpy(columns[name]) for name in objective.needs}
    logged = (draws.integers(m, size=n), draws.random(n), pscore)
    batch = Batch(*(torch.from_numpy(column) for column in logged), **given)
    return torch.from_numpy(draws.normal(size=(n, m))), batch


def _slope(objective: Objective, logits: Tensor, batch: Batch) -> Tensor:
    """What the gradient should be: by differences of the value."""
    slope, step = torch.empty_like(logits), 1e-5
    for place in range(logits.numel()):
        ends = []
        for shift in (step, -step):
            moved = logits.clone()
            moved.view(-1)[place] += shift
            ends.append(objective(moved, batch)[0])
        slope.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
    return slope


def _two_columns(logits: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """The logged item, and one that stands for all others."""
    logged = batch.action[:, None]
    others = logits.scatter(1, logged, -torch.inf)
    two = torch.cat([logits.gather(1, logged), others.logsumexp(dim=1, keepdim=True)], dim=1)
    batch = batch._replace(action=torch.zeros_like(batch.action))
    if batch.q_hat is not None:
        rest = (others.softmax(dim=1) * batch.q_hat).sum(dim=1, keepdim=True)
        batch = batch._replace(q_hat=torch.cat([batch.q_hat.gather(1, logged), rest], dim=1))
    return two, batch


def _compare(what: str, found: Tensor, right: Tensor) -> None:
    off = ~((found - right).abs() <= 1e-6 * (1 + right.abs()))
    if off.any():
        place = tuple(int(i) for i in off.nonzero()[0])
        axes = {1: ("model",), 2: ("round", "item"), 3: ("model", "round", "item")}
        names = zip(axes.get(found.ndim, ()), place, strict=True)
        where = ", ".join(f"{axis} {number}" for axis, number in names)
        raise ValueError(
            f"{what}{' at ' * bool(where)}{where} is {float(found[place]):.3g}, not "
            f"{float(right[place]):.3g}."
        )
