"""From a log to a decision: what judges whom, what is served, what is said, what is refused."""

import pickle
import re
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from helpers import BAD, GOOD, PI_0, Q_HAT, TableModel, table_policy
from scipy.stats import t

import opl_lib as opl
from opl_lib.learning import rest, settings
from opl_lib.selection import kinds
from opl_lib.selection.choice import SHARED_CHANCE
from opl_lib.selection.judge import MIN_ESS


class TableLearner:
    """Learns the item with the largest mean reward of each type, and notes its logs."""

    seen = []  # noqa: RUF012

    def __init__(self, sharpness=0.9):
        self.sharpness = sharpness

    def fit(self, feedback):
        type(self).seen.append(feedback)
        cells = feedback.context.argmax(axis=1) * 3 + feedback.action
        counts = np.maximum(np.bincount(cells, minlength=6), 1)
        means = (np.bincount(cells, feedback.reward, 6) / counts).reshape(2, 3)
        best = np.eye(3)[means.argmax(axis=1)]
        self.policy_ = table_policy(self.sharpness * best + (1 - self.sharpness) / 3)
        return self


class SeveralWays(TableLearner):
    """Can be served in two ways."""

    ways = ("", "softly")

    def fit(self, feedback):
        super().fit(feedback)
        soft = TableLearner(0.3).fit(feedback).policy_
        self.policies_ = dict(zip(self.ways, (self.policy_, soft), strict=True))
        return self


@pytest.fixture(autouse=True)
def forgotten():
    TableLearner.seen = []
    SeveralWays.seen = []
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def log(tiny_world):
    return tiny_world.sample(600, random_state=0)


def learn(log, candidates=None, **settings):
    candidates = {"table": TableLearner()} if candidates is None else candidates
    return opl.learn(log, candidates, **{"estimator": "ips", "progress": False, **settings})


# ---- decisions


