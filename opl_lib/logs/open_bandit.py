"""The Open Bandit Dataset: real logs of a fashion store, with the probabilities that made them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import integers, numbers
from ..checks import check_choice
from .feedback import BanditFeedback
from .identity import labels

if TYPE_CHECKING:
    import pandas as pd

_USER_FEATURES = [f"user_feature_{i}" for i in range(4)]
_ITEM_CATEGORIES = [f"item_feature_{i}" for i in range(1, 4)]
_LOG_COLUMNS = ["timestamp", "item_id", "position", "click", "propensity_score"]
_KINDS: dict[str, Callable[[str, Any], np.ndarray]] = {  # of the columns that hold no text
    "item_id": integers,
    "position": integers,
    "click": partial(numbers, ndim=1),
    "propensity_score": partial(numbers, ndim=1),
    "item_feature_0": partial(numbers, ndim=1),
}


def load_open_bandit(
    behavior_policy: str = "random", campaign: str = "all", data_path: str | Path | None = None
) -> BanditFeedback:
    """Load a real log: fashion items shown on a store's page, and whether they were clicked.

    Two logging policies ran side by side for a week: ``"random"`` showed items uniformly,
    ``"bts"`` by Bernoulli Thompson sampling. Both are encoded alike, so that a policy learned on
    one can be evaluated on the other: user categories over the union of both logs, and item
    categories by order of first appearance, because the two logs hash the same item category
    differently.

    Parameters
    ----------
    behavior_policy : {"random", "bts"}
        The logging policy.
    campaign : {"all", "men", "women"}
        The item set: 80, 34 or 46 items.
    data_path : str or Path, optional
        Folder of the full data set, with files like ``random/all/all.csv``. If not given, the
        sample of 10,000 rows a log inside the ``obp`` package.

    Returns
    -------
    BanditFeedback
        Rows in time order. ``context`` has one column a user category, ``action_context`` the
        numeric item feature and one column an item category, all 0 or 1 but that one.
        ``position`` is the slot, 0 to 2. ``pscore`` is the probability that the item was shown *in
        that slot*. Slots have different click rates, and ``bts`` different probabilities in each,
        so a log of one slot, ``log[log.position == 0]``, is one bandit problem; all three
        together are a mixture of three that treats them alike.

    Raises
    ------
    ValueError
        For another policy or campaign, or for a file that is damaged; the message names it.
    FileNotFoundError
        If the files are not below `data_path`, or ``obp`` is not installed and no path is given.

    References
    ----------
    Saito et al., "Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy
    Evaluation", NeurIPS Datasets and Benchmarks 2021.

    Examples
    --------
    >>> import opl_lib as opl
    >>> opl.load_open_bandit("random", "men")
    BanditFeedback(10,000 rounds, 34 items, mean reward 0.0046,
                   26 context features, 28 item features, position, timestamp)
    """
    import pandas as pd

    check_choice("behavior_policy", behavior_policy, ("random", "bts"))
    check_choice("campaign", campaign, ("all", "men", "women"))
    if not isinstance(data_path, str | os.PathLike | None):
        raise TypeError(f"data_path must be a folder's name; got {data_path!r}.")
    root = _sample_path() if data_path is None else Path(data_path)
    other = "bts" if behavior_policy == "random" else "random"
    log, path = _read(root, behavior_policy, campaign, [*_LOG_COLUMNS, *_USER_FEATURES])
    users_elsewhere, _ = _read(root, other, campaign, _USER_FEATURES)
    log["timestamp"] = _times(log["timestamp"], path)
    log = log.sort_values("timestamp", kind="stable")
    users = [
        pd.Categorical(log[name], sorted({*log[name].unique(), *users_elsewhere[name].unique()}))
        for name in _USER_FEATURES
    ]
    items = _item_features(root, behavior_policy, campaign)
    try:
        return BanditFeedback(
            context=np.hstack([_one_hot(user.codes, len(user.categories)) for user in users]),
            action=log["item_id"].to_numpy(),
            reward=log["click"].to_numpy(),
            pscore=log["propensity_score"].to_numpy(),
            action_context=items,
            position=log["position"].to_numpy() - 1,
            timestamp=log["timestamp"].to_numpy(),
        )
    except ValueError as error:
        raise ValueError(f"{path}, by time: {error}") from error


def _times(column: pd.Series, path: Path) -> pd.Series:
    import pandas as pd

    try:
        times = pd.to_datetime(column, utc=True, format="ISO8601")
    except ValueError as error:
        raise ValueError(f"{path}, timestamp: {error}") from error
    return times.dt.tz_localize(None)


def _item_features(root: Path, behavior_policy: str, campaign: str) -> np.ndarray:
    import pandas as pd

    path = root / behavior_policy / campaign / "item_context.csv"
    items = _read_csv(path, ["item_id", "item_feature_0", *_ITEM_CATEGORIES])
    items = items.sort_values("item_id")
    if (items["item_id"] != np.arange(len(items))).any():
        raise ValueError(
            f"{path}: item_id must be 0 to {len(items) - 1}, once each; sorted, it is "
            f"{items['item_id'].tolist()}. Is a line missing, or there twice?"
        )
    columns = [items[["item_feature_0"]].to_numpy(np.float32)]
    for name in _ITEM_CATEGORIES:
        codes, categories = pd.factorize(items[name])
        columns.append(_one_hot(codes, len(categories)))
    return np.hstack(columns)


def _one_hot(codes: np.ndarray, n_categories: int) -> np.ndarray:
    return np.eye(n_categories, dtype=np.float32)[codes]


def _read(
    root: Path, behavior_policy: str, campaign: str, columns: list[str]
) -> tuple[pd.DataFrame, Path]:
    path = root / behavior_policy / campaign / f"{campaign}.csv"
    return _read_csv(path, columns), path


def _read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    """Some columns of a file, each of its kind and without a gap."""
    import pandas as pd

    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist. data_path must be the folder that holds "
            "random/ and bts/, each with all/, men/ and women/."
        )
    try:
        last = pd.read_csv(path, nrows=0).columns[-1]  # which a row that was cut lacks
        frame = pd.read_csv(path, usecols=[*columns, last])
    except ValueError as error:  # pandas' own are ValueErrors too, and name no file
        raise ValueError(f"{path} is no file of the Open Bandit Dataset: {error}") from error
    if len(frame) == 0:
        raise ValueError(f"{path} has no rows.")
    for name in frame:
        _KINDS.get(name, labels)(f"{path}, {name},", frame[name].to_numpy())
    return frame


def _sample_path() -> Path:
    """The sample's folder, found without importing ``obp``, which takes seconds."""
    package = importlib.util.find_spec("obp")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "the sample of the Open Bandit Dataset comes with obp, which is not installed: "
            "pip install obp==0.4.1, or pass data_path=… with the full data set."
        )
    return Path(package.origin).parent / "dataset" / "obd"
