"""Input pipelines: order, restart, shards, static shapes."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import SPEC, batches, config, parse, parse_file, read, written
from wafer_runtime.data import (
    class_folders,
    files_in,
    from_arrays,
    from_files,
    from_items,
)
from wafer_runtime.errors import InputFnError, ParamsError
from wafer_runtime.estimator import CSRunConfig

X = np.arange(100)[:, None] + [0, 1]


@pytest.fixture
def files(tmp_path):
    return written(tmp_path)


def arrays_pipeline(given, training, run_config=None):
    return from_arrays((X, -X[:, 0]), given, training, run_config)


@pytest.fixture
def make(request, files, tmp_path):
    """`make(config, training)` for each of the three kinds of pipeline."""
    items = []
    for i in range(100):
        items.append(str(tmp_path / f"{i:03}.json"))
        (tmp_path / items[-1]).write_text(json.dumps([i, i + 1, -i]))

    def from_csv(*words):
        return from_files(files, read, parse, SPEC, *words)

    def from_json(*words):
        return from_items(items, parse_file, SPEC, *words)

    kinds = {"arrays": arrays_pipeline, "files": from_csv, "items": from_json}
    return kinds[request.param]


every_kind = pytest.mark.parametrize(
    "make", ["arrays", "files", "items"], indirect=True
)


@every_kind
def test_evaluation_gives_every_sample_once_in_order(make):
    dataset = make(config(batch_size=20), False)
    assert dataset.element_spec[0].shape == (20, 2)
    assert dataset.element_spec[1].shape == (20,)
    found = batches(dataset)
    labels = np.concatenate([y for _, y in found])
    firsts = np.concatenate([x[:, 0] for x, _ in found])
    np.testing.assert_array_equal(labels, -firsts)
    assert len(labels) == 100
    assert (np.diff(labels) < 0).all()


@every_kind
def test_training_shuffles_each_epoch_anew_and_repeats(make):
    found = batches(make(config(shuffle=True), True), 20)
    labels = np.concatenate([y for _, y in found])
    first, second = labels[:100].tolist(), labels[100:].tolist()
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 100
    assert first != sorted(first)
    assert first != second


@every_kind
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_later_start_sees_the_batches_that_come_then(make, shuffle):
    whole = batches(make(config(shuffle=shuffle), True), 25)
    later = batches(make(config(shuffle=shuffle, skip_batches=13), True), 12)
    np.testing.assert_equal(later, whole[13:])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("bad", ["fail", "skip"])
def test_a_later_start_loads_only_the_items_that_come_then(shuffle, bad):
    def start(batch):
        loaded = []

        def load(item):
            loaded.append(item)
            return (item, item + 1), -item

        given = config(shuffle=shuffle, on_bad_record=bad, num_parallel_calls=1)
        given |= {"skip_batches": batch}
        words = range(100), load, SPEC, given, True, None, lambda *parts: parts
        return from_items(*words), loaded

    from_start, all_loaded = start(0)
    whole = batches(from_start, 25)
    dataset, loaded = start(23)
    np.testing.assert_equal(batches(dataset, 2), whole[23:])  # and their numbers
    if bad == "fail":
        assert loaded[:20] == all_loaded[230:250]
        assert len(loaded) < 230  # some are fetched ahead
    else:
        assert loaded[:250] == all_loaded[:250]


@pytest.mark.parametrize("bad", ["fail", "skip"])
def test_a_later_start_parses_only_the_records_that_come_then(files, caplog, bad):
    caplog.set_level("INFO", "wafer_runtime")
    parsed = []

    def note(row):
        parsed.append(row)
        return parse(row)

    given = config(shuffle=True, on_bad_record=bad, skip_batches=200)
    batches(from_files(files, read, note, SPEC, given, True), 1)
    [told] = caplog.messages
    assert told.startswith("The data go on behind the 200 batches seen: ")
    assert (len(parsed) < 1000) is (bad == "fail")  # some are fetched ahead


known_size = pytest.mark.parametrize("make", ["arrays", "items"], indirect=True)


@known_size
def test_an_evaluation_says_how_many_samples_fill_no_batch(make, caplog):
    caplog.set_level("INFO", "wafer_runtime")
    assert len(batches(make(config(batch_size=30), False))) == 3
    told = "10 of 100 samples are left out: they do not fill a batch of 30"
    assert caplog.messages == [told]
    caplog.clear()
    make(config(batch_size=20), False)
    make(config(batch_size=30), True)
    assert caplog.messages == []


@known_size
def test_an_evaluation_of_less_than_a_batch_is_an_error(make):
    told = "^100 samples are too few for one batch: batch_size of eval_input is 101, .*"
    with pytest.raises(InputFnError, match=told):
        make(config(batch_size=101), False)
    assert len(batches(make(config(batch_size=101), True), 2)) == 2


@every_kind
def test_workers_share_the_samples(make, monkeypatch):
    seen = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
        text = json.dumps({"cluster": cluster, "task": task})
        monkeypatch.setenv("TF_CONFIG", text)
        found = batches(make(config(batch_size=2), False, CSRunConfig()))
        seen += [np.concatenate([y for _, y in found]).tolist()]
    assert sorted(seen[0] + seen[1]) == list(range(-99, 1))
    assert 40 <= len(seen[0]) <= 60


def test_arrays_are_no_constants_of_the_graph(tmp_path):
    big = np.zeros((1000, 1000), np.float32)
    with tf.Graph().as_default() as graph:
        dataset = from_arrays((big, big[:, 0]), config(), True)
        tf.compat.v1.data.make_initializable_iterator(dataset)
        assert graph.as_graph_def().ByteSize() < 100_000


def test_finish_runs_on_batches(files):
    def finish(number, x, y):
        assert x.shape == (10, 2)
        return {"x": x * 2, "number": number}, y

    given = config(skip_batches=4)
    dataset = from_files(files, read, parse, SPEC, given, False, None, finish)
    features, _ = batches(dataset, 1)[0]
    assert features["x"].tolist()[1] == [82, 84]
    assert features["number"] == 4


def test_hidden_files_are_no_data(tmp_path):
    for name in ("a/b.csv", ".cache/c.csv", "a/.d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1,2,3\n")
    assert files_in({"data_dir": str(tmp_path)}, "*") == [str(tmp_path / "a/b.csv")]


def test_empty_folders_are_classes_and_others_without_such_files_are_not(tmp_path):
    for name in ("pets/cat/1.png", "dog/2.png", "notes/a.txt", ".git/3.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
    for name in ("bird", "eel", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "eel" / ".DS_Store").write_text("")
    found = class_folders({"data_dir": str(tmp_path)}, "*.png")
    assert found == ["bird", "cat", "dog", "eel"]


@pytest.mark.parametrize(
    ("data_dir", "message"),
    [
        (None, "data_dir: not set"),
        ("nowhere", "is no folder"),
        (".", "holds none; wanted files named *.csv or *.tsv"),
    ],
)
def test_missing_data_are_told_with_what_was_wanted(tmp_path, data_dir, message):
    given = {"data_dir": data_dir and str(tmp_path / data_dir)}
    with pytest.raises(ParamsError) as told:
        files_in(given, "*.csv", "*.tsv")
    assert message in str(told.value)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 12), st.booleans())
def test_any_start_of_any_size_goes_on_in_the_same_order(samples, size, skip, shuffle):
    arrays = (np.arange(samples), np.arange(samples))
    given_ = config(batch_size=size, shuffle=shuffle)
    whole = batches(from_arrays(arrays, given_, True), skip + 3)
    later = batches(from_arrays(arrays, given_ | {"skip_batches": skip}, True), 3)
    np.testing.assert_equal(later, whole[skip:])


def test_no_sample_at_all_is_an_error():
    with pytest.raises(InputFnError, match="hold not one sample"):
        from_arrays(np.zeros([0, 3]), config(), True)


def test_large_samples_are_shuffled_within_memory(tmp_path):
    (tmp_path / "a").write_text("")
    read_so_far = []

    def big(_):
        for number in range(200):
            read_so_far.append(number)
            yield number

    spec = tf.TensorSpec([4 << 20], tf.float32), tf.TensorSpec([], tf.int32)
    given = config(batch_size=1, shuffle=True)
    dataset = from_files(
        [str(tmp_path / "a")],
        big,
        lambda n: (np.zeros(4 << 20, np.float32), n),
        spec,
        given,
        True,
    )
    batches(dataset, 1)
    # 256 MB, at 16 MB each, and what is on its way.
    assert len(read_so_far) < 40
