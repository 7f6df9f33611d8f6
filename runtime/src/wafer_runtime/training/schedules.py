"""The learning rate as a function of the step."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1


def learning_rate_at(
    learning_rate: float | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    step: tf.Tensor,
) -> tf.Tensor:
    """The learning rate at `step`: fp32 scalar from an int64 scalar.

    learning_rate: a number, a schedule, or schedules that follow one another, as in
    `optimizer.learning_rate` of params.yaml; each of a sequence counts its steps from
    where the one before it ended. Formulas: tf.compat.v1.train.*_decay.
    """
    if isinstance(learning_rate, int | float):
        return tf.constant(learning_rate, tf.float32)
    if isinstance(learning_rate, Mapping):
        return _one(learning_rate, step)
    *earlier, last = learning_rate
    starts = [0]
    for schedule in earlier:
        starts.append(starts[-1] + _length(schedule))
    rate = _one(last, step - starts[-1])
    for schedule, start in reversed(list(zip(earlier, starts[:-1], strict=True))):
        end = start + _length(schedule)
        rate = tf.where(step < end, _one(schedule, step - start), rate)
    return rate


def _length(schedule: Mapping[str, Any]) -> int:
    return int(schedule.get("steps") or schedule["decay_steps"])


def _one(schedule: Mapping[str, Any], step: tf.Tensor) -> tf.Tensor:
    kind = schedule["scheduler"]
    if kind == "Constant":
        return tf.constant(schedule["learning_rate"], tf.float32)
    if kind == "PiecewiseConstant":
        bounds = [tf.constant(b, tf.int64) for b in schedule["boundaries"]]
        return tf1.train.piecewise_constant(step, bounds, schedule["values"])
    start = schedule["initial_learning_rate"]
    if kind == "Exponential":
        return tf1.train.exponential_decay(
            start,
            step,
            schedule["decay_steps"],
            schedule["decay_rate"],
            staircase=schedule["staircase"],
        )
    if kind == "Cosine":
        alpha = schedule["alpha"]
        return tf1.train.cosine_decay(start, step, schedule["decay_steps"], alpha)
    return tf1.train.polynomial_decay(
        start,
        step,
        schedule["steps"],
        schedule["end_learning_rate"],
        power=schedule.get("power", 1.0),  # Linear has none
    )
