"""What NumPy 2 dropped that is no more than another name of what it has."""

from collections.abc import Callable
from typing import Any

import numpy as np

NINF = -np.inf


class _Cast:
    """`cast[dtype](x)`: x as an array of that dtype."""

    def __getitem__(self, dtype: Any) -> Callable[[Any], np.ndarray]:
        return lambda x: np.asarray(x).astype(dtype)


cast = _Cast()


def asfarray(a: Any, dtype: Any = np.float64) -> np.ndarray:
    """An array of `dtype`; of float64 where that is no floating-point one."""
    return np.asarray(a, dtype if np.issubdtype(dtype, np.inexact) else np.float64)


def in1d(
    ar1: Any, ar2: Any, assume_unique: bool = False, invert: bool = False
) -> np.ndarray:
    """Which elements of ar1, flattened, are in ar2: bool [elements]."""
    return np.isin(np.ravel(ar1), ar2, assume_unique, invert)


def msort(a: Any) -> np.ndarray:
    """A copy, sorted along its first axis."""
    return np.sort(a, axis=0)
