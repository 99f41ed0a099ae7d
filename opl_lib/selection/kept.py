"""What candidates have learned, kept in a folder until all have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..files import as_path
from ..learning.checkpoints import Checkpoint
from ..learning.fingerprint import fingerprint
from ..logs.feedback import BanditFeedback

_T = TypeVar("_T")


class Kept:
    """Results by their names, one file each; without a folder nothing is kept.

    Parameters
    ----------
    folder : str or Path, optional
        Made if it is not there.
    log : BanditFeedback
    settings : mapping of str to settings
        What results depend on besides: a folder of other ones is refused.
    """

    def __init__(
        self, folder: str | Path | None, log: BanditFeedback, settings: Mapping[str, Any]
    ) -> None:
        self.folder, self.about = None, {}
        if folder is not None:
            self.folder = as_path("checkpoint", folder, of_folder=True)
            if self.folder.is_file():
                raise ValueError(f"checkpoint must be a folder; {folder} is a file.")
            about = {"the log": log, **settings}
            self.about = {name: fingerprint(value) for name, value in about.items()}

    def get(self, name: str, of: Any, make: Callable[[], _T]) -> _T:
        """The result of a name, of a thing that makes it: from before, or made and kept now."""
        if self.folder is None:
            return make()
        plain = re.sub(r"\W+", "-", name)[:40]
        file = f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.checkpoint"
        kept = Checkpoint(
            self.folder / file, {**self.about, f"candidate {name!r}": fingerprint(of)}
        )
        if "result" not in kept.kept:
            kept.put("result", make())
        return kept.kept["result"]
