"""What the graph of a step may hold: randomness, tables, updates, odd variables."""

import logging
import random

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.estimator import CSEstimatorSpec, all_checkpoints
from wafer_runtime.schema import Params
from wafer_runtime.training import minimize


@pytest.mark.parametrize("looped", [True, False])
def test_stateful_randomness_inside_functions_is_never_put_in_the_loop(
    tmp_path, caplog, looped
):
    @tf.function
    def noise(x):
        return x + tf.random.normal(x.shape, stddev=0.01)

    def noisy(features, labels, mode, params):
        return toy.model_fn(
            features if looped else noise(features), labels, mode, params
        )

    caplog.set_level(logging.INFO, "wafer_runtime")
    toy.estimator(tmp_path, model=noisy).train(toy.input_fn, steps=10)
    assert ("One step a session call" in caplog.text) is not looped


def counting_table(features, labels, mode, params):
    """Counts the batches in a table, and adds the count to the loss."""
    table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0)
    key = tf.constant([5], tf.int64)
    with tf.control_dependencies([table.insert(key, table.lookup(key) + 1)]):
        count = tf.cast(table.lookup(key)[0], tf.float32)
    return toy.model_fn(features + count, labels, mode, params)


def waits_for_an_unread_variable(features, labels, mode, params):
    with tf.control_dependencies([tf1.get_variable("unread", [2])]):
        features = tf.identity(features)
    return toy.model_fn(features, labels, mode, params)


@pytest.mark.parametrize("model", [counting_table, waits_for_an_unread_variable])
def test_state_beside_variables_is_the_same_in_the_loop(tmp_path, model):
    looped = toy.estimator(tmp_path / "a", {}, model).train(toy.input_fn, steps=20)
    stepped = toy.estimator(tmp_path / "b", {}, model)
    stepped.train(toy.input_fn, steps=20, hooks=[toy.EveryStep()])
    toy.assert_same_variables(looped, stepped)


@pytest.mark.parametrize(("advance", "batches"), [(2, 1), (1, 2)])
def test_a_step_that_advances_otherwise_is_still_summarised_and_saved(
    tmp_path, advance, batches
):
    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        update = tf1.train.AdamOptimizer().minimize(spec.loss)
        count = tf1.get_variable(
            "count", [], tf.int64, tf1.zeros_initializer(), trainable=False
        )
        with tf.control_dependencies([update]):
            is_last = tf.equal(count.assign_add(1) % batches, 0)
            by = tf.where(is_last, tf.constant(advance, tf.int64), 0)
            train_op = tf1.train.get_global_step().assign_add(by)
        return CSEstimatorSpec(mode, loss=spec.loss, train_op=train_op)

    trained = toy.estimator(
        tmp_path,
        {},
        model_fn,
        save_summary_steps=10,
        log_step_count_steps=10,
        save_checkpoints_steps=20,
    ).train(toy.input_fn, max_steps=60)
    assert trained.get_variable_value("global_step") == 60
    found = toy.scalars(tmp_path)
    for tag in ("loss", "global_step/sec"):
        assert 5 <= len(found[tag]) <= 7
        assert max(found[tag]) >= 50
    assert len(all_checkpoints(str(tmp_path))) >= 3


def test_metrics_that_are_no_scalars_are_left_out_of_the_training_summaries(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        each = tf1.metrics.mean_tensor(tf.reduce_mean(features, 0))
        value, update = tf1.metrics.mean(spec.loss)
        host_call = {"each": each, "op": (value, update.op), "mean": (value, update)}
        return CSEstimatorSpec(
            mode, loss=spec.loss, train_op=spec.train_op, host_call=host_call
        )

    trained = toy.estimator(tmp_path, {}, model_fn).train(toy.input_fn, steps=3)
    assert set(toy.scalars(tmp_path)) >= {"loss", "mean"}
    assert trained.evaluate(toy.input_fn, steps=2)["each"].shape == (8,)


def test_a_model_with_reference_variables_trains_step_by_step(tmp_path):
    def old_style(features, labels, mode):
        weight = tf1.get_variable("weight", [8, 2], use_resource=False)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=labels, logits=features @ weight
            )
        )
        train_op = tf1.train.GradientDescentOptimizer(0.5).minimize(
            loss, global_step=tf1.train.get_global_step()
        )
        return CSEstimatorSpec(mode, loss=loss, train_op=train_op)

    trained = toy.estimator(tmp_path, model=old_style)
    trained.train(toy.input_fn, steps=20)
    assert trained.get_variable_value("global_step") == 20


