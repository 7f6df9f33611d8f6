"""Which number formats a model computes in and keeps its weights in."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from wafer_runtime.errors import ParamsError

_POLICIES = {
    False: "float32",
    True: "mixed_float16",
    "float16": "mixed_float16",
    "bfloat16": "mixed_bfloat16",
}


def precision_policy(model: Mapping[str, Any]) -> Any:
    """The `dtype=` of a model's Keras layers, from `mixed_precision` in `model:`.

    false: all in fp32. true or "float16": layers compute in fp16 and keep fp32 weights;
    give the optimizer a `loss_scaling_factor` then. "bfloat16": likewise in bfloat16,
    whose range is that of fp32, so that nothing needs scaling.
    """
    given = model.get("mixed_precision", False)
    if given not in _POLICIES:
        raise ParamsError(
            f"model.mixed_precision: {given!r} is not one of false, true, float16, "
            "bfloat16"
        )
    return tf.keras.mixed_precision.Policy(_POLICIES[given])
