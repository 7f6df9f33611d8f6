"""Signals and kills: real processes, real signals."""

import contextlib
import os
import pty
import random
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
import tensorflow as tf
import toy
import yaml
from wafer_runtime.estimator import SessionRunHook, all_checkpoints

SCRIPT = """
import sys
from wafer_runtime import runner
sys.path.insert(0, {toy_folder!r})
def load():
    import toy
    return toy.model_in_section, toy.input_fn
sys.exit(runner.main(load, argv=["-m", "train", "-p", {params!r}]))
"""


def command(model_dir, **runconfig):
    """A run.py for the toy model, as an argument list."""
    runconfig = {
        "model_dir": str(model_dir / "model"),
        "max_steps": 10**9,
        "save_checkpoints_steps": 50,
        "tf_random_seed": 1,
    } | runconfig
    params = model_dir / "params.yaml"
    params.write_text(yaml.safe_dump({"runconfig": runconfig}))
    folder = str(Path(toy.__file__).parent)
    script = SCRIPT.format(toy_folder=folder, params=str(params))
    return [sys.executable, "-c", script]


def start(model_dir, **runconfig):
    return subprocess.Popen(
        command(model_dir, **runconfig), stderr=subprocess.PIPE, text=True
    )


def wait_for_step(process, step):
    """Read the log until training has come so far."""
    for line in process.stderr:
        if f"global step {step}:" in line:
            return
    raise AssertionError("the process ended first")


def latest_step(model_dir):
    path = tf.train.latest_checkpoint(str(model_dir / "model"))
    return int(path.rpartition("-")[2])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_reached_and_training_goes_on_from_it(tmp_path, number):
    # Checkpoints are far apart, so that the last one is the signal's doing.
    process = start(tmp_path, save_checkpoints_steps=10**6)
    wait_for_step(process, 300)
    process.send_signal(number)
    told = next(line for line in process.stderr if "Stopped" in line)
    time.sleep(0.1)
    # An impatient one, while Python ends: nothing is left for it to stop.
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    reached = latest_step(tmp_path)
    assert reached >= 300
    assert f"Stopped at global step {reached}; its checkpoint is saved." in told
    again = toy.estimator(tmp_path / "model", {}).train(toy.input_fn, steps=5)
    assert again.get_variable_value("global_step") == reached + 5


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_loadable_model_dir(tmp_path):
    rng = random.Random(0)
    for _ in range(6):
        has_any = all_checkpoints(str(tmp_path / "model"))
        before = latest_step(tmp_path) if has_any else 0
        process = start(tmp_path, keep_checkpoint_max=2)
        wait_for_step(process, before + 100 - before % 100)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.communicate()
        trained = toy.estimator(tmp_path / "model", {})
        step = trained.get_variable_value("global_step")
        # At least the log's step, less what came after the last checkpoint.
        assert step >= before + 50
        assert trained.evaluate(toy.input_fn, steps=1)["global_step"] == step


@pytest.mark.slow
def test_a_terminal_shows_a_progress_bar_below_the_log(tmp_path):
    ours, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (40, 100))
    process = subprocess.Popen(command(tmp_path, max_steps=150), stderr=terminal)
    os.close(terminal)
    shown = ""
    with contextlib.suppress(OSError):  # the end of a terminal
        while chunk := os.read(ours, 4096):
            shown += chunk.decode()
    os.close(ours)
    assert process.wait() == 0
    assert "/150 [" in shown
    assert "global step 100: loss = " in shown


def test_in_another_thread_training_works_without_signal_handlers(tmp_path):
    trained = toy.estimator(tmp_path, {})
    thread = threading.Thread(target=trained.train, args=(toy.input_fn, None, 5))
    thread.start()
    thread.join()
    assert trained.get_variable_value("global_step") == 5


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    """As Ctrl-C is in a shell's background jobs."""

    class Interrupting(SessionRunHook):
        def after_run(self, run_context, run_values):
            os.kill(os.getpid(), signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        trained = toy.estimator(tmp_path, {})
        trained.train(toy.input_fn, steps=5, hooks=[Interrupting()])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
    assert trained.get_variable_value("global_step") == 5


def test_a_second_signal_acts_at_once(tmp_path):
    class Twice(SessionRunHook):
        def after_run(self, run_context, run_values):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        toy.estimator(tmp_path, {}).train(toy.input_fn, steps=5, hooks=[Twice()])
