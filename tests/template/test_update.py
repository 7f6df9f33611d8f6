"""copier update does what the section "Updating" of a project's README.md says."""

import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

CHANGED = {
    "Makefile": "\nclean:\n\trm -rf model_dir\n",
    "README.md.jinja": "\nMore.\n",
    "_model/mlp.jinja": "{% set more = 1 %}\n",
    "_params.jinja": "\n# More.\n",
    "run.py.jinja": "\n# More.\n",
    "tests/test_model.py.jinja": "\n\ndef test_more():\n    pass\n",
}


class Project:
    """A generated project in git."""

    def __init__(self, path, cli, run):
        self.path, self.cli, self.run = path, cli, run
        self.git("init", "--quiet")
        self.commit()

    def git(self, *words):
        return self.run("git", *words, cwd=self.path).stdout

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "work")

    def update(self, *options, **expected):
        return self.cli("update", "--defaults", *options, cwd=self.path, **expected)


@pytest.fixture
def project(tmp_path, repository, cli, run):
    return Project(repository.render(tmp_path / "project", slurm=True), cli, run)


@pytest.fixture
def fresh(tmp_path, repository, read):
    """Makes a new project from the latest template and reads it."""
    return lambda **answers: read(
        repository.render(tmp_path / "fresh", **{"slurm": True} | answers)
    )


def test_an_untouched_project_gets_what_follows_the_template(
    repository, project, fresh, read, kept, following, slurm_files
):
    before = read(project.path)
    repository.release("v0.2.0", **CHANGED)
    project.update()
    after, new = read(project.path), fresh()
    assert set(after) == set(new) == kept | following | slurm_files
    for name in kept:
        assert after[name] == before[name], name
    for name in following | slurm_files:
        assert after[name] == new[name], name
    assert "clean:" in after["Makefile"]
    assert "# More." in after["run.py"]
    assert yaml.safe_load(after[".copier-answers.yml"])["_commit"] == "v0.2.0"


def test_edits_are_kept_or_merged(repository, project, fresh, read, kept):
    for name in kept:
        (project.path / name).write_text(f"my own {name}\n")
    makefile = project.path / "Makefile"
    makefile.write_text("# Mine.\n" + makefile.read_text())
    (project.path / "notes.txt").write_text("mine\n")
    project.commit()
    repository.release("v0.2.0", **CHANGED)
    project.update()

    after, new = read(project.path), fresh()
    for name in kept:
        assert after[name] == f"my own {name}\n"
    assert after["Makefile"] == "# Mine.\n" + new["Makefile"]
    assert after["notes.txt"] == "mine\n"
    for name in set(new) - kept - {"Makefile"}:
        assert after[name] == new[name], name


def test_a_kept_file_comes_back_new_when_it_was_removed(
    repository, project, fresh, read, kept
):
    before = read(project.path)
    project.git("rm", "--quiet", "tests/test_model.py")
    project.git("commit", "--quiet", "--message", "take the new one")
    (project.path / "README.md").rename(project.path / "my README.md")
    project.commit()
    repository.release("v0.2.0", **CHANGED)
    project.update()

    after, new = read(project.path), fresh()
    for name in ("tests/test_model.py", "README.md"):
        assert after[name] == new[name] != before[name]
    assert after["my README.md"] == before["README.md"]
    for name in kept - {"tests/test_model.py", "README.md"}:
        assert after[name] == before[name]


@pytest.mark.parametrize(
    ("answers", "changed"),
    [
        ({"model": "blank"}, {"pyproject.toml"}),
        ({"model": "cnn"}, {"configs/resnet50.yaml"}),
        ({"data": "csv"}, {"pyproject.toml", "write_data.py"}),
        ({"optimizer": "sgd", "mixed_precision": "float16", "system": "wse3"}, set()),
        ({"slurm": False}, {"run_train", "srun_train", "train.sbatch", ".gitignore"}),
        ({"project_name": "y"}, {"pyproject.toml", "run.py", "train.sbatch"}),
        (
            {"description": "y", "author": "Ada", "runtime_source": "https://x/w.whl"},
            {"pyproject.toml"},
        ),
    ],
)
def test_a_changed_answer(project, fresh, read, kept, answers, changed):
    before = read(project.path)
    project.update(*(f"-d{name}={value}" for name, value in answers.items()))
    after = read(project.path)
    names = set(before) | set(after)
    differing = {name for name in names if before.get(name) != after.get(name)}
    assert differing == changed | {".copier-answers.yml"}

    new = fresh(**answers)
    assert set(after) == set(new)
    for name in set(new) - kept:
        assert after[name] == new[name], name


def test_lines_added_to_gitignore_stay(project):
    project.update("-d", "slurm=false")
    ignored = project.path / ".gitignore"
    ignored.write_text(ignored.read_text() + "my.txt\n")
    project.commit()
    project.update("-d", "slurm=true")
    lines = ignored.read_text().splitlines()
    assert {"slurm-*.out", "my.txt"} <= set(lines)
    assert not any(line.startswith(("<<<<", ">>>>")) for line in lines)


