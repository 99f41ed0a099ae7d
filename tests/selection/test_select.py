"""Selection: bounds by hand, who wins, what is fitted where, error rates, what is rejected."""

import dataclasses

import numpy as np
import pytest
from helpers import BAD, GOOD, PI_0, Q_HAT, TableModel, table_policy
from sklearn.linear_model import LogisticRegression

import opl_lib as opl
from opl_lib.evaluation.intervals import student_t


class TableLearner:
    """A learner that learns a table, whatever the log."""

    def __init__(self, pi):
        self.pi = pi

    def fit(self, feedback):
        self.feedback_, self.policy_ = feedback, table_policy(self.pi)
        self.policy_.feedback = feedback
        return self


class TinyLogs:
    """The tiny world with the methods that `rehearse` asks for."""

    logging_policy = staticmethod(table_policy(PI_0))

    def __init__(self, world):
        self.sample = world.sample
        self.world = world

    def policy_value(self, policy):
        return self.world.value(policy(np.eye(2), np.eye(3)))


@pytest.fixture
def parts(tiny_world):
    return [tiny_world.sample(n, random_state=n) for n in (100, 400, 300)]


def paired_terms(pi, log, estimator):
    """By hand: (w − 1) r, or its doubly robust form."""
    rows = np.arange(log.n_rounds)
    weight = (log.context @ pi)[rows, log.action] / log.pscore
    if estimator == "ips":
        return (weight - 1) * log.reward
    q_hat = log.context @ Q_HAT
    q_logged, q_policy = q_hat[rows, log.action], (log.context @ pi * q_hat).sum(axis=1)
    return q_policy - q_logged + (weight - 1) * (log.reward - q_logged)


# ---- the table and the report


@pytest.mark.parametrize("estimator", ["ips", "dr"])
def test_differences_and_bounds_by_hand(estimator, parts):
    candidates = {"good": table_policy(GOOD), "bad": table_policy(BAD)}
    chosen = opl.select(candidates, parts, estimator=estimator, reward_model=TableModel())
    for name, pi in {"good": GOOD, "bad": BAD}.items():
        terms, row = paired_terms(pi, parts[1], estimator), chosen.table.loc[name]
        assert row.difference == pytest.approx(terms.mean())
        assert row.std_error == pytest.approx(terms.std(ddof=1) / 20)
        # 95 % for both together: 2.5 % each
        assert row.lower_bound == pytest.approx(student_t(terms, 0.025)[0])
        assert row.policy_value == pytest.approx(terms.mean() + parts[1].reward.mean())
    assert chosen.table.index.tolist() == ["good", "logging", "bad"]
    assert chosen.best == "good"
    assert chosen.policy is candidates["good"]


@pytest.mark.parametrize("estimator", ["ips", "dr"])
def test_the_report_is_an_evaluation_on_the_third_part(estimator, parts):
    model = TableModel()
    settings = {"interval": "student_t", "reward_model": model}
    report = opl.select(
        {"good": table_policy(GOOD)}, parts, estimator=estimator, reward_model=model
    ).report
    values = opl.evaluate(table_policy(GOOD), parts[2], [estimator, "avg"], **settings)
    paired = opl.evaluate(table_policy(GOOD), parts[2], [estimator], difference=True, **settings)
    columns = ["std_error", "ci_lower", "ci_upper"]
    for row, expected in zip(
        ["policy", "logging", "difference"],
        [values.loc[estimator], values.loc["avg"], paired.loc[estimator]],
        strict=True,
    ):
        np.testing.assert_allclose(report.loc[row, columns], expected[columns])
        np.testing.assert_allclose(report.value[row], expected.iloc[0])
    assert report.index.tolist() == ["policy", "logging", "difference"]


def test_each_candidate_more_makes_every_bound_lower(parts):
    bounds = [
        opl.select(
            {f"good {k}": table_policy(GOOD) for k in range(n)}, parts, estimator="ips"
        ).table.lower_bound["good 0"]
        for n in (1, 2, 10)
    ]
    terms = paired_terms(GOOD, parts[1], "ips")
    assert bounds == pytest.approx([student_t(terms, 0.05 / n)[0] for n in (1, 2, 10)])


def test_doing_nothing_wins_if_nothing_is_surely_better(parts):
    chosen = opl.select({"bad": table_policy(BAD)}, parts, estimator="ips")
    assert chosen.best == "logging"
    assert chosen.table.lower_bound["logging"] == 0
    assert chosen.report.value["policy"] == pytest.approx(parts[2].reward.mean())
    assert chosen.report.loc["difference"].tolist() == [0, 0, 0, 0]
    assert set(chosen.policies) == {"bad"}
    with pytest.raises(ValueError, match=r"logging policy was chosen.*Keep that.*in \.policies"):
        chosen.policy  # noqa: B018


