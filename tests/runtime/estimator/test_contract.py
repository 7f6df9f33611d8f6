"""The contract of model_fn and input_fn: each breach has its message and place."""

import functools
import re

import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.errors import (
    DatasetEndedError,
    InputFnError,
    ModelFnError,
    NotAvailableError,
    UsageError,
)
from wafer_runtime.estimator import (
    CerebrasEstimator,
    CSEstimatorSpec,
    CSRunConfig,
    EstimatorSpec,
    PredictOutput,
    SessionRunHook,
)

HERE = r"test_contract\.py:\d+: "


def loss_of(features):
    return tf.reduce_mean(tf.keras.layers.Dense(1)(features))


def train_op_of(loss):
    return tf1.train.GradientDescentOptimizer(0.1).minimize(
        loss, global_step=tf1.train.get_global_step()
    )


def run(tmp_path, model, mode="train", input_fn=toy.input_fn):
    trained = CerebrasEstimator(model, str(tmp_path))
    if mode == "train":
        trained.train(input_fn, steps=1)
    elif mode == "eval":
        trained.evaluate(input_fn, steps=1)
    else:
        list(trained.predict(input_fn))


with tf.Graph().as_default():
    OUTSIDE = tf.constant(1.0, name="outside")

SPECS = {
    "no loss in TRAIN": (
        "train",
        lambda mode, loss: EstimatorSpec(mode, train_op=train_op_of(loss)),
        "Missing loss: mode 'train' needs it",
    ),
    "no train_op in TRAIN": (
        "train",
        lambda mode, loss: EstimatorSpec(mode, loss=loss),
        "Missing train_op: mode 'train' needs it",
    ),
    "no loss in EVAL": (
        "eval",
        lambda mode, loss: EstimatorSpec(mode),
        "Missing loss: mode 'eval' needs it",
    ),
    "no predictions in PREDICT": (
        "infer",
        lambda mode, loss: EstimatorSpec(mode),
        "Missing predictions: mode 'infer' needs it",
    ),
    "a loss for each sample": (
        "eval",
        lambda mode, loss: EstimatorSpec(mode, loss=tf.stack([loss, loss])),
        r"Loss must be scalar, given shape \(2,\) \(made at .*test_contract.py:\d+\)",
    ),
    "a loss that is a number": (
        "eval",
        lambda mode, loss: EstimatorSpec(mode, loss=1.5),
        "loss must be Tensor, given: 1.5",
    ),
    "a train_op that is a function": (
        "train",
        lambda mode, loss: EstimatorSpec(mode, loss=loss, train_op=print),
        "train_op must be Operation or Tensor",
    ),
    "predictions that are numbers": (
        "infer",
        lambda mode, loss: EstimatorSpec(mode, predictions={"x": 3}),
        r"predictions\['x'\] must be Tensor, given: 3",
    ),
    "a scaffold that is none": (
        "eval",
        lambda mode, loss: EstimatorSpec(mode, loss=loss, scaffold="mine"),
        "scaffold must be a Scaffold, given: 'mine'",
    ),
    "a loss made outside model_fn": (
        "eval",
        lambda mode, loss: EstimatorSpec(mode, loss=OUTSIDE),
        'loss has "outside:0", which must be from the default graph',
    ),
    "a metric made outside model_fn": (
        "eval",
        lambda mode, loss: CSEstimatorSpec(
            mode, loss=loss, host_call=(lambda t: {}, [{"x": OUTSIDE}])
        ),
        'host_call has "outside:0", which must be from the default graph',
    ),
    "export_outputs without a default": (
        "infer",
        lambda mode, loss: EstimatorSpec(
            mode, loss, export_outputs=dict.fromkeys("ab", PredictOutput(loss))
        ),
        "export_outputs: Multiple [`]?export_outputs[`]? were provided",
    ),
    "an unknown mode": (
        "eval",
        lambda mode, loss: EstimatorSpec("test", loss=loss),
        "mode is 'test'; wanted one of train, eval, infer",
    ),
    "host_call beside eval_metric_ops": (
        "eval",
        lambda mode, loss: CSEstimatorSpec(
            mode,
            loss=loss,
            host_call={"m": tf1.metrics.mean(loss)},
            eval_metric_ops={"m": tf1.metrics.mean(loss)},
        ),
        "host_call and eval_metric_ops are both given",
    ),
    "host_call that is neither form": (
        "eval",
        lambda mode, loss: CSEstimatorSpec(mode, loss=loss, host_call=[loss]),
        r"host_call is .*; wanted a dict .*, or \(function, \[tensors\]\)",
    ),
    "host_call with metrics that are no pairs": (
        "eval",
        lambda mode, loss: CSEstimatorSpec(mode, loss=loss, host_call={"m": loss}),
        r"host_call\['m'\] is .*; wanted a dict \{name: \(value, update_op\)\}",
    ),
    "host_call whose function returns no dict": (
        "eval",
        lambda mode, loss: CSEstimatorSpec(
            mode, loss=loss, host_call=(lambda t: t, [loss])
        ),
        "what host_call's function returned is a .*; wanted a dict",
    ),
    "hooks that are none": (
        "train",
        lambda mode, loss: EstimatorSpec(
            mode, loss=loss, train_op=train_op_of(loss), training_hooks=["hook"]
        ),
        "training_hooks holds 'hook'; All hooks must be SessionRunHook",
    ),
    "a Keras metric": (
        "eval",
        lambda mode, loss: EstimatorSpec(
            mode, loss=loss, eval_metric_ops={"m": tf.keras.metrics.Mean()}
        ),
        "The Keras metrics API is not supported: use tf.compat.v1.metrics in host_call",
    ),
}


