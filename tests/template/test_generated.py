"""Generated projects at work, on the runtime of this checkout."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

RUNTIME = str(Path(__file__).parents[2] / "runtime" / "src")
OPTIMIZERS = ["sgd", "momentum", "adamw", "rmsprop", "lamb"]
# Every model and every kind of data in each list, and together every pair.
TESTED = [
    ("mlp", "csv"),
    ("mlp", "digits"),
    ("cnn", "images"),
    ("cnn", "npz"),
    ("unet", "digits"),
    ("unet", "tfrecord"),
    ("encoder", "text"),
    ("decoder", "text"),
    ("decoder", "tfrecord"),
    ("blank", "blank"),
    ("cnn", "tfds"),
    ("unet", "tfds"),
]
COVERING = [
    ("mlp", "npz"),
    ("mlp", "tfrecord"),
    ("cnn", "digits"),
    ("cnn", "tfrecord"),
    ("unet", "images"),
    ("unet", "npz"),
    ("encoder", "tfrecord"),
    ("decoder", "text"),
    ("mlp", "csv"),
]
EVERY_MODE = """
import sys
from run import load_model
from utils import set_defaults
from wafer_runtime import runner

for words in sys.argv[1:]:
    code = runner.main(load_model, set_defaults, words.split())
    assert code == 0, (words, code)
"""


@pytest.fixture(scope="module")
def python(run):
    """Runs Python in a project, which finds wafer_runtime without an installation."""
    return lambda *words, **options: run(
        sys.executable, *words, PYTHONPATH=RUNTIME, **options
    )


@pytest.fixture
def project(tmp_path, render, python):
    """`project(model, data)` renders one, with its data written if it has a writer."""

    def make(model, data, **answers):
        kind = {} if data == "blank" else {"data": data}
        path = render(tmp_path / "project", model=model, **kind, **answers)
        if (path / "write_data.py").exists():
            done = python("write_data.py", "data", cwd=path)
            assert done.stderr == ""
        return path

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("model", "data"), TESTED)
def test_its_own_tests_pass(project, python, model, data):
    path = project(model, data)
    python("-m", "pytest", "-p", "no:cacheprovider", cwd=path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "mixed_precision", "steps", "least"),
    [(optimizer, "none", 1500, 0.97) for optimizer in OPTIMIZERS]
    # A CPU computes five steps a second in float16.
    + [("adam", "float16", 200, 0.94), ("adam", "bfloat16", 1500, 0.97)],
)
def test_it_learns_the_digits(
    project, python, optimizer, mixed_precision, steps, least
):
    path = project(
        "mlp", "digits", optimizer=optimizer, mixed_precision=mixed_precision
    )
    words = ("--mode", "train_and_eval", "--max_steps", steps)
    done = python("run.py", *words, cwd=path)
    accuracies = re.findall(r"accuracy = ([0-9.]+)", done.stderr)
    assert float(accuracies[-1]) >= least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("mlp", "csv"),
        ("cnn", "digits"),
        ("cnn", "images"),
        ("unet", "digits"),
        ("unet", "tfrecord"),
        ("encoder", "text"),
        ("decoder", "text"),
    ],
)
def test_it_reaches_what_its_readme_says(project, python, model, data):
    path = project(model, data)
    text = " ".join((path / "README.md").read_text().split())
    metric, least = re.search(r"end with `(\w+)` of at least ([0-9.]+)", text).groups()
    done = python("-c", EVERY_MODE, "-m train", "-m eval", cwd=path)
    [value] = re.findall(rf"[ ,]{metric} = ([0-9.]+)", done.stderr)
    assert float(value) >= float(least)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "data"), COVERING)
def test_training_in_parts_ends_with_the_same_weights(project, python, model, data):
    path = project(model, data)
    runs = ["-m train -o whole --max_steps 12"]
    runs += [f"-m train -o parts --max_steps {steps}" for steps in (5, 12)]
    runs += ["-m eval -o parts --eval_steps 2", "-m predict -o parts"]
    python("-c", EVERY_MODE, *runs, cwd=path)
    assert (path / "parts" / "predict" / "outputs.npz").exists()
    weights = []
    for folder in ("whole", "parts"):
        reader = tf.train.load_checkpoint(str(path / folder))
        names = reader.get_variable_to_shape_map()
        weights.append({name: reader.get_tensor(name) for name in names})
    np.testing.assert_equal(*weights)


def test_a_blank_says_what_to_fill_in(project, python):
    path = project("blank", "blank")
    done = python("run.py", "--mode", "train", cwd=path, expect=1)
    last = done.stderr.splitlines()[-1]
    assert re.match("Error: .*fill this in: input_fn in data.py", last)


def test_without_its_data_a_project_says_how_to_make_them(tmp_path, render, python):
    path = render(tmp_path / "project", model="mlp", data="csv")
    done = python("run.py", "--mode", "train", cwd=path, expect=2)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: data_dir: data/train is no folder; wanted files")


def test_a_real_wafer_is_refused(tmp_path, render, python):
    path = render(tmp_path / "project")
    words = ("run.py", "--mode", "train", "--cs_ip", "10.0.0.1")
    done = python(*words, cwd=path, expect=2)
    [line] = done.stderr.splitlines()
    assert re.match("Error: --cs_ip 10.0.0.1: a real CS system is reached only", line)


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
    path = render(tmp_path / "project")
    params = path / "configs" / "params.yaml"
    text = params.read_text()
    assert key in text
    params.write_text(text.replace(key, value, 1))
    done = python("run.py", "--mode", "train", cwd=path, expect=2)
    [line] = done.stderr.splitlines()
    assert re.match(f"Error: .*{reason}", line)
