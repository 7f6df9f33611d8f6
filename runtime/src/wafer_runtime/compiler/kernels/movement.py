"""Changes of place or form: nothing is computed, but samples travel."""

from wafer_runtime.compiler.kernels.library import (
    FLOATS,
    INDICES,
    MOVEMENT,
    KernelType,
    elements,
)

MOVE = KernelType(
    name="movement",
    summary="Reshape, transpose, slice, concatenate, pad, tile, broadcast, select by "
    "index.",
    layers=(
        "tf.reshape",
        "tf.transpose",
        "tf.concat",
        "tf.pad",
        "tf.tile",
        "tf.gather(x, i)",
        "x[:, 0]",
        "tf_keras.layers.Flatten",
        "layers.UpSampling2D",
        "tf.image.resize(x, size, 'nearest')",
        "layers.ZeroPadding2D",
    ),
    dtypes=(*FLOATS, *INDICES, "bool"),
    takes=MOVEMENT,
    measure=elements,
)