def test_the_logging_policy_itself_ties_with_doing_nothing(parts):
    chosen = opl.select({"same": table_policy(PI_0)}, parts, estimator="ips")
    assert chosen.table.lower_bound.tolist() == [0, 0]
    assert chosen.best == "logging"


def test_the_largest_estimate_does_not_win_by_one_lucky_row():
    """One row of fifty, with weight 50, promises 1.0; the rest were rewarded 15 times."""
    log = opl.BanditFeedback(
        context=np.ones((50, 1)),
        action=np.array([1] + [0] * 49),
        reward=np.array([1] + [1] * 15 + [0] * 34),
        pscore=np.array([0.02] + [0.98] * 49),
        action_context=np.eye(2),
    )

    def lucky(context, action_context):
        return np.tile([0.0, 1.0], (len(context), 1))

    chosen = opl.select(
        {"lucky": lucky}, [log, log, log], estimator="ips", min_ess=0, min_rewards=0
    )
    assert chosen.table.policy_value["lucky"] == pytest.approx(1)
    assert chosen.table.difference.idxmax() == "lucky"
    assert chosen.table.trusted["lucky"]
    assert chosen.best == "logging"


def test_a_bound_that_rests_on_two_rounds_counts_only_if_asked_for():
    """The reward model promises 0.9 for item 1; two rounds of 400 could contradict it."""
    n, shown = 400, np.arange(400) < 2
    log = opl.BanditFeedback(
        context=np.ones((n, 1)),
        action=shown.astype(int),
        reward=np.where(shown, 1, np.arange(n) % 2),
        pscore=np.where(shown, 0.01, 0.99),
        action_context=np.eye(2),
    )

    class Optimist(TableModel):
        def predict_reward(self, context, action_context):
            return np.tile([0.5, 0.9], (len(context), 1))

    def other(context, action_context):
        return np.tile([0.0, 1.0], (len(context), 1))

    def choose(**settings):
        return opl.select({"other": other}, [log] * 3, reward_model=Optimist(), **settings)

    bold, cautious = choose(min_ess=2, min_rewards=2), choose(min_rewards=2)
    assert bold.table.ess_change["other"] == pytest.approx(2)
    assert (bold.best, cautious.best) == ("other", "logging")
    assert bold.table.lower_bound["other"] == cautious.table.lower_bound["other"] > 0
    assert (bold.min_ess, cautious.min_ess) == (2, 10)
    assert (
        "! other is not trusted: the effective rounds of the change are 2, below min_ess=10, of "
        "400 that judge. Let more judge" in repr(cautious)
    )
    assert "not trusted" not in repr(bold) and bold.reasons == {}


@pytest.mark.parametrize("users", [False, True])
def test_effective_rounds_are_those_of_the_change_by_hand(users, parts):
    """Agreement with the log, however much of it there is, says nothing of a change."""
    to_fit, to_select, to_report = parts
    user = np.arange(400) // 4
    if users:
        to_select = dataclasses.replace(to_select, user_id=user)
    near = table_policy(0.9 * PI_0 + 0.1 * GOOD)
    chosen = opl.select(
        {"near": near}, [to_fit, to_select, to_report], estimator="ips", min_ess=0, min_rewards=0
    )
    pi = near(to_select.context, None)[np.arange(400), to_select.action]
    more = np.maximum(pi / to_select.pscore - 1, 0)
    more = np.bincount(user, more) if users else more
    by_hand = more.sum() ** 2 / np.square(more).sum()
    assert chosen.table.ess_change["near"] == pytest.approx(by_hand)
    n_units = 100 if users else 400
    assert chosen.table.ess["near"] > 0.97 * n_units > 1.5 * by_hand
    assert chosen.table.ess_change["logging"] == np.inf


def test_a_change_that_the_log_does_not_show_rests_on_nothing(parts):
    """The candidate moves a little of every item's share to one that was never logged."""
    four = [dataclasses.replace(log, action_context=np.eye(4)) for log in parts]
    pi = np.column_stack([0.99 * PI_0, [0.01, 0.01]])
    chosen = opl.select({"unseen": table_policy(pi)}, four, estimator="ips")
    assert chosen.table.ess_change["unseen"] == 0
    assert not chosen.table.trusted["unseen"]


