"""Sums, means and extremes along dimensions."""

from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernels.library import (
    FLOATS,
    INDICES,
    KernelType,
    share,
    streamed,
)


def _sizes(reduce: Instruction, batch: int) -> dict[str, int]:
    return {
        "inputs": share(reduce.operands[0].elements, batch),
        "outputs": share(reduce.elements, batch),
    }


REDUCTION = KernelType(
    name="reduction",
    summary="Sums, means, extremes and their places, norms, running sums.",
    layers=(
        "tf.reduce_sum",
        "tf.reduce_mean",
        "tf.argmax(x, output_type=tf.int32)",
        "tf_keras.layers.GlobalAveragePooling2D",
        "tf.cumsum",
    ),
    ops=frozenset(["Cumsum", "Cumprod", "CumulativeLogsumexp"]),
    dtypes=(*FLOATS, *INDICES, "bool"),
    takes=frozenset(["reduce", "reduce-window"]),
    measured=frozenset(["reduce", "reduce-window"]),
    measure=_sizes,
    spread=lambda dims: streamed(dims["inputs"], latency=1.0),
)
