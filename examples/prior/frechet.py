"""The Frechet distance between two sets of features. NumPy only."""

import numpy as np


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the squared Frechet distance of normal distributions fitted to two sets.

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

    It depends on the features and on the sizes of the sets: compare only distances of equally
    large sets in the same features.

    Args:
      one: Features, shape [N, D], N at least 2.
      other: Features, shape [M, D], M at least 2.

    Source: Heusel et al. 2017, arXiv:1706.08500.

    >>> round(frechet_distance(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]])), 6)
    9.0
    """
    shift = one.mean(axis=0) - other.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(features, rowvar=False)) for features in (one, other))
    # The eigenvalues of C1 C2 are those of the symmetric C1^(1/2) C2 C1^(1/2).
    root = _square_root(first)
    eigenvalues = np.linalg.eigvalsh(root @ second @ root).clip(min=0)
    spread = np.trace(first) + np.trace(second) - 2 * np.sqrt(eigenvalues).sum()
    return float(shift @ shift + spread)


def _square_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    root: np.ndarray = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root
