"""Lower bounds that hold together, of candidates that are alike."""

from __future__ import annotations

import numpy as np

from ..logs.units import near_one

_N_DRAWS = 20_000
# So many draws must exceed the value: of a smaller tail Bonferroni's inequality gives it.
_MIN_BEYOND = 100


def critical_value(terms: np.ndarray, tail: float, random_state: int = 0) -> float:
    """How many standard errors below their means bounds must lie to hold together.

    The terms of K candidates, shape (K, n_units), have K means. These, each less its truth and over
    its standard error, are nearly a multivariate t of the correlations of the terms: Hothorn, Bretz
    and Westfall, Biometrical Journal 2008. The largest of them exceeds the value returned with
    probability `tail`, where Bonferroni's inequality knows only that it is at most the sum of K
    probabilities. For one candidate it is the quantile of Student's t; for candidates that are
    alike not much more.
    """
    from scipy.special import stdtrit

    n_units = terms.shape[1]
    single = float(stdtrit(n_units - 1, 1 - tail))
    centred = near_one(terms)[0]
    centred = centred - centred.mean(axis=1, keepdims=True)
    size = np.sqrt(np.square(centred).sum(axis=1))
    standard = centred[size > 0] / size[size > 0, None]  # a constant one has no error
    if len(standard) < 2:
        return single
    most = float(stdtrit(n_units - 1, 1 - tail / len(standard)))
    if tail * _N_DRAWS < _MIN_BEYOND:
        return most
    correlation = standard @ standard.T
    np.fill_diagonal(correlation, 1)
    values, axes = np.linalg.eigh(correlation)
    root = axes * np.sqrt(np.maximum(values, 0))
    rng = np.random.default_rng(random_state)
    largest = (rng.standard_normal((_N_DRAWS, len(standard))) @ root.T).max(axis=1)
    largest /= np.sqrt(rng.chisquare(n_units - 1, _N_DRAWS) / (n_units - 1))
    together = float(np.quantile(largest, 1 - tail))
    return min(max(together, single), most)
