"""The simulated wafer: the same numbers as on a CPU, at the wafer's time."""

import json
import logging
import os
import re
import signal
import time

import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.errors import (
    DatasetEndedError,
    InputFnError,
    ModelFnError,
    TrainingInterrupted,
    UsageError,
)
from wafer_runtime.estimator import (
    CerebrasEstimator,
    CSEstimatorSpec,
    CSRunConfig,
    EstimatorSpec,
    EvalSpec,
    SessionRunHook,
    TrainSpec,
    latest_global_step,
    train_and_evaluate,
)
from wafer_runtime.estimator.input_rate import batches_per_second
from wafer_runtime.estimator.sessions import Setup

# Placing a few kernels: the first round is good enough.
PARAMS = {"runconfig": {"place_iterations": 1}}
KEYS = {
    "total_time", "samples_per_sec", "est_samples_per_sec", "total_samples",
    "fabric_cores", "fabric_utilization", "delta_t", "Frequency",
}  # fmt: skip


def estimator(folder, model=toy.model_fn, cs_ip="sim", **more):
    config = CSRunConfig(cs_ip=cs_ip, tf_random_seed=1, save_checkpoints_steps=100)
    return CerebrasEstimator(model, str(folder), config=config, params=PARAMS | more)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "wafer_runtime")
    return caplog


def test_training_gives_the_weights_of_a_cpu_and_the_time_of_a_wafer(tmp_path, log):
    trained = estimator(tmp_path / "wafer").train(toy.input_fn, steps=40)
    toy.assert_same_variables(
        trained, estimator(tmp_path / "cpu", cs_ip=None).train(toy.input_fn, steps=40)
    )
    told = json.loads((tmp_path / "wafer" / "performance.json").read_text())
    assert told.keys() == KEYS
    assert told["est_samples_per_sec"] == told["Frequency"] / told["delta_t"]
    assert told["total_samples"] == 40 * toy.BATCH
    assert told["samples_per_sec"] == told["total_samples"] / told["total_time"]
    [plan] = (tmp_path / "wafer").glob("cs_*/plan.json")
    plan = json.loads(plan.read_text())
    assert told["delta_t"] == plan["delta_t"]
    assert told["Frequency"] == plan["clock_hz"]
    used = told["fabric_utilization"] * told["fabric_cores"]
    assert used == pytest.approx(sum(k["width"] * k["height"] for k in plan["kernels"]))
    timeline = json.loads((tmp_path / "wafer" / "timeline.json").read_text())
    assert timeline["otherData"]["samples"] == 40 * toy.BATCH
    assert not (tmp_path / "cpu" / "performance.json").exists()
    for line in (
        r"using .*% out of 745500 cores on the fabric",
        r"Waiting for 1 streamer\(s\) to prime the data pipeline",
        r"Training finished with 1280 samples in .* seconds, .* samples / second",
        r"input pipeline is the limit: it gives .* would need \S+ streamers",
    ):
        assert re.search(line, log.text), line


def test_the_same_model_is_compiled_once_and_training_goes_on(tmp_path, log):
    for folder, steps in (("twice", 20), ("twice", 20), ("cpu", 20), ("cpu", 20)):
        cs_ip = None if folder == "cpu" else "sim"
        last = estimator(tmp_path / folder, cs_ip=cs_ip).train(
            toy.input_fn, steps=steps
        )
    assert log.text.count("Cached compilation found") == 1
    toy.assert_same_variables(estimator(tmp_path / "twice"), last)
    told = json.loads((tmp_path / "twice" / "performance.json").read_text())
    assert told["total_samples"] == 20 * toy.BATCH


def test_the_fastest_plan_that_is_there_is_taken_however_it_was_searched_for(
    tmp_path, log
):
    for iterations in (1, 2):
        params = {"runconfig": {"place_iterations": iterations}}
        estimator(tmp_path, **params).compile(toy.input_fn)
    plans = {
        str(path.parent): json.loads(path.read_text())["delta_t"]
        for path in tmp_path.glob("cs_*/plan.json")
    }
    assert len(plans) == 2
    estimator(tmp_path, runconfig={}).train(toy.input_fn, steps=5)
    assert len(list(tmp_path.glob("cs_*/plan.json"))) == 2
    assert "Taking the fastest of 2 plans" in log.text
    [taken] = re.findall("Cached compilation found .*: (.*)", log.text)
    assert plans[taken] == min(plans.values())