@pytest.mark.parametrize("case", SPECS)
def test_a_wrong_specification_names_its_line(tmp_path, case):
    mode, make, message = SPECS[case]

    def model_fn(features, labels, mode):
        return make(mode, loss_of(features))

    with pytest.raises(ModelFnError, match=HERE + message):
        run(tmp_path, model_fn, mode)


def test_a_keras_metric_made_outside_model_fn_is_refused_too(tmp_path):
    mean = tf.keras.metrics.Mean()

    def model_fn(features, labels, mode):
        loss = loss_of(features)
        return EstimatorSpec(mode, loss=loss, eval_metric_ops={"m": mean})

    with pytest.raises(ModelFnError, match=HERE + r".*is a Keras Mean\. The Keras met"):
        run(tmp_path, model_fn, "eval")


def test_a_specification_is_made_and_changed_outside_an_estimator_too():
    # As tests of a model_fn's own do.
    with tf.Graph().as_default():
        mean = tf.keras.metrics.Mean()
        mean.update_state(loss := tf.constant(1.0))
        spec = EstimatorSpec("eval", loss=loss, eval_metric_ops={"mean": mean})
        assert spec.predictions == {}
        assert set(tf1.local_variables()) == set(mean.variables)
        assert set(tf1.get_collection("metric_variables")) == set(mean.variables)
        changed = spec._replace(predictions={"x": loss}, eval_metric_ops=None)
        assert (changed.predictions, changed.eval_metric_ops) == ({"x": loss}, {})
        with pytest.raises(TypeError, match="predictions\\['x'\\] must be Tensor"):
            spec._replace(predictions={"x": 3})
        with pytest.raises(ValueError, match="be changed from 'eval' to 'train'"):
            spec._replace(mode="train")
        infer = EstimatorSpec("infer", predictions=loss)
        assert infer.export_outputs["serving_default"].outputs == {"output": loss}


@pytest.mark.parametrize("name", ["fit", "train_on_batch", "evaluate", "predict"])
def test_keras_loops_inside_model_fn_are_refused(tmp_path, name):
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])

    def model_fn(features, labels, mode):
        getattr(model, name)(toy.X, toy.Y)

    with pytest.raises(ModelFnError, match=HERE + rf"Model\.{name} was called inside"):
        run(tmp_path, model_fn)


def test_training_inside_model_fn_is_refused(tmp_path):
    def model_fn(features, labels, mode):
        inner.train(toy.input_fn, steps=1)

    inner = CerebrasEstimator(model_fn, str(tmp_path))
    with pytest.raises(ModelFnError, match=HERE + r"train\(\) was called inside model"):
        run(tmp_path, model_fn)


def test_after_a_refusal_keras_works_as_before(tmp_path):
    test_keras_loops_inside_model_fn_are_refused(tmp_path, "fit")
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[tf.keras.metrics.MeanAbsoluteError()])
    history = model.fit(toy.X[:32], toy.Y[:32].astype("f4"), verbose=0)
    assert "loss" in history.history


def test_a_keras_3_layer_is_refused(tmp_path):
    keras = pytest.importorskip("keras", minversion="3")

    def model_fn(features, labels, mode):
        hidden = keras.layers.Dense(3)(features)
        return EstimatorSpec(mode, loss=tf.reduce_mean(hidden))

    with pytest.raises(ModelFnError, match=HERE + "a Keras 3 layer, which does not"):
        run(tmp_path, model_fn, "eval")


