"""The published cost of convolutions, and the rectangles that it allows.

Source: benchmark description of the ISPD 2020 contest on wafer-scale placement. A
kernel is one or more convolutions side by side, which share the execution parameters h
and w; a rectangle's height is the tallest's, its width their sum. Sizes in PEs, time in
cycles a sample, memory in 16-bit words a PE.
"""

import dataclasses
import functools
import itertools
from typing import Any

import numba
import numpy as np

UNBOUNDED = 16_000  # PEs: wider than any fabric; two of them still fit in 16 bits


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution of an [H, W, C] input with K kernels [R, S, C], strides T and U."""

    H: int
    W: int
    R: int
    S: int
    C: int
    K: int
    T: int = 1
    U: int = 1


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a kernel is spread: h and w for all its convolutions, c and k of each."""

    h: int
    w: int
    c: tuple[int, ...]
    k: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of a kernel with an execution: size in PEs, cycles a sample, words a PE."""

    height: int
    width: int
    time_cycles: float
    memory_words: float


def conv_cost(conv: Conv, h: int, w: int, c: int, k: int) -> Cost:
    """height h w (c + 1), width 3 k; the rest as in the contest's description."""
    passes = -(-conv.H // h) * -(-conv.W // w) * -(-conv.C // c) * -(-conv.K // k)
    weights = conv.C / c * conv.K / k * conv.R * conv.S
    outputs = (conv.W + conv.S - 1) / w * (conv.H + conv.R - 1) / h * conv.K / k
    return Cost(
        height=h * w * (c + 1),
        width=3 * k,
        time_cycles=passes * conv.R * conv.S / conv.T / conv.U,
        memory_words=weights + outputs,
    )


@dataclasses.dataclass(frozen=True)
class ConvKernel:
    """A kernel of convolutions, on PEs with a limit of memory: a `placing.Shapes`."""

    convs: tuple[Conv, ...]
    memory_limit_words: int

    def cost(self, execution: Execution) -> Cost:
        """Of the kernel: the largest height, time and memory, and all widths."""
        costs = [
            conv_cost(conv, execution.h, execution.w, c, k)
            for conv, c, k in zip(self.convs, execution.c, execution.k, strict=True)
        ]
        return Cost(
            height=max(cost.height for cost in costs),
            width=sum(cost.width for cost in costs),
            time_cycles=max(cost.time_cycles for cost in costs),
            memory_words=max(cost.memory_words for cost in costs),
        )

    @property
    def slowest_cycles(self) -> float:
        """The time of the smallest execution, which no other exceeds."""
        return self.cost(self._smallest).time_cycles

    @property
    def least_memory_words(self) -> float:
        """The memory of the largest execution, below which none goes."""
        wholes = [(conv, conv.H, conv.W, conv.C, conv.K) for conv in self.convs]
        return max(conv_cost(*whole).memory_words for whole in wholes)

    @functools.cached_property
    def spreads(self) -> Any:
        """int64 [count, 2]: every (h, w), as each takes another share of memory."""
        h = range(1, max(conv.H for conv in self.convs) + 1)
        w = range(1, max(conv.W for conv in self.convs) + 1)
        return np.array(list(itertools.product(h, w)), np.int64)

    @functools.cached_property
    def fast_spreads(self) -> Any:
        """int64 [count, 2]: each (h, w) of which none smaller is as fast."""
        h = _useful(max(conv.H for conv in self.convs))
        w = _useful(max(conv.W for conv in self.convs))
        return np.array(list(itertools.product(h, w)), np.int64)

    def min_widths(self, limit_cycles: float, side: int, spreads: Any) -> Any:
        """Of the implementations within `limit_cycles`, the least width for a height.

        spreads: int64 [count, 2], the (h, w) to choose from. Returns int32 [side + 1,
        5]: for heights up to 0, 1, ... side the least width (UNBOUNDED if there is
        none), and of the implementation that has it h, w, the first c and the last k.
        """
        return _min_widths(
            self._sizes, limit_cycles, self.memory_limit_words, side, spreads
        )

    def fit(
        self,
        limit_cycles: float,
        box: tuple[int, int],
        spread: tuple[int, int],
        first_c: int = 0,
        last_k: int = 0,
    ) -> Execution | None:
        """The narrowest execution with this (h, w) in a box of (height, width).

        first_c, last_k: those of the first and last convolution; 0 for any.
        """
        if spread[0] * spread[1] * 2 > box[0]:
            return None
        return _fit(self, limit_cycles, box, spread, first_c, last_k)

    @property
    def _smallest(self) -> Execution:
        ones = (1,) * len(self.convs)
        return Execution(1, 1, ones, ones)

    @functools.cached_property
    def _sizes(self) -> Any:
        return np.array([dataclasses.astuple(conv) for conv in self.convs], np.int64)


def _useful(size: int) -> list[int]:
    """The smallest x for each value of ceil(size / x)."""
    return sorted({-(-size // parts) for parts in range(1, size + 1)})


def _fit(
    kernel: ConvKernel,
    limit_cycles: float,
    box: tuple[int, int],
    spread: tuple[int, int],
    first_c: int,
    last_k: int,
) -> Execution | None:
    h, w = spread
    most = box[0] // (h * w) - 1
    cs, ks = [], []
    last = len(kernel.convs) - 1
    for i, size in enumerate(kernel._sizes):
        c = first_c if i == 0 and first_c else min(most, int(size[4]))
        least = _min_k(size, h, w, c, limit_cycles, kernel.memory_limit_words)
        k = last_k if i == last and last_k else least
        if c > most or c > size[4] or not 1 <= least <= k <= size[5]:
            return None
        if not (i == 0 and first_c):
            c = _least_c(size, h, w, c, k, limit_cycles, kernel.memory_limit_words)
        cs.append(int(c))
        ks.append(int(k))
    if 3 * sum(ks) > box[1]:
        return None
    return Execution(h, w, tuple(cs), tuple(ks))


@numba.njit(cache=True, nogil=True)
def _min_k(size: Any, h: int, w: int, c: int, limit_cycles: float, memory: int) -> int:
    """The least k that keeps time and memory within the limits; 0 if none does."""
    high, wide, r, s, inputs, outputs, t, u = size
    a_pass = -(-high // h) * -(-wide // w) * -(-inputs // c) * r * s
    turns = int(limit_cycles * t * u / a_pass)
    if turns < 1:
        return 0
    # As conv_cost for k = 1, times c h w: in whole numbers, so that nothing is rounded.
    words = inputs * r * s * h * w + (wide + s - 1) * (high + r - 1) * c
    k = max(-(-outputs // turns), -(-outputs * words // (c * h * w * memory)))
    return k if k <= outputs else 0


@numba.njit(cache=True, nogil=True)
def _least_c(
    size: Any, h: int, w: int, most: int, k: int, limit_cycles: float, memory: int
) -> int:
    """The least c for which k still does; more c never needs more k."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if 1 <= _min_k(size, h, w, middle, limit_cycles, memory) <= k:
            high = middle
        else:
            low = middle
    return high


@numba.njit(cache=True, nogil=True)
def _min_widths(
    sizes: Any, limit_cycles: float, memory: int, side: int, spreads: Any
) -> Any:
    best = np.zeros((side + 1, 5), np.int32)
    best[:, 0] = UNBOUNDED
    last = len(sizes) - 1
    for i in range(len(spreads)):
        h, w = spreads[i]
        for most in range(1, side // (h * w)):
            width, first_c, last_k = 0, 0, 0
            for j in range(last + 1):
                c = min(most, sizes[j, 4])
                k = _min_k(sizes[j], h, w, c, limit_cycles, memory)
                if k == 0:
                    width = UNBOUNDED
                    break
                width += 3 * k
                first_c = c if j == 0 else first_c
                last_k = k
            row = best[h * w * (most + 1)]
            if width <= side and width < row[0]:
                row[:] = (width, h, w, first_c, last_k)
    for height in range(1, side + 1):
        if best[height - 1, 0] <= best[height, 0]:
            best[height] = best[height - 1]
    return best