def test_clicks_are_counted_and_not_rounds_alone():
    """Of 100 rounds that show what the candidate would, two were clicked, or eight."""
    n, shown = 1000, np.arange(1000) < 100

    def choose(clicks, **settings):
        log = opl.BanditFeedback(
            context=np.ones((n, 1)),
            action=shown.astype(int),
            reward=(np.arange(n) < clicks).astype(float),
            pscore=np.where(shown, 0.1, 0.9),
            action_context=np.eye(2),
        )
        other = table_policy([[0.0, 1.0]])
        return opl.select({"other": other}, [log] * 3, estimator="ips", confidence=0.5, **settings)

    few, many, bold = choose(2), choose(8), choose(2, min_rewards=2)
    assert few.table.ess_change["other"] == pytest.approx(100)
    assert few.table.ess_reward_change["other"] == pytest.approx(2)
    assert few.table.ess_reward_change["logging"] == np.inf
    assert few.table.difference["other"] > 0 and (few.best, few.min_rewards) == ("logging", 5)
    assert few.reasons["other"].startswith(
        "the effective rounds of the change that carry a reward are 2, below min_rewards=5: a "
    )
    assert (many.best, bold.best) == ("other", "other")
    assert "ess_reward_change" in repr(few)


def test_doing_nothing_needs_no_effective_rounds(parts):
    chosen = opl.select({"good": table_policy(GOOD)}, parts, estimator="ips", min_ess=10_000)
    assert chosen.best == "logging"
    assert chosen.table.trusted.to_dict() == {"logging": True, "good": False}


def test_weights_that_do_not_average_one_cannot_win(parts):
    """Propensities that are half of the truth double every weight, and every estimate."""
    columns = ("context", "action", "reward", "action_context")
    wrong = [
        opl.BanditFeedback(**{c: getattr(log, c) for c in columns}, pscore=log.pscore / 2)
        for log in parts
    ]
    chosen = opl.select({"bad": table_policy(BAD), "good": table_policy(GOOD)}, wrong, None, "ips")
    assert (chosen.table.lower_bound[["good"]] > 0).all()
    assert not chosen.table.trusted[["bad", "good"]].any()
    assert chosen.best == "logging"
    assert set(chosen.reasons) == {"bad", "good"}
    assert "should be 1: a wrong pscore" in chosen.reasons["good"]
    assert f"! good is not trusted: {chosen.reasons['good']}" in repr(chosen)


