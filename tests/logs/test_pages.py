"""Pages drawn without replacement: what could be shown, and what it costs to forget it."""

from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from math import lcm

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

import opl_lib as opl

FIRST = [Fraction(6, 10), Fraction(3, 10), Fraction(1, 10)]  # of three items, in the first slot
LIKED = np.array([0.30, 0.34, 0.10])  # how often each is clicked by who looks at it
LOOKED_AT = np.array([1.0, 0.5])  # who looks at each slot


def all_pages():
    """Every page of two of the three items, as often as it is drawn; rewards are expected ones."""
    chance = {(a, b): FIRST[a] * FIRST[b] / (1 - FIRST[a]) for a, b in permutations(range(3), 2)}
    n = lcm(*(p.denominator for p in chance.values()))
    pages = [page for page, p in chance.items() for _ in range(int(p * n))]
    rows = [
        {
            "page": number,
            "slot": slot,
            "item": item,
            "over_all": float(FIRST[item]),
            "p": float(FIRST[item] / (1 - FIRST[page[0]] if slot else 1)),
            "click": LIKED[item] * LOOKED_AT[slot],
        }
        for number, page in enumerate(pages)
        for slot, item in enumerate(page)
    ]
    return pd.DataFrame(rows)


def read(frame, **given):
    names = {"context": ["slot"], "position": "slot", "page_id": "page", "pscore": "p"} | given
    return opl.BanditFeedback.from_dataframe(
        frame, action="item", reward="click", items=np.eye(3), **names
    )


@pytest.fixture(scope="module")
def frame():
    return all_pages()


def true_value_of_uniform():
    """Of any item that is left in the slot, alike; the slots above are the logging policy's."""
    first = LIKED.mean()
    second = sum(
        float(FIRST[a]) * (LIKED.sum() - LIKED[a]) / 2 * LOOKED_AT[1] for a in range(len(LIKED))
    )
    return (first + second) / 2


