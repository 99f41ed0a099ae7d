"""Columns of data frames as features: what is learned, what is made of it, what is refused."""

import dataclasses
import datetime
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import opl_lib as opl
from opl_lib.checks import warn_of_scale
from opl_lib.logs.known_columns import from_text, to_text

N = 400


def shop(n=N, seed=0):
    """Visits and items as a shop has them."""
    rng = np.random.default_rng(seed)
    visits = pd.DataFrame(
        {
            "country": rng.choice(["DE", "JP", None], n),
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(18, 80, n)),
            "is_new": rng.random(n) < 0.3,
            "tier": pd.Categorical(rng.integers(1, 4, n)),
            "query": rng.choice([f"shoe number {k}" for k in range(60)], n),
            "at": pd.Timestamp("2024-03-04") + pd.to_timedelta(rng.random(n) * 20, "D"),
            "sku": rng.choice(["a", "b", "c"], n),
            "click": rng.integers(0, 2, n),
            "p": 1 / 3,
        }
    )
    items = pd.DataFrame(
        {
            "id": ["a", "b", "c"],
            "brand": ["north", "south", "north"],
            "price": [3.0, 20.0, 450.0],
            "since": pd.to_datetime(["2024-01-01", "2023-05-01", None]),
        }
    )
    return visits, items


CONTEXT = ["country", "age", "is_new", "tier", "query", "at"]
ROLES = {"action": "sku", "reward": "click", "pscore": "p"}


def log_of(visits, table, **changes):
    given = {**ROLES, "context": CONTEXT, "items": table, "item_id": "id", **changes}
    return opl.BanditFeedback.from_dataframe(visits, **given)


def fit(values, **settings):
    return opl.Columns.fit(pd.DataFrame({"x": values}), context=["x"], **settings)


def encoded(columns, values):
    return columns.encode_context(pd.DataFrame({"x": values}))


# ---- what is made of a column


def test_a_shops_tables_become_a_log_that_names_its_features():
    log = log_of(*shop())
    assert log.context.shape == (N, len(log.columns.context_features))
    assert log.columns.context_features[:9] == [
        "country: missing",
        "country = DE",
        "country = JP",
        "age",
        "age: missing",
        "is_new",
        "tier = 1",
        "tier = 2",
        "tier = 3",
    ]
    assert log.columns.context_features[-5:] == [
        "at: day",
        "at: weekday, sine",
        "at: weekday, cosine",
        "at: hour, sine",
        "at: hour, cosine",
    ]
    assert log.columns.item_features[:3] == ["brand = north", "brand = south", "price"]
    assert repr(log).endswith("item features, columns)")


def test_numbers_and_categories_are_those_of_scikit_learn():
    """It learns them, and what is kept of it gives the same features, for new rows as well."""
    visits, _ = shop()
    later, _ = shop(50, seed=1)
    later.loc[0, "country"], later.loc[1, "query"] = "FR", "a new one"
    visits["country"], later["country"] = visits.country.fillna("??"), later.country.fillna("??")
    names = ["age", "country", "query"]
    theirs = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["age"]),
            ("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["country"]),
            ("q", OneHotEncoder(max_categories=6, min_frequency=0.01, sparse_output=False,
                                handle_unknown="infrequent_if_exist"), ["query"]),
        ]
    ).fit(visits)  # fmt: skip
    columns = opl.Columns.fit(visits, context=names, max_categories=5)
    ours, expected = columns.encode_context(later), theirs.transform(later)
    scale = np.nanstd(visits.age) / visits.age.fillna(visits.age.mean()).std(ddof=0)
    np.testing.assert_allclose(ours[:, 0] * scale, expected[:, 0], atol=1e-12)
    np.testing.assert_array_equal(ours[:, 2:5], expected[:, 2:5])
    np.testing.assert_array_equal(ours[:, 5:10], expected[:, 5:10])
    rare = expected[:, 10] == 1
    np.testing.assert_allclose(np.linalg.norm(ours[:, 10:], axis=1), rare, atol=1e-12)
    assert ours.shape[1] == 10 + 16


def test_numbers_are_standardised_unless_they_are_within_1():
    assert encoded(fit([10.0, 30.0]), [10, 20, 50])[:, 0].tolist() == [-1, 0, 3]
    assert encoded(fit([0.0, 1.0, 1.0]), [0, 1, 0.5])[:, 0].tolist() == [0, 1, 0.5]
    assert encoded(fit([True, False]), [True, False])[:, 0].tolist() == [1, 0]
    assert np.abs(encoded(fit([1e-6, 3e-6]), [1e-6, 3e-6])).max() == pytest.approx(1)


