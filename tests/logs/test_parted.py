"""Parts of a log by users and time, and rounds in proportion to weights."""

from dataclasses import replace

import numpy as np
import pytest

import opl_lib as opl

SHOP = {"n_items": 30, "n_users": 400, "n_eval_pages": 100, "random_state": 0}


@pytest.fixture(scope="module")
def log():
    return opl.ShopWorld(**SHOP).sample(12_000, random_state=1)


@pytest.mark.parametrize("fraction", [0.3, 0.5])
def test_apart_means_other_users_and_later(log, fraction):
    first, second = log.split_by_time(fraction, users_apart=True)
    assert not set(first.user_id) & set(second.user_id)
    assert first.timestamp.max() < second.timestamp.min()
    assert len(first) / len(log) == pytest.approx((1 - fraction) ** 2, abs=0.08)
    assert len(second) / len(log) == pytest.approx(fraction**2, abs=0.08)


def test_apart_takes_a_seed_and_cuts_at_the_same_time(log):
    cut = log.split_by_time(0.3)[1].timestamp.min()
    one, other = (log.split_by_time(0.3, users_apart=True, random_state=k) for k in (0, 1))
    again = log.split_by_time(0.3, users_apart=True)
    assert all(part.timestamp.max() < cut for part in (one[0], other[0]))
    assert not np.array_equal(one[1].user_id, other[1].user_id)
    assert np.array_equal(one[1].user_id, again[1].user_id)


def test_apart_needs_users_on_both_sides(log):
    with pytest.raises(ValueError, match="users_apart=True needs users"):
        replace(log, user_id=None).split_by_time(users_apart=True)
    early = np.arange(log.n_rounds) < log.n_rounds / 2
    changed = replace(log, user_id=np.where(early, "early", "late"))
    with pytest.raises(ValueError, match="leaves no"):
        for seed in range(8):
            changed.split_by_time(0.5, users_apart=True, random_state=seed)


def test_the_report_counts_the_users_who_return(log):
    first, second = log.split_by_time(0.3)
    early = set(first.user_id)
    expected = np.mean([user in early for user in set(second.user_id)])
    line = log.report()["users who return"]
    assert line.verdict == "fine"
    assert line.numbers["returning"] == pytest.approx(expected, abs=0.01)
    assert f"{line.numbers['returning']:.0%} of those" in line.text
    once = replace(log, user_id=np.arange(log.n_rounds))
    assert once.report()["users who return"].numbers["returning"] == 0


# ---- weights


def test_weighted_rounds_are_there_in_proportion(log):
    rng = np.random.default_rng(0)
    weight = rng.gamma(1.0, size=log.n_rounds)
    numbered = replace(log, user_id=np.arange(log.n_rounds))
    share = weight / weight.sum() * log.n_rounds
    copies = [
        np.bincount(numbered.weighted(weight, seed).user_id, minlength=log.n_rounds)
        for seed in range(40)
    ]
    assert all(each.sum() == log.n_rounds for each in copies)
    assert all((np.abs(each - share) < 1 + 1e-6).all() for each in copies)
    assert np.abs(np.mean(copies, axis=0) - share).mean() < 0.1  # unbiased
    assert np.array_equal(numbered.weighted(1e300 * weight, 3).user_id,
                          numbered.weighted(weight, 3).user_id)  # fmt: skip


def test_equal_weights_change_no_number(log):
    again = log.weighted(np.full(log.n_rounds, 0.3))
    assert np.array_equal(again.action, log.action)
    assert np.array_equal(again.eligible.mask(), log.eligible.mask())
    assert np.array_equal(again.user_id, log.user_id)


def test_estimates_of_a_weighted_log_are_weighted_ones(log):
    weight = 0.5 ** ((log.timestamp.max() - log.timestamp) / np.timedelta64(5, "D"))
    terms = np.mean([
        opl.evaluate(opl.uniform(), log.weighted(weight, seed), ["ips"]).policy_value.iloc[0]
        for seed in range(20)
    ])  # fmt: skip
    pi = 1 / log.eligible.n_eligible
    exact = np.average(pi / log.pscore * log.reward, weights=weight)
    assert terms == pytest.approx(exact, rel=0.03)
    assert abs(log.reward.mean() / exact - 1) > 0.03


