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
    assert log[log.position == 0].support_report(opl.uniform()).mean_weight == pytest.approx(
        1, rel=1e-3
    )


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
        (("uniform", "men"), "behavior_policy must be one of \\['random', 'bts'\\]; got 'uniform'"),
        (("random", "kids"), "campaign must be one of \\['all', 'men', 'women'\\]; got 'kids'"),
        ((None, "men"), "behavior_policy must be"),
        ((np.array(["random", "bts"]), "men"), "behavior_policy must be"),
        (("random", ["men"]), "campaign must be"),
    ],
)
def test_unknown_logs_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        opl.load_open_bandit(*arguments)


def test_without_obp_the_sample_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"obp, which is not installed.*pip install obp=="):
        opl.load_open_bandit()


@pytest.mark.parametrize("path", [3, Path, b"folder", ["a"], True], ids=str)
def test_what_names_no_folder_is_rejected(path):
    with pytest.raises(TypeError, match="data_path must be a folder's name"):
        opl.load_open_bandit("random", "men", data_path=path)


def edited(row=0, **values):
    """A function that changes a table of the store."""

    def edit(table):
        for name, value in values.items():
            table[name] = table[name].astype(object)
            table.loc[table.index[row], name] = value
        return table

    return edit


LOG, ITEMS = "random/men/men.csv", "random/men/item_context.csv"
DAMAGES = [
    (LOG, edited(3, timestamp="yesterday"), "timestamp: "),
    (LOG, edited(3, timestamp=None), "timestamp, is missing in row 3"),
    (LOG, edited(2, item_id=1.5), "item_id, must hold integers"),
    (LOG, edited(2, item_id="a"), "item_id, must hold integers"),
    (LOG, edited(2, item_id=34), r"action must be in \[0, 33\]"),
    (LOG, edited(2, position=0), "position must be 0 or more"),
    (LOG, edited(2, position=None), "position, is missing in row 2"),
    (LOG, edited(2, click="yes"), "click, must be numeric"),
    (LOG, edited(2, click=None), "click, must be finite; row 2 has nan"),
    (LOG, edited(2, propensity_score=0), r"pscore must be in \(0, 1\]"),
    (LOG, edited(2, propensity_score=np.inf), "propensity_score, must be finite; row 2 has inf"),
    (LOG, edited(4, user_feature_1=None), "user_feature_1, is missing in row 4"),
    ("bts/men/men.csv", edited(4, user_feature_1=None), "user_feature_1, is missing in row 4"),
    (LOG, lambda table: table.drop(columns="click"), "no file of the Open Bandit Dataset"),
    (LOG, lambda table: table.head(0), "has no rows"),
    (ITEMS, lambda table: table.head(0), "has no rows"),
    (ITEMS, lambda table: pd.concat([table, table.tail(1)]), "Is a line missing, or there twice"),
    (ITEMS, lambda table: pd.concat([table.head(1), table]), "Is a line missing, or there twice"),
    (ITEMS, lambda table: table.drop(index=table.index[3]), "Is a line missing, or there twice"),
    (ITEMS, lambda table: table.drop(columns="item_feature_2"), "no file of the Open Bandit Data"),
    (ITEMS, edited(1, item_feature_0="x"), "item_feature_0, must be numeric"),
    (ITEMS, edited(1, item_feature_0=np.nan), "item_feature_0, must be finite; row 1 has nan"),
    (ITEMS, edited(1, item_feature_3=None), "item_feature_3, is missing in row 1"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES, ids=range(len(DAMAGES)))
def test_damaged_tables_are_named_with_their_path(tiny_copy, name, damage, message):
    path = tiny_copy / name
    damage(pd.read_csv(path, index_col=0)).to_csv(path)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        opl.load_open_bandit("random", "men", data_path=tiny_copy)


@pytest.mark.parametrize("name", [LOG, ITEMS, "bts/men/men.csv"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"\0" * 500,
        lambda whole: bytes(range(256)),
        lambda whole: whole.replace(b",", b";"),
        lambda whole: whole.decode().encode("utf-16"),
        lambda whole: whole[: whole.rfind(b",")],
        lambda whole: whole[:20],
        lambda whole: b"\x1f\x8b" + whole,
    ],
    ids=["empty", "zeros", "binary", "semicolons", "utf-16", "cut", "head", "like gzip"],
)
def test_damaged_files_are_named_with_their_path(tiny_copy, name, damage):
    path = tiny_copy / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=name):
        opl.load_open_bandit("random", "men", data_path=tiny_copy)


def test_rows_are_sorted_by_time_and_not_by_the_alphabet(tiny_copy):
    path = tiny_copy / LOG
    table = pd.read_csv(path, index_col=0)
    table["timestamp"] = [f"2019-11-24 00:{k:02d}:00+00:00" for k in range(50)]
    table.loc[table.index[0], "timestamp"] = "2019-11-24 09:00:30+09:00"
    table.to_csv(path)
    log = opl.load_open_bandit("random", "men", data_path=tiny_copy)
    assert (np.diff(log.timestamp) > np.timedelta64(0)).all()
    assert log.timestamp[0] == np.datetime64("2019-11-24T00:00:30")