def test_a_missing_number_takes_the_mean_and_has_a_column_of_its_own():
    columns = fit([10.0, None, 30.0])
    assert columns.context_features == ["x", "x: missing"]
    assert encoded(columns, [30.0, np.nan]).tolist() == [[1, 0], [0, 1]]
    flags = fit([0.0, 1.0, None, 1.0])
    assert encoded(flags, [None, 1.0])[0].tolist() == [pytest.approx(2 / 3), 1]
    assert encoded(fit([10.0, 30.0]), [np.nan]).tolist() == [[0]]


@pytest.mark.parametrize(
    "values",
    [
        pd.array([1, None, 3], "Int64"),
        pd.array([1, None, 3], "Float64"),
        np.array([1, None, 3], dtype=object),
        pd.Series([1, None, 3]),
    ],
    ids=["Int64", "Float64", "objects", "floats"],
)
def test_numbers_of_any_dtype_are_the_same(values):
    np.testing.assert_array_equal(fit(values).encode_context(pd.DataFrame({"x": [2.0]})), [[0, 0]])


@pytest.mark.parametrize("dtype", [object, "string", "category"])
def test_text_of_any_dtype_is_the_same(dtype):
    values = pd.Series(["a", None, "b", "a"]).astype(dtype)
    columns = fit(values)
    assert columns.context_features == ["x: missing", "x = a", "x = b"]
    assert encoded(columns, ["b", None, "c", " "]).tolist() == [
        [0, 0, 1],
        [1, 0, 0],
        [0, 0, 0],
        [1, 0, 0],
    ]


def test_rare_and_new_values_share_columns_by_their_words():
    values = [f"city {k}" for k in range(50)] + ["Tokyo"] * 400 + ["Berlin"] * 50
    columns = fit(values)
    assert columns.context_features[:2] == ["x = Berlin", "x = Tokyo"]
    assert len(columns.context_features) == 2 + 16
    tokyo, rare, new, again = encoded(columns, ["Tokyo", "city 7", "Old City 7", "CITY 7"])
    assert tokyo.tolist() == [0, 1] + 16 * [0]
    np.testing.assert_array_equal(rare, again)
    assert rare @ new > 0.5 and rare @ rare == pytest.approx(1)


def test_few_categories_are_all_kept_however_rare():
    columns = fit(["a"] * 500 + ["b"])
    assert columns.context_features == ["x = a", "x = b"]
    assert len(fit(list("abcdefgh"), max_categories=4).context_features) == 8 - 8 + 4 + 16


def test_dates_become_day_weekday_and_hour():
    monday = pd.Timestamp("2024-03-04")
    dates = [monday, monday + pd.Timedelta(days=1, hours=6), monday + pd.Timedelta(days=2)]
    columns = fit(dates)
    day, sine, cosine, hour_sine, hour_cosine = encoded(columns, dates).T
    assert abs(day.mean()) < 1e-9 and day.std() == pytest.approx(1)
    np.testing.assert_allclose(np.arctan2(sine, cosine) * 7 / (2 * np.pi), [0, 1, 2], atol=1e-12)
    np.testing.assert_allclose([hour_sine[1], hour_cosine[1]], [1, 0], atol=1e-12)
    late, early = encoded(columns, [monday + pd.Timedelta(days=999), monday - pd.Timedelta(days=9)])
    assert late[0] == day[2] and early[0] == day[0]


def test_dates_of_one_weekday_at_midnight_are_days_alone():
    columns = fit(pd.to_datetime(["2024-03-04", "2024-03-11", None]))
    assert columns.context_features == ["x: day", "x: missing"]
    assert encoded(columns, [pd.NaT, pd.Timestamp("2024-03-11")]).tolist() == [[0, 1], [1, 0]]


def test_dates_of_python_and_of_numpy_are_the_same_and_zones_count_in_utc():
    days = [datetime.date(2024, 3, 4), datetime.date(9999, 12, 31)]
    as_numpy = np.array(days, dtype="datetime64[D]")
    np.testing.assert_array_equal(
        fit(as_numpy).encode_context(pd.DataFrame({"x": days})), encoded(fit(days), days)
    )
    tokyo = pd.to_datetime(["2024-03-04 09:00", "2024-03-05 15:00"]).tz_localize("Asia/Tokyo")
    assert encoded(fit(tokyo), tokyo)[0, 3:].tolist() == [0, 1]  # midnight in Greenwich
    with pytest.raises(ValueError, match=r"holds dates, but .* held dates with a zone"):
        encoded(fit(tokyo), tokyo.tz_localize(None))


def test_durations_are_numbers_of_days():
    columns = fit(pd.to_timedelta([10, 30], "D"))
    assert encoded(columns, pd.to_timedelta([50], "D")).tolist() == [[3]]


