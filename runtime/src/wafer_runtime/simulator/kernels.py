"""Programs of the layers' kernels: dense, conv, attention; forward and gradients.

Dense and conv put a tile of the weights into every PE of a rectangle: inputs are split
over its columns, outputs over its rows. Inputs come down the columns and sums go to the
west; gradients of outputs come from the west and sums go north. One head of attention
is in one PE.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from wafer_runtime.simulator import collectives
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.lines import Phases
from wafer_runtime.simulator.memory import Array
from wafer_runtime.simulator.products import Block, Products
from wafer_runtime.simulator.program import Program, Task

Compute = Callable[[Products, Array, Array, Array], None]


class Tile(Protocol):
    """The part of a layer in one PE: lengths of its arrays, and what it computes."""

    def lengths(self) -> tuple[int, int, int]:
        """Elements of inputs, outputs and weights."""

    def forward(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """y += what the weights make of x."""

    def input_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """x, as a gradient, += the gradient y through the weights."""

    def weight_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """w, as a gradient, += the gradient y with the inputs x."""


@dataclass(frozen=True)
class Dense:
    """y [samples, outputs] = x [samples, inputs] w [inputs, outputs]."""

    samples: int
    inputs: int
    outputs: int

    def lengths(self) -> tuple[int, int, int]:
        """See `Tile`."""
        s, i, o = self.samples, self.inputs, self.outputs
        return s * i, s * o, i * o

    def _blocks(self, x: Array, y: Array, w: Array) -> tuple[Block, Block, Block]:
        i, o = self.inputs, self.outputs
        return Block(x, i, 1), Block(y, o, 1), Block(w, o, 1)

    def forward(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        xs, ys, ws = self._blocks(x, y, w)
        products.add(ys, xs, ws, (self.samples, self.inputs, self.outputs))

    def input_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        xs, ys, ws = self._blocks(x, y, w)
        products.add(xs, ys, ws.turned, (self.samples, self.outputs, self.inputs))

    def weight_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        xs, ys, ws = self._blocks(x, y, w)
        products.add(ws, xs.turned, ys, (self.inputs, self.samples, self.outputs))


@dataclass(frozen=True)
class Conv:
    """y [K, h, w] of x [C, H, W] and weights [R, S, K, C], strides T down, U right.

    h = (H - R) // T + 1 and w = (W - S) // U + 1: what lies outside x is none.
    """

    channels: int
    filters: int
    height: int
    width: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)

    @property
    def output(self) -> tuple[int, int]:
        """h and w."""
        down, right = self.strides
        return (
            (self.height - self.kernel[0]) // down + 1,
            (self.width - self.kernel[1]) // right + 1,
        )

    def lengths(self) -> tuple[int, int, int]:
        """See `Tile`."""
        h, w = self.output
        taps = self.kernel[0] * self.kernel[1]
        weights = taps * self.channels * self.filters
        return self.channels * self.height * self.width, self.filters * h * w, weights

    def _taps(self, x: Array, y: Array, w: Array) -> list[tuple[Block, Block, Block]]:
        """For every row of outputs and weight of the window: the rows of x and y, by
        channel, and the weights [K, C] that join them.
        """
        (rows, columns), (down, right) = self.kernel, self.strides
        height, width = self.output
        taps = []
        for r, s, i in ((r, s, i) for r in range(rows) for s in range(columns)
                        for i in range(height)):  # fmt: skip
            start = (i * down + r) * self.width + s
            xs = Block(x, self.height * self.width, right, start)
            ys = Block(y, height * width, 1, i * width)
            at = (r * columns + s) * self.filters * self.channels
            taps.append((xs, ys, Block(w, self.channels, 1, at)))
        return taps

    def forward(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        for xs, ys, ws in self._taps(x, y, w):
            products.add(ys, ws, xs, (self.filters, self.channels, self.output[1]))

    def input_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        for xs, ys, ws in self._taps(x, y, w):
            shape = (self.channels, self.filters, self.output[1])
            products.add(xs, ws.turned, ys, shape)

    def weight_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        for xs, ys, ws in self._taps(x, y, w):
            shape = (self.filters, self.output[1], self.channels)
            products.add(ws, ys, xs.turned, shape)


@dataclass(frozen=True)
class Placed:
    """A kernel on its layout; `x`, `y`, `w` are each PE's parts.

    x is given and told in the first row of PEs, y in the first column, w everywhere.
    """

    layout: Layout
    x: Array
    y: Array
    w: Array


def _placed(tile: Tile, columns: int, rows: int, dtype: str) -> Placed:
    layout = Layout(columns, rows)
    x, y, w = (
        layout.array(name, length, dtype)
        for name, length in zip("xyw", tile.lengths(), strict=True)
    )
    return Placed(layout, x, y, w)


def forward(tile: Tile, columns: int, rows: int, dtype: str = "float16") -> Placed:
    """y from x and w."""
    made = _placed(tile, columns, rows, dtype)
    phases = Phases(made.layout)
    collectives.broadcast(collectives.columns(phases), made.x)
    _everywhere(phases, tile.forward, made)
    collectives.chain(collectives.rows(phases), made.y)
    phases.place()
    return made


def input_gradient(
    tile: Tile, columns: int, rows: int, dtype: str = "float16"
) -> Placed:
    """x, the inputs' gradient, from y, the outputs', and w."""
    made = _placed(tile, columns, rows, dtype)
    phases = Phases(made.layout)
    collectives.broadcast(collectives.rows(phases), made.y)
    _everywhere(phases, tile.input_gradient, made)
    collectives.chain(collectives.columns(phases), made.x)
    phases.place()
    return made


def weight_gradient(
    tile: Tile, columns: int, rows: int, dtype: str = "float16"
) -> Placed:
    """w, the weights' gradient, from x and y, the outputs' gradient."""
    made = _placed(tile, columns, rows, dtype)
    phases = Phases(made.layout)
    collectives.broadcast(collectives.columns(phases), made.x)
    collectives.broadcast(collectives.rows(phases), made.y)
    _everywhere(phases, tile.weight_gradient, made)
    phases.place()
    return made


def _everywhere(phases: Phases, compute: Compute, made: Placed) -> None:
    """A phase in which every PE computes on its arrays."""

    def write(program: Program, task: Task) -> None:
        compute(Products(program, task), made.x, made.y, made.w)

    phase = phases.add()
    phase.roles[...] = phase.role(write)
