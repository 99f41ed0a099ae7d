"""Logs: made, cut, joined, read; clusters and propensities."""

import functools
import re
import shutil

import numpy as np
import pandas as pd
from hostile import (
    Kind,
    also,
    but,
    choice,
    column,
    count,
    features,
    flag,
    integers,
    labels,
    mask,
    no_arrays,
    number,
    optional,
    seed,
    thing,
    times,
)
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

import opl_lib as opl

from .kinds import (
    FINITE,
    FRACTION,
    PROPENSITY,
    answers,
    call_of,
    cluster_kind,
    likely,
    log_kind,
    policy_kind,
    unlikely,
)
from .things import Returns, Stump, things


def calls():
    t = things()
    one = functools.partial(call_of, "logs")
    full = {
        "context": (t.context, features(rows=True)),
        "action": (t.action, integers(high=3)),
        "reward": (t.reward, FINITE),
        "pscore": (t.pscore, PROPENSITY),
        "action_context": (
            t.items,
            also(features(), {"one item": t.items[:1], "fewer items": t.items[:2]}),
        ),
        "position": (t.action, optional(integers())),
        "user_id": (t.user, optional(labels())),
        "timestamp": (t.time, optional(times())),
        "cluster_pscore": (t.pscore, optional(column(low=(0, -0.5, 0.01), high=(1.5,)))),
        "eligible": (
            t.eligible,
            optional(also(mask(), lambda right: {"without what was shown": right[:, [1, 2, 0]]})),
        ),
        "columns": (None, columns_kind()),
        "item_ids": (
            np.arange(3),
            optional(also(but(labels(), "objects"), {"an id twice": [0, 1, 1]})),
        ),
    }
    yield one("BanditFeedback", opl.BanditFeedback, **full)
    yield one(
        "BanditFeedback.__getitem__",
        lambda rows: t.log[rows],
        rows=(np.arange(12), _rows()),
    )
    yield one(
        "BanditFeedback.split",
        t.log.split,
        test_fraction=(0.25, FRACTION),
        random_state=(0, seed()),
    )
    yield one(
        "BanditFeedback.split_by_time",
        t.log.split_by_time,
        test_fraction=(0.25, FRACTION),
        users_apart=(False, flag()),
        random_state=(0, seed()),
    )
    yield one(
        "BanditFeedback.weighted",
        t.log.weighted,
        weight=(t.pscore, also(column(low=(-0.5,)), {"nothing but 0": np.zeros(24)})),
        random_state=(0, seed()),
    )
    yield one(
        "BanditFeedback.support_report",
        t.log.support_report,
        policy=(Returns(likely), policy_kind(arrays=True)),
    )
    yield one("BanditFeedback.balance", t.log.balance)
    yield one("BanditFeedback.report", t.log.report)
    yield one("BanditFeedback.to_obp", t.log.to_obp)
    other = opl.BanditFeedback(**{**t.columns, "action_context": t.items + 1})
    yield one(
        "BanditFeedback.concatenate",
        opl.BanditFeedback.concatenate,
        logs=(
            [t.log, t.log],
            also(
                thing(),
                lambda right: {
                    "one log": t.log,
                    "None in it": [t.log, None],
                    "a frame in it": [t.log, t.frame],
                    "a number in it": [3, t.log],
                    "other items": [t.log, other],
                    "other widths": [t.plain, t.wide],
                    "other columns": [t.log, t.plain],
                    "times that do not join": _with(
                        timestamp=[t.time, t.time.astype("datetime64[D]")]
                    ),
                    "times in floats and dates": _with(
                        timestamp=[t.time / 2, t.time.astype("datetime64[D]")]
                    ),
                    "users that do not join": _with(user_id=[t.user, t.user.astype(str)]),
                    "users beyond 2**53": _with(
                        user_id=[t.user + 2**60, (t.user + 2**60).astype(np.uint64)]
                    ),
                    "users in floats and large integers": _with(
                        user_id=[t.user / 2, t.user + 2**60]
                    ),
                    "users in text and bytes": _with(
                        user_id=[t.user.astype(str), t.user.astype("S")]
                    ),
                },
                {"a tuple": (t.log, t.log)},
                lambda right: {"a generator": (log for log in [t.log, t.log])},
            ),
        ),
    )
    yield from _frames(one, t)
    yield from _eligible(one, t)
    yield one(
        "with_clusters",
        opl.with_clusters,
        feedback=(t.plain, log_kind()),
        cluster=(t.cluster, also(cluster_kind(), {"one cluster": [1, 1, 1]})),
        classifier=(DummyClassifier(strategy="prior"), optional(_classifiers())),
        random_state=(0, seed()),
        floor=(0.1, optional(number(outside=(0, -0.1, 0.6)))),
    )
    yield one(
        "estimate_propensities",
        opl.estimate_propensities,
        context=(
            t.context,
            features(rows=True),
        ),
        action=(t.action, integers(high=3)),
        n_actions=(3, count(least=3)),
        classifier=(DummyClassifier(strategy="prior"), optional(_classifiers())),
        n_folds=(2, count(least=2, most=24)),
        floor=(0.1, optional(number(outside=(0, -0.1, 0.5)))),
        n_bins=(3, count()),
        random_state=(0, seed()),
        user_id=(np.arange(24), optional(labels())),
        eligible=(t.eligible, optional(mask())),
    )
    yield from _open_bandit(one)
    yield from _on_disk(one)


