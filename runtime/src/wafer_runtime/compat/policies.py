"""`tf.keras.mixed_precision.experimental`: policies that knew of loss scaling."""

from typing import Any

import tensorflow as tf
from tf_keras.src.mixed_precision import loss_scale_optimizer

from wafer_runtime.errors import UsageError

set_policy = tf.keras.mixed_precision.set_global_policy
global_policy = tf.keras.mixed_precision.global_policy


class Policy(tf.keras.mixed_precision.Policy):
    """A dtype policy; `loss_scale` was for `Model.fit`, which no model_fn calls."""

    def __init__(self, name: str, loss_scale: Any = "auto"):
        super().__init__(name)
        self.loss_scale = None if loss_scale == "auto" else loss_scale


class LossScaleOptimizer(loss_scale_optimizer.LossScaleOptimizer):
    """A Keras optimizer with loss scaling, made from `loss_scale` as it was.

    loss_scale: a number, "dynamic", or a FixedLossScale or DynamicLossScale.
    """

    def __init__(self, optimizer: Any, loss_scale: Any):
        config = loss_scale.get_config() if hasattr(loss_scale, "get_config") else {}
        if "increment_period" in config:
            initial, growth = config["initial_loss_scale"], config["increment_period"]
            if config["multiplier"] != 2:
                raise UsageError(
                    f"DynamicLossScale(multiplier={config['multiplier']}): Keras's "
                    "loss-scale optimizer only doubles and halves; leave it at 2"
                )
            super().__init__(optimizer, True, initial, growth)
        elif loss_scale == "dynamic":
            super().__init__(optimizer)
        else:
            fixed = config.get("loss_scale_value", loss_scale)
            super().__init__(optimizer, False, float(fixed))
