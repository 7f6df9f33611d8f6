"""The extracted step, run on real values, does what TensorFlow's own session does."""

import models
import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import tf_keras
from running import WIDTH, Both, by, check, dense_loss, model
from tf_keras import layers
from wafer_runtime.schema import OptimizerParams
from wafer_runtime.training import minimize
from written_out import WRITTEN_OUT


def looked_up_loss(features, labels):
    rows = layers.Embedding(7, models.CLASSES)(features["ids"])
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels, tf.reduce_sum(rows, 1)
    )
    return tf.reduce_mean(losses)


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


PLAIN = {}
ACCUMULATED = {"grad_accum_steps": 2, "max_gradient_norm": 0.1}
SCALED = {"loss_scaling_factor": "dynamic"}


# Every rule by itself and in everything at once; each part of that with one of them.
@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, PLAIN) for name in OURS),
        *((name, ACCUMULATED | SCALED) for name in OURS),
        ("adamw", ACCUMULATED),
        ("adamw", SCALED),
    ],
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


def test_gradients_of_what_a_branch_keeps_and_of_what_it_gives():
    """Of the means that both sides give, and no loss takes, they are zeros."""

    def loss_of(features, labels):
        x = layers.Dense(8)(features["x"])
        norm = layers.BatchNormalization()
        image = tf.reshape(x, [models.BATCH, 2, 2, 2])
        x = norm(image, training=tf.reduce_mean(x) > 0)
        return dense_loss({"x": layers.Flatten()(x)}, labels)

    check(model(loss_of))


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