def test_frames_of_polars_are_the_same():
    polars = pytest.importorskip("polars")

    def there(frame):
        values = {name: frame[name].astype(object) for name in frame}
        return polars.DataFrame({k: v.where(v.notna(), None).tolist() for k, v in values.items()})

    visits, items = shop()
    context = [name for name in CONTEXT if name != "tier"]
    ours = log_of(visits, items, context=context)
    theirs = log_of(there(visits), there(items), context=context)
    np.testing.assert_allclose(theirs.context, ours.context, atol=1e-12)
    np.testing.assert_allclose(theirs.action_context, ours.action_context, atol=1e-12)


# ---- what is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "2,5", "3e4"], "column 'x' has '1' in row 0, a number stored as text"),
        (["2024-01-01", "2024-01-02T10:00"], "column 'x' has .* a date stored as text"),
        (["31/12/2024", "1.2.2024"], "column 'x' has .* a date stored as text"),
        ([None, None], "column 'x' is missing in every row"),
        ([1.0, np.inf], "column 'x' must be finite; row 1 has inf"),
        (["a", 1], "column 'x' has values of several types, such as 'a' and 1"),
        ([b"a", b"b"], r"column 'x' .*b'a'"),
        ([[1], [2]], r"column 'x' .*\[1\]"),
        ([1j, 2j], "column 'x' .*real part"),
        ([1e308, -1e308], "column 'x' is too large to be standardised"),
        (
            [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-01", tz="UTC")],
            "column 'x' has dates with and without a time zone",
        ),
    ],
    ids=range(11),
)
def test_what_is_of_no_kind_is_refused_by_the_name_of_its_column(values, message):
    with pytest.raises(ValueError, match=message):
        opl.Columns.fit(pd.DataFrame({"x": pd.Series(values, dtype=object)}), context=["x"])


def test_codes_that_are_numbers_are_categories_if_the_frame_says_so():
    columns = fit(pd.Series(["10115", "10117"], dtype="category"))
    assert columns.context_features == ["x = 10115", "x = 10117"]
    assert encoded(columns, ["10117"]).tolist() == [[0, 1]]


def test_categories_that_are_numbers_keep_their_names_where_some_are_missing():
    columns = fit(pd.Categorical([1, 2, None]))
    assert columns.context_features == ["x: missing", "x = 1", "x = 2"]
    assert encoded(columns, pd.Categorical([2, 1])).tolist() == [[0, 0, 1], [0, 1, 0]]


def test_categories_of_polars_may_be_numbers():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"x": ["1", "2"]}, schema={"x": polars.Categorical})
    assert opl.Columns.fit(frame, context=["x"]).context_features == ["x = 1", "x = 2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns=["age", "at"]), "lacks 'age', 'at', which the columns were"),
        (lambda f: f.rename(columns={"country": "land"}), "lacks 'country'.* it has .*'land'"),
        (lambda f: f.assign(age="old"), "column 'age' holds text, but .* it held numbers"),
        (lambda f: f.assign(country=49), "column 'country' holds numbers, but .* held text"),
        (lambda f: f.assign(at=3), "column 'at' holds numbers, but .* held dates"),
        (lambda f: f.assign(is_new=1.7e308 * 10), "column 'is_new' must be finite"),
        (lambda f: f.to_numpy(), "context must be a data frame"),
    ],
    ids=range(7),
)
def test_a_frame_with_other_columns_is_refused(change, message):
    visits, items = shop()
    columns = log_of(visits, items).columns
    with pytest.raises((ValueError, TypeError), match=message):
        columns.encode_context(change(visits))


def test_what_is_missing_in_every_row_is_of_any_kind():
    visits, items = shop()
    columns = log_of(visits, items).columns
    none = visits[:2].assign(country=None, age=None, at=None)
    assert columns.encode_context(none)[:, :5].tolist() == [[1, 0, 0, 0, 1]] * 2


def test_the_order_of_the_columns_does_not_matter():
    visits, items = shop()
    columns = log_of(visits, items).columns
    np.testing.assert_array_equal(
        columns.encode_context(visits[visits.columns[::-1]]), columns.encode_context(visits)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": ["age", "age"]}, "context names the column 'age' twice"),
        ({"item_id": "id"}, "item_id='id' names columns of items: pass items"),
        ({"max_categories": 0}, "max_categories"),
    ],
    ids=range(3),
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        opl.Columns.fit(shop()[0], **{"context": ["age"], **changes})


# ---- they travel


def test_parts_of_a_log_share_its_columns():
    log = log_of(*shop())
    for part in (*log.split(), log[:5], dataclasses.replace(log, reward=1 - log.reward)):
        assert part.columns is log.columns
    assert pickle.loads(pickle.dumps(log)).columns == log.columns
    assert opl.BanditFeedback.concatenate([log, log]).columns == log.columns


