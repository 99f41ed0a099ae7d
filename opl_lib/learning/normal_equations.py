"""The normal equations of a bilinear ridge regression: by iterations, or written out and factored.

The unknowns z are a matrix W (d, r) and the factors f of vectors c_a that are given, of none or
one. Items have coordinates b_a, predictions the vectors ``v_a = W b_a + f c_a = J_a z``, rounds the
sums S_a of ``x̃ x̃ᵀ`` and s_a of ``x̃ y``: to solve is ``Σ J_aᵀ (S_a v_a − s_a) + penalty · z = 0``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..arrays import row_chunks

_FEW_PRODUCTS = 500  # are factored as fast
_TOLERANCE = 1e-10  # of the residual, as a share of what is to be explained
_MAX_ITERATIONS = 300  # some dozen are usual


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Of sums S (m, d, d) and s (m, d), coordinates (m, r), and vectors c (0 or 1, m, d)."""

    squares: np.ndarray
    moments: np.ndarray
    items: np.ndarray
    given: np.ndarray

    def solved(self, penalty: float, of_factor: float) -> np.ndarray:
        """The z of a penalty of W, and one of f as a share of ``Σ c_aᵀ S_a c_a``."""
        n_items, r = self.items.shape
        n_products = self.moments.shape[1] * r
        penalties = np.append(np.full(n_products, penalty), of_factor * self._sizes)
        is_small = n_products <= _FEW_PRODUCTS or r**2 <= n_items  # smaller than the sums
        found = None if is_small else self._iterated(penalties)
        return self._factored(penalties) if found is None else found

    def split(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W (d, r) and f (0 or 1,)."""
        d, r = self.moments.shape[1], self.items.shape[1]
        return z[: d * r].reshape(d, r), z[d * r :]

    def vectors(self, z: np.ndarray) -> np.ndarray:
        """The predictions' vectors, (m, d)."""
        w, factors = self.split(z)
        vectors = self.items @ w.T
        for f, c in zip(factors, self.given, strict=True):
            vectors += f * c
        return vectors

    def _flat(self, vectors: np.ndarray) -> np.ndarray:
        """``Σ J_aᵀ v_a``, the transpose of `vectors`."""
        of_given = [np.vdot(c, vectors) for c in self.given]
        return np.concatenate([(vectors.T @ self.items).ravel(), of_given])

    @cached_property
    def _moment(self) -> np.ndarray:
        return self._flat(self.moments)

    @cached_property
    def _sizes(self) -> np.ndarray:
        """``Σ c_aᵀ S_a c_a``, (0 or 1,)."""
        return np.array([np.sum(c * times(self.squares, c)) for c in self.given])

    def _iterated(self, penalties: np.ndarray) -> np.ndarray | None:
        """By conjugate gradients; None if they don't get there.

        Hestenes and Stiefel, J. Res. NBS 1952. They are preconditioned by what would be exact if
        contexts did not depend on the item: van Loan and Pitsianis, "Approximation with Kronecker
        products", 1993.
        """
        from scipy.sparse.linalg import LinearOperator, cg

        def apply(z: np.ndarray) -> np.ndarray:
            return self._flat(times(self.squares, self.vectors(z))) + penalties * z

        sizes, of_contexts, of_items = self._alike
        inverse = 1 / (sizes + penalties[0])

        def nearly_inverse(z: np.ndarray) -> np.ndarray:
            w, f = self.split(z)
            w = of_contexts @ (of_contexts.T @ w @ of_items * inverse) @ of_items.T
            return np.concatenate([w.ravel(), f / (self._sizes + penalties[sizes.size :])])

        shape = (len(penalties), len(penalties))
        found, failed = cg(
            LinearOperator(shape, matvec=apply, dtype=float),
            self._moment,
            M=LinearOperator(shape, matvec=nearly_inverse, dtype=float),
            rtol=_TOLERANCE,
            maxiter=_MAX_ITERATIONS,
        )
        return None if failed else found

    @cached_property
    def _alike(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``Σ S_a ⊗ b_a b_aᵀ`` if all S_a were multiples of one: eigenvalues (d, r), vectors."""
        n_each = np.trace(self.squares, axis1=1, axis2=2)
        mean = self.squares.sum(axis=0) / (n_each.sum() or 1)
        of_context, context_axes = np.linalg.eigh(mean)
        of_item, item_axes = np.linalg.eigh((self.items.T * n_each) @ self.items)
        return np.outer(of_context, of_item).clip(0), context_axes, item_axes

    def _factored(self, penalties: np.ndarray) -> np.ndarray:
        """By a Cholesky decomposition."""
        from scipy.linalg import cho_factor, cho_solve

        gram = self._written_out + np.diag(penalties)
        return cho_solve(cho_factor(gram, overwrite_a=True, check_finite=False), self._moment)

    @cached_property
    def _written_out(self) -> np.ndarray:
        gram = products_summed(self.squares, self.items)
        for c in self.given:
            cross = self._flat(times(self.squares, c))[:, None]
            gram = np.block([[gram, cross[:-1]], [cross.T]])
        return gram


def products_summed(squares: np.ndarray, items: np.ndarray) -> np.ndarray:
    """``Σ S ⊗ (b bᵀ)`` of symmetric S (m, d, d) and b (m, r): (d · r, d · r), by their halves."""
    d, r = squares.shape[1], items.shape[1]
    (of_squares, in_squares), (of_items, in_items) = _half(d), _half(r)
    summed = np.zeros((len(of_squares[0]), len(of_items[0])))
    for rows in row_chunks(len(items), sum(summed.shape), max_elements=2**22):
        b = items[rows]
        half = squares[rows][:, of_squares[0], of_squares[1]]
        summed += half.T @ (b[:, of_items[0]] * b[:, of_items[1]])
    i, j = in_squares[:, None, :, None], in_items[None, :, None, :]
    return summed[i, j].reshape(d * r, d * r)


@lru_cache(maxsize=8)
def _half(size: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """The upper half of a symmetric matrix: its indices, and where in it each entry stands."""
    upper = np.triu_indices(size)
    number = np.zeros((size, size), int)
    number[upper] = np.arange(len(upper[0]))
    return upper, np.maximum(number, number.T)


def times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Matrices (m, a, b) times vectors (m, b): (m, a)."""
    return (matrices @ vectors[:, :, None])[:, :, 0]
