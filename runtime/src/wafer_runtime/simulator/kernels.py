"""Programs of the layers' kernels: dense, conv, attention; forward and gradients.

Dense and conv put a tile of the weights into every PE of a rectangle: inputs are split
over its columns, outputs over its rows. Inputs come down the columns and sums go to the
west; gradients of outputs come from the west and sums go north. One head of attention
is in one PE.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from wafer_runtime.simulator import collectives
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.lines import Phases
from wafer_runtime.simulator.machine import FabricConfig
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
        products.add(ys, [(xs, ws)], (self.samples, self.inputs, self.outputs))

    def input_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        xs, ys, ws = self._blocks(x, y, w)
        products.add(xs, [(ys, ws.turned)], (self.samples, self.outputs, self.inputs))

    def weight_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        xs, ys, ws = self._blocks(x, y, w)
        products.add(ws, [(xs.turned, ys)], (self.inputs, self.samples, self.outputs))


@dataclass(frozen=True)
class Conv:
    """y [h, w, K] of x [H, W, C] and weights [K, R, S, C], strides T down, U right.

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

    def _windows(self, x: Array, row: int, r: int) -> Block:
        """[w, S C]: what a row of weights meets, for each output of a row of them."""
        start = (row * self.strides[0] + r) * self.width * self.channels
        return Block(x, self.strides[1] * self.channels, 1, start)

    def _outputs(self, y: Array, row: int) -> Block:
        """[w, K]: a row of outputs."""
        return Block(y, self.filters, 1, row * self.output[1] * self.filters)

    def _weights(self, w: Array, r: int) -> Block:
        """[K, S C]: a row of the weights."""
        length = self.kernel[1] * self.channels
        return Block(w, self.kernel[0] * length, 1, r * length)

    def forward(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        rows = range(self.kernel[0])
        shape = self.output[1], self.kernel[1] * self.channels, self.filters
        for i in range(self.output[0]):
            pairs = [(self._windows(x, i, r), self._weights(w, r).turned) for r in rows]
            products.add(self._outputs(y, i), pairs, shape)

    def input_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        shape = self.output[1], self.filters, self.kernel[1] * self.channels
        for i in range(self.output[0]):
            for r in range(self.kernel[0]):
                pair = self._outputs(y, i), self._weights(w, r)
                products.add(self._windows(x, i, r), [pair], shape)

    def weight_gradient(self, products: Products, x: Array, y: Array, w: Array) -> None:
        """See `Tile`."""
        if self.height > 1 and self.kernel == self.strides == (1, 1):
            line = replace(self, height=1, width=self.height * self.width)
            line.weight_gradient(products, x, y, w)
            return
        rows = range(self.output[0])
        shape = self.kernel[1] * self.channels, self.output[1], self.filters
        for r in range(self.kernel[0]):
            pairs = [(self._windows(x, i, r).turned, self._outputs(y, i)) for i in rows]
            products.add(self._weights(w, r).turned, pairs, shape)


@dataclass(frozen=True)
class Pes:
    """A rectangle for a layer, the machine, and what numbers are held in.

    dtype: float32 or float16; sums of products are float32.
    """

    columns: int = 1
    rows: int = 1
    config: FabricConfig = field(default_factory=FabricConfig)
    dtype: str = "float16"


@dataclass(frozen=True)
class Placed:
    """A kernel on its layout; `x`, `y`, `w` are each PE's parts.

    x is given and told in the first row of PEs, y in the first column, w everywhere.
    """

    layout: Layout
    x: Array
    y: Array
    w: Array


def _placed(tile: Tile, pes: Pes, sums: str) -> Placed:
    """The arrays; those of `sums` are in float32 whatever the others are in."""
    layout = Layout(pes.columns, pes.rows, pes.config)
    x, y, w = (
        layout.array(name, length, "float32" if name == sums else pes.dtype)
        for name, length in zip("xyw", tile.lengths(), strict=True)
    )
    return Placed(layout, x, y, w)


def forward(tile: Tile, pes: Pes) -> Placed:
    """y from x and w."""
    made = _placed(tile, pes, sums="y")
    phases = Phases(made.layout)
    collectives.broadcast(collectives.columns(phases), made.x)
    _everywhere(phases, tile.forward, made)
    collectives.chain(collectives.rows(phases), made.y)
    phases.place()
    return made


def input_gradient(tile: Tile, pes: Pes) -> Placed:
    """x, the inputs' gradient, from y, the outputs', and w."""
    made = _placed(tile, pes, sums="x")
    phases = Phases(made.layout)
    collectives.broadcast(collectives.rows(phases), made.y)
    _everywhere(phases, tile.input_gradient, made)
    collectives.chain(collectives.columns(phases), made.x)
    phases.place()
    return made


def weight_gradient(tile: Tile, pes: Pes) -> Placed:
    """w, the weights' gradient, from x and y, the outputs' gradient."""
    made = _placed(tile, pes, sums="w")
    phases = Phases(made.layout)
    collectives.broadcast(collectives.columns(phases), made.x)
    collectives.broadcast(collectives.rows(phases), made.y)
    _everywhere(phases, tile.weight_gradient, made)
    phases.place()
    return made


def _everywhere(phases: Phases, compute: Compute, made: Placed) -> None:
    """A phase in which every PE computes on its arrays."""

    def write(program: Program, task: Task) -> None:
        products = Products(program, task, made.layout.config)
        compute(products, made.x, made.y, made.w)

    phase = phases.add()
    phase.roles[...] = phase.role(write)
