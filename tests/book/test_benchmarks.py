"""The benchmarks in tiny sizes: their clocks, floors, rivals and tables."""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from experiments.learners import REGRESSION

import opl_lib as opl
from opl_lib.learning import loop

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import against
import article_loop
import eligible
import gpu
import kills
import measure
import memory
import on_disk
import overhead
import processes
import run as command
import scaling
import service_kills
import serving
import steps
import value


@pytest.fixture(scope="module")
def world():
    return opl.SyntheticWorld(10, 5, 4, n_eval_contexts=40, random_state=0)


@pytest.fixture(scope="module")
def log(world):
    return world.sample(60, random_state=1)


@pytest.fixture
def clock(monkeypatch):
    """Processor time that passes only when a test says so."""

    class Clock:
        now = 0.0

        def passes(self, seconds):
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(time, "process_time", lambda: clock.now)
    return clock


def test_step_seconds_drops_the_warm_up_and_stops_the_run(clock):
    calls = []

    def run(tick):
        while True:
            calls.append(tick())
            clock.passes(1.0 if len(calls) <= 2 else 0.01)

    seconds = measure.step_seconds(run, n_steps=4, n_warm=2)
    assert len(calls) == 6  # the seventh tick ended it
    assert seconds == pytest.approx([0.01] * 4)  # without the slow ticks that came first


def test_a_run_that_ends_too_early_says_so():
    with pytest.raises(ValueError, match="ended after 1 steps"):
        measure.step_seconds(lambda tick: tick(), n_steps=3)


def test_a_ticking_objective_ticks_once_a_step_and_changes_nothing(log):
    ticks = []
    settings = {"epochs": 2, "batch_size": 10, "progress": False}
    ticking = opl.OffPolicyLearner(
        measure.ticking("ips", lambda: ticks.append(0), after=5), **settings
    ).fit(log)
    plain = opl.OffPolicyLearner("ips", **settings).fit(log)
    assert len(ticks) == 2 * 6 - 5
    assert ticking.history_["objective"] == plain.history_["objective"]