def test_batches_of_one_global_step_draw_different_numbers(tmp_path):
    """As in a model that accumulates gradients over four batches by itself."""
    drawn = []

    class Recorder(toy.EveryStep):
        def before_run(self, run_context):
            return tf1.train.SessionRunArgs("noise/RandomUniform_or_twin:0")

        def after_run(self, run_context, run_values):
            drawn.append(float(run_values.results))

    def model_fn(features, labels, mode, params):
        noise = tf.random.uniform([])
        weight = tf1.get_variable("weight", [])
        batches = tf1.get_variable(
            "batches", [], tf.int64, tf1.zeros_initializer(), trainable=False
        )
        noise = tf.identity(noise, "noise/RandomUniform_or_twin")
        with tf.control_dependencies([batches.assign_add(1)]):
            is_last = tf.cast(tf.equal(batches.read_value() % 4, 0), tf.int64)
            train_op = tf1.train.get_global_step().assign_add(is_last)
        return CSEstimatorSpec(mode, loss=weight + noise, train_op=train_op)

    trained = toy.estimator(tmp_path, {}, model_fn)
    trained.train(toy.input_fn, steps=5, hooks=[Recorder()])
    assert trained.get_variable_value("global_step") == 5
    assert len(drawn) == len(set(drawn)) == 20


def normalised(features, labels, mode, params):
    """A model with batch normalisation, trained as `params` ask for."""
    if params["layer"] == "keras":
        layer = tf.keras.layers.BatchNormalization(momentum=0.5, name="bn")
        features = layer(features, training=mode == "train")
    else:
        features = tf1.layers.batch_normalization(
            features, momentum=0.5, training=mode == "train", name="bn"
        )
    logits = tf1.layers.dense(features, 2, name="out")
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    if params["with_minimize"]:
        optimizer = {"optimizer_type": "sgd", "learning_rate": 0.1}
        given = Params(optimizer=optimizer).model_dump()
        train_op = minimize(loss, given["optimizer"])
    else:
        train_op = tf1.train.GradientDescentOptimizer(0.1).minimize(
            loss, global_step=tf1.train.get_global_step()
        )
    return CSEstimatorSpec(mode, loss=loss, train_op=train_op)


@pytest.mark.filterwarnings("ignore:`tf.layers:UserWarning")
@pytest.mark.parametrize("layer", ["keras", "tf.compat.v1.layers"])
def test_moving_averages_follow_the_data(tmp_path, layer, caplog):
    params = {"layer": layer, "with_minimize": True}
    trained = toy.estimator(tmp_path, params, normalised)
    trained.train(toy.input_fn, steps=2)
    first, second = (toy.X[i * 32 : (i + 1) * 32].mean(0) for i in range(2))
    expected = 0.5 * (0.5 * first) + 0.5 * second
    moving = trained.get_variable_value("bn/moving_mean")
    np.testing.assert_allclose(moving, expected, rtol=1e-5)
    assert "leaves out" not in caplog.text


@pytest.mark.filterwarnings("ignore:`tf.layers:UserWarning")
@pytest.mark.parametrize("layer", ["keras", "tf.compat.v1.layers"])
def test_moving_averages_that_stand_still_are_warned_of(tmp_path, layer, caplog):
    params = {"layer": layer, "with_minimize": False}
    toy.estimator(tmp_path, params, normalised).train(toy.input_fn, steps=2)
    assert "train_op leaves out 2 updates, such as bn/" in caplog.text
    assert "test_graphs.py:" in caplog.text


