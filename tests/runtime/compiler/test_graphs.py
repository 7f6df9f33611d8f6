"""Functions, branches, variables of the old kind: every form of TensorFlow's graphs."""

import models
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import tf_keras
from checking import check
from counting import macs_of_hlo
from tf_keras import layers


def test_functions_and_branches_are_opened(compile_model):
    def network(x, training):
        x = layers.Flatten()(x)
        wide = tf.reduce_mean(x) > 0.5
        x = tf.cond(wide, lambda: x * 2.0, lambda: tf.exp(x))
        with tf1.variable_scope("inner"):
            kernel = tf1.get_variable("w", [16, 16])
        double = tf.function(lambda y: tf.nn.relu(tf.matmul(y, kernel)))
        return layers.Dense(models.CLASSES)(double(x))

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    check(mapped)
    assert {k.name for k in mapped.kernels("dense")} >= {"dense"}
    assert sum(k.macs for k in mapped.kernels("dense")) == mapped.graph.macs


def functional(x):
    given = tf_keras.Input(x.shape[1:])
    hidden = layers.LayerNormalization(name="norm")(layers.Dense(8, name="in")(given))
    return tf_keras.Model(given, layers.Dense(8, "relu", name="out")(hidden))(x)


def in_a_function(x):
    dense = layers.Dense(8, name="inner")
    dense.build(x.shape)
    with tf1.variable_scope("free"):
        weight = tf1.get_variable("w", [8, 8])
    return tf.function(lambda y: tf.matmul(dense(y), weight))(x)


def in_a_scope(x):
    weight = tf1.get_variable("w", [16, 8])
    with tf.name_scope("outer"):
        return tf.matmul(x, weight)


@pytest.mark.parametrize(
    ("network", "names"),
    [
        (functional, ["in", "norm", "out"]),
        (in_a_function, ["inner", "free"]),
        (in_a_scope, ["outer"]),
    ],
)
def test_layers_are_named_however_they_are_called(compile_model, network, names):
    def model_fn(features, labels, mode, params):
        logits = network(layers.Flatten()(features))
        return models.spec(mode, tf.reduce_mean(tf.square(logits)))

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    assert [k.layer for k in mapped.graph.kernels if k.weights] == names
    assert [k.name for k in mapped.graph.kernels if k.weights] == names


def old_variables(x, training):
    weight = tf1.get_variable("w", [16, models.CLASSES], use_resource=False)
    return tf.matmul(layers.Flatten()(x), weight)


def test_variables_that_are_no_resources(compile_model):
    mapped = compile_model(models.classifier(old_variables), models.images(1, 4))
    check(mapped)
    (dense,) = mapped.kernels("dense")
    assert [w.name for w in dense.weights] == ["w"]
    assert (dense.optimizer, dense.state_bytes) == ("Adam", 2 * dense.weight_bytes)
    assert mapped.graph.macs == models.BATCH * 16 * models.CLASSES * 2


def test_layers_in_a_branch_belong_to_their_kernels(compile_model):
    def network(x, training):
        conv = layers.Conv2D(2, 3)
        conv.build(x.shape)
        x = tf.cond(tf.reduce_mean(x) > 0, lambda: conv(x), lambda: 2 * conv(x))
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    check(mapped)
    convs = mapped.kernels("conv2d")
    assert len(convs) == 2
    one_pass = models.BATCH * 2 * 2 * 9 * 2
    assert [k.macs for k in convs] == [2 * one_pass] * 2


def test_control_flow_of_tensorflow_1(compile_model):
    def network(x, training):
        wide = tf.reduce_mean(x) > 0.5
        return models.plain(tf1.cond(wide, lambda: x * 2.0, lambda: x), training)

    tf1.disable_control_flow_v2()
    try:
        check(compile_model(models.classifier(network), models.images(1, 4)))
        assert not tf1.control_flow_v2_enabled()
    finally:
        tf1.enable_control_flow_v2()


def test_an_imported_graph(compile_model):
    """Its operations have no lines, and its functions no Python graph."""

    def network(x, training):
        with tf.Graph().as_default() as graph:
            given = tf1.placeholder(tf.float32, [models.BATCH, 16], name="given")
            wide = tf.reduce_mean(given) > 0
            chosen = tf.cond(wide, lambda: given * 2.0, lambda: given)
            tf.identity(tf.function(tf.nn.relu)(chosen), name="out")
        inputs = {"given": tf.reshape(x, [models.BATCH, 16])}
        definition = graph.as_graph_def()
        (x,) = tf.graph_util.import_graph_def(definition, inputs, ["out:0"])
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    assert mapped.graph.macs == macs_of_hlo(mapped.hlo)
    assert {"relu", "Relu"} & {op for k in mapped.graph.kernels for op in k.ops}
