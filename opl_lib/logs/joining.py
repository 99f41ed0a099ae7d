"""Logs joined end to end, every value as it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .eligible import joined
from .identity import MAX_EXACT, example, kind_of


def check_logs(logs: Any, kind: Any) -> list[Any]:
    """Logs that can be joined, as far as their items and contexts say; raise if they cannot."""
    if isinstance(logs, kind) or not isinstance(logs, Iterable):
        raise TypeError(f"logs must be a list of logs; got {type(logs).__name__}.")
    logs = list(logs)
    if len(logs) == 0:
        raise ValueError("logs is empty: concatenate needs at least one log; got none.")
    for number, log in enumerate(logs):
        if not isinstance(log, kind):
            raise TypeError(
                f"logs must be a list of {kind.__name__}; entry {number} is {type(log).__name__}."
            )
        check_same_columns(log, f"log {number}", logs[0], "log 0")
        if not np.array_equal(log.action_context, logs[0].action_context):
            raise ValueError(
                f"log {number} has other item features than log 0; encode the items of all "
                "logs together before joining them."
            )
        ours, theirs = log.item_ids, logs[0].item_ids
        if ours is not None and theirs is not None and not np.array_equal(ours, theirs):
            raise ValueError(
                f"log {number} has other item_ids than log 0: pass the same table of items, in the "
                "same order, to both."
            )
        if log.dim_context != logs[0].dim_context:
            raise ValueError(
                f"log {number} has {log.dim_context} context features but log 0 has "
                f"{logs[0].dim_context}; encode the contexts of all logs together."
            )
    return logs


def check_same_columns(one: Any, name: str, other: Any, other_name: str) -> None:
    """Raise if two logs, or a policy and a log, know different columns: features mean others."""
    ours, theirs = getattr(one, "columns", None), getattr(other, "columns", None)
    if ours is not None and theirs is not None and ours != theirs:
        raise ValueError(
            f"{name} was encoded by other columns than {other_name}, so that the same features "
            "mean different things. Make one of them with the other's: "
            "BanditFeedback.from_dataframe(…, columns=log.columns)."
        )


def join(name: str, columns: Sequence[Any]) -> Any:
    """One column of several logs; None if no log has it."""
    present = [column for column in columns if column is not None]
    if not present:
        return None
    if len(present) < len(columns):
        missing = next(number for number, column in enumerate(columns) if column is None)
        raise ValueError(f"log {missing} has no {name} but others have; add or drop it.")
    if name == "eligible":
        return joined(present)
    return (
        _join_labels(name, present) if name in ("user_id", "timestamp") else np.concatenate(present)
    )


def _join_labels(name: str, columns: Sequence[np.ndarray]) -> np.ndarray:
    for number, column in enumerate(columns):
        if kind_of(column) != kind_of(columns[0]):
            raise ValueError(
                f"{name} holds {kind_of(columns[0])} in log 0, such as {example(columns[0])}, and "
                f"{kind_of(column)} in log {number}, such as {example(column)}: convert it to one "
                "type before joining the logs."
            )
    joined = concatenated(columns)
    if joined is None:
        other = next(k for k, column in enumerate(columns) if column.dtype != columns[0].dtype)
        dates = kind_of(columns[0]) == "dates"
        cure = ", as with pandas.to_datetime(…, utc=True)." if dates else "."
        raise ValueError(
            f"{name} is {columns[0].dtype} in log 0 and {columns[other].dtype} in log {other}, and "
            f"joining them would change some of its values. Convert all logs to one type{cure}"
        )
    return joined


def concatenated(columns: Sequence[np.ndarray]) -> np.ndarray | None:
    """Labels of one kind end to end; None if no type holds all of them unchanged."""
    joined, start = np.concatenate(columns), 0
    for column in columns:
        part, start = joined[start : start + len(column)], start + len(column)
        with np.errstate(invalid="ignore"):  # of casts that change the value
            kept = np.array_equal(part.astype(column.dtype), column)
        rounded = part.dtype.kind == "f" and column.dtype.kind in "iu"
        if not kept or (rounded and np.abs(part).max() >= MAX_EXACT):
            return None
    return joined
