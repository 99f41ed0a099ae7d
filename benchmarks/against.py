"""Steps of this checkout against those of another one: is anything slower than it was?

    python benchmarks/against.py ../before --rounds 5 --only exact

Each side runs its own library and its own benchmark, in a process of its own, in turn with the
other, so that noise touches both. Printed are medians, and of the ratios the smallest and largest.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]
LARGE = {"n_actions": 5_000}
CASES: dict[str, tuple[str, dict, int]] = {}
for _objective in ("ips", "dr", "regression"):
    for _n_models, _n_steps in ((1, 400), (5, 200), (20, 120)):
        CASES[f"{_n_models} {_objective}"] = (
            _objective,
            {"n_actions": 10, "n_models": _n_models},
            _n_steps,
        )
    CASES[f"20 {_objective}, batch 200"] = (
        _objective,
        {"n_actions": 10, "n_models": 20, "batch_size": 200, "n_rounds": 2_000},
        60,
    )
for _objective in ("ips", "dr"):
    _exact = {**LARGE, "catalogue": "exact"}
    CASES[f"exact {_objective}"] = (_objective, _exact, 12)
    _batch = {**_exact, "batch_size": 1_000, "n_rounds": 40_000}
    CASES[f"exact, batch 1,000 {_objective}"] = (_objective, _batch, 10)
    for _n in (64, 256):
        _sampled = {**LARGE, "catalogue": "sampled", "n_sampled": _n}
        CASES[f"sampled {_n} {_objective}"] = (_objective, _sampled, 60)
CASES["logged 5,000 regression"] = ("regression", LARGE, 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side (default 5)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    asked = parser.parse_args()
    names = [name for name in CASES if asked.only in name]
    if not names:
        parser.error(f"no case contains {asked.only!r}; there are {', '.join(CASES)}.")
    if not (asked.other / "opl_lib").is_dir():
        parser.error(f"{asked.other} is no checkout: it has no folder opl_lib.")
    print(f"{'milliseconds a step':26}{'other':>10}{'this':>10}{'other/this':>12}")
    for name in names:
        pairs = [
            (_milliseconds(asked.other, name), _milliseconds(HERE, name))
            for _ in range(asked.rounds)
        ]
        ratios = sorted(other / this for other, this in pairs)
        other, this = (median(side) for side in zip(*pairs, strict=True))
        spread = f"{median(ratios):.2f}  [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
        print(f"{name:26}{other:10.3f}{this:10.3f}{'':6}{spread}", flush=True)


def _milliseconds(checkout: Path, name: str) -> float:
    root = checkout.resolve()
    folders = [root, root / "benchmarks", root / "book"]
    command = [sys.executable, __file__, "--time", name]
    surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        command, cwd=root, env=surroundings, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def time_here(name: str) -> None:
    """Print the milliseconds of a step of the library that is found first."""
    sys.path.remove(str(HERE / "benchmarks"))
    import torch

    torch.set_num_threads(1)
    import steps
    from measure import step_seconds

    objective, settings, n_steps = CASES[name]
    run = steps.library(objective, **settings)
    print(json.dumps(1000 * median(step_seconds(run, n_steps))))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--time"]:
        time_here(sys.argv[2])
    else:
        main()
