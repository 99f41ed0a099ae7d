"""How often a selection goes wrong, over many logs of a world."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any

from ..checks import MAX_SEED, check_flag, check_number, check_seed, plain_arithmetic
from ..logs.feedback import BanditFeedback, check_feedback
from ..progress import progress_bar
from ..protocols import KnownWorld, takes
from .choice import SERVE
from .judge import LOGGING
from .learned import Learned
from .selected import Selection

if TYPE_CHECKING:
    import pandas as pd

_CHOOSE = "a function from a log to a Selection or a Learned, such as opl.learn"


@plain_arithmetic
def rehearse(
    choose: Callable[[BanditFeedback], Selection | Learned],
    world: KnownWorld,
    n_rounds: int,
    n_logs: int = 100,
    progress: bool | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Repeat a selection over many logs of a world, and see how often it goes wrong.

    Parameters
    ----------
    choose : callable
        From a log to a `Selection`, such as ``lambda log: opl.select(candidates, log)``, or to what
        `learn` found, such as ``opl.learn``.
    world : SyntheticWorld or DigitsWorld
        Where the true values are known: anything with ``sample(n_rounds, random_state)``,
        ``policy_value(policy)`` and ``logging_policy``.
    n_rounds : int, at least 1
        Length of each log.
    n_logs : int, at least 1
        Number of logs.
    progress : bool, optional
        Show a progress bar. If not given, on a terminal only.
    random_state : int
        Log k is drawn with seed ``random_state + k``.

    Returns
    -------
    pandas.DataFrame
        One row a log. ``best``: what was chosen, of `learn` the logging policy unless it decides to
        serve; ``difference``: its true ``V(π) − V(π_0)``; ``reported``, ``ci_lower``, ``ci_upper``:
        what the report said of it, NaN where `learn` keeps the logging policy. ``naive``: the
        candidate with the largest estimate on the selection part, the logging policy included;
        ``naive_difference``: its true difference; ``naive_estimate``: what was estimated, on the
        rows that chose it. ``(table.difference < 0).mean()`` is the rate of policies worse than
        logging.

    Examples
    --------
    >>> import opl_lib as opl
    >>> world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    >>> candidates = {f"epsilon {e}": opl.epsilon_greedy(e) for e in (0.3, 0.6, 0.9)}
    >>> table = opl.rehearse(
    ...     lambda log: opl.select(candidates, log, estimator="ips"), world, n_rounds=500, n_logs=20
    ... )
    >>> bool((table.difference < 0).mean() <= (table.naive_difference < 0).mean())
    True
    """
    import pandas as pd

    if not callable(choose) or not takes(choose, 1):
        raise TypeError(f"choose must be {_CHOOSE}; got {type(choose).__name__}.")
    if isinstance(world, type) or not isinstance(world, KnownWorld):
        raise TypeError(
            "world must have sample(n_rounds, random_state), policy_value(policy) and "
            f"logging_policy, as a SyntheticWorld has; got {world!r}."
        )
    check_flag("progress", False if progress is None else progress)
    check_number("n_rounds", n_rounds, Integral, least=1)
    check_number("n_logs", n_logs, Integral, least=1)
    check_seed(random_state)
    logging_value = world.policy_value(world.logging_policy)
    rows = []
    with progress_bar("rehearse", n_logs, progress) as bar:
        for k in range(n_logs):
            seed = (int(random_state) + k) % (MAX_SEED + 1)
            log = world.sample(n_rounds, random_state=seed)
            check_feedback(log, "what sample of the world returned")
            found = choose(log)
            if not isinstance(found, Selection | Learned):
                raise TypeError(f"choose must be {_CHOOSE}; it returned {found!r}.")
            rows.append(outcome(found, world, logging_value))
            bar.update()
    return pd.DataFrame(rows)


def outcome(found: Selection | Learned, world: KnownWorld, logging_value: float) -> dict[str, Any]:
    """What was chosen, what it is truly worth, and what was said of it: a row of `rehearse`."""
    estimates = {LOGGING: 0.0} | found.table.difference.to_dict()
    naive = max(estimates, key=lambda name: estimates[name])
    best, reported = found.best, found.report.loc["difference"]
    if isinstance(found, Learned) and found.decision != SERVE:
        best, reported = LOGGING, reported * math.nan
    gain = {LOGGING: 0.0} | {
        name: world.policy_value(found.policies[name]) - logging_value
        for name in {best, naive} - {LOGGING}
    }
    return {
        "best": best,
        "difference": gain[best],
        "reported": reported.value,
        "ci_lower": reported.ci_lower,
        "ci_upper": reported.ci_upper,
        "naive": naive,
        "naive_difference": gain[naive],
        "naive_estimate": estimates[naive],
    }
