"""Chains of arithmetic on single numbers, which flow through as they come."""

from wafer_runtime.compiler.kernels.library import (
    ELEMENTWISE,
    FLOATS,
    INDICES,
    KernelType,
    elements,
)

# Activations that models on Cerebras systems use (facts of release 1.6).
ACTIVATIONS = (
    "gelu",
    "relu",
    "relu6",
    "tanh",
    "elu",
    "selu",
    "hard_swish",
    "linear",
    "LeakyReLU",
    "sigmoid",
    "swish",
    "softplus",
)

ELEMENTWISE_CHAIN = KernelType(
    name="elementwise",
    summary="Arithmetic on single numbers, any number of operations in a row, with "
    f"broadcasting; the activations {', '.join(ACTIVATIONS)}.",
    layers=(
        "tf_keras.layers.Activation",
        "layers.Add",
        "layers.Multiply",
        "tf.nn.relu",
        "x + y",
        "tf.where",
        "tf.cond(condition, f, g), both sides of which run",
        "tf.while_loop(condition, body, x) of a known length, every turn in line",
        "tf.scan(f, x)",
        "tf.map_fn(f, x)",
    ),
    dtypes=(*FLOATS, *INDICES, "bool"),
    takes=ELEMENTWISE,
    measure=elements,
)
