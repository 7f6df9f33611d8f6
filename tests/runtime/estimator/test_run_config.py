"""RunConfig and CSRunConfig: defaults, checks, TF_CONFIG."""

import json
import pathlib

import pytest
import tensorflow as tf
import toy
from wafer_runtime.errors import UsageError
from wafer_runtime.estimator import CerebrasEstimator, CSRunConfig, RunConfig


def test_checkpoints_are_saved_every_ten_minutes_unless_told_otherwise():
    def intervals(**given):
        config = RunConfig(**given)
        return config.save_checkpoints_steps, config.save_checkpoints_secs

    assert intervals() == (None, 600)
    assert intervals(save_checkpoints_steps=5) == (5, None)
    assert intervals(save_checkpoints_secs=5) == (None, 5)
    assert intervals(save_checkpoints_steps=None, save_checkpoints_secs=None) == (
        None,
        None,
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"save_checkpoints_steps": 5, "save_checkpoints_secs": 7},
            r"steps \(5\) and save_checkpoints_secs \(7\) are both given; keep one",
        ),
        ({"save_summary_steps": -1}, "save_summary_steps is -1; it must be 0 or more"),
        ({"train_distribute": object()}, "train_distribute is <.*>, but this driver"),
        ({"model_dir": ""}, "model_dir is ''; it must be a path that is not empty"),
        ({"session_config": {}}, "session_config is {}; it must be a ConfigProto"),
        ({"tf_random_seed": 1.5}, "tf_random_seed is 1.5; it must be a whole number"),
        ({"keep_checkpoint_every_n_hours": 0}, "_hours is 0; it must be above 0"),
        ({"device_fn": "/gpu:0"}, "device_fn is '/gpu:0'; it must be a function"),
        ({"protocol": "http"}, "protocol is 'http'; it must be grpc or"),
    ],
)
def test_senseless_settings_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        RunConfig(**given)


def test_a_strategy_of_one_device_is_as_none():
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    config = RunConfig(train_distribute=strategy, eval_distribute=strategy)
    assert config.train_distribute is strategy


def test_replace_keeps_the_rest_and_the_kind():
    config = CSRunConfig(cs_ip="10.0.0.1", save_checkpoints_secs=5, tf_random_seed=3)
    changed = config.replace(save_checkpoints_steps=9, model_dir="x")
    assert (changed.cs_ip, changed.tf_random_seed) == ("10.0.0.1", 3)
    assert (changed.save_checkpoints_steps, changed.save_checkpoints_secs) == (9, None)
    assert config.model_dir is None
    assert CSRunConfig(pathlib.Path("a/b")).model_dir == "a/b"


def test_replace_works_for_a_subclass_made_with_other_arguments():
    class Own(RunConfig):
        def __init__(self, where):
            super().__init__(model_dir=where)

        @property
        def is_chief(self):
            return "mine"

    changed = Own("a").replace(model_dir="b")
    assert (type(changed), changed.model_dir, changed.is_chief) == (Own, "b", "mine")
    with pytest.raises(UsageError, match=r"Replacing where is not supported; there"):
        changed.replace(where="c")


def test_settings_stay_but_other_attributes_may_be_set():
    class Own(RunConfig):
        @property
        def model_dir(self):
            return "mine"

    config = Own(tf_random_seed=3)
    config.units = 7
    assert (config.units, config.replace(tf_random_seed=4).units) == (7, 7)
    assert CerebrasEstimator(toy.model_fn_without_params, config=config).model_dir
    assert config.model_dir == "mine"
    with pytest.raises(AttributeError, match=r"use config.replace\(tf_random_seed="):
        config.tf_random_seed = 5


def test_alone_a_process_is_the_chief():
    config = RunConfig()
    assert config.is_chief
    assert (config.task_type, config.task_id) == ("worker", 0)
    assert (config.num_ps_replicas, config.num_worker_replicas) == (0, 1)
    assert (config.master, config.evaluation_master) == ("", "")


