"""Where a generated project says that the wafer-runtime package comes from."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jinja2
import pytest
import yaml
from jinja2_ansible_filters import AnsibleCoreFiltersExtension
from packaging.requirements import Requirement

COMMIT_HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def runtime_of(pyproject):
    """The URL of wafer-runtime in the requirements of a project."""

    def runtime_of(project: Path) -> str:
        dependencies = pyproject(project)["project"]["dependencies"]
        urls = {r.name: r.url for r in map(Requirement, dependencies)}
        return urls["wafer-runtime"]

    return runtime_of


def recorded_source(project: Path) -> str:
    return yaml.safe_load((project / ".copier-answers.yml").read_text())["_src_path"]


def copy(cli, source, project, *options, cwd, **variables):
    options += ("--defaults", "-d", "project_name=x")
    cli("copy", *options, source, project, cwd=cwd, **variables)
    return cwd / project


@pytest.mark.parametrize("source", ["..", "../../template repository", "absolute"])
def test_a_checkout_gives_its_own_runtime(
    tmp_path, runtime_of, cli, repository, source
):
    folder = repository.path / "folder"
    folder.mkdir()
    source = repository.path if source == "absolute" else source
    project = copy(cli, source, tmp_path / "project", cwd=folder)
    url = urlsplit(runtime_of(project))
    assert url.scheme == "file"
    assert " " not in url.path
    assert Path(unquote(url.path)) == repository.path.resolve() / "runtime"
    assert recorded_source(project) == str(repository.path.resolve())


def test_the_current_folder(tmp_path, runtime_of, cli, repository):
    project = copy(cli, ".", tmp_path / "project", cwd=repository.path)
    assert unquote(runtime_of(project)) == f"file://{repository.path}/runtime"


def test_below_the_home_folder(tmp_path, runtime_of, cli, repository):
    name = f"~/{repository.path.name}"
    project = copy(cli, name, "project", cwd=tmp_path, HOME=str(tmp_path))
    assert unquote(runtime_of(project)) == f"file://{repository.path}/runtime"


@pytest.mark.parametrize("name", ["50% off", "a#b?c", "[x]*", "\u00fc@\u6a21"])
def test_odd_folder_names(tmp_path, runtime_of, cli, template, name):
    odd = shutil.copytree(template, tmp_path / name)
    project = copy(cli, odd, "project", cwd=tmp_path)
    url = urlsplit(runtime_of(project))
    assert (unquote(url.path), url.query, url.fragment) == (f"{odd}/runtime", "", "")


def test_a_git_url_gives_its_repository_at_the_same_version(
    tmp_path, runtime_of, cli, repository
):
    source = "git+" + repository.path.as_uri()
    url = source.replace(":///", "://localhost/")
    project = copy(cli, source, "tagged", cwd=tmp_path)
    assert runtime_of(project) == f"{url}@v0.1.0#subdirectory=runtime"
    assert recorded_source(project) == source

    repository.git("commit", "--allow-empty", "--message", "not released")
    untagged = copy(cli, source, "untagged", "--vcs-ref=HEAD", cwd=tmp_path)
    commit = repository.git("rev-parse", "HEAD")
    assert runtime_of(untagged) == f"{url}@{commit}#subdirectory=runtime"


def test_a_bare_repository(tmp_path, runtime_of, cli, run, repository):
    bare = tmp_path / "bare.git"
    run("git", "clone", "--bare", repository.path, bare, cwd=tmp_path)
    project = copy(cli, "bare.git", "project", cwd=tmp_path)
    url = f"git+file://localhost{bare}"
    assert runtime_of(project) == f"{url}@v0.1.0#subdirectory=runtime"


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("gh:ada/wafer", "https://github.com/ada/wafer"),
        ("gl:ada/wafer.git", "https://gitlab.com/ada/wafer.git"),
        ("https://github.com/ada/wafer", "https://github.com/ada/wafer"),
        ("https://example.org/wafer.git", "https://example.org/wafer.git"),
        ("git+https://example.org/wafer", "https://example.org/wafer"),
        ("git@github.com:ada/wafer.git", "ssh://git@github.com/ada/wafer.git"),
        ("git+ssh://git@example.org/wafer", "ssh://git@example.org/wafer"),
        ("example.org:wafer.git", "ssh://example.org/wafer.git"),
        ("git://example.org/wafer.git", "git://example.org/wafer.git"),
        ("git+file:///srv/wafer", "file://localhost/srv/wafer"),
    ],
)
@pytest.mark.parametrize(
    ("commit", "ref"),
    [
        ("v0.1.0", "v0.1.0"),
        ("v0.1.0-3-g0123456", COMMIT_HASH),
        ("0123456", COMMIT_HASH),
    ],
)
def test_remote_sources(template, source, url, commit, ref):
    # Not rendered by copier, which would ask these hosts.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template),
        extensions=[AnsibleCoreFiltersExtension],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    macros = environment.get_template("template/_source.jinja").module
    found = macros.runtime(source, commit, COMMIT_HASH)
    assert found.strip() == f"git+{url}@{ref}#subdirectory=runtime"
    assert macros.absolute(source) == source


def test_a_url_of_your_own(tmp_path, runtime_of, render):
    url = "git+https://example.org/fork@main#subdirectory=runtime"
    project = render(tmp_path / "project", runtime_source=url)
    assert runtime_of(project) == url


def test_a_template_without_a_runtime_has_to_be_told(
    tmp_path, runtime_of, cli, template
):
    alone = shutil.copytree(template, tmp_path / "alone")
    shutil.rmtree(alone / "runtime")
    command = ("copy", "--defaults", "-d", "project_name=x", alone, "project")
    done = cli(*command, cwd=tmp_path, expect=1)
    assert '"auto" needs a template in a git repository' in done.stderr

    url = "https://example.org/wafer_runtime-0.1.0-py3-none-any.whl"
    cli(*command, "-d", f"runtime_source={url}", cwd=tmp_path)
    assert runtime_of(tmp_path / "project") == url
