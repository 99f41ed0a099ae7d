"""One fit by several workers of a Ray cluster: the function that torchrun starts, started by Ray.

``python examples/ray_train.py LOG POLICY --workers 2`` starts Ray on this machine; with
``RAY_ADDRESS`` set it takes the cluster there, on which LOG, a folder of `opl.write_log`, and
POLICY, a file to write, have to be on a disk that all machines see. ``torchrun --nproc-per-node=2
examples/ray_train.py LOG POLICY`` does the same without Ray.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import opl_lib as opl

SETTINGS = {"epochs": 3, "batch_size": 500, "hidden": (30,), "learning_rate": 1e-3}


def train(config: dict[str, Any]) -> None:
    """What each worker does; each reads its part of the log."""
    log = opl.open_log(config["log"], check=False)
    learner = opl.OffPolicyLearner("ips", **SETTINGS, progress=False)
    opl.fit_distributed(learner, log, checkpoint=f"{config['policy']}.checkpoint")
    if int(os.environ["RANK"]) == 0:
        learner.policy_.save(config["policy"])


def by_ray(config: dict[str, Any], n_workers: int) -> None:
    """Start `train` on workers, which Ray has connected when it calls it."""
    import ray
    from ray.train import ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    # Ray sets no number of threads: without one, all cores' threads of all workers share all cores.
    ray.init(runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
    try:
        TorchTrainer(
            train,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=n_workers),
            torch_config=TorchConfig(backend="gloo"),  # on processors; else Ray would choose
        ).fit()
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    parser.add_argument("policy")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    config = {name: os.path.abspath(getattr(given, name)) for name in ("log", "policy")}
    opl.open_log(config["log"])  # every shard is checked once, here
    if "TORCHELASTIC_RUN_ID" in os.environ:
        train(config)
    else:
        by_ray(config, given.workers)


if __name__ == "__main__":
    main()
