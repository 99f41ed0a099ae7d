"""Diagnosis while learning: numbers by hand, one look an epoch, what is warned of and when."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import GOOD, PI_0, TablePolicy, log_of

import opl_lib as opl
from opl_lib.selection.findings import effective_number
from opl_lib.selection.watch import COLUMNS

# One log is here what is learned from and what judges: numbers by hand need no more.
pytestmark = pytest.mark.filterwarnings("ignore:held_out and train have:UserWarning")

EVERYWHERE = np.full((2, 3), 1 / 3)


def run(watch, *epochs):
    """A fit whose epochs are given: call back before the first and after each."""
    policy, history = TablePolicy(), {}
    for pi in epochs:
        policy.pi[:] = pi
        for name, number in watch(policy).items():
            history.setdefault(name, []).append(number)
    return history


def quiet(watch, *epochs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", opl.PolicyWarning)
        return run(watch, *epochs)


@pytest.fixture
def four():
    """Item 2 is never logged."""
    return log_of([0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 1, 1])


@pytest.fixture
def log(tiny_world):
    return tiny_world.sample(2000, random_state=0)


# ---- the numbers


def test_a_row_is_computed_by_hand(four):
    watch = opl.Watch(four, estimator="ips")
    quiet(watch, [[0.5, 0.25, 0.25], [0.2, 0.6, 0.2]])
    row = watch.table.loc[("held_out", 0)]
    weight = np.array([1, 0.25 / 0.3, 2, 2])
    mass = np.array([0.35, 0.425, 0.225])
    h_0 = 0.5 * math.log(2) + 0.5 * math.log(4)
    h_1 = 0.4 * math.log(5) + 0.6 * math.log(1 / 0.6)
    assert row.estimate == pytest.approx((1 + 2 + 2) / 4)
    assert row.mean_weight == pytest.approx(weight.mean())
    assert row.mean_weight_se == pytest.approx(weight.std(ddof=1) / 2)
    assert row.ess_share == pytest.approx(weight.sum() ** 2 / (weight**2).sum() / 4)
    assert row.entropy == pytest.approx((h_0 + h_1) / 2)
    assert row.effective_items == pytest.approx(np.prod(mass**-mass))
    assert row.kl_from_logging == pytest.approx((math.log(1.2) - 2 * math.log(2)) / 4)
    assert row.unsupported_mass == pytest.approx(0.225)
    assert list(watch.table.columns) == list(COLUMNS)


@pytest.mark.parametrize(
    ("mass", "expected"), [([3, 0, 0], 1), ([5, 5, 5, 5], 4), ([1, 1, 0, 0], 2)]
)
def test_the_effective_number_of_equal_masses_is_their_number(mass, expected):
    assert effective_number(np.array(mass)) == pytest.approx(expected)


def test_a_deterministic_policy_may_show_many_items_or_one(four):
    watch = opl.Watch(four)
    quiet(watch, EVERYWHERE, [[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 0, 0]])
    table = watch.table.loc["held_out"]
    np.testing.assert_allclose(table.entropy, [math.log(3), 0, 0], atol=1e-12)
    np.testing.assert_allclose(table.effective_items, [3, 2, 1])
    assert math.isinf(table.kl_from_logging[1]) and table.kl_from_logging[1] > 0


def test_the_distance_estimates_the_divergence_from_the_logging_policy(tiny_world):
    watch = opl.Watch(tiny_world.sample(20_000, random_state=3), max_rounds=20_000)
    quiet(watch, PI_0, GOOD)
    exact = (tiny_world.p_x[:, None] * PI_0 * np.log(PI_0 / GOOD)).sum()
    own, other = watch.table.loc["held_out"].kl_from_logging
    assert own == 0
    assert other == pytest.approx(exact, abs=0.04)  # four standard errors
    assert exact > 0.3


def test_the_estimate_is_that_of_evaluate(small_log):
    class Model:
        def predict_reward(self, context, action_context):
            return 0.2 + 0.1 * context[:, :1] * action_context[:, 0]

    pi = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
    q_hat = Model()

    def policy(context, action_context):
        return pi[(context[:, 0] > 0).astype(int)]

    for estimator in ("snips", "dr", opl.Estimator("clipped_ips", 1.5)):
        watch = opl.Watch(small_log, estimator=estimator, reward_model=q_hat)
        seen = watch(policy)
        expected = opl.evaluate(policy, small_log, [estimator], q_hat).iloc[0]
        assert seen["held_out_estimate"] == pytest.approx(expected.policy_value)
        assert seen["held_out_ess_share"] * len(small_log.units) == pytest.approx(expected.ess)


def test_items_are_unsupported_that_neither_log_shows(four):
    with_item_2 = log_of([0, 1], [2, 0], [0, 1])
    assert quiet(opl.Watch(four), EVERYWHERE)["held_out_unsupported_mass"][0] > 0.3
    both = quiet(opl.Watch(four, train=with_item_2), EVERYWHERE)
    assert both["held_out_unsupported_mass"] == both["train_unsupported_mass"] == [0]


def test_a_long_log_is_sampled_but_its_support_is_counted_whole():
    actions = np.zeros(5000, dtype=int)
    actions[1], actions[2] = 1, 2
    rare = log_of(np.zeros(5000, dtype=int), actions, np.arange(5000))
    first, again, other = (
        opl.Watch(rare, estimator="avg", max_rounds=50, random_state=seed) for seed in (0, 0, 1)
    )
    means = [quiet(watch, PI_0)["held_out_estimate"][0] for watch in (first, again, other)]
    assert means[0] == means[1] != means[2]
    assert means[0] == pytest.approx(2500, abs=4 * 5000 / math.sqrt(12 * 50))
    assert first.table.unsupported_mass.iloc[0] == 0
    assert "50 held_out rounds" in repr(first)


# ---- one look an epoch


def test_the_policy_is_asked_once_an_epoch_and_log(four):
    watch = opl.Watch(four, train=four)
    policy = TablePolicy()
    for _ in range(3):
        watch(policy)
    assert policy.n_calls == 3 * 2
    assert len(watch.table) == 3 * 2


def test_a_reward_model_is_not_asked_for_what_needs_none(four):
    class Silent:
        def predict_reward(self, context, action_context):
            raise AssertionError("nobody needs to know")

    quiet(opl.Watch(four, estimator="ips", reward_model=Silent()), PI_0)


def test_weights_are_diagnosed_by_users(log):
    """Each round four times, by the same user: no more evidence than once."""
    rows = np.repeat(np.arange(log.n_rounds), 4)
    again = replace(log[rows], user_id=rows)
    settings = {"estimator": "ips", "max_rounds": 10_000}
    once, four_times = (opl.Watch(each, **settings) for each in (log, again))
    for watch in (once, four_times):
        quiet(watch, EVERYWHERE, GOOD)
    pd.testing.assert_frame_equal(once.table, four_times.table)
    assert repr(four_times).startswith("Watch(8,000 held_out rounds")


def test_history_and_table_hold_the_same(four):
    watch = opl.Watch(four, train=four[:3])
    history = quiet(watch, EVERYWHERE, PI_0)
    for log in ("held_out", "train"):
        for column in COLUMNS:
            assert history[f"{log}_{column}"] == watch.table.loc[log][column].tolist()
    assert watch.table.index.names == ["log", "epoch"]
    assert watch.table.index.tolist() == [
        (log, epoch) for log in ("held_out", "train") for epoch in (0, 1)
    ]


def test_a_fit_is_not_changed_by_being_watched(small_log):
    settings = {"objective": "ips", "epochs": 2, "hidden": (5,), "dim_embedding": 3}
    plain = opl.OffPolicyLearner(**settings).fit(small_log)
    watch = opl.Watch(small_log[:40], small_log)
    watched = opl.OffPolicyLearner(**settings).fit(small_log, callback=watch)
    pairs = zip(plain.policy_.towers.parameters(), watched.policy_.towers.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len(watch.table) == 2 * 3
    assert watched.history_["train_entropy"] == watch.table.loc["train"].entropy.tolist()


def test_a_watch_follows_one_fit(small_log):
    watch = opl.Watch(small_log)
    learner = opl.OffPolicyLearner("ips", epochs=1, hidden=(5,), dim_embedding=3)
    learner.fit(small_log, callback=watch)
    with pytest.raises(ValueError, match="has followed another fit; make a new one for each"):
        learner.fit(small_log, callback=watch)
    assert len(watch.table) == 2


def test_it_can_watch_an_early_stop(small_log):
    watch = opl.Watch(small_log[:40])
    learner = opl.OffPolicyLearner("ips", epochs=3, hidden=(5,), dim_embedding=3)
    stopped = opl.EarlyStopping(learner, min_ess=0, min_rewards=0).fit(small_log, watch)
    assert {"held_out", "held_out_estimate"} < set(stopped.history_)
    assert len(watch.table) == len(stopped.history_["held_out"])


# ---- findings and warnings


def test_a_good_fit_is_not_warned_of(log):
    watch = opl.Watch(log[:1000], train=log[1000:])
    run(watch, EVERYWHERE, (PI_0 + GOOD) / 2, GOOD)
    assert watch.findings == []


def test_a_wrong_pscore_is_found_before_training_and_named_once(log):
    halved = replace(log, pscore=log.pscore / 2)
    watch = opl.Watch(halved, train=halved)
    message = r"^the mean weight is 1\.98 .* on the held_out rounds before any training. .*pscore"
    with pytest.warns(opl.PolicyWarning, match=message) as caught:
        run(watch, EVERYWHERE, PI_0, GOOD)
    assert len(caught) == 1
    assert len(watch.findings) == 1


def test_propensity_overfitting_is_found_on_the_training_rounds():
    """The policy seeks the logged items: of context 0 item 0, of context 1 item 1."""
    lucky = log_of([0, 1] * 50, [0, 1] * 50, [1, 0] * 50, EVERYWHERE)
    fresh = log_of(np.repeat([0, 1], 60), np.tile([0, 1, 2], 40), np.tile([1, 0], 60), EVERYWHERE)
    seeking = [[0.9, 0.05, 0.05], [0.2, 0.75, 0.05]]
    watch = opl.Watch(fresh, train=lucky, estimator="ips")
    message = (
        r"^after epoch 1, propensity overfitting: .* the estimate rose from 0\.5 to 1\.35 while "
        r"the mean weight went to 2\.4\d .*standard error 0\.02"
        r".* a regression .*opl\.snips.*opl\.dros"
    )
    with pytest.warns(opl.PolicyWarning, match=message) as caught:
        run(watch, EVERYWHERE, seeking, seeking)
    assert len(caught) == 1
    assert watch.table.loc[("held_out", 2)].mean_weight == pytest.approx(1)

    alone = opl.Watch(train=lucky, estimator="ips")
    quiet(alone, EVERYWHERE, seeking)
    assert alone.findings == watch.findings

    unseen = opl.Watch(fresh, estimator="ips")
    run(unseen, EVERYWHERE, seeking)
    assert unseen.findings == []


def test_overfitting_needs_an_estimate_that_rises():
    lucky = log_of([0, 1] * 50, [0, 1] * 50, [-1, 0] * 50, EVERYWHERE)
    watch = opl.Watch(train=lucky, estimator="ips")
    run(watch, EVERYWHERE, [[0.9, 0.05, 0.05], [0.2, 0.75, 0.05]])
    assert watch.table.mean_weight.iloc[-1] > 2 and watch.findings == []


def test_weights_off_one_on_held_out_rounds_are_a_matter_of_support(log):
    """The log was stripped of item 0 in context 0, where the policy goes."""
    stripped = log[(log.action != 0) | (log.context[:, 1] > 0)]
    start = PI_0 * [[0, 1, 1], [1, 1, 1]]
    start /= start.sum(axis=1, keepdims=True)
    renormalised = replace(stripped, pscore=start[stripped.context.argmax(axis=1), stripped.action])
    watch = opl.Watch(renormalised, train=renormalised)
    message = r"^after epoch 1, the mean weight is 0\.\d\d .* on held-out rounds; it was 1\.00 "
    with pytest.warns(opl.PolicyWarning, match=message):
        run(watch, start, GOOD)
    assert len(watch.findings) == 1 and "opl.regularised" in watch.findings[0]


def test_few_effective_rounds_are_found():
    """One round in 400 carries nearly all the weight; its pscore says that this is fair."""
    contexts, actions = np.zeros(400, dtype=int), np.zeros(400, dtype=int)
    actions[0] = 1
    pi_0 = np.array([[0.9975, 0.0025, 0], [0, 0, 1]])
    rare = log_of(contexts, actions, np.ones(400), pi_0)
    watch = opl.Watch(rare)
    message = r"the weights leave 1 effective rounds of 400 \(held_out\)"
    with pytest.warns(opl.PolicyWarning, match=message):
        run(watch, pi_0, [[0.01, 0.99, 0], [0, 0, 1]])
    assert any("longer log" in finding for finding in watch.findings)


def test_effective_rounds_are_few_below_one_percent():
    """Of 1,000 rounds at pscore 1/2, the policy shows what n of them show: n are effective."""
    for n, is_found in ((9, True), (11, False)):
        contexts = np.zeros(1000, dtype=int)
        contexts[:n] = 1
        coin = [[0.5, 0.5, 0], [0.5, 0.5, 0]]
        rare = log_of(contexts, np.zeros(1000, dtype=int), np.ones(1000), coin)
        watch = opl.Watch(rare)
        quiet(watch, coin, [[0, 1, 0], [1, 0, 0]])
        assert watch.table.ess_share.iloc[-1] == pytest.approx(n / 1000)
        found = [f"{n} effective rounds of 1,000" in finding for finding in watch.findings]
        assert any(found) == is_found


def test_a_collapse_is_below_the_cube_root_of_the_logged_items():
    """All three items are logged equally often: cbrt(3) = 1.44 effective items."""
    even = log_of(np.tile([0, 1], 150), np.repeat([0, 1, 2], 100), np.ones(300), EVERYWHERE)
    for p, is_found in ((0.89, True), (0.88, False)):
        watch = opl.Watch(even)
        quiet(watch, EVERYWHERE, [[p, 1 - p, 0]] * 2)
        items = watch.table.effective_items.iloc[-1]
        assert (items < 3 ** (1 / 3)) == is_found and abs(items - 3 ** (1 / 3)) < 0.03
        assert any("effective items, while" in finding for finding in watch.findings) == is_found


def test_mass_that_moves_to_items_never_logged_is_found(four):
    watch = opl.Watch(four)
    run(watch, EVERYWHERE)  # a third of an untrained policy is there, and tells nothing
    assert watch.findings == []

    moved = opl.Watch(four)
    with pytest.warns(opl.PolicyWarning, match="40% of the policy is on items that were never log"):
        run(moved, EVERYWHERE, [[0.3, 0.3, 0.4]] * 2)


def test_a_collapse_is_found_where_the_log_shows_more(log):
    constant = [[0.02, 0.96, 0.02]] * 2
    watch = opl.Watch(log)
    message = (
        r"^after epoch 2, the policy shows 1\.2 effective items, while the log shows 2\.9.*"
        r"Cure: a regression .*opl\.dros.*opl\.baseline_ips"
    )
    with pytest.warns(opl.PolicyWarning, match=message) as caught:
        run(watch, EVERYWHERE, GOOD, constant, constant)
    assert len(caught) == 1

    only_one = log[log.action == 1]
    watch = opl.Watch(replace(only_one, pscore=np.ones(only_one.n_rounds)))
    run(watch, [[0, 1, 0]] * 2, [[0, 1, 0]] * 2)
    assert watch.findings == []


def test_findings_are_those_of_the_last_epoch(log):
    watch = opl.Watch(log)
    quiet(watch, EVERYWHERE, [[0.02, 0.96, 0.02]] * 2)
    assert len(watch.findings) == 1
    watch = opl.Watch(log)
    quiet(watch, EVERYWHERE, [[0.02, 0.96, 0.02]] * 2, GOOD)
    assert watch.findings == []


def test_a_policy_warning_can_be_filtered_by_its_class():
    assert issubclass(opl.PolicyWarning, UserWarning)


# ---- what is shown, and what is rejected


def test_a_watch_is_shown_with_its_first_and_last_epoch(log):
    watch = opl.Watch(log[:500], train=log[500:])
    assert repr(watch).splitlines() == [
        "Watch(500 held_out rounds, 1,500 train rounds, by snips)",
        "has seen no epoch yet: call fit(log, callback=watch)",
    ]
    assert watch.findings == [] and len(watch.table) == 0
    quiet(watch, EVERYWHERE, PI_0, [[0.02, 0.96, 0.02]] * 2)
    lines = repr(watch).splitlines()
    assert lines[2].split() == ["epoch", "0", "2", "0", "2"]
    assert [line.split()[0] for line in lines[3:10]] == [c for c in COLUMNS if "_se" not in c]
    assert lines[10].startswith("  ! the policy shows 1.2 effective items")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"held_out": None}, ValueError, "needs a log to look at; pass held_out=…, train=… or"),
        ({"held_out": "log"}, TypeError, "held_out must be a BanditFeedback; got str"),
        ({"estimator": "ipw"}, ValueError, "an estimator is one of"),
        ({"estimator": "dr"}, ValueError, "'dr' needs a fitted reward model: pass reward_model=…"),
        ({"max_rounds": 1}, ValueError, "max_rounds must be an integer of at least 2; got 1"),
        ({"random_state": -1}, ValueError, "random_state must be an integer of at least 0"),
    ],
    ids=str,
)
def test_bad_settings_are_rejected(settings, error, message, four):
    with pytest.raises(error, match=message):
        opl.Watch(**{"held_out": four, **settings})


def test_logs_over_other_items_are_rejected(four, small_log):
    with pytest.raises(ValueError, match="train has dim_context = 3 but held_out has 2"):
        opl.Watch(four, train=small_log)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"held_out": opl.BanditFeedback}, TypeError, "held_out must be a BanditFeedback"),
        ({"train": {"context": 1}}, TypeError, "train must be a BanditFeedback; got dict"),
        ({"reward_model": 3}, TypeError, "a reward model has a method predict_reward.*int has"),
        ({"reward_model": opl.TwoTowerRegressor}, TypeError, "the class TwoTowerRegressor: make"),
        ({"random_state": 2**32}, ValueError, "random_state must be an integer of at most"),
        ({"random_state": None}, ValueError, "random_state must be an integer"),
        ({"max_rounds": True}, ValueError, "max_rounds must be an integer"),
        ({"max_rounds": "5"}, ValueError, "max_rounds must be an integer"),
    ],
    ids=range(8),
)
def test_whatever_is_out_of_range_is_named(settings, error, message, four):
    with pytest.raises(error, match=message):
        opl.Watch(**{"held_out": four, **settings})


def test_logs_of_other_widths_are_rejected(four):
    wide = replace(four, context=np.ones((four.n_rounds, 3)))
    others = replace(four, action_context=2 * four.action_context)
    for log, message in ((wide, "train has dim_context = 3"), (others, "another action_context")):
        with pytest.raises(ValueError, match=message):
            opl.Watch(four, train=log)


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        (3, TypeError, "a policy is an object"),
        (opl.uniform, TypeError, "the class uniform: make an object of it"),
        (lambda context, items: None, ValueError, "what the policy returned must be an array"),
        (lambda c, items: np.full((len(c), 3), np.nan), ValueError, "returned nan for item 0"),
    ],
    ids=range(4),
)
def test_what_is_no_policy_is_not_followed(policy, error, message, four):
    watch = opl.Watch(four)
    with pytest.raises(error, match=message):
        watch(policy)
    assert len(watch.table) == 0
    watch(opl.uniform())  # it is still free for a fit
    assert len(watch.table) == 1


def test_a_watch_does_not_ask_for_numpys_error_state():
    world = opl.SyntheticWorld(4, 3, 3, logging_policy=opl.softmax(1.0), random_state=0)
    log, sharp = world.sample(50, random_state=1), opl.softmax(0.001)
    plain, raising = opl.Watch(log), opl.Watch(log)
    plain(sharp)
    with np.errstate(all="raise"):
        raising(sharp)
    assert raising.table.equals(plain.table)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("estimator", "nonsense", "an estimator is one of"),
        ("estimator", "dr", "needs a fitted reward model"),
        ("reward_model", 3, "a reward model has a method predict_reward"),
    ],
)
def test_settings_assigned_later_are_checked_in_the_fit(name, value, message, four):
    watch = opl.Watch(four)
    setattr(watch, name, value)
    with pytest.raises((TypeError, ValueError), match=message):
        quiet(watch, PI_0)


def test_an_estimator_may_be_assigned_by_its_name(four):
    watch = opl.Watch(four)
    watch.estimator = "ips"
    quiet(watch, GOOD)
    quiet(expected := opl.Watch(four, estimator="ips"), GOOD)
    pd.testing.assert_frame_equal(watch.table, expected.table)


# ---- policies and logs of others


class Foreign:
    """A policy whose answer is another's, changed."""

    def __init__(self, change):
        self.change = change

    def predict_proba(self, context, action_context):
        return self.change(np.full((len(context), len(action_context)), 1 / len(action_context)))


