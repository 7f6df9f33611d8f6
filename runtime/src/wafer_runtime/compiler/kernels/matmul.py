"""Matrix products: with weights (dense layers), and of activations (attention)."""

import math
from collections.abc import Iterable, Mapping

from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernels.library import KernelType, Sizes, share


def dot_sizes(dot: Instruction) -> dict[str, int]:
    """`groups` products of [rows, inner] with [inner, columns], of a whole batch."""
    numbers = dot.proto.dot_dimension_numbers
    left, right = dot.operands

    def size(shape: tuple[int, ...], dimensions: Iterable[int]) -> int:
        return math.prod(shape[d] for d in dimensions)

    def others(shape: tuple[int, ...], *known: Iterable[int]) -> int:
        return size(shape, set(range(len(shape))).difference(*known))

    left_groups, left_inner, right_groups, right_inner = (
        numbers.lhs_batch_dimensions,
        numbers.lhs_contracting_dimensions,
        numbers.rhs_batch_dimensions,
        numbers.rhs_contracting_dimensions,
    )
    return {
        "groups": size(left.shape, left_groups),
        "rows": others(left.shape, left_groups, left_inner),
        "inner": size(left.shape, left_inner),
        "columns": others(right.shape, right_groups, right_inner),
    }


def macs(dot: Instruction) -> int:
    """Multiply-accumulates of a batch."""
    return math.prod(dot_sizes(dot).values())


def _dense(dot: Instruction, batch: int) -> dict[str, int]:
    sizes = dot_sizes(dot)
    positions, outputs = sizes["rows"], sizes["columns"]
    if dot.operands[1].streams:
        positions, outputs = outputs, positions
    return {
        "positions": share(sizes["groups"] * positions, batch),
        "inputs": sizes["inner"],
        "outputs": outputs,
    }


def _of_a_sample(dot: Instruction, batch: int) -> dict[str, int]:
    """A sample's share of a batch's products.

    The samples are the groups, as in attention; or else the rows, as in a product of
    each sample with all others (contrastive losses); or else the columns; or what is
    summed over, as in a covariance, where a sample adds one term. What no dimension has
    as many of as there are samples is done once for the batch, and stays whole.
    """
    sizes = dot_sizes(dot)
    for name in ("groups", "rows", "columns", "inner"):
        if sizes[name] % batch == 0:
            return sizes | {name: sizes[name] // batch}
    return sizes


def _spread_dense(dims: Mapping[str, int]) -> Sizes:
    """As a convolution with a window of 1, over a column of positions."""
    positions, inputs, outputs = dims["positions"], dims["inputs"], dims["outputs"]
    return Sizes(
        positions, 1, inputs, outputs, products=True, stored=True, latency=1 / positions
    )


def _spread_attention(dims: Mapping[str, int]) -> Sizes:
    """As a dense layer for each group (head), whose weights are the right operand.

    An attention's first product waits for all keys; the values of its second are there
    by then: half a sample each.
    """
    groups, rows, inner, columns = (
        dims[name] for name in ("groups", "rows", "inner", "columns")
    )
    return Sizes(
        groups,
        rows,
        inner,
        columns,
        products=True,
        bilinear=True,
        stored=True,
        latency=0.5,
    )


DENSE = KernelType(
    name="dense",
    summary="A product with weights, with bias and activation, for one vector or a "
    "sequence of positions; weights may be another kernel's (tied embeddings), or "
    "constants, such as those of bilinear resizing.",
    layers=(
        "tf_keras.layers.Dense",
        "tf.matmul(x, weights)",
        "tf_keras.layers.LSTM(units), each step by itself",
        "layers.GRU",
        "tf.einsum",
        "tf.tensordot",
        "tf.image.resize(x, size)",
        "layers.UpSampling2D(interpolation='bilinear')",
    ),
    measured=frozenset(["dot"]),
    measure=_dense,
    spread=_spread_dense,
)

BATCHED_MATMUL = KernelType(
    name="batched_matmul",
    summary="Products of activations with one another, sample by sample and head by "
    "head, as in attention.",
    layers=("tf.matmul(x, y)", "tf.einsum", "tf_keras.layers.Attention", "layers.Dot"),
    opcodes=frozenset(["dot"]),
    takes=frozenset(["reduce"]),
    measured=frozenset(["dot"]),
    measure=_of_a_sample,
    spread=_spread_attention,
)