@pytest.mark.parametrize(("n_errors", "is_trusted"), [(2.9, True), (3.1, False)])
@pytest.mark.parametrize("n_visits", [1, 4])
def test_the_mean_weight_may_be_off_by_three_standard_errors(n_errors, is_trusted, n_visits):
    """Of n users, half are shown item 0 with weight a, half item 1 with weight b."""
    n = 400
    spread = 0.3 * np.sqrt(n / (n - 1))  # standard deviation of weights c − 0.3 and c + 0.3
    mean = 1 + n_errors * spread / np.sqrt(n)
    pi = np.array([0.5, 0.5])
    action = np.repeat(np.tile([0, 1], n // 2), n_visits)
    log = opl.BanditFeedback(
        context=np.ones((n * n_visits, 1)),
        action=action,
        reward=np.ones(n * n_visits),
        pscore=pi[action] / np.array([mean - 0.3, mean + 0.3])[action],
        action_context=np.eye(2),
        user_id=np.repeat(np.arange(n), n_visits),
    )
    chosen = opl.select({"coin": lambda x, v: np.tile(pi, (len(x), 1))}, [log] * 3, None, "ips")
    assert chosen.table.trusted["coin"] == is_trusted


def test_right_propensities_of_an_experiment_by_user_pass_the_gate():
    """One draw a user: a right log of 300 users, of 20 rounds each, is off by chance like 300."""
    n_trusted, users = 0, np.repeat(np.arange(300), 20)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        action = rng.integers(2, size=300)[users]
        log = opl.BanditFeedback(
            context=np.ones((6000, 1)),
            action=action,
            reward=rng.uniform(size=6000) < np.where(action == 1, 0.6, 0.4),
            pscore=np.full(6000, 0.5),
            action_context=np.eye(2),
            user_id=users,
        )
        mostly_1 = {"mostly 1": lambda x, v: np.tile([0.1, 0.9], (len(x), 1))}
        n_trusted += opl.select(mostly_1, [log] * 3, None, "ips").table.trusted["mostly 1"]
    assert n_trusted >= 38  # by rows, about half of them


def test_a_policy_that_was_never_logged_cannot_win(parts):
    items = np.eye(4)
    four = [
        opl.BanditFeedback(log.context, log.action, log.reward, log.pscore, items) for log in parts
    ]

    class Optimist(TableModel):
        def predict_reward(self, context, action_context):
            return np.tile([0.0, 0, 0, 1], (len(context), 1))

    def unlogged(context, action_context):
        return np.tile([0.0, 0, 0, 1], (len(context), 1))

    chosen = opl.select({"unlogged": unlogged}, four, reward_model=Optimist())
    assert chosen.table.difference["unlogged"] > 0
    assert not chosen.table.trusted["unlogged"]
    assert chosen.best == "logging"


@pytest.mark.parametrize("kind", ["normal", "bootstrap", "empirical_bernstein"])
def test_every_interval_bounds_a_selection(kind, parts):
    known = {"reward_range": (0, 1), "max_weight": 10} if kind == "empirical_bernstein" else {}
    table = opl.select(
        {"good": table_policy(GOOD)}, parts, estimator="ips", interval=kind, **known
    ).table
    t_bound = student_t(paired_terms(GOOD, parts[1], "ips"), 0.05)[0]
    if kind == "empirical_bernstein":
        assert table.lower_bound["good"] < t_bound
    else:
        assert table.lower_bound["good"] == pytest.approx(t_bound, abs=0.02)
    assert table.lower_bound["logging"] == 0


# ---- what is fitted, and on what


def numbered(tiny_world, n, **columns):
    log = tiny_world.sample(n, random_state=0)
    return opl.BanditFeedback(
        log.context, log.action, log.reward, log.pscore, log.action_context, **columns
    )


def test_three_parts_share_no_round(tiny_world):
    log = numbered(tiny_world, 200, timestamp=np.arange(200))
    seen = []

    def watcher(context, action_context):
        seen.append(len(context))
        return context @ GOOD

    learner = TableLearner(GOOD)
    chosen = opl.select(
        {"learned": learner, "watcher": watcher},
        log,
        reward_model=TableModel(),
        fractions=(0.6, 0.3, 0.1),
    )
    assert chosen.n_rounds == (120, 60, 20)
    to_fit = chosen.policies["learned"].feedback.timestamp
    assert len(to_fit) == 120
    np.testing.assert_array_equal(TableModel.fitted_on.timestamp, to_fit)
    assert seen[0] == 60
    assert not hasattr(learner, "policy_")


def test_users_are_in_one_part_only(tiny_world):
    log = numbered(tiny_world, 200, user_id=np.arange(200) % 40)
    chosen = opl.select({"learned": TableLearner(GOOD)}, log, estimator="ips")
    users, counts = np.unique(chosen.policies["learned"].feedback.user_id, return_counts=True)
    assert len(users) == 20 and (counts == 5).all()
    assert chosen.n_rounds == (100, 50, 50)


def test_the_split_is_seeded(tiny_world):
    log = tiny_world.sample(200, random_state=0)
    reports = [
        opl.select({"good": table_policy(GOOD)}, log, estimator="ips", random_state=seed).report
        for seed in (0, 0, 1)
    ]
    assert reports[0].equals(reports[1])
    assert not reports[0].equals(reports[2])


def test_no_reward_model_is_fitted_if_none_is_needed(parts, monkeypatch):
    monkeypatch.setattr("opl_lib.selection.candidates.TwoTowerRegressor", None)
    opl.select({"good": table_policy(GOOD)}, parts, estimator="snips")


SMALL = {"epochs": 3, "learning_rate": 3e-3, "hidden": (8,), "dim_embedding": 4}


def test_one_fit_is_served_at_several_temperatures(small_log):
    learner = opl.OffPolicyLearner("ips", **SMALL)
    candidates = {"ips": learner, "uniform": opl.uniform()}
    chosen = opl.select(candidates, small_log, temperatures=[1, 0, 0.5, 1], estimator="snips")
    assert set(chosen.policies) == {"ips @ 1", "ips @ 0", "ips @ 0.5", "uniform"}
    assert {policy.temperature for name, policy in chosen.policies.items() if "@" in name} == {
        0,
        0.5,
        1,
    }
    assert len({id(chosen.policies[f"ips @ {t}"].towers) for t in (0, 0.5, 1)}) == 1
    assert not hasattr(learner, "policy_")


def test_without_temperatures_a_policy_is_served_at_its_own(small_log):
    learner = opl.OffPolicyLearner("ips", temperature=0.3, **SMALL)
    chosen = opl.select({"ips": learner}, small_log, estimator="snips")
    assert chosen.policies["ips"].temperature == 0.3


def test_learners_and_the_default_reward_model_from_end_to_end(small_world):
    log = small_world.sample(1500, random_state=3)
    candidates = {
        "ips": opl.OffPolicyLearner("ips", **SMALL),
        "stopped": opl.EarlyStopping(opl.OffPolicyLearner("ips", **SMALL)),
        "regression": opl.OffPolicyLearner("regression", **{**SMALL, "epochs": 20}),
    }
    first, second = (opl.select(candidates, log, temperatures=[1, 0]) for _ in range(2))
    assert first.table.equals(second.table) and first.report.equals(second.report)
    assert len(first.table) == 7
    value = small_world.policy_value(first.policy)
    assert value > small_world.policy_value(small_world.logging_policy)


def test_a_selection_is_shown_with_its_sizes_table_and_report(parts):
    shown = repr(opl.select({"good": table_policy(GOOD)}, parts, estimator="ips"))
    assert "Selection(best='good', 95% confidence, by ips)" in shown
    assert "fitted on 100 rounds, selected on 400:" in shown
    assert "reported on 300 other rounds:" in shown
    nothing = repr(opl.select({"bad": table_policy(BAD)}, parts, estimator="ips"))
    assert "no candidate is surely better than the logging policy" in nothing


def test_progress_is_shown_when_asked_for(parts, capsys):
    opl.select({"good": table_policy(GOOD)}, parts, estimator="ips", progress=True)
    assert "select: 100%" in capsys.readouterr().err
    opl.select({"good": table_policy(GOOD)}, parts, estimator="ips", progress=False)
    assert capsys.readouterr().err == ""


# ---- how often it goes wrong


def null_policies():
    """Policies that differ from the logging policy and have exactly its value.

    Mass moves between two items in context 0 for a gain, and in context 1 for the same loss:
    0.4 · 0.7 e = 0.6 · 0.7 · (2/3) e and 0.4 · 0.4 e = 0.6 · 0.3 · (8/9) e.
    """
    policies = {}
    for e in (0.1, 0.25):
        for item, ratio in ((1, 2 / 3), (2, 8 / 9)):
            for sign in (1, -1):
                move = np.zeros((2, 3))
                move[:, 0] = sign * np.array([e, e * ratio])
                move[:, item] = -move[:, 0]
                if ((pi := PI_0 + move) >= 0).all():
                    policies[f"{sign * e:+} by {item}"] = pi
    return policies


def test_the_chosen_policy_is_luck_no_more_often_than_stated(tiny_world):
    """No candidate is better: every choice but "logging" is an error of the bounds."""
    policies = null_policies()
    assert len(policies) >= 4
    for pi in policies.values():
        assert tiny_world.value(pi) == pytest.approx(tiny_world.value(PI_0))
    candidates = {name: table_policy(pi) for name, pi in policies.items()}
    table = opl.rehearse(
        lambda log: opl.select(candidates, [log, log, log], estimator="ips"),
        TinyLogs(tiny_world),
        n_rounds=300,
        n_logs=400,
    )
    wrong = (table.best != "logging").mean()
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert (table.naive != "logging").mean() > 0.8
    assert table.naive_estimate.mean() > 0.01  # the optimism of picking the largest: the truth is 0


def test_a_rehearsal_counts_what_went_wrong(tiny_world):
    candidates = {"good": table_policy(GOOD), "bad": table_policy(BAD)}
    world = TinyLogs(tiny_world)
    table = opl.rehearse(
        lambda log: opl.select(candidates, log, estimator="ips"), world, n_rounds=400, n_logs=30
    )
    assert len(table) == 30
    truth = {
        "logging": 0,
        "good": tiny_world.value(GOOD) - tiny_world.value(PI_0),
        "bad": tiny_world.value(BAD) - tiny_world.value(PI_0),
    }
    assert truth["bad"] < 0 < truth["good"]
    assert (table.best == "good").mean() > 0.5
    np.testing.assert_allclose(table.difference, table.best.map(truth))
    np.testing.assert_allclose(table.naive_difference, table.naive.map(truth))
    assert (table.difference < 0).mean() == (table.best == "bad").mean() == 0
    covered = (table.ci_lower <= table.difference) & (table.difference <= table.ci_upper)
    assert covered.mean() >= 0.8  # 95 % less three standard errors of 30 logs
    seed = opl.select(candidates, world.sample(400, random_state=7), estimator="ips")
    assert table.reported[7] == seed.report.value["difference"]


@pytest.mark.parametrize("good", [True, False])
def test_a_rehearsal_of_learn_counts_what_is_served(good, tiny_world):
    pi, world = GOOD if good else BAD, TinyLogs(tiny_world)

    def choose(log):
        return opl.learn(log, {"it": table_policy(pi)}, estimator="ips", progress=False)

    table = opl.rehearse(choose, world, n_rounds=400, n_logs=20)
    served = table.best == "it"
    expected = tiny_world.value(pi) - tiny_world.value(PI_0)
    np.testing.assert_allclose(table.difference, np.where(served, expected, 0))
    assert table.reported.isna().equals(~served)
    found = [choose(world.sample(400, random_state=k)) for k in range(20)]
    assert served.tolist() == [each.decision == "serve" for each in found]
    assert served.mean() >= 0.4 if good else not served.any()
    estimates = np.array([each.table.difference["it"] for each in found])
    np.testing.assert_allclose(table.naive_estimate, np.maximum(estimates, 0))
    assert table.naive.tolist() == ["it" if gain > 0 else "logging" for gain in estimates]


def test_rehearsals_are_seeded_by_log(tiny_world):
    def choose(log):
        return opl.select({"good": table_policy(GOOD)}, log, estimator="ips")

    first = opl.rehearse(choose, TinyLogs(tiny_world), 100, n_logs=4)
    later = opl.rehearse(choose, TinyLogs(tiny_world), 100, n_logs=2, random_state=2)
    assert first[2:].reset_index(drop=True).equals(later)


# ---- what is rejected


@pytest.mark.parametrize(
    ("candidates", "error", "message"),
    [
        ({}, ValueError, "mapping from names to learners or policies, with at least one; got {}"),
        ([table_policy(GOOD)], ValueError, "candidates must be a mapping from names"),
        ({1: table_policy(GOOD)}, ValueError, "names that are strings; got 1"),
        ({"logging": table_policy(GOOD)}, ValueError, "'logging' is the policy that made the log"),
        ({"none": None}, TypeError, "candidate 'none' is neither a learner .*; got NoneType"),
        ({"table": GOOD}, TypeError, "candidate 'table' is neither a learner .*; got ndarray"),
        ({"model": TableModel()}, TypeError, "candidate 'model' has no policy_ after fit"),
    ],
    ids=["nothing", "a list", "a number", "a taken name", "none", "an array", "a model"],
)
def test_what_is_no_candidate_is_rejected(candidates, error, message, parts):
    with pytest.raises(error, match=message):
        opl.select(candidates, parts, estimator="ips")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "ipw"}, "an estimator is one of .*; got 'ipw'"),
        ({"estimator": "dm"}, "estimator 'dm' has no error to bound; use 'snips' or 'dr'"),
        ({"estimator": "avg"}, "estimator 'avg' has no error to bound"),
        ({"confidence": 1}, r"confidence must be in \(0, 1\); got 1"),
        ({"min_ess": -1}, "min_ess must be a finite number of at least 0; got -1"),
        ({"min_rewards": -1}, "min_rewards must be a finite number of at least 0; got -1"),
        ({"interval": "exact"}, "interval must be one of"),
        ({"interval": "empirical_bernstein"}, "pass reward_range"),
        ({"temperatures": 0}, r"temperatures must be a sequence such as \[1, 0\], or None; got 0"),
        ({"temperatures": []}, "temperatures must be a sequence"),
        ({"temperatures": [1, -1]}, r"temperatures\[1\] must be a finite number of at least 0"),
        ({"fractions": (0.5, 0.5)}, r"fractions must be three shares .* got \(0.5, 0.5\)"),
        ({"fractions": (0.5, 0.5, 0.5)}, "with sum 1"),
        ({"fractions": (1.0, 0.5, -0.5)}, "three shares above 0"),
        ({"random_state": -1}, "random_state must be an integer of at least 0; got -1"),
    ],
    ids=str,
)
def test_bad_settings_are_rejected(settings, message, tiny_world):
    log = tiny_world.sample(40, random_state=0)
    with pytest.raises(ValueError, match=message):
        opl.select({"good": table_policy(GOOD)}, log, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interval": "empirical_bernstein", "reward_range": (0, 1)}, "Pass max_weight=…"),
        (
            {
                "interval": "empirical_bernstein",
                "reward_range": (0, 1),
                "max_weight": 10,
                "estimator": "snips",
            },
            "'snips' is a function of several",
        ),
        (
            {"interval": "bootstrap", "temperatures": np.linspace(0, 1, 60)},
            r"resamples, too few to see a tail of 0\.00083",
        ),
    ],
    ids=["no max_weight", "a ratio", "a small tail"],
)
def test_what_cannot_be_bounded_is_rejected_before_any_fit(settings, message, parts):
    class Learner(TableLearner):
        def fit(self, feedback):
            raise AssertionError("fitted too early")

    with pytest.raises(ValueError, match=message):
        opl.select({"learned": Learner(GOOD)}, parts, **settings)