def test_a_changed_answer_and_the_files_for_it(project, fresh, read):
    wanted = [
        "model.py",
        "utils.py",
        "data.py",
        "configs/params.yaml",
        "tests/test_data.py",
        "tests/test_model.py",
    ]
    project.git("rm", "--quiet", *wanted)
    project.git("commit", "--quiet", "--message", "take the new ones")
    project.update("-d", "model=blank")
    after, new = read(project.path), fresh(model="blank")
    assert after.pop("README.md") != new.pop("README.md")
    assert after == new

    project.git("add", "model.py")
    assert "+++ b/model.py" in project.git("diff", "HEAD~", "model.py")


def test_back_from_a_blank_model(tmp_path, repository, cli, run):
    path = repository.render(tmp_path / "project", model="blank")
    Project(path, cli, run).update("-d", "model=mlp")
    recorded = yaml.safe_load((path / ".copier-answers.yml").read_text())
    assert (recorded["model"], recorded["data"]) == ("mlp", "digits")


def test_what_the_owner_edited_stays_when_the_new_answers_have_no_such_file(
    tmp_path, repository, cli, run, read
):
    path = repository.render(tmp_path / "project", model="encoder", data="tfrecord")
    project = Project(path, cli, run)
    mine = {"write_data.py", "configs/bert_base.yaml", "configs/params.yaml"}
    for name in mine:
        with (path / name).open("a") as file:
            file.write("# Mine.\n")
    project.commit()
    before = read(path)
    project.update("-d", "model=mlp", "-d", "data=digits")
    after = read(path)
    assert {name: after[name] for name in mine} == {name: before[name] for name in mine}
    recorded = yaml.safe_load(after[".copier-answers.yml"])
    assert (recorded["model"], recorded["data"]) == ("mlp", "digits")


def test_a_model_that_the_data_are_not_for_is_refused(
    tmp_path, repository, cli, run
):
    path = repository.render(tmp_path / "project", model="mlp", data="csv")
    project = Project(path, cli, run)
    done = project.update("-d", "model=cnn", expect=1)
    assert done.stderr.splitlines()[-1] == (
        "ValueError: Validation error for question 'data': "
        '"csv" is not one of digits, images, npz, tfds, tfrecord; for example digits'
    )
    assert not project.git("status", "--porcelain")
    project.update("-d", "model=cnn", "-d", "data=npz")
    recorded = yaml.safe_load((path / ".copier-answers.yml").read_text())
    assert (recorded["model"], recorded["data"]) == ("cnn", "npz")


def test_a_wrong_answer_changes_nothing(project):
    done = project.update("-d", "model=rnn", expect=1)
    assert '"rnn" is not one of mlp, cnn, unet' in done.stderr
    assert not project.git("status", "--porcelain")


def test_the_runtime_follows_the_version(tmp_path, repository, cli, run):
    source = "git+" + repository.path.as_uri()
    path = tmp_path / "project"
    cli("copy", "--defaults", "-d", "project_name=x", source, path, cwd=tmp_path)
    assert "@v0.1.0#" in (path / "pyproject.toml").read_text()
    repository.release("v0.2.0", **CHANGED)
    Project(path, cli, run).update()
    assert "@v0.2.0#" in (path / "pyproject.toml").read_text()


def test_a_relative_source_is_found_again(tmp_path, repository, cli, run):
    path = tmp_path / "project"
    options = ("--defaults", "-d", "project_name=x")
    cli("copy", *options, ".", path, cwd=repository.path)
    repository.release("v0.2.0", **CHANGED)
    Project(path, cli, run).update()
    assert "clean:" in (path / "Makefile").read_text()


def releases():
    """The versions of this repository that people may have made projects from."""
    words = ["git", "-C", str(ROOT), "tag", "--list", "v*"]
    done = subprocess.run(words, capture_output=True, text=True)
    # An archive of the sources has no tags; its own state is a version all the same.
    return done.stdout.split() or ["as it is"]


@pytest.mark.parametrize("version", releases())
def test_from_every_release_to_this_state(
    tmp_path, repository, cli, run, fresh, read, kept, version
):
    """A project of each release, edited by its owner, updated to what is here now."""
    if version == "as it is":
        version = "v0.1.0"
    else:
        run("git", "fetch", "--quiet", "--tags", ROOT, cwd=repository.path)
    repository.release("v99.0.0", **CHANGED)
    path = tmp_path / "project"
    options = ("--defaults", "-d", "project_name=x", "-d", "slurm=true")
    words = ("copy", *options, "--vcs-ref", version, repository.path, path)
    cli(*words, cwd=tmp_path)
    project = Project(path, cli, run)
    for name in kept:
        with (path / name).open("a") as file:
            file.write("# Mine.\n")
    project.commit()
    before = read(path)
    project.update()
    after, new = read(path), fresh()
    assert set(after) == set(new)
    for name in new:
        assert after[name] == (before if name in kept else new)[name], name
