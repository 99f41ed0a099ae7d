"""Seconds that a fit costs beyond its steps: imports, construction, and a first step.

Every program that trains with torch imports torch, so that is timed apart. What `opl_lib` costs
next to it is compared with a first step by ``torch.optim.Adam``.

As a script, ``overhead.py library`` or ``overhead.py torch_optim``, it makes one of the two
measurements, in an interpreter that has imported nothing yet of what is timed.
"""

import json
import subprocess
import sys
import time


def run(quick: bool) -> list[dict]:
    from statistics import median

    from measure import row

    seconds: dict[str, list[float]] = {}
    for _ in range(1 if quick else 5):
        for script in ("library", "torch_optim"):
            command = [sys.executable, __file__, script]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            for name, value in json.loads(done.stdout).items():
                seconds.setdefault(name, []).append(value)
    goals = {"opl_lib, to its first step": (1, 0.3)}
    case = "seconds beyond the steps"
    return [row(case, name, median(times), "s", goals.get(name)) for name, times in seconds.items()]


def library() -> dict[str, float]:
    start = time.process_time()
    import torch

    torch.set_num_threads(1)
    after_torch = time.process_time()
    import numpy as np

    import opl_lib as opl

    rng = np.random.default_rng(0)
    log = opl.BanditFeedback(
        context=rng.normal(size=(10, 50)),
        action=rng.integers(10, size=10),
        reward=rng.integers(2, size=10),
        pscore=np.full(10, 0.1),
        action_context=rng.uniform(size=(10, 50)),
    )
    opl.OffPolicyLearner("ips", epochs=1, batch_size=10, progress=False).fit(log)
    return {
        "import torch": after_torch - start,
        "opl_lib, to its first step": time.process_time() - after_torch,
    }


def torch_optim() -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    start = time.process_time()
    tower = torch.nn.Linear(50, 100)
    optimizer = torch.optim.Adam(tower.parameters())
    tower(torch.ones(10, 50)).square().mean().backward()
    optimizer.step()
    return {"torch.optim, to its first step": time.process_time() - start}


if __name__ == "__main__":
    print(json.dumps({"library": library, "torch_optim": torch_optim}[sys.argv[1]]()))
