"""Names hashed to a few columns, for what has more names than a model could weigh."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def hashed(
    names: Sequence[Sequence[str]], width: int, values: Sequence[Sequence[float]] | None = None
) -> np.ndarray:
    """Sums of signed columns, one for each name of a row, (rows, width), of length 1.

    Every name counts with 1, or with its value: such rows keep their length.

    References
    ----------
    Weinberger et al., "Feature hashing for large scale multitask learning", ICML 2009.
    """
    from sklearn.feature_extraction import FeatureHasher

    if values is not None:
        pairs = [list(zip(*row, strict=True)) for row in zip(names, values, strict=True)]
        return FeatureHasher(width, input_type="pair").transform(pairs).toarray()
    made = FeatureHasher(width, input_type="string").transform(names).toarray()
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-12)
