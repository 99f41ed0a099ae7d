"""The recipes for clusters, on a cluster that is this machine; skipped where its library is not."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import ray_train
import sweep

import opl_lib as opl


def test_a_sweep_on_a_cluster_of_dask_finds_what_one_process_does():
    pytest.importorskip("distributed", reason="pip install opl-lib[dask]")
    small = {"seeds": 2, "sizes": (300,)}
    with sweep.cluster("dask"):
        found = sweep.sweep(**small)
    with sweep.cluster("sequential"):
        pd.testing.assert_frame_equal(found, sweep.sweep(**small))


def test_a_sweep_on_ray_finds_what_one_process_does():
    pytest.importorskip("ray", reason="ray is 80 MB, and no part of the lock: pip install ray")
    small = {"seeds": 2, "sizes": (300,)}
    with sweep.cluster("ray"):
        found = sweep.sweep(**small)
    with sweep.cluster("sequential"):
        pd.testing.assert_frame_equal(found, sweep.sweep(**small))


@pytest.mark.parametrize("starter", ["torchrun", "ray"])
def test_two_workers_learn_what_one_process_does(small_world, tmp_path, starter):
    if starter == "ray":
        pytest.importorskip("ray.train", reason="not in the lock: pip install ray[train]")
    log = opl.write_log(tmp_path / "log", small_world.sample(4000, random_state=0))
    run = [sys.executable]
    if starter == "torchrun":
        run += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    given = [ray_train.__file__, str(tmp_path / "log"), str(tmp_path / "policy.pt")]
    done = subprocess.run(
        [*run, *given],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    both = opl.TwoTowerPolicy.load(tmp_path / "policy.pt")
    alone = opl.OffPolicyLearner("ips", **ray_train.SETTINGS).fit(log).policy_
    shown = [each.predict_proba(log.context, log.action_context) for each in (both, alone)]
    assert np.abs(shown[0] - shown[1]).max() < 1e-4
