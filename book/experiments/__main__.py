"""Command line, from the folder ``book``: ``python -m experiments --help``."""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from pathlib import Path

from opl_lib import files

from .figures import EXPERIMENTS
from .runner import Table, expected_seconds, missing, run
from .tables import RESULTS, TableError


class _Terminated(KeyboardInterrupt):
    """SIGTERM has come: the run ends as by Ctrl-C."""


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    for stream in (sys.stdout, sys.stderr):  # the one of a pipe may lack letters such as ε
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
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
        "--folder",
        default=RESULTS,
        type=_folder,
        help="of the tables (default: results, beside book)",
    )
    parser.add_argument("--jobs", type=_count, default=2, help="processes (default: 2)")
    parser.add_argument(
        "--dry-run", action="store_true", help="list the missing cells and the time they would take"
    )
    args = parser.parse_args(arguments)
    if unknown := sorted(set(args.names) - set(EXPERIMENTS)):
        parser.error(f"no such experiment: {', '.join(unknown)}")
    names = args.names or list(EXPERIMENTS)
    try:
        for name in names:  # a table that is damaged is found before the others are filled
            Table(name, EXPERIMENTS[name].cells, args.folder).read()
        for name in names:
            if args.dry_run:
                _show(name, args.folder, args.jobs)
            else:
                experiment = EXPERIMENTS[name]
                with _ended_by_sigterm():
                    run(name, experiment.cells, experiment.seeds, args.folder, args.jobs)
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        print(f"\nstopped; the finished cells are in {args.folder}/{name}.csv, and the same "
              "command goes on from there", file=sys.stderr)  # fmt: skip
        return 128 + (signal.SIGTERM if isinstance(stop, _Terminated) else signal.SIGINT)
    except BrokenProcessPool:
        print(f"\n{parser.prog}: error: {name}: a worker was killed, perhaps for lack of memory. "
              "Take fewer --jobs; finished cells are kept", file=sys.stderr)  # fmt: skip
        return 1
    except (TableError, OSError) as error:
        if args.dry_run and isinstance(error, BrokenPipeError):  # `head` has seen enough
            _discard_output()
            return 128 + signal.SIGPIPE
        print(f"\n{parser.prog}: error: {name}: {error}", file=sys.stderr)
        return 1
    return 0


def _folder(text: str) -> Path:
    """An argument that must be a folder, which may not exist yet."""
    try:
        return files.as_path("--folder", text, of_folder=True)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a path that can exist; got {text!r}") from error


def _discard_output() -> None:
    """Let what is still to be written to a broken pipe go nowhere, without a word at the exit."""
    with suppress(OSError, ValueError):  # a stream without a descriptor has nothing to lose
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _count(text: str) -> int:
    """An argument that must be a number of processes."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1; got {text!r}")
    return int(text)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM stop a run as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(name: str, folder: Path, n_jobs: int) -> None:
    experiment = EXPERIMENTS[name]
    done, _ = Table(name, experiment.cells, folder).read()
    todo = missing(experiment.cells, experiment.seeds, done)
    n_done = len(experiment.cells) - len(todo)
    print(f"\n{name}: {experiment.about}; {n_done} of {len(experiment.cells)} cells are done")
    all_seconds = expected_seconds(todo)
    for (cell, seeds), seconds in zip(todo, all_seconds, strict=True):
        known = "" if math.isnan(seconds) else f"  {seconds:>7.0f} s"
        print(f"  {cell.title} {len(seeds):>2} seeds{known}")
    minutes = sum(all_seconds) / 60
    if not math.isnan(minutes):
        print(f"  about {minutes:.0f} minutes on one core, {minutes / n_jobs:.0f} on {n_jobs}")


if __name__ == "__main__":
    sys.exit(main())
