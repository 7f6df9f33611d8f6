"""Copying as a user does, and what the template may not ask of one."""

import os
import shutil
import subprocess
import sys

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def config(template):
    return yaml.safe_load((template / "copier.yml").read_text())


def test_nothing_in_the_template_needs_trust(config):
    assert not {"_tasks", "_migrations", "_jinja_extensions"} & set(config)


def test_copying_needs_no_trust(tmp_path, cli, repository, read, kept, following):
    options = ("--defaults", "-d", "project_name=my model")
    done = cli("copy", *options, repository.path, "my model", cwd=tmp_path)
    assert set(read(tmp_path / "my model")) == kept | following
    assert "cd 'my model'\n" in done.stderr


def test_settings_of_the_template(config):
    assert config["_subdirectory"] == "template"
    assert config["_envops"] == {
        "undefined": "jinja2.StrictUndefined",
        "trim_blocks": True,
        "lstrip_blocks": True,
        "keep_trailing_newline": True,
    }
    assert {"_exclude", "_min_copier_version"} <= set(config)
    for moment in ("before_copy", "after_copy", "before_update", "after_update"):
        assert config[f"_message_{moment}"], moment


def test_an_unknown_name_in_the_template_is_an_error(tmp_path, cli, template):
    broken = shutil.copytree(template, tmp_path / "broken")
    with (broken / "template" / "run.py.jinja").open("a") as file:
        file.write("{{ project_nmae }}\n")
    options = ("--defaults", "-d", "project_name=x")
    done = cli("copy", *options, broken, "x", cwd=tmp_path, expect=1)
    assert "'project_nmae' is undefined" in done.stderr


def test_into_a_folder_with_files(tmp_path, cli, template, read, kept, following):
    project = tmp_path / "project"
    project.mkdir()
    before = {"README.md": "Mine.\n", "notes.txt": "Also mine.\n"}
    for name, text in before.items():
        (project / name).write_text(text)
    options = ("--defaults", "-d", "project_name=x")
    cli("copy", *options, template, "project", cwd=tmp_path)
    after = read(project)
    assert after.items() >= before.items()
    assert set(after) == kept | following | {"notes.txt"}


def test_what_lies_about_in_a_checkout_is_not_copied(tmp_path, cli, template, read):
    littered = shutil.copytree(template, tmp_path / "littered")
    for name in ("__pycache__/run.pyc", "model.pyc", "model.py~", ".DS_Store"):
        path = littered / "template" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    options = ("--quiet", "--defaults", "-d", "project_name=x")
    cli("copy", *options, littered, "littered-project", cwd=tmp_path)
    cli("copy", *options, template, "project", cwd=tmp_path)
    littered_project = read(tmp_path / "littered-project")
    assert set(littered_project) == set(read(tmp_path / "project"))


@pytest.mark.parametrize("model", ["mlp", "blank"])
def test_make_runs_what_it_says(tmp_path, render, environment, model):
    project = render(tmp_path / "project", model=model)

    def make(*words):
        command = ["make", "--dry-run", *words]
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert make("train", "ARGS=--steps 5") == ["python3 run.py --mode train --steps 5"]
    assert make("test", "PYTHON=python3.12") == ["python3.12 -m pytest"]
    assert make("install")[0] == "python3 -m venv .venv"

    (project / ".venv" / "bin").mkdir(parents=True)
    os.symlink(sys.executable, project / ".venv" / "bin" / "python")
    assert make("eval") == [".venv/bin/python run.py --mode eval "]
    assert make("install") == [".venv/bin/python -m pip install -e '.[test]'"]


@pytest.mark.parametrize(
    ("question", "part", "line"),
    [
        ("model", "_model/mlp.jinja", "default: [mlp, cnn, unet, encoder, decoder, blank]"),
        ("data", "_data/digits.jinja", "'mlp': ['digits', 'csv', 'npz', 'tfrecord']"),
    ],
)
def test_one_more_choice_is_one_file_and_one_word(
    tmp_path, cli, template, read, kept, following, question, part, line
):
    extended = shutil.copytree(template, tmp_path / "extended")
    part = extended / "template" / part
    text = part.read_text()
    part.with_name("other.jinja").write_text(text.replace('"""', '"""Other. ', 1))
    config = extended / "copier.yml"
    text = config.read_text()
    assert line in text
    other = line.replace("[mlp", "[mlp, other").replace("['digits'", "['digits', 'other'")
    text = text.replace(line, other)
    if question == "model":
        text = text.replace("{'mlp': [", "{'other': ['digits'], 'mlp': [")
    config.write_text(text)

    options = ("--defaults", "-d", "project_name=x", "-d", f"{question}=other")
    cli("copy", *options, extended, "x", cwd=tmp_path)
    project = read(tmp_path / "x")
    assert set(project) == kept | following
    assert project[f"{question}.py"].startswith('"""Other. ')


@pytest.mark.parametrize("kind", ["folder", "repository", "url", "tag"])
def test_two_copies_from_anywhere_are_the_same(
    tmp_path, cli, template, repository, read, kept, following, kind
):
    repository.release("v0.2.0", **{"run.py.jinja": "\n# Later.\n"})
    source, options = {
        "folder": (template, ()),
        "repository": (repository.path, ()),
        "url": ("git+" + repository.path.as_uri(), ()),
        "tag": (repository.path, ("--vcs-ref", "v0.1.0")),
    }[kind]
    words = ("copy", "--defaults", "-d", "project_name=x", *options, source)
    for name in ("one", "two"):
        cli(*words, name, cwd=tmp_path)
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert one == two
    assert set(one) == kept | following
    assert ("# Later." in one["run.py"]) is (kind in ("repository", "url"))


@pytest.mark.parametrize(
    "name", ["Blåbær Ω 模型", "it's \"quoted\" & <odd> $HOME `x` \\n {{y}} %", "#1: - [a]"]
)
def test_a_project_of_any_name_works(tmp_path, cli, template, run, pyproject, name):
    folder = tmp_path / name.replace("/", "-")
    options = ("--defaults", "-d", f"project_name={name}", "-d", f"description={name}")
    cli("copy", *options, template, folder, cwd=tmp_path)
    assert pyproject(folder)["project"]["description"] == name
    source = str(ROOT / "runtime" / "src")
    done = run(sys.executable, "run.py", "--help", cwd=folder, PYTHONPATH=source)
    assert "--mode" in done.stdout
    done = run(
        sys.executable, "run.py", "-m", "train", "--cs_ip", "x", cwd=folder, expect=2,
        PYTHONPATH=source,
    )  # fmt: skip
    assert done.stderr.startswith("Error: --cs_ip")
