"""A fit that was killed goes on from its checkpoint, to the bits of one that was not."""

import os
import pickle
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import opl_lib as opl
from opl_lib.learning import checkpoints
from opl_lib.learning.checkpoints import Checkpoint
from opl_lib.learning.fingerprint import fingerprint

SMALL = {
    **{"epochs": 3, "batch_size": 30, "hidden": (8,), "dim_embedding": 4},
    "learning_rate": 1e-3,
}


class Killed(BaseException):
    """In the place of a signal."""


@pytest.fixture
def log(small_world):
    return small_world.sample(200, random_state=1)


@pytest.fixture
def always(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(checkpoints, "EVERY_SECONDS", 0)
    monkeypatch.setattr(checkpoints, "_MAX_SHARE", 0)


@pytest.fixture
def kills(monkeypatch, always):
    """Call it to end a fit at its next writes, so many apart, until it is through."""
    put = Checkpoint.put

    def fit_until_done(fit, apart):
        left = [apart]

        def put_or_die(self, *args, **kwargs):
            put(self, *args, **kwargs)
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        monkeypatch.setattr(Checkpoint, "put", put_or_die)
        for n_kills in range(1000):
            left[0] = apart
            try:
                fitted, left[0] = fit(), -1
                return fitted, n_kills
            except Killed:
                pass
        raise AssertionError("it makes no progress")

    return fit_until_done


class Noisy(torch.nn.Module):
    """A tower with buffers that draws."""

    def __init__(self, width):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(width, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.3)
        )

    def forward(self, features):
        return self.layers(features)


def noisy():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return opl.TwoTower(Noisy(3), Noisy(2))


CASES = {
    "ips": {"objective": "ips"},
    "dr": {"objective": "dr"},
    "dr, in order": {"objective": "dr", "shuffle": False},
    "sampled": {"objective": "ips", "catalogue": "sampled", "n_sampled": 2, "epochs": 5},
    "regression": {"objective": "regression"},
    "auto": {"objective": "auto"},
    "towers that draw": {"objective": "ips", "towers": noisy()},
}


def same(one, other, log):
    scores = [each.policy_.scores(log.context, log.action_context) for each in (one, other)]
    return np.array_equal(*scores) and str(one.history_) == str(other.history_)


@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
@pytest.mark.parametrize("case", CASES)
def test_a_fit_that_was_ended_many_times_learns_the_same_bits(
    log, tmp_path, kills, case, on_disk, monkeypatch
):
    settings = {**SMALL, **CASES[case]}
    if on_disk:
        if case == "auto":
            pytest.skip("it needs a log in memory")
        monkeypatch.setattr("opl_lib.learning.streamed._BLOCK", 30)
        monkeypatch.setattr("opl_lib.learning.streamed._BLOCKS_AT_ONCE", 2)
        log = opl.write_log(tmp_path / "log", log)
    plain = opl.OffPolicyLearner(**settings).fit(log)

    def fit():
        return opl.OffPolicyLearner(**settings).fit(log, checkpoint=tmp_path / "checkpoint")

    resumed, n_kills = kills(fit, apart=3)
    assert n_kills >= 5
    assert same(resumed, plain, log)
    assert same(fit(), plain, log)  # of a fit that is complete nothing is done again
    if settings["objective"] == "dr":
        found = [
            each.reward_model_.predict_reward(log.context[:5], log.action_context)
            for each in (resumed, plain)
        ]
        assert np.array_equal(*found)


FIT = """
import sys
import torch
torch.set_num_threads(1)
import opl_lib as opl
from opl_lib.learning import checkpoints
checkpoints.EVERY_SECONDS = checkpoints._MAX_SHARE = 0
world = opl.SyntheticWorld(4, 3, 2, random_state=0)
log = world.sample(2000, random_state=1)
learner = opl.OffPolicyLearner("dr", epochs=4, batch_size=20, hidden=(8,), dim_embedding=4)
path = sys.argv[1] if len(sys.argv) > 2 else None
policy = learner.fit(log, checkpoint=path).policy_
policy.save(sys.argv[-1])
"""


