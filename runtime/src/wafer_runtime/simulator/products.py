"""Matrix products in one PE, of blocks that may be transposed or strided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from wafer_runtime.simulator.encoding import Operand
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.simulator.memory import Array, Register, View
from wafer_runtime.simulator.program import Program, Task

_NO_WRAP = 1 << 30


@dataclass(frozen=True)
class Block:
    """A matrix in an array: element (i, j) is at `start + i * down + j * right`."""

    array: Array
    down: int
    right: int
    start: int = 0

    @property
    def turned(self) -> "Block":
        """The transpose."""
        return Block(self.array, self.right, self.down, self.start)

    def row(self, length: int, offset: Register) -> View:
        """`length` elements of a row, from an offset kept in a register on."""
        return View(self.array, self.start, length, self.right, offset)

    def element(self, offset: Register) -> View:
        """The element at an offset."""
        return View(self.array, self.start, 1, 0, offset)


Pairs = Sequence[tuple[Block, Block]]


class Products:
    """Writes products into a task; the registers serve all of them."""

    def __init__(self, program: Program, task: Task, config: FabricConfig):
        self.task = task
        self.a_at, self.b_at, self.y_at = (program.register() for _ in range(3))
        self.scalar = program.register()
        self._config = config

    def add(self, y: Block, pairs: Pairs, shape: tuple[int, int, int]) -> None:
        """y, in float32, += the sum of a b, for [m, k] and [k, n], over all pairs.

        In the form that takes fewer cycles: dot products with the sum in a register, m
        n times a cycle to store it and the products of a row and a column; or rows of
        sums in memory, m k times a cycle to load an element of a and the products with
        a row of b. All a have the same strides, and all b.
        """
        m, k, n = shape
        item_bytes = pairs[0][0].array.dtype.itemsize
        dots = self._config.elements_a_cycle(item_bytes)
        sums = self._config.elements_a_cycle(y.array.dtype.itemsize)
        if m * n * (1 + len(pairs) * ceil(k / dots)) < (
            len(pairs) * m * k * (1 + ceil(n / sums))
        ):
            self._dots(y, pairs, shape, lambda to: self.task.add(to, to, self.scalar))
            return
        for a, b in pairs:
            self._add_rows(y, a, b, shape)

    def set(self, y: Block, a: Block, b: Block, shape: tuple[int, int, int]) -> None:
        """y = a b, as dot products: summed in float32, rounded once to y's dtype."""
        is_half = y.array.dtype == np.float16
        store = self.task.narrow if is_half else self.task.mov
        self._dots(y, [(a, b)], shape, lambda to: store(to, self.scalar))

    def _dots(
        self,
        y: Block,
        pairs: Pairs,
        shape: tuple[int, int, int],
        store: Callable[[View], None],
    ) -> None:
        m, k, n = shape
        task, (a, b) = self.task, pairs[0]
        task.set(self.a_at, 0)
        task.set(self.y_at, 0)
        with task.repeat(m):
            task.set(self.b_at, 0)
            with task.repeat(n):
                task.set(self.scalar, 0)
                for left, right in pairs:
                    row, column = left.row(k, self.a_at), right.turned.row(k, self.b_at)
                    self.add_products(self.scalar, row, column)
                store(y.element(self.y_at))
                task.rotate(self.b_at, b.right, _NO_WRAP)
                task.rotate(self.y_at, y.right, _NO_WRAP)
            task.rotate(self.a_at, a.down, _NO_WRAP)
            task.rotate(self.y_at, y.down - n * y.right, _NO_WRAP)

    def _add_rows(
        self, y: Block, a: Block, b: Block, shape: tuple[int, int, int]
    ) -> None:
        m, k, n = shape
        task = self.task
        task.set(self.a_at, 0)
        task.set(self.y_at, 0)
        with task.repeat(m):
            task.set(self.b_at, 0)
            with task.repeat(k):
                task.mov(self.scalar, a.element(self.a_at))
                row = b.row(n, self.b_at)
                self.add_products(y.row(n, self.y_at), row, self.scalar)
                task.rotate(self.a_at, a.right, _NO_WRAP)
                task.rotate(self.b_at, b.down, _NO_WRAP)
            task.rotate(self.a_at, a.down - k * a.right, _NO_WRAP)
            task.rotate(self.y_at, y.down, _NO_WRAP)

    def add_products(self, to: Operand, a: View, b: Operand) -> None:
        """to += a b, element by element; `to` is float32 for a of either dtype."""
        is_half = a.array.dtype == np.float16
        (self.task.wide_mac if is_half else self.task.mac)(to, a, b)

    def rows(self, rows: int, block: Block, length: int) -> "Rows":
        """A walk along the rows of a block."""
        return Rows(self, rows, block, length)


class Rows:
    """`with rows as row:` repeats its instructions with `row` each row of a block."""

    def __init__(self, products: Products, rows: int, block: Block, length: int):
        self._products = products
        self._block = block
        self._row = block.row(length, products.y_at)
        self._loop = products.task.repeat(rows)

    def __enter__(self) -> View:
        """Begin with the first row."""
        self._products.task.set(self._products.y_at, 0)
        self._loop.__enter__()
        return self._row

    def __exit__(self, *error: object) -> None:
        """Go to the next row."""
        products = self._products
        products.task.rotate(products.y_at, self._block.down, _NO_WRAP)
        self._loop.__exit__(None, None, None)
