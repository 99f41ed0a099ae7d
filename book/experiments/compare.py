"""Compare what a table holds: on the same worlds first, then over seeds."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.special import stdtrit

REFERENCES = ("logging", "uniform", "best_constant_item", "optimum")


def mean_and_interval(values: Iterable[float]) -> tuple[float, float]:
    """Mean over seeds and half the width of its 95 % Student-t interval."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    return float(values.mean()), float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))


def by_seed(table: pd.DataFrame, setting: str, value: str = "softmax_value") -> pd.DataFrame:
    """Values of each setting and seed side by side, so that they can be subtracted.

    Parameters
    ----------
    table : DataFrame
        As `run` makes it, with one row a setting, seed and objective.
    setting : str
        The column that varies, such as ``"n_rounds"``.
    value : str
        The column to compare.

    Returns
    -------
    DataFrame
        Indexed by the setting and ``seed``: a column an objective, and one a reference value. A
        row is one world, so a difference of columns is free of the luck of the world.

    Raises
    ------
    ValueError
        If the table has two rows of one setting, seed and objective.

    Examples
    --------
    >>> import pandas as pd
    >>> worlds = {"n_rounds": 9, "logging": 0.5, "uniform": 0.5, "best_constant_item": 0.6,
    ...           "optimum": 0.9}
    >>> table = pd.DataFrame(
    ...     {**worlds, "seed": seed, "objective": name, "softmax_value": v + seed / 10}
    ...     for name, v in {"ips": 0.5, "dr": 0.6}.items() for seed in (0, 1)
    ... )
    >>> values = by_seed(table, "n_rounds")
    >>> over_seeds(values["dr"] - values["ips"]).round(3)
              mean  half_width
    n_rounds
    9          0.1         0.0
    """
    index = [setting, "seed"]
    values = table.pivot(index=index, columns="objective", values=value)
    return values.join(table.groupby(index)[list(REFERENCES)].first())


def over_seeds(values: pd.Series) -> pd.DataFrame:
    """Mean over seeds and half the width of its 95 % Student-t interval, a row a setting.

    Parameters
    ----------
    values : Series
        A column of `by_seed`, or what was computed from several.

    Returns
    -------
    DataFrame
        With columns ``mean`` and ``half_width``.
    """
    rows = {key: mean_and_interval(v) for key, v in values.groupby(level=0)}
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "half_width"])
    return frame.rename_axis(values.index.names[0])


def surely(values: pd.Series) -> pd.Series:
    """Which sign a difference surely has in each setting: that of its interval, or 0.

    Parameters
    ----------
    values : Series
        A difference of columns of `by_seed`.

    Returns
    -------
    Series
        +1 where the interval of `over_seeds` lies above 0, −1 where below, 0 where it holds 0.

    Examples
    --------
    >>> import pandas as pd
    >>> index = pd.MultiIndex.from_product([[10, 20], [0, 1]], names=["n_rounds", "seed"])
    >>> surely(pd.Series([0.4, 0.5, -0.2, 0.2], index)).to_dict()
    {10: 0, 20: 0}
    >>> surely(pd.Series([0.4, 0.41, -0.41, -0.4], index)).to_dict()
    {10: 1, 20: -1}
    """
    found = over_seeds(values)
    sure = found["mean"].abs() > found["half_width"]
    return (np.sign(found["mean"]) * sure).astype(int)


def beside(table: pd.DataFrame, points: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Our values beside published ones, and whether their difference is within both errors.

    Parameters
    ----------
    table : DataFrame
        As `run` makes it.
    points : DataFrame
        With the columns `setting`, ``objective``, ``policy_value`` and ``half_width``.
    setting : str
        The column that varies.

    Returns
    -------
    DataFrame
        Indexed by ``objective`` and the setting: ``ours``, ``published``, their ``difference``, its
        95 % ``half_width`` from both, taken as independent, and whether they ``agree``.
    """
    values = by_seed(table, setting)
    ours = {name: over_seeds(values[name]) for name in table["objective"].unique()}
    ours = pd.concat(ours, names=["objective"])
    published = points.set_index(["objective", setting]).loc[ours.index]
    difference = ours["mean"] - published["policy_value"]
    half_width = (ours["half_width"] ** 2 + published["half_width"] ** 2) ** 0.5
    return pd.DataFrame(
        {
            "ours": ours["mean"],
            "published": published["policy_value"],
            "difference": difference,
            "half_width": half_width,
            "agree": difference.abs() <= half_width,
        }
    )


def text(frame: pd.DataFrame) -> pd.Series:
    """``mean ± half_width``, to three digits, to be read: with a minus sign, and no −0."""
    return pd.Series(
        [
            f"{round(mean, 3) + 0.0:.3f} ± {half:.3f}".replace("-", "−")
            for mean, half in frame[["mean", "half_width"]].to_numpy()
        ],
        index=frame.index,
        dtype=object,
    )
