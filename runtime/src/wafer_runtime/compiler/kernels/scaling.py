"""What all gradients have in common before the update: their scale."""

from wafer_runtime.compiler.kernels.library import KernelType, elements, streamed

GRADIENT_SCALING = KernelType(
    name="gradient_scaling",
    summary="Loss scaling, the search for overflow, the global norm for clipping, and "
    "the numbers of an update that no weight has for itself.",
    layers=(
        "wafer_runtime.training.minimize with loss_scaling_factor",
        "tf.clip_by_global_norm",
        "tf.clip_by_value",
    ),
    takes=frozenset(["reduce"]),
    measure=elements,
    # Most of it is done where the gradients are.
    spread=lambda dims: streamed(dims["operations"]),
)
