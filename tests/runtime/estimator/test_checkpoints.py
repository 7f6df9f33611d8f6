"""Checkpoints that are there, damaged, gone, or of another model."""

import resource
import signal

import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.errors import CheckpointError, UsageError
from wafer_runtime.estimator import (
    CSEstimatorSpec,
    all_checkpoints,
    latest_global_step,
    read_eval_metrics,
)


def test_a_model_of_another_shape_is_told_which_variables_differ(tmp_path):
    toy.estimator(tmp_path).train(toy.input_fn, steps=1)
    wider = toy.estimator(tmp_path, {"width": 24})
    with pytest.raises(CheckpointError) as caught:
        wider.train(toy.input_fn, steps=1)
    assert "model.ckpt-1: is of another model" in str(caught.value)
    assert '"hidden/kernel" is [8, 16] there and (8, 24) in the model' in str(
        caught.value
    )


def test_a_damaged_checkpoint_is_named(tmp_path):
    trained = toy.estimator(tmp_path).train(toy.input_fn, steps=1)
    index = tmp_path / "model.ckpt-1.index"
    index.write_bytes(index.read_bytes()[:20])
    with pytest.raises(CheckpointError, match=r"model.ckpt-1: cannot be read"):
        trained.train(toy.input_fn, steps=1)


def test_a_checkpoint_whose_values_are_cut_off_is_named(tmp_path):
    trained = toy.estimator(tmp_path, {}).train(toy.input_fn, steps=1)
    data = tmp_path / "model.ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    for action in (trained.train, trained.evaluate):
        with pytest.raises(CheckpointError) as caught:
            action(toy.input_fn, steps=1)
        told = str(caught.value)
        assert "or one that model_fn names, is damaged: " in told
        assert "Graph execution" not in told
        assert "\n" not in told


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_a_checkpoint_that_is_gone_never_means_a_new_start(tmp_path, suffix):
    trained = toy.estimator(tmp_path, {}, save_checkpoints_steps=10)
    trained.train(toy.input_fn, steps=20)
    (tmp_path / f"model.ckpt-20.{suffix}").unlink()
    for action in (trained.train, trained.evaluate):
        with pytest.raises(CheckpointError) as caught:
            action(toy.input_fn, steps=1)
        assert "model.ckpt-20, whose files are missing" in str(caught.value)
        assert "model.ckpt-10" in str(caught.value)


def test_a_state_file_that_cannot_be_read_is_named(tmp_path):
    trained = toy.estimator(tmp_path, {}).train(toy.input_fn, steps=1)
    (tmp_path / "checkpoint").write_text("model_check")
    with pytest.raises(CheckpointError, match=r"checkpoint: cannot be read\. Name one"):
        trained.train(toy.input_fn, steps=1)


def test_partitioned_variables_are_resumed(tmp_path):
    def model_fn(features, labels, mode):
        partitioner = tf1.fixed_size_partitioner(2)
        with tf1.variable_scope("part", partitioner=partitioner):
            weight = tf1.get_variable("weight", [8, 2])
        logits = tf.matmul(features, weight)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
        train_op = tf1.train.AdamOptimizer().minimize(
            loss, global_step=tf1.train.get_global_step()
        )
        return CSEstimatorSpec(mode, loss=loss, train_op=train_op)

    trained = toy.estimator(tmp_path, model=model_fn).train(toy.input_fn, steps=3)
    assert trained.train(toy.input_fn, steps=3).evaluate(toy.input_fn, steps=1)
    assert trained.get_variable_value("part/weight").shape == (8, 2)
    with pytest.raises(CheckpointError) as caught:
        trained.get_variable_value("part/weigth")
    assert 'no variable "part/weigth" (did you mean "part/weight"' in str(caught.value)
    assert "; there are beta1_power, " in str(caught.value)
    with pytest.raises(UsageError, match="receiver_fn must be a function, given: None"):
        trained.export_saved_model(str(tmp_path / "export"), None)


