"""Random bits, made where they are used."""

from wafer_runtime.compiler.kernels.library import (
    FLOATS,
    INDICES,
    KernelType,
    elements,
)

DROPOUT = KernelType(
    name="dropout",
    summary="Random numbers, and what is made of them on the way: dropout, noise.",
    layers=(
        "tf_keras.layers.Dropout",
        "tf.nn.dropout",
        "tf.random.uniform",
        "tf.random.normal",
        "tf.random.stateless_uniform",
    ),
    dtypes=FLOATS + INDICES,
    opcodes=frozenset(["rng", "rng-bit-generator"]),
    takes=frozenset(["rng-get-and-update-state", "reduce"]),
    measure=elements,
)
