"""Loops of a known length are layers in line; others are told."""

import models
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from checking import check as check_graph
from running import WIDTH, by, check, dense_loss, model
from tf_keras import layers

LENGTH = 2


def sequence(features):
    """[BATCH, LENGTH, WIDTH], of which all can be learned."""
    x = features["x"]
    steps = [layers.Dense(WIDTH, "tanh")(x) for _ in range(LENGTH)]
    return tf.stack(steps, 1)


def recurrent(x):
    there = tf.constant([[True, False]] + [[True, True]] * (models.BATCH - 1))
    return layers.Bidirectional(layers.LSTM(3))(x, mask=there)


def dynamic(x):
    cells = [tf1.nn.rnn_cell.GRUCell(4), tf1.nn.rnn_cell.LSTMCell(WIDTH)]
    cell = tf1.nn.rnn_cell.MultiRNNCell(cells)
    outputs, _ = tf1.nn.dynamic_rnn(cell, x, dtype=tf.float32)
    return outputs[:, -1] + tf.reduce_mean(outputs, 1)


def scanned(x):
    w = tf1.get_variable("w", [WIDTH, WIDTH])
    states = tf.scan(
        lambda a, b: tf.tanh(tf.matmul(a, w) + b), tf.transpose(x, [1, 0, 2])
    )
    return states[-1] + tf.foldr(lambda a, b: a * b, tf.transpose(x, [1, 0, 2]))


def mapped(x):
    w = tf1.get_variable("w", [WIDTH, WIDTH])
    y = tf.map_fn(lambda row: tf.nn.relu(tf.matmul(row, w)), x)
    return tf.reduce_sum(y, 1) + x[:, 0]


def in_loops(x):
    """A loop in a loop, a branch, and a variable that is written."""
    count = tf1.get_variable(
        "count", [], initializer=tf1.zeros_initializer(), trainable=False
    )

    def outer(i, a):
        turned = tf.while_loop(lambda j, _: j < 2, inner, [0, a])[1]
        with tf.control_dependencies([count.assign_add(1.0)]):
            return i + 1, tf.identity(turned) + x[:, 0]

    def inner(j, a):
        positive = tf.reduce_mean(a) > 0
        return j + 1, tf.cond(positive, lambda: tf.sin(a), lambda: a * a)

    _, y = tf.while_loop(lambda i, a: tf.logical_and(i < 9, True), outer, [6, x[:, 1]])
    with tf.control_dependencies([y]):
        return y + tf.stop_gradient(count.read_value())


def by_arrays(x):
    """Places that are written twice, read in another order, or not at all."""
    given = tf.TensorArray(tf.float32, LENGTH).unstack(tf.transpose(x, [1, 0, 2]))

    def turn(i, kept):
        kept = kept.write(2 * i, given.read(LENGTH - 1 - i) * given.read(0))
        return i + 1, kept

    kept = tf.TensorArray(tf.float32, 2 * LENGTH, element_shape=x[:, 0].shape)
    _, kept = tf.while_loop(lambda i, _: i < LENGTH, turn, [0, kept])
    return tf.reduce_sum(kept.stack(), 0) + kept.gather([2, 0])[1] + given.stack()[1]


def until_all_end(x):
    """Reads behind the last step where it is not taken; one side of a branch runs."""
    cell = tf1.nn.rnn_cell.BasicRNNCell(WIDTH)
    steps = tf.TensorArray(tf.float32, LENGTH).unstack(tf.transpose(x, [1, 0, 2]))

    def step(time, output, state, _):
        ends = tf.fill([models.BATCH], time >= LENGTH)
        nothing = tf.zeros([models.BATCH, WIDTH])
        x = tf.cond(tf.reduce_all(ends), lambda: nothing, lambda: steps.read(time))
        return ends, x, nothing if output is None else state, output, None

    return tf1.nn.raw_rnn(cell, step)[1]


def by_autograph(x):
    @tf.function
    def powers(x):
        y = x[:, 0]
        for i in tf.range(LENGTH):
            y = tf.tanh(y + x[:, i])
        return y

    return powers(x)


def to_labels(x):
    """TensorFlow's own loss for sequences is loops of functions of the old kind."""
    labels = tf.constant([[1], [2], [1], [2]])
    ones = tf.ones([models.BATCH], tf.int32)
    loss = tf.nn.ctc_loss(
        labels, layers.Dense(3)(x), ones, LENGTH * ones, False, blank_index=0
    )
    return x[:, 0] + loss[:, None]


@pytest.mark.parametrize(
    "network",
    [
        recurrent,
        dynamic,
        scanned,
        mapped,
        in_loops,
        by_arrays,
        by_autograph,
        to_labels,
        until_all_end,
    ],
)
def test_what_loops_compute(network):
    def loss_of(features, labels):
        return dense_loss({"x": network(sequence(features))}, labels)

    check(model(loss_of, by(tf1.train.GradientDescentOptimizer(0.5))))


def lstm(x, training):
    return layers.Dense(models.CLASSES)(layers.LSTM(8)(tf.reshape(x, [-1, 4, 4])))


def test_a_recurrent_layer_has_the_kernels_of_its_steps(compile_model):
    mapped = compile_model(models.classifier(lstm), models.images(1, 4))
    check_graph(mapped)
    steps = [k for k in mapped.kernels("dense") if k.layer == "lstm/lstm_cell"]
    inputs, states, batch = 4 * 4 * 8, 8 * 4 * 8, models.BATCH
    # Of the sample and of the first state no gradient is wanted.
    wanted = [2 * inputs] * 4 + [2 * states] + [3 * states] * 3
    assert sorted(k.macs for k in steps) == sorted(batch * macs for macs in wanted)
    weights = {w.name for k in steps for w in k.weights}
    assert weights == {
        f"lstm/lstm_cell/{w}" for w in ("kernel", "recurrent_kernel", "bias")
    }
    assert {k.optimizer for k in steps if k.weights} == {"Adam"}
    assert all("test_loops.py:" in line for k in steps for line in k.lines)


def test_a_turn_of_many_operations_is_looked_at_once(compile_model):
    """Not once for each way that leads to one, of which there are 2^600 here."""

    def doubled(i, x):
        for _ in range(600):
            x = x + x
        return i + 1, x

    def network(x, training):
        x = tf.while_loop(lambda i, _: i < 2, doubled, [0, x])[1]
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 4), "eval")
    check_graph(mapped)
