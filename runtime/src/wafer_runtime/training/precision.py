"""Which number formats a model computes in and keeps its weights in."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def precision_policy(model: Mapping[str, Any]) -> Any:
    """The `dtype=` of a model's Keras layers.

    With `mixed_precision: true` in the `model:` section, layers compute in fp16 and
    keep fp32 weights; give the optimizer a `loss_scaling_factor` then.
    """
    name = "mixed_float16" if model.get("mixed_precision") else "float32"
    return tf.keras.mixed_precision.Policy(name)
