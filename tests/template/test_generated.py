"""Generated projects at work, on the runtime of this checkout."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

RUNTIME = str(Path(__file__).parents[2] / "runtime" / "src")
OPTIMIZERS = ["sgd", "momentum", "adam", "adamw", "rmsprop"]


@pytest.fixture(scope="module")
def python(run):
    """Runs Python in a project, which finds wafer_runtime without an installation."""
    return lambda *words, **options: run(
        sys.executable, *words, PYTHONPATH=RUNTIME, **options
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "blank"])
def test_its_own_tests_pass(tmp_path, render, python, model):
    project = render(tmp_path / "project", model=model)
    python("-m", "pytest", "-p", "no:cacheprovider", cwd=project)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "mixed_precision"),
    [(optimizer, False) for optimizer in OPTIMIZERS] + [("adam", True)],
)
def test_it_learns_the_digits(tmp_path, render, python, optimizer, mixed_precision):
    answers = {"optimizer": optimizer, "mixed_precision": mixed_precision}
    project = render(tmp_path / "project", **answers)
    done = python("run.py", "--mode", "train_and_eval", cwd=project)
    accuracies = re.findall(r"accuracy = ([0-9.]+)", done.stderr)
    assert float(accuracies[-1]) >= 0.97


@pytest.mark.slow
def test_training_in_parts_ends_with_the_same_weights(tmp_path, render, python):
    project = render(tmp_path / "project")
    weights = []
    for model_dir, parts in (("whole", [90]), ("parts", [37, 60, 90])):
        words = ("run.py", "--mode", "train", "--model_dir", model_dir, "--max_steps")
        for max_steps in parts:
            python(*words, max_steps, cwd=project)
        reader = tf.train.load_checkpoint(str(project / model_dir))
        names = reader.get_variable_to_shape_map()
        weights.append({name: reader.get_tensor(name) for name in names})
    np.testing.assert_equal(*weights)


def test_a_blank_says_what_to_fill_in(tmp_path, render, python):
    project = render(tmp_path / "project", model="blank")
    done = python("run.py", "--mode", "train", cwd=project, expect=1)
    last = done.stderr.splitlines()[-1]
    assert re.match("Error: .*fill this in: input_fn in data.py", last)


@pytest.mark.parametrize(
    ("flag", "value"), [("validate_only", ()), ("compile_only", ()), ("cs_ip", ["sim"])]
)
def test_the_readme_is_honest_about_what_is_missing(
    tmp_path, render, python, flag, value
):
    project = render(tmp_path / "project")
    words = ("run.py", "--mode", "train", f"--{flag}", *value)
    done = python(*words, cwd=project, expect=2)
    [line] = done.stderr.splitlines()
    assert re.match(f"Error: --{flag}.* not in release", line)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("activation: relu", "activation: rleu", "model.activation: 'rleu' is not one"),
        ("dropout: 0.4", "droput: 0.4", "model.droput: there is no such key"),
        ("batch_size: 64", "batch_sise: 64", "batch_sise"),
    ],
)
def test_a_mistake_in_params_yaml_shows_at_once(
    tmp_path, render, python, key, value, reason
):
    project = render(tmp_path / "project")
    params = project / "configs" / "params.yaml"
    text = params.read_text()
    assert key in text
    params.write_text(text.replace(key, value, 1))
    done = python("run.py", "--mode", "train", cwd=project, expect=2)
    [line] = done.stderr.splitlines()
    assert re.match(f"Error: .*{reason}", line)