def test_a_keras_3_layer_that_fails_is_explained(tmp_path):
    keras = pytest.importorskip("keras", minversion="3")

    def model_fn(features, labels, mode):
        keras.layers.Dense(-3)(features)

    with pytest.raises(ModelFnError, match=HERE + "a Keras 3 layer, which does not"):
        run(tmp_path, model_fn, "eval")


def test_model_fn_must_return_a_specification(tmp_path):
    with pytest.raises(ModelFnError, match=HERE + "model_fn should return an Estimato"):
        run(tmp_path, lambda features, labels, mode: None)


def test_model_fn_must_answer_for_the_mode_it_was_asked_for(tmp_path):
    def model_fn(features, labels, mode):
        return EstimatorSpec("eval", loss=loss_of(features))

    with pytest.raises(ModelFnError, match="called with mode 'train', model_fn return"):
        run(tmp_path, model_fn)


def test_model_fn_may_leave_out_what_it_does_not_use(tmp_path):
    def model_fn(features, mode):
        loss = loss_of(features)
        return EstimatorSpec(mode, loss=loss, train_op=train_op_of(loss))

    def input_fn():
        return tf.data.Dataset.from_tensors(toy.X[:32]).repeat()

    run(tmp_path, model_fn, input_fn=input_fn)


def test_functions_may_be_partials_methods_and_callable_objects(tmp_path):
    class Model:
        def __call__(self, features, labels, mode, params, config):
            assert config.model_dir == str(tmp_path)
            return toy.model_fn(features, labels, mode, params)

    class Data:
        def read(self, batches, mode, config):
            return toy.input_fn(mode).take(batches)

    input_fn = functools.partial(Data().read, 3)
    trained = CerebrasEstimator(Model(), str(tmp_path), params={}).train(input_fn)
    assert trained.get_variable_value("global_step") == 3


@pytest.mark.parametrize(
    ("model_fn", "message"),
    [
        (lambda x, labels: None, "must take an argument named features"),
        (lambda features, labels: None, "model_fn takes no params"),
        (lambda features, params, data: None, "arguments nobody gives: data"),
    ],
)
def test_a_model_fn_that_cannot_be_called_is_refused_at_once(model_fn, message):
    with pytest.raises(ModelFnError, match=HERE + ".*" + message):
        CerebrasEstimator(model_fn, params={"a": 1})


INPUTS = {
    "features that are an iterator": (
        lambda: (iter([tf.zeros([4, 2])]), tf.zeros([4])),
        "features is a list_iterator; wanted a tensor or a",
    ),
    "a function among the features": (
        lambda: ({"a": {"b": [len]}}, tf.zeros([4])),
        r"features\['a'\]\['b'\]\[0\] is a builtin_f.*; wanted a tensor",
    ),
    "three parts": (
        lambda: (tf.zeros([4]), tf.zeros([4]), tf.zeros([4])),
        r"input_fn should return \(features, labels\), returned 3 parts",
    ),
    "nothing": (lambda: None, "input_fn returned None; a dataset was wanted"),
    "labels that are a set": (
        lambda: (tf.zeros([4]), {4.0}),
        "labels is a set; wanted a tensor",
    ),
}


@pytest.mark.parametrize("case", INPUTS)
def test_wrong_input_names_the_input_fn(tmp_path, case):
    input_fn, message = INPUTS[case]
    with pytest.raises(InputFnError, match=HERE + message):
        run(tmp_path, toy.model_fn_without_params, input_fn=input_fn)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "model_fn must be a function, given: None"),
        (
            (len, None, None, tf1.ConfigProto()),
            "config must be of type RunConfig",
        ),
    ],
)
def test_an_estimator_of_something_else_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CerebrasEstimator(*arguments)


def test_features_may_be_arrays_and_numbers_under_any_key(tmp_path):
    given = {3: [toy.X], "scale": 2.0}

    def model_fn(features, labels, mode):
        assert features is given
        return toy.model_fn(features[3][0] * features["scale"], labels, mode, {})

    run(tmp_path, model_fn, input_fn=lambda: (given, tf.constant(toy.Y)))


def test_features_and_labels_may_be_tuples(tmp_path):
    def input_fn():
        data = ((toy.X, toy.X), (toy.Y, toy.Y))
        return tf.data.Dataset.from_tensor_slices(data).batch(32, drop_remainder=True)

    def model_fn(features, labels, mode):
        return toy.model_fn(features[0] + features[1], labels[1], mode, {})

    run(tmp_path, model_fn, input_fn=input_fn)
    toy.estimator(tmp_path, model=model_fn).compile(input_fn, validate_only=True)