def test_ctrl_c_leaves_a_checkpoint_and_the_performance_so_far(tmp_path):
    class Interrupting(tf1.train.CheckpointSaverListener):
        def after_save(self, session, global_step_value):
            if global_step_value == 100:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingInterrupted) as stopped:
        estimator(tmp_path).train(
            toy.input_fn, steps=10_000, saving_listeners=[Interrupting()]
        )
    reached = stopped.value.global_step
    assert latest_global_step(str(tmp_path)) == reached < 10_000
    told = json.loads((tmp_path / "performance.json").read_text())
    assert told["total_samples"] == reached * toy.BATCH


def test_evaluation_on_another_system_with_the_workers_of_a_cluster(
    tmp_path, log, monkeypatch
):
    workers = [f"n:{i}" for i in range(6)]
    cluster = {"chief": ["n:9"], "worker": workers}
    task = {"type": "chief", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    trained = estimator(tmp_path, cs_ip="sim:wse1").train(toy.input_fn, steps=5)
    on_cpu = trained.evaluate(toy.input_fn, steps=10)
    on_wafer = trained.evaluate(toy.input_fn, steps=10, use_cs=True)
    assert on_wafer == on_cpu
    told = json.loads((tmp_path / "eval" / "performance.json").read_text())
    assert told["fabric_cores"] == 633 * 633
    assert told["total_samples"] == 10 * toy.BATCH
    assert "Evaluation finished with 320 samples" in log.text
    assert "Waiting for 6 streamer(s)" in log.text


def refused(model_of, tmp_path):
    with pytest.raises(ModelFnError) as error:
        estimator(tmp_path, model_of).train(toy.input_fn, steps=2)
    return str(error.value)


def test_what_the_wafer_does_not_run_is_refused(tmp_path):
    def hooked(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        hooks = [SessionRunHook()]
        return CSEstimatorSpec(
            mode, loss=spec.loss, train_op=spec.train_op, training_hooks=hooks
        )

    def measured(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        metrics = {"mean": tf1.metrics.mean(spec.loss)}
        return EstimatorSpec(
            mode, loss=spec.loss, train_op=spec.train_op, eval_metric_ops=metrics
        )

    assert "returned 1 training_hooks" in refused(hooked, tmp_path)
    assert "eval_metric_ops (mean)" in refused(measured, tmp_path)
    ready = estimator(tmp_path)
    with pytest.raises(UsageError, match=r"Evaluation on the wafer needs steps"):
        ready.evaluate(toy.input_fn, use_cs=True)
    with pytest.raises(UsageError, match="predict on CPU or GPU"):
        ready.predict(toy.input_fn, use_cs=True)
    specs = TrainSpec(toy.input_fn, max_steps=4), EvalSpec(toy.input_fn)
    with pytest.raises(UsageError, match="not both in turns"):
        train_and_evaluate(ready, *specs)


def test_training_data_that_end_are_an_error_that_loses_nothing(tmp_path):
    def some():
        # Nobody can tell how many these are before they were seen.
        return toy.input_fn("train").take(7).filter(lambda x, y: True)

    with pytest.raises(DatasetEndedError, match="ended after 7 steps of 9"):
        estimator(tmp_path).train(some, steps=9)
    assert latest_global_step(str(tmp_path)) == 7
    assert json.loads((tmp_path / "performance.json").read_text())


def slow(n):
    time.sleep(0.02)
    return n


def slow_input_fn(mode):
    pauses = tf.data.Dataset.range(10**6)
    pauses = pauses.map(lambda n: tf.numpy_function(slow, [n], tf.int64))
    batches = tf.data.Dataset.zip((toy.input_fn(mode), pauses))
    return batches.map(lambda batch, _: batch)


def test_the_rate_of_an_input_fn_is_measured_without_a_model():
    setup = Setup(toy.model_fn, {}, CSRunConfig(), "", None)
    assert 25 < batches_per_second(setup, slow_input_fn, "train") <= 51
    assert batches_per_second(setup, toy.input_fn, "train") > 500
    # 16 batches, then the data end.
    assert batches_per_second(setup, toy.input_fn, "eval") > 100

    def nothing():
        return toy.input_fn("eval").take(0)

    with pytest.raises(InputFnError, match="gave no batch"):
        batches_per_second(setup, nothing, "eval")
