"""What the driver gives to old code only: estimators, receivers and hooks."""

import abc

import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.compat.estimators import Estimator
from wafer_runtime.compat.hooks import (
    InMemoryEvaluatorHook,
    make_stop_at_checkpoint_step_hook,
)
from wafer_runtime.compat.receivers import (
    WrappingInputReceiver,
    build_raw_supervised_input_receiver_fn,
    build_supervised_input_receiver_fn_from_input_fn,
)
from wafer_runtime.errors import UsageError
from wafer_runtime.estimator import (
    build_raw_serving_input_receiver_fn,
    latest_global_step,
)


def test_variables_are_evaluated_while_they_are_trained(tmp_path):
    trained = toy.estimator(tmp_path, {})
    hook = InMemoryEvaluatorHook(trained, toy.input_fn, name="live", every_n_iter=4)
    trained.train(toy.input_fn, [hook], steps=6)
    losses = toy.scalars(tmp_path / "eval_live")["loss"]
    assert list(losses) == [0, 4, 6]
    assert losses[6] == trained.evaluate(toy.input_fn)["loss"] < losses[0]


def test_an_evaluation_after_no_steps_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Must specify every_n_iter > 0, given: 0"):
        InMemoryEvaluatorHook(toy.estimator(tmp_path, {}), toy.input_fn, every_n_iter=0)


def test_training_ends_at_a_step(tmp_path):
    trained = toy.estimator(tmp_path, {})
    trained.train(toy.input_fn, [make_stop_at_checkpoint_step_hook(trained, 3)])
    assert latest_global_step(str(tmp_path)) == 3


def test_an_export_gets_a_lone_feature_in_a_dict_and_returns_bytes(tmp_path):
    given = []

    def model_fn(features, labels, mode):
        given.append(features)
        x = features["feature"] if isinstance(features, dict) else features
        return toy.model_fn(x, labels, mode, {})

    def receiver():
        x = tf1.placeholder(tf.float32, [None, 8])
        return WrappingInputReceiver(x, x)

    trained = Estimator(model_fn, str(tmp_path)).train(toy.input_fn, steps=1)
    path = trained.export_savedmodel(str(tmp_path), receiver, strip_default_attrs=True)
    assert [isinstance(features, dict) for features in given] == [False, True]
    assert (tmp_path / path.decode() / "saved_model.pb").exists()


def test_the_graphs_of_all_modes_are_exported(tmp_path):
    trained = Estimator(toy.model_fn_without_params, str(tmp_path))
    trained.train(toy.input_fn, steps=1)
    supervised = build_supervised_input_receiver_fn_from_input_fn(
        toy.input_fn, mode="eval"
    )
    serving = build_raw_serving_input_receiver_fn(tf.TensorSpec([1, 8]))
    receivers = {"train": supervised, "eval": supervised, "infer": serving}
    path = trained.experimental_export_all_saved_models(str(tmp_path), receivers)
    for tag, name in (("train", "train"), ("eval", "eval"), ("serve", "serving")):
        with tf.Graph().as_default(), tf1.Session() as session:
            loaded = tf1.saved_model.load(session, [tag], path)
            signature = next(s for n, s in loaded.signature_def.items() if name in n)
            output = "probabilities" if tag == "serve" else "loss"
            feed = {signature.inputs["input"].name: toy.X[:1]}
            if tag != "serve":
                feed[signature.inputs["label"].name] = toy.Y[:1]
            assert session.run(signature.outputs[output].name, feed).all()
    only = trained.export_saved_model(
        str(tmp_path), supervised, experimental_mode="eval"
    )
    assert only != path


def test_an_export_of_nothing_and_of_a_name_that_is_there_twice_are_refused(tmp_path):
    trained = Estimator(toy.model_fn_without_params, str(tmp_path))
    trained.train(toy.input_fn, steps=1)
    with pytest.raises(ValueError, match=r"modes to export are \['test'\]; wanted"):
        trained.experimental_export_all_saved_models(str(tmp_path), {"test": len})
    with pytest.raises(UsageError, match=r"have both \['a'\]: rename one"):
        build_raw_supervised_input_receiver_fn({"a": 1, "b": 2}, {"a": 1})


def test_the_vendors_estimator_is_a_tf_estimator_too(tmp_path):
    class Own(Estimator, abc.ABC):
        pass

    vendors = toy.estimator(tmp_path, {})
    assert isinstance(vendors, Estimator)
    assert not isinstance(vendors, Own)
    assert isinstance(Own(toy.model_fn_without_params), Estimator)
    assert not isinstance(toy, Estimator)
