"""What columns that are known, or not, make of data frames; and columns as text, for files."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from ..arrays import feature_matrix
from .columns import Columns, check_columns
from .encoders import Categories, Dates, Encoder, Numbers
from .identity import example
from .readers import frame_column, is_frame, item_row_numbers

_FORMAT = 1
_ENCODERS: dict[str, Any] = {each.__name__: each for each in (Numbers, Dates, Categories)}


def fitted_columns(
    columns: Any, frame: Any, context: Any, items: Any, item_id: Any, item_features: Any
) -> Columns:
    """Columns that are given, or new ones of the tables of a log."""
    named = {"context": context, "item_id": item_id, "item_features": item_features}
    if columns is not None:
        check_columns(columns)
        for name, value in named.items():
            if value is not None:
                raise ValueError(f"{name}={value!r} is what the given columns say: leave it out.")
        return columns
    if not is_frame(items):
        for name in ("item_id", "item_features"):
            if named[name] is not None:
                raise ValueError(
                    f"{name}={named[name]!r} names columns of items, but items is no data frame. "
                    f"Pass one, or leave {name} out: of an array, the action column holds row "
                    "numbers."
                )
        feature_matrix("items", items)
        return Columns.fit(frame, context=context)
    return Columns.fit(frame, items=items, **named)


def check_known_before(columns: Columns, **later: Any) -> None:
    """Raise if the context names what is not known yet when an item is chosen."""
    names = [each.name for each in columns.context]
    for role, name in later.items():
        if isinstance(name, str | int | tuple) and name in names:
            raise ValueError(
                f"context names the column {name!r}, which is the {role}: nobody knows it before "
                "an item is chosen. Leave it out of the context."
            )


def log_parts(columns: Columns, frame: Any, action: Any, items: Any) -> dict[str, Any]:
    """What columns make of a frame of rounds and of items, by the names of `BanditFeedback`."""
    if is_frame(items) != bool(columns.items):
        which = "with a data frame" if columns.items else "without a data frame"
        raise ValueError(f"items: the columns were fitted {which} of items; pass the like.")
    logged = frame_column(frame, action, "action")
    parts = {"context": columns.encode_context(frame), "columns": columns}
    if not columns.items:
        return {**parts, "action": logged, "action_context": items}
    ids = columns.ids_of(items)
    action_context = columns.encode_items(items)
    known = {"action": item_row_numbers(logged, ids), "item_ids": ids}
    return {**parts, **known, "action_context": action_context}


def context_features(columns: Columns | None, context: Any) -> Any:
    """Features of contexts that may be a data frame, if there are columns to make them."""
    return columns.encode_context(context) if columns and is_frame(context) else context


def items_features(columns: Columns | None, items: Any) -> Any:
    """Features of items that may be a data frame, if there are columns to make them."""
    return columns.encode_items(items) if columns and columns.items and is_frame(items) else items


def ids_of_items(columns: Columns | None, items: Any) -> np.ndarray | None:
    """The ids of items that are a data frame, if there are columns that know of ids."""
    if not (columns and columns.items and is_frame(items)):
        return None
    ids = columns.ids_of(items)
    if len(set(ids.tolist())) < len(ids):
        _, rows = np.unique(ids.astype(str), return_inverse=True)
        twice = int(np.argmax(np.bincount(rows)[rows] > 1))
        raise ValueError(
            f"items: the id {example(ids, twice)} is there twice, and a page would show it twice. "
            f"Keep one row an item: .drop_duplicates({columns.item_id!r})."
        )
    return ids


def name_features(balance: Any, columns: Columns | None) -> Any:
    """A table with a row for 1 and one for each context feature, by their names if known."""
    if columns is None:
        return balance
    return balance.set_axis(["1", *columns.context_features]).rename_axis(balance.index.name)


def to_text(columns: Columns) -> str:
    """What was learned as text of settings and numbers, from which `from_text` makes the same."""
    sides = {
        side: [{"kind_of": type(each).__name__, **asdict(each)} for each in getattr(columns, side)]
        for side in ("context", "items")
    }
    content = {"format": _FORMAT, **sides, "item_id": columns.item_id}
    text = json.dumps(content, default=_not_plain)
    if from_text(text) != columns:
        raise ValueError("columns hold names that cannot be written to a file: use text as names.")
    return text


def from_text(text: str) -> Columns:
    """The columns of a text that `to_text` wrote; raise a ValueError if it did not."""
    content = json.loads(text)
    if content.pop("format", None) != _FORMAT or content.keys() != {"context", "items", "item_id"}:
        raise ValueError("the columns are of another version of opl_lib.")
    sides = {side: tuple(map(_encoder_of, content[side])) for side in ("context", "items")}
    return Columns(**sides, item_id=_plain_name(content["item_id"]))


def _encoder_of(settings: dict[str, Any]) -> Encoder:
    kind = _ENCODERS[settings.pop("kind_of")]
    settings["name"] = _plain_name(settings["name"])
    if kind is Categories:
        settings["frequent"] = tuple(settings["frequent"])
    return kind(**settings)


def _plain_name(name: Any) -> Any:
    return tuple(map(_plain_name, name)) if isinstance(name, list) else name


def _not_plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise ValueError(f"columns: the name {value!r} cannot be written to a file: use text.")