def _rows():
    """Some of 24 rows."""
    return also(
        thing(but=("an empty list", "an array", "a number", "True")),
        {
            "beyond the last": [24],
            "before the first": [-25],
            "fractions": [0.5],
            "whole floats": [1.0],
            "a number beyond the last": 24,
            "a mask that is too short": np.ones(5, bool),
            "a mask that is too long": np.ones(25, bool),
            "no row": [],
            "an empty slice": slice(0, 0),
            "a mask of nothing": np.zeros(24, bool),
            "a slice of text": slice("a", "b"),
            "two dimensions": np.zeros((2, 2), int),
            "a pair": (0, 1, 2),
            "an ellipsis of columns": (slice(None), 0),
            "None in it": [0, None],
        },
        {"a slice": slice(0, 12), "a mask": np.arange(24) < 12, "a list": list(range(12))},
    )


def _eligible(one, t):
    sets = np.array([[True, False, True], [True, True, False]])
    sized = ("a row less", "a column less", "a column more", "one of fewer rounds")
    free = but(mask(one_row=True), *sized)
    free = free._replace(accepted=lambda right: {"a list": right.tolist()})
    yield one(
        "Eligible",
        opl.Eligible,
        sets=(sets, free),
        number=(np.arange(24) % 2, integers(rows=False, high=2)),
    )
    yield one("Eligible.of_mask", opl.Eligible.of_mask, mask=(t.eligible, free))
    some = but(_rows(), "no row", "an empty slice", "a mask of nothing")
    yield one("Eligible.mask", opl.Eligible.of_mask(t.eligible).mask, rows=(np.arange(12), some))
    yield one(
        "without_above",
        lambda page_id, position, action: opl.without_above(page_id, position, action, 24),
        page_id=(np.arange(24) // 3, also(labels(), {"one page": np.zeros(24, int)})),
        position=(
            np.arange(24) % 3,
            also(integers(negative=False), {"no slots": np.zeros(24, int)}),
        ),
        action=(np.arange(24), integers(high=24)),
    )
    yield one(
        "without_above of sets",
        lambda eligible: opl.without_above(np.arange(24), np.zeros(24, int), t.action, eligible),
        eligible=(t.eligible, but(mask(), "a column more")),  # which is one more item
    )
    always = [np.nan] * 3
    yield one(
        "Eligible.of_dates",
        lambda timestamp: opl.Eligible.of_dates(timestamp, always, always),
        timestamp=(t.time, but(times(), "an entry less")),
    )
    yield one(
        "Eligible.of_dates of items",
        opl.Eligible.of_dates,
        timestamp=t.time,
        start=([0, 5, 8], _dates_of_items({"after the end": [0, 21, 8], "late": [1, 5, 8]})),
        end=([24, 20, 24], _dates_of_items({"before the start": [24, 4, 24]})),
    )


def _dates_of_items(refused):
    """Times of three items, some of which may be missing."""
    return Kind(
        lambda right: {
            **no_arrays(),
            **refused,
            "text": ["a", "b", "c"],
            "dates beside numbers": np.array(right).astype("M8[D]"),
            "infinity": [*right[:2], np.inf],
            "an entry less": right[:2],
            "two dimensions": [right],
        },
        lambda right: {"an array": np.array(right), "floats": np.array(right, float)},
        lambda right: {"one is missing": [None, *right[1:]]},
    )


def _with(**columns):
    t = things()
    ((name, values),) = columns.items()
    return [opl.BanditFeedback(**t.columns, **{name: value}) for value in values]


def _classifiers():
    """What estimates propensities."""

    def refused(right):
        bad = answers(likely) | {
            "that returns negative numbers": unlikely,
            "that returns sums of 2": lambda n, m: 2 * likely(n, m),
        }
        return {
            "the class": LogisticRegression,
            "a regression": LinearRegression(),
            "a transformer": StandardScaler(),
            "clusters": KMeans(2),
            "a policy": things().policy,
            **{f"one {label}": Stump(answer) for label, answer in bad.items()},
        }

    return thing(refused)


def _frames(one, t):
    def name_kind(*wrong):
        def refused(right):
            return {
                "another column": "zz",
                "nothing": "",
                "a list of one": [right],
                "a tuple": (right, right),
                "bytes": str(right).encode(),
                **{f"the column {name!r}": name for name in wrong},
            }

        return thing(refused, but=("text", "a number"))

    def names_kind():
        def refused(right):
            return {
                "another column": [*right, "zz"],
                "a column twice": [*right, right[0]],
                "None in it": [None],
                "a list in it": [["x0"]],
                "a number in it": [3],
                "one name": right[0],
                "a set of others": {"zz"},
            }

        def accepted(right):
            return {
                "a tuple": tuple(right),
                "an index": pd.Index(right),
                "an array": np.array(right),
            }

        def either(right):
            return {"a column of text": ["item"], "a column of dates": ["when"]}

        return thing(refused, accepted, either, but=("text", "an array"))

    def frame_kind():
        def refused(right):
            twice = pd.concat([t.frame, t.frame[["x0"]]], axis=1)
            levels = t.frame.copy()
            levels.columns = pd.MultiIndex.from_product([t.frame.columns, ["log"]])
            changes = {
                "a click of NaN": {"click": t.frame["click"].where(t.frame.index != 3)},
                "clicks as text": {"click": t.frame["click"].astype(str)},
                "propensities as text": {"p": t.frame["p"].astype(str)},
                "a propensity of 0": {"p": t.frame["p"].where(t.frame.index != 3, 0)},
                "a context of None": {"x0": None},
                "a context of infinity": {"x0": t.frame["x0"].where(t.frame.index != 3, np.inf)},
                "a context of lists": {"x0": [[k] for k in t.frame["x0"]]},
                "a context of mixed types": {"x0": ["a", *t.frame["x0"][1:]]},
                "contexts as text": {"x0": t.frame["x0"].astype(str)},
                "an unknown item": {"item": t.frame["item"].where(t.frame.index != 3, "zz")},
                "a missing item": {"item": t.frame["item"].where(t.frame.index != 3, None)},
                "items that are numbers": {"item": t.action},
                "items with blanks": {"item": t.frame["item"] + " "},
                "items in lists": {"item": [[k] for k in t.frame["item"]]},
                "items of mixed types": {"item": ["i0", *t.action[1:]]},
                "times as text": {"when": t.frame["when"].dt.strftime("%d/%m/%Y")},
                "a missing time": {"when": t.frame["when"].where(t.frame.index != 3)},
                "users of mixed types": {"user": ["u0", *t.user[1:]]},
            }
            return {
                "the class of a frame": pd.DataFrame,
                "an array": t.context,
                "a frame without rows": t.frame[:0],
                "a frame without columns": t.frame[[]],
                "a column that is there twice": twice,
                "names in two levels": levels,
                "one column": t.frame["x0"],
                **{label: t.frame.assign(**change) for label, change in changes.items()},
            }

        def accepted(right):
            return {
                "another index": t.frame.set_index(np.arange(100, 124)),
                "categories": t.frame.assign(item=t.frame["item"].astype("category")),
                "nullable columns": t.frame.convert_dtypes(),
                "truths as clicks": t.frame.assign(click=t.frame["click"] > 0),
            }

        return thing(refused, accepted)

    def items_kind():
        def refused(right):
            table = t.table_of_items
            return {
                "an item described twice": pd.concat([table, table[:1]]),
                "a missing id": table.assign(id=["i0", "i1", None]),
                "ids of numbers": table.assign(id=[0, 1, 2]),
                "ids of mixed types": table.assign(id=["i0", "i1", 2]),
                "ids of lists": table.assign(id=[["i0"], ["i1"], ["i2"]]),
                "a feature of numbers as text": table.assign(f=["1", "2", "3"]),
                "a feature of dates as text": table.assign(f="2024-01-01"),
                "a feature that is missing": table.assign(f=None),
                "no features": table[["id"]],
                "fewer items": table[:2],
                "no id": table[["f", "g"]],
                "a number of items": 3,
            }

        def either(right):
            return {
                "a feature of text": t.table_of_items.assign(f="a"),
                "a missing feature": t.table_of_items.assign(f=[0.5, None, 1.0]),
            }

        return thing(refused, either=either)

    yield one(
        "BanditFeedback.from_dataframe",
        opl.BanditFeedback.from_dataframe,
        frame=(t.frame, frame_kind()),
        context=([f"x{k}" for k in range(4)], names_kind()),
        action=("item", name_kind("x0", "when")),
        reward=("click", name_kind("item", "when")),
        pscore=("p", but(name_kind("item", "when", "x0"), "None")),
        items=(t.table_of_items, items_kind()),
        item_id=("id", name_kind("f")),
        item_features=(["f", "g"], optional(but(names_kind(), "one name"))),
        position=("slot", optional(name_kind("x0", "item"))),
        user_id=("user", optional(name_kind())),
        timestamp=("when", optional(name_kind("item"))),
        columns=(None, also(columns_kind(), {"columns beside names": t.fitted_columns})),
    )
    paged = t.frame.assign(page=np.arange(24))
    yield one(
        "BanditFeedback.from_dataframe of pages",
        lambda page_id: opl.BanditFeedback.from_dataframe(
            paged.assign(slot=0),
            context=["x0"],
            action="item",
            reward="click",
            pscore="p",
            items=t.table_of_items,
            item_id="id",
            position="slot",
            page_id=page_id,
        ),
        page_id=("page", optional(name_kind("slot"))),
    )
    dated = t.table_of_items.assign(**{"from": pd.NaT, "to": pd.Timestamp("2026-01-01")})
    yield one(
        "BanditFeedback.from_dataframe of dates",
        lambda eligible: opl.BanditFeedback.from_dataframe(
            t.frame,
            context=["x0"],
            action="item",
            reward="click",
            pscore="p",
            items=dated,
            item_id="id",
            item_features=["f", "g"],
            timestamp="when",
            eligible=eligible,
        ),
        eligible=(
            ("from", "to"),
            thing(
                {
                    "one name": ("to",),
                    "three names": ("from", "to", "to"),
                    "another column": ("from", "zz"),
                    "numbers": (0, 1),
                    "a column of text": ("id", "to"),
                    "a column of numbers": ("from", "f"),
                    "the end for the start": ("to", "from"),
                },
                {"a list": ["from", "to"], "a mask": np.ones((24, 3), bool)},
                but=("None",),
            ),
        ),
    )
    yield from _columns(one, t, frame_kind, items_kind, names_kind, name_kind)
    obp = t.log.to_obp()
    needed = ("context", "action", "reward", "pscore")
    yield one(
        "BanditFeedback.from_obp",
        opl.BanditFeedback.from_obp,
        bandit_feedback=(
            obp,
            thing(
                {
                    **{
                        f"without {name}": {k: v for k, v in obp.items() if k != name}
                        for name in needed
                    },
                    **{f"None for {name}": {**obp, name: None} for name in needed},
                    **{f"text for {name}": {**obp, name: "text"} for name in needed},
                    "a log": t.log,
                    "pairs": list(obp.items()),
                    "a frame": t.frame,
                }
            ),
        ),
        action_context=(t.items, optional(features())),
    )


def columns_kind():
    """How features were made of columns; None where there are none."""
    t = things()
    other = opl.Columns.fit(t.frame, context=["x0"])
    return optional(
        thing(
            {
                "the class": opl.Columns,
                "names": ["x0"],
                "a frame": t.frame,
                "columns of other features": other,
            }
        )
    )


def _columns(one, t, frame_kind, items_kind, names_kind, name_kind):
    names, about = [f"x{k}" for k in range(4)], "of NaN|clicks|propensit|time|users|item"

    of_context = but(
        frame_kind(),
        *(label for label in frame_kind().refused(None) if re.search(about, label)),
    )
    of_items = but(items_kind(), "fewer items", "an item described twice", "a missing id",
                   "ids of numbers", "ids of mixed types", "ids of lists")  # fmt: skip
    yield one(
        "Columns.fit",
        opl.Columns.fit,
        frame=(t.frame, of_context),
        context=(names, names_kind()),
        items=(t.table_of_items, optional(of_items)),
        item_id=("id", name_kind()),
        item_features=(["f", "g"], optional(but(names_kind(), "one name"))),
        max_categories=(5, count()),
    )
    same = (t.frame, but(of_context, "a frame without rows", "a context of None"))
    yield one("Columns.encode_context", t.fitted_columns.encode_context, frame=same)
    items = (t.table_of_items, but(of_items, "no features", "no id", "a feature that is missing"))
    yield one("Columns.encode_items", t.fitted_columns.encode_items, items=items)
    yield one(
        "Columns.ids_of",
        t.fitted_columns.ids_of,
        items=(t.table_of_items, thing({"no id": t.table_of_items[["f"]], "an array": t.items})),
    )
    yield one(
        "LogWithoutPropensities.with_pscore",
        t.unweighted.with_pscore,
        pscore=(t.pscore, PROPENSITY),
    )
    yield from _readers(one, t, names_kind, name_kind)


def _readers(one, t, names_kind, name_kind):
    def rows_kind():
        def refused(right):
            return {
                "an array": t.context,
                "a frame without rows": right[:0],
                "a frame without columns": right[[]],
                "a round that shows nothing": right.assign(shown=right.shown & (right.visit != 3)),
                "a round that shows two": right.assign(shown=right.shown | (right.visit == 3)),
                "an item twice": right.assign(item=right["item"].where(right.visit != 3, "i0")),
                "contexts that differ": right.assign(x0=np.arange(len(right)) / 100),
                "a missing round": right.assign(visit=right.visit.where(right.visit != 3)),
            }

        return thing(refused, {"another index": t.candidates.set_index(np.arange(100, 172))})

    yield one(
        "read_candidates",
        opl.read_candidates,
        frame=(t.candidates, rows_kind()),
        round_id=("visit", name_kind("x0")),
        shown=("shown", name_kind("item", "slot")),
        action=("item", name_kind("x0", "when")),
        reward=("click", name_kind("item", "when")),
        pscore=("p", but(name_kind("item", "when", "x0"), "None")),
        context=(["x0", "x1", "x2", "x3"], but(names_kind(), "a column of text")),
        items=(t.table_of_items, thing({"fewer items": t.table_of_items[:2], "an array": t.items},
                                       but=("None",))),
        item_id=("id", name_kind("f")),
        item_features=(["f", "g"], optional(but(names_kind(), "one name"))),
        position=("slot", optional(name_kind("x0", "item"))),
        user_id=("user", optional(name_kind())),
        timestamp=("when", optional(name_kind("item"))),
        columns=(None, also(columns_kind(), {"columns beside names": t.fitted_columns})),
    )  # fmt: skip
    yield one(
        "read_vw",
        opl.read_vw,
        source=(
            ["0:-1:0.5 |A a", "|A b"],
            Kind(
                lambda right: {
                    "None": None,
                    "a number": 3,
                    "bytes": b"|A a",
                    "no lines": [],
                    "lines of numbers": [1, 2],
                    "no label": right[1:],
                    "two labels": [right[0], right[0]],
                    "no such file": str(t.folder / "zz.vw"),
                    "a folder": t.folder,
                    "a file of text": t.folder / "text.csv",
                    "an object": object(),
                },
                lambda right: {
                    "a tuple": tuple(right),
                    "lines that end": [f"{k}\n" for k in right],
                },
                errors=(ValueError, TypeError, OSError),
            ),
        ),
        dim_context=(4, count()),
        dim_action_context=(4, count()),
    )


def _on_disk(one):
    t = things()
    folder = t.folder / "disk"
    frame = t.folder / "clicks.parquet"
    t.frame.to_parquet(frame)
    shutil.rmtree(folder, ignore_errors=True)  # the table is made several times
    log = opl.write_log(folder, t.log)
    errors = (ValueError, TypeError, OSError)
    places = Kind(
        lambda right: {
            "a number": 3,
            "a list": [1],
            "an object": object(),
            "True": True,
            "None": None,
            "nothing": "",
            "a file": t.file,
            "no such folder": t.folder / "empty" / "zz",
        },
        errors=errors,
    )

    def write(path, pieces):
        shutil.rmtree(t.folder / "new", ignore_errors=True)
        return opl.write_log(path, pieces)

    yield one(
        "write_log",
        write,
        path=(t.folder / "new", also(places, {"a folder": folder})),
        pieces=(
            [t.log, t.log],
            also(
                thing(),
                lambda right: {
                    "None in it": [t.log, None],
                    "a frame in it": [t.log, t.frame],
                    "a frame": t.frame,
                    "other widths": [t.plain, t.wide],
                },
                lambda right: {"a generator": (log for log in right), "a tuple": (*right,)},
            ),
        ),
    )
    yield one(
        "open_log",
        opl.open_log,
        path=(folder, also(places, {"an empty folder": t.folder}, {"text": str(folder)})),
        check=(True, flag()),
    )
    yield one("LogOnDisk.sample", log.sample, n_rounds=(7, count()), random_state=(0, seed()))
    yield one(
        "BanditFeedback.chunks", lambda name: list(t.log.chunks(name)), name=("reward", choice())
    )
    yield one(
        "LogOnDisk.read",
        log.read,
        name=("reward", choice()),
        start=(0, count(least=0, most=5)),
        stop=(5, count(least=0, most=t.n)),
    )
    yield one(
        "read_parquet",
        lambda paths, rows_at_once: list(
            opl.read_parquet(
                paths,
                rows_at_once,
                context=["x0", "x1"],
                action="item",
                reward="click",
                pscore="p",
                items=t.table_of_items,
                item_id="id",
            )
        ),
        paths=(frame, also(places, {"a folder": folder}, {"text": str(frame), "a list": [frame]})),
        rows_at_once=(100, count()),
    )


def _open_bandit(one):
    t = things()
    root = t.folder / "obd"
    for policy in ("random", "bts"):
        made = root / policy / "men"
        made.mkdir(parents=True, exist_ok=True)
        _store().to_csv(made / "men.csv")
        _store_items().to_csv(made / "item_context.csv", index=False)
    files = t.folder / "obd-files"

    def read(files):
        name, text = files
        folder = t.folder / "obd-damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(root, folder)
        if name:
            (folder / "random" / "men" / name).write_bytes(text)
        return opl.load_open_bandit("random", "men", folder)

    def damages(right):
        log, items = _store().to_csv().encode(), _store_items().to_csv(index=False).encode()
        given = {
            "a log that is empty": ("men.csv", b""),
            "a log of its head only": ("men.csv", log.split(b"\n")[0] + b"\n"),
            "a log cut in a row": ("men.csv", log[:-25]),
            "a log of zeros": ("men.csv", bytes(400)),
            "a log of anything": ("men.csv", bytes(range(256)) * 4),
            "a log in another encoding": ("men.csv", log.decode().encode("utf-16")),
            "a log with semicolons": ("men.csv", log.replace(b",", b";")),
            "a log with bad times": ("men.csv", log.replace(b"2019-11", b"yesterday")),
            "a log with bad items": ("men.csv", log.replace(b",2,1,", b",a,1,")),
            "a log with unknown items": ("men.csv", log.replace(b",2,1,", b",77,1,")),
            "a log with clicks of text": ("men.csv", log.replace(b",0.25,", b",maybe,")),
            "a log with lost columns": ("men.csv", log.replace(b"click", b"clack")),
            "a log with propensities of 0": ("men.csv", log.replace(b",0.25,", b",0.0,")),
            "a log with missing users": ("men.csv", log.replace(b",u0,", b",,")),
            "items that are empty": ("item_context.csv", b""),
            "items of their head only": ("item_context.csv", items.split(b"\n")[0] + b"\n"),
            "items with a line twice": ("item_context.csv", items + items.splitlines()[-1] + b"\n"),
            "items with lost columns": ("item_context.csv", items.replace(b"item_feature_2", b"z")),
            "items with bad numbers": ("item_context.csv", items.replace(b"0.5,", b"half,")),
            "items with a gap": (
                "item_context.csv",
                b"\n".join(items.splitlines()[:2] + items.splitlines()[3:]),
            ),
            "items of anything": ("item_context.csv", bytes(range(256))),
        }
        return given

    yield one(
        "load_open_bandit",
        opl.load_open_bandit,
        behavior_policy=("random", choice()),
        campaign=("men", choice()),
        data_path=(
            root,
            Kind(
                lambda right: {
                    "a number": 3,
                    "a list": [1],
                    "an object": object(),
                    "True": True,
                    "no such folder": root / "zz",
                    "a file": t.file,
                    "an empty folder": files,
                    "nothing": "zz",
                },
                lambda right: {"text": str(right)},
                errors=(ValueError, TypeError, OSError),
            ),
        ),
    )
    yield one(
        "load_open_bandit", read, files=(("", b""), Kind(damages, errors=(ValueError, OSError)))
    )


def _store():
    rows = 12
    return pd.DataFrame(
        {
            "timestamp": [f"2019-11-24 00:00:{k:02d}.1+00:00" for k in range(rows)],
            "item_id": [k % 3 for k in range(rows)],
            "position": [k % 3 + 1 if k % 3 != 2 else 1 for k in range(rows)],
            "click": [k % 2 for k in range(rows)],
            "propensity_score": 0.25,
            **{f"user_feature_{k}": [f"u{j % 2}" for j in range(rows)] for k in range(4)},
        }
    )


def _store_items():
    return pd.DataFrame(
        {
            "item_id": range(3),
            "item_feature_0": [0.5, 0.25, -0.5],
            **{f"item_feature_{k}": ["a", "b", "a"] for k in (1, 2, 3)},
        }
    )
