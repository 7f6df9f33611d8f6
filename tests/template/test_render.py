"""What a project looks like, for every combination of answers."""

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

DATA = {
    "mlp": ["digits", "csv", "npz", "tfrecord"],
    "cnn": ["digits", "images", "npz", "tfds", "tfrecord"],
    "unet": ["digits", "images", "npz", "tfds", "tfrecord"],
    "encoder": ["text", "tfrecord"],
    "decoder": ["text", "tfrecord"],
    "blank": ["blank"],
}
CHOICES = {
    "mixed_precision": ["none", "float16", "bfloat16"],
    "optimizer": ["sgd", "momentum", "adam", "adamw", "rmsprop", "lamb"],
    "system": ["wse1", "wse2", "wse3"],
    "slurm": [False, True],
}
CONFIGS = {
    "cnn": {"resnet50"},
    "unet": {"unet_512"},
    "encoder": {"bert_base", "bert_large"},
    "decoder": {"gpt2_small", "gpt2_medium", "gpt2_xl", "gptj_size"},
}
REQUIREMENTS = {
    "digits": {"scikit-learn"},
    "text": {"tokenizers"},
    "images": {"pillow"},
    "tfds": {"tensorflow-datasets", "importlib-resources"},
}
WRITTEN = {"csv", "images", "npz", "tfrecord"}
PAIRS = [(model, data) for model, kinds in DATA.items() for data in kinds]

pytestmark = pytest.mark.slow


def group(pair):
    """Rendering takes 20 s; one worker does it for all tests of a pair."""
    mark = pytest.mark.xdist_group("-".join(pair))
    return pytest.param(pair, marks=mark, id="-".join(pair))


@pytest.fixture(scope="module", params=[group(pair) for pair in PAIRS])
def projects(request, tmp_path_factory, render):
    """(answers, project) for every combination with one model and its data."""
    model, data = request.param
    parent = tmp_path_factory.mktemp("projects")
    asked = {"model": model} if model == "blank" else {"model": model, "data": data}
    combinations = [
        asked | dict(zip(CHOICES, values, strict=True))
        for values in itertools.product(*CHOICES.values())
    ]
    yield [
        (answers | {"data": data}, render(parent / str(number), **answers))
        for number, answers in enumerate(combinations)
    ]
    shutil.rmtree(parent)


def test_every_choice_is_rendered(template, render, tmp_path):
    config = yaml.safe_load((template / "copier.yml").read_text())
    assert config["known_models"]["default"] == list(DATA)
    for question, values in CHOICES.items():
        known = config.get(f"known_{question.removeprefix('mixed_')}s")
        assert known is None or known["default"] == values
    parts = template / "template"
    assert {path.stem for path in (parts / "_model").iterdir()} == set(DATA)
    kinds = {data for kinds in DATA.values() for data in kinds}
    assert {path.stem for path in (parts / "_data").iterdir()} == kinds
    for model, offered in DATA.items():
        with pytest.raises(ValueError, match=f"is not one of {', '.join(offered)};"):
            render(tmp_path / model, model=model, data="no such data")


def test_exact_tree(projects, read, kept, following, slurm_files):
    for answers, project in projects:
        configs = {f"configs/{n}.yaml" for n in CONFIGS.get(answers["model"], ())}
        writer = {"write_data.py"} if answers["data"] in WRITTEN else set()
        scripts = slurm_files if answers["slurm"] else set()
        tree = set(read(project))
        assert tree == kept | following | configs | writer | scripts, answers
        executable = {name for name in tree if os.access(project / name, os.X_OK)}
        assert executable == scripts - {"train.sbatch"}, answers


def test_no_template_syntax_is_left(projects, read):
    for _, project in projects:
        for name, text in read(project).items():
            assert not re.search(r"\{\{|\{%|\{#|jinja", text), project / name


def test_no_white_space_is_left(projects, read):
    for _, project in projects:
        for name, text in read(project).items():
            assert re.search(r"[^\s]\n\Z", text), project / name
            assert not re.search(r"[ \t]\n|\n\n\n\n", text), project / name
            if not name.endswith(".py"):
                assert "\n\n\n" not in text, project / name


def test_files_say_what_was_answered(projects):
    for answers, project in projects:
        for path in (project / "configs").iterdir():
            params = yaml.safe_load(path.read_text())
            precision = answers["mixed_precision"]
            assert params["model"]["mixed_precision"] == (
                False if precision == "none" else precision
            )
            assert params["optimizer"]["optimizer_type"] == answers["optimizer"]
            assert params["runconfig"]["system"] == answers["system"]
            scale = params["optimizer"]["loss_scaling_factor"]
            assert (scale == "dynamic") is (precision == "float16")

        recorded = yaml.safe_load((project / ".copier-answers.yml").read_text())
        asked = {k: v for k, v in answers.items() if v != "blank" or k == "model"}
        assert recorded.items() >= asked.items()
        assert ("data" in recorded) is (answers["model"] != "blank")


def test_requirements(projects, pyproject):
    for answers, project in projects:
        settings = pyproject(project)
        requirements = map(Requirement, settings["project"]["dependencies"])
        wanted = REQUIREMENTS.get(answers["data"], set())
        if (answers["data"], answers["model"]) in (
            ("tfrecord", "cnn"),
            ("tfrecord", "unet"),
        ):
            wanted = {"pillow"}
        assert {r.name for r in requirements} == {"wafer-runtime"} | wanted
        modules = settings["tool"]["setuptools"]["py-modules"]
        assert modules == sorted(path.stem for path in project.glob("*.py"))


def test_python_compiles_and_imports(projects):
    texts = {}
    for answers, project in projects:
        for path in project.rglob("*.py"):
            texts.setdefault(path.read_text(), path)
            compile(path.read_text(), str(path), "exec")
    if answers["data"] == "tfds":
        return  # that package is the user's to install
    for path in texts.values():
        if path.stem in ("model", "data", "utils", "write_data"):
            spec = importlib.util.spec_from_file_location("generated", path)
            spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]])
def test_ruff_has_nothing_to_say(projects, check):
    parent = projects[0][1].parent
    command = [sys.executable, "-m", "ruff", *check, "--no-cache", parent]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_names_every_file(projects, read):
    for answers, project in projects:
        readme = (project / "README.md").read_text()
        for name in read(project):
            folder = f"`{Path(name).parts[0]}/"
            assert f"`{name}`" in readme or folder in readme, name
        assert ("## Slurm" in readme) is answers["slurm"]


def test_blank_docstrings_state_the_contract(tmp_path, render):
    project = render(tmp_path / "project", model="blank")
    model, data = ((project / name).read_text() for name in ("model.py", "data.py"))
    for word in ("train_op", "host_call", "predictions", "PREDICT", "None", "float32"):
        assert word in model
    for word in ("tf.data.Dataset", "drop_remainder", "repeats", "eval_steps", "seed"):
        assert word in data


def test_file_names_in_the_template_are_constant(template):
    for path in (template / "template").rglob("*"):
        assert not set("{}%") & set(path.name), path
