"""The Open Bandit Dataset: the sample's known numbers, joint encoding, obp's own reading of it."""

import functools
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl

pytest.importorskip("obp", reason="the sample comes with obp")
SAMPLE = Path(importlib.util.find_spec("obp").origin).parent / "dataset" / "obd"
CAMPAIGNS = ["all", "men", "women"]
POLICIES = ["random", "bts"]

load = functools.cache(opl.load_open_bandit)
every_log = pytest.mark.parametrize(
    ("behavior_policy", "campaign"), [(p, c) for p in POLICIES for c in CAMPAIGNS]
)
every_campaign = pytest.mark.parametrize("campaign", CAMPAIGNS)


def raw(behavior_policy, campaign, name):
    return pd.read_csv(SAMPLE / behavior_policy / campaign / name, index_col=0)


@pytest.mark.parametrize(
    ("behavior_policy", "campaign", "n_items", "n_clicks"),
    [
        ("random", "all", 80, 38),
        ("random", "men", 34, 46),
        ("random", "women", 46, 46),
        ("bts", "all", 80, 42),
        ("bts", "men", 34, 69),
        ("bts", "women", 46, 46),
    ],
)
def test_the_sample_has_its_known_size_and_clicks(behavior_policy, campaign, n_items, n_clicks):
    log = load(behavior_policy, campaign)
    assert (log.n_rounds, log.n_actions, log.reward.sum()) == (10_000, n_items, n_clicks)
    assert sorted(set(log.position)) == [0, 1, 2]


@every_log
def test_rows_are_in_time_order(behavior_policy, campaign):
    timestamp = load(behavior_policy, campaign).timestamp
    assert (np.diff(timestamp) >= np.timedelta64(0)).all()
    assert str(timestamp[0]).startswith("2019-11-24T00:0")


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.sort_values")  # obp's
@every_log
def test_rows_are_those_that_obp_reads(behavior_policy, campaign):
    from obp.dataset import OpenBanditDataset

    class WithoutFeatures(OpenBanditDataset):
        """obp's own encoding does not run with the pandas of today."""

        def pre_process(self):
            self.context = self.action_context = None

    theirs = WithoutFeatures(behavior_policy=behavior_policy, campaign=campaign)
    times = pd.to_datetime(theirs.data["timestamp"], format="ISO8601").dt.tz_localize(None)
    dictionary = theirs.obtain_batch_bandit_feedback()
    columns = ["action", "reward", "pscore", "position"]
    log = load(behavior_policy, campaign)
    # rows of one time have no order of their own
    tables = [
        pd.DataFrame({"time": time, **{name: rows[name] for name in columns}}, index=range(10_000))
        .sort_values(["time", *columns])
        .reset_index(drop=True)
        for time, rows in ((times.to_numpy(), dictionary), (log.timestamp, log.to_obp()))
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1], check_dtype=False)


@every_campaign
def test_random_showed_every_item_alike_and_bts_did_not(campaign):
    random, bts = (load(policy, campaign) for policy in POLICIES)
    np.testing.assert_allclose(random.pscore, 1 / random.n_actions, rtol=1e-3)
    assert bts.pscore.std() > 0.01


@every_campaign
def test_a_log_of_one_slot_has_right_pscores(campaign):
    log = load("random", campaign)
    assert log[log.position == 0].support_report().mean_weight == pytest.approx(1, rel=1e-3)


# ---- encoding


@every_campaign
def test_both_logs_are_encoded_alike(campaign):
    random, bts = (load(policy, campaign) for policy in POLICIES)
    np.testing.assert_array_equal(random.action_context, bts.action_context)
    assert random.dim_context == bts.dim_context
    # the two policies served the same public, so a column of one meaning has one mean
    np.testing.assert_allclose(random.context.mean(axis=0), bts.context.mean(axis=0), atol=0.02)


@every_log
def test_context_columns_are_the_user_categories_of_both_logs(behavior_policy, campaign):
    users = {
        p: raw(p, campaign, f"{campaign}.csv").sort_values("timestamp", kind="stable")
        for p in POLICIES
    }
    columns = []
    for feature in [f"user_feature_{i}" for i in range(4)]:
        for category in sorted(set(users["random"][feature]) | set(users["bts"][feature])):
            columns.append((users[behavior_policy][feature] == category).to_numpy(float))
    log = load(behavior_policy, campaign)
    np.testing.assert_array_equal(log.context, np.column_stack(columns))
    np.testing.assert_array_equal(log.context.sum(axis=1), 4)


