"""Learning from a log on disk: every round once an epoch, the same numbers, in flat memory."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

import opl_lib as opl
from opl_lib.learning import streamed
from opl_lib.learning.moments import reward_moments
from opl_lib.learning.streamed import StreamedFit

SMALL = {"epochs": 2, "batch_size": 32, "hidden": (8,), "dim_embedding": 4, "learning_rate": 1e-3}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 rounds, three of which are mixed."""
    monkeypatch.setattr(streamed, "_BLOCK", 50)
    monkeypatch.setattr(streamed, "_BLOCKS_AT_ONCE", 3)


@pytest.fixture
def log(small_world):
    """1,000 rounds that know their own number, in single precision."""
    log = small_world.sample(1000, random_state=1)
    return replace(log, context=np.c_[log.context[:, :2], np.arange(1000) / 1000])


@pytest.fixture
def disk(log, tmp_path):
    return opl.write_log(tmp_path / "log", (log[k : k + 170] for k in range(0, 1000, 170)))


def numbers(steps):
    """The rounds of each batch."""
    return [(step.context[0, :, 2] * 1000).round().int().tolist() for step in steps]


def streamed_log(disk, **settings):
    learner = opl.OffPolicyLearner("ips", **{**SMALL, **settings})
    learner.epochs = 1
    fit = StreamedFit(
        disk, opl.TwoTowerPolicy(opl.TwoTower.mlp(3, 2, random_state=0)), opl.ips, learner
    )
    return fit.own_log()


