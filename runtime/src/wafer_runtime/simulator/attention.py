"""A head of attention in a PE: softmax(q k' / sqrt(d)) v, and its gradients.

Sums are taken in float32 and rounded once; the rest is computed in the arrays' dtype.
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from wafer_runtime.simulator.encoding import Operand
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.simulator.memory import Array, Register, View
from wafer_runtime.simulator.products import Block, Products
from wafer_runtime.simulator.program import Program, Task


@dataclass(frozen=True)
class Attention:
    """`heads` PEs in a row, each with q, k, v and o [positions, size].

    `p` holds the weights [positions, positions] after `forward`; `gradient` needs them.
    The gradients of the four are in dq, dk, dv and do, that of p in dp.
    """

    layout: Layout
    positions: int
    size: int
    arrays: dict[str, Array]


def attention(
    heads: int,
    positions: int,
    size: int,
    dtype: str,
    config: FabricConfig | None = None,
) -> Attention:
    """The arrays of `Attention`; `forward` or `gradient` places a program."""
    layout = Layout(heads, 1, config)
    vectors = ["q", "k", "v", "o", "dq", "dk", "dv", "do"]
    arrays = {n: layout.array(n, positions * size, dtype) for n in vectors}
    arrays |= {n: layout.array(n, positions**2, dtype) for n in ("p", "dp")}
    return Attention(layout, positions, size, arrays)


def forward(made: Attention) -> None:
    """Compute p and o from q, k and v."""
    program, products, b = _start(made, "attention forward")
    n, d, task = made.positions, made.size, products.task
    products.set(b["p"], b["q"], b["k"].turned, (n, d, n))
    greatest, total = program.register(), program.register()
    with products.rows(n, b["p"], n) as row:
        task.mul(row, row, d**-0.5)
        task.mov(greatest, -inf, dtype=row.array.dtype)
        task.max(greatest, greatest, row)
        task.sub(row, row, greatest)
        task.exp(row, row)
        _sum(products, total, row, 1.0)
        task.div(row, row, total)
    products.set(b["o"], b["p"], b["v"], (n, n, d))
    made.layout.place(program, x=slice(None))


def gradient(made: Attention) -> None:
    """Compute dq, dk and dv from do, p, q, k and v."""
    program, products, b = _start(made, "attention gradient")
    n, d, task = made.positions, made.size, products.task
    products.set(b["dv"], b["p"].turned, b["do"], (n, n, d))
    products.set(b["dp"], b["do"], b["v"].turned, (n, d, n))
    mean = program.register()
    with products.rows(n, b["dp"], n) as row:
        weights = b["p"].row(n, products.y_at)
        _sum(products, mean, row, weights)
        task.sub(row, row, mean)
        task.mul(row, row, weights)
        task.mul(row, row, d**-0.5)
    products.set(b["dq"], b["dp"], b["k"], (n, n, d))
    products.set(b["dk"], b["dp"].turned, b["q"], (n, n, d))
    made.layout.place(program, x=slice(None))


def _sum(products: Products, total: Register, row: View, weights: Operand) -> None:
    """total = the sum of row * weights, in float32, then rounded to their dtype."""
    products.task.set(total, 0)
    products.add_products(total, row, weights)
    if row.array.dtype == np.float16:
        products.task.narrow(total, total)


def _start(made: Attention, name: str) -> tuple[Program, Products, dict[str, Block]]:
    """A program with a task, and the arrays as matrices."""
    program = Program(name)
    task: Task = program.task(start=True)
    blocks = {
        n: Block(a, made.positions if n in ("p", "dp") else made.size, 1)
        for n, a in made.arrays.items()
    }
    return program, Products(program, task, made.layout.config), blocks