@pytest.mark.parametrize("objective", ["ips", "dr", "regression"])
def test_the_articles_loop_takes_the_steps_of_the_library(log, objective):
    """One step each from the same weights: the loop is slow, and not wrong."""
    torch.manual_seed(0)
    towers = article_loop.make_towers(log)
    model = opl.TwoTower.mlp(log.dim_context, log.dim_action_context)
    copies = zip(model.parameters(), towers.parameters(), strict=True)
    with torch.no_grad():
        for ours, theirs in copies:
            ours.copy_(theirs)
    before = [p.detach().clone() for p in towers.parameters()]
    article_loop.train(log, objective, batch_size=60, towers=towers)
    learner = opl.OffPolicyLearner(
        REGRESSION if objective == "regression" else objective,
        towers=model,
        epochs=1,
        batch_size=60,
        learning_rate=1e-5,
        weight_decay=1e-6,
        shuffle=False,
        reward_model=opl.SklearnRewardModel(article_loop.reward_model(), standardise=False),
        n_folds=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the regressor's convergence
        learner.fit(log)
    moved = [a - b for a, b in zip(towers.parameters(), before, strict=True)]
    ours = [a - b for a, b in zip(learner.policy_.towers.parameters(), before, strict=True)]
    agree = [
        (torch.sign(a) == torch.sign(b)).float().mean() for a, b in zip(moved, ours, strict=True)
    ]
    assert min(map(float, agree)) > 0.95  # Adam's first step is the sign of the gradient


def test_q_hat_by_columns_is_the_regressor_on_pairs(log):
    q_hat = article_loop.q_hat_by_columns(log)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model = opl.SklearnRewardModel(article_loop.reward_model(), standardise=False).fit(log)
    assert np.allclose(
        q_hat, model.predict_reward(log.context, log.action_context), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("settings", [{}, {"catalogue": "sampled", "n_sampled": 4}])
def test_fits_of_the_library_are_timed_step_by_step(settings):
    run = steps.library("dr", 12, n_models=2, n_rounds=40, **settings)
    assert len(measure.step_seconds(run, n_steps=6, n_warm=1)) == 6


def test_operations_of_a_step_by_hand():
    """Two rounds, three items, towers 2-1-1: counted on paper."""
    point = scaling.Point("exact", n_actions=3, batch_size=2, n_rounds=2)
    work = scaling.operations(point, width=2, hidden=(1,), d=1)
    forward, backward, logits = 5 * 2 * (2 + 1), 5 * (4 * (2 + 1) - 2 * 2), 3 * 2 * 1 * 6
    assert work["flops"] == forward + backward + logits
    weights, activations = 2 * (2 + 1 + 1 + 1), 2 + 1 + 1
    assert work["bytes"] == 4 * (7 * weights + 3 * 5 * activations + 4 * 6)
    assert work["held"] == 4 * (4 * weights + 5 * activations + 6)


def test_streaming_works_more_and_holds_less_than_exact():
    exact, streamed = (
        scaling.operations(scaling.Point(way, 10**6, 100, 100)) for way in ("exact", "streamed")
    )
    assert streamed["flops"] > exact["flops"] and streamed["held"] < exact["held"] / 50


def test_no_step_is_below_its_floor():
    for way in ("exact", "logged"):
        point = scaling.Point(way, n_actions=200, batch_size=20, n_rounds=400)
        assert scaling.measured(point, quick=True) > scaling.floor(point) > 0


def test_streaming_takes_less_memory_than_a_naive_step():
    naive, streamed = (
        measure.in_fresh_process(memory.extra_mb, way, 20_000, 64) for way in ("naive", "streamed")
    )
    assert naive > 1.5 * streamed > 1


def test_a_first_step_is_timed_in_an_interpreter_of_its_own():
    rows = overhead.run(quick=True)
    assert [row["quantity"] for row in rows] == [
        "import torch",
        "opl_lib, to its first step",
        "torch.optim, to its first step",
    ]
    assert all(row["value"] > 0 for row in rows)


def test_a_step_among_what_is_eligible_is_timed_beside_one_over_all():
    table = pd.DataFrame(eligible.run(quick=True))
    steps, held = table[table.unit == "ms"], table[table.unit == "MB"]
    assert len(steps) == 2 * len(eligible.WAYS) * len(eligible.OBJECTIVES)
    assert set(steps.quantity) == {"all", "eligible"} and (steps.value > 0).all()
    assert len(held) == 1 and 0 < held.value.item() < 1


def test_an_index_and_a_service_are_timed(monkeypatch):
    monkeypatch.setattr(serving, "CONNECTIONS", (2,))
    monkeypatch.setattr(serving, "INDEXES", ("hnsw",))
    monkeypatch.setattr(serving, "BREADTHS", dict.fromkeys(("compressed", "HNSW"), (10, 500)))
    table = pd.DataFrame(serving.run(quick=True))
    recall = table[table.quantity == "recall@10"].value.to_numpy().reshape(4, 2)
    assert (recall[:, 1] >= recall[:, 0]).all() and (recall[:, 1] > 0.95).all()
    rates = table[table.unit == "1/s"]
    assert list(rates.case) == [f"service, {index}, 2 connections" for index in serving.INDEXES]
    assert (table[table.unit.isin(["ms", "1/s"])].value > 0).all()


def test_a_service_that_is_killed_loses_nothing():
    mended, acknowledged, lost = service_kills.run(quick=True)
    assert acknowledged["value"] > 0 and lost["value"] == 0
    assert 0 <= mended["value"] <= 1


def test_a_log_on_disk_is_timed_beside_the_same_in_memory():
    table = pd.DataFrame(on_disk.run(quick=True)).set_index("quantity").value
    assert 0.2 < table["ratio"] < 2 and table["size of the log"] == pytest.approx(8.3, rel=0.1)
    assert 0 < table["memory of a fit"] < 150 and table["checking every shard"] > 1
    assert not table["ratio, cold"] <= 0  # NaN where files lie in memory, or nobody says


def test_two_processes_are_timed_beside_one():
    table = pd.DataFrame(processes.run(quick=True)).set_index("quantity").value
    assert 0 < table["ratio"] == table["2 processes"] / (2 * table["1 processes"])
    assert table["bytes of an all-reduce"] == 4 * (20 * 50 + 50 + 50 * 20 + 20) * 2


def test_killed_runs_are_compared_with_one_that_was_not():
    table = pd.DataFrame(kills.run(quick=True))
    assert list(table[table.quantity == "kills"].value) == [2, 2]
    assert (table[table.quantity.str.startswith("share")].value == 1).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured_and_that_is_said():
    table = pd.DataFrame(gpu.run(quick=True))
    assert table.value.isna().all() and (table.case == "one GPU: not measured").all()
    assert list(table.required) == [40.0, 5.0]


def test_the_steps_of_a_gpu_are_those_of_fits(monkeypatch):
    """Of all models at once; here on the processor."""
    sizes = []
    stack = loop.stack_models
    monkeypatch.setattr(loop, "stack_models", lambda m: sizes.append(len(m)) or stack(m))
    assert 0 < gpu.step_over_items("cpu", gpu.TINY) < 60
    assert 0 < gpu.step_of_models("cpu", gpu.TINY) < 60
    assert sizes == [1, gpu.TINY.n_models]
    with pytest.raises(ValueError, match=r"ended after 26 steps"):
        gpu.seconds_of_a_step("cpu", 100, measure.make_log(260, 10), 1, batch_size=10, epochs=1)


def test_the_stopwatch_stands_still_while_it_looks(clock):
    def slow(policy):
        clock.passes(100)
        return 1.0

    watch = value.Stopwatch(slow, budget=10)
    for _ in range(3):
        clock.passes(0.5)
        watch.next_look = 0.0
        watch.look(lambda: None)
    assert [seconds for seconds, _ in watch.curve] == pytest.approx([0.5, 1.0, 1.5])


def test_seconds_to_a_value_are_those_of_the_first_time():
    watch = value.Stopwatch(None, budget=1)
    watch.curve = [(1.0, 0.1), (2.0, 0.3), (3.0, 0.2), (4.0, 0.4)]
    assert watch.seconds_to(0.25) == 2.0 and np.isnan(watch.seconds_to(0.5))
    assert watch.final == 0.4


@pytest.mark.parametrize("name", list(value.learners(10)))
def test_every_learner_learns_until_its_time_is_over(world, log, name):
    watch = value.Stopwatch(lambda action: value.greedy_value(world, action), budget=0.02)
    with pytest.raises(measure.Enough):
        value.learners(10)[name](log, world.eval_context, watch)
    assert watch.curve[-1][0] >= 0.02
    assert all(0 <= v <= 1 for _, v in watch.curve)


def test_costs_of_vowpal_wabbit_are_what_it_predicts(log):
    from vowpalwabbit import Workspace

    vw = Workspace("--cb_adf --quadratic xa --min_prediction -9 --max_prediction 9 --quiet")
    items = [f"|a {value.features(item)}" for item in log.action_context]
    for i in range(30):
        lines = list(items)
        lines[log.action[i]] = f"0:{-log.reward[i]}:0.1 " + lines[log.action[i]]
        vw.learn("\n".join([f"shared |x {value.features(log.context[i])}", *lines]))
    text = "\n".join([f"shared |x {value.features(log.context[0])}", *items])
    predicted = vw.predict(text)
    found = value.costs(vw, log.context[:1], log.action_context)[0]
    vw.finish()
    assert np.ptp(predicted) > 0.01
    assert np.allclose(found, predicted, atol=1e-3)


def test_the_command_replaces_the_rows_of_what_it_ran(tmp_path, monkeypatch, capsys):
    rows = [
        measure.row("a", "ratio", 3.0, "", (2, 4)),
        {"curve": True, "seconds": 1.0, "value": 0.5},
    ]
    monkeypatch.setattr(command, "in_fresh_process", lambda function, name, quick: rows)
    for value_now in (3.0, 5.0):
        rows[0]["value"] = value_now
        assert command.main(["overhead", "steps", "--quick", f"--folder={tmp_path}"]) == 0
    table = pd.read_csv(tmp_path / "benchmarks.csv")
    assert list(table.benchmark) == ["steps", "overhead"] and list(table.value) == [5.0, 5.0]
    about = json.loads((tmp_path / "benchmarks.json").read_text(encoding="utf-8"))
    assert about["steps"]["quick"] is True and about["steps"]["machine"]
    assert list(pd.read_csv(tmp_path / "steps.csv").columns) == ["value", "seconds"]
    assert not list(tmp_path.glob("*.partial"))


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["speed"])
    assert "no such benchmark: speed" in capsys.readouterr().err


def test_two_checkouts_are_timed_against_each_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["against.py", str(against.HERE), "--rounds=1", "--only=1 ips"]
    )
    against.main()
    numbers = capsys.readouterr().out.splitlines()[1].split()
    assert numbers[:2] == ["1", "ips"] and float(numbers[2]) > 0 and float(numbers[4]) > 0
    for wrong in ([str(tmp_path)], [str(against.HERE), "--only=nothing"]):
        monkeypatch.setattr(sys, "argv", ["against.py", *wrong])
        with pytest.raises(SystemExit):
            against.main()
    assert "there are 1 ips" in capsys.readouterr().err
