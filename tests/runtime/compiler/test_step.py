"""The extracted step, run on real values, does what TensorFlow's own session does."""

import models
import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import tf_keras
from tf_keras import layers
from wafer_runtime.compiler.extract import step_of
from wafer_runtime.compiler.partition import partition
from wafer_runtime.compiler.rewrites import emitted
from wafer_runtime.compiler.trace import trace
from wafer_runtime.schema import OptimizerParams
from wafer_runtime.training import minimize
from written_out import WRITTEN_OUT

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


def looked_up_loss(features, labels):
    rows = layers.Embedding(7, models.CLASSES)(features["ids"])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, tf.reduce_sum(rows, 1)
    )
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
        self.arguments = list(emitter.arguments)
        results = {"loss": emitter.ref(part.outputs["loss"])} | emitter.written
        self.results = list(results)
        self.step = tf.function(
            step_of(emitter, results.values()), jit_compile=True, autograph=False
        )

    def check(self, batch, tolerance=2e-6):
        feed = {self.inputs[name]: value for name, value in batch.items()}
        arguments = [self._value(name, batch, feed) for name in self.arguments]
        got = dict(zip(self.results, self.step(*arguments), strict=True))
        before = self.session.run(self.values)
        wanted = {"loss": self.session.run(self.train, feed)[1]}
        after = self.session.run(self.values)
        wanted |= {f"variable:{name}": value for name, value in after.items()}
        for name, value in got.items():
            np.testing.assert_allclose(
                value, wanted[name], rtol=2e-5, atol=tolerance, err_msg=name
            )
        changed = {n for n in after if not np.array_equal(before[n], after[n])}
        told = {name.partition(":")[2] for name in got}
        assert changed <= told | {"global_step"}

    def _value(self, argument, batch, feed):
        kind, _, name = argument.partition(":")
        if kind == "input":
            return batch[name]
        tensor = (
            self.values[name]
            if kind == "variable"
            else self.graph.get_tensor_by_name(name)
        )
        return self.session.run(tensor, feed)


def check(model_fn):
    both = Both(model_fn)
    for batch in batches():
        both.check(batch)


SPARSE = ["SGD", "Momentum", "Adam", "RMSProp", "Adagrad", "Adadelta"]
OURS = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "adam": {},
    "adamw": {"weight_decay_rate": 0.1},
    "rmsprop": {},
    "lamb": {"weight_decay_rate": 0.1},
}


@pytest.mark.parametrize("name", models.OPTIMIZERS)
def test_optimizers(name):
    check(model(dense_loss, by(models.OPTIMIZERS[name]())))


@pytest.mark.parametrize("name", ["Adamax", "Nadam", "Adam", "SGD"])
def test_optimizers_of_keras(name):
    def train(loss):
        optimizer = getattr(tf_keras.optimizers.legacy, name)(0.1)
        variables = tf1.trainable_variables()
        optimizer.iterations = tf1.train.get_global_step()
        return tf.group(*optimizer.get_updates(loss, variables))

    check(model(dense_loss, train))


@pytest.mark.parametrize("name", SPARSE)
def test_optimizers_of_looked_up_rows(name):
    check(model(looked_up_loss, by(models.OPTIMIZERS[name]())))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"grad_accum_steps": 2, "max_gradient_norm": 0.1},
        {"loss_scaling_factor": "dynamic"},
        {"loss_scaling_factor": "dynamic", "grad_accum_steps": 2},
    ],
    ids=["plain", "accumulated", "scaled", "both"],
)
def test_training_of_the_template(name, more):
    given = OptimizerParams(optimizer_type=name, **OURS[name], **more).model_dump()
    check(model(dense_loss, lambda loss: minimize(loss, given)))


def powers(features, labels):
    """Spectral normalisation: a vector is written, and then read."""
    x = features["x"]
    weight = tf1.get_variable("w", [WIDTH, models.CLASSES])
    u = tf1.get_variable("u", [1, models.CLASSES], trainable=False)
    v = tf.math.l2_normalize(tf.matmul(u, weight, transpose_b=True))
    new_u = tf.math.l2_normalize(tf.matmul(v, weight))
    with tf.control_dependencies([u.assign(tf.stop_gradient(new_u))]):
        sigma = tf.reduce_sum(tf.matmul(v, weight) * u.read_value())
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, tf.matmul(x, weight / sigma)
    )
    return tf.reduce_mean(losses)


@pytest.mark.parametrize("write", ["update", "add", "sub"])
def test_rows_of_a_memory_are_written(write):
    def remembering(features, labels):
        shape = [7, WIDTH]
        ones = tf1.ones_initializer()
        memory = tf1.get_variable("m", shape, initializer=ones, trainable=False)
        rows = features["ids"][:, :1] + 3 * tf.range(models.BATCH)[:, None] // 2
        change = getattr(tf1, f"scatter_nd_{write}")
        with tf.control_dependencies([change(memory, rows, features["x"])]):
            recalled = tf.gather_nd(memory.read_value(), rows)
        return dense_loss({"x": features["x"] + recalled}, labels)

    check(model(remembering))


DRAWN = {"adversaries"}  # other numbers each time


@pytest.mark.parametrize("name", sorted(WRITTEN_OUT.keys() - DRAWN))
def test_models_that_are_written_out(name):
    model_fn, input_fn = WRITTEN_OUT[name]
    both = Both(model_fn, input_fn("train").element_spec)
    random = np.random.default_rng(7)
    for _ in range(2):
        batch = {
            name: random.normal(size=tensor.shape).astype(np.float32)
            if tensor.dtype.is_floating
            else random.integers(0, models.CLASSES, tensor.shape).astype(np.int32)
            for name, tensor in both.inputs.items()
        }
        # Adam makes steps of what is nothing but rounding: an attention's key bias.
        both.check(batch, tolerance=2e-5)


def test_what_is_read_after_a_write_is_new():
    check(model(powers))


def in_branches(features, labels):
    """Writes on both sides of a branch, in one side of another, and after both."""
    loss = dense_loss(features, labels)
    count = tf1.get_variable("count", [], initializer=tf1.zeros_initializer())
    total = tf1.get_variable("total", [], initializer=tf1.zeros_initializer())
    mean = tf.reduce_mean(features["x"])

    def high():
        inner = tf.cond(mean > 0.1, lambda: count.assign_add(2.0), lambda: mean)
        with tf.control_dependencies([inner]):
            return total.assign_add(count.read_value())

    wrote = tf.cond(mean > 0.0, high, lambda: count.assign(mean))
    with tf.control_dependencies([wrote]):
        return loss + 0.0 * total.assign_add(0.5 * count.read_value())


def test_writes_in_branches_are_made_if_the_branch_is_taken():
    check(model(in_branches))


def test_old_variables_are_written_and_read():
    def loss_of(features, labels):
        count = tf1.get_variable(
            "count", [], initializer=tf1.ones_initializer(), use_resource=False
        )
        with tf.control_dependencies([tf1.assign_add(count, 1.0)]):
            scale = count.read_value()
        return dense_loss(features, labels) * tf.stop_gradient(scale)

    check(model(loss_of))


def test_moving_averages_in_old_variables():
    """Their writes have the names of scopes that hold other operations."""

    def loss_of(features, labels):
        with tf1.variable_scope("old", use_resource=False):
            x = tf1.layers.batch_normalization(features["x"], training=True)
        with tf.control_dependencies(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)):
            return dense_loss({"x": tf.identity(x)}, labels)

    check(model(loss_of))
