"""What travels between kernels, and to and from the host."""

import models
import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from checking import check, sends_back
from tf_keras import layers


def test_edges_carry_a_sample_and_its_gradient(compile_model):
    graph = compile_model(toy.model_fn, toy.input_fn).graph
    edges = {(e.source, e.target): e for e in graph.edges}
    given = edges["host", "hidden"]
    assert (given.tensor, given.shape, given.bytes) == ("features", (8,), 32)
    assert given.gradient_bytes == 0
    between = edges["hidden", "out"]
    assert (between.shape, between.dtype) == ((16,), "float32")
    assert (between.bytes, between.gradient_bytes) == (64, 64)


def siamese(features, labels, mode, params):
    """Two inputs through the same layers."""
    table, dense = layers.Embedding(50, 8), layers.Dense(4, "tanh")
    left, right = (
        dense(tf.reduce_mean(table(features[name]), 1)) for name in ("source", "target")
    )
    return models.spec(mode, tf.reduce_mean(tf.abs(left - right)))


def test_kernels_that_share_weights_send_them_and_their_gradients(compile_model):
    mapped = compile_model(siamese, models.tokens(12, target=9))
    check(mapped)
    edges = {(e.source, e.target, e.tensor): e for e in mapped.graph.edges}
    sent = edges["dense", "dense_1", "dense/kernel"]
    assert (sent.shape, sent.bytes) == ((8, 4), 8 * 4 * 4 / models.BATCH)
    # Of kernel and bias, once a batch.
    assert sends_back(mapped.graph, "dense", "dense_1") == 9 * 4 * 4 / models.BATCH
    # Of an embedding the rows that were looked up, and their numbers.
    assert sends_back(mapped.graph, "embedding", "embedding_1") == 9 * (8 + 1) * 4
    shared = {k.name: k for k in mapped.graph.kernels}["dense_1"]
    assert shared.weights == ()
    assert shared.passes == ("forward", "input_gradient", "weight_gradient")


def test_a_sum_of_gradients_is_where_they_come_back_to_first(compile_model):
    """A sum before two embeddings: what comes back for it does not go on again."""

    def model_fn(features, labels, mode, params):
        places = tf.range(12)[None]
        x = layers.Embedding(50, 8, name="words")(features["source"])
        x += layers.Embedding(12, 8, name="places")(places)
        y = layers.LayerNormalization()(x)
        x += layers.Dense(8)(y)
        logits = tf.matmul(x[:, -1], tf1.trainable_variables()[0], transpose_b=True)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels[:, 0], logits)
        return models.spec(mode, tf.reduce_mean(loss))

    mapped = compile_model(model_fn, models.tokens(12))
    check(mapped)
    assert not [e for e in mapped.graph.edges if e.tensor.startswith("gradients")]
    (logits,) = [k for k in mapped.kernels("dense") if k.shared]
    assert (logits.layer, logits.shared) == ("", ("words/embeddings",))


def test_shared_weights_stay_where_they_are_in_an_evaluation(compile_model):
    mapped = compile_model(siamese, models.tokens(12, target=9), "eval")
    check(mapped)
    assert {e.gradient_bytes for e in mapped.graph.edges} == {0}
    assert not {"dense/kernel", "dense/bias"} & {e.tensor for e in mapped.graph.edges}


def test_a_gradient_reaches_weights_that_another_kernel_uses_alone(compile_model):
    """The first layer's own use of them sends no gradient."""

    def model_fn(features, labels, mode, params):
        x = layers.Flatten()(features)
        weight = tf1.get_variable("w", [16, 16])
        with tf1.name_scope("first"):
            x = tf.nn.relu(tf.matmul(x, tf.stop_gradient(weight)))
        with tf1.name_scope("second"):
            x = tf.nn.relu(tf.matmul(x, weight))
        return models.spec(mode, tf.reduce_mean(layers.Dense(1)(x)))

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    assert sends_back(mapped.graph, "first", "second") == 16 * 16 * 4 / models.BATCH


def test_the_gradient_of_a_single_number_comes_back(compile_model):
    def model_fn(features, labels, mode, params):
        x = layers.Dense(4, name="body")(layers.Flatten()(features))
        with tf.name_scope("scale"):
            scale = tf.reduce_max(tf.abs(x))
        with tf.name_scope("use"):
            x = layers.Dense(1)(x) * scale
        return models.spec(mode, tf.reduce_mean(x))

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    assert sends_back(mapped.graph, "scale", "use") == 4 / models.BATCH


def test_noise_travels_by_the_sample(compile_model):
    def model_fn(features, labels, mode, params):
        noise = tf.random.normal([models.BATCH, 6])
        fake = layers.Dense(16, "relu", name="generator")(noise)
        both = layers.Flatten()(features) - layers.Dense(16, name="last")(fake)
        return models.spec(mode, tf.reduce_mean(tf.square(both)))

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    edges = {(e.source, e.target): e for e in mapped.graph.edges}
    between = edges["generator", "last"]
    assert (between.shape, between.bytes) == ((16,), 16 * 4)
    assert between.gradient_bytes == 16 * 4
    # What comes after the layers is of none of them.
    layers_of = {k.layer for k in mapped.graph.kernels if not k.weights}
    assert layers_of == {""}


def test_what_only_a_gradient_takes_comes_from_the_host(compile_model):
    def model_fn(features, labels, mode, params):
        @tf.custom_gradient
        def weighted(x):
            return x, lambda dy: dy * features["weight"]

        x = weighted(layers.Dense(3, name="inner")(features["x"]))
        return models.spec(mode, tf.reduce_mean(layers.Dense(1)(x)))

    shapes = {"x": [models.BATCH, 5], "weight": [models.BATCH, 3]}
    given = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    labels = np.zeros([models.BATCH], np.int32)
    mapped = compile_model(model_fn, models.dataset(given, labels))
    check(mapped)
    from_host = {e.tensor: e.target for e in mapped.graph.edges if e.source == "host"}
    assert from_host == {"features/x": "inner", "features/weight": "inner"}


def test_a_variable_that_a_host_call_looks_at_comes_from_its_kernel(compile_model):
    def model_fn(features, labels, mode, params):
        dense = layers.Dense(models.CLASSES, name="out")
        logits = dense(layers.Flatten()(features))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        looked_at = (lambda bias: {}, [dense.bias])
        return models.spec(mode, tf.reduce_mean(loss), host_call=looked_at)

    mapped = compile_model(model_fn, models.images(1, 4), "eval")
    check(mapped)
    to_host = {e.tensor: e.source for e in mapped.graph.edges if e.target == "host"}
    assert to_host["host_call/0"] == "out"
