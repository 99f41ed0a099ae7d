"""The card of a log: right logs have no findings, and what is wrong is named with its cure."""

import math
from dataclasses import replace
from time import process_time

import numpy as np
import pandas as pd
import pytest

import opl_lib as opl
from opl_lib.answers import action_probabilities
from opl_lib.logs.report_facts import Facts
from opl_lib.logs.report_tail import tail_line
from opl_lib.logs.report_weights import rounded_to

N, M = 3000, 6
SMALL = {"n_actions": M, "dim_context": 2, "dim_action_context": 2, "n_eval_contexts": 2}


def drawn(seed, changing=True, users=False):
    """A right log, and what its logging policy would have shown: (n_rounds, n_actions)."""
    rng = np.random.default_rng(seed)
    world = opl.SyntheticWorld(**SMALL, logging_policy=opl.softmax(1.0), random_state=seed)
    eligible = None
    if changing:
        sets = rng.random((5, M)) < 0.75
        sets[:, :3] = True
        eligible = opl.Eligible(sets, np.sort(rng.integers(5, size=N)))
    log = world.sample(N, random_state=seed, eligible=eligible)
    log = replace(
        log, timestamp=np.arange(N), user_id=rng.integers(N // 3, size=N) if users else None
    )
    mask = np.ones((N, M), bool) if eligible is None else eligible.mask()
    items = log.action_context
    return log, action_probabilities(world.logging_policy, log.context, items, 0, N, mask), mask


def of_another_item(log, pi, mask, rng):
    lot = rng.random(pi.shape) * mask
    lot[np.arange(N), log.action] = -1
    return pi[np.arange(N), lot.argmax(axis=1)]


def stale(log, pi, mask, rng):
    pi = pi * np.exp(0.7 * rng.normal(size=M))
    return (pi / pi.sum(axis=1, keepdims=True))[np.arange(N), log.action]


WRONG = {
    "of another item": of_another_item,
    "of the likeliest item": lambda log, pi, mask, rng: pi.max(axis=1),
    "of the next round": lambda log, pi, mask, rng: np.roll(log.pscore, -1),
    "stale": stale,
    "halved": lambda log, pi, mask, rng: log.pscore / 2,
    "rounded": lambda log, pi, mask, rng: np.clip(np.round(log.pscore, 1), 0.1, 1),
}


WRONG["of one digit"] = lambda log, pi, mask, rng: one_digit(log.pscore)


def one_digit(number):
    unit = 10.0 ** np.floor(np.log10(number))
    return np.round(number / unit) * unit


def named(report):
    return {line.name for line in report.findings}


def test_right_logs_with_a_changing_catalogue_have_no_findings():
    with_findings = [
        seed for seed in range(100) if drawn(seed, users=seed % 2)[0].report().findings
    ]
    assert len(with_findings) <= 5


def test_right_logs_of_little_exploration_are_not_called_wrong():
    """An item that is nearly always shown, or hardly ever: few logs hold what is hardly ever."""
    rng, wrong = np.random.default_rng(0), []
    for seed in range(20):
        n, m, epsilon = 4000, 50, 0.01
        best = rng.integers(m, size=n)
        action = np.where(rng.random(n) < epsilon, rng.integers(m, size=n), best)
        pscore = np.where(action == best, 1 - epsilon + epsilon / m, epsilon / m)
        log = plain(n, m, action=action, pscore=pscore)
        assert log.balance().abs().max(axis=None) > 5  # errors of the sample alone do not know
        wrong += [(seed, line) for line in log.report().findings if line.verdict == "wrong"]
    assert wrong == []


@pytest.mark.parametrize("changing", [False, True], ids=["fixed", "changing"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_propensities_are_found_as_often_with_a_changing_catalogue(name, changing):
    for seed in range(5):
        log, pi, mask = drawn(seed, changing, users=seed % 2)
        rng = np.random.default_rng(seed)
        found = named(replace(log, pscore=WRONG[name](log, pi, mask, rng)).report())
        assert found & {"mean weight", "balance", "propensities"}, seed


def test_a_catalogue_that_is_not_passed_is_named():
    log, *_ = drawn(0)
    report = replace(log, eligible=None).report()
    assert report["items on offer"].numbers["come_and_go"] > 0
    assert "eligible=" in report["items on offer"].cure
    assert report["mean weight"].verdict == "wrong"
    for name in ("mean weight", "balance"):
        assert "items come and go" in report[name].cause


@pytest.mark.parametrize("changing", [False, True])
def test_deterministic_logging_is_named_once(changing):
    log, *_ = drawn(0, changing)
    report = replace(log, pscore=np.ones(N)).report()
    line = report["propensities"]
    other = replace(log, pscore=np.ones(N)).support_report(lambda x, a: np.full((N, M), 1 / M))
    assert f"{line.cause} {line.cure}" in other.findings  # in one wording
    assert "deterministic" in line.cause
    assert report["propensities"].verdict == "wrong"
    assert named(report) == {"propensities", "smallest gain, as logged"}
    assert math.isinf(report["smallest gain, alike"].numbers["gain"])
    some = replace(log, pscore=np.where(np.arange(N) % 4 == 0, 1, log.pscore)).report()
    assert "25% of the rounds pscore is 1" in some["propensities"].cause


def test_a_catalogue_of_one_item_a_round_is_named():
    log, *_ = drawn(0)
    alone = np.eye(M, dtype=bool)[log.action]
    report = replace(log, pscore=np.ones(N), eligible=alone).report()
    assert "nobody chose" in report["propensities"].cause
    assert "100% of the rounds had one item" in report["items on offer"].cause


CHANGED = {
    "rewards": lambda log: {"reward": np.ones(N)},
    "rounds that carry rewards": lambda log: {"reward": 1.0 * (np.arange(N) % 100 == 0)},
    "rewards over time": lambda log: {"reward": log.reward * (np.arange(N) > N // 2)},
    "users": lambda log: {"user_id": np.maximum(np.arange(N), N // 10)},
    "slots": lambda log: {"position": 1 + np.arange(N) % 3},
    "time": lambda log: {"timestamp": np.arange(N) + 1e6 * (np.arange(N) > 9)},
    "items never logged": lambda log: {
        "action_context": np.vstack([log.action_context, log.action_context]),
        "eligible": None,
    },
    "effective sample size": lambda log: {"pscore": np.where(np.arange(N) < 9, 1e-4, log.pscore)},
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_odd_is_named_with_cause_and_cure(name):
    log, *_ = drawn(1)
    assert named(log.report()) == set()
    line = replace(log, **CHANGED[name](log)).report()[name]
    assert line.verdict in ("look", "wrong")
    assert line.cause.endswith(".") and line.cure.endswith(".")
    assert line.cure in str(line)


def test_slots_that_are_seen_unequally_are_named():
    log, *_ = drawn(1)
    slot = np.arange(N) % 3
    report = replace(log, position=slot, reward=log.reward * (slot < 2)).report()
    assert "seen more than others" in report["slots"].cause
    assert replace(log, position=slot).report()["slots"].verdict == "fine"


def test_items_never_logged_explain_a_mean_weight_that_is_too_small():
    log, *_ = drawn(1, changing=False)
    report = replace(log, action_context=np.vstack([log.action_context] * 2)).report()
    assert report["mean weight"].verdict == "look"
    assert report["items never logged"].numbers == {"items": 6, "share_of_offer": 0.5}


@pytest.mark.parametrize(
    ("rounded", "said"),
    [
        (one_digit, "one significant digit"),
        (lambda p: np.maximum(p.round(2), 0.01), "2 decimals"),
        (lambda p: p.round(4), None),
    ],
)
def test_rounding_is_named(rounded, said):
    pscore = np.random.default_rng(0).dirichlet(np.ones(10), 3000).ravel()
    assert rounded_to(rounded(pscore.clip(1e-3))) == said


@pytest.mark.parametrize(
    "shares",
    [
        [0.5, 0.2, 0.15, 0.1, 0.05],
        [0.4, 0.3, 0.2, 0.1],
        [0.5, 0.3, 0.1, 0.05, 0.03, 0.02],
        1 / np.arange(1, 30),
        np.random.default_rng(0).dirichlet(np.ones(50)),
    ],
    ids=["five", "four", "six", "even", "drawn"],
)
def test_shares_that_somebody_chose_are_not_called_rounded(shares):
    draws = np.random.default_rng(1).choice(shares, 5000, p=np.array(shares) / np.sum(shares))
    assert rounded_to(draws) is None


# ---- what a log can prove


def test_the_smallest_gain_is_found_in_eighty_of_a_hundred_logs():
    """A policy that shows one item that is better by just that much, judged by its lower bound."""
    n, m, rate = 2000, 5, 0.3
    rng = np.random.default_rng(0)
    rewards = rng.random((200, n)) < rate
    base = opl.BanditFeedback(
        context=np.ones((n, 1)),
        action=np.arange(n) % m,
        reward=rewards[0],
        pscore=np.full(n, 1 / m),
        action_context=np.eye(m),
    )
    gain = base.report()["smallest gain, as logged"].numbers["gain"]
    better = gain * m / (m - 1)  # the mean rises with it
    rewards |= (base.action == 0) & (rng.random((200, n)) < better / (1 - rate))
    w = m * (base.action == 0)
    terms = (w - 1) * (rewards - rewards.mean(axis=1, keepdims=True))
    lower = terms.mean(axis=1) - 1.645 * terms.std(axis=1) / math.sqrt(n)
    assert 0.7 < (lower > 0).mean() < 0.9


def test_ten_percent_takes_so_many_rounds():
    log = opl.SyntheticWorld(**SMALL, random_state=0).sample(2000, random_state=0)
    numbers = log.report()["smallest gain, as logged"].numbers
    variance = log.reward.var() * (M - 1)
    z = 1.6449 + 0.8416
    needed = variance * (z / (0.1 * log.reward.mean())) ** 2
    assert numbers["rounds_for_10_percent"] == pytest.approx(needed, rel=1e-3)
    assert numbers["gain"] == pytest.approx(z * math.sqrt(variance / 2000), rel=1e-3)
    assert numbers["per_1000"] == pytest.approx(1000 * numbers["gain"])
    test = log.report()["A/B test of a gain of 10%"].numbers["rounds"]
    assert test == pytest.approx(needed * 4 / (M - 1), rel=1e-2)


def test_exploration_buys_rounds():
    """Of items of one's own, half as much exploration takes twice as many rounds."""
    needed = [
        opl.SyntheticWorld(**SMALL, logging_policy=opl.epsilon_greedy(epsilon), random_state=0)
        .sample(20_000, random_state=0)
        .report()["smallest gain, its own"]
        .numbers["rounds_for_10_percent"]
        for epsilon in (0.1, 0.2)
    ]
    assert needed[0] / needed[1] == pytest.approx(2, rel=0.2)


def test_users_whose_rewards_are_alike_prove_less():
    log, *_ = drawn(0)
    user = np.repeat(np.arange(N // 3), 3)
    alike = replace(log, reward=log.reward[::3].repeat(3))
    for name in ("smallest gain, as logged", "A/B test of a gain of 10%"):
        alone, together = (
            next(iter(each.report()[name].numbers.values()))
            for each in (alike, replace(alike, user_id=user))
        )
        assert together > 1.5 * alone


def test_a_long_log_takes_seconds():
    """Processor time, which does not depend on what else the machine does."""
    n, m, rng = 100_000, 300, np.random.default_rng(0)
    sets = rng.random((60, m)) < 0.66
    number, size = np.sort(rng.integers(60, size=n)), sets.sum(axis=1)
    first_those_on_offer = np.argsort(~sets, axis=1, kind="stable")
    log = opl.BanditFeedback(
        context=rng.normal(size=(n, 5)),
        action=first_those_on_offer[number, rng.integers(size[number])],
        reward=rng.random(n) < 0.015,
        pscore=1 / size[number],
        action_context=rng.normal(size=(m, 2)),
        user_id=rng.integers(n // 4, size=n),
        timestamp=np.arange(n),
        eligible=opl.Eligible(sets, number),
    )
    start = process_time()
    report = log.report()
    assert process_time() - start < 3
    assert named(report) == {"smallest gain, as logged"}  # nearly as much as all clicks


# ---- what it looks like


def test_it_is_text_and_a_table_and_a_page():
    log, *_ = drawn(0)
    report = replace(log, pscore=log.pscore / 2).report()
    assert named(report) == {"mean weight", "balance"}
    text, page, table = repr(report), report._repr_html_(), report.table
    assert text.startswith("LogReport(3,000 rounds, 6 items: 2 findings")
    assert [name for name in table.index if name not in text] == []
    assert list(table.columns) == ["value", "text", "healthy", "verdict", "cause", "cure"]
    assert table.value["mean weight"] == report["mean weight"].numbers["mean_weight"]
    assert page.count("<tr>") == len(table) + 1 and "<b>Cure</b>" in page
    with pytest.raises(KeyError, match=r"no line of this report; it has .'rounds'"):
        report["clicks"]


def test_what_names_hold_is_no_markup():
    line = opl.BanditFeedback.report(drawn(0)[0]).lines[0]
    page = opl.LogReport("a<b", [replace(line, text="<i>", cause="<b>")])._repr_html_()
    assert "a&lt;b" in page and "<i>" not in page


# ---- giant rewards


def with_rewards(reward):
    n = len(reward)
    columns = {"action": np.arange(n) % 2, "reward": reward, "pscore": np.full(n, 0.5)}
    return opl.BanditFeedback(context=np.ones((n, 1)), action_context=np.eye(2), **columns)


def rare(draw):
    return lambda rng, n: np.where(rng.random(n) < 0.45, draw(rng, n), 0)


LIGHT = {
    "clicks": lambda rng, n: (rng.random(n) < 0.02).astype(float),
    "ratings": lambda rng, n: rng.integers(1, 6, size=n),
    "normal": lambda rng, n: rng.normal(size=n) + 1e3,
    "exponential": lambda rng, n: rng.exponential(size=n),
    "log-normal 1": lambda rng, n: rng.lognormal(size=n),
    "rare exponential": rare(lambda rng, n: rng.exponential(size=n)),
    "rare log-normal 1": rare(lambda rng, n: rng.lognormal(size=n)),
}
HEAVY = {
    "log-normal 2": lambda rng, n: rng.lognormal(sigma=2, size=n),
    "log-normal 3": lambda rng, n: rng.lognormal(sigma=3, size=n),
    "Pareto 1.1": lambda rng, n: rng.pareto(1.1, size=n),
    "Pareto 1.5": lambda rng, n: rng.pareto(1.5, size=n),
    "costs": lambda rng, n: 5 - rng.lognormal(sigma=2, size=n),
}


def share_named(draw, n, n_seeds=200):
    """Of so many logs of n rounds, in how many the tail is called heavy."""
    lines = [
        tail_line(Facts(with_rewards(draw(np.random.default_rng(seed), n))))
        for seed in range(n_seeds)
    ]
    return np.mean([line is not None and line.verdict == "look" for line in lines])


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_tail_is_not_called_heavy(name):
    assert share_named(LIGHT[name], 3000) <= 0.01


@pytest.mark.parametrize("name", HEAVY)
def test_a_heavy_tail_is_named(name):
    assert share_named(HEAVY[name], 3000) >= 0.95


def test_where_the_tail_is_named_intervals_miss_the_mean():
    """Of 95 %: Pareto 1.5 has no variance; exponential rewards are as they should be."""
    hits = {"Pareto 1.5": 0, "exponential": 0}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        for name, mean in {"Pareto 1.5": 2, "exponential": 1}.items():
            reward = (HEAVY | LIGHT)[name](rng, 3000)
            error = reward.std(ddof=1) / math.sqrt(3000)
            hits[name] += abs(reward.mean() - mean) < 1.96 * error
    assert hits["Pareto 1.5"] < 0.88 * 400 and hits["exponential"] > 0.92 * 400


def test_the_line_of_the_tail_says_who_carries_what_and_the_cure():
    reward = np.random.default_rng(0).pareto(1.2, size=2000)
    report = with_rewards(reward).report()
    line, ten = report["tail of rewards"], np.sort(reward)[-10:]
    of_variance = np.square(ten - reward.mean()).sum() / np.square(reward - reward.mean()).sum()
    assert line.numbers["of_variance"] == pytest.approx(of_variance)
    assert line.numbers["of_reward"] == pytest.approx(ten.sum() / reward.sum())
    assert line in report.findings and "np.minimum(reward, value)" in line.cure
    assert "np.maximum(reward, value)" in with_rewards(-reward).report()["tail of rewards"].cure
    cut = with_rewards(np.minimum(reward, np.quantile(reward, 0.99))).report()
    assert cut["tail of rewards"].verdict == "fine"
    names = [line.name for line in with_rewards(reward[:500]).report().lines]
    assert "tail of rewards" not in names  # so few do not tell


# ---- odd logs


def plain(n=40, m=3, **columns):
    rng = np.random.default_rng(n)
    given = {
        "context": rng.normal(size=(n, 2)),
        "action": rng.integers(m, size=n),
        "reward": rng.integers(2, size=n).astype(float),
        "pscore": np.full(n, 1 / m),
        "action_context": np.eye(m),
    }
    return opl.BanditFeedback(**{**given, **columns})


DAYS = np.datetime64("2026-03-01") + np.arange(40)
ODD = {
    "one round": lambda: plain(1),
    "two rounds": lambda: plain(2, timestamp=[0, 1], user_id=["a", "a"]),
    "equal rewards": lambda: plain(reward=np.full(40, 0.1)),
    "no rewards": lambda: plain(reward=np.zeros(40)),
    "huge rewards": lambda: plain(reward=1e308 * (-1.0) ** np.arange(40)),
    "tiny rewards": lambda: plain(reward=5e-324 * (np.arange(40) % 2)),
    "rewards around 0": lambda: plain(reward=(-1.0) ** np.arange(40)),
    "costs": lambda: plain(reward=-np.arange(40.0)),
    "half precision": lambda: plain(
        reward=np.full(40, 6e4, np.float16), pscore=np.full(40, 0.5, np.float16)
    ),
    "tiny propensities": lambda: plain(pscore=np.full(40, 1e-307)),
    "one tiny propensity": lambda: plain(pscore=np.append(np.full(39, 0.3), 3e-308)),
    "one item shown": lambda: plain(action=np.zeros(40, int)),
    "one item on offer": lambda: plain(
        action=np.zeros(40, int), pscore=np.ones(40), eligible=np.eye(3, dtype=bool)[[0] * 40]
    ),
    "many items": lambda: plain(m=500),
    "huge contexts": lambda: plain(context=np.full((40, 2), 1e300)),
    "one user": lambda: plain(user_id=np.zeros(40), timestamp=np.arange(40)),
    "a user a round": lambda: plain(user_id=[f"u{k}" for k in range(40)]),
    "slots that are hashes": lambda: plain(position=2**62 - np.arange(40)),
    "one time": lambda: plain(timestamp=np.zeros(40)),
    "days": lambda: plain(timestamp=DAYS),
    "days far apart": lambda: plain(timestamp=np.array([-(2**62), 2**62] * 20)),
    "durations": lambda: plain(timestamp=DAYS - DAYS[0]),
    "moments": lambda: plain(timestamp=pd.date_range("2026-03-01", periods=40, tz="Asia/Tokyo")),
    "dates": lambda: plain(timestamp=[day.item() for day in DAYS]),
    "periods": lambda: plain(timestamp=pd.period_range("2026-03", periods=40, freq="M")),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_logs_are_told_of(name):
    report = ODD[name]().report()
    assert repr(report) and report._repr_html_()
    assert len(report.table) == len(report.lines) >= 9
    assert all(line.cause and line.cure for line in report.findings)


@pytest.mark.parametrize("name", ["huge rewards", "rewards around 0", "costs"])
def test_the_unit_of_the_reward_does_not_matter(name):
    log = ODD[name]()
    scaled = replace(log, reward=log.reward / 2**600)
    a, b = (each.report()["smallest gain, as logged"].numbers for each in (log, scaled))
    assert a["gain"] == pytest.approx(b["gain"] * 2.0**600, rel=1e-9)
    assert a["share"] == pytest.approx(b["share"], rel=1e-9, nan_ok=True)


def test_half_precision_says_the_same():
    log = plain(400)
    half = replace(log, reward=log.reward.astype(np.float16), context=log.context.astype("f4"))
    assert half.report()["rewards"] == log.report()["rewards"]


def test_the_numbers_of_showing_all_alike_are_those_by_hand():
    log = opl.BanditFeedback(
        context=np.ones((4, 1)),
        action=[0, 1, 1, 2],
        reward=[0, 1, 0, 1],
        pscore=[0.5, 0.25, 0.25, 1.0],
        action_context=np.ones((4, 1)),
        eligible=np.array([[1, 1, 1, 0]] * 3 + [[1, 1, 1, 1]], dtype=bool),
    )
    weight, report = np.array([2 / 3, 4 / 3, 4 / 3, 1 / 4]), log.report()
    mean, effective = report["mean weight"].numbers, report["effective sample size"].numbers
    assert mean["mean_weight"] == pytest.approx(weight.mean())
    assert mean["std_error"] == pytest.approx(weight.std(ddof=1) / 2)
    assert effective["ess"] == pytest.approx(weight.sum() ** 2 / np.square(weight).sum())
    never = report["items never logged"].numbers
    assert never == {"items": 1, "share_of_offer": pytest.approx(1 / 16)}
