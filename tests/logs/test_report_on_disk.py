"""The card of a log on disk: that of the log in memory, from one pass, in memory that is flat."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import opl_lib as opl
from opl_lib.logs import on_disk, report_on_disk

N, BLOCK, MOST = 12_000, 512, 4_000
EXACT = ["rounds", "propensities", "items never logged"]
TOLD_WHOLE = "time", "items on offer", "tail of rewards"
# Numbers that are right to rounding though the rest of their line is of a sample.
TOTALS = {
    "rewards": ["mean", "least", "most"],
    "mean weight": ["mean_weight"],
    "items on offer": ["items", "on_offer", "least", "most", "sets"],
    "tail of rewards": ["of_variance", "of_reward"],
}


def base(seed=0, **columns):
    rng = np.random.default_rng(seed)
    pi = rng.dirichlet(np.ones(8) * 3, size=4)
    group = rng.integers(4, size=N)
    action = (rng.random(N)[:, None] > pi[group].cumsum(axis=1)).sum(axis=1)
    given = {
        "context": np.c_[np.eye(4)[group], rng.normal(size=N)],
        "action": action,
        "reward": rng.random(N) < 0.1 + 0.02 * action,
        "pscore": pi[group, action],
        "action_context": np.eye(8),
    }
    return opl.BanditFeedback(**given | columns)


def users(seed=1, n=3_000):
    return np.random.default_rng(seed).integers(n, size=N)


def with_sets(log):
    """The same rounds with other items on offer beside the one that was shown."""
    sets = (
        np.random.default_rng(2).random((N, 8))
        < np.linspace(0.3, 1, 3)[np.arange(N) * 3 // N, None]
    )
    sets[np.arange(N), log.action] = True
    return replace(log, eligible=sets)


LOGS = {
    "rounds": base,
    "a shop": lambda: opl.ShopWorld(
        n_items=20, n_users=3_000, n_eval_pages=50, random_state=0
    ).sample(N, random_state=1),
    "users": lambda: base(user_id=users()),
    "users by name": lambda: base(user_id=np.array([f"u{k}" for k in users()])),
    "slots": lambda: base(position=np.arange(N) % 3, timestamp=np.arange(N)),
    "times out of order": lambda: base(timestamp=np.random.default_rng(0).permutation(N)),
    "days": lambda: base(timestamp=np.datetime64("2026-01-01") + np.arange(N) // 500),
    "a rule": lambda: base(pscore=np.ones(N)),
    "items on offer": lambda: with_sets(base()),
    "sets and users": lambda: with_sets(base(user_id=users(), timestamp=np.arange(N))),
    "prices": lambda: base(reward=np.random.default_rng(0).lognormal(size=N) * 1e200),
    "giants": lambda: base(reward=np.random.default_rng(0).pareto(1.2, size=N) - 1e3),
    "an item never shown": lambda: base(action_context=np.eye(9)),
}


@pytest.fixture(params=LOGS)
def logs(request, tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "SHARD", BLOCK)
    log = LOGS[request.param]()
    return log, opl.write_log(tmp_path / "log", log)


def test_of_few_rounds_it_is_the_same(logs):
    log, disk = logs
    assert repr(disk.report()) == repr(log.report())


def test_what_adds_up_is_exact_and_the_rest_says_that_it_is_of_a_sample(logs, monkeypatch):
    log, disk = logs
    monkeypatch.setattr(report_on_disk, "MOST_ROUNDS", MOST)
    ours, theirs = disk.report(), log.report()
    assert [line.name for line in ours.lines] == [line.name for line in theirs.lines]
    assert "≈ is of a sample" in ours.title
    for one, other in zip(ours.lines, theirs.lines, strict=True):
        if one.name in EXACT:
            assert one.numbers == pytest.approx(other.numbers, rel=1e-9, nan_ok=True)
            assert one.text == other.text and one.verdict == other.verdict
        elif "≈" not in one.text:
            assert one.text == other.text and one.name in TOLD_WHOLE
        for name in other.numbers.keys() & TOTALS.get(one.name, []):
            assert one.numbers[name] == pytest.approx(other.numbers[name], rel=1e-9)


def test_what_is_of_a_sample_is_near(logs, monkeypatch):
    log, disk = logs
    monkeypatch.setattr(report_on_disk, "MOST_ROUNDS", MOST)
    ours, theirs = disk.report(), log.report()
    near = {
        "users": "users",
        "rewards": "std_error",
        "rounds that carry rewards": "effective",
        "mean weight": "std_error",
        "effective sample size": "ess",
        "smallest gain, as logged": "gain",
        "A/B test of a gain of 10%": "rounds",
    }
    for name, number in near.items():
        if name in [line.name for line in theirs.lines]:
            found = ours[name].numbers[number]
            assert found == pytest.approx(theirs[name].numbers[number], rel=0.35, nan_ok=True)
    wrong = [{line.name for line in each.findings} for each in (ours, theirs)]
    assert wrong[0] == wrong[1]


def test_all_rounds_of_a_user_are_in_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "SHARD", BLOCK)
    monkeypatch.setattr(report_on_disk, "MOST_ROUNDS", MOST)
    seen = []
    report_of = report_on_disk.report_of
    monkeypatch.setattr(report_on_disk, "report_of", lambda of: seen.append(of) or report_of(of))
    log = base(user_id=users())
    opl.write_log(tmp_path / "log", log).report()
    (of,) = seen
    assert MOST / 3 < of.log.n_rounds <= MOST < of.n_rounds == N
    rounds = np.bincount(log.user_id)
    kept, count = np.unique(of.log.user_id, return_counts=True)
    assert np.array_equal(count, rounds[kept])


def test_a_robot_is_found_and_does_not_take_the_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "SHARD", BLOCK)
    monkeypatch.setattr(report_on_disk, "MOST_ROUNDS", MOST)
    for robot in range(6):  # whatever its hash
        user = np.where(np.arange(N) % 3 == 0, robot, 10 + users())
        report = opl.write_log(tmp_path / f"log {robot}", base(user_id=user)).report()
        assert "one user has 3" in report["users"].cause
        assert report["users"].numbers["users"] == pytest.approx(len(np.unique(user)), rel=0.2)


def test_a_value_that_the_disk_changed_is_named_with_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "SHARD", BLOCK)
    opl.write_log(tmp_path / "log", base())
    pscore = np.memmap(tmp_path / "log" / "pscore.bin", np.float64, mode="r+")
    pscore[3 * BLOCK + 5] = -1
    pscore.flush()
    disk = opl.open_log(tmp_path / "log", check=False)
    with pytest.raises(ValueError, match=r"pscore must be in \(0, 1\]; row 5 has -1") as raised:
        disk.report()
    assert "begins with row 1,536" in raised.value.__notes__[0]


PEAK = """
import json, sys
from pathlib import Path
import opl_lib as opl
from opl_lib.logs import report_on_disk

report_on_disk.MOST_ROUNDS = 20_000
def held(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

log = opl.open_log(sys.argv[1])
before = held("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
log.report()
print(json.dumps(held("VmHWM") - before))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak")
def test_memory_does_not_grow_with_the_log(tmp_path):
    rng, n = np.random.default_rng(0), 30_000

    def piece(k):
        return opl.BanditFeedback(
            context=rng.normal(size=(n, 20)).astype(np.float32),
            action=rng.integers(5, size=n),
            reward=rng.integers(2, size=n),
            pscore=np.full(n, 0.2),
            action_context=np.eye(5),
            user_id=k * n // 3 + rng.integers(n // 3, size=n),
        )

    held = []
    for name, factor in (("small", 10), ("large", 40)):
        opl.write_log(tmp_path / name, (piece(k) for k in range(factor)))
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=True,
        )
        held.append(json.loads(done.stdout))
    more_on_disk = 30 * n * (20 * 4 + 4 * 8) / 2**20
    assert held[1] - held[0] < 0.1 * more_on_disk