def test_an_epoch_has_every_round_once_in_another_order(disk, small_blocks):
    log = streamed_log(disk)
    epochs = [numbers(log.batches(32, [None], epoch)) for epoch in (1, 2, 1)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch).tolist()) == list(range(1000))
        assert len(epoch) == 32  # as of a log in memory: one is short
    assert epochs[0] == epochs[2] != epochs[1]
    of_batch = {number // 64 for number in epochs[0][0]}
    assert len(of_batch) > 1  # rounds of several blocks are mixed
    assert np.concatenate(numbers(log.batches(32, None))).tolist() == list(range(1000))


def test_a_place_in_an_epoch_is_one_number(disk, small_blocks, monkeypatch):
    log, reads = streamed_log(disk), []
    whole = numbers(log.batches(32, [None], 3))
    read = opl.LogOnDisk.read
    monkeypatch.setattr(
        opl.LogOnDisk, "read", lambda self, *args: reads.append(args) or read(self, *args)
    )
    for skip in (1, 5, 6, 7, 31, 32):
        reads.clear()
        assert numbers(log.batches(32, [None], 3, skip)) == whole[skip:]
    assert not reads  # of an epoch that is over nothing is read


@pytest.mark.parametrize("catalogue", ["exact", "streamed"])
@pytest.mark.parametrize("objective", ["ips", "snips", "dr", "regression", "squared_error", "mips"])
def test_in_the_order_of_the_log_it_learns_what_it_learns_in_memory(
    log, tmp_path, objective, catalogue, small_blocks
):
    reward = log.reward if objective != "squared_error" else log.reward * 3 + log.context[:, 0]
    shown = np.eye(4, dtype=bool)[log.action] | (np.arange(4) < np.arange(1000)[:, None] % 3)
    log = replace(log, reward=reward, cluster_pscore=np.sqrt(log.pscore), eligible=shown)
    disk = opl.write_log(tmp_path / "other", log)
    q_hat = opl.FittedRewardModel(opl.SklearnRewardModel(Ridge()).fit(log))
    settings = {**SMALL, "shuffle": False, "catalogue": catalogue}
    if objective == "dr":
        settings["reward_model"] = q_hat
    if objective == "mips":
        if catalogue == "streamed":
            pytest.skip("clusters are sums over all items")
        objective = opl.mips([0, 0, 1, 1])
    ours, theirs = (opl.OffPolicyLearner(objective, **settings).fit(each) for each in (disk, log))
    assert ours.history_["objective"] == pytest.approx(theirs.history_["objective"], rel=1e-5)
    weights = [list(each.policy_.towers.parameters()) for each in (ours, theirs)]
    for own, other in zip(*weights, strict=True):
        assert torch.allclose(own, other, atol=1e-5)


def test_one_seed_is_one_policy_and_rewards_may_have_any_unit(disk, log, small_blocks, tmp_path):
    fits = [
        opl.OffPolicyLearner(name, **SMALL, catalogue="sampled", n_sampled=3).fit(disk)
        for name in ("ips", "ips", "dr", "dr")
    ]
    weights = [each.policy_.scores(log.context, log.action_context) for each in fits]
    assert np.array_equal(weights[0], weights[1]) and np.array_equal(weights[2], weights[3])
    large = opl.write_log(tmp_path / "large", replace(log, reward=log.reward * 2.0**40))
    scaled = opl.OffPolicyLearner("ips", **SMALL, catalogue="sampled", n_sampled=3).fit(large)
    assert np.isfinite(scaled.policy_.scores(log.context, log.action_context)).all()


def test_moments_are_those_of_the_whole_column(log, tmp_path, monkeypatch):
    for module in ("disk_format", "on_disk", "written"):
        monkeypatch.setattr(f"opl_lib.logs.{module}.SHARD", 64)
    for number, reward in enumerate(
        [log.reward, log.context[:, 0] * 1e200, log.context[:, 0] + 1e6, np.full(1000, 0.1)]
    ):
        disk = opl.write_log(tmp_path / f"log {number}", replace(log, reward=reward))
        found, right = reward_moments(disk), reward.astype(float)
        assert found.mean == pytest.approx(right.mean(), rel=1e-12)
        size = right.max()
        spread = 0.0 if number == 3 else size * (right / size).std()
        assert found.scale == pytest.approx(spread, rel=1e-6)
        assert found.are_clicks == (number == 0)


def test_a_reward_model_learns_from_blocks_that_the_policy_does_not_see(disk, small_blocks):
    class Seen(opl.SklearnRewardModel):
        def fit(self, feedback):
            Seen.rounds = (feedback.context[:, 2] * 1000).round().astype(int)
            return super().fit(feedback)

    rows = []
    objective = opl.Objective(
        lambda logits, batch: (
            rows.append(batch.reward.shape[-1]) or (logits.softmax(-1) * batch.q_hat).sum(-1).mean()
        ),
        needs=("q_hat",),
    )
    learner = opl.OffPolicyLearner(objective, **SMALL, reward_model=Seen(Ridge())).fit(disk)
    assert len(Seen.rounds) in (448, 512, 488)  # half of 16 blocks, of which one is short
    assert sum(rows) >= 2 * (1000 - len(Seen.rounds))
    assert learner.reward_model_.predict_reward(disk.context[:2], disk.action_context).shape == (
        2,
        4,
    )


# ---- refused


def test_what_needs_a_log_in_memory_says_so(disk, log, small_blocks):
    with pytest.raises(ValueError, match=r"feedback\.sample\(n_rounds\)"):
        opl.OffPolicyLearner().fit(disk)
    with pytest.raises(ValueError, match="cross-fitted on a log in memory"):
        q_hat = opl.cross_fit(opl.SklearnRewardModel(Ridge()), log)
        opl.OffPolicyLearner("dr", **SMALL, reward_model=q_hat).fit(disk)


def test_a_log_of_one_block_has_none_for_a_reward_model(disk):
    with pytest.raises(ValueError, match=r"take it into memory, log\[:\]"):
        opl.OffPolicyLearner("dr", **SMALL).fit(disk)


def test_rows_are_named_as_those_of_the_log(log, tmp_path, monkeypatch):
    for module in ("disk_format", "on_disk", "written"):
        monkeypatch.setattr(f"opl_lib.logs.{module}.SHARD", 64)
    reward, pscore = log.reward.copy(), log.pscore.copy()
    reward[700], pscore[500] = 2.0, 1e-300
    one = opl.write_log(tmp_path / "one", replace(log, reward=reward))
    two = opl.write_log(tmp_path / "two", replace(log, pscore=pscore))
    with pytest.raises(ValueError, match="row 700 has 2"):
        opl.OffPolicyLearner("regression", **SMALL).fit(one)
    with pytest.raises(ValueError, match="row 500 has 1e-300"):
        opl.OffPolicyLearner("ips", **SMALL).fit(two)


# ---- memory

PEAK = """
import json, sys
from pathlib import Path
import torch
import opl_lib as opl

torch.set_num_threads(1)
def held(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

path, objective = sys.argv[1:]
log = opl.open_log(path)
before = held("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
opl.OffPolicyLearner(objective, epochs=1, batch_size=500, hidden=(8,), dim_embedding=4).fit(log)
print(json.dumps(held("VmHWM") - before))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
@pytest.mark.parametrize("objective", ["ips", "dr"])
def test_peak_memory_does_not_grow_with_the_log(tmp_path, objective):
    rng = np.random.default_rng(0)
    items = rng.normal(size=(5, 3))

    def piece(n):
        return opl.BanditFeedback(
            context=rng.normal(size=(n, 40)).astype(np.float32),
            action=rng.integers(5, size=n),
            reward=rng.integers(2, size=n),
            pscore=np.full(n, 0.2),
            action_context=items,
        )

    # more than twice what the model learns from; some groups of blocks, so that all have been held
    n = 450_000 if objective == "dr" else 240_000
    paths = [str(tmp_path / name) for name in ("small", "large")]
    for path, factor in zip(paths, (1, 4), strict=True):
        opl.write_log(path, (piece(n // 10) for _ in range(10 * factor)))
    more_on_disk = 3 * n * 184 / 2**20
    # A process each: what one fit gave back is still held, and hides what the next one takes.
    small, large = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", PEAK, path, objective],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for path in paths
    )
    assert large - small < 0.1 * more_on_disk


# ---- several processes


@pytest.mark.parametrize("size", [1, 2, 3, 5, 70])
def test_each_process_reads_its_own_rounds_and_together_they_have_every_batch(
    disk, small_blocks, monkeypatch, size
):
    """The last block has 40 rounds: of 70 processes, 30 have none of it, but take every step."""
    log, reads = streamed_log(disk), []
    whole = numbers(log.batches(32, [None], 2))
    read = opl.LogOnDisk.read
    monkeypatch.setattr(
        opl.LogOnDisk, "read", lambda self, *args: reads.append(args) or read(self, *args)
    )
    parts, seen = [], []
    for rank in range(size):
        reads.clear()
        steps = list(log.batches(32, [None], 2, processes=(rank, size)))
        assert len(steps) == len(whole)  # as many all-reduces: none waits forever
        parts.append(steps)
        seen.append({row for name, a, b in reads if name == "context" for row in range(a, b)})
    for number, batch in enumerate(whole):
        steps = [steps[number] for steps in parts]
        assert sum(step.share for step in steps) == pytest.approx(1)
        counted = [
            rows
            for step, (rows,) in zip(steps, map(numbers, zip(steps)), strict=True)
            if step.share
        ]
        assert sorted(np.concatenate(counted)) == sorted(batch)
        for step in steps:
            assert len(step.context[0]) == max(1, round(step.share * len(batch)))
    for one in range(size):
        own = set().union(*numbers(step for step in parts[one] if step.share))
        assert own <= seen[one]
        assert size == 70 or own == seen[one]  # nothing is read that it does not learn from
    assert set().union(*seen) == set(range(1000))
