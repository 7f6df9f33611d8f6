"""Runs an extracted step on real values, beside TensorFlow's own session."""

import models
import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tf_keras import layers
from wafer_runtime.compiler.extract import step_of
from wafer_runtime.compiler.partition import partition
from wafer_runtime.compiler.rewrites import emitted
from wafer_runtime.compiler.trace import trace

STEPS = 5
WIDTH = 6
INPUTS = (
    {
        "x": tf.TensorSpec([models.BATCH, WIDTH]),
        "ids": tf.TensorSpec([models.BATCH, 3], tf.int32),
    },
    tf.TensorSpec([models.BATCH], tf.int32),
)


def model(loss_of, train=None):
    """A model_fn of a loss, and of what makes the train_op of it."""

    def model_fn(features, labels, mode, params):
        loss = loss_of(features, labels)
        if train is None:
            return models.spec(mode, loss)
        return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=train(loss))

    return model_fn


def by(optimizer):
    return lambda loss: optimizer.minimize(loss, tf1.train.get_global_step())


def dense_loss(features, labels):
    hidden = layers.Dense(5, "tanh")(features["x"])
    logits = layers.Dense(models.CLASSES)(hidden)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_mean(losses)


def batches():
    random = np.random.default_rng(7)
    for _ in range(STEPS):
        x = random.normal(size=[models.BATCH, WIDTH]).astype(np.float32)
        # Some rows are there twice in a batch, and some not at all.
        ids = random.integers(0, 3, [models.BATCH, 3]).astype(np.int32)
        labels = random.integers(0, models.CLASSES, [models.BATCH]).astype(np.int32)
        yield {"features/x": x, "features/ids": ids, "labels": labels}


class Both:
    """A model in a session, and its extracted step."""

    def __init__(self, model_fn, inputs=INPUTS):
        self.graph = tf.Graph()
        with self.graph.as_default():
            tf1.set_random_seed(3)
            features, labels = tf.nest.map_structure(
                lambda given: tf1.placeholder(given.dtype, given.shape), inputs
            )
            step = tf1.train.get_or_create_global_step()
            spec = model_fn(features, labels, "train", {})
            traced = trace(features, labels, spec, step, {})
            part = partition(traced)
            emitter = emitted(part, {})
            self.values = {v.op.name: v.read_value() for v in tf1.global_variables()}
            self.session = tf1.Session(graph=self.graph)
            self.session.run(tf1.global_variables_initializer())
        self.inputs = traced.inputs
        self.train = [spec.train_op, spec.loss]
        # Fetched at once: a session prepares itself for each set of fetches.
        self.arguments = {name: self._tensor(name) for name in emitter.arguments}
        results = {"loss": emitter.ref(part.outputs["loss"])} | emitter.written
        self.results = list(results)
        self.step = tf.function(
            step_of(emitter, results.values()), jit_compile=True, autograph=False
        )

    def check(self, batch, tolerance=2e-6):
        feed = {self.inputs[name]: value for name, value in batch.items()}
        arguments, before = self.session.run([self.arguments, self.values], feed)
        got = dict(zip(self.results, self.step(*arguments.values()), strict=True))
        wanted = {"loss": self.session.run(self.train, feed)[1]}
        _, after = self.session.run([self.arguments, self.values], feed)
        wanted |= {f"variable:{name}": value for name, value in after.items()}
        for name, value in got.items():
            np.testing.assert_allclose(
                value, wanted[name], rtol=2e-5, atol=tolerance, err_msg=name
            )
        changed = {n for n in after if not np.array_equal(before[n], after[n])}
        told = {name.partition(":")[2] for name in got}
        assert changed <= told | {"global_step"}

    def _tensor(self, argument):
        kind, _, name = argument.partition(":")
        if kind == "input":
            return self.inputs[name]
        if kind == "variable":
            return self.values[name]
        return self.graph.get_tensor_by_name(name)


def check(model_fn):
    both = Both(model_fn)
    for batch in batches():
        both.check(batch)