def test_users_are_no_independent_rows_and_that_is_said_before_any_fit(parts):
    users = [dataclasses.replace(log, user_id=np.arange(log.n_rounds) // 2) for log in parts]
    known = {"interval": "empirical_bernstein", "reward_range": (0, 1), "max_weight": 10}
    for logs in (users, [*parts[:2], users[2]]):
        TableModel.fitted_on = None
        with pytest.raises(ValueError, match="needs independent rows"):
            opl.select({"g": table_policy(GOOD)}, logs, reward_model=TableModel(), **known)
        assert TableModel.fitted_on is None


def test_what_is_no_reward_model_is_rejected(parts):
    with pytest.raises(TypeError, match=r"must have fit\(feedback\) .*got ndarray\. Wrap a scikit"):
        opl.select({"good": table_policy(GOOD)}, parts, reward_model=Q_HAT)


@pytest.mark.parametrize("n_logs", [0, 1, 2, 4])
def test_other_numbers_of_logs_than_three_are_rejected(n_logs, parts):
    with pytest.raises(ValueError, match=f"one log or three, .*; got {n_logs}"):
        opl.select({"good": table_policy(GOOD)}, (parts * 2)[:n_logs], estimator="ips")


def test_what_is_no_log_is_rejected(parts):
    with pytest.raises(TypeError, match=r"feedback\[2\] must be a BanditFeedback; got str"):
        opl.select({"good": table_policy(GOOD)}, [*parts[:2], "log"], estimator="ips")


def test_a_log_too_short_for_three_parts_is_rejected(tiny_world):
    with pytest.raises(
        ValueError, match="leaves one side empty; take another fraction or a longer"
    ):
        opl.select({"g": table_policy(GOOD)}, tiny_world.sample(2, random_state=0), estimator="ips")


def test_names_that_serving_makes_equal_are_rejected(small_log):
    learner = opl.OffPolicyLearner("ips", **SMALL)
    with pytest.raises(ValueError, match="two candidates are called 'a @ 0'; rename one"):
        opl.select(
            {"a": learner, "a @ 0": opl.uniform()}, small_log, temperatures=[0], estimator="ips"
        )


def test_errors_say_which_candidate_they_came_from(parts):
    class Broken:
        def fit(self, feedback):
            raise ArithmeticError("it broke")

    with pytest.raises(ArithmeticError, match="it broke") as caught:
        opl.select({"fine": table_policy(GOOD), "odd": Broken()}, parts, estimator="ips")
    assert caught.value.__notes__ == ["This came from candidate 'odd'."]
    with pytest.raises(ValueError, match="no probability distribution") as caught:
        opl.select({"logits": lambda x, a: 3 * x @ GOOD}, parts, estimator="ips")
    assert caught.value.__notes__ == ["This came from candidate 'logits'."]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, 100, 5), TypeError, "choose must be a function from a log to a Selection.*got int"),
        ((lambda log: None, 0, 5), ValueError, "n_rounds must be an integer of at least 1; got 0"),
        ((lambda log: None, 10, 0), ValueError, "n_logs must be an integer of at least 1; got 0"),
    ],
    ids=["choose", "n_rounds", "n_logs"],
)
def test_bad_rehearsals_are_rejected(arguments, error, message, tiny_world):
    choose, n_rounds, n_logs = arguments
    with pytest.raises(error, match=message):
        opl.rehearse(choose, TinyLogs(tiny_world), n_rounds, n_logs)


