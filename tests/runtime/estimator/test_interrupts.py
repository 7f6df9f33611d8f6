"""Signals and kills: real processes, real signals."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf
import toy
from wafer_runtime.estimator import all_checkpoints

SCRIPT = """
import logging, sys
sys.path.insert(0, {toy_folder!r})
import toy
from wafer_runtime import runner
runner._log_to_stderr()
toy.estimator({model_dir!r}, {{}}, **{config!r}).train(
    toy.input_fn, max_steps={max_steps}
)
"""


def start(model_dir, max_steps=10**9, **config):
    script = SCRIPT.format(
        toy_folder=str(Path(toy.__file__).parent),
        model_dir=str(model_dir),
        max_steps=max_steps,
        config={"save_checkpoints_steps": 50} | config,
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True
    )


def wait_for_step(process, step):
    """Read the log until training has come so far."""
    for line in process.stderr:
        if f"global step {step}:" in line:
            return
    raise AssertionError("the process ended first")


def latest_step(model_dir):
    path = tf.train.latest_checkpoint(str(model_dir))
    return int(path.rpartition("-")[2])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_reached_and_training_goes_on_from_it(tmp_path, number):
    # Checkpoints are far apart, so that the last one is the signal's doing.
    process = start(tmp_path, save_checkpoints_steps=10**6)
    wait_for_step(process, 300)
    process.send_signal(number)
    _, log = process.communicate(timeout=60)
    assert f"stopped by signal {number.value} at global step" in log
    reached = latest_step(tmp_path)
    assert reached >= 300
    again = toy.estimator(tmp_path, {}).train(toy.input_fn, steps=5)
    assert again.get_variable_value("global_step") == reached + 5


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_loadable_model_dir(tmp_path):
    rng = random.Random(0)
    for _ in range(6):
        before = latest_step(tmp_path) if all_checkpoints(str(tmp_path)) else 0
        process = start(tmp_path, keep_checkpoint_max=2)
        wait_for_step(process, before + 100 - before % 100)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        trained = toy.estimator(tmp_path, {})
        step = trained.get_variable_value("global_step")
        # At least the log's step, less what came after the last checkpoint.
        assert step >= before + 50
        assert trained.evaluate(toy.input_fn, steps=1)["global_step"] == step
