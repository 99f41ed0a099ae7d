"""Parquet files as pieces of a log, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Integral
from pathlib import Path
from typing import Any

from ..checks import check_number
from ..files import as_path
from .feedback import BanditFeedback


def read_parquet(
    paths: str | Path | Iterable[str | Path], rows_at_once: int = 2**16, **names: Any
) -> Iterator[BanditFeedback]:
    """Read Parquet files as logs of a bounded number of rows, for `write_log`.

    Parameters
    ----------
    paths : str, Path or iterable of them
        Files with the same columns, in their order.
    rows_at_once : int
        Rows of a piece. A row group is read whole: write files in groups that fit into memory.
    names : by name
        What the columns are: the arguments of `BanditFeedback.from_dataframe` after the frame,
        `pscore` among them. If `columns` is not given, features are fitted on the first piece, and
        a category that is not in it is unknown in all.

    Yields
    ------
    BanditFeedback

    Raises
    ------
    ModuleNotFoundError
        Without pyarrow: ``pip install opl-lib[parquet]``.
    ValueError
        If a column is missing or wrong, with the number of its row in the piece; a note names the
        file and the first row of the piece.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> import opl_lib as opl
    >>> clicks = pd.DataFrame({"age": [3.0, 5.0, 4.0], "item": [0, 1, 1], "click": [0, 1, 0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clicks.assign(prob=0.5).to_parquet(f"{folder}/clicks.parquet")
    ...     pieces = opl.read_parquet(
    ...         f"{folder}/clicks.parquet", rows_at_once=2, context=["age"], action="item",
    ...         reward="click", pscore="prob", items=np.eye(2),
    ...     )
    ...     opl.write_log(f"{folder}/log", pieces).n_rounds
    3
    """
    check_number("rows_at_once", rows_at_once, Integral, least=1)
    if isinstance(paths, str | Path):
        paths = [paths]
    if isinstance(paths, bytes | dict) or not isinstance(paths, Iterable):
        raise TypeError(f"paths must be paths of Parquet files; got {type(paths).__name__}.")
    files = [as_path("paths", each) for each in paths]
    if not files:
        raise ValueError("paths is empty: there is no file to read.")
    if names.get("pscore") is None:
        raise ValueError(
            "pscore must name the column of propensities: a log without them is estimated in "
            "memory, see opl.estimate_propensities."
        )
    return _pieces(files, rows_at_once, names)


def _pieces(files: list[Path], rows: int, names: dict[str, Any]) -> Iterator[BanditFeedback]:
    from pyarrow.parquet import ParquetFile

    for path in files:
        start = 0
        try:
            opened = ParquetFile(path)
        except ValueError as error:
            raise ValueError(f"{path} is no Parquet file, or was damaged: {error}") from error
        with opened as file:
            for batch in file.iter_batches(batch_size=rows):
                try:
                    piece = BanditFeedback.from_dataframe(batch.to_pandas(), **names)
                except (TypeError, ValueError) as error:
                    error.add_note(f"In {path}, the piece that begins with row {start:,}.")
                    raise
                assert isinstance(piece, BanditFeedback)
                if piece.columns is not None and names.get("columns") is None:
                    fitted = ("context", "item_id", "item_features")
                    names = {name: v for name, v in names.items() if name not in fitted}
                    names["columns"] = piece.columns
                yield piece
                start += len(batch)