# ---- whatever else is passed


@pytest.mark.parametrize(
    ("candidate", "error", "message"),
    [
        (opl.OffPolicyLearner, TypeError, "is the class OffPolicyLearner: make an object of it"),
        (opl.TwoTowerPolicy, TypeError, "is the class TwoTowerPolicy: make an object of it"),
        (opl.uniform, TypeError, "is the class uniform: make an object of it"),
        (
            LogisticRegression(),
            TypeError,
            "the fit of LogisticRegression does not take a log alone",
        ),
        (lambda context: context, TypeError, "is neither .* does not take these two"),
        (opl.TwoTower.mlp(2, 3), TypeError, "is neither .*TwoTowerPolicy"),
        ([GOOD], TypeError, "is neither a learner"),
        (None, TypeError, "is neither a learner"),
        (TableModel(), TypeError, "has no policy_ after fit"),
        (lambda context, items: np.full((len(context), 3), np.nan), ValueError, "returned nan for"),
    ],
    ids=range(10),
)
def test_what_is_no_candidate_is_named(candidate, error, message, parts):
    with pytest.raises(error, match=message) as caught:
        opl.select({"mine": candidate}, parts, estimator="ips")
    notes = getattr(caught.value, "__notes__", [])
    assert "candidate 'mine'" in "".join([str(caught.value), *notes])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"fractions": "abc"}, ValueError, "fractions must be an array; got 'abc'"),
        ({"fractions": ["0.5", "0.25", "0.25"]}, ValueError, "fractions must be numeric"),
        ({"fractions": {0.5: 1}}, ValueError, "fractions must be an array"),
        ({"fractions": [0.5, np.nan, 0.5]}, ValueError, "fractions must be finite"),
        ({"temperatures": ["1"]}, ValueError, r"temperatures\[0\] must be a finite number"),
        ({"temperatures": [True]}, ValueError, r"temperatures\[0\] must be a finite number"),
        ({"temperatures": [1e-310]}, ValueError, r"temperatures\[0\] must be at least 1e-38, or 0"),
        ({"temperatures": np.array(1.0)}, ValueError, "temperatures must be a sequence"),
        ({"progress": "no"}, ValueError, "progress must be True or False; got 'no'"),
        ({"progress": np.array([1, 2])}, ValueError, "progress must be True or False"),
        ({"random_state": True}, ValueError, "random_state must be an integer"),
        ({"random_state": 2**32}, ValueError, "random_state must be an integer of at most"),
        ({"reward_model": TableModel}, TypeError, "reward_model .*the class TableModel: make an"),
        ({"confidence": None}, ValueError, "confidence must be in"),
        ({"confidence": 1 - 1e-16}, ValueError, "cannot tell a tail of .*lower the confidence"),
        ({"estimator": 3}, ValueError, "an estimator is one of"),
        ({"interval": None}, ValueError, "interval must be one of"),
        ({"feedback": None}, TypeError, "feedback must be a BanditFeedback; got NoneType"),
    ],
    ids=range(18),
)
def test_whatever_is_out_of_range_is_named(settings, error, message, parts):
    given = {"feedback": parts[1], "estimator": "ips", **settings}
    with pytest.raises(error, match=message):
        opl.select({"good": table_policy(GOOD)}, **given)