def test_the_sets_of_a_page_lack_what_stands_above(frame):
    log = read(frame)
    mask = log.eligible.mask()
    assert mask[::2].all()
    assert (mask[1::2].sum(axis=1) == 2).all()
    assert not mask[1::2][np.arange(len(frame) // 2), log.action[::2]].any()


def test_weights_and_estimates_are_exact_among_what_is_left(frame):
    log = read(frame)
    assert log.support_report(opl.uniform()).mean_weight == pytest.approx(1)
    ips = opl.evaluate(opl.uniform(), log, ["ips"]).loc["ips"]
    assert ips.policy_value == pytest.approx(true_value_of_uniform())


@pytest.mark.parametrize(
    ("wrong", "mean_weight"),
    [
        ({"page_id": None}, 5 / 6),  # of the second slot, a third of the weight is missing
        ({"pscore": "over_all"}, None),
        ({"page_id": None, "pscore": "over_all"}, None),
    ],
    ids=["all items", "pscore of all items", "both"],
)
def test_without_the_page_weights_and_estimates_are_wrong(frame, wrong, mean_weight):
    report = read(frame, **wrong).support_report(opl.uniform())
    assert abs(report.mean_weight - 1) > 0.1
    assert any("mean weight is not 1" in finding for finding in report.findings)
    assert mean_weight is None or report.mean_weight == pytest.approx(mean_weight)
    ips = opl.evaluate(opl.uniform(), read(frame, **wrong), ["ips"]).loc["ips"]
    assert abs(ips.policy_value / true_value_of_uniform() - 1) > 0.02


def direct(log):
    return opl.SklearnRewardModel(DecisionTreeRegressor(random_state=0)).fit(log)


def test_a_model_that_does_not_know_the_slot_prefers_what_stood_on_top(frame):
    """The best item is the second; the logging policy shows the first one on top."""
    with_slot, without = read(frame), read(frame.assign(none=0.0), context=["none"])
    best = {}
    for name, log in (("with", with_slot), ("without", without)):
        best[name] = direct(log).predict_reward(log.context[:1], log.action_context)[0].argmax()
    assert best == {"with": 1, "without": 0}


def test_the_direct_method_is_right_where_the_context_knows_the_slot(frame):
    with_slot, without = read(frame), read(frame.assign(none=0.0), context=["none"])
    second = np.tile([0.0, 1.0, 0.0], (len(frame), 1))  # the second item, or one that is left
    second = np.where(with_slot.eligible.mask(), second + 1e-12, 0)
    second /= second.sum(axis=1, keepdims=True)
    truth = (second * LIKED * LOOKED_AT[frame["slot"]][:, None]).sum(axis=1).mean()
    value = {
        name: opl.evaluate(second, log, ["dm", "dr"], reward_model=direct(log)).policy_value
        for name, log in (("with", with_slot), ("without", without))
    }
    assert value["with"]["dm"] == pytest.approx(truth, rel=1e-6)
    assert abs(value["without"]["dm"] / truth - 1) > 0.02
    for name in value:  # its propensities are right, so DR corrects its model
        assert value[name]["dr"] == pytest.approx(truth, rel=1e-6)


def test_one_line_reads_the_sets_of_a_shop():
    shop = opl.ShopWorld(n_items=12, n_users=50, n_eval_pages=20, slots=4, random_state=0)
    clicks, items = shop.frames(4001, random_state=1)
    clicks = clicks.sample(frac=1, random_state=0)  # in any order, with slots from 1
    log = opl.BanditFeedback.from_dataframe(
        clicks.assign(slot=clicks["slot"] + 1),
        context=["slot"],
        action="item_id",
        reward="click",
        pscore="propensity",
        items=items,
        item_id="item_id",
        position="slot",
        timestamp="time",
        eligible=("on_offer_from", "on_offer_until"),
        page_id="page_id",
    )
    expected = shop.sample(4001, random_state=1).eligible.mask(clicks.index.to_numpy())
    np.testing.assert_array_equal(log.eligible.mask(), expected)


def test_logs_without_propensities_know_the_page_too(frame):
    unweighted = read(frame, pscore=None)
    assert unweighted.columns["eligible"].n_eligible[:2].tolist() == [3, 2]


def test_numbers_masks_and_sets_say_the_same():
    given = {"page_id": ["p", "q", "p", "p"], "position": [1, 1, 3, 2], "action": [0, 2, 1, 2]}
    expected = [[1, 1, 1], [1, 1, 1], [0, 1, 0], [0, 1, 1]]
    mask = np.ones((4, 3), bool)
    for eligible in (3, mask, opl.Eligible.of_mask(mask)):
        assert opl.without_above(**given, eligible=eligible).mask().tolist() == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"action": [0, 0, 1]}, "row 1 shows item 0, which stands above on its page, 'p'"),
        ({"position": [0, 0, 0]}, "row 1 is in a slot of page 'p' that another row is in"),
        ({"position": [0, 2, 0]}, "row 1 of page 'p' has a slot above it, of which there is no"),
        ({"position": [0, 1, 1]}, "row 2 of page 'q' has a slot above it"),
        ({"action": [0, 3, 1]}, r"action must be in \[0, 2\].* row 1 has 3"),
        ({"action": [0, 1]}, "action has 2 rows but page_id has 3"),
        ({"eligible": 0}, "number of items, must be at least 1"),
        ({"eligible": np.ones((2, 3), bool)}, "eligible is for 2 rounds"),
    ],
)
def test_pages_that_cannot_be_are_refused(change, said):
    given = {"page_id": ["p", "p", "q"], "position": [0, 1, 0], "action": [0, 1, 1], "eligible": 3}
    with pytest.raises(ValueError, match=said):
        opl.without_above(**{**given, **change})


def test_a_page_needs_slots(frame):
    with pytest.raises(ValueError, match="page_id='page': say with position="):
        read(frame, position=None)


# ---- what the report says of slots


def slots_line(log):
    return log.report()["slots"]


def test_the_report_says_whether_the_context_knows_the_slots():
    shop = opl.ShopWorld(n_items=20, n_users=200, n_eval_pages=50, click_rate=0.1, random_state=0)
    log = replace(shop.sample(20_000, random_state=1), columns=None)  # its last feature is the slot
    assert slots_line(log).verdict == "fine"
    without = replace(log, context=log.context[:, :-1])
    assert slots_line(without).verdict == "look"
    assert "a column of the context" in slots_line(without).cure
    one_hot = replace(log, context=np.hstack([log.context[:, :-1], np.eye(3)[log.position]]))
    assert slots_line(one_hot).verdict == "fine"
    first_or_not = np.column_stack([log.context[:, :-1], log.position == 0])
    assert slots_line(replace(log, context=first_or_not)).verdict == "look"


def test_the_report_says_that_slots_count_from_one(frame):
    line = slots_line(read(frame.assign(slot=frame["slot"] + 1)))
    assert line.verdict == "look" and "counts from 1" in line.cause


def test_pages_are_units_where_no_user_is_known(frame):
    log = replace(read(frame), user_id=frame["page"].to_numpy())
    assert len(log.units) == len(frame) // 2
    first, second = log.split(0.5)
    assert not set(first.user_id) & set(second.user_id)