ANSWERS = {
    "rows that sum to 2": (lambda pi: 2 * pi, r"in row 0 .* \(sum 2, .*Apply a softmax first"),
    "logits": (np.ones_like, "no probability distribution .* logits"),
    "a negative number": (lambda pi: pi * [-1, 2, 2], "sum 1, min -0.3333"),
    "NaN": (lambda pi: pi * np.nan, "returned nan for item 0 in row 0"),
    "infinity": (lambda pi: pi * np.inf, "returned inf for item 0"),
    "percent": (lambda pi: 100 * pi, "sum 100"),
    "too few items": (lambda pi: pi[:, :2], r"shape \(4, 2\); expected .*\(4, 3\)"),
    "too few rows": (lambda pi: pi[:3], r"shape \(3, 3\)"),
    "transposed": (lambda pi: pi.T, r"shape \(3, 4\)"),
    "probabilities of one item": (lambda pi: pi[:, 0], r"shape \(4,\)"),
    "an item a row": (lambda pi: pi.argmax(axis=1), r"shape \(4,\)"),
    "text": (lambda pi: pi.astype(str), "a number stored as text"),
    "nothing": (lambda pi: None, "the policy returned"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_answers_that_are_no_policy_are_named_and_leave_no_row(what, four):
    change, message = ANSWERS[what]
    watch = opl.Watch(four)
    with pytest.raises((TypeError, ValueError), match=message):
        watch(Foreign(change))
    assert len(watch.table) == 0
    watch(Foreign(lambda pi: pi))
    assert len(watch.table) == 1


@pytest.mark.parametrize("policy", [None, 3, "ips", opl.TwoTowerPolicy, opl.OffPolicyLearner()])
def test_what_is_no_policy_is_refused(policy, four):
    with pytest.raises(TypeError, match="a policy is an object with predict_proba"):
        opl.Watch(four)(policy)


NO_LOGS = {
    "a frame": (lambda log: pd.DataFrame({"a": [1]}), "from_dataframe"),
    "both parts of a split": (lambda log: log.split(0.5), "got tuple"),
    "several logs": (lambda log: [log, log], "got list"),
    "its rewards": (lambda log: log.reward, "got ndarray"),
    "a log without propensities": (
        lambda log: opl.BanditFeedback.from_dataframe(
            pd.DataFrame({"x": [0.0, 1.0], "item": [0, 1], "click": [0, 1]}),
            context=["x"],
            action="item",
            reward="click",
            items=np.eye(2),
        ),
        "has no propensities: estimate = opl.estimate_propensities",
    ),
}


@pytest.mark.parametrize("what", NO_LOGS)
def test_what_is_no_log_is_refused(what, four):
    make, message = NO_LOGS[what]
    with pytest.raises(TypeError, match=f"held_out .*{message}"):
        opl.Watch(make(four))


def test_logs_over_the_same_items_in_another_order_are_rejected(four):
    other = replace(four, action_context=four.action_context[::-1])
    with pytest.raises(ValueError, match="train has another action_context than held_out"):
        opl.Watch(four, train=other)


@pytest.mark.parametrize("pscore", [1.0, 0.01, 1e-300])
def test_propensities_that_cannot_be_are_named_before_any_training(pscore, log):
    """Of a rule, in percent of percent, and of whole pages of a large catalogue."""
    with pytest.warns(opl.PolicyWarning, match="before any training. Likely cause: pscore"):
        run(opl.Watch(replace(log, pscore=np.full(log.n_rounds, pscore))), EVERYWHERE)


def test_rewards_too_large_to_be_summed_are_named(four):
    watch = opl.Watch(replace(four, reward=[1e308, 0, 1e308, 1e308]))
    with pytest.raises(ValueError, match=r"'snips' is not finite.*largest reward 1e\+308"):
        quiet(watch, EVERYWHERE)


def test_a_reward_model_that_was_not_fitted_stops_before_training(four):
    watch = opl.Watch(four, estimator="dr", reward_model=opl.TwoTowerRegressor())
    with pytest.raises(ValueError, match=r"not fitted; call fit\(feedback\) first"):
        quiet(watch, EVERYWHERE)


@pytest.mark.parametrize("callback", [opl.Watch, "watch", 3])
def test_a_watch_that_was_not_made_is_refused(callback, four):
    learner = opl.OffPolicyLearner("ips", epochs=1, hidden=(4,))
    with pytest.raises(TypeError, match=r"callback (is the class Watch|must be a function)"):
        learner.fit(four, callback=callback)
