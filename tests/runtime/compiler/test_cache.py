"""Compilations are found again, never half, and made anew when they are damaged."""

import functools
import importlib.util
import json
import multiprocessing
import os
import re
import time

import models
import pytest
import toy
from storing import store_and_damage
from wafer_runtime.compiler.cache import Entry, key_of
from wafer_runtime.compiler.kernel_graph import KernelGraph
from wafer_runtime.errors import UsageError
from wafer_runtime.estimator import CerebrasEstimator

KEY = key_of("a model")
FILES = {"a.txt": "one\n", "b.txt": "zwei, für drei\n"}


@pytest.fixture
def entry(tmp_path):
    entry = Entry(tmp_path / "model_dir", KEY)
    entry.store(FILES)
    return entry


def test_what_is_stored_is_loaded(entry):
    assert re.fullmatch("cs_[0-9a-f]{64}", entry.path.name)
    assert entry.load() == FILES
    assert Entry(entry.path.parent, key_of("another")).load() is None
    assert [p.name for p in entry.path.parent.iterdir()] == [entry.path.name]


DAMAGES = {
    "cut off": lambda path: (path / "b.txt").write_text("zwei"),
    "edited": lambda path: (path / "a.txt").write_text("two\n"),
    "file gone": lambda path: (path / "a.txt").unlink(),
    "no text": lambda path: (path / "a.txt").write_bytes(b"\xff\xfe"),
    "manifest gone": lambda path: (path / "manifest.json").unlink(),
    "manifest cut off": lambda path: (path / "manifest.json").write_text("{"),
    "manifest of another form": lambda path: (path / "manifest.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_told_and_replaced(entry, caplog, damage):
    DAMAGES[damage](entry.path)
    assert entry.load() is None
    entry.store(FILES)
    (told,) = caplog.messages
    assert "is damaged" in told
    assert "compiling again" in told
    assert entry.load() == FILES
    assert [p.name for p in entry.path.parent.iterdir()] == [entry.path.name]


def test_processes_that_store_at_once_leave_a_whole_entry(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)
    workers = [
        context.Process(target=store_and_damage, args=(tmp_path, start, KEY, FILES))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    Entry(tmp_path, KEY).store(FILES)
    assert Entry(tmp_path, KEY).load() == FILES
    assert [p.name for p in tmp_path.iterdir()] == [f"cs_{KEY}"]


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    for name, hours in (("old", 25), ("new", 1)):
        folder = tmp_path / f".cs_{KEY}.{name}"
        folder.mkdir()
        then = time.time() - 3600 * hours
        os.utime(folder, (then, then))
    Entry(tmp_path, KEY).store(FILES)
    assert {p.name for p in tmp_path.iterdir()} == {f"cs_{KEY}", f".cs_{KEY}.new"}


def test_the_same_model_has_one_key_and_another_a_different_one(compile_model):
    first = compile_model(toy.model_fn, toy.input_fn)
    assert compile_model(toy.model_fn, toy.input_fn).path == first.path
    others = [
        compile_model(toy.model_fn, toy.input_fn, "eval"),
        compile_model(toy.model_fn, toy.input_fn, params={"width": 8}),
        compile_model(toy.model_fn, toy.input_fn, params={"learning_rate": 0.1}),
        compile_model(
            toy.model_fn, toy.input_fn, params={"runconfig": {"system": "wse3"}}
        ),
    ]
    assert len({other.path for other in others} | {first.path}) == 5


def test_a_compilation_holds_its_graph_and_report(compile_model):
    mapped = compile_model(*models.MODELS["lenet"])
    text = (mapped.path / "kernel_graph.json").read_text()
    assert KernelGraph.from_json(text) == mapped.graph
    assert json.loads(text)["batch_size"] == models.BATCH
    report = (mapped.path / "compile_report.txt").read_text()
    assert f"Kernels: {len(mapped.graph.kernels)}" in report
    assert mapped.partition in report


def with_optimizer(nesterov):
    def rule():
        return models.tf1.train.MomentumOptimizer(0.1, 0.9, use_nesterov=nesterov)

    return models.classifier(models.plain, rule)


def test_an_update_in_another_way_is_another_model(compile_model):
    first, second, again = (
        compile_model(with_optimizer(nesterov), models.images(1, 4)).path
        for nesterov in (True, False, True)
    )
    assert first != second
    assert first == again


def test_functions_with_gradients_of_their_own_have_one_key(compile_model):
    def network(x, training):
        return models.tf.nn.silu(models.plain(x, training))

    paths = {
        compile_model(models.classifier(network), models.images(1, 4)).path
        for _ in range(2)
    }
    assert len(paths) == 1


def test_a_partial_is_a_model_fn(compile_model):
    model_fn = functools.partial(toy.model_fn, params={"width": 4})
    assert compile_model(model_fn, toy.input_fn).kernels("dense")


def test_an_empty_manifest_is_damage(entry, caplog):
    (entry.path / "manifest.json").write_text("{}")
    assert entry.load() is None
    assert "manifest.json is not as it was written" in caplog.text
    entry.store(FILES)
    assert entry.load() == FILES


MODEL = """
import models

def model_fn(features, labels, mode, params):
    return models.classifier(network)(features, labels, mode, params)

def network(x, training):
    return models.layers.Dense(models.CLASSES)(models.layers.Flatten()(x))
"""


def test_the_key_follows_the_lines_that_a_compilation_names(compile_model, tmp_path):
    def key(before):
        path = tmp_path / "moved.py"
        path.write_text(before + MODEL)
        spec = importlib.util.spec_from_file_location("moved", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return compile_model(module.model_fn, models.images(1, 4)).path.name

    assert key("") == key("")
    assert key("") != key("# a line more\n")


@pytest.mark.parametrize("name", ["file", "file/inner"])
def test_a_folder_that_cannot_be_is_told_before_compiling(tmp_path, name):
    (tmp_path / "file").write_text("")
    place = str(tmp_path / name)
    estimator = CerebrasEstimator(lambda features: 1 / 0, compile_dir=place)
    with pytest.raises(UsageError, match=r"file.*Give another folder"):
        estimator.validate(toy.input_fn, "train")


def test_a_full_disk_is_told_and_left_as_it_was(tmp_path, full_disk):
    with full_disk(1000), pytest.raises(UsageError) as caught:
        Entry(tmp_path, KEY).store({"plan.json": "x" * 2000})
    assert f"{tmp_path}/cs_{KEY}: the compilation cannot be kept: " in str(caught.value)
    assert "Make room there" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_compilation_that_cannot_be_kept_ends_the_run(tmp_path, full_disk):
    estimator = CerebrasEstimator(toy.model_fn, str(tmp_path))
    with full_disk(1000), pytest.raises(UsageError, match="cannot be kept"):
        estimator.validate(toy.input_fn, "train")
    assert not list(tmp_path.iterdir())
