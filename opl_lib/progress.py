"""The bar of whatever takes longer than a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(what: str, total: int, progress: bool | None, unit: str = "it") -> tqdm:
    """Draw a bar.

    Parameters
    ----------
    what : str
        What is going on.
    total : int
        How many units there will be.
    progress : bool, optional
        Whether there is a bar; if not given, in a terminal only, after a second.
    unit : str
        What is counted.
    """
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        disable=None if progress is None else not progress,
        delay=0 if progress else 1,
    )
