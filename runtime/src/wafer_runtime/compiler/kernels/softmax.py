"""Softmax, and the cross-entropies that end most models."""

from collections.abc import Mapping

from wafer_runtime.compiler.kernels.library import (
    FLOATS,
    INDICES,
    KernelType,
    Sizes,
    outer_and_width,
    streamed,
)


def _spread(dims: Mapping[str, int]) -> Sizes:
    return streamed(dims["rows"] * dims["width"])


SOFTMAX = KernelType(
    name="softmax",
    summary="Shares that add up to one along the last dimension; also their logarithm.",
    layers=("tf_keras.layers.Softmax", "tf.nn.softmax", "tf.nn.log_softmax"),
    ops=frozenset(["Softmax", "LogSoftmax"]),
    takes=frozenset(["reduce"]),
    measure=outer_and_width,
    spread=_spread,
)

CROSS_ENTROPY = KernelType(
    name="cross_entropy",
    summary="The loss of logits against classes (int32), shares of classes, or "
    "independent probabilities; forward and gradient in one.",
    layers=(
        "tf.nn.sparse_softmax_cross_entropy_with_logits",
        "tf.nn.softmax_cross_entropy_with_logits",
        "tf.nn.sigmoid_cross_entropy_with_logits",
    ),
    ops=frozenset(
        ["SparseSoftmaxCrossEntropyWithLogits", "SoftmaxCrossEntropyWithLogits"]
    ),
    dtypes=FLOATS + INDICES,
    takes=frozenset(["reduce"]),
    measure=outer_and_width,
    spread=_spread,
)
