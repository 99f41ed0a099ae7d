"""Command line, from the folder ``book``: ``python -m experiments --help``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .figures import EXPERIMENTS
from .runner import expected_seconds, missing, run
from .tables import RESULTS, read_table


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    known = "\n".join(
        f"  {name:<22}{len(e.cells):>4} cells x {len(e.seeds):>2} seeds   {e.about}"
        for name, e in EXPERIMENTS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Run the book's experiments and store their tables. Cells that a table has are "
        "not run again, so a run that was stopped goes on where it was.",
        epilog=f"Run it in the folder `book`, where `experiments` lies.\n\nexperiments:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="name", help="which; all if none is named")
    parser.add_argument(
        "--folder", default=RESULTS, type=Path, help="of the tables (default: results, beside book)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument(
        "--dry-run", action="store_true", help="list the missing cells and the time they would take"
    )
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.names) - set(EXPERIMENTS)):
        parser.error(f"no such experiment: {', '.join(unknown)}")
    for name in args.names or EXPERIMENTS:
        experiment = EXPERIMENTS[name]
        if args.dry_run:
            _show(name, args.folder, args.jobs)
            continue
        try:
            run(name, experiment.cells, experiment.seeds, args.folder, args.jobs)
        except KeyboardInterrupt:
            print(f"\nstopped; the finished cells are in {args.folder}/{name}.csv, and the same "
                  "command goes on from there", file=sys.stderr)  # fmt: skip
            return 130
    return 0


def _show(name: str, folder: Path, n_jobs: int) -> None:
    experiment = EXPERIMENTS[name]
    todo = missing(experiment.cells, experiment.seeds, read_table(folder / f"{name}.csv"))
    n_done = len(experiment.cells) - len(todo)
    print(f"\n{name}: {experiment.about}; {n_done} of {len(experiment.cells)} cells are done")
    total = 0.0
    for (cell, seeds), seconds in zip(todo, expected_seconds(todo), strict=True):
        total += seconds
        print(f"  {cell.title} {len(seeds):>2} seeds  {seconds:>7.0f} s")
    print(f"  about {total / 60:.0f} minutes on one core, {total / 60 / n_jobs:.0f} on {n_jobs}")


if __name__ == "__main__":
    sys.exit(main())
