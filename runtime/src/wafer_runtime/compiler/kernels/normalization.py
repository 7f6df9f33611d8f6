"""Normalisations: to mean 0 and variance 1, over a batch, a layer, a group."""

from wafer_runtime.compiler.kernels.library import KernelType, elements

NORMALIZATION = KernelType(
    name="normalization",
    summary="Layer, batch, group or RMS normalisation, with scale and offset; batch "
    "normalisation's moving averages are updated on the wafer.",
    layers=(
        "tf_keras.layers.LayerNormalization",
        "layers.BatchNormalization",
        "layers.GroupNormalization",
        "tf.nn.moments with tf.nn.batch_normalization",
        "x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1) + epsilon)",
    ),
    ops=frozenset(["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"]),
    opcodes=frozenset(["batch-norm-training", "batch-norm-inference"]),
    takes=frozenset(["reduce", "batch-norm-grad"]),
    measure=elements,
)
