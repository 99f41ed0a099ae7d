"""Logs as other shops write them: what is right is taken, what is wrong is named with its cure."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl

N, M = 3000, 6


def tables(seed=0, n=N):
    """Six items, two of which come late, shown by a softmax that knows the visitor's age."""
    rng = np.random.default_rng(seed)
    items = pd.DataFrame({"sku": [f"s{a}" for a in range(M)], "price": np.arange(M) + 0.5})
    items["start"] = pd.to_datetime([None] * (M - 2) + ["2026-03-08", "2026-03-15"])
    items["end"] = pd.to_datetime([None] * M)
    seconds = np.sort(rng.choice(28 * 86_400, n, replace=False))
    time = pd.Timestamp("2026-03-01") + pd.to_timedelta(seconds, unit="s")
    age = rng.normal(size=n)
    mask = items.start.isna().to_numpy() | (items.start.to_numpy() <= time.to_numpy()[:, None])
    p = np.where(mask, np.exp(np.outer(age, np.linspace(-1, 1, M))), 0)
    p /= p.sum(axis=1, keepdims=True)
    item = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    frame = pd.DataFrame({"time": time, "user": rng.integers(0, 900, n), "age": age})
    frame = frame.assign(item=items.sku.to_numpy()[item], p=p[np.arange(n), item])
    frame["click"] = (rng.random(n) < 0.1 + 0.05 * item).astype(int)
    return frame, items


def read(frame, items, **changes):
    given = {"context": ["age"], "action": "item", "reward": "click", "pscore": "p"}
    given |= {"item_id": "sku", "timestamp": "time", "user_id": "user"}
    given |= {"eligible": ("start", "end"), **changes}
    return opl.BanditFeedback.from_dataframe(frame, items=items, **given)


def test_half_precision_is_no_arithmetic():
    """Sums of float16 are infinite from 65,504 on."""
    frame, items = tables(n=40_000)
    log = read(frame.assign(p=frame.p.astype(np.float16)), items)
    assert log.pscore.dtype == np.float32
    exact = read(frame, items).report()["mean weight"].numbers["mean_weight"]
    assert log.report()["mean weight"].numbers["mean_weight"] == pytest.approx(exact, rel=1e-3)


# ---- the same round twice


@pytest.mark.parametrize("user_id", ["user", None])
@pytest.mark.parametrize("unit", ["s", "D"])
def test_rounds_that_are_there_twice_are_found(user_id, unit):
    frame, items = tables()
    frame["time"] = frame.time.dt.floor(unit)
    right = read(frame, items, user_id=user_id).report()["rounds"]
    twice = pd.concat([frame, frame.iloc[500:800]]).sort_values("time", kind="stable")
    line = read(twice, items, user_id=user_id).report()["rounds"]
    assert right.verdict == "fine"
    n_twice = int(re.match(r"(\d+) rounds are there twice", line.cause)[1])
    assert line.verdict == "look" and 300 <= n_twice < 320  # a few by chance
    assert "drop_duplicates" in line.cure


def test_the_same_item_again_by_chance_is_no_finding():
    """One time a day and few users: of two draws of a day one in four is the same item."""
    frame, items = tables()
    frame = frame.assign(time=frame.time.dt.floor("D"), user=np.arange(N) % 7)
    assert read(frame, items).report()["rounds"].verdict == "fine"


def test_slots_of_one_page_are_not_the_same_round():
    frame, items = tables()
    page = frame.loc[frame.index.repeat(2)].assign(slot=np.tile([0, 1], N))
    log = read(page, items, position="slot", context=["age", "slot"])
    assert log.report()["rounds"].verdict == "fine"
    assert read(page, items, context=["age", "slot"]).report()["rounds"].verdict == "look"


# ---- what is not known before an item is chosen


LATE = {"click": "reward", "p": "pscore", "item": "action"}


@pytest.mark.parametrize(("name", "role"), LATE.items())
def test_a_context_that_is_known_too_late_is_refused(name, role):
    with pytest.raises(ValueError, match=f"context names the column '{name}', which is the {role}"):
        read(*tables(), context=["age", name])


def test_a_feature_that_tells_the_reward_is_found():
    frame, items = tables()
    noise = np.random.default_rng(0).random(N)
    late = read(frame.assign(dwell=30 * frame.click + noise), items, context=["age", "dwell"])
    line = late.report()["rewards"]
    assert line.verdict == "look" and "context feature 'dwell' tells the reward" in line.cause
    arrays = dataclasses.replace(late, columns=None)
    assert "context feature 1 tells the reward" in arrays.report()["rewards"].cause
    known = read(frame.assign(likes=frame.click + 3 * noise), items, context=["age", "likes"])
    assert known.report()["rewards"].verdict == "fine"


