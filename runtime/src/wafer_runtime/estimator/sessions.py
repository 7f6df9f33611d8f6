"""Graphs and monitored sessions for one run of a model_fn, and the loop over steps."""

import contextlib
import logging
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wafer_runtime.errors import InputFnError, NonFiniteLossError
from wafer_runtime.estimator import hooks as hooks_lib
from wafer_runtime.estimator.calls import (
    Inputs,
    UserFn,
    call_input_fn,
    call_model_fn,
    refuse_nesting,
)
from wafer_runtime.estimator.checkpoints import WarmStartSettings
from wafer_runtime.estimator.interrupts import StopRequest
from wafer_runtime.estimator.run_config import RunConfig
from wafer_runtime.estimator.specs import EstimatorSpec
from wafer_runtime.estimator.steps import Steps

# A session call is kept about this long, so that signals and timers are heeded.
_CALL_SECONDS = 0.5


class Setup(NamedTuple):
    """What an estimator was made of."""

    model_fn: UserFn
    params: Any
    config: RunConfig
    model_dir: str
    warm_start: WarmStartSettings | None


class Built(NamedTuple):
    """A model_fn's graph in one mode."""

    inputs: Inputs
    spec: EstimatorSpec
    global_step: tf.Variable


@contextlib.contextmanager
def built_graph(setup: Setup, input_fn: UserFn, mode: str) -> Iterator[Built]:
    """A new default graph holding one batch of input and the model's operations."""
    refuse_nesting(mode)
    config = setup.config
    with tf.Graph().as_default() as graph, tf1.device(config.device_fn):
        if config.tf_random_seed is not None:
            _seed(graph, config.tf_random_seed)
        global_step = create_global_step()
        inputs = call_input_fn(input_fn, mode, setup.params, config)
        spec = call_model_fn(setup.model_fn, inputs, mode, setup.params, config)
        yield Built(inputs, spec, global_step)


def open_session(
    config: RunConfig, scaffold: Any, hooks: Sequence[Any], **checkpoint: str | None
) -> Any:
    """A MonitoredSession on the default graph, loading `checkpoint` if there is one."""
    creator = tf1.train.ChiefSessionCreator(
        scaffold, config=config.session_config or default_session_config(), **checkpoint
    )
    return tf1.train.MonitoredSession(creator, hooks=hooks)


def default_session_config() -> Any:
    """Soft placement: a model that names a GPU also runs where there is none."""
    return tf1.ConfigProto(allow_soft_placement=True)


def run_steps(
    session: Any,
    steps: Steps,
    hooks: Sequence[Any],
    start: int,
    stop: int,
    request: StopRequest,
    finite: bool,
) -> int:
    """Run until the counter reaches `stop`, the data end, or someone asks to stop.

    Returns the counter. With `finite`, raises NonFiniteLossError at the step whose loss
    is not. Raises InputFnError when there is not even one batch.
    """
    step, at_most = start, 1
    with _progress(start, stop) as bar:
        while step < stop and not session.should_stop() and request.signum is None:
            until = min(stop, hooks_lib.next_wanted(hooks, step) - 1)
            began = time.perf_counter()
            try:
                if steps.can_loop and until > step:
                    result = steps.run_many(session, until, at_most)
                else:
                    result = steps.run_one(session)
            except tf.errors.OutOfRangeError:
                step = steps.read_counter(session)
                if step == start:
                    raise InputFnError(
                        "The dataset gave no batch. With drop_remainder=True it needs "
                        "at least batch_size samples."
                    ) from None
                break
            if finite and not np.isfinite(result.loss):
                raise NonFiniteLossError(
                    f"The loss is {result.loss} at global step {result.step}. Lower "
                    "the learning rate, check the input for NaN, or, in fp16, use loss "
                    "scaling. The last checkpoint is untouched."
                )
            seconds_a_step = (time.perf_counter() - began) / max(1, result.step - step)
            at_most = min(4 * at_most, max(1, int(_CALL_SECONDS / seconds_a_step)))
            bar.update(result.step - step)
            step = result.step
    return step


def batch_size(features: Any) -> int | None:
    """The static size of the batch dimension, if it has one."""
    first = tf.nest.flatten(features)[0]
    return first.shape[0] if first.shape.rank else None


def _seed(graph: tf.Graph, seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    tf.keras.utils.set_random_seed(
        seed
    )  # Keras initializers draw their seeds in Python
    graph.seed = seed


def create_global_step() -> tf.Variable:
    """As tf.compat.v1.train.create_global_step, but always a resource variable."""
    return tf1.get_variable(
        tf1.GraphKeys.GLOBAL_STEP,
        shape=[],
        dtype=tf.int64,
        initializer=tf1.zeros_initializer(),
        trainable=False,
        use_resource=True,
        collections=[tf1.GraphKeys.GLOBAL_VARIABLES, tf1.GraphKeys.GLOBAL_STEP],
    )


@contextlib.contextmanager
def _progress(start: int, stop: int) -> Iterator[Any]:
    """A progress bar where there is a terminal, below the log lines."""
    total = stop if stop < hooks_lib.NEVER else None
    handled = hooks_lib.log if hooks_lib.log.handlers else logging.root
    with tqdm(
        total=total, initial=start, unit=" steps", disable=None, leave=False
    ) as bar:
        if bar.disable:
            yield bar
        else:
            with logging_redirect_tqdm([handled]):
                yield bar