def test_copies_are_of_one_user_so_that_errors_and_folds_are_right():
    """Counted as rounds of their own, copies would halve the error, and be on both sides."""
    world = opl.SyntheticWorld(n_actions=3, dim_context=3, dim_action_context=3, random_state=0)
    log = world.sample(400, random_state=1)
    weight = np.where(np.arange(400) < 50, 8.0, 0.0)  # fifty rounds, eight times each
    copied = log.weighted(weight)
    few = opl.evaluate(opl.uniform(), log[:50], ["ips"]).loc["ips"]
    many = opl.evaluate(opl.uniform(), copied, ["ips"]).loc["ips"]
    blind = opl.evaluate(opl.uniform(), replace(copied, user_id=None), ["ips"]).loc["ips"]
    assert copied.n_rounds == 400
    assert many.policy_value == pytest.approx(few.policy_value)
    assert many.std_error == pytest.approx(few.std_error)
    assert blind.std_error < 0.4 * few.std_error
    first, second = copied.split(0.3)
    assert not (first.context[:, None] == second.context).all(axis=2).any()


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ([1.0], "weight has 1 rows and the log 3"),
        ([1.0, -1.0, 1.0], "row 1"),
        ([0.0, 0.0, 0.0], "weight is 0 in every row"),
        ([1.0, np.nan, 1.0], "row 1"),
    ],
)
def test_weights_that_cannot_be_are_refused(small_log, weight, said):
    with pytest.raises(ValueError, match=said):
        small_log[:3].weighted(weight)


# ---- rewards that arrive late


def test_the_report_says_that_rewards_may_not_all_have_arrived():
    shop = {**SHOP, "n_users": 4000, "click_rate": 0.05}
    late = opl.ShopWorld(**shop, delay=4).sample(20_000, random_state=1)
    line = late.report()["rewards over time"]
    assert line.verdict == "look" and "may not all have arrived" in line.cause
    assert "log[log.timestamp < end - wait]" in line.cure
    complete = opl.ShopWorld(**shop).sample(20_000, random_state=1)
    assert complete.report()["rewards over time"].verdict == "fine"
    backwards = replace(late, timestamp=late.timestamp.min() - late.timestamp)
    assert "changed on the way" in backwards.report()["rewards over time"].cause
    assert "arrived" not in backwards.report()["rewards over time"].cause


def test_a_log_that_is_read_too_early_is_biased_and_the_recipes_are_not():
    """With seeds alike, a shop without delay has the same rounds and all of their clicks."""
    import pandas as pd

    found = {"naive": [], "window": [], "divided": []}
    for seed in range(12):
        settings = {**SHOP, "random_state": seed, "click_rate": 0.1}
        late = opl.ShopWorld(**settings, delay=4).frames(12_000, random_state=seed)[0]
        whole = opl.ShopWorld(**settings).frames(12_000, random_state=seed)[0]
        age = (pd.Timestamp("2026-04-01") - late.time) / pd.Timedelta(days=1)
        wait = (late.clicked_at - late.time) / pd.Timedelta(days=1)
        ripe, young = age >= 7, age.between(7, 15)
        known = np.sort(wait[(age > 20) & (late.click == 1)])
        chance = np.searchsorted(known, age.clip(upper=20)) / len(known)
        found["naive"].append(late.click[young].mean() / whole.click[young].mean())
        of_window = (wait <= 7)[ripe & young].mean() / (wait <= 7)[age > 20].mean()
        found["window"].append(
            of_window / (whole.click[young].mean() / whole.click[age > 20].mean())
        )
        kept = age > 1
        found["divided"].append((late.click / chance)[kept].mean() / whole.click[kept].mean())
    mean = {name: np.mean(ratios) for name, ratios in found.items()}
    error = {name: np.std(ratios) / np.sqrt(11) for name, ratios in found.items()}
    assert mean["naive"] < 1 - 4 * error["naive"]
    assert abs(mean["window"] - 1) < 3 * error["window"] < 0.1
    assert abs(mean["divided"] - 1) < 3 * error["divided"] < 0.1
