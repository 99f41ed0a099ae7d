"""Run the benchmarks and store what they measure.

    python benchmarks/run.py [name ...] [--quick]

Each benchmark runs in a process of its own. Its rows replace its old rows in benchmarks.csv, and
benchmarks.json says on which machine they were measured and how long that took. Curves go to a
table of the benchmark's own, such as million.csv. A file is replaced as a whole, never in parts.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))  # of `experiments`

import pandas as pd
from experiments.tables import machine
from measure import in_fresh_process

from opl_lib.files import write_atomically

BENCHMARKS = {
    "steps": "a training step against the article's loop",
    "eligible": "a step over what could be shown against one over all items",
    "scaling": "a step by items, batch size and log size, and its floor",
    "memory": "extra memory of one exact step over 100,000 items",
    "overhead": "seconds that a fit costs beyond its steps",
    "value": "time to a policy value, against other learners",
    "million": "a run on 1,000,000 items",
    "serving": "an index against exact search, and requests a second of a service",
    "service_kills": "a service that is killed fifty times",
    "on_disk": "a log on disk against the same log in memory",
    "processes": "two processes against one, the same work a process",
    "kills": "fits and calls of learn that were killed, 50 each",
    "gpu": "one GPU, where there is one",
    "learn": "from a log of 40,000 rounds and 300 items to a decision",
}
PACKAGES = ("opl-lib", "torch", "numpy", "scikit-learn", "obp", "vowpalwabbit")


def main(arguments: list[str] | None = None) -> int:
    about = "\n".join(f"  {name:<14}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=f"benchmarks:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="which; all if none is named")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--folder", default="results", type=Path, help="(default: results)")
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.names) - set(BENCHMARKS)):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.names or BENCHMARKS:
        print(f"{name}: {BENCHMARKS[name]} ... ", end="", flush=True)
        start = time.perf_counter()
        rows = pd.DataFrame(in_fresh_process(run_benchmark, name, args.quick))
        rows = without_curves(args.folder, name, rows)
        seconds = time.perf_counter() - start
        print(f"{seconds:.0f} s", flush=True)
        print(summary(rows), flush=True)
        store(args.folder, name, rows, {"quick": args.quick, "seconds": round(seconds)})
    return 0


def run_benchmark(name: str, quick: bool) -> list[dict]:
    """What the benchmark of a name measures."""
    return importlib.import_module(name).run(quick)


def without_curves(folder: Path, name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Write the points of curves to a table of their own; return the other rows."""
    if "curve" not in rows:
        return rows
    is_curve = rows.pop("curve").notna()
    points = rows[is_curve].dropna(axis="columns", how="all")
    points = points.drop(columns=["quantity", "unit"], errors="ignore")
    write_table(folder / f"{name}.csv", points)
    return rows[~is_curve].dropna(axis="columns", how="all")


def write_table(path: Path, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomically(path, text.encode())


def store(folder: Path, name: str, rows: pd.DataFrame, about: dict) -> None:
    """Replace the rows and the description of one benchmark."""
    path = folder / "benchmarks.csv"
    table, made_with = rows.assign(benchmark=name), {}
    if path.exists():
        old = pd.read_csv(path)
        made_with = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        table = pd.concat([old[old.benchmark != name], table])
    place = list(BENCHMARKS).index
    table = table.sort_values("benchmark", key=lambda names: names.map(place), kind="stable")
    table = table[["benchmark", *table.columns.drop("benchmark")]]
    made_with[name] = {
        **about,
        "machine": machine(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }
    write_table(path, table)
    write_atomically(path.with_suffix(".json"), (json.dumps(made_with, indent=2) + "\n").encode())


def summary(rows: pd.DataFrame) -> str:
    """The rows with a goal, as lines of text; or all, if none has one."""
    shown = rows[rows.required.notna()]
    shown = rows if shown.empty else shown
    wanted = [
        "case",
        "objective",
        "way",
        "n_actions",
        "batch_size",
        "quantity",
        "value",
        "unit",
        "required",
        "aim",
    ]
    columns = [name for name in wanted if name in shown]
    return shown[columns].to_string(index=False, na_rep="", float_format=lambda x: f"{x:.3g}")


if __name__ == "__main__":
    sys.exit(main())
