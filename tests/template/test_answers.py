"""Questions: their defaults, what they refuse, and text that is hard to quote."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

EXAMPLE = Path(__file__).parent / "example-answers.yml"


def test_every_question_is_complete(questions):
    for name, question in questions.items():
        assert all(question[key] for key in ("help", "type", "validator")), name
        assert ("default" in question) is (name != "project_name"), name


@pytest.mark.smoke
def test_a_name_is_all_it_needs(tmp_path, cli, template):
    cli("copy", "--defaults", "-d", "project_name=x", template, "x", cwd=tmp_path)
    answers = yaml.safe_load((tmp_path / "x" / ".copier-answers.yml").read_text())
    assert answers == {
        "_src_path": str(template),
        "project_name": "x",
        "description": "A TensorFlow model for the wafer.",
        "author": "",
        "model": "mlp",
        "data": "digits",
        "mixed_precision": "none",
        "optimizer": "adam",
        "system": "wse2",
        "slurm": False,
        "runtime_source": "auto",
    }


def test_a_name_is_needed(tmp_path, cli, template):
    done = cli("copy", "--defaults", template, "x", cwd=tmp_path, expect=1)
    assert done.stderr.endswith('Question "project_name" is required\n')


@pytest.mark.smoke
def test_example_answers_file(tmp_path, cli, template, questions):
    example = yaml.safe_load(EXAMPLE.read_text())
    assert list(example) == list(questions)
    options = ("--defaults", "--data-file", EXAMPLE)
    cli("copy", *options, template, "project", cwd=tmp_path)
    answers = yaml.safe_load((tmp_path / "project/.copier-answers.yml").read_text())
    assert answers == example | {"_src_path": str(template)}


BAD = [
    ("project_name", ""),
    ("project_name", " "),
    ("project_name", " padded"),
    ("project_name", "two\nlines"),
    ("project_name", "bell\a"),
    ("project_name", "line\u2028separator"),
    ("project_name", "right-to-left \u202e mark"),
    ("project_name", "half a \udc80 character"),
    ("project_name", "n" * 101),
    ("project_name", "Wafer Runtime"),
    ("project_name", "scikit_learn"),
    ("description", "two\r\nlines"),
    ("description", "tab\tstop"),
    ("author", "Ada\x7f"),
    ("author", "Ada\ufffe"),
    ("model", "rnn"),
    ("model", ""),
    ("model", "m\u00fclp \U0001f600"),
    ("data", "mnist"),
    ("data", "blank"),
    ("mixed_precision", "maybe"),
    ("optimizer", "sdg"),
    ("optimizer", 5),
    ("system", "wse4"),
    ("slurm", "yess"),
    ("runtime_source", ""),
    ("runtime_source", "runtime"),
    ("runtime_source", "/home/ada/runtime"),
    ("runtime_source", "file://runtime"),
    ("runtime_source", "https://example.org/a b"),
    ("runtime_source", 'https://example.org/"'),
    ("runtime_source", "https://example.org/\n"),
]


@pytest.mark.parametrize(("question", "value"), BAD)
def test_bad_answers_are_refused(tmp_path, render, question, value):
    with pytest.raises(ValueError, match=f"for question '{question}'") as caught:
        render(tmp_path / "project", **{question: value})
    last = str(caught.value).splitlines()[-1]
    assert json.dumps(value)[:8].strip('"') in last
    assert re.search(r" (is|has|needs) .+; .*for example .+", last)
    assert not (tmp_path / "project").exists()


def test_every_question_refuses_something(questions):
    assert {question for question, _ in BAD} == set(questions)


def test_data_is_not_asked_for_a_blank_model(tmp_path, render):
    with pytest.raises(ValueError, match='"digits" is not one of blank'):
        render(tmp_path / "project", model="blank", data="digits")


def test_the_command_line_ends_with_the_reason(tmp_path, cli, template):
    options = ("--defaults", "-d", "project_name=x", "-d", "optimizer=sdg")
    done = cli("copy", *options, template, "x", cwd=tmp_path, expect=1)
    assert done.stderr.splitlines()[-1] == (
        "ValueError: Validation error for question 'optimizer': "
        '"sdg" is not one of sgd, momentum, adam, adamw, rmsprop, lamb; for example sgd'
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("answer", ["yes", "TRUE", True])
def test_ways_to_say_yes(tmp_path, render, answer):
    assert (render(tmp_path / "project", slurm=answer) / "train.sbatch").exists()


@pytest.mark.parametrize("answer", ["no", "False", False])
def test_ways_to_say_no(tmp_path, render, answer):
    assert not (render(tmp_path / "project", slurm=answer) / "train.sbatch").exists()


HARD = [
    '"',
    "'''",
    '"""',
    "\\",
    '\\"""\\',
    "\\N{BULLET} \\x \\u12 \\n",
    "${HOME} $(id) `id` %s {0} $x$",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    "# heading #",
    "- item",
    "1. item",
    "=====",
    "*a* _b_ [c](d) <e> &amp; ~~f~~ | g",
    "a: b # c",
    "!tag &anchor *alias @at %directive",
    "yes",
    "null",
    "1e3",
    "\u00dcn\u00efc\u00f6d\u00e9 \u6a21\u578b \U0001f600",
    "\u6a21\u578b",
    "\ufeffmark",
    "n" * 100,
]


@pytest.mark.parametrize("text", HARD)
def test_hard_text_arrives_as_it_was_given(tmp_path, render, pyproject, text):
    answers = {"project_name": text, "description": text, "author": text}
    project = render(tmp_path / "project", **answers, slurm=True)

    recorded = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert recorded.items() >= answers.items()

    about = pyproject(project)["project"]
    assert about["description"] == text
    assert about["authors"] == [{"name": text}]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", about["name"])

    params = yaml.safe_load((project / "configs" / "params.yaml").read_text())
    assert params["description"] == text

    docstring = ast.get_docstring(ast.parse((project / "run.py").read_text()), False)
    assert docstring.splitlines()[0] == text

    title, _, paragraph = (project / "README.md").read_text().splitlines()[:3]
    assert plain(title.removeprefix("# ")) == plain(paragraph) == text

    job = (project / "train.sbatch").read_text()
    assert f"#SBATCH --job-name={about['name']}\n" in job


def plain(markdown: str) -> str:
    """Markdown without its escapes; fails if something in it is not plain words."""
    assert not re.search(r"(?<!\\)(\\\\)*[`*_#\[\]<>&~|$]", markdown)
    assert not re.match(r"[-+=]|[0-9]+[.)]", markdown)
    return re.sub(r"\\([!-/:-@[-`{-~])", r"\1", markdown)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("my-model", "my-model"),
        ("My  first_model.2", "my-first-model-2"),
        ("--x--", "x"),
        ("Stra\u00dfe", "stra-e"),
        ("\u6a21\u578b", "model"),
    ],
)
def test_distribution_names(tmp_path, render, pyproject, name, slug):
    project = render(tmp_path / "project", project_name=name)
    assert pyproject(project)["project"]["name"] == slug
