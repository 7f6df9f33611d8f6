"""Keras metrics: no part of a wafer's program, but `tf.estimator` took them."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

# Unset outside of an estimator's calls, as in a test that calls a model_fn itself.
_lines: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("_lines")


@contextlib.contextmanager
def noted() -> Iterator[list[str]]:
    """Take Keras metrics and note their lines, in place of an error at the first."""
    outer = _lines.get(None)
    lines = [] if outer is None else outer
    token = _lines.set(lines)
    try:
        yield lines
    finally:
        _lines.reset(token)


@contextlib.contextmanager
def refused() -> Iterator[None]:
    """Refuse Keras metrics, unless they are being noted."""
    token = _lines.set(_lines.get(None))
    try:
        yield
    finally:
        _lines.reset(token)


def noted_lines() -> list[str] | None:
    """The lines noted so far; None where Keras metrics are refused."""
    return _lines.get([])


def is_metric(value: Any) -> bool:
    """Whether something is a metric of Keras 2."""
    return isinstance(value, tf.keras.metrics.Metric)


def as_pair(metric: Any) -> tuple[tf.Tensor, tf.Operation]:
    """The (value, update_op) of a metric whose update_state was called.

    Its variables become local ones, which each evaluation begins anew.
    """
    known = {id(v) for v in tf1.local_variables()}
    for variable in metric.variables:
        if id(variable) not in known:
            keys = tf1.GraphKeys.LOCAL_VARIABLES, tf1.GraphKeys.METRIC_VARIABLES
            tf1.add_to_collections(keys, variable)
    return metric.result(), tf.group(metric.updates)
