"""The Open Bandit Dataset: real logs of a fashion store, with the probabilities that made them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .feedback import BanditFeedback

if TYPE_CHECKING:
    import pandas as pd

_USER_FEATURES = [f"user_feature_{i}" for i in range(4)]
_ITEM_CATEGORIES = [f"item_feature_{i}" for i in range(1, 4)]
_LOG_COLUMNS = ["timestamp", "item_id", "position", "click", "propensity_score"]


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
        For another policy or campaign.
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

    if behavior_policy not in ("random", "bts"):
        raise ValueError(f"behavior_policy must be 'random' or 'bts'; got {behavior_policy!r}.")
    if campaign not in ("all", "men", "women"):
        raise ValueError(f"campaign must be 'all', 'men' or 'women'; got {campaign!r}.")
    root = _sample_path() if data_path is None else Path(data_path)
    other = "bts" if behavior_policy == "random" else "random"
    log = _read(root, behavior_policy, campaign, [*_LOG_COLUMNS, *_USER_FEATURES])
    users_elsewhere = _read(root, other, campaign, _USER_FEATURES)
    log = log.sort_values("timestamp", kind="stable")

    users = [
        pd.Categorical(log[name], sorted({*log[name].unique(), *users_elsewhere[name].unique()}))
        for name in _USER_FEATURES
    ]
    return BanditFeedback(
        context=np.hstack([_one_hot(user.codes, len(user.categories)) for user in users]),
        action=log["item_id"].to_numpy(),
        reward=log["click"].to_numpy(),
        pscore=log["propensity_score"].to_numpy(),
        action_context=_item_features(root, behavior_policy, campaign),
        position=log["position"].to_numpy() - 1,
        timestamp=pd.to_datetime(log["timestamp"], utc=True, format="ISO8601")
        .dt.tz_localize(None)
        .to_numpy(),
    )


def _item_features(root: Path, behavior_policy: str, campaign: str) -> np.ndarray:
    import pandas as pd

    items = _read_csv(root / behavior_policy / campaign / "item_context.csv", None)
    items = items.sort_values("item_id")
    columns = [items[["item_feature_0"]].to_numpy(np.float32)]
    for name in _ITEM_CATEGORIES:
        codes, categories = pd.factorize(items[name])
        columns.append(_one_hot(codes, len(categories)))
    return np.hstack(columns)


def _one_hot(codes: np.ndarray, n_categories: int) -> np.ndarray:
    return np.eye(n_categories, dtype=np.float32)[codes]


def _read(root: Path, behavior_policy: str, campaign: str, columns: list[str]) -> pd.DataFrame:
    return _read_csv(root / behavior_policy / campaign / f"{campaign}.csv", columns)


def _read_csv(path: Path, columns: list[str] | None) -> pd.DataFrame:
    import pandas as pd

    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist. data_path must be the folder that holds "
            "random/ and bts/, each with all/, men/ and women/."
        )
    return pd.read_csv(path, usecols=columns)


def _sample_path() -> Path:
    """The sample's folder, found without importing ``obp``, which takes seconds."""
    package = importlib.util.find_spec("obp")
    if package is None or package.origin is None:
        raise FileNotFoundError(
            "the sample of the Open Bandit Dataset comes with obp, which is not installed: "
            "pip install obp==0.4.1, or pass data_path=… with the full data set."
        )
    return Path(package.origin).parent / "dataset" / "obd"
