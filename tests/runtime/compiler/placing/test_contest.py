"""The contest's formats, and `wafer place` as a user types it."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from placeable import check
from wafer_runtime import cli
from wafer_runtime.compiler.contest import read_kgraph, solution
from wafer_runtime.compiler.kernels.cost import Conv
from wafer_runtime.compiler.placing.bound import area_bound
from wafer_runtime.compiler.placing.search import place
from wafer_runtime.errors import UsageError

SMALL = """\
(*
test=small
width=200
height=150
wdeltat=1
wlength=2
wadapter=30
memlimit=24576
*)

(* Node Definitions *)
input[ 0] n=[56 56 64] name='in'
cblock[1] f=64 h=28 w=28 name='down'
conv[2] W=14 H=14 R=3 S=3 C=64 K=32 T=2 U=2 name='c'
dblock[ 3] f=32 h=7 w=7 name='d'
output[4] n=[7 7 32] name='out'

(* Connectivity *)
input[ 0]:_    -> cblock[ 1]:x, shape:[56][56][64]
cblock[1]:y\t->\tconv[2]:x, shape:[14][14][64]
conv[2]:y -> dblock[3]:x, shape:[7][7][32]
dblock[3]:y -> output[4]:_, shape:[7][7][32]
"""
# Beside the repository where it is there; elsewhere these tests are skipped.
SHARED = Path(__file__).parents[4].parent / "shared"
GRAPHS = sorted(SHARED.glob("ispd2020/*.kgraph"))


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.kgraph"
    path.write_text(SMALL)
    return path


def test_a_graph_is_read(small):
    graph = read_kgraph(small)
    assert [kernel.name for kernel in graph.task.kernels] == ["down", "c", "d"]
    assert graph.task.edges == ((0, 1), (1, 2))
    assert (graph.task.width, graph.task.height) == (200, 150)
    weights = graph.task.weights
    assert (weights.delta_t, weights.wire, weights.adapter) == (1, 2, 30)
    conv = graph.task.kernels[1].shapes
    assert conv.convs == (Conv(H=14, W=14, R=3, S=3, C=64, K=32, T=2, U=2),)
    assert conv.memory_limit_words == 24_576
    assert len(graph.task.kernels[0].shapes.convs) == 4
    assert len(graph.task.kernels[2].shapes.convs) == 3


def test_a_solution_says_what_was_placed(small):
    graph = read_kgraph(small)
    placement = place(graph.task, iterations=1)
    check(placement)
    text = solution(graph, placement)
    lines = text.splitlines()
    assert len(lines) == 6
    runs = [placed.execution for placed in placement.placed]
    c = runs[1]
    assert lines[1] == f"c=conv(14 14 3 3 64 32 2 2 {c.h} {c.w} {c.c[0]} {c.k[0]})"
    assert len(re.findall(r"\d+", lines[0])) == 3 + 2 + 8
    assert len(re.findall(r"\d+", lines[2])) == 3 + 2 + 6
    for line, placed in zip(lines[3:], placement.placed, strict=True):
        turned = "R90" if placed.rotated else "R0"
        assert line.endswith(f": place({placed.x} {placed.y} {turned})")


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("width=200", "width=-4", ":3: width=-4: wanted a whole number, at least 1"),
        ("width=200", "widht=200", ':3: widht: there is no such setting (did you mean'),
        ("width=200\n", "", ": has no width, between (* and *)"),
        ("dblock[ 3] f", "dblok[ 3] f", ':15: dblok: there is no such kind of node'),
        ("f=32 h=7", "f=33 h=7", ":15: f=33: wanted a multiple of 4"),
        ("f=32 h=7", "f=32 x=7", ":15: x: dblock has only h, w, f, name"),
        ("f=32 h=7", "f=32", ":15: dblock without h"),
        ("h=28 w=28", "h=27 w=28", ":13: h=27 w=28: a cblock halves them"),
        ("C=64", "C=many", ":14: C=many: wanted a whole number, at least 1"),
        ("name='c'", "", ":14: conv[2] has no name"),
        ("name='d'", "name='c'", ":15: dblock[3] 'c': the number or name is taken"),
        ("conv[2]:y -> dblock[3]", "conv[2]:y -> dblock[7]", ":21: dblock[7]: no such"),
        ("conv[2]:y ->", "conv[2]:y >", ":21: 'conv[2]:y > dblock[3]:x"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_its_line(small, old, new, told):
    assert old in SMALL
    small.write_text(SMALL.replace(old, new))
    with pytest.raises(UsageError) as caught:
        read_kgraph(small)
    assert f"{small}{told}" in str(caught.value)


def test_the_command(small, tmp_path, capsys):
    output = tmp_path / "small.txt"
    argv = ["place", str(small), "-o", str(output), "--iterations", "2", "--seed", "7"]
    assert cli.main(argv) == 0
    told = capsys.readouterr()
    assert "again with   --seed 7 --iterations 2" in told.out
    assert "iteration 2: objective" in told.err
    first = output.read_text()
    assert cli.main(argv) == 0
    assert output.read_text() == first


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["none.kgraph", "-o", "x"], "none.kgraph: cannot be read: No such file"),
        (["g.kgraph", "-o", "no/x"], "-o no/x: there is no folder no"),
    ],
)
def test_the_command_with_what_is_not_there(argv, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.kgraph").write_text(SMALL)
    assert cli.main(["place", *argv]) == 2
    assert f"Error: {told}" in capsys.readouterr().err


@pytest.mark.smoke
@pytest.mark.parametrize("flag", [["--seconds", "0"], ["--seed", "-1"]])
def test_the_command_with_a_bad_flag(flag, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["place", "g.kgraph", "-o", "x", *flag])
    assert caught.value.code == 2
    assert f"{flag[1]}: wanted" in capsys.readouterr().err


@pytest.mark.smoke
def test_what_does_not_fit_has_its_exit_code(small, tmp_path, capsys):
    small.write_text(SMALL.replace("memlimit=24576", "memlimit=5"))
    assert cli.main(["place", str(small), "-o", str(tmp_path / "x")]) == 3
    told = capsys.readouterr().err
    assert "c: needs 11 16-bit words a PE, limit 5, 6 short" in told
    assert not (tmp_path / "x").exists()


def test_placing_leaves_tensorflow_alone(small, tmp_path):
    code = (
        "import sys; from wafer_runtime.cli import main; main(sys.argv[1:])\n"
        "assert 'tensorflow' not in sys.modules"
    )
    argv = ["place", str(small), "-o", str(tmp_path / "x"), "--iterations", "1"]
    subprocess.run([sys.executable, "-c", code, *argv], check=True)


needs_shared = pytest.mark.skipif(
    not GRAPHS, reason="the contest's graphs and scorer are not on this machine"
)


@pytest.fixture(scope="module")
def ispd():
    spec = importlib.util.spec_from_file_location("ispd", SHARED / "tools" / "ispd.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_shared
@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_an_independent_scorer_agrees(path, ispd):
    graph = read_kgraph(path)
    placement = place(graph.task, iterations=1)
    score = ispd.score(ispd.parse(path.read_text()), solution(graph, placement))
    assert score["delta_t"] == placement.delta_t_cycles
    assert score["wire"] == placement.wire_length
    assert score["adapter"] == placement.adapters
    assert score["objective"] == placement.objective


@needs_shared
def test_an_independent_bound_agrees(ispd):
    for path in GRAPHS:
        if path.stem in "CNK":
            bound = area_bound(read_kgraph(path).task)
            assert ispd.bound(ispd.parse(path.read_text())) == pytest.approx(
                bound, 2e-3
            )