def test_an_evaluation_leaves_the_callers_random_numbers_alone(tmp_path):
    trained = toy.estimator(tmp_path, {})
    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist()
    trained.evaluate(toy.input_fn, steps=1)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_an_init_fn_may_set_the_global_step(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        start = tf1.train.get_global_step().assign(100)
        scaffold = tf1.train.Scaffold(init_fn=lambda _, session: session.run(start))
        return spec._replace(scaffold=scaffold)

    trained = toy.estimator(tmp_path, {}, model_fn).train(toy.input_fn, steps=5)
    assert trained.get_variable_value("global_step") == 105


def test_without_v2_tensor_shapes_training_works_too(tmp_path):
    tf1.disable_v2_tensorshape()
    try:
        trained = toy.estimator(tmp_path, {}).train(toy.input_fn, steps=3)
    finally:
        tf1.enable_v2_tensorshape()
    assert trained.get_variable_value("global_step") == 3


def test_a_loss_beyond_fp32_is_finite_in_fp64(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        return spec._replace(loss=tf.cast(spec.loss, tf.float64) * 1e300)

    trained = toy.estimator(tmp_path, {}, model_fn).train(toy.input_fn, steps=3)
    assert trained.get_variable_value("global_step") == 3


def test_a_functional_keras_model_trains_its_moving_averages(tmp_path, caplog):
    def model_fn(features, labels, mode, params):
        keras = tf.keras
        inputs = keras.layers.Input((8,))
        outputs = keras.layers.BatchNormalization(momentum=0.5, name="bn")(inputs)
        outputs = keras.layers.Dense(2)(outputs)
        logits = keras.Model(inputs, outputs)(features, training=mode == "train")
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        given = Params(optimizer={"optimizer_type": "sgd"}).model_dump()
        return CSEstimatorSpec(
            mode, loss=loss, train_op=minimize(loss, given["optimizer"])
        )

    trained = toy.estimator(tmp_path, {}, model_fn)
    trained.train(toy.input_fn, steps=1)
    moving = trained.get_variable_value("bn/moving_mean")
    np.testing.assert_allclose(moving, 0.5 * toy.X[:32].mean(0), rtol=1e-5)
    assert "leaves out" not in caplog.text


def test_updates_may_be_tensors_and_variables(tmp_path, caplog):
    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        mean = tf1.get_variable("moving", [], initializer=tf1.zeros_initializer())
        updates = [mean.assign_add(1.0), tf.identity(mean.assign_add(2.0))]
        for update in updates:
            tf1.add_to_collection(tf1.GraphKeys.UPDATE_OPS, update)
        return spec._replace(train_op=tf.group(spec.train_op, *updates))

    trained = toy.estimator(tmp_path, {}, model_fn).train(toy.input_fn, steps=2)
    assert trained.get_variable_value("moving") == 6
    assert "leaves out" not in caplog.text


@pytest.mark.parametrize("resource", [True, False])
def test_a_train_op_that_trains_nothing_is_warned_of(tmp_path, caplog, resource):
    def model_fn(features, labels, mode, params):
        weight = tf1.get_variable("weight", [8, 2], use_resource=resource)
        loss, step = tf.reduce_mean(features @ weight), tf1.train.get_global_step()
        optimizer = tf1.train.GradientDescentOptimizer(0.5)
        train_op = optimizer.minimize(loss, step) if params else step.assign_add(1)
        return CSEstimatorSpec(mode, loss=loss, train_op=train_op)

    toy.estimator(tmp_path, {}, model_fn).train(toy.input_fn, steps=1)
    told = "train_op changes none of the 1 trainable variables: the model stays"
    assert caplog.text.count(told) == 1
    toy.estimator(tmp_path, {"trains": True}, model_fn).train(toy.input_fn, steps=1)
    assert caplog.text.count(told) == 1


def test_randomness_in_loops_of_tensorflow_1_stays_as_it_is(tmp_path):
    def model_fn(features, labels, mode, params):
        noisy = tf.map_fn(lambda row: tf.nn.dropout(row, rate=0.3), features)
        return toy.model_fn(noisy, labels, mode, params)

    tf1.disable_control_flow_v2()
    try:
        trained = toy.estimator(tmp_path, {}, model_fn).train(toy.input_fn, steps=2)
    finally:
        tf1.enable_control_flow_v2()
    assert trained.get_variable_value("global_step") == 2
