"""Renders the template with the real copier: in this process, or as a user does."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import copier
import jinja2
import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it too

ROOT = Path(__file__).parents[2]


def copy_template(destination: Path) -> Path:
    """The parts of this repository that scaffolding needs, as they are on disk."""
    shutil.copytree(ROOT / "template", destination / "template")
    shutil.copy(ROOT / "copier.yml", destination)
    (destination / "runtime").mkdir()
    shutil.copy(ROOT / "runtime" / "pyproject.toml", destination / "runtime")
    return destination


@pytest.fixture(scope="session")
def kept() -> set[str]:
    """The files that belong to the owner of a project."""
    tests = {"tests/test_data.py", "tests/test_model.py"}
    code = {"data.py", "model.py", "utils.py"}
    return {"README.md", "configs/params.yaml"} | code | tests


@pytest.fixture(scope="session")
def following() -> set[str]:
    """The files that follow the template when a project is updated."""
    hidden = {".copier-answers.yml", ".gitignore"}
    return {"Makefile", "pyproject.toml", "run.py"} | hidden


@pytest.fixture(scope="session")
def slurm_files() -> set[str]:
    """Those that also follow the template, with `slurm: true`."""
    return {"run_train", "srun_train", "train.sbatch"}


@pytest.fixture(scope="session")
def read() -> Callable[[Path], dict[str, str]]:
    """Reads all files of a project, but git's own: name to text."""

    def read(project: Path) -> dict[str, str]:
        names = (p.relative_to(project) for p in project.rglob("*") if p.is_file())
        names = (name for name in names if name.parts[0] != ".git")
        return {name.as_posix(): (project / name).read_text() for name in names}

    return read


@pytest.fixture(scope="session")
def pyproject() -> Callable[[Path], dict[str, Any]]:
    """Reads the pyproject.toml of a project."""
    return lambda project: tomllib.loads((project / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def questions() -> dict[str, dict[str, Any]]:
    """The questions that a user is asked, without the computed values."""
    config = yaml.safe_load((ROOT / "copier.yml").read_text())
    return {
        name: question
        for name, question in config.items()
        if not name.startswith("_") and question.get("when") is not False
    }


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without the settings of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    settings = home / "settings.yml"
    settings.write_text("{}\n")
    # Of git hooks, of `make test`, and of a test run inside a Slurm job.
    foreign = re.compile("COPIER_|CS_IP|GIT_|MAKE|PYTHON$|SLURM|TF_CONFIG")
    inherited = {k: v for k, v in os.environ.items() if not foreign.match(k)}
    return inherited | {
        "HOME": str(home),
        "COPIER_CACHE_DIR": str(home / "cache"),
        "COPIER_SETTINGS_PATH": str(settings),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "PYTHONUTF8": "1",
    }


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run(environment: dict[str, str]) -> Run:
    """Runs a command in a folder; fails the test when its exit code is not `expect`."""

    def run(*command: object, cwd: Path, expect: int = 0, **variables: str):
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def cli(run: Run) -> Run:
    """Runs copier's command line."""
    return lambda *words, **options: run(
        sys.executable, "-W", "ignore", "-m", "copier", *words, **options
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the template that is no git repository: quick to render from."""
    return copy_template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Jinja compiles each text once a session, not once a project: three times faster."""
    compile_ = jinja2.Environment.compile
    found: dict[Any, Any] = {}

    def compile_once(environment: Any, source: Any, *details: Any, **named: Any) -> Any:
        key = environment.undefined, source, details, tuple(named.items())
        if key not in found:
            found[key] = compile_(environment, source, *details, **named)
        return found[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once)
        yield


def render_project(source: Path, destination: Path, answers: dict[str, Any]) -> Path:
    copier.run_copy(
        str(source),
        destination,
        data={"project_name": "x"} | answers,
        settings=copier.Settings(),
        defaults=True,
        quiet=True,
    )
    return destination


@pytest.fixture(scope="session")
def render(template: Path) -> Callable[..., Path]:
    """Renders a project in this process: `render(folder, model="blank")`."""
    return lambda destination, **answers: render_project(template, destination, answers)


class Repository:
    """A git repository of the template, to be released in versions."""

    def __init__(self, path: Path, run: Run):
        self.path = path
        self.run = run

    def git(self, *words: str) -> str:
        return self.run("git", *words, cwd=self.path).stdout.strip()

    def release(self, tag: str, **appended: str) -> None:
        """Tags a version, with some text appended to files of the template."""
        for name, text in appended.items():
            with (self.path / "template" / name).open("a") as file:
                file.write(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", tag)
        self.git("tag", tag)

    def render(self, destination: Path, **answers: Any) -> Path:
        """Renders a project from the latest version, in this process."""
        return render_project(self.path, destination, answers)


@pytest.fixture
def repository(tmp_path: Path, run: Run) -> Repository:
    """The template in git, at v0.1.0."""
    path = tmp_path / "template repository"
    path.mkdir()
    repository = Repository(copy_template(path), run)
    repository.git("init", "--quiet")
    repository.release("v0.1.0")
    return repository
