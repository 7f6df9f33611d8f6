"""train_and_evaluate, exporters, early stopping and warm starts."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.errors import (
    CheckpointError,
    InputFnError,
    TrainingInterrupted,
    UsageError,
)
from wafer_runtime.estimator import (
    EstimatorSpec,
    EvalSpec,
    FinalExporter,
    ServingInputReceiver,
    SessionRunHook,
    TrainSpec,
    WarmStartSettings,
    build_parsing_serving_input_receiver_fn,
    build_raw_serving_input_receiver_fn,
    make_early_stopping_hook,
    read_eval_metrics,
    stop_if_higher_hook,
    stop_if_lower_hook,
    stop_if_no_decrease_hook,
    stop_if_no_increase_hook,
    train_and_evaluate,
)

RECEIVER = build_raw_serving_input_receiver_fn(tf.TensorSpec([None, 8], tf.float32))


def train_eval(estimator, max_steps=200, hooks=(), exporters=(), throttle_secs=0):
    return train_and_evaluate(
        estimator,
        TrainSpec(toy.input_fn, max_steps=max_steps, hooks=hooks),
        EvalSpec(
            toy.input_fn, steps=4, exporters=exporters, throttle_secs=throttle_secs
        ),
    )


def test_every_checkpoint_is_evaluated_and_the_last_one_exported(tmp_path):
    estimator = toy.estimator(tmp_path, {}, save_checkpoints_steps=50)
    metrics, exports = train_eval(
        estimator, 150, exporters=[FinalExporter("final", RECEIVER)]
    )
    assert metrics["global_step"] == 150
    evaluated = read_eval_metrics(estimator.eval_dir())
    assert list(evaluated) == [50, 100, 150]
    assert evaluated[150]["accuracy"] == pytest.approx(metrics["accuracy"])
    assert Path(exports[0]).parent == tmp_path / "export" / "final"


def test_throttling_skips_all_but_the_first_and_the_last(tmp_path):
    estimator = toy.estimator(tmp_path, {}, save_checkpoints_steps=25)
    train_eval(estimator, 150, throttle_secs=600)
    assert list(read_eval_metrics(estimator.eval_dir())) == [25, 150]


def test_the_last_checkpoint_is_evaluated_once(tmp_path):
    estimator = toy.estimator(tmp_path, {}, save_checkpoints_steps=50)
    begun = []

    class Counter(SessionRunHook):
        def begin(self):
            begun.append(1)

    spec = EvalSpec(toy.input_fn, steps=1, hooks=[Counter()], throttle_secs=0)
    train_and_evaluate(estimator, TrainSpec(toy.input_fn, max_steps=100), spec)
    assert len(begun) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainSpec(toy.input_fn, max_steps=0), "max_steps > 0, given: 0"),
        (lambda: TrainSpec("data"), "input_fn must be a function, given: 'data'"),
        (lambda: TrainSpec(toy.input_fn, hooks=[3]), "must be SessionRunHook"),
        (lambda: EvalSpec(toy.input_fn, steps=-1), "steps > 0, given: -1"),
        (lambda: EvalSpec(toy.input_fn, throttle_secs=-1), "throttle_secs >= 0"),
        (lambda: EvalSpec(toy.input_fn, exporters=[3]), r"must have a name and export"),
        (lambda: EvalSpec(toy.input_fn, exporters=3), r"must have a name and export"),
        (lambda: EvalSpec(toy.input_fn, name=3), r"name must be text, given: 3"),
        (
            lambda: EvalSpec(toy.input_fn, exporters=FinalExporter(3, None)),
            "exporters must have a name and export",
        ),
        (
            lambda: EvalSpec(toy.input_fn, exporters=[FinalExporter("a", None)] * 2),
            "exporters need a name each, given: a, a",
        ),
        (
            lambda: TrainSpec(toy.input_fn, saving_listeners=["me"]),
            "must be CheckpointSaverListener, given: 'me'",
        ),
    ],
)
def test_senseless_specifications_are_refused_when_they_are_made(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_specifications_are_named_tuples_of_tuples():
    train, evaluation = TrainSpec(toy.input_fn), EvalSpec(toy.input_fn)
    assert train == (toy.input_fn, None, (), ())
    assert train._replace(max_steps=3).max_steps == 3
    assert evaluation == (toy.input_fn, 100, None, (), (), 120, 600)
    exporter = FinalExporter("a", None)
    assert EvalSpec(toy.input_fn, exporters=exporter).exporters == (exporter,)


@pytest.mark.parametrize("wrong", ["estimator", "train_spec", "eval_spec"])
def test_train_and_evaluate_of_something_else_is_refused(tmp_path, wrong):
    given = {
        "estimator": toy.estimator(tmp_path, {}),
        "train_spec": TrainSpec(toy.input_fn),
        "eval_spec": EvalSpec(toy.input_fn),
    }
    with pytest.raises(TypeError, match=f"{wrong} must be of type .*, given: None"):
        train_and_evaluate(**given | {wrong: None})


def test_a_mistyped_metric_never_stops_in_silence(tmp_path):
    estimator = toy.estimator(tmp_path, {}, save_checkpoints_steps=20)
    hook = stop_if_lower_hook(
        estimator, "accurracy", 0.5, run_every_secs=None, run_every_steps=10
    )
    with pytest.raises(UsageError, match="did you mean"):
        train_eval(estimator, 100, hooks=[hook])


def test_a_signal_ends_an_evaluation_in_mid_training_too(tmp_path):
    estimator = toy.estimator(tmp_path, {}, save_checkpoints_steps=50)
    evaluated = []

    class Interrupting(SessionRunHook):
        def after_run(self, run_context, run_values):
            evaluated.append(1)
            if len(evaluated) == 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted) as stopped:
        train_and_evaluate(
            estimator,
            TrainSpec(toy.input_fn, max_steps=200),
            EvalSpec(toy.input_fn, steps=10, hooks=[Interrupting()], throttle_secs=0),
        )
    assert len(evaluated) == 2
    assert stopped.value.global_step == 50
    assert read_eval_metrics(estimator.eval_dir()) == {}
    assert estimator.latest_checkpoint().endswith("model.ckpt-50")


def test_a_signal_in_an_evaluation_of_a_hooks_own_loses_no_steps(tmp_path):
    estimator = toy.estimator(tmp_path, {}, save_checkpoints_steps=10**6)

    class Interrupting(SessionRunHook):
        def end(self, session):
            os.kill(os.getpid(), signal.SIGTERM)

    class Evaluating(SessionRunHook):
        steps = 0

        def after_run(self, run_context, run_values):
            self.steps += 1
            if self.steps == 5:
                estimator.evaluate(toy.input_fn, steps=2, hooks=[Interrupting()])

    with pytest.raises((TrainingInterrupted, KeyboardInterrupt, SystemExit)):
        estimator.train(toy.input_fn, steps=20, hooks=[Evaluating()])
    assert estimator.latest_checkpoint().endswith("model.ckpt-5")


def test_after_a_signal_no_last_evaluation_delays_the_end(tmp_path):
    estimator = toy.estimator(tmp_path, {}, save_checkpoints_steps=50)

    class Interrupting(SessionRunHook):
        def after_run(self, run_context, run_values):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingInterrupted) as stopped:
        train_eval(estimator, hooks=[Interrupting()])
    assert stopped.value.global_step == 1
    assert estimator.latest_checkpoint().endswith("model.ckpt-1")
    assert read_eval_metrics(estimator.eval_dir()) == {}


def test_a_finished_training_is_left_alone(tmp_path):
    estimator = toy.estimator(tmp_path, {}).train(toy.input_fn, max_steps=20)
    assert train_eval(estimator, 20) == (None, [])


def test_without_checkpoints_there_is_nothing_to_evaluate(tmp_path):
    estimator = toy.estimator(
        tmp_path, {}, save_checkpoints_steps=None, save_checkpoints_secs=None
    )
    with pytest.raises(UsageError, match="none are to be saved"):
        train_eval(estimator)


def step_after_stop(tmp_path, make_hook):
    estimator = toy.estimator(tmp_path, {}, save_checkpoints_steps=20)
    hook = make_hook(estimator, run_every_secs=None, run_every_steps=10)
    train_eval(estimator, 400, hooks=[hook])
    return estimator.get_variable_value("global_step")


def test_stop_if_higher(tmp_path):
    step = step_after_stop(
        tmp_path, lambda e, **kw: stop_if_higher_hook(e, "accuracy", 0.7, **kw)
    )
    accuracies = read_eval_metrics(str(tmp_path / "eval"))
    assert step < 400
    assert max(m["accuracy"] for m in accuracies.values()) > 0.7


def test_stop_if_lower_waits_for_min_steps(tmp_path):
    def hook(estimator, **kw):
        return stop_if_lower_hook(estimator, "loss", 10, min_steps=100, **kw)

    # Every evaluation is below; the first that counts is that of step 100. The hook
    # asks after steps 1, 11, and so on.
    assert step_after_stop(tmp_path, hook) == 101


def write_history(directory, losses):
    with tf.Graph().as_default():
        writer = tf.compat.v1.summary.FileWriter(directory)
        for step, loss in losses.items():
            value = tf.compat.v1.Summary.Value(tag="loss", simple_value=loss)
            writer.add_summary(tf.compat.v1.Summary(value=[value]), step)
        writer.close()


@pytest.mark.parametrize(
    ("make", "losses", "stops"),
    [
        (stop_if_no_decrease_hook, {10: 1.0, 20: 0.9, 30: 0.95, 50: 0.95}, True),
        (stop_if_no_decrease_hook, {10: 1.0, 20: 0.9, 30: 0.95, 45: 0.8}, False),
        (stop_if_no_increase_hook, {10: 1.0, 20: 0.9, 40: 0.8}, True),
        (stop_if_no_increase_hook, {10: 0.1, 20: 0.2, 45: 0.3}, False),
    ],
)
def test_stopping_when_a_metric_stalls_for_30_steps(tmp_path, make, losses, stops):
    estimator = toy.estimator(tmp_path, {})
    write_history(estimator.eval_dir(), losses)
    hook = make(estimator, "loss", 30, run_every_secs=None, run_every_steps=5)
    estimator.train(toy.input_fn, steps=40, hooks=[hook])
    assert estimator.get_variable_value("global_step") == (1 if stops else 40)


def test_an_event_file_that_breaks_off_is_read_so_far(tmp_path):
    write_history(str(tmp_path), {10: 1.0, 20: 0.5})
    (events,) = tmp_path.iterdir()
    events.write_bytes(events.read_bytes()[:-5])
    assert read_eval_metrics(str(tmp_path)) == {10: {"loss": 1.0}}


def test_early_stopping_by_time_and_by_steps_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="Only one of"):
        make_early_stopping_hook(toy.estimator(tmp_path), bool, 1, 1)
    with pytest.raises(TypeError, match="estimator must be of type CerebrasEstimator"):
        stop_if_lower_hook("model", "loss", 1.0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    model_dir = tmp_path_factory.mktemp("trained")
    return toy.estimator(model_dir, {}).train(toy.input_fn, max_steps=50)


def initial_weights(tmp_path, warm_start_from):
    estimator = toy.estimator(
        tmp_path, {"learning_rate": 0.0}, warm_start_from=warm_start_from
    )
    estimator.train(toy.input_fn, steps=1)
    return toy.variables(estimator)


@pytest.mark.parametrize("source", ["model_dir", "SavedModel"])
def test_a_warm_start_takes_all_weights_but_not_the_step(tmp_path, trained, source):
    path = trained.model_dir
    if source == "SavedModel":
        path = trained.export_saved_model(str(tmp_path / "served"), RECEIVER)
    weights = initial_weights(tmp_path / "model", path)
    for name in ("hidden/kernel", "out/bias"):
        np.testing.assert_array_equal(weights[name], trained.get_variable_value(name))
    assert weights["global_step"] == 1


def test_a_warm_start_is_evaluated_predicted_and_exported_untrained(tmp_path, trained):
    untrained = toy.estimator(tmp_path, {}, warm_start_from=trained.model_dir)
    assert untrained.evaluate(toy.input_fn)["loss"] == pytest.approx(
        trained.evaluate(toy.input_fn)["loss"]
    )
    wanted = next(trained.predict(toy.input_fn))["probabilities"]
    found = next(untrained.predict(toy.input_fn))["probabilities"]
    np.testing.assert_array_equal(found, wanted)
    path = untrained.export_saved_model(str(tmp_path / "served"), RECEIVER)
    served = tf.saved_model.load(path).signatures["serving_default"]
    outputs = served(tf.constant(toy.X[:1]))["probabilities"]
    np.testing.assert_allclose(outputs[0], wanted, rtol=1e-5)


def test_an_export_is_loaded_by_the_saver_of_the_scaffold(tmp_path):
    def model_fn(features, labels, mode):
        spec = toy.model_fn(features, labels, mode, {})
        kept = [v for v in tf1.global_variables() if "hidden" in v.name]
        with tf.device("/gpu:7"):  # the placement is soft, here as in training
            unused = tf.strings.as_string(tf1.train.get_global_step())
        with tf.control_dependencies([unused]):
            scaffold = tf1.train.Scaffold(saver=tf1.train.Saver(kept, sharded=True))
        return spec._replace(scaffold=scaffold) if mode == "infer" else spec

    model = toy.estimator(tmp_path, model=model_fn).train(toy.input_fn, steps=1)
    path = model.export_saved_model(str(tmp_path / "served"), RECEIVER)
    stored = tf.train.list_variables(f"{path}/variables/variables")
    assert {name.partition("/")[0] for name, _ in stored} == {"hidden"}


def test_a_checkpoint_of_objects_is_exported(tmp_path):
    def model_fn(features, labels, mode):
        layer = tf.keras.layers.Dense(2)
        logits = layer(features)
        step = tf1.train.get_global_step()
        saver = tf.train.Checkpoint(step=step, layer=layer)
        loss = None if labels is None else tf.reduce_mean(logits)
        return EstimatorSpec(
            mode,
            predictions={"logits": logits},
            loss=loss,
            train_op=step.assign_add(1).op,
            scaffold=tf1.train.Scaffold(saver=saver),
        )

    model = toy.estimator(tmp_path, model=model_fn).train(toy.input_fn, steps=3)
    path = model.export_saved_model(str(tmp_path / "served"), RECEIVER)
    served = tf.saved_model.load(path).signatures["serving_default"]
    wanted = next(model.predict(toy.input_fn))["logits"]
    outputs = served(tf.constant(toy.X[:1]))["logits"]
    np.testing.assert_allclose(outputs[0], wanted, rtol=1e-5)


def test_a_warm_start_by_regex_takes_only_what_matches(tmp_path, trained):
    settings = WarmStartSettings(trained.model_dir, "hidden/.*")
    weights = initial_weights(tmp_path, settings)
    same = {
        name: np.array_equal(weights[name], trained.get_variable_value(name))
        for name in ("hidden/kernel", "out/kernel")
    }
    assert same == {"hidden/kernel": True, "out/kernel": False}


def test_a_warm_start_under_another_name(tmp_path, trained):
    settings = WarmStartSettings(
        trained.latest_checkpoint(),
        "out/bias",
        var_name_to_prev_var_name={"out/bias": "out/bias/Adam"},
    )
    weights = initial_weights(tmp_path, settings)
    np.testing.assert_array_equal(
        weights["out/bias"], trained.get_variable_value("out/bias/Adam")
    )


def test_a_checkpoint_in_model_dir_beats_the_warm_start(tmp_path, trained):
    toy.estimator(tmp_path, {}, tf_random_seed=7).train(toy.input_fn, steps=1)
    weights = initial_weights(tmp_path, trained.model_dir)
    assert weights["global_step"] == 2
    assert not np.array_equal(
        weights["out/bias"], trained.get_variable_value("out/bias")
    )


def test_a_warm_start_from_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint to warm-start from"):
        initial_weights(tmp_path / "model", str(tmp_path))


def test_a_warm_start_that_does_not_fit_says_how_to_leave_variables_out(
    tmp_path, trained
):
    estimator = toy.estimator(
        tmp_path, {"width": 24}, warm_start_from=trained.model_dir
    )
    with pytest.raises(CheckpointError, match=r"cannot be warm-started from: Shape of"):
        estimator.train(toy.input_fn, steps=1)
    with pytest.raises(CheckpointError, match="nowhere: there is no such checkpoint"):
        initial_weights(tmp_path, str(tmp_path / "nowhere"))


def test_an_exported_model_predicts_what_the_estimator_predicts(tmp_path, trained):
    readme = tmp_path / "notes.txt"
    readme.write_text("hello")
    path = trained.export_saved_model(
        str(tmp_path), RECEIVER, assets_extra={"docs/notes.txt": str(readme)}
    )
    served = tf.saved_model.load(path).signatures["serving_default"]
    outputs = served(tf.constant(toy.X[:5]))
    wanted = list(trained.predict(toy.input_fn, num_samples=5))
    for key in ("class", "probabilities"):
        np.testing.assert_allclose(
            outputs[key], [w[key] for w in wanted], rtol=1e-5, err_msg=key
        )
    assert (Path(path) / "assets.extra" / "docs" / "notes.txt").read_text() == "hello"


def test_an_exported_model_can_parse_examples(tmp_path, trained):
    receiver = build_parsing_serving_input_receiver_fn(
        {"x": tf.io.FixedLenFeature([8], tf.float32)}
    )

    def unpacked():
        given = receiver()
        return ServingInputReceiver(given.features["x"], given.receiver_tensors)

    path = trained.export_saved_model(str(tmp_path), unpacked)
    served = tf.saved_model.load(path).signatures["serving_default"]
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=toy.X[0]))
    example = tf.train.Example(features=tf.train.Features(feature={"x": feature}))
    outputs = served(examples=tf.constant([example.SerializeToString()]))
    wanted = next(trained.predict(toy.input_fn))
    np.testing.assert_allclose(
        outputs["probabilities"][0], wanted["probabilities"], rtol=1e-5
    )


def test_export_needs_a_trained_model_and_a_receiver(tmp_path, trained):
    with pytest.raises(CheckpointError, match="Train the model first"):
        toy.estimator(tmp_path, {}).export_saved_model(str(tmp_path), RECEIVER)
    with pytest.raises(InputFnError, match=r"test_train_eval\.py:\d+: serving_input"):
        trained.export_saved_model(str(tmp_path), lambda: None)