def test_sigkill_at_any_moment_loses_nothing(tmp_path):
    def start(*args):
        return subprocess.Popen([sys.executable, "-c", FIT, *map(str, args)])

    checkpoint = tmp_path / "checkpoint"
    assert start(tmp_path / "plain.pt").wait() == 0
    n_killed = 0
    for wait in (0.05, 0.4):
        before = checkpoint.read_bytes() if checkpoint.exists() else b""
        process = start(checkpoint, tmp_path / "kept.pt")
        while process.poll() is None:
            if checkpoint.exists() and checkpoint.read_bytes() != before:
                time.sleep(wait)
                process.kill()
                break
            time.sleep(0.01)
        n_killed += process.wait() == -9
        pickle.loads(checkpoint.read_bytes().split(b"\n", 2)[2])  # it is whole
    assert n_killed >= 1
    assert start(checkpoint, tmp_path / "kept.pt").wait() == 0
    policies = [opl.TwoTowerPolicy.load(tmp_path / name) for name in ("plain.pt", "kept.pt")]
    for own, other in zip(*(list(p.towers.parameters()) for p in policies), strict=True):
        assert torch.equal(own, other)


# ---- refused


def test_a_checkpoint_of_something_else_is_refused_with_the_reason(log, tmp_path):
    path = tmp_path / "checkpoint"
    opl.OffPolicyLearner("ips", **SMALL).fit(log, checkpoint=path)
    before = path.read_bytes()
    for learner, other, reason in (
        (
            opl.OffPolicyLearner("ips", **{**SMALL, "learning_rate": 1e-2}),
            log,
            "learning_rate was 0.001, and is 0.01",
        ),
        (opl.OffPolicyLearner("snips", **SMALL), log, "objective was 'ips', and is 'snips'"),
        (opl.OffPolicyLearner("ips", **SMALL), replace(log, reward=1 - log.reward), "the log was"),
    ):
        with pytest.raises(ValueError, match=reason):
            learner.fit(other, checkpoint=path)
    assert path.read_bytes() == before


def test_a_damaged_checkpoint_is_refused(log, tmp_path):
    path = tmp_path / "checkpoint"
    opl.OffPolicyLearner("ips", **SMALL).fit(log, checkpoint=path)
    content = path.read_bytes()
    for wrong in (b"", content[:-1], content[:50], b"text", content[:-9] + b"123456789"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="no checkpoint of this version, or was damaged"):
            opl.OffPolicyLearner("ips", **SMALL).fit(log, checkpoint=path)
    with pytest.raises(ValueError, match="is a folder"):
        opl.OffPolicyLearner("ips", **SMALL).fit(log, checkpoint=tmp_path)
    with pytest.raises(TypeError, match="checkpoint must be a str or a Path"):
        opl.OffPolicyLearner("ips", **SMALL).fit(log, checkpoint=3)


def test_a_fit_that_fails_fails_again(log, tmp_path, always):
    settings = {**SMALL, "learning_rate": 1e30}
    for _ in range(2):
        with pytest.raises(opl.NonFiniteLossError, match="stopped being finite in epoch 1"):
            opl.OffPolicyLearner("ips", **settings).fit(log, checkpoint=tmp_path / "checkpoint")


# ---- fingerprints


def one(x, y=2):
    return x + y


def test_fingerprints_tell_settings_apart_and_do_not_depend_on_the_process(log):
    towers = opl.TwoTower.mlp(3, 2, hidden=(4,), random_state=0)
    things = [
        *(1, 1.5, "text", None, (1, 2), {"a": 1}, {"a": 2}, one, lambda x: x, np.arange(3)),
        *(np.arange(3.0), towers, opl.TwoTower.mlp(3, 2, hidden=(4,), random_state=1)),
        *(opl.ips, opl.clipped_ips(5), opl.clipped_ips(6), log, log[:-1], opl.BilinearLearner()),
        {1, 2},
    ]
    found = [fingerprint(thing) for thing in things]
    assert len(set(found)) == len(found)
    code = (
        "import numpy as np, opl_lib as opl\n"
        "from opl_lib.learning.fingerprint import fingerprint\n"
        "print(fingerprint([opl.clipped_ips(5), opl.TwoTower.mlp(3, 2, hidden=(4,),"
        " random_state=0), {'b', 'a', 'c'}]))"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    ]
    assert done[0] == done[1]