def test_a_log_that_may_be_wrong_is_doubted_before_anything_is_served(log, tiny_world):
    """Propensities of an item that the policy never shows are wrong: no candidate can see that."""
    never_last = table_policy(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    right = learn(log, {"good": never_last})
    wrong = learn(
        replace(log, pscore=np.where(log.action == 2, 0.05, log.pscore)), {"good": never_last}
    )
    assert right.decision == wrong.decision == "serve"
    assert not any("log.report()" in reason for reason in right.reasons)
    (doubt,) = (reason for reason in wrong.reasons if "log.report()" in reason)
    assert "the mean weight is" in doubt and doubt in str(wrong)


def test_a_good_policy_is_served(log, tiny_world):
    found = learn(log)
    assert (found.best, found.decision) == ("table", "serve")
    np.testing.assert_allclose(found.policy(np.eye(2), np.eye(3)), tiny_world_best())
    assert found.table.lower_bound["table"] > 0
    assert found.n_rounds == 600 and found.confidence == 0.95
    assert "with 95% confidence the gain is at least" in found.reasons[1]


def tiny_world_best():
    return 0.9 * np.eye(3)[[0, 1]] + 0.1 / 3


def test_of_a_short_log_a_good_policy_is_tested(tiny_world):
    found = learn(tiny_world.sample(40, random_state=0), {"good": table_policy(GOOD)})
    assert found.decision == "test"
    assert re.search(r"an A/B test of [\d,]+ rounds an arm", found.reasons[-1])


def test_a_bad_policy_is_not_served(log):
    found = learn(log, {"bad": table_policy(BAD)})
    assert found.decision == "keep"
    assert found.policy is found.policies["bad"]  # it is there, whatever the decision


def test_the_logging_policy_is_kept(log):
    found = learn(log, {"same": table_policy(PI_0)}, estimator="clipped_dr")
    assert found.decision == "keep"
    assert found.report.loc["difference"].tolist() == [0, 0, 0, 0]


def test_where_nothing_can_be_gained_little_is_served():
    """Rewards are chance: what a model leaves by rounding is no gain."""
    rng, served = np.random.default_rng(0), 0
    for _ in range(15):
        action = rng.integers(0, 4, 120)
        columns = rng.normal(size=(120, 2)), action, rng.random(120) < 0.5, np.full(120, 0.25)
        log = opl.BanditFeedback(*columns, rng.normal(size=(4, 2)))
        found = learn(log, {"bilinear": opl.BilinearLearner()}, estimator="clipped_dr")
        served += found.decision == "serve"
    assert served <= 4


def test_the_default_finds_what_is_to_be_found(monkeypatch):
    monkeypatch.setattr(settings, "_MIN_UPDATES", 10)
    monkeypatch.setattr(kinds, "_UPDATES", 10)
    world = opl.SyntheticWorld(5, 5, 5, random_state=0)
    log = world.sample(4_000, random_state=1)
    found = opl.learn(log, progress=False)
    assert found.decision == "serve"
    assert world.policy_value(found.policy) > world.policy_value(world.logging_policy)
    assert "bilinear" in found.policies and "constant item" in found.policies
    assert {*found.policies, *found.left_out} >= {"towers", "value"}
    assert found.estimator == opl.Estimator("clipped_dr")
    assert found.seconds > 0


# ---- who judges whom


@pytest.mark.parametrize("estimator", ["ips", "snips", "clipped_ips"])
def test_the_report_of_a_policy_is_an_evaluation_on_the_whole_log(estimator, log):
    found = learn(log, {"good": table_policy(GOOD)}, estimator=estimator)
    settings = {"interval": "student_t"}
    values = opl.evaluate(table_policy(GOOD), log, [estimator, "avg"], **settings)
    paired = opl.evaluate(table_policy(GOOD), log, [estimator], difference=True, **settings)
    columns = ["std_error", "ci_lower", "ci_upper"]
    for row, expected in zip(
        ["policy", "logging", "difference"],
        [values.loc[estimator], values.loc["avg"], paired.loc[estimator]],
        strict=True,
    ):
        np.testing.assert_allclose(found.report.loc[row, columns], expected[columns])
        np.testing.assert_allclose(found.report.value[row], expected.iloc[0])
    row = found.table.loc["good"]
    assert row.difference == pytest.approx(paired.difference[estimator])
    bound = row.difference - t.ppf(0.95, 599) * row.std_error
    assert row.lower_bound == pytest.approx(bound)


@pytest.mark.parametrize("estimator", ["ips", "dr"])
def test_every_round_is_judged_by_policies_that_have_not_seen_it(estimator, log):
    found = learn(log, n_folds=3, random_state=5, estimator=estimator, reward_model=TableModel())
    fold, terms = log.units.folds(3, 5), np.empty(600)
    for k in range(3):
        policy, unseen = TableLearner().fit(log[fold != k]).policy_, log[fold == k]
        rows = np.arange(unseen.n_rounds)
        pi = policy(unseen.context, unseen.action_context)
        weight, reward = pi[rows, unseen.action] / unseen.pscore, unseen.reward
        terms[fold == k] = (weight - 1) * reward
        if estimator == "dr":
            q_hat = unseen.context @ Q_HAT
            q_logged, q_policy = q_hat[rows, unseen.action], (pi * q_hat).sum(axis=1)
            terms[fold == k] = q_policy + weight * (reward - q_logged) - reward
    row = found.table.loc["table"]
    assert row.difference == pytest.approx(terms.mean())
    assert row.std_error == pytest.approx(SHARED_CHANCE * terms.std(ddof=1) / np.sqrt(600))
    assert found.report.value["difference"] == pytest.approx(terms.mean())


def test_learners_see_the_whole_log_and_every_part_without_a_fold(log):
    learner = TableLearner()
    learn(log, {"table": learner}, n_folds=3, random_state=5)
    fold = log.units.folds(3, 5)
    assert TableLearner.seen[0] is log
    assert [each.n_rounds for each in TableLearner.seen[1:]] == [
        (fold != k).sum() for k in range(3)
    ]
    for k, part in enumerate(TableLearner.seen[1:]):
        np.testing.assert_array_equal(part.reward, log.reward[fold != k])
    assert not hasattr(learner, "policy_")  # it was copied


def test_q_hat_has_not_seen_what_it_judges(log):
    learn(log, {"good": table_policy(GOOD)}, estimator="dr", reward_model=TableModel(), n_folds=2)
    assert TableModel.fitted_on.n_rounds == 300


def test_a_reward_model_that_no_estimator_needs_is_not_asked(log):
    TableModel.fitted_on = None
    found = learn(log, {"good": table_policy(GOOD)}, reward_model=TableModel())
    assert found.decision == "serve" and TableModel.fitted_on is None
    assert found.table.loc["good"].equals(
        learn(log, {"good": table_policy(GOOD)}).table.loc["good"]
    )


def test_the_default_reward_model_is_fitted_once_if_it_is_a_candidate_too(log, monkeypatch):
    fits, fit = [], opl.BilinearLearner.fit
    monkeypatch.setattr(
        opl.BilinearLearner, "fit", lambda self, log: fits.append(log) or fit(self, log)
    )
    for candidate, n_fits in ((opl.BilinearLearner(), 5), (opl.BilinearLearner(lean=0.2), 9)):
        fits.clear()
        found = learn(log, {"bilinear": candidate}, estimator="clipped_dr")
        assert len(fits) == n_fits
        assert len(found.policies) == 6
    plain = learn(log, {"x": opl.BilinearLearner(lean=0.2)}, estimator="clipped_dr")
    same = learn(log, {"x": opl.BilinearLearner()}, estimator="clipped_dr")
    assert same.table.difference["x, regression"] == pytest.approx(
        plain.table.difference["x, regression"]
    )


def test_users_are_kept_whole_and_counted(tiny_world):
    plain = tiny_world.sample(600, random_state=0)
    columns = {
        name: getattr(plain, name)
        for name in ("context", "action", "reward", "pscore", "action_context")
    }
    log = opl.BanditFeedback(**columns, user_id=np.arange(600) // 10)
    found = learn(log, n_folds=4)
    for part in TableLearner.seen[1:]:
        users, counts = np.unique(part.user_id, return_counts=True)
        assert len(users) == 45 and (counts == 10).all()
    policy = learn(log, {"good": table_policy(GOOD)})
    expected = opl.evaluate(table_policy(GOOD), log, ["ips"], difference=True)
    assert policy.table.std_error["good"] == pytest.approx(expected.std_error["ips"])
    assert found.table.ess_change["table"] < 60
    with pytest.raises(
        ValueError, match=r"n_folds is 61, but the log has only 60 users, .*smaller"
    ):
        learn(log, n_folds=61)
    assert learn(log, {"good": table_policy(GOOD)}, n_folds=60).decision == "serve"


def test_the_unit_of_the_reward_changes_nothing(log):
    candidates = {"bilinear": opl.BilinearLearner(), "item": opl.ConstantItemLearner()}
    columns = log.context, log.action, 1e6 * log.reward, log.pscore, log.action_context
    found, other = (
        learn(each, candidates, estimator="clipped_dr")
        for each in (log, opl.BanditFeedback(*columns))
    )
    assert (found.best, found.decision) == (other.best, other.decision)
    amounts = ["difference", "std_error", "lower_bound"]
    np.testing.assert_allclose(other.table[amounts], 1e6 * found.table[amounts], rtol=1e-4)


def test_the_seed_decides(log):
    candidates = {"bilinear": opl.BilinearLearner()}
    first, second, other = (learn(log, candidates, random_state=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.table, second.table)
    way = "bilinear, near logging, 1"
    assert other.table.difference[way] != first.table.difference[way]


# ---- candidates of one's own


def test_candidates_may_be_policies_and_learners_of_every_kind(log):
    candidates = {
        "function": table_policy(GOOD),
        "policy": opl.uniform(),
        "learner": TableLearner(),
        "ways": SeveralWays(),
        "towers": opl.OffPolicyLearner(
            "ips", epochs=1, hidden=(4,), dim_embedding=2, progress=False
        ),
    }
    found = learn(log, candidates)
    names = {"function", "policy", "learner", "ways", "ways, softly", "towers"}
    assert {*found.policies} == {*found.table.index} == names
    assert found.policies["function"] is candidates["function"]
    assert found.table.index[0] == found.best
    np.testing.assert_allclose(
        found.policies["ways, softly"](np.eye(2), np.eye(3)).max(axis=1), 0.3 + 0.7 / 3
    )
    assert found.table.difference["ways"] == found.table.difference["learner"]


def test_more_candidates_make_every_bound_lower(log):
    alone = learn(log, {"good": table_policy(GOOD)})
    among = learn(log, {"good": table_policy(GOOD), "bad": table_policy(BAD)})
    assert among.table.lower_bound["good"] < alone.table.lower_bound["good"]
    assert among.table.difference["good"] == alone.table.difference["good"]


def test_what_a_candidate_lacks_is_named(log):
    class Silent:
        def fit(self, feedback):
            return self

    class Changing(SeveralWays):
        def fit(self, feedback):
            self.ways = ("", "softly" if feedback.n_rounds == 600 else "hardly")
            return super().fit(feedback)

    class Empty(TableLearner):
        policies_ = {}  # noqa: RUF012

    with pytest.raises(TypeError, match=r"candidate 'a' has no policy_ after fit"):
        learn(log, {"a": Silent()})
    with pytest.raises(
        ValueError, match=r"candidate 'a' has the policies_ \['a', 'a, softly'\] of"
    ):
        learn(log, {"a": Changing()})
    with pytest.raises(ValueError, match="two candidates are called 'a, softly'; rename one"):
        learn(log, {"a": SeveralWays(), "a, softly": table_policy(GOOD)})
    assert [*learn(log, {"a": Empty()}).policies] == ["a"]
    with pytest.raises(ValueError, match="returned shape") as raised:
        learn(log, {"a": lambda context, action_context: np.ones(3)})
    assert raised.value.__notes__ == ["This came from candidate 'a'."]


# ---- the candidates of the library


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(settings, "_MIN_UPDATES", 3)
    monkeypatch.setattr(kinds, "_UPDATES", 5)


def test_what_is_left_out_is_said(quick, monkeypatch, small_log):
    monkeypatch.setattr(kinds, "_MIN_CLICKS", 50)
    found, left_out = kinds.default_candidates(small_log)
    assert [*found] == ["bilinear", "constant item", "value"]
    assert left_out == {
        "towers": "beside the bilinear regression they gained nothing that is clear"
    }
    assert isinstance(found["value"].reward_model, opl.BilinearLearner)
    monkeypatch.setattr(kinds, "_MAX_CELLS", 100)
    _, left_out = kinds.default_candidates(small_log)
    assert left_out["value"].startswith("120 rounds of 4 items are more than 100 probabilities")
    monkeypatch.setattr(rest, "_CLEARLY", -1e9)
    found, left_out = kinds.default_candidates(small_log)
    assert "towers" in found and "towers" not in left_out


def test_where_weights_say_nothing_no_value_objective_is_tried(quick, small_log):
    few = small_log[:40]
    assert len(few.units) < 40
    named = kinds.default_candidates(small_log[small_log.user_id < 10])[1]["value"]
    assert named == "10 users are fewer than 20"
    columns = [small_log.context, small_log.action, small_log.reward, small_log.pscore]
    items = small_log.action_context
    tiny = opl.BanditFeedback(*columns[:3], np.full(120, 1e-300), items)
    named = kinds.default_candidates(tiny)[1]["value"]
    assert named.startswith("pscore is too small for single precision")
    giant = opl.BanditFeedback(*columns[:2], 1e200 * columns[2], columns[3], items)
    named = kinds.default_candidates(giant)[1]["value"]
    assert named.startswith("single precision is too narrow for rewards that vary by ")


@pytest.mark.parametrize(("n", "epochs"), [(1, 300), (120, 300), (200, 300), (1_000, 60)])
def test_short_logs_take_no_more_updates(n, epochs, small_world):
    log = small_world.sample(n, random_state=0)
    assert kinds._value_learner(log, 0).epochs == epochs


def test_entropy_is_in_units_of_the_reward(small_log):
    columns = small_log.context, small_log.action, 50 * small_log.reward, small_log.pscore
    other = opl.BanditFeedback(*columns, small_log.action_context)
    assert "entropy=0.02)" in kinds._value_learner(small_log, 0).objective.name
    entropy = 0.02 * 50 * small_log.reward.std()
    assert f"entropy={entropy:.5f}"[:12] in kinds._value_learner(other, 0).objective.name


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_of_a_tiny_log_nothing_is_believed(n, quick, small_world):
    found = opl.learn(small_world.sample(n, random_state=1), n_folds=2, progress=False)
    assert found.decision in ("test", "keep")
    assert repr(found) and found._repr_html_()


# ---- the budget


class Slow(TableLearner):
    def fit(self, feedback):
        time.sleep(0.05)
        return super().fit(feedback)


def test_what_the_budget_has_no_time_for_is_left_out(log):
    candidates = {"first": Slow(), "good": table_policy(GOOD), "second": Slow()}
    assert learn(log, candidates).left_out == {}
    found = learn(log, candidates, budget=0.3)
    assert {*found.policies} == {"first", "good"}
    assert re.match(
        r"it would take about \d+ seconds, and the budget has fewer left|the budget was spent",
        found.left_out["second"],
    )
    assert "second was not tried: " in repr(found)
    spent = learn(log, candidates, budget=1e-9)
    assert {*spent.policies} == {"first", "good"}  # the first is always tried
    assert spent.left_out["second"] == "the budget was spent before it began"
    assert learn(log, candidates, budget=1e9).left_out == {}


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (0.1, "200 rounds with a reward are fewer than 1,000, of which they would learn nothing"),
        (0.9, "200 rounds without a reward are fewer than 1,000"),
        (0.5, "beside the bilinear regression they gained nothing that is clear"),
    ],
)
def test_of_few_clicks_towers_are_not_tried(share, message, quick):
    rng = np.random.default_rng(0)
    reward = (np.arange(2_000) < 2_000 * share).astype(float)
    log = opl.BanditFeedback(
        rng.normal(size=(2_000, 2)),
        rng.integers(0, 3, 2_000),
        reward,
        np.full(2_000, 1 / 3),
        np.eye(3),
    )
    _, left_out = kinds.default_candidates(log)
    assert left_out["towers"].startswith(message)
    weighed = replace(log, reward=2.5 * reward)
    _, left_out = kinds.default_candidates(weighed)
    assert left_out["towers"] == "beside the bilinear regression they gained nothing that is clear"


def test_towers_are_tried_no_longer_than_the_budget_has_time_for_their_folds(
    small_log, monkeypatch
):
    monkeypatch.setattr(kinds, "_MIN_CLICKS", 50)
    start = time.perf_counter()
    found, left_out = kinds.default_candidates(small_log, end=start)
    assert "towers" not in found
    assert left_out["towers"] == "the budget is too small for a first fit of them"


# ---- how it is shown


def test_it_shows_itself_in_words(log):
    found = learn(log, {"good": table_policy(GOOD), "bad": table_policy(BAD)}, min_ess=MIN_ESS)
    said = repr(found)
    assert said.startswith("Serve it: 'good', learned from 600 rounds in ")
    assert all(reason in said for reason in found.reasons)
    for column in ("difference", "std_error", "lower_bound", "ess_reward_change", "trusted"):
        assert column in said
    few = learn(log, {"good": table_policy(GOOD)}, min_ess=1e9)
    assert repr(few).startswith("Test it against what runs now: 'good'")
    assert "  ! good: the effective rounds of the change are " in repr(few)
    assert repr(learn(log, {"bad": table_policy(BAD)})).startswith("Keep what runs: 'bad'")


def test_in_a_notebook_names_are_text_and_no_markup(log):
    name = "<script>alert('$x^$')</script>"
    found = learn(log, {"good": table_policy(GOOD), name: Slow(), name + "2": Slow()}, budget=1e-9)
    page = found._repr_html_()
    assert "<th>candidate</th>" in page and "<th></th>" not in page
    assert "NaN" not in page and "std_error" not in page
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert page.count('<img alt="estimated gains of all candidates"') == 1
    assert "<b>Serve it: good</b>" in page and "<table" in page and "<details>" in page
    first = learn(log, {name: table_policy(GOOD)})
    assert "<script>" not in first._repr_html_()
    assert "<details>" not in first._repr_html_()
    refused = learn(log, {name: table_policy(GOOD)}, min_ess=1e9)._repr_html_()
    assert "<script>" not in refused and "<details>" in refused
    assert plt.get_fignums() == []


def test_without_matplotlib_the_page_has_no_figure(log, monkeypatch):
    found = learn(log)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert "<img" not in found._repr_html_() and "<table" in found._repr_html_()


def test_the_figure_shows_every_candidate(log):
    found = learn(log, {"good": table_policy(GOOD), "bad $x^$": table_policy(BAD)})
    ax = found.plot()
    assert [text.get_text() for text in ax.get_yticklabels()] == [*found.table.index]
    ax.figure.canvas.draw()
    bounds = next(line for line in ax.get_lines() if line.get_label() == "lower bound")
    np.testing.assert_allclose(np.ma.filled(bounds.get_xdata(), np.nan), found.table.lower_bound)
    own = plt.subplots()[1]
    assert found.plot(own) is own
    assert opl.plot_candidates(found.table) is not own


def test_the_figure_takes_a_table_of_select_and_what_cannot_be_judged(log):
    candidates = {"good": table_policy(GOOD), "bad": table_policy(BAD)}
    chosen = opl.select(candidates, log, estimator="ips")
    labels = opl.plot_candidates(chosen.table).get_yticklabels()
    assert {text.get_text() for text in labels} == {"good", "bad", "logging"}
    few = learn(log, candidates, min_ess=1e9)
    few.plot().figure.canvas.draw()
    table = few.table.assign(std_error=np.inf, difference=[np.nan, 0.1], lower_bound=-np.inf)
    opl.plot_candidates(table).figure.canvas.draw()
    opl.plot_candidates(table.drop(columns="trusted")).figure.canvas.draw()
    with pytest.raises(ValueError, match="table must be the data frame of learn or select"):
        opl.plot_candidates(table.drop(columns="difference"))
    with pytest.raises(TypeError, match="table must be the data frame of learn or select"):
        opl.plot_candidates(few)


def test_what_was_found_cannot_be_changed_by_what_is_done_with_its_tables(log):
    found = learn(log)
    table, report = found.table, found.report
    table.loc[:, "difference"] = 0.0
    report.loc[:, "value"] = 0.0
    found.reasons.clear()
    found.not_trusted["a"] = "b"
    assert found.table.difference["table"] > 0 and found.report.value["policy"] > 0
    assert found.reasons and found.not_trusted == {}


def test_it_is_pickled(log):
    found = learn(log, {"item": opl.ConstantItemLearner(), "bilinear": opl.BilinearLearner()})
    again = pickle.loads(pickle.dumps(found))
    assert (again.best, again.decision, again.reasons) == (
        found.best,
        found.decision,
        found.reasons,
    )
    pd.testing.assert_frame_equal(again.table, found.table)
    np.testing.assert_array_equal(
        opl.evaluate(again.policy, log, ["ips"]), opl.evaluate(found.policy, log, ["ips"])
    )


# ---- what is refused


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"candidates": {}}, ValueError, "candidates must be a mapping .* at least one"),
        ({"candidates": {"a": 3}}, TypeError, "candidate 'a' is neither a learner"),
        ({"candidates": {"a": TableLearner}}, TypeError, "the class TableLearner: make an object"),
        ({"candidates": {3: TableLearner()}}, ValueError, "names that are strings; got 3"),
        ({"candidates": {"logging": TableLearner()}}, ValueError, "rename the candidate"),
        ({"confidence": 95}, ValueError, r"confidence must be in \(0, 1\); got 95"),
        ({"estimator": "dm"}, ValueError, "estimator 'dm' has no error to bound; use"),
        ({"estimator": "zz"}, ValueError, "'zz'"),
        ({"reward_model": 3}, TypeError, "reward_model must have fit.*got int"),
        ({"n_folds": 1}, ValueError, "n_folds must be an integer of at least 2; got 1"),
        ({"n_folds": 2.0}, ValueError, r"n_folds must be an integer of at least 2; got 2\.0"),
        (
            {"n_folds": 601},
            ValueError,
            "n_folds is 601, but the log has only 600 rounds, .*smaller",
        ),
        ({"min_ess": -1}, ValueError, "min_ess must be .*at least 0; got -1"),
        ({"min_rewards": -1}, ValueError, "min_rewards must be .*at least 0; got -1"),
        ({"budget": 0}, ValueError, "budget must be .*above 0; got 0"),
        ({"budget": "10 s"}, ValueError, "budget must be .*got '10 s'"),
        ({"progress": "yes"}, ValueError, "progress must be True or False; got 'yes'"),
        ({"random_state": -1}, ValueError, "random_state must be .*at least 0; got -1"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(given, error, message, log):
    with pytest.raises(error, match=message):
        learn(log, **given)
    assert TableLearner.seen == []


def test_a_log_of_one_round_cannot_be_folded(log):
    with pytest.raises(ValueError, match=r"n_folds is 4, but the log has only 1 round, .*a log of"):
        learn(log[:1])
    with pytest.raises(TypeError, match=r"BanditFeedback.*from_obp"):
        learn(log.to_obp())


def test_a_bar_counts_the_candidates(log, capsys):
    learn(log, {"a": TableLearner(), "b": table_policy(GOOD)}, progress=True)
    shown = capsys.readouterr().err
    assert "learn" in shown and "4/4" in shown


def test_where_there_is_nothing_to_gain_serving_is_as_rare_as_stated():
    n_logs, served = 100, 0
    candidates = {"bilinear": opl.BilinearLearner(), "constant item": opl.ConstantItemLearner()}
    for seed in range(n_logs):
        rng = np.random.default_rng(seed)
        n_actions = (5, 20)[seed % 2]
        pi_0 = np.full(n_actions, 1 / n_actions)
        if seed % 4 < 2:
            pi_0 = np.r_[0.5, np.full(n_actions - 1, 0.5 / (n_actions - 1))]
        action = rng.choice(n_actions, 400, p=pi_0)
        log = opl.BanditFeedback(
            context=rng.normal(size=(400, 3)),
            action=action,
            reward=rng.binomial(1, 0.5, size=400),
            pscore=pi_0[action],
            action_context=rng.normal(size=(n_actions, 4)),
        )
        found = opl.learn(log, candidates, progress=False, random_state=seed)
        served += found.decision == "serve"
    assert served / n_logs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / n_logs)
