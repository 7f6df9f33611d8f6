"""Evaluation: metrics, their files, and which checkpoint they are of."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.errors import CheckpointError, InputFnError, ModelFnError
from wafer_runtime.estimator import (
    CSEstimatorSpec,
    EstimatorSpec,
    SessionRunHook,
    all_checkpoints,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    model_dir = tmp_path_factory.mktemp("trained")
    return toy.estimator(model_dir).train(toy.input_fn, max_steps=200)


def expected(trained, batches):
    """Loss and accuracy in numpy, from the checkpoint's weights."""
    w = toy.variables(trained)
    x, y = toy.X[: 32 * batches], toy.Y[: 32 * batches]
    hidden = np.maximum(x @ w["hidden/kernel"] + w["hidden/bias"], 0)
    logits = hidden @ w["out/kernel"] + w["out/bias"]
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_p[np.arange(len(y)), y].mean(), (logits.argmax(1) == y).mean()


@pytest.mark.parametrize("steps", [None, 5])
def test_the_metrics_are_those_of_the_checkpoint(trained, steps):
    results = trained.evaluate(toy.input_fn, steps=steps)
    loss, accuracy = expected(trained, steps or 16)
    assert results["loss"] == pytest.approx(loss, rel=1e-4)
    assert results["accuracy"] == pytest.approx(accuracy)
    assert results["global_step"] == 200
    assert accuracy > 0.9


def test_metrics_are_written_to_the_eval_folder(trained, tmp_path):
    results = trained.evaluate(toy.input_fn, name="held_out")
    found = toy.scalars(tmp_path.__class__(trained.model_dir) / "eval_held_out")
    assert found["accuracy"] == {200: pytest.approx(results["accuracy"])}
    assert found["loss"] == {200: pytest.approx(results["loss"])}


def test_an_older_checkpoint_can_be_named(trained):
    oldest = all_checkpoints(trained.model_dir)[0]
    results = trained.evaluate(toy.input_fn, checkpoint_path=oldest)
    assert results["global_step"] == 0


def test_hooks_see_every_step(trained):
    class Counter(SessionRunHook):
        calls = 0

        def after_run(self, run_context, run_values):
            self.calls += 1

    counter = Counter()
    trained.evaluate(toy.input_fn, steps=7, hooks=[counter])
    assert counter.calls == 7


def test_the_three_forms_of_metrics_agree(trained):
    def with_form(form):
        def model_fn(features, labels, mode, params):
            spec = toy.model_fn(features, labels, mode, params)
            ops = toy.metrics(*spec.host_call[1])
            if form == "dict":
                return CSEstimatorSpec(mode, host_call=ops, loss=spec.loss)
            return EstimatorSpec(mode, loss=spec.loss, eval_metric_ops=ops)

        return toy.estimator(trained.model_dir, {}, model_fn)

    wanted = trained.evaluate(toy.input_fn)
    assert with_form("dict").evaluate(toy.input_fn) == wanted
    assert with_form("eval_metric_ops").evaluate(toy.input_fn) == wanted


def test_without_a_checkpoint_the_initial_model_is_evaluated(tmp_path):
    assert toy.estimator(tmp_path, {}).evaluate(toy.input_fn)["global_step"] == 0


def test_a_missing_checkpoint_is_named(trained):
    with pytest.raises(CheckpointError, match=r"ckpt-7: there is no such checkpoint"):
        trained.evaluate(
            toy.input_fn, checkpoint_path=trained.model_dir + "/model.ckpt-7"
        )


@pytest.mark.parametrize("name", ["loss", "global_step"])
def test_a_metric_must_not_take_the_drivers_names(trained, name):
    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        return CSEstimatorSpec(
            mode, loss=spec.loss, host_call={name: tf1.metrics.mean(spec.loss)}
        )

    with pytest.raises(ModelFnError, match=f'A metric is named "{name}"'):
        toy.estimator(trained.model_dir, {}, model_fn).evaluate(toy.input_fn)


def test_no_batch_is_an_error_not_a_zero(trained):
    def empty(mode):
        data = tf.data.Dataset.from_tensor_slices((toy.X[:5], toy.Y[:5]))
        return data.batch(32, drop_remainder=True)

    with pytest.raises(InputFnError, match="gave no batch"):
        trained.evaluate(empty)


def test_metrics_that_are_text_or_arrays(trained, tmp_path, caplog):
    written = tf1.Summary(value=[tf1.Summary.Value(tag="inner", simple_value=3)])

    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        summary = tf.constant(written.SerializeToString())
        metrics = {
            "summary": (summary, tf.no_op()),
            "text": (tf.constant("no summary"), tf.no_op()),
            "array": (tf.constant([1.0, 2.0]), tf.no_op()),
            "nested": ((tf.constant(1.0), (tf.constant(2), tf.zeros([2]))), tf.no_op()),
        }
        return EstimatorSpec(mode, loss=spec.loss, eval_metric_ops=metrics)

    path = trained.latest_checkpoint()
    other = toy.estimator(tmp_path, {}, model_fn)
    values = other.evaluate(toy.input_fn, steps=2, checkpoint_path=path)
    assert values["text"] == b"no summary"
    assert values["nested"][1][0] == 2
    assert 'The metric "nested" is no number: not in the event file' in caplog.text
    assert 'The metric "text" is no number: not in the event file' in caplog.text
    (events,) = (tmp_path / "eval").iterdir()
    found = {
        value.tag: value
        for event in tf1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert found["summary/0"].simple_value == 3
    assert found["checkpoint_path"].tensor.string_val == [path.encode()]
    assert tf.make_ndarray(found["array"].tensor).tolist() == [1, 2]
