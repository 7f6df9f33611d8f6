"""From the `optimizer:` section of params.yaml to one training operation."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import ParamsError

# Dynamic loss scaling as the vendor's stack has it: start high, double when 2000 steps
# went well, halve on overflow (facts: release 1.6).
_INITIAL_SCALE = 2.0**15
_GOOD_STEPS = 2000


def minimize(loss: tf.Tensor, optimizer: Mapping[str, Any]) -> tf.Operation:
    """The operation that takes one step of the configured optimizer.

    loss: scalar tensor. optimizer: the `optimizer` section of the params. The global
    step advances with every batch, also with one that loss scaling skips because its
    gradients overflowed. Raises ParamsError for an unknown optimizer_type.
    """
    optimize = _optimizer(optimizer)
    scale = optimizer["loss_scaling_factor"]
    if scale != 1.0:
        optimize = tf1.train.experimental.MixedPrecisionLossScaleOptimizer(
            optimize, _loss_scale(scale)
        )
    update = optimize.minimize(loss)
    with tf.control_dependencies([update]):
        return tf1.assign_add(tf1.train.get_or_create_global_step(), 1).op


def _optimizer(given: Mapping[str, Any]) -> Any:
    kind, rate = given["optimizer_type"], given["learning_rate"]
    adam = {name: given[name] for name in ("beta1", "beta2", "epsilon")}
    match kind:
        case "sgd":
            return tf1.train.GradientDescentOptimizer(rate)
        case "momentum":
            return tf1.train.MomentumOptimizer(rate, given["momentum"])
        case "adam":
            return tf1.train.AdamOptimizer(rate, **adam)
        case "adamw":
            return AdamWOptimizer(rate, given["weight_decay_rate"], **adam)
        case "rmsprop":
            return tf1.train.RMSPropOptimizer(
                rate, given["rho"], epsilon=given["epsilon"]
            )
    raise ParamsError(
        f"optimizer.optimizer_type: {kind!r} is not one of sgd, momentum, adam, adamw, "
        "rmsprop"
    )


def _loss_scale(scale: float | str) -> Any:
    if scale == "dynamic":
        return tf1.mixed_precision.DynamicLossScale(_INITIAL_SCALE, _GOOD_STEPS)
    return tf1.mixed_precision.FixedLossScale(scale)


class AdamWOptimizer(tf1.train.AdamOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2).

    Biases and normalisation weights (rank below 2) are not decayed.
    """

    def __init__(self, learning_rate: float, weight_decay_rate: float, **adam: Any):
        super().__init__(learning_rate, name="AdamW", **adam)
        self._shrink = learning_rate * weight_decay_rate

    def apply_gradients(
        self, grads_and_vars: Any, global_step: Any = None, name: str | None = None
    ) -> Any:
        """One update; the decay uses the weights from before it."""
        pairs = list(grads_and_vars)
        # Weights may shrink only when no gradient needs their old values any more.
        with tf.control_dependencies([g for g, _ in pairs if g is not None]):
            decays = [
                v.assign_sub(self._shrink * v, read_value=False)
                for g, v in pairs
                if g is not None and v.shape.rank > 1
            ]
        with tf.control_dependencies(decays):
            return super().apply_gradients(pairs, global_step, name)
