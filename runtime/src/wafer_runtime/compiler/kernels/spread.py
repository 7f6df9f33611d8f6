"""What a kernel of the library costs, for each way to spread it over PEs.

The geometry is that of the published convolutions (`cost`): positions are split into h
by w groups, inputs into c and outputs into k parts. A group has a row of PEs for each
part of the inputs and, for products, one more for their sums, and a column for each
part of the outputs; every pass of training (forward, gradient of the inputs, gradient
of the weights) has its own copy, side by side. Only that the w groups of a row are side
by side, too, not above one another: large images would need more rows than there are.
To the published time we add:

- The rate of a PE. A pass computes either dot products, with the sum in a register, or
  rows of sums in memory. Both of a product's numbers are read in a cycle, one by each
  port of the memory, so `dot_rate` is what a port holds of the model's numbers; rows
  are read and written as 32-bit sums, so `update_rate` is what it holds of these: one
  on a WSE-2, which is the published cycle per multiply-accumulate. A cycle more goes
  to storing each dot product, or to loading the number that a row is multiplied with.
  With a single position the gradient of the weights is a row of sums for each input,
  and no pass needs to be faster. `simulator.kernels` has these programs, which take
  these cycles.
- The kernel's other arithmetic (`operations`), shared by all its PEs.
- Communication: every group has a port on each of two sides, a link, that its inputs or
  outputs pass at 32 bits a cycle, each tensor on one side. This is why a layer of 784
  16-bit inputs takes 392 cycles at least.

and to the published memory the optimizer's state, the sums of gradients, and what is
kept for the backward pass of each sample that is on its way (`held_words`). Without a
window, positions pass in blocks, and sums are kept for one block only.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import numba
import numpy as np

from wafer_runtime.compiler.kernels.cost import UNBOUNDED, Cost, Execution
from wafer_runtime.system import System

_SUM_BYTES = 4  # sums are float32
WORD_BYTES = 2
_BLOCK = 32  # positions: a dot product over them starts seldom enough


class Rates(NamedTuple):
    """Of a PE, in results a cycle: products of a dot product, products added to sums
    in memory, other arithmetic. The cycles that go with each vector of products, and
    the bytes a cycle of a link.
    """

    dot: float
    update: float
    operation: float
    issue_cycles: float
    link_bytes: float


def rates_of(system: System, item_bytes: int) -> Rates:
    """The rates for numbers of this size."""
    items = min(system.simd_lanes, system.memory_port_bytes / item_bytes)
    sums = min(system.simd_lanes, system.memory_port_bytes / _SUM_BYTES)
    return Rates(items, sums, items, 1.0, system.link_bytes_per_cycle)


class Spread(NamedTuple):
    """A kernel's sizes and work for one sample: a `placing.Shapes`.

    rows, columns: of positions, split into h and w. inputs, outputs: split into c and
    k. window: rows and columns of a convolution's weights. reach: of the positions that
    these meet, with the gaps of a dilation. strides: rows and columns of inputs for one
    of outputs. work: products, in units of the sizes' (1; 0 for a kernel
    without any). passes: forward, gradient of inputs and of weights; 1 where there is
    such a pass. operations: other arithmetic results. transfer_bytes: that pass the
    ports on the busiest side. weight_transfer_bytes: that pass once a batch, a sample's
    share; every row of PEs has a port for them. sum_rows: rows of a group beside those
    of its inputs. weight_words: 16-bit words for each weight. weight_rows: rows of
    positions, each with weights of its own, or 1. held_words: words that are spread
    evenly. memory_limit_words: of a PE.
    """

    rows: float
    columns: float
    inputs: float
    outputs: float
    window: tuple[float, float]
    reach: tuple[float, float]
    strides: tuple[float, float]
    work: float
    passes: tuple[float, float, float]
    operations: float
    transfer_bytes: float
    weight_transfer_bytes: float
    sum_rows: float
    weight_words: float
    weight_rows: float
    held_words: float
    rates: Rates
    memory_limit_words: int

    def cost(self, execution: Execution) -> Cost:
        """Size, time and memory of an execution."""
        h, w, c, k = execution.h, execution.w, execution.c[0], execution.k[0]
        return Cost(
            height=h * (c + int(self.sum_rows)),
            width=w * int(_copies(self)) * k,
            time_cycles=_cycles(self, h, w, c, k),
            memory_words=_memory(self, h, w, c, k),
        )

    def compute_cycles(self, execution: Execution) -> float:
        """Cycles a sample, as if all data were there."""
        h, w, c, k = execution.h, execution.w, execution.c[0], execution.k[0]
        return float(_compute(self, h, w, c, k))

    def transfer_cycles(self, execution: Execution) -> float:
        """Cycles that a sample's data take at the busiest port."""
        e = execution
        return float(_transfer(self, e.h, e.w, e.c[0]))

    @property
    def slowest_cycles(self) -> float:
        """The time on the fewest PEs, which no execution exceeds."""
        return float(_cycles(self, 1, 1, 1, 1))

    @property
    def least_memory_words(self) -> float:
        """The memory on the most PEs, below which no execution goes."""
        most = self.rows, self.columns, self.inputs, self.outputs
        return float(_memory(self, *map(int, most)))

    @property
    def spreads(self) -> Any:
        """int64 [count, 2]: each (h, w) of which none smaller has the same shares."""
        return _spreads(int(self.rows), int(self.columns))

    @property
    def fast_spreads(self) -> Any:
        """The same: all of them differ in time."""
        return self.spreads

    def min_widths(self, limit_cycles: float, side: int, spreads: Any) -> Any:
        """See `placing.Shapes`."""
        parts = _useful(int(self.inputs))
        return _min_widths(self, limit_cycles, side, spreads, parts)

    def fit(
        self,
        limit_cycles: float,
        box: tuple[int, int],
        spread: tuple[int, int],
        first_c: int = 0,
        last_k: int = 0,
    ) -> Execution | None:
        """See `placing.Shapes`."""
        parts = np.array([first_c]) if first_c else _useful(int(self.inputs))
        found = _narrowest(self, limit_cycles, box, spread, parts, last_k)
        return Execution(*spread, (int(found[0]),), (int(found[1]),)) if found else None


