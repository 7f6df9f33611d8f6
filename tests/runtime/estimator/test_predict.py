"""Prediction: samples, batches, keys, and the file that run.py saves."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.errors import InputFnError, ModelFnError, UsageError
from wafer_runtime.estimator import EstimatorSpec, SessionRunHook, save_predictions


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    model_dir = tmp_path_factory.mktemp("trained")
    return toy.estimator(model_dir, {}).train(toy.input_fn, max_steps=200)


def test_samples_come_one_by_one_in_order(trained):
    samples = list(trained.predict(toy.input_fn))
    assert len(samples) == 512
    right = [s["class"] == y for s, y in zip(samples, toy.Y, strict=True)]
    assert np.mean(right) > 0.9
    assert samples[0]["probabilities"].shape == (2,)


def test_batches_come_whole_when_asked_for(trained):
    batches = list(trained.predict(toy.input_fn, yield_single_examples=False))
    assert [b["class"].shape for b in batches] == [(32,)] * 16


def test_num_samples_limits_them(trained):
    assert len(list(trained.predict(toy.input_fn, num_samples=40))) == 40


@pytest.mark.parametrize("keys", ["class", ["class"]])
def test_only_the_keys_asked_for(trained, keys):
    sample = next(trained.predict(toy.input_fn, predict_keys=keys))
    assert list(sample) == ["class"]


def test_an_unknown_key_gets_a_suggestion(trained):
    with pytest.raises(ModelFnError, match=r'no "clas" \(did you mean "class"\?\)'):
        next(trained.predict(toy.input_fn, predict_keys="clas"))


def test_nothing_runs_before_the_first_sample(trained):
    def never(mode):
        raise AssertionError

    trained.predict(never)


def test_other_work_may_go_on_between_samples(trained):
    samples = trained.predict(toy.input_fn)
    first = next(samples)
    assert tf.executing_eagerly()
    trained.evaluate(toy.input_fn, steps=1)
    assert next(samples)["class"].shape == first["class"].shape
    samples.close()


def test_one_tensor_may_be_predicted(trained):
    def model_fn(features, mode):
        return EstimatorSpec(mode, predictions=tf.reduce_sum(features, 1))

    samples = list(
        toy.estimator(trained.model_dir + "/none", model=model_fn).predict(toy.input_fn)
    )
    np.testing.assert_allclose(samples, toy.X.sum(1), rtol=1e-5)


def test_different_batch_sizes_are_explained(trained):
    def model_fn(features, mode):
        return EstimatorSpec(mode, predictions={"a": features, "b": features[:3]})

    estimator = toy.estimator(trained.model_dir + "/none", model=model_fn)
    with pytest.raises(
        ModelFnError, match=r"batch sizes: \{'a': \(32, 8\), 'b': \(3, 8\)\}"
    ):
        next(estimator.predict(toy.input_fn))


def test_the_saved_file_reads_without_pickle(trained, tmp_path):
    path = tmp_path / "predict" / "outputs.npz"
    assert save_predictions(path, trained.predict(toy.input_fn)) == 512
    outputs = np.load(path)["arr_0"]
    first = next(trained.predict(toy.input_fn))
    assert outputs[0]["class"] == first["class"]
    np.testing.assert_array_equal(outputs[0]["probabilities"], first["probabilities"])
    assert outputs["probabilities"].shape == (512, 2)
    assert [p.name for p in path.parent.iterdir()] == ["outputs.npz"]


def test_text_and_single_tensors_are_saved_too(tmp_path):
    path = tmp_path / "a.npz"
    save_predictions(path, [{"t": b"one"}, {"t": b"three"}])
    assert np.load(path)["arr_0"]["t"].tolist() == [b"one", b"three"]
    save_predictions(path, [np.zeros(3), np.ones(3)])
    assert np.load(path)["arr_0"].shape == (2, 3)


def test_a_dataset_without_a_batch_is_no_prediction(tmp_path):
    with pytest.raises(InputFnError, match="The dataset gave no batch"):
        save_predictions(tmp_path / "a.npz", [])
    assert not list(tmp_path.iterdir())


def test_prediction_of_a_single_batch_size_needs_no_labels(trained):
    def features_only(mode):
        return tf1.data.Dataset.from_tensor_slices(toy.X).batch(100)

    assert len(list(trained.predict(features_only))) == 512


def test_num_samples_needs_single_samples(trained):
    with pytest.raises(UsageError, match="num_samples counts single samples"):
        trained.predict(toy.input_fn, num_samples=3, yield_single_examples=False)


@pytest.mark.parametrize("make", [tf.sparse.from_dense, tf.RaggedTensor.from_tensor])
def test_predictions_must_be_dense(tmp_path, make):
    def model_fn(features, labels, mode):
        return EstimatorSpec(mode, predictions={"x": make(features)})

    untrained = toy.estimator(tmp_path, model=model_fn)
    with pytest.raises(
        ModelFnError, match=r"predictions\['x'\] is a .*; make it dense"
    ):
        next(untrained.predict(toy.input_fn))


def test_samples_of_different_shapes_are_not_saved_as_something_else(tmp_path):
    samples = [{"x": np.zeros(3)}, {"x": np.zeros(4)}]
    with pytest.raises(ModelFnError, match=r'"x" has samples of different shapes'):
        save_predictions(tmp_path / "outputs.npz", samples)
    assert list(tmp_path.iterdir()) == []


def test_a_prediction_without_a_batch_is_explained(tmp_path):
    def model_fn(features, labels, mode):
        mean = tf.reduce_mean(features)
        return EstimatorSpec(mode, predictions={"x": features, "mean": mean})

    untrained = toy.estimator(tmp_path, model=model_fn)
    with pytest.raises(ModelFnError, match="different batch sizes"):
        next(untrained.predict(toy.input_fn))


def test_hooks_hear_of_the_end_when_enough_samples_were_taken(trained):
    ended = []

    class Hook(SessionRunHook):
        def end(self, session):
            ended.append(1)

    samples = trained.predict(toy.input_fn, num_samples=3, hooks=[Hook()])
    assert len(list(samples)) == 3
    assert ended == [1]
