"""Which kernels the backward pass belongs to, and what it keeps."""

import models
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from checking import check
from tf_keras import layers


def test_a_penalty_of_weights_leaves_them_in_their_layers(compile_model):
    def model_fn(features, labels, mode, params):
        hidden = layers.Dense(8, "relu")(layers.Flatten()(features))
        logits = layers.Dense(models.CLASSES)(hidden)
        penalty = tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()])
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return models.spec(mode, 0.01 * penalty + tf.reduce_mean(loss))

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    assert [len(k.weights) for k in mapped.kernels("dense")] == [2, 2]


def test_gradients_in_a_host_call_stay_backward(compile_model):
    def model_fn(features, labels, mode, params):
        logits = models.plain(features, True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
        norm = tf.linalg.global_norm(tf.gradients(loss, tf1.trainable_variables()))
        step = tf1.train.get_global_step()
        train_op = tf1.train.AdamOptimizer(0.1).minimize(loss, step)
        metrics = (lambda *tensors: {}, [norm, labels, step])
        return models.CSEstimatorSpec(
            mode=mode, loss=loss, train_op=train_op, host_call=metrics
        )

    mapped = compile_model(model_fn, models.images(1, 4))
    (dense,) = mapped.kernels("dense")
    assert dense.passes == ("forward", "weight_gradient", "update")
    assert not mapped.kernels("normalization")


def test_what_is_kept_for_the_backward_pass(compile_model):
    def network(x, training):
        x = layers.Dense(32)(layers.Flatten()(x))
        x = layers.Dropout(0.5)(tf.tanh(x), training=training)
        return layers.Dense(models.CLASSES, name="out")(tf.reshape(x, [-1, 32]))

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    first, out = mapped.kernels("dense")
    # The sample, what tanh gave, and a truth value for each number kept.
    assert first.saved_bytes == 16 * 4 + 32 * 4 + 32
    # Its input, which was reshaped and back.
    assert out.saved_bytes == 32 * 4


def with_a_tape(features, labels, mode, params):
    variables = []
    with tf.GradientTape() as tape:
        hidden = layers.Dense(8, "relu", name="hidden")
        norm = layers.LayerNormalization(name="norm")
        out = layers.Dense(models.CLASSES, name="out")
        logits = out(norm(hidden(layers.Flatten()(features))))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
    for layer in (hidden, norm, out):
        variables += layer.trainable_variables
    pairs = zip(tape.gradient(loss, variables), variables, strict=True)
    optimizer = tf1.train.AdamOptimizer(0.1)
    step = tf1.train.get_global_step()
    train_op = optimizer.apply_gradients(pairs, step)
    return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=train_op)


def test_gradients_of_a_tape_belong_to_their_layers(compile_model):
    mapped = compile_model(with_a_tape, models.images(1, 4))
    check(mapped)
    all_of_them = ("forward", "input_gradient", "weight_gradient", "update")
    found = {k.layer: k for k in mapped.graph.kernels if k.layer}
    assert found["hidden"].passes == ("forward", "weight_gradient", "update")
    assert found["norm"].passes == found["out"].passes == all_of_them
    assert found["hidden"].macs == models.BATCH * 16 * 8 * 2
    assert found["out"].macs == models.BATCH * 8 * models.CLASSES * 3
    (loss,) = mapped.kernels("cross_entropy")
    assert "input_gradient" in loss.passes


def test_sums_of_gradients_go_with_what_takes_them(compile_model):
    """Of two towers on one input, where each sends back its own."""
    mapped = compile_model(*models.MODELS["translator"])
    back = {e.target for e in mapped.graph.edges if e.tensor == "gradient"}
    assert not {name for name in back if name.startswith("transpose")}


def test_a_loss_of_a_second_optimizer_has_kernels(compile_model):
    def model_fn(features, labels, mode, params):
        x = layers.Dense(8, name="body")(layers.Flatten()(features))
        logits = layers.Dense(models.CLASSES, name="head")(x)
        probe = layers.Dense(models.CLASSES, name="probe")(tf.stop_gradient(x))
        cost = tf.nn.sparse_softmax_cross_entropy_with_logits
        loss, other = (tf.reduce_mean(cost(labels, y)) for y in (logits, probe))
        step = tf1.train.get_global_step()
        trains = [
            tf1.train.AdamOptimizer(0.1).minimize(loss, step),
            tf1.train.AdamOptimizer(0.1).minimize(other),
        ]
        return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=tf.group(*trains))

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    found = {k.layer: k for k in mapped.kernels("dense")}
    assert found["probe"].macs == models.BATCH * 8 * models.CLASSES * 2
    assert len(mapped.kernels("cross_entropy")) == 2