@functools.cache
def _useful(size: int) -> Any:
    """int64: the smallest x for each value of ceil(size / x)."""
    parts = np.arange(1, size + 1)
    return np.unique(-(-size // np.unique(-(-size // parts))))


@functools.cache
def _spreads(rows: int, columns: int) -> Any:
    pairs = itertools.product(_useful(rows), _useful(columns))
    return np.array(list(pairs), np.int64)


jit = numba.njit(cache=True, nogil=True)


@jit
def _copies(s: Any) -> float:
    return s.passes[0] + s.passes[1] + s.passes[2] if s.work else 1.0


@jit
def _products(
    s: Any, positions: float, across: float, inputs: float, outputs: float
) -> float:
    """Cycles of the slowest pass, for so many positions in a PE, `across` in a row."""
    p = positions / (s.strides[0] * s.strides[1])
    dot, update, _, issue, _ = s.rates
    taps = s.window[0] * s.window[1]
    rows = p * taps * inputs * (issue + math.ceil(outputs / update))
    slowest = 0.0
    if s.passes[0]:
        row = math.ceil(s.window[1] * inputs / dot)
        dots = p * outputs * (issue + s.window[0] * row)
        slowest = min(dots, rows)
    if s.passes[1]:
        dots = p * taps * inputs * (issue + math.ceil(outputs / dot))
        row = math.ceil(s.window[1] * inputs / update)
        sums = p * s.window[0] * outputs * (issue + row)
        slowest = max(slowest, min(dots, sums))
    if s.passes[2]:
        if taps == 1 and s.strides == (1, 1):
            blocks = p / _BLOCK if p > _BLOCK else 1
            dots = blocks * (issue + math.ceil(p / blocks / dot))
        else:  # A vector goes along a row of outputs.
            line = across / s.strides[1]
            dots = issue + p / line * math.ceil(line / dot)
        dots *= taps * inputs * outputs
        slowest = max(slowest, min(dots, rows))
    return slowest * s.work


@jit
def _compute(s: Any, h: int, w: int, c: int, k: int) -> float:
    p = math.ceil(s.rows / h) * math.ceil(s.columns / w)
    inputs, outputs = math.ceil(s.inputs / c), math.ceil(s.outputs / k)
    share = p * inputs * outputs / (s.rows * s.columns * s.inputs * s.outputs)
    cycles = s.operations * share / _copies(s) / s.rates.operation
    if s.work:
        cycles += _products(s, p, math.ceil(s.columns / w), inputs, outputs)
    return math.ceil(cycles)


@jit
def _transfer(s: Any, h: int, w: int, c: int) -> float:
    # Groups that are side by side have the rows of PEs in common.
    share = max(math.ceil(s.columns / w) / s.columns, 1 / (c + s.sum_rows))
    share *= math.ceil(s.rows / h) / s.rows
    weights = s.weight_transfer_bytes * math.ceil(s.inputs / c) / s.inputs
    return math.ceil((s.transfer_bytes * share + weights) / s.rates.link_bytes)


@jit
def _cycles(s: Any, h: int, w: int, c: int, k: int) -> float:
    return max(1.0, _compute(s, h, w, c, k), _transfer(s, h, w, c))


@jit
def _memory(s: Any, h: int, w: int, c: int, k: int) -> float:
    """As published, in shares that need not be whole."""
    taps = s.window[0] * s.window[1]
    weights = s.inputs / c * s.outputs / k * taps * s.weight_words
    weights *= max(1.0, s.weight_rows / h)
    high, wide = s.reach
    positions = (s.columns + wide - 1) / w * (s.rows + high - 1) / h
    if taps == 1:
        positions = min(positions, _BLOCK)
    sums = positions * s.outputs / k
    return weights + sums + s.held_words / (h * w * c * k * _copies(s))


@jit
def _least_k(s: Any, limit_cycles: float, h: int, w: int, c: int, most: int) -> int:
    """The least k within the limits of time and memory, up to `most`; 0 if none is."""
    low, high = 0, most
    if most < 1 or not _is_within(s, limit_cycles, h, w, c, most):
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        if _is_within(s, limit_cycles, h, w, c, middle):
            high = middle
        else:
            low = middle
    return high


@jit
def _is_within(s: Any, limit_cycles: float, h: int, w: int, c: int, k: int) -> bool:
    return (
        _compute(s, h, w, c, k) <= limit_cycles
        and _memory(s, h, w, c, k) <= s.memory_limit_words
    )


@jit
def _min_widths(
    s: Any, limit_cycles: float, side: int, spreads: Any, parts: Any
) -> Any:
    best = np.zeros((side + 1, 5), np.int32)
    best[:, 0] = UNBOUNDED
    copies, more = int(_copies(s)), int(s.sum_rows)
    for i in range(len(spreads)):
        h, w = spreads[i]
        for c in parts:
            height = h * (c + more)
            if height > side:
                break
            if _transfer(s, h, w, c) > limit_cycles:
                continue
            # Only what is narrower than what is known is looked for.
            most = min(side, best[height, 0] - 1) // (w * copies)
            most = min(most, int(s.outputs))
            k = _least_k(s, limit_cycles, h, w, c, most)
            if k:
                width = w * copies * k
                while height <= side and best[height, 0] > width:
                    best[height] = (width, h, w, c, k)
                    height += 1
    return best


def _narrowest(
    s: Spread,
    limit_cycles: float,
    box: tuple[int, int],
    spread: tuple[int, int],
    parts: Any,
    wanted_k: int,
) -> tuple[int, int] | None:
    """(c, k) with the least k, and of these the least c."""
    h, w = spread
    most = min(box[1] // (w * int(_copies(s))), int(s.outputs))
    found = []
    for c in parts[h * (parts + int(s.sum_rows)) <= box[0]]:
        k = _least_k(s, limit_cycles, h, w, c, most)
        if k and k <= (wanted_k or k) <= most and _transfer(s, h, w, c) <= limit_cycles:
            found.append((wanted_k or k, c))
    return min(found)[::-1] if found else None
