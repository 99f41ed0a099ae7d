"""The file of an approximate index: a line that says what it is, and the graph."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_atomically

_FORMAT = "opl_lib.HNSWIndex 1"


def write_index(path: Path, breadth: int, center: np.ndarray, graph: bytes) -> None:
    """Write a graph and the center of its embeddings, whole or not at all."""
    about = {"format": _FORMAT, "breadth": breadth, "center": center.tolist()}
    about["sha256"] = _checksum(about, graph)
    write_atomically(path, json.dumps(about).encode() + b"\n" + graph)


def read_index(path: Path) -> tuple[int, np.ndarray, np.ndarray]:
    """Breadth, center and graph; raise a ValueError unless they are what was written."""
    head, _, graph = path.read_bytes().partition(b"\n")
    try:
        about = json.loads(head)
        right = about.pop("sha256") == _checksum(about, graph) and about["format"] == _FORMAT
    except Exception as error:  # whatever a damaged file makes of its reader
        raise _damaged(path) from error
    if not right:
        raise _damaged(path)
    center = np.array(about["center"], dtype=np.float32)
    return about["breadth"], center, np.frombuffer(graph, dtype=np.uint8)


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"{path} was not written by HNSWIndex.save, or was damaged since. Save the index again, or "
        "take another copy of the file."
    )


def _checksum(about: dict[str, Any], graph: bytes) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode() + graph).hexdigest()