@every_log
def test_item_columns_are_the_price_like_number_and_one_hot_categories(behavior_policy, campaign):
    items = raw(behavior_policy, campaign, "item_context.csv").sort_values("item_id")
    features = load(behavior_policy, campaign).action_context
    np.testing.assert_allclose(features[:, 0], items["item_feature_0"], rtol=1e-6)
    categories = features[:, 1:]
    assert set(np.unique(categories)) == {0, 1}
    np.testing.assert_array_equal(categories.sum(axis=1), 3)
    names = [f"item_feature_{i}" for i in (1, 2, 3)]
    assert categories.shape[1] == items[names].nunique().sum()
    start = 0
    for name in names:
        width = items[name].nunique()
        codes = categories[:, start : start + width].argmax(axis=1)
        same = items[name].to_numpy()[:, None] == items[name].to_numpy()[None]
        np.testing.assert_array_equal(codes[:, None] == codes[None], same, err_msg=name)
        start += width


@every_campaign
@pytest.mark.parametrize("feature", ["item_feature_1", "item_feature_2", "item_feature_3"])
def test_the_files_hash_categories_differently_but_mean_the_same(campaign, feature):
    """Why categories are encoded by first appearance: no hash is in both files."""
    random, bts = (
        raw(policy, campaign, "item_context.csv").sort_values("item_id") for policy in POLICIES
    )
    assert random["item_id"].tolist() == bts["item_id"].tolist() == list(range(len(random)))
    assert not set(random[feature]) & set(bts[feature])
    np.testing.assert_array_equal(pd.factorize(random[feature])[0], pd.factorize(bts[feature])[0])


# ---- the full data set by path


@pytest.fixture
def tiny_copy(tmp_path):
    """The men's files of both policies, cut to 50 rows."""
    for policy in POLICIES:
        folder = tmp_path / policy / "men"
        folder.mkdir(parents=True)
        shutil.copy(SAMPLE / policy / "men" / "item_context.csv", folder)
        raw(policy, "men", "men.csv").head(50).to_csv(folder / "men.csv")
    return tmp_path


@pytest.mark.parametrize("make", [Path, str])
def test_data_path_is_the_folder_of_both_policies(tiny_copy, make):
    log = opl.load_open_bandit("bts", "men", data_path=make(tiny_copy))
    assert (log.n_rounds, log.n_actions) == (50, 34)
    rows = raw("bts", "men", "men.csv").head(50)
    assert sorted(log.pscore) == sorted(rows["propensity_score"])


def test_rows_of_the_file_may_be_in_any_order(tiny_copy):
    expected = opl.load_open_bandit("bts", "men", data_path=tiny_copy)
    for policy in POLICIES:
        path = tiny_copy / policy / "men" / "men.csv"
        pd.read_csv(path, index_col=0).iloc[::-1].to_csv(path)
        path = tiny_copy / policy / "men" / "item_context.csv"
        pd.read_csv(path, index_col=0).iloc[::-1].to_csv(path)
    got = opl.load_open_bandit("bts", "men", data_path=tiny_copy)
    for name in ("context", "action", "reward", "pscore", "position", "timestamp"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(got.action_context, expected.action_context)


@pytest.mark.parametrize(
    "missing", ["random/men/men.csv", "bts/men/men.csv", "random/men/item_context.csv"]
)
def test_a_missing_file_is_named_with_the_folders_expected(tiny_copy, missing):
    (tiny_copy / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"{missing} does not exist. data_path must be"):
        opl.load_open_bandit("random", "men", data_path=tiny_copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("uniform", "men"), "behavior_policy must be 'random' or 'bts'; got 'uniform'"),
        (("random", "kids"), "campaign must be 'all', 'men' or 'women'; got 'kids'"),
        ((None, "men"), "behavior_policy must be"),
    ],
)
def test_unknown_logs_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        opl.load_open_bandit(*arguments)


def test_without_obp_the_sample_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"obp, which is not installed.*pip install obp=="):
        opl.load_open_bandit()