def test_features_may_be_nested_dicts(tmp_path):
    def input_fn():
        features = {"left": toy.X, "right": {"a": toy.X, "b": toy.X}}
        labels = {"y": toy.Y}
        return tf.data.Dataset.from_tensor_slices((features, labels)).batch(32)

    def model_fn(features, labels, mode):
        both = tf.concat([features["left"], features["right"]["b"]], 1)
        assert labels["y"].shape.rank == 1
        loss = loss_of(both)
        return EstimatorSpec(mode, loss=loss, train_op=train_op_of(loss))

    run(tmp_path, model_fn, input_fn=input_fn)


def test_input_fn_may_return_tensors(tmp_path):
    def input_fn():
        return tf.constant(toy.X[:32]), tf.constant(toy.Y[:32])

    run(tmp_path, toy.model_fn_without_params, input_fn=input_fn)


def test_labels_are_none_in_predict(tmp_path):
    def model_fn(features, labels, mode):
        assert labels is None
        return EstimatorSpec(mode, predictions=features)

    run(tmp_path, model_fn, "infer")


def test_labels_nobody_takes_are_an_error(tmp_path):
    with pytest.raises(ModelFnError, match="does not take labels, but input_fn return"):
        run(tmp_path, lambda features, mode: None)


def wafer_estimator(tmp_path):
    config = CSRunConfig(cs_ip="sim")
    return CerebrasEstimator(toy.model_fn, str(tmp_path), config=config, params={})


def test_on_the_wafer_the_training_data_must_go_on(tmp_path):
    def once(mode):
        return tf.data.Dataset.from_tensor_slices((toy.X, toy.Y)).batch(32)

    with pytest.raises(
        DatasetEndedError, match=re.escape("ends after 16 batches, but 20 steps")
    ):
        wafer_estimator(tmp_path).train(once, steps=20)


def test_on_the_wafer_hooks_are_refused_and_steps_required(tmp_path):
    with pytest.raises(UsageError, match="1 hooks were given"):
        wafer_estimator(tmp_path).train(toy.input_fn, hooks=[SessionRunHook()], steps=1)
    with pytest.raises(UsageError, match="needs steps or max_steps"):
        wafer_estimator(tmp_path).train(toy.input_fn)


@pytest.mark.parametrize("action", ["train", "evaluate", "predict"])
def test_a_real_wafer_is_not_there_and_says_so(tmp_path, action):
    actions = {
        "train": lambda e: e.train(toy.input_fn, steps=1),
        "evaluate": lambda e: e.evaluate(toy.input_fn, steps=1, use_cs=True),
        "predict": lambda e: e.predict(toy.input_fn, use_cs=True),
    }
    config = CSRunConfig(cs_ip="10.0.0.1")
    real = CerebrasEstimator(toy.model_fn, str(tmp_path), config=config, params={})
    with pytest.raises(NotAvailableError, match=r"10\.0\.0\.1: a real CS system"):
        actions[action](real)


def test_a_cs_config_still_trains_on_cpu_when_told_so(tmp_path):
    trained = wafer_estimator(tmp_path).train(toy.input_fn, steps=2, use_cs=False)
    assert trained.get_variable_value("global_step") == 2


CALLS = {
    "a dataset in place of the function": (
        lambda trained: trained.train(toy.input_fn("eval"), steps=1),
        "input_fn must be a function, given: <_BatchDataset",
    ),
    "a dataset to evaluate": (
        lambda trained: trained.evaluate(toy.input_fn("eval"), steps=1),
        "input_fn must be a function, given: <_BatchDataset",
    ),
    "a dataset to compile": (
        lambda trained: trained.compile(toy.input_fn("eval"), validate_only=True),
        "input_fn must be a function, given: <_BatchDataset",
    ),
    "a hook that is in no list": (
        lambda trained: trained.train(toy.input_fn, SessionRunHook(), steps=1),
        r"hooks must be a list, given: .*; wanted \[hook\]",
    ),
    "a mode that is none": (
        lambda trained: trained.compile(toy.input_fn, mode="predict"),
        "mode is 'predict'; wanted one of train, eval, infer",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_argument_is_told_before_model_fn_is_called(tmp_path, case):
    call, message = CALLS[case]
    with pytest.raises(UsageError, match=message):
        call(CerebrasEstimator(lambda features, labels: 1 / 0, str(tmp_path)))


def test_a_model_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "model").write_text("x")
    with pytest.raises(UsageError, match="model', which is a file"):
        toy.estimator(tmp_path / "model")
