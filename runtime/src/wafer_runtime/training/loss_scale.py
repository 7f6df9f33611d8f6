"""Loss scaling: keeps small fp16 gradients from vanishing."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1


class LossScale:
    """A factor for the loss that its gradients are divided by again.

    A number stays as it is. "dynamic" starts at `initial_loss_scale`, doubles after
    `steps_per_increase` steps without overflow and halves at each overflow, within
    `min_loss_scale` and `max_loss_scale`. Either way a step whose gradients overflow is
    to be skipped; `overflow_steps` counts them. A scale of 1 does nothing of all that.
    """

    def __init__(self, optimizer: Mapping[str, Any]):
        given = optimizer["loss_scaling_factor"]
        self._given = optimizer
        self._dynamic = given == "dynamic"
        self.enabled = given != 1.0
        if not self.enabled:
            return
        first = optimizer["initial_loss_scale"] if self._dynamic else given
        self._scale = _state("loss_scale", float(first), tf.float32)
        self._good_steps = _state("good_steps", 0, tf.int64)
        self._overflow_steps = _state("overflow_steps", 0, tf.int64)
        self._factor = self._scale.read_value()
        tf1.summary.scalar("loss_scale", self._factor)
        tf1.summary.scalar("overflow_steps", self._overflow_steps.read_value())

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss to differentiate."""
        return loss * tf.cast(self._factor, loss.dtype) if self.enabled else loss

    def unscaled(self, gradients: Sequence[Any]) -> list[Any]:
        """The gradients of the loss itself."""
        if not self.enabled:
            return list(gradients)
        return [_times(g, 1 / self._factor) for g in gradients]

    def updated(self, finite: tf.Tensor) -> tf.Operation:
        """The operation that counts this step, and adapts a dynamic scale."""
        overflow = tf.cast(tf.logical_not(finite), tf.int64)
        counted = self._overflow_steps.assign_add(overflow, read_value=False)
        if not self._dynamic:
            return counted
        good = self._good_steps.read_value() + 1
        doubled = finite & (good >= self._given["steps_per_increase"])
        factor = tf.where(finite, tf.where(doubled, 2.0, 1.0), 0.5)
        scale = tf.clip_by_value(
            self._factor * factor,
            self._given["min_loss_scale"],
            self._given["max_loss_scale"],
        )
        keep = finite & tf.logical_not(doubled)
        return tf.group(
            counted,
            self._scale.assign(scale, read_value=False),
            self._good_steps.assign(tf.where(keep, good, 0), read_value=False),
        )


def _times(gradient: Any, factor: tf.Tensor) -> Any:
    if isinstance(gradient, tf.IndexedSlices):
        values = gradient.values * tf.cast(factor, gradient.dtype)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * tf.cast(factor, gradient.dtype)


def _state(name: str, value: float, dtype: tf.DType) -> tf.Variable:
    with tf1.variable_scope("loss_scaling", reuse=tf1.AUTO_REUSE):
        return tf1.get_variable(
            name,
            shape=[],
            dtype=dtype,
            initializer=tf1.constant_initializer(value),
            trainable=False,
            use_resource=True,
        )
