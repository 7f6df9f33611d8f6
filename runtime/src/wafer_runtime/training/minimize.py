"""From a loss and the `optimizer` section of params.yaml to one training operation."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.training.loss_scale import LossScale
from wafer_runtime.training.optimizers import decays, make_optimizer
from wafer_runtime.training.schedules import learning_rate_at

Pairs = list[tuple[Any, tf.Variable]]


def minimize(loss: tf.Tensor, optimizer: Mapping[str, Any]) -> tf.Operation:
    """The operation that trains on one batch with the configured optimizer.

    loss: scalar tensor. optimizer: the `optimizer` section of the params. In this
    order: loss scaling, accumulation, clipping, weight decay, update. The global step
    counts batches: it advances also with a batch that is skipped because its gradients
    overflowed, and with each of the `grad_accum_steps` batches of one update; schedules
    count updates. The updates of layers (batch normalisation's moving averages) run
    with every batch. The learning rate and the loss scale are written as summaries.
    """
    step = tf1.train.get_or_create_global_step()
    batches_an_update = optimizer["grad_accum_steps"]
    rate = learning_rate_at(optimizer["learning_rate"], step // batches_an_update)
    tf1.summary.scalar("learning_rate", rate)
    rule = make_optimizer(optimizer, rate)
    scale = LossScale(optimizer)
    pairs = rule.compute_gradients(scale.scaled(loss))
    pairs = [(g, v) for g, v in pairs if g is not None]
    gradients = scale.unscaled([g for g, _ in pairs])
    variables = [v for _, v in pairs]

    def update(gradients: list[Any]) -> tf.Operation:
        clipped = _decayed(_clipped(gradients, optimizer), variables, optimizer)
        return rule.apply_gradients(list(zip(clipped, variables, strict=True)))

    finite = None
    if scale.enabled:
        finite = tf.math.is_finite(tf.linalg.global_norm(gradients))
    if batches_an_update > 1:
        is_last = tf.equal((step + 1) % batches_an_update, 0)
        trained = _accumulated(gradients, variables, finite, is_last, update)
    elif finite is not None:
        trained = _when(finite, lambda: update(gradients))
    else:
        trained = update(gradients)
    if finite is not None:
        trained = tf.group(trained, scale.updated(finite))
    # Moving averages, such as batch normalisation's.
    updates = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies([trained, *updates]):
        return step.assign_add(1, read_value=False)


def _clipped(gradients: list[Any], optimizer: Mapping[str, Any]) -> list[Any]:
    if limit := optimizer["max_gradient_norm"]:
        return list(tf.clip_by_global_norm(gradients, limit)[0])
    if limit := optimizer["max_gradient_value"]:
        return [tf.clip_by_value(g, -limit, limit) for g in gradients]
    return gradients


def _decayed(
    gradients: list[Any], variables: list[tf.Variable], optimizer: Mapping[str, Any]
) -> list[Any]:
    """L2 decay in the gradient, for the rules that do not decay by themselves."""
    rate, exclude = (
        optimizer["weight_decay_rate"],
        optimizer["exclude_from_weight_decay"],
    )
    if not rate or optimizer["optimizer_type"] in ("adamw", "lamb"):
        return gradients
    return [
        tf.convert_to_tensor(g) + rate * v if decays(v, exclude) else g
        for g, v in zip(gradients, variables, strict=True)
    ]


def _accumulated(
    gradients: list[Any],
    variables: list[tf.Variable],
    finite: tf.Tensor | None,
    is_last: tf.Tensor,
    update: Any,
) -> tf.Operation:
    """Add to the sums; at the last batch of a group, update by the mean.

    A batch whose gradients are not `finite` is left out of sum and mean.
    """
    usable = tf.constant(True) if finite is None else finite
    sums = [_sum(f"{v.op.name}/accumulated", v.shape) for v in variables]
    count = _sum("accumulated_batches", [])
    added = [count.assign_add(tf.cast(usable, tf.float32), read_value=False)]
    for s, g in zip(sums, gradients, strict=True):
        g = tf.cast(tf.convert_to_tensor(g), s.dtype)
        g = g if finite is None else tf.where(finite, g, tf.zeros_like(g))
        added.append(s.assign_add(g, read_value=False))

    def update_and_clear() -> tf.Operation:
        # Read before they are cleared.
        n, totals = count.read_value(), [s.read_value() for s in sums]
        updated = _when(n > 0, lambda: update([t / n for t in totals]))
        with tf.control_dependencies([updated, n, *totals]):
            return tf.group(
                [s.assign(tf.zeros_like(s), read_value=False) for s in [*sums, count]]
            )

    with tf.control_dependencies(added):
        return _when(is_last, update_and_clear)


def _sum(name: str, shape: Any) -> tf.Variable:
    with tf.init_scope():
        return tf1.get_variable(
            name,
            shape=shape,
            dtype=tf.float32,
            initializer=tf1.zeros_initializer(),
            trainable=False,
            use_resource=True,
        )


def _when(condition: tf.Tensor, action: Any) -> tf.Operation:
    def act() -> tf.Tensor:
        with tf.control_dependencies([action()]):
            return tf.constant(True)

    return tf.cond(condition, act, lambda: tf.constant(False)).op
