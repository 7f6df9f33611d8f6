"""What the optimizers' updates become in kernel graphs."""

import models
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import tf_keras
from checking import check
from counting import instructions
from tf_keras import layers


@pytest.mark.parametrize("name", models.OPTIMIZERS)
def test_optimizers(compile_model, name):
    model_fn = models.classifier(models.plain, models.OPTIMIZERS[name])
    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    (dense,) = mapped.kernels("dense")
    assert dense.optimizer == name
    states = {"SGD": 0, "Momentum": 1, "Adagrad": 1, "RMSProp": 3}.get(name, 2)
    if name == "Adafactor":
        assert dense.state_bytes == 4 * (16 + 10 + 10)
    else:
        assert dense.state_bytes == states * dense.weight_bytes


@pytest.mark.parametrize("scope", ["lambada", "lamb", "Nadam/Adafactor"])
def test_a_scope_of_the_models_own_is_no_optimizer(compile_model, scope):
    """Which optimizer it is does not depend on what else has its name in it."""

    def model_fn(features, labels, mode, params):
        with tf1.variable_scope(scope):
            loss = tf.reduce_mean(models.plain(features, True))
            optimizer = tf1.train.MomentumOptimizer(0.1, 0.9)
            step = tf1.train.get_global_step()
            train_op = optimizer.minimize(loss, step)
        return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=train_op)

    (dense,) = compile_model(model_fn, models.images(1, 4)).kernels("dense")
    assert dense.optimizer == "Momentum"


def test_a_schedule_is_the_hosts(compile_model):
    def rule():
        step = tf1.train.get_global_step()
        return tf1.train.AdamOptimizer(tf1.train.cosine_decay(0.1, step, 100))

    mapped = compile_model(models.classifier(models.plain, rule), models.images(1, 4))
    check(mapped)
    by_id = instructions(mapped.hlo)
    assert "cosine" not in {i.opcode for i in by_id.values()}


@pytest.mark.parametrize(
    "name", ["SGD", "Momentum", "Adam", "RMSProp", "Adagrad", "Adadelta"]
)
def test_optimizers_of_looked_up_rows(compile_model, name):
    def model_fn(features, labels, mode, params):
        table = layers.Embedding(50, 8)
        logits = layers.Dense(50)(table(features["source"]))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return models.spec(mode, tf.reduce_mean(loss), models.OPTIMIZERS[name]())

    mapped = compile_model(model_fn, models.tokens())
    check(mapped)
    (embedding,) = mapped.kernels("embedding")
    assert embedding.optimizer == name
    assert "weight_gradient" in embedding.passes


@pytest.mark.parametrize(
    ("name", "rule", "states"),
    [("SGD", "Momentum", 1), ("Nadam", "Nadam", 2), ("Adamax", "Adamax", 2)],
)
def test_optimizers_of_keras(compile_model, name, rule, states):
    def model_fn(features, labels, mode, params):
        dense = layers.Dense(models.CLASSES)
        logits = dense(layers.Flatten()(features))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
        more = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(tf_keras.optimizers.legacy, name)(0.1, **more)
        optimizer.iterations = tf1.train.get_global_step()
        train_op = optimizer.get_updates(loss, dense.trainable_variables)
        return models.CSEstimatorSpec(
            mode=mode, loss=loss, train_op=tf.group(*train_op)
        )

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    (dense,) = mapped.kernels("dense")
    assert dense.optimizer == rule
    assert dense.state_bytes == states * dense.weight_bytes


def test_a_step_that_trains_nothing_is_told(compile_model, caplog):
    def model_fn(features, labels, mode, params):
        loss = tf.reduce_mean(models.plain(features, True))
        count = tf1.assign_add(tf1.train.get_global_step(), 1)
        return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=count)

    compile_model(model_fn, models.images(1, 4))
    assert "changes no trained variable" in caplog.text


def test_accumulated_gradients_reach_the_update(compile_model):
    """On their way through the accumulator, which is read after it was written."""
    mapped = compile_model(*models.MODELS["accumulating"])
    by_id = instructions(mapped.hlo)
    (root,) = [i for i in by_id.values() if i.opcode == "tuple"][-1:]
    dots = {i.id for i in by_id.values() if i.opcode == "dot"}

    def reaches_a_product(start):
        seen, stack = set(), [start]
        while stack:
            number = stack.pop()
            if number in dots:
                return True
            if number not in seen:
                seen.add(number)
                stack += by_id[number].operand_ids
        return False

    assert all(map(reaches_a_product, root.operand_ids))


def two_layers(train=None):
    def model_fn(features, labels, mode, params):
        hidden = layers.Dense(8, "relu", name="frozen")(layers.Flatten()(features))
        logits = layers.Dense(models.CLASSES, name="tuned")(hidden)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
        if mode != "train":
            return models.spec(mode, loss)
        return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=train(loss))

    return model_fn


def tune(loss):
    tuned = tf1.trainable_variables("tuned")
    step = tf1.train.get_global_step()
    return tf1.train.AdamOptimizer(0.1).minimize(loss, step, var_list=tuned)


def test_weights_that_the_optimizer_is_not_given_are_not_trained(compile_model):
    mapped = compile_model(two_layers(tune), models.images(1, 4))
    check(mapped)
    frozen, tuned = mapped.kernels("dense")
    assert [w.trained for w in frozen.weights] == [False, False]
    assert [w.trained for w in tuned.weights] == [True, True]
    assert frozen.passes == ("forward",)
    assert tuned.passes == ("forward", "weight_gradient", "update")


def test_weights_in_an_evaluation_are_those_that_could_be_trained(compile_model):
    graph = compile_model(two_layers(), models.images(1, 4), "eval").graph
    assert {w.trained for k in graph.kernels for w in k.weights} == {True}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("fused", [True, False])
def test_moving_averages_are_weights_that_are_not_trained(compile_model, fused, mode):
    def model_fn(features, labels, mode, params):
        norm = layers.BatchNormalization(fused=fused, name="norm")
        loss = tf.reduce_mean(norm(features, training=mode == "train") ** 2)
        with tf.control_dependencies(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)):
            return models.spec(mode, loss)

    mapped = compile_model(model_fn, models.images(1, 4), mode)
    check(mapped)
    (norm,) = mapped.kernels("normalization")
    assert {w.name: w.trained for w in norm.weights} == {
        "norm/gamma": True,
        "norm/beta": True,
        "norm/moving_mean": False,
        "norm/moving_variance": False,
    }
    # Of Adam, for one channel's scale and offset.
    assert norm.state_bytes == (2 * 2 * 4 if mode == "train" else 0)
