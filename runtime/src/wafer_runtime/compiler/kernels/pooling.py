"""Pooling: the greatest or the mean of each window."""

import math

from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernels.library import KernelType, Limit, share, streamed


def _sizes(pool: Instruction, batch: int) -> dict[str, int]:
    window = pool.proto.window.dimensions
    size = math.prod(d.size for d in window)
    return {
        "outputs": share(pool.elements, batch),
        "window": size or 1,
        "stride": max((d.stride for d in window), default=1),
    }


def comparisons(pool: Instruction) -> int:
    """Or additions: one for each number of each window, forward or back."""
    given = pool.operands[1] if pool.opcode == "select-and-scatter" else pool
    return given.elements * math.prod(d.size for d in pool.proto.window.dimensions)


POOLING = KernelType(
    name="pooling",
    summary="The greatest or the mean of each window, in one or two dimensions. "
    "Global pooling is a reduction.",
    layers=(
        "tf_keras.layers.MaxPool2D",
        "layers.AveragePooling2D",
        "tf.nn.max_pool2d",
        "tf.nn.avg_pool2d",
    ),
    ops=frozenset(["MaxPool", "MaxPoolV2", "AvgPool", "MaxPool3D", "AvgPool3D"]),
    takes=frozenset(["reduce-window", "select-and-scatter"]),
    limits=(
        Limit(
            "pooling in three dimensions",
            lambda i: sum(d.size > 1 for d in i.proto.window.dimensions) > 2,
            "MaxPool2D or AveragePooling2D of each slice",
        ),
    ),
    measured=frozenset(["reduce-window"]),
    measure=_sizes,
    spread=lambda dims: streamed(dims["outputs"]),
)