@pytest.mark.parametrize(
    ("kind", "index", "global_id"),
    [("chief", 0, 0), ("worker", 1, 2), ("ps", 0, 4), ("ps", 1, 5)],
)
def test_every_process_of_a_cluster_has_a_number(monkeypatch, kind, index, global_id):
    cluster = {
        "chief": ["a:1"],
        "ps": ["p:1", "q:1"],
        "worker": ["b:1", "c:1", "d:1"],
    }
    task = {"type": kind, "index": index}
    content = {"cluster": cluster, "task": task, "service": {"k": 1}, "model_dir": "m"}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    config = RunConfig()
    assert config.global_id_in_cluster == global_id
    assert config.master == f"grpc://{cluster[kind][index]}"
    assert (config.num_ps_replicas, config.num_worker_replicas) == (2, 4)
    assert (config.service, config.model_dir) == ({"k": 1}, "m")
    with pytest.raises(UsageError, match="that of TF_CONFIG is 'm'; give one"):
        RunConfig(model_dir="other")


def test_an_evaluator_is_outside_of_the_cluster(monkeypatch):
    content = {"cluster": {"chief": ["a:1"]}, "task": {"type": "evaluator", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(content))
    config = RunConfig()
    assert not config.is_chief
    assert config.cluster_spec.as_dict() == {}
    assert config.global_id_in_cluster is None


@pytest.mark.parametrize(
    ("task", "is_chief"),
    [
        ({"type": "chief", "index": 0}, True),
        ({"type": "worker", "index": 3}, False),
    ],
)
def test_tf_config_says_which_process_this_is(monkeypatch, task, is_chief):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1", "d:1", "e:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    config = RunConfig()
    assert config.is_chief is is_chief
    assert (config.task_type, config.task_id) == (task["type"], task["index"])
    assert config.cluster_spec.as_dict() == cluster


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        '{"task": {"index": "x"}}',
        '{"task": {"type": "ps", "index": 0}}',
        '{"cluster": {"chief": ["a:1"]}}',
        '{"cluster": {"chief": ["a:1"]}, "task": {"type": "chief", "index": 1}}',
        '{"cluster": {"chief": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"chief": ["a:1"]}, "task": {"type": "evaluator", "index": -1}}',
        '{"service": 3}',
    ],
)
def test_a_senseless_tf_config_is_shown_with_what_was_wanted(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match=r'TF_CONFIG should be {"cluster": {"chief"'):
        RunConfig()


def test_a_cluster_without_a_chief_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["b:1"]}}')
    with pytest.raises(UsageError, match='a cluster has one "chief"'):
        RunConfig()


def test_a_worker_may_not_train_into_the_chiefs_folder(monkeypatch, tmp_path):
    cluster = '"cluster": {"chief": ["a:1"], "worker": ["b:1"]}'
    task = '"task": {"type": "worker", "index": 0}'
    monkeypatch.setenv("TF_CONFIG", f"{{{cluster}, {task}}}")
    with pytest.raises(UsageError, match="only the chief may train"):
        toy.estimator(tmp_path).train(toy.input_fn, steps=1)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_tf_config_is_shown(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{cluster")
    with pytest.raises(UsageError, match=r"TF_CONFIG is not valid JSON .*: \{cluster"):
        RunConfig()


def test_model_dir_comes_from_either_place_but_not_from_two(tmp_path):
    config = RunConfig(model_dir=str(tmp_path))
    assert CerebrasEstimator(toy.model_fn, config=config).model_dir == str(tmp_path)
    estimator = CerebrasEstimator(toy.model_fn, str(tmp_path), config=RunConfig())
    assert estimator.config.model_dir == str(tmp_path)
    with pytest.raises(UsageError, match="give one of them"):
        CerebrasEstimator(toy.model_fn, "other", config=config)


def test_params_are_handed_out_as_copies(tmp_path):
    given = {"a": [1]}
    estimator = CerebrasEstimator(toy.model_fn, str(tmp_path), params=given)
    estimator.params["a"].append(2)
    given["a"].append(3)
    assert estimator.params == {"a": [1]}


def test_device_fn_places_the_model(tmp_path):
    devices = []

    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        devices.append(spec.loss.op.device)
        return spec

    config = RunConfig(device_fn=lambda _: "/device:CPU:0")
    CerebrasEstimator(model_fn, str(tmp_path), config=config, params={}).train(
        toy.input_fn, steps=1
    )
    assert devices == ["/device:CPU:0"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sim:9000", "sim"),
        ("sim:wse1:9000", "sim:wse1"),
        ("sim:wse1", "sim:wse1"),
        ("sim", "sim"),
        ("10.0.0.1:9000", "10.0.0.1:9000"),
    ],
)
def test_a_port_behind_the_simulated_wafer_is_left_out(given, kept):
    assert CSRunConfig(cs_ip=given).cs_ip == kept
