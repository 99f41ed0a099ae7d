"""Many fits that do not depend on each other, on a cluster, by joblib's backends.

``python examples/sweep.py dask`` starts two workers of dask.distributed on this machine, ``… ray``
two of Ray, ``… loky`` two processes of joblib. On a cluster, pass its address to
``dask.distributed.Client`` or ``ray.init``; what is swept stays as it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

import joblib
import pandas as pd

import opl_lib as opl

N_WORKERS = 2
THREADS = {"OMP_NUM_THREADS": "1"}  # a worker each core, and not all threads in each worker


def learned(n_rounds: int, seed: int) -> dict[str, float]:
    """What `opl.learn` finds in a log of so many rounds, and what it is worth in truth."""
    world = opl.SyntheticWorld(n_actions=5, dim_context=5, dim_action_context=5, random_state=0)
    found = opl.learn(world.sample(n_rounds, random_state=seed), random_state=seed)
    return {
        "rounds": n_rounds,
        "seed": seed,
        "decision": found.decision,
        "value": world.policy_value(found.policy),
        "logged": world.policy_value(world.logging_policy),
    }


def sweep(seeds: int = 2, sizes: tuple[int, ...] = (500, 1000)) -> pd.DataFrame:
    """Every size with every seed, wherever joblib's backend runs them."""
    jobs = (joblib.delayed(learned)(n, seed) for n in sizes for seed in range(seeds))
    return pd.DataFrame(joblib.Parallel(n_jobs=N_WORKERS)(jobs))


@contextmanager
def cluster(backend: str) -> Iterator[None]:
    """Workers on this machine, and joblib told to use them."""
    if backend == "dask":
        from dask.distributed import Client, LocalCluster

        workers = LocalCluster(
            n_workers=N_WORKERS, threads_per_worker=1, dashboard_address=None, env=THREADS
        )
        with workers, Client(workers), joblib.parallel_config("dask"):
            yield
    elif backend == "ray":
        import ray
        from ray.util.joblib import register_ray

        ray.init(num_cpus=N_WORKERS, runtime_env={"env_vars": THREADS}, log_to_driver=False)
        register_ray()
        try:
            with joblib.parallel_config("ray"):
                yield
        finally:
            ray.shutdown()
    else:
        with joblib.parallel_config(backend):
            yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", choices=["dask", "ray", "loky"])
    with cluster(parser.parse_args().backend):
        print(sweep().round(3).to_string(index=False))


if __name__ == "__main__":
    main()
