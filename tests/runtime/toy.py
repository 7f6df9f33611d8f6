"""A model and data small enough to train in a moment, with dropout and host metrics."""

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from wafer_runtime.estimator import (
    CerebrasEstimator,
    CSEstimatorSpec,
    RunConfig,
    SessionRunHook,
)

_RNG = np.random.default_rng(0)
X = _RNG.random((512, 8), np.float32)
Y = (X.sum(1) > 4).astype(np.int32)
BATCH = 32


def input_fn(mode, params=None):
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    if mode == "train":
        data = data.repeat()
    return data.batch(BATCH, drop_remainder=True)


def model_fn(features, labels, mode, params):
    width = params.get("width", 16)
    hidden = tf.keras.layers.Dense(width, activation="relu", name="hidden")(features)
    hidden = tf.keras.layers.Dropout(0.3)(hidden, training=mode == "train")
    logits = tf.keras.layers.Dense(2, name="out")(hidden)
    classes = tf.argmax(logits, 1)
    if mode == "infer":
        return CSEstimatorSpec(
            mode, predictions={"class": classes, "probabilities": tf.nn.softmax(logits)}
        )
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    loss *= params.get("loss_factor", 1.0)
    optimizer = tf1.train.AdamOptimizer(params.get("learning_rate", 0.01))
    train_op = optimizer.minimize(loss, global_step=tf1.train.get_global_step())
    return CSEstimatorSpec(
        mode, loss=loss, train_op=train_op, host_call=(metrics, [labels, classes])
    )


def metrics(labels, classes):
    return {"accuracy": tf1.metrics.accuracy(labels, classes)}


def estimator(model_dir, params=None, model=model_fn, warm_start_from=None, **config):
    config = {"tf_random_seed": 1, "save_checkpoints_steps": 100} | config
    return CerebrasEstimator(
        model,
        str(model_dir),
        config=RunConfig(**config),
        params=params,
        warm_start_from=warm_start_from,
    )


class EveryStep(SessionRunHook):
    """An ordinary hook: the driver must show it every step."""

    def __init__(self):
        self.losses = []

    def before_run(self, run_context):
        return tf1.train.SessionRunArgs("hidden/Relu:0")

    def after_run(self, run_context, run_values):
        self.losses.append(run_values.results.mean())


def variables(trained):
    return {n: trained.get_variable_value(n) for n in trained.get_variable_names()}


def assert_same_variables(one, other):
    ours, theirs = variables(one), variables(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def scalars(directory):
    """{tag: {step: value}} of the event files in a folder."""
    found = {}
    for path in sorted(directory.glob("events.*")):
        for event in tf1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def model_fn_without_params(features, labels, mode):
    return model_fn(features, labels, mode, {})


def model_in_section(features, labels, mode, params):
    """As in a generated project: the model's own parameters are in `model:`."""
    return model_fn(features, labels, mode, params["model"])
