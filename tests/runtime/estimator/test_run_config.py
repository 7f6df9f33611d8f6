"""RunConfig and CSRunConfig: defaults, checks, TF_CONFIG."""

import json

import pytest
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
        ({"train_distribute": object()}, "train_distribute is set, but this driver"),
    ],
)
def test_senseless_settings_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        RunConfig(**given)


def test_replace_keeps_the_rest_and_the_kind():
    config = CSRunConfig(cs_ip="10.0.0.1", save_checkpoints_secs=5, tf_random_seed=3)
    changed = config.replace(save_checkpoints_steps=9, model_dir="x")
    assert (changed.cs_ip, changed.tf_random_seed) == ("10.0.0.1", 3)
    assert (changed.save_checkpoints_steps, changed.save_checkpoints_secs) == (9, None)
    assert config.model_dir is None


def test_alone_a_process_is_the_chief():
    assert RunConfig().is_chief
    assert RunConfig().task_id == 0


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


@pytest.mark.parametrize("text", ["[1]", '{"task": {"index": "x"}}'])
def test_a_senseless_tf_config_is_shown_with_what_was_wanted(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UsageError, match=r'TF_CONFIG should be {"cluster": {"chief"'):
        RunConfig()


def test_a_cluster_without_a_chief_is_refused(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["b:1"]}}')
    with pytest.raises(UsageError, match='names a cluster without a "chief"'):
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