def test_a_saver_of_the_users_own_decides_what_is_loaded(tmp_path):
    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        variables = tf1.global_variables()
        names = {v.op.name.replace("hidden", "old_name"): v for v in variables}
        scaffold = tf1.train.Scaffold(saver=tf1.train.Saver(names))
        return spec._replace(scaffold=scaffold)

    trained = toy.estimator(tmp_path, {}, model_fn).train(toy.input_fn, steps=3)
    assert "old_name/kernel" in trained.get_variable_names()
    trained.train(toy.input_fn, steps=3)
    assert trained.get_variable_value("global_step") == 6


@pytest.mark.parametrize("how", ["scaffold", "collection"])
def test_a_saver_may_rename_every_variable(tmp_path, how):
    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        names = {f"old/{v.op.name}": v for v in tf1.global_variables()}
        saver = tf1.train.Saver(names)
        if how == "scaffold":
            return spec._replace(scaffold=tf1.train.Scaffold(saver=saver))
        tf1.add_to_collection(tf1.GraphKeys.SAVERS, saver)
        return spec

    trained = toy.estimator(tmp_path, {}, model_fn).train(toy.input_fn, max_steps=3)
    trained.train(toy.input_fn, max_steps=6)
    assert trained.get_variable_value("old/global_step") == 6
    assert trained.evaluate(toy.input_fn, steps=1)["global_step"] == 6


def test_a_folder_that_tensorflow_could_not_load_from_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"a folder with \* \[ in its path"):
        toy.estimator(tmp_path / "run [1] *")


def test_checkpoints_of_other_names_may_lie_in_the_folder(tmp_path):
    folder = tmp_path / "run (1) é"
    trained = toy.estimator(folder, {}).train(toy.input_fn, steps=2)
    for path in folder.glob("model.ckpt-2.*"):
        path.with_name(path.name.replace("-2", "-best")).write_bytes(path.read_bytes())
    trained.train(toy.input_fn, steps=2)
    assert trained.get_variable_value("global_step") == 4
    names = [path.rpartition("/")[2] for path in all_checkpoints(str(folder))]
    assert names == ["model.ckpt-0", "model.ckpt-2", "model.ckpt-4"]


def test_a_folder_may_be_a_url(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    url = (tmp_path / "model").as_uri()
    trained = toy.estimator(url, {}).train(toy.input_fn, steps=2)
    assert trained.evaluate(toy.input_fn, steps=1)["global_step"] == 2
    assert list(read_eval_metrics(trained.eval_dir())) == [2]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_damaged_checkpoint_that_model_fn_names_is_not_blamed_on_model_dir(tmp_path):
    other = toy.estimator(tmp_path / "other", {}).train(toy.input_fn, steps=1)
    path = other.latest_checkpoint()
    data = tmp_path / "other" / "model.ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])

    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        tf1.train.init_from_checkpoint(path, {"hidden/": "hidden/"})
        return spec

    with pytest.raises(CheckpointError, match="or one that model_fn names, is damaged"):
        toy.estimator(tmp_path / "new", {}, model_fn).train(toy.input_fn, steps=1)


def test_a_step_that_cannot_be_read_is_damage_too(tmp_path):
    toy.estimator(tmp_path, {}).train(toy.input_fn, steps=1)
    data = tmp_path / "model.ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:4])
    with pytest.raises(CheckpointError, match=r"model.ckpt-1: cannot be read"):
        latest_global_step(str(tmp_path))


def test_a_checkpoint_that_cannot_be_written_is_no_damaged_one(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    trained = toy.estimator(tmp_path, {"width": 4096})
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limit[1]))
    try:
        with pytest.raises(CheckpointError) as told:
            trained.train(toy.input_fn, steps=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, previous)
    assert "a checkpoint cannot be written: " in str(told.value)
    assert "too large" in str(told.value)


def test_paths_where_no_checkpoint_is_are_told_so(tmp_path):
    trained = toy.estimator(tmp_path / "a", {}).train(toy.input_fn, steps=1)
    path = str(tmp_path / "a" / "model.ckpt-9")
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        trained.evaluate(toy.input_fn, steps=1, checkpoint_path=path)
    other = toy.estimator(tmp_path / "b", {}, warm_start_from=str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        other.train(toy.input_fn, steps=1)