def test_a_later_frame_is_encoded_by_the_columns_of_an_earlier_one():
    visits, items = shop()
    train = log_of(visits[:300], items)
    test = log_of(visits[300:], items, context=None, item_id=None, columns=train.columns)
    assert test.columns is train.columns
    np.testing.assert_array_equal(test.context, train.columns.encode_context(visits[300:]))
    assert not np.array_equal(test.context, log_of(visits[300:], items).context)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": ["age"], "item_id": None}, r"context=\['age'\] is what the given columns say"),
        ({"context": None}, "item_id='id' is what the given columns say"),
        ({"context": None, "item_id": None, "items": np.eye(3)}, "fitted with a data frame of"),
        ({"context": None, "item_id": None, "columns": ["age"]}, "columns must be made by opl.Col"),
    ],
    ids=range(4),
)
def test_given_columns_are_not_contradicted(changes, message):
    visits, items = shop()
    given = {"columns": log_of(visits, items).columns, **changes}
    with pytest.raises((ValueError, TypeError), match=message):
        log_of(visits, items, **given)


def test_columns_of_other_widths_are_refused():
    visits, items = shop()
    log = log_of(visits, items)
    with pytest.raises(ValueError, match="features of context, which has 1"):
        dataclasses.replace(log, context=np.ones((N, 1)))


def test_logs_and_policies_of_other_columns_do_not_meet():
    visits, items = shop()
    one, other = log_of(visits[:200], items), log_of(visits[200:], items)
    with pytest.raises(ValueError, match="log 1 was encoded by other columns than log 0"):
        opl.BanditFeedback.concatenate([one, other])
    policy = opl.BilinearLearner().fit(one).policy_
    with pytest.raises(ValueError, match="the policy was encoded by other columns than the log"):
        opl.evaluate(policy, other, ["ips"])
    with pytest.raises(ValueError, match="other columns"):
        opl.select({"a": opl.BilinearLearner()}, [one, other, other], estimator="ips")


@pytest.mark.parametrize("name", ["age", 7, ("age", "years")], ids=str)
def test_text_of_columns_gives_the_same_bits(name):
    visits, items = shop()
    columns = log_of(visits, items).columns
    assert from_text(to_text(columns)) == columns
    renamed = dataclasses.replace(columns.context[1], name=name)
    columns = opl.Columns((renamed, *columns.context[2:]), columns.items, columns.item_id)
    assert from_text(to_text(columns)) == columns


def test_a_name_that_no_file_can_hold_is_refused():
    name = pd.Timestamp(0)
    columns = opl.Columns.fit(pd.DataFrame({name: [1.0, 2.0]}), context=[name])
    with pytest.raises(ValueError, match="cannot be written to a file"):
        to_text(columns)


# ---- messages name columns


def test_balance_names_the_features():
    log = log_of(*shop())
    assert list(log.balance().index) == ["1", *log.columns.context_features]


def test_a_warning_of_scale_names_the_column():
    visits, items = shop()
    columns = log_of(visits, items).columns
    given = {"context": None, "item_id": None, "columns": columns}
    with pytest.warns(UserWarning, match="column 'age' is far .*; row 0 has"):
        later = log_of(visits.assign(age=visits.age * 1000), items, **given)
    with pytest.warns(UserWarning, match="context, column 'age' has mean"):
        warn_of_scale([later])


def test_a_report_lists_the_columns():
    said = repr(log_of(*shop()).columns).splitlines()
    assert "  context  'country': text, 3 frequent values" in said
    assert "  items    'price': numbers" in said


def test_two_dates_of_items_that_nobody_named_are_doubted():
    frame = pd.DataFrame({"age": [31, 52], "item": ["b", "a"], "click": [0, 1], "prob": [0.9, 0.1]})
    items = pd.DataFrame({"id": ["a", "b"], "brand": ["x", "y"]}).assign(
        since=pd.to_datetime(["2026-01-01", "2026-01-03"]),
        until=pd.to_datetime(["2027-01-01", "2028-01-01"]),
    )
    names = {
        "context": ["age"],
        "action": "item",
        "reward": "click",
        "pscore": "prob",
        "item_id": "id",
    }
    with pytest.warns(
        UserWarning, match=r"'since' and 'until' .* pass eligible=\('since', 'until'\)"
    ):
        opl.BanditFeedback.from_dataframe(frame, items=items, **names)
    log = opl.BanditFeedback.from_dataframe(
        frame, items=items, item_features=["brand", "since", "until"], **names
    )
    assert log.dim_action_context > 2
