"""How many samples a second an input_fn gives to a machine that takes all of them."""

import time
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.estimator import calls, sessions
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.hooks import NEVER, InitializerHook
from wafer_runtime.estimator.loop import run_steps
from wafer_runtime.estimator.sessions import Setup
from wafer_runtime.estimator.steps import Steps

_SECONDS = 1.0


def batches_per_second(setup: Setup, input_fn: UserFn, mode: str) -> float:
    """Measured for a second or two, once the first batch has come, without a model.

    Raises InputFnError if there is no batch.
    """
    config = sessions.session_config(setup.config)
    with tf.Graph().as_default():
        inputs = calls.call_input_fn(input_fn, mode, setup.params, setup.config)
        creator = tf1.train.ChiefSessionCreator(config=config)
        initializer = InitializerHook(inputs.initializer)
        steps = _steps(inputs)
        with tf1.train.MonitoredSession(creator, [initializer]) as session:
            return _measured(session, steps)


def _steps(inputs: calls.Inputs) -> Steps:
    """Steps that take a batch and do nothing with it."""
    counter = tf1.get_variable(
        "batches",
        shape=[],
        dtype=tf.int64,
        initializer=tf1.zeros_initializer(),
        use_resource=True,
    )
    batch = (inputs.features, inputs.labels)
    parts = filter(tf.is_tensor, tf.nest.flatten(batch, expand_composites=True))
    with tf.control_dependencies(list(parts)):
        taken = counter.assign_add(1, read_value=False)
    return Steps(taken, tf.zeros([]), counter, stop_at_non_finite=False)


def _measured(session: Any, steps: Steps) -> float:
    began = time.perf_counter()
    run_steps(session, steps, [], 0, 1)
    first = time.perf_counter()
    at_most = 1
    try:
        while time.perf_counter() - first < _SECONDS:
            if steps.can_loop:
                steps.run_many(session, NEVER, at_most)
            else:
                steps.run_one(session)
            at_most *= 2
    except tf.errors.OutOfRangeError:
        # Few batches are all there is to measure.
        pass
    seconds = time.perf_counter() - first
    more = steps.read_counter(session) - 1
    return more / seconds if more else 1 / (first - began)
