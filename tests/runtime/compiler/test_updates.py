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
