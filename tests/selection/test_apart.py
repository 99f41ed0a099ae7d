"""Rounds that judge what was learned from them are named."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import opl_lib as opl
from opl_lib.selection.apart import shared_rounds

SMALL = {"epochs": 1, "hidden": (4,), "dim_embedding": 2}


@pytest.fixture(scope="module")
def log():
    world = opl.SyntheticWorld(4, 3, 2, random_state=0)
    return world.sample(300, random_state=1)


@pytest.fixture(scope="module")
def fresh(log):
    return opl.SyntheticWorld(4, 3, 2, random_state=0).sample(300, random_state=2)


def test_the_share_is_of_the_shorter_log(log, fresh):
    both = opl.BanditFeedback.concatenate([log[:30], fresh[:70]])
    for first, second, share in (
        (log, log, 1.0),
        (log, log[np.random.default_rng(0).permutation(300)], 1.0),
        (log[:20], log, 1.0),
        (log, both, 0.3),
        (log, fresh, 0.0),
        (log, replace(log, reward=1 - log.reward), 0.0),
        (*log.split(0.5), 0.0),
    ):
        assert shared_rounds(first, second) == shared_rounds(second, first) == share


@pytest.mark.parametrize("n_kinds", [1, 5])
def test_rounds_that_nothing_tells_apart_are_not_counted(log, n_kinds):
    """A site that shows all visitors the same five pages has no round of its own."""
    alike = replace(log, context=log.context[np.arange(300) % n_kinds])
    assert shared_rounds(alike[:150], alike[150:]) == 0
    assert shared_rounds(alike[:150], alike[:151]) == 0


def test_logs_on_disk_are_compared_as_a_whole(log, tmp_path):
    opl.write_log(tmp_path / "one", [log])
    opl.write_log(tmp_path / "two", [log[:299]])
    one, again, two = (opl.open_log(tmp_path / name) for name in ("one", "one", "two"))
    assert [shared_rounds(one, each) for each in (one, again, two, log)] == [1, 1, 0, 0]


USES = {
    "watch": lambda log, other: opl.Watch(other, log),
    "early stopping": lambda log, other: opl.EarlyStopping(
        opl.OffPolicyLearner("ips", **SMALL), held_out=other
    ).fit(log),
    "select": lambda log, other: opl.select(
        {"ips": opl.OffPolicyLearner("ips", **SMALL)}, [log[:100], log[100:], other], None, "ips"
    ),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_what_learns_and_what_judges_share_no_round_or_warn(log, fresh, use):
    with pytest.warns(UserWarning, match=r"100% of their rounds in common.*split"):
        use(log, log)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", opl.PolicyWarning)
        use(log, fresh)


def test_where_nothing_is_learned_one_log_may_judge_three_times(log):
    opl.select({"uniform": opl.uniform()}, [log] * 3, estimator="ips")
