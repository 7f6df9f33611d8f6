"""Matrix products in one PE, of blocks that may be transposed or strided."""

from dataclasses import dataclass

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


class Products:
    """Writes products into a task; the registers serve all of them."""

    def __init__(self, program: Program, task: Task):
        self.task = task
        self.a_at, self.b_at, self.y_at = (program.register() for _ in range(3))
        self.scalar = program.register()

    def add(self, y: Block, a: Block, b: Block, shape: tuple[int, int, int]) -> None:
        """y += a b for a [m, k] and b [k, n]: m k times a row of n, a cycle for loading
        each element of a, and one for as many products as there are lanes.
        """
        m, k, n = shape
        task = self.task
        task.set(self.a_at, 0)
        task.set(self.y_at, 0)
        with task.repeat(m):
            task.set(self.b_at, 0)
            with task.repeat(k):
                task.mov(self.scalar, a.element(self.a_at))
                task.mac(y.row(n, self.y_at), b.row(n, self.b_at), self.scalar)
                task.rotate(self.a_at, a.right, _NO_WRAP)
                task.rotate(self.b_at, b.down, _NO_WRAP)
            task.rotate(self.a_at, a.down - k * a.right, _NO_WRAP)
            task.rotate(self.y_at, y.down, _NO_WRAP)

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
