"""What a project looks like, for every combination of answers."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

CHOICES = {
    "model": ["mlp", "blank"],
    "mixed_precision": [False, True],
    "optimizer": ["sgd", "momentum", "adam", "adamw", "rmsprop"],
    "system": ["wse1", "wse2", "wse3"],
    "slurm": [False, True],
}
# Each model has one kind of data: the question is not asked for a blank one.
DATA = {"mlp": "digits", "blank": "blank"}

# Rendering them all takes 20 s; one worker does it for all tests here.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("every project")]


@pytest.fixture(scope="session")
def projects(tmp_path_factory, render):
    """(answers, project) for every combination, all projects side by side."""
    parent = tmp_path_factory.mktemp("projects")
    combinations = [
        dict(zip(CHOICES, values, strict=True))
        for values in itertools.product(*CHOICES.values())
    ]
    return [
        (answers, render(parent / "-".join(map(str, answers.values())), **answers))
        for answers in combinations
    ]


def test_every_choice_is_rendered(template):
    config = yaml.safe_load((template / "copier.yml").read_text())
    for question in ("model", "optimizer", "system"):
        assert config[f"known_{question}s"]["default"] == CHOICES[question]
    parts = template / "template"
    assert {path.stem for path in (parts / "_model").iterdir()} == set(DATA)
    assert {path.stem for path in (parts / "_data").iterdir()} == set(DATA.values())


def test_exact_tree(projects, read, kept, following, slurm_files):
    for answers, project in projects:
        tree = set(read(project))
        scripts = slurm_files if answers["slurm"] else set()
        assert tree == kept | following | scripts, answers
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
        params = yaml.safe_load((project / "configs" / "params.yaml").read_text())
        assert params["model"]["mixed_precision"] is answers["mixed_precision"]
        assert params["optimizer"]["optimizer_type"] == answers["optimizer"]
        assert params["runconfig"]["system"] == answers["system"]
        scale = params["optimizer"]["loss_scaling_factor"]
        assert (scale == "dynamic") is answers["mixed_precision"]

        recorded = yaml.safe_load((project / ".copier-answers.yml").read_text())
        assert recorded.items() >= answers.items()
        assert ("data" in recorded) is (answers["model"] != "blank")


def test_requirements(projects, pyproject):
    for answers, project in projects:
        settings = pyproject(project)
        requirements = map(Requirement, settings["project"]["dependencies"])
        data = {"digits": {"scikit-learn"}, "blank": set()}[DATA[answers["model"]]]
        assert {r.name for r in requirements} == {"wafer-runtime"} | data
        modules = settings["tool"]["setuptools"]["py-modules"]
        assert modules == sorted(path.stem for path in project.glob("*.py"))


def test_python_compiles(projects):
    for _, project in projects:
        for path in project.rglob("*.py"):
            compile(path.read_text(), str(path), "exec")


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
