"""The `wafer` command, as a user types it."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import toy
from PIL import Image
from wafer_runtime import cli
from wafer_runtime.compiler.kernels import LIBRARY, UPDATE_RULES
from wafer_runtime.compiler.kernels.refused import REFUSED
from wafer_runtime.report.metrics import find_plans, metrics
from wafer_runtime.report.plan import rate_in_batches
from wafer_runtime.simulator.pipeline import execute

TOY = Path(__file__).parent


@pytest.fixture
def wafer(capsys):
    def call(*argv):
        code = cli.main(argv)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    path = tmp_path_factory.mktemp("project")
    (path / "model.py").write_text("from toy import model_in_section as model_fn\n")
    (path / "data.py").write_text("from toy import input_fn\n")
    (path / "utils.py").write_text("def set_defaults(params): pass\n")
    (path / "configs").mkdir()
    text = "model: {width: 8}\nrunconfig: {tf_random_seed: 1}\n"
    (path / "configs" / "params.yaml").write_text(text)
    return path


def in_project(project, *argv):
    """In a process of its own: it imports the project's modules."""
    code = (
        "import sys; from wafer_runtime.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        cwd=project,
        env={"PYTHONPATH": str(TOY), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.smoke
def test_ops_lists_the_whole_library_without_tensorflow():
    code = (
        "import sys; from wafer_runtime.cli import main; main(['ops'])\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for kind in LIBRARY:
        assert kind.name in done.stdout
        assert all(layer in done.stdout for layer in kind.layers)
        assert all(limit.text in done.stdout for limit in kind.limits)
    assert all(rule.name in done.stdout for rule in UPDATE_RULES)
    assert all(refusal.reason in done.stdout for refusal in REFUSED.values())


@pytest.mark.smoke
def test_a_reader_that_has_enough_is_no_error():
    code = "import sys; from wafer_runtime.cli import main; sys.exit(main(['ops']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("dense", "dense: A product with weights"),
        ("Conv3D", "no convolutions in three dimensions"),
        ("MatMul", "dense: A product with weights"),
        ("TopKV2", "does not sort"),
        ("tf.nn.softmax", "softmax: Shares"),
        ("gelu", "elementwise: "),
        ("LSTM", "dense: A product with weights"),
        ("scan", "tf.while_loop(condition, body, x) of a known length"),
        ("lamb", "LAMB: an update rule with 2 states a weight"),
        ("top_k", "does not sort"),
        ("optimizers", "Adafactor"),
        ("Ftrl", "instead: one of Nadam, AdamW"),
        ("layers.Dense", "layers.Dense is found in:"),
    ],
)
def test_ops_explains_one(wafer, name, told):
    code, out, _ = wafer("ops", name)
    assert code == 0
    assert told in out


@pytest.mark.smoke
def test_ops_of_an_unknown_name(wafer):
    code, _, err = wafer("ops", "sofmax")
    assert code == 2
    assert 'Error: sofmax: not in the kernel library (did you mean "softmax"?)' in err


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["tf.nonsense", "layers.Foo", "data"])
def test_nothing_is_suggested_for_what_is_like_nothing(wafer, name):
    code, _, err = wafer("ops", name)
    assert (code, "did you mean" in err) == (2, False)


