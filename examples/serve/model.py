"""What is served: a folder with a policy, its items, and how it explores."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import opl_lib as opl
from opl_lib.files import write_atomically

INDEXES = {"exact": opl.ItemIndex, "compressed": opl.CompressedIndex, "hnsw": opl.HNSWIndex}


@dataclass(frozen=True, eq=False)
class Model:
    """A policy with its items encoded and indexed, and the version that the log will name."""

    policy: opl.ExploringPolicy
    items: np.ndarray
    ids: list[str]
    version: str

    @property
    def width(self) -> int:
        """Number of features of a context."""
        return opl.policies.towers.tower_widths(self.policy.policy.towers)[0]


def save_model(
    folder: str | Path,
    policy: opl.TwoTowerPolicy,
    items: np.ndarray,
    ids: list[str],
    epsilon: float = 0.05,
    k: int = 50,
    index: str = "exact",
) -> None:
    """Write what is served to a folder: a policy, features (n_actions, width) and ids of items.

    A warning names items of equal features.
    """
    ids = [str(each) for each in ids]
    if len(set(ids)) != len(items) or len(ids) != len(items):
        raise ValueError(f"ids must name each of the {len(items)} items, and no two alike.")
    opl.ExploringPolicy(policy, epsilon, k, INDEXES[index])  # refuses what cannot be
    _say_twins(np.asarray(items, dtype=np.float32), ids)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    np.savez(file, items=np.asarray(items, dtype=np.float32), ids=np.array(ids))
    write_atomically(folder / "items.npz", file.getvalue())
    settings = {"epsilon": epsilon, "k": k, "index": index}
    write_atomically(folder / "settings.json", json.dumps(settings).encode())
    policy.save(folder / "policy.pt")
    if index == "hnsw":  # to build it takes longer than a start should
        opl.HNSWIndex(policy.embed_items(np.asarray(items, np.float32))).save(folder / "items.hnsw")


def _say_twins(items: np.ndarray, ids: list[str]) -> None:
    """Warn of items that the policy cannot tell apart."""
    _, first, number = np.unique(items, axis=0, return_index=True, return_inverse=True)
    twins = np.flatnonzero(first[number.ravel()] != np.arange(len(items)))
    if len(twins):
        same = ids[twins[0]], ids[first[number.ravel()[twins[0]]]]
        warnings.warn(
            f"items: {len(twins)} have the features of an earlier one, such as {same[0]!r} those "
            f"of {same[1]!r}; no policy tells these apart. Give them features that differ.",
            stacklevel=3,
        )


def load_model(folder: str | Path) -> Model:
    """Read a folder; its version is a checksum of all that propensities depend on.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If one is not what `save_model` wrote, with its name.
    """
    folder = Path(folder)
    names = ("policy.pt", "items.npz", "settings.json")
    content = {name: (folder / name).read_bytes() for name in names}
    version = hashlib.sha256(b"".join(content.values())).hexdigest()[:16]
    with _written_by_save_model(folder / "settings.json"):
        settings = json.loads(content["settings.json"])
        index, epsilon, k = INDEXES[settings["index"]], settings["epsilon"], settings["k"]
    with _written_by_save_model(folder / "items.npz"):
        with np.load(io.BytesIO(content["items.npz"])) as table:
            items, ids = table["items"], table["ids"].tolist()
    learned = opl.TwoTowerPolicy.load(folder / "policy.pt")
    width = opl.policies.towers.tower_widths(learned.towers)[1]
    if items.shape != (len(ids), width):
        raise ValueError(
            f"{folder / 'items.npz'} has features of shape {items.shape} for {len(ids)} items, and "
            f"the policy takes {width} of each: they are of two models. Save the model again."
        )
    if settings["index"] == "hnsw":
        index = functools.partial(opl.HNSWIndex.load, folder / "items.hnsw")
    policy = opl.ExploringPolicy(learned, epsilon, k, index)
    return Model(policy.for_items(items), items, ids, version)


@contextlib.contextmanager
def _written_by_save_model(path: Path) -> Iterator[None]:
    """Name a file in whatever goes wrong while it is taken apart."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path} is not what save_model wrote, or was damaged since: {error!r}. Save the "
            "model again, or take another copy."
        ) from error
