"""The map: every learner learns from the same log and is chosen from the log alone."""

import numpy as np
import pytest
from experiments import learners, read_table, run
from experiments.few_lines import PENALTIES
from experiments.learners import LEARNERS, make_regressor
from experiments.map import (
    LOG_SEED,
    TEMPERATURES,
    WORLDS,
    MapCell,
    WorldSpec,
    map_cells,
    plays,
)
from experiments.peers import PEERS
from sklearn.linear_model import LogisticRegression, Ridge

import opl_lib as opl
from opl_lib.worlds.logging_policies import epsilon_greedy


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(WORLDS, "tiny", WorldSpec(epsilon_greedy(0.5), n_rounds=160, n_actions=4))
    monkeypatch.setattr(learners, "EPOCHS", 2)


@pytest.mark.filterwarnings("ignore")  # what other libraries say of a log this short
@pytest.mark.parametrize("learner", LEARNERS)
def test_a_learner_is_chosen_among_its_candidates(learner):
    (row,) = MapCell("tiny", learner).run((3,))
    assert (row["world"], row["learner"], row["seed"]) == ("tiny", learner, 3)
    assert row["kept_logging"] in (0, 1)
    assert np.isfinite(row["difference"]) and row["seconds"] > 0
    served_at = [row["chosen"].endswith(f"@ {t:g}") for t in TEMPERATURES]
    is_greedy_always = learner in PEERS and "network" not in learner
    assert any(served_at) != is_greedy_always


def gain(policy, log, q_hat):
    """DR's estimate of the gain over the logging policy, by hand."""
    rows, pi = np.arange(len(log.action)), policy.predict_proba(log.context, log.action_context)
    q = q_hat.predict_reward(log.context, log.action_context)
    weight = pi[rows, log.action] / log.pscore
    residual = log.reward - q[rows, log.action]
    return ((pi * q).sum(axis=1) + weight * residual - log.reward).mean()


def test_the_choice_is_the_largest_estimate_on_the_rounds_that_were_held_out():
    world = WORLDS["tiny"].world(3)
    to_fit, held_out = world.sample(160, LOG_SEED).split(0.25, random_state=0)
    (policies,) = LEARNERS["IPS"]([to_fit], [3])
    q_hat = make_regressor(3).fit(to_fit)
    served = {f"{n} @ {t:g}": p.at_temperature(t) for n, p in policies.items() for t in (0, 1)}
    gains = {name: gain(policy, held_out, q_hat) for name, policy in served.items()}
    (row,) = MapCell("tiny", "IPS").run((3,))
    assert row["chosen"] == max(gains, key=gains.get)
    assert row["difference"] == pytest.approx(max(gains.values()), abs=1e-5)
    values = {name: world.policy_value(policy) for name, policy in served.items()}
    assert row["policy_value"] == pytest.approx(values[row["chosen"]], abs=1e-5)
    assert row["best_value"] == pytest.approx(max(values.values()), abs=1e-5)


def test_worlds_differ_by_seed_and_are_shared_by_learners():
    one, two = MapCell("tiny", "regression").run((0, 1))
    (other,) = MapCell("tiny", "IPS").run((1,))
    assert two["optimum"] == other["optimum"] != one["optimum"]


def test_all_play_but_those_that_are_slow_in_large_worlds():
    cells = {(cell.world, cell.learner) for cell in map_cells()}
    large = {"rare clicks", "Zipf logging"}
    for world in WORLDS:
        out = {learner for learner in LEARNERS if (world, learner) not in cells}
        assert bool(out) == (world in large), world
        assert not out & {"regression", "ridge on products", "constant item"}
    assert plays("boosting", "rare clicks") and not plays("boosting", "Zipf logging")
    assert plays("POTEC", "Zipf logging") and not plays("POTEC", "rare clicks")
    assert not plays("Vowpal Wabbit", "rare clicks") and not plays("IPS", "Zipf logging")


def test_the_stale_policy_is_that_of_its_own_world():
    world = WORLDS["stale good logging"].world(3)
    log = world.sample(2_000, 0)
    assert log.pscore.min() == pytest.approx(0.005)
    assert log.support_report(world.logging_policy).mean_weight == pytest.approx(1)
    references = world.reference_values()
    assert references["best_constant_item"] < references["logging"] < references["optimum"]


