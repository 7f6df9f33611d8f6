"""Graphs and monitored sessions for one run of a model_fn."""

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime import source
from wafer_runtime.errors import CheckpointError
from wafer_runtime.estimator import keras_metrics
from wafer_runtime.estimator.calls import (
    Inputs,
    UserFn,
    call_input_fn,
    call_model_fn,
    refuse_nesting,
)
from wafer_runtime.estimator.checkpoints import WarmStartSettings
from wafer_runtime.estimator.hooks import InitializerHook
from wafer_runtime.estimator.run_config import RunConfig
from wafer_runtime.estimator.specs import EstimatorSpec


class Setup(NamedTuple):
    """What an estimator was made of."""

    model_fn: UserFn
    params: Any
    config: RunConfig
    model_dir: str
    warm_start: WarmStartSettings | None
    takes_keras_metrics: bool = False


class Built(NamedTuple):
    """A model_fn's graph in one mode."""

    inputs: Inputs
    spec: EstimatorSpec
    global_step: tf.Variable


@contextlib.contextmanager
def built_graph(
    setup: Setup,
    input_fn: UserFn,
    mode: str,
    check: Callable[[Inputs], None] = lambda inputs: None,
) -> Iterator[Built]:
    """A new default graph holding one batch of input and the model's operations.

    check: looks at the input before model_fn does.
    """
    refuse_nesting(mode)
    config = setup.config
    with tf.Graph().as_default(), tf1.device(config.device_fn):
        if config.tf_random_seed is not None:
            _seed(config.tf_random_seed)
        global_step = create_global_step()
        inputs = call_input_fn(input_fn, mode, setup.params, config)
        check(inputs)
        taken = setup.takes_keras_metrics
        with keras_metrics.noted() if taken else keras_metrics.refused():
            spec = call_model_fn(setup.model_fn, inputs, mode, setup.params, config)
            yield Built(inputs, spec, global_step)


def open_session(
    config: RunConfig, built: Built, hooks: Sequence[Any], **checkpoint: str | None
) -> Any:
    """A MonitoredSession on `built`'s graph, loading `checkpoint` if there is one."""
    creator = tf1.train.ChiefSessionCreator(
        built.spec.scaffold,
        config=session_config(config),
        **checkpoint,
    )
    input_hook = InitializerHook(built.inputs.initializer)
    try:
        return tf1.train.MonitoredSession(creator, hooks=[input_hook, *hooks])
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError) as error:
        if error.op is None or not error.op.type.startswith("Restore"):
            raise
        loaded = ", ".join(filter(None, checkpoint.values()))
        reason = source.without_traces(error.message).splitlines()[-1]
        raise CheckpointError(
            f"A checkpoint of {loaded}, or one that model_fn names, is damaged: "
            f"{reason}. Remove its files, and name an older one in the file "
            '"checkpoint" beside them.'
        ) from error


def session_config(config: RunConfig) -> Any:
    """The user's, or one with soft placement: what is for a GPU runs without, too."""
    return config.session_config or tf1.ConfigProto(allow_soft_placement=True)


def batch_size(features: Any) -> int | None:
    """The static size of the batch dimension, if it has one."""
    while isinstance(features, Mapping | tuple | list):
        parts = features.values() if isinstance(features, Mapping) else features
        features = next(iter(parts), None)
    if not tf.is_tensor(features) or not features.shape.rank:
        return None
    size = tf1.dimension_value(features.shape[0])
    return None if size is None else int(size)


def _seed(seed: int) -> None:
    """Seed the default graph, and Keras, whose initializers draw seeds in Python."""
    pythons, numpys = random.getstate(), np.random.get_state()
    tf.keras.utils.set_random_seed(seed)
    # It also seeds these, which belong to the caller (who may be in mid-training).
    random.setstate(pythons)
    np.random.set_state(numpys)


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