def test_logs_of_other_items_or_widths_are_no_parts_of_one(parts):
    wide = dataclasses.replace(parts[2], context=np.ones((parts[2].n_rounds, 3)))
    others = dataclasses.replace(parts[2], action_context=2 * np.eye(3))
    more = dataclasses.replace(parts[2], action_context=np.eye(4))
    for log, message in (
        (wide, r"feedback\[2\] has dim_context = 3 but feedback\[0\] has 2"),
        (others, r"feedback\[2\] has another action_context than feedback\[0\]"),
        (more, r"feedback\[2\] has n_actions = 4 but feedback\[0\] has 3"),
    ):
        with pytest.raises(ValueError, match=message):
            opl.select({"u": opl.uniform()}, [*parts[:2], log], estimator="ips")


def test_the_largest_seed_is_a_seed(parts):
    chosen = opl.select({"u": opl.uniform()}, parts[1], estimator="ips", random_state=2**32 - 1)
    assert sum(chosen.n_rounds) == parts[1].n_rounds


def test_a_selection_does_not_ask_for_numpys_error_state():
    world = opl.SyntheticWorld(4, 3, 3, logging_policy=opl.softmax(1.0), random_state=0)
    log, candidates = world.sample(300, random_state=1), {"sharp": opl.softmax(0.01)}
    plain = opl.select(candidates, log, estimator="snips", min_ess=0, min_rewards=0)
    with np.errstate(all="raise"):
        raising = opl.select(candidates, log, estimator="snips", min_ess=0, min_rewards=0)
    assert repr(raising) == repr(plain)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"choose": lambda log: None}, TypeError, "choose must be a function .*it returned None"),
        ({"choose": lambda log: "good"}, TypeError, "choose must be .*it returned 'good'"),
        ({"choose": lambda: None}, TypeError, "choose must be a function from a log to a Selec"),
        ({"choose": None}, TypeError, "choose must be a function .*got NoneType"),
        ({"world": None}, TypeError, "world must have sample.*got None"),
        ({"world": opl.SyntheticWorld}, TypeError, "world must have sample.*got <class"),
        ({"world": {}}, TypeError, "world must have sample"),
        ({"progress": "no"}, ValueError, "progress must be True or False"),
        ({"random_state": 2**40}, ValueError, "random_state must be an integer of at most"),
        ({"n_logs": True}, ValueError, "n_logs must be an integer"),
    ],
    ids=range(10),
)
def test_what_is_no_rehearsal_is_named(changed, error, message, tiny_world):
    def choose(log):
        return opl.select({"u": opl.uniform()}, log, estimator="ips")

    given = {"choose": choose, "world": TinyLogs(tiny_world), "n_rounds": 20, "n_logs": 1}
    with pytest.raises(error, match=message):
        opl.rehearse(**{**given, **changed})


def test_a_world_draws_logs(tiny_world):
    world = TinyLogs(tiny_world)
    world.sample = lambda n_rounds, random_state: None
    with pytest.raises(TypeError, match="what sample of the world returned must be a BanditFeed"):
        opl.rehearse(lambda log: None, world, 20)


def test_the_seeds_of_a_rehearsal_begin_anew_after_the_largest(tiny_world):
    seeds, world = [], TinyLogs(tiny_world)

    def sample(n_rounds, random_state):
        seeds.append(random_state)
        return tiny_world.sample(n_rounds, random_state)

    world.sample = sample
    choose = lambda log: opl.select({"u": opl.uniform()}, log, estimator="ips")  # noqa: E731
    opl.rehearse(choose, world, 60, n_logs=2, random_state=2**32 - 1)
    assert seeds == [2**32 - 1, 0]