@pytest.mark.smoke
@pytest.mark.parametrize("command", [["graph"], ["map", "."]])
def test_a_file_that_cannot_be_is_told_first(wafer, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, _, err = wafer(*command, "-o", "nowhere/picture.svg")
    assert code == 2
    assert "there is no folder nowhere" in err
    (tmp_path / "folder.svg").mkdir()
    code, _, err = wafer(*command, "-o", "folder.svg")
    assert code == 2
    assert "-o folder.svg: cannot be written" in err


@pytest.mark.smoke
def test_outside_a_project(wafer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = wafer("partition")
    assert code == 2
    assert "there is no model.py and no data.py here" in err


@pytest.mark.smoke
def test_a_system_of_ones_own_is_looked_at_before_the_model(
    wafer, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("model.py", "data.py"):
        Path(name).write_text("1 / 0\n")
    Path("own.yaml").write_text("runconfig: {system: none.yaml}\n")
    code, _, err = wafer("partition", "-p", "own.yaml")
    assert code == 2
    assert "Error: none.yaml: cannot be read: No such file" in err


def test_graph_as_json_and_as_a_picture(project):
    done = in_project(project, "graph", "-o", "graph.json")
    assert done.returncode == 0, done.stderr
    graph = json.loads((project / "graph.json").read_text())
    assert "Wrote 6 kernels" in done.stdout
    assert [k["kind"] for k in graph["kernels"]][:2] == ["dense", "dense"]
    assert in_project(project, "graph").returncode == 0
    picture = ElementTree.parse(project / "kernel_graph.svg").getroot()
    texts = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert {"host", "hidden", "out"} <= set(texts)
    done = in_project(project, "graph", "-o", "graph.png")
    assert done.returncode == 2
    assert "wanted a name that ends in .json or .svg" in done.stderr


def test_partition_of_each_mode(project):
    done = in_project(project, "partition", "--mode", "eval")
    assert done.returncode == 0, done.stderr
    assert "hidden" in done.stdout
    assert "input pipeline: input_fn" in done.stdout
    assert "update" not in done.stdout


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A model_dir with a plan in it."""
    path = tmp_path_factory.mktemp("model_dir")
    params = {"runconfig": {"place_iterations": 1}}
    toy.estimator(path, params=params).compile(toy.input_fn)
    return path


def report(text):
    """Of one plan."""
    return dict(re.split(": +", line, maxsplit=1) for line in text.splitlines())


def test_report_prints_what_a_proposal_asks_for(wafer, compiled):
    code, out, _ = wafer("report", str(compiled), "--samples", "1000")
    assert code == 0
    told = report(out)
    # 8 numbers and a label go in, a class and a share of the loss come out.
    assert re.fullmatch(r"4\d bytes to and from the host", told["sample size"])
    assert told["dataset size"].startswith("1,000 samples")
    assert told["mode"] == "train"
    [plan] = find_plans(compiled).values()
    seconds = float(told["time of an epoch"].removesuffix(" s"))
    assert seconds == pytest.approx(1000 / rate_in_batches(plan), rel=0.01)
    of_predict = metrics(dataclasses.replace(plan, mode="infer"), None)
    assert report(of_predict)["mode"] == "predict"
    assert re.fullmatch(r"\d+ \(delta_t \d+\)", told["cycles per sample"])
    assert {"largest batch", "limited by", "more PEs"} <= told.keys()
    # A small model is more than 0 %.
    assert re.match(r"0\.0\d+% \(", told["fabric utilization"])
    assert "give --samples N" in wafer("report", str(compiled))[1]


def test_the_rate_in_batches_is_that_of_the_simulated_wafer(wafer, compiled):
    told = report(wafer("report", str(compiled))[1])
    plan = next(iter(find_plans(compiled).values()))
    run = execute(plan, 100 * plan.batch_size)
    rate = told[f"in batches of {plan.batch_size}"].partition(" samples/s, as")[0]
    assert float(rate.replace(",", "")) == pytest.approx(run.samples_per_s, rel=1e-3)
    steady = float(told["samples per second"].partition(" in ")[0].replace(",", ""))
    assert steady == pytest.approx(plan.clock_hz / plan.delta_t_cycles, abs=1)
    assert steady > 1.1 * run.samples_per_s


def test_plans_of_both_modes_are_reported_and_an_entry_that_was_edited_is_not(
    wafer, compiled, tmp_path
):
    both = tmp_path / "both"
    shutil.copytree(compiled, both)
    params = {"runconfig": {"place_iterations": 1}}
    toy.estimator(both, params=params).compile(toy.input_fn, mode="eval")
    code, out, err = wafer("report", str(both))
    assert code == 0
    assert re.findall(r"^mode: +(\w+)$", out, re.MULTILINE) == ["eval", "train"]
    assert len(set(re.findall(r"^compilation: +(.+)$", out, re.MULTILINE))) == 2
    assert "older plan" not in err
    [train] = (both / path.name for path in compiled.glob("cs_*"))
    shutil.copytree(train, both / "cs_older")
    _, out, err = wafer("report", str(both))
    assert len(re.findall("^compilation: ", out, re.MULTILINE)) == 2
    assert f"{both} holds 1 older plan beside the newest of each mode" in err
    assert f"name its folder, {both}/cs_<hash>" in err
    shutil.rmtree(both / "cs_older")
    (train / "manifest.json").write_text("junk")
    code, _, err = wafer("report", str(both))
    assert code == 2
    damage = "manifest.json is not as it was written. Remove this folder; compiling"
    assert f"{train}: is no whole plan: {damage} again makes it anew" in err


def test_the_map_is_drawn_in_both_forms(wafer, compiled, tmp_path):
    assert wafer("map", str(compiled), "-o", f"{tmp_path}/map.png")[0] == 0
    assert Image.open(tmp_path / "map.png").size == (1000, 30 + 1325)
    assert wafer("map", str(compiled), "-o", f"{tmp_path}/map.svg")[0] == 0
    titles = ElementTree.parse(tmp_path / "map.svg").findall(".//{*}title")
    assert any(title.text.startswith("hidden (dense)") for title in titles)


def test_a_report_of_nothing_says_what_to_do(wafer, tmp_path):
    code, _, err = wafer("report", str(tmp_path / "none"))
    assert (code, "is no folder; name a model_dir" in err) == (2, True)
    code, _, err = wafer("report", str(tmp_path))
    assert (code, "run.py --compile_only makes one" in err) == (2, True)
    (tmp_path / "plan.json").write_text("{")
    code, _, err = wafer("map", str(tmp_path))
    assert (code, "is no whole plan" in err) == (2, True)
    (tmp_path / "plan.json").unlink()
    code, _, err = wafer("map", str(tmp_path), "-o", "map.gif")
    assert code == 2