def test_rare_clicks_are_rare():
    references = WORLDS["rare clicks"].world(0).reference_values()
    assert references["uniform"] == pytest.approx(0.015, rel=0.1)


def test_what_is_typed_is_served_as_it_is(log):
    policy = opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, (), 2, random_state=0), temperature=0.5)
    (policies,) = learners.typed(lambda given: policy if given is log else None, [log], [0])
    assert list(policies) == ["as typed"]
    np.testing.assert_array_equal(
        policies["as typed"](log.context, log.action_context),
        policy.predict_proba(log.context, log.action_context),
    )


# ---- peers


@pytest.fixture(scope="module")
def log():
    world = opl.SyntheticWorld(5, 3, 2, logging_policy=mostly_the_first, random_state=0)
    return world.sample(3_000, 0)


def mostly_the_first(context, action_context):
    """Items 0 to 3, and item 4 never."""
    return np.tile([0.6, 0.2, 0.1, 0.1, 0.0], (len(context), 1))


def served(policy, log):
    pi = policy(log.context, log.action_context)
    assert set(np.unique(pi)) == {0, 1} and (pi.sum(axis=1) == 1).all()
    return pi.argmax(axis=1)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ridge on products", lambda penalty: Ridge(penalty)),
        ("logistic on products", lambda penalty: LogisticRegression(C=1 / penalty)),
    ],
)
def test_models_of_products_serve_the_largest_prediction(name, model, log):
    x = (log.context - log.context.mean(axis=0)) / log.context.std(axis=0)
    a = (log.action_context - log.action_context.mean(axis=0)) / log.action_context.std(axis=0)

    def products(x, a):
        one = np.ones((len(x), 1))
        pairs = [x[:, [i]] * a[:, [j]] for i in range(3) for j in range(2)]
        return np.hstack([one, x, a, *pairs])

    for penalty, policy in zip(PENALTIES, PEERS[name](log, 0).values(), strict=True):
        fitted = model(penalty).fit(products(x, a[log.action]), log.reward)
        q = [
            fitted.decision_function(products(x, np.tile(item, (len(x), 1))))
            if name.startswith("logistic")
            else fitted.predict(products(x, np.tile(item, (len(x), 1))))
            for item in a
        ]
        assert np.mean(np.argmax(q, axis=0) == served(policy, log)) > 0.99


def test_boosting_predicts_from_features_side_by_side(log):
    policy = next(iter(PEERS["boosting"](log, 0).values()))
    chosen = served(policy, log)
    assert len(set(chosen.tolist())) > 1
    np.testing.assert_array_equal(chosen[:7], policy(log.context[:7], log.action_context).argmax(1))


def test_a_constant_item_is_the_largest_shrunken_mean():
    """Item 1 has one lucky round; item 0 has many good ones: the guess decides nothing here."""
    n = 400
    action = np.r_[np.zeros(n, int), np.full(n, 2), [1]]
    reward = np.r_[np.arange(n) % 10 < 8, np.arange(n) % 10 < 2, [1]].astype(int)
    log = opl.BanditFeedback(
        context=np.ones((len(action), 1)) * np.arange(len(action))[:, None],
        action=action,
        reward=reward,
        pscore=np.full(len(action), 0.25),
        action_context=np.eye(4),
    )
    policies = PEERS["constant item"](log, 0)
    assert set(served(policies["towards the mean"], log)) == {0}
    assert all(len(set(served(policy, log))) == 1 for policy in policies.values())


def test_every_world_can_be_made():
    for name, spec in WORLDS.items():
        world = spec.world(0)
        assert 0 < world.reference_values()["optimum"] <= 1, name


def test_the_runner_stores_the_map_and_goes_on(tmp_path):
    cells = [MapCell("tiny", learner) for learner in ("regression", "IPS")]
    run("map", cells[:1], [0], tmp_path, n_jobs=1, progress=False)
    table = run("map", cells, [0], tmp_path, n_jobs=1, progress=False)
    assert list(table.learner) == ["regression", "IPS"]
    assert len(read_table(tmp_path / "map.csv")) == 2
