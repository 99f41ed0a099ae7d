"""Several processes learn what one does; one that is lost ends the others, and nothing else."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib.learning import distributed
from opl_lib.learning.group import check_is_mean
from opl_lib.learning.inputs import part_of

SCRIPT = """
import atexit, os, signal, sys
from datetime import timedelta
import torch
import torch.distributed as dist
torch.set_num_threads(1)
import opl_lib as opl
from opl_lib.learning import checkpoints

rank, store, out, log_path, mode = int(sys.argv[1]), *sys.argv[2:]
dist.init_process_group(
    "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
atexit.register(dist.destroy_process_group)  # without it torch may abort as a process ends
checkpoints.EVERY_SECONDS = checkpoints._MAX_SHARE = 0
world = opl.SyntheticWorld(4, 3, 2, random_state=0)
log = world.sample(201, random_state=1 + (mode == "other log") * rank)
if "disk" in mode:
    log = opl.open_log(log_path)
    read, rounds = opl.LogOnDisk.read, {"context": 0, "reward": 0}
    def counted(self, name, start, stop):
        if name in rounds:
            rounds[name] += stop - start
        return read(self, name, start, stop)
    opl.LogOnDisk.read = counted
small = dict(epochs=3, batch_size=25, hidden=(8,), dim_embedding=4, learning_rate=1e-3)
if "disk" in mode:  # few steps: rounding grows with each
    small["batch_size"] = 1000
path = f"{out}.checkpoint"
calls = []

def callback(policy):
    calls.append(0)
    if mode.startswith("kill") and rank == 1 and len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

names = ("ips", "dr", "regression") if mode == "memory" else ("dr",)
for name in ("ips",) if mode == "disk, ips" else names:
    learner = opl.OffPolicyLearner(name, **small)
    keep = path if mode.startswith(("kill", "go on")) else None
    opl.fit_distributed(learner, log, callback, checkpoint=keep)
    if mode == "disk, ips":
        print(rounds["context"], rounds["reward"])
    learner.policy_.save(f"{out}.{name}.{rank}")
"""
SMALL = {"epochs": 3, "batch_size": 25, "hidden": (8,), "dim_embedding": 4, "learning_rate": 1e-3}


def run(folder, mode):
    """Exit codes and messages of two processes."""
    store = folder / f"store {mode}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT]
            + [str(each) for each in (rank, store, folder / "out", folder / "log", mode)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]
    told = [process.communicate(timeout=200) for process in processes]
    printed, said = zip(*told, strict=True)
    (folder / "printed").write_text("\n".join(each.strip() for each in printed))
    return [process.returncode for process in processes], said


def close(one, other, log):
    """Of weights, some have a gradient of rounding errors alone, and Adam takes steps by these."""
    shown = [each.predict_proba(log.context, log.action_context) for each in (one, other)]
    return np.abs(shown[0] - shown[1]).max() < 1e-5


@pytest.fixture(scope="module")
def log():
    return opl.SyntheticWorld(4, 3, 2, random_state=0).sample(201, random_state=1)


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_two_processes_learn_what_one_does(log, tmp_path, mode):
    if mode == "disk":
        log = opl.write_log(tmp_path / "log", opl.BanditFeedback.concatenate([log[:]] * 50))
    codes, said = run(tmp_path, mode)
    assert codes == [0, 0], said
    for name in ("ips", "dr", "regression") if mode == "memory" else ("dr",):
        batch_size = 25 if mode == "memory" else 1000
        learner = opl.OffPolicyLearner(name, **{**SMALL, "batch_size": batch_size})
        alone = learner.fit(log).policy_
        both = [opl.TwoTowerPolicy.load(tmp_path / f"out.{name}.{rank}") for rank in (0, 1)]
        assert close(both[0], alone, log)
        for own, its in zip(*(each.towers.parameters() for each in both), strict=True):
            assert torch.equal(own, its)


def test_each_process_reads_its_part_of_a_log_on_disk(log, tmp_path):
    opl.write_log(tmp_path / "log", opl.BanditFeedback.concatenate([log[:]] * 50))
    codes, said = run(tmp_path, "disk, ips")
    assert codes == [0, 0], said
    first, second = np.loadtxt(tmp_path / "printed", dtype=int)
    n = 10_050
    of_epochs, of_scale = 3 * n // 2, n  # each looks at the scale of the first 65,536 contexts
    assert abs(first[0] - of_epochs - of_scale) <= 9 >= abs(second[0] - of_epochs - of_scale)
    assert first[0] + second[0] == 3 * n + 2 * of_scale
    assert abs(second[1] - of_epochs) <= 9  # the range and moments of all rewards are read by one
    assert first[1] + second[1] == 3 * n + 3 * n


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_killed_process_ends_the_other_with_a_message_and_both_go_on(log, tmp_path, where):
    if where == "disk":
        log = opl.write_log(tmp_path / "log", opl.BanditFeedback.concatenate([log[:]] * 50))
    codes, said = run(tmp_path, f"kill, {where}")
    assert codes[1] == -9 and codes[0] == 1
    assert "process 0 of 2 has lost another one" in said[0]
    assert f"they go on from {tmp_path / 'out.checkpoint'}" in said[0]
    codes, said = run(tmp_path, f"go on, {where}")
    assert codes == [0, 0], said
    batch_size = 25 if where == "memory" else 1000
    alone = opl.OffPolicyLearner("dr", **{**SMALL, "batch_size": batch_size}).fit(log).policy_
    assert close(opl.TwoTowerPolicy.load(tmp_path / "out.dr.0"), alone, log)


def test_processes_with_different_logs_are_refused(tmp_path):
    codes, said = run(tmp_path, "other log")
    assert codes == [1, 1]
    for each in said:
        assert "must be the same in all processes: the log is" in each


def test_parts_are_a_partition():
    for n in range(1, 12):
        for size in (1, 2, 3, 5):
            parts = [part_of(n, (rank, size)) for rank in range(size)]
            assert sum(share for _, share in parts) == pytest.approx(1)
            rows = np.concatenate([np.arange(n)[part] for part, _ in parts])
            assert sorted(rows) == (list(range(n)) if n >= size else sorted([*range(n)] * size))


def test_what_is_no_mean_over_rounds_is_refused():
    for good in (opl.ips, opl.dr, opl.dm, opl.regression, opl.mrdr, opl.mips([0, 0, 1])):
        check_is_mean(good, 3)
    for bad in (opl.snips, opl.poem(0.1)):
        with pytest.raises(ValueError, match="is no mean over rounds"):
            check_is_mean(bad, 3)


def test_without_processes_it_says_how_to_start_them(log):
    with pytest.raises(RuntimeError, match="torchrun --nproc-per-node=2"):
        opl.fit_distributed(opl.OffPolicyLearner("ips", **SMALL), log)
    with pytest.raises(ValueError, match="'auto', which one process finds exactly"):
        opl.fit_distributed(opl.OffPolicyLearner(), log)
    with pytest.raises(TypeError, match="learner must be an OffPolicyLearner"):
        opl.fit_distributed(opl.TwoTowerRegressor(), log)


def test_processes_are_connected_by_what_their_device_speaks(monkeypatch):
    """Each process of a machine takes a GPU of its own, unless one is named."""
    assert distributed._backend("cpu") == distributed._backend(torch.device("cpu")) == "gloo"
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setenv("LOCAL_RANK", "3")
    for device in ("cuda", "auto", torch.device("cuda"), "cuda:1"):
        assert distributed._backend(device) == "cpu:gloo,cuda:nccl"
    assert taken == [3, 3, 3]
