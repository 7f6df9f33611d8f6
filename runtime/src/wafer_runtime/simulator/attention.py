"""A head of attention in a PE: softmax(q k' / sqrt(d)) v, and its gradients."""

from dataclasses import dataclass

from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.memory import Array
from wafer_runtime.simulator.products import Block, Products
from wafer_runtime.simulator.program import Program, Task

_LOWEST = -65504.0  # of float16


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


def attention(heads: int, positions: int, size: int, dtype: str) -> Attention:
    """The arrays of `Attention`; `forward` or `gradient` places a program."""
    layout = Layout(heads, 1)
    vectors = ["q", "k", "v", "o", "dq", "dk", "dv", "do"]
    arrays = {n: layout.array(n, positions * size, dtype) for n in vectors}
    arrays |= {n: layout.array(n, positions**2, dtype) for n in ("p", "dp")}
    return Attention(layout, positions, size, arrays)


def forward(made: Attention) -> None:
    """Compute p and o from q, k and v."""
    program, products, b = _start(made, "attention forward")
    n, d, task = made.positions, made.size, products.task
    products.add(b["p"], [(b["q"], b["k"].turned)], (n, d, n))
    greatest, total = program.register(), program.register()
    with products.rows(n, b["p"], n) as row:
        task.mul(row, row, d**-0.5)
        task.mov(greatest, _LOWEST, dtype=row.array.dtype)
        task.max(greatest, greatest, row)
        task.sub(row, row, greatest)
        task.exp(row, row)
        task.mov(total, 0.0, dtype=row.array.dtype)
        task.add(total, total, row)
        task.div(row, row, total)
    products.add(b["o"], [(b["p"], b["v"])], (n, n, d))
    made.layout.place(program, x=slice(None))


def gradient(made: Attention) -> None:
    """Compute dq, dk and dv from do, p, q, k and v."""
    program, products, b = _start(made, "attention gradient")
    n, d, task = made.positions, made.size, products.task
    products.add(b["dv"], [(b["p"].turned, b["do"])], (n, n, d))
    products.add(b["dp"], [(b["do"], b["v"].turned)], (n, d, n))
    mean = program.register()
    with products.rows(n, b["dp"], n) as row:
        weights = b["p"].row(n, products.y_at)
        task.mov(mean, 0.0, dtype=row.array.dtype)
        task.mac(mean, row, weights)
        task.sub(row, row, mean)
        task.mul(row, row, weights)
        task.mul(row, row, d**-0.5)
    products.add(b["dq"], [(b["dp"], b["k"])], (n, n, d))
    products.add(b["dk"], [(b["dp"].turned, b["q"])], (n, n, d))
    made.layout.place(program, x=slice(None))


def _start(made: Attention, name: str) -> tuple[Program, Products, dict[str, Block]]:
    """A program with a task, and the arrays as matrices."""
    program = Program(name)
    task: Task = program.task(start=True)
    blocks = {
        n: Block(a, made.positions if n in ("p", "dp") else made.size, 1)
        for n, a in made.arrays.items()
    }
    return program, Products(program, task, made.layout.config), blocks