# ---- what is no number, no probability, no time


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda p: 100 * p, r"f (these are )?percent, divide by 100"),
        (np.log, r"logarithms of probabilities, pass numpy.exp"),
        (lambda p: 1 / p, r"weights, 1 / p, pass their inverse"),
        (lambda p: p.round(1), r"has 0\.0\. .*was epsilon = 0\?\)\. Or was it rounded"),
        (lambda p: 1.5 * p, r"above 1 is no probability"),
        (lambda p: p.where(p.index != 7), r"row 7 has nan. Drop the row if it is one of few; else"),
        (lambda p: p.astype(str).str.replace(".", ","), r"replace\(',', '.'\).astype\(float\)"),
    ],
)
def test_propensities_of_another_form_are_named(wrong, message):
    frame, items = tables()
    with pytest.raises(ValueError, match=f"pscore.*{message}"):
        read(frame.assign(p=wrong(frame.p)), items)


def test_a_missing_pscore_of_an_array_is_no_probability(small_log):
    pscore = np.where(np.arange(len(small_log)) == 3, np.nan, small_log.pscore)
    with pytest.raises(ValueError, match=r"row 3 has nan\. Drop the row if it is one of few"):
        dataclasses.replace(small_log, pscore=pscore)


def test_a_reward_that_has_not_arrived_is_no_zero_and_no_row_to_drop():
    frame, items = tables()
    frame["click"] = frame.click.where(frame.index < N - 100)
    with pytest.raises(ValueError, match=r"row 2900 has nan\. If it has not arrived yet, it is"):
        read(frame, items)


@pytest.mark.parametrize("which", ["items", "rounds"])
def test_times_with_a_zone_and_without_are_named(which):
    frame, items = tables()
    if which == "items":
        items["start"] = items.start.dt.tz_localize("Asia/Tokyo")
    else:
        frame["time"] = frame.time.dt.tz_localize("Asia/Tokyo")
    with pytest.raises(ValueError, match=f"times of {which} have a time zone.*tz_localize"):
        read(frame, items)


# ---- serving and learning


def test_a_page_shows_no_item_twice():
    frame, items = tables()
    policy = opl.BilinearLearner().fit(read(frame, items)).policy_
    twice = pd.concat([items, items.iloc[[4]]])
    for ask in (policy.recommend, policy.sample, policy.greedy):
        with pytest.raises(ValueError, match=r"id 's4' is there twice.*drop_duplicates\('sku'\)"):
            ask(frame.head(2), twice)


def test_of_one_user_nothing_can_be_judged():
    frame, items = tables()
    with pytest.raises(ValueError, match="all rounds of the log are of one user"):
        opl.learn(read(frame.assign(user=1), items))


def test_an_estimate_that_its_weights_refute_sizes_no_test():
    """Of half of the propensities: the mean weight is 2, and so is the estimate."""
    frame, items = tables()
    log = read(frame.assign(p=frame.p / 2), items)
    one = np.eye(M)[-1]

    def new(context, action_context, eligible=None):
        pi = 0.2 * eligible + one * eligible
        return pi / pi.sum(axis=1, keepdims=True)

    found = opl.learn(log, {"new": new}, estimator="ips")
    right = opl.learn(read(frame, items), {"new": new}, estimator="ips")
    assert "the mean weight is" in found.not_trusted["new"]
    assert found.decision == "test" and found.reasons[-1].endswith("estimate is no guide to that")
    assert "would see a gain of 10% of the mean reward" in found.reasons[-1]
    assert not any("no guide" in reason for reason in right.reasons)


# ---- right propensities that are very small


def steep(scale, seed, n=2000):
    """Ten items shown by a softmax of normal scores, some of them once in a million rounds."""
    rng = np.random.default_rng(seed)
    context = rng.normal(size=(n, 3))
    p = np.exp(scale * context @ rng.normal(size=(3, 10)))
    p /= p.sum(axis=1, keepdims=True)
    action = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    pscore = p[np.arange(n), action]
    return opl.BanditFeedback(context, action, rng.integers(0, 2, n), pscore, np.eye(10))


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0, 3.0])
def test_a_right_log_is_not_called_wrong_however_steep_its_policy(scale):
    """Before, one in four at scale 2: the mean of weights misses what is too rare for the log."""
    called = [
        any(line.verdict == "wrong" for line in steep(scale, seed).report().lines)
        for seed in range(100)
    ]
    assert np.sum(called) <= 5


def test_a_log_that_hardly_explores_is_not_called_wrong():
    """One round in 5,000 is not the rule's: in most logs of 1,000 there is none."""
    context, action, share = np.ones((1000, 1)), np.zeros(1000, int), 0.9999
    log = opl.BanditFeedback(context, action, np.arange(1000) % 2, np.full(1000, share), np.eye(2))
    line = log.report()["mean weight"]
    assert line.verdict == "look" and line.numbers["mean_weight"] < 0.6
