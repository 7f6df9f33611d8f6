"""Bad records: each is named, or skipped and counted."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy
from rows import SPEC, batches, config, parse, parse_file, read, written
from wafer_runtime.data import files_in, from_files, from_items
from wafer_runtime.errors import BadRecordError, InputFnError
from wafer_runtime.records import BadRecords, check_classes, read_tfrecords


@pytest.fixture
def files(tmp_path):
    return written(tmp_path)


BAD_ROWS = {
    "1,2": "not enough values to unpack",
    "1,2,x": "invalid literal for int",
    "": "not enough values to unpack",
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_record_is_named(files, row):
    lines = Path(files[2]).read_text().splitlines()
    lines[6] = row
    Path(files[2]).write_text("\n".join(lines))
    dataset = from_files(files, read, parse, SPEC, config(), False)
    told = f"BadRecordError: {files[2]}, record 7: .*{BAD_ROWS[row]}.*on_bad_record"
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        batches(dataset)


def test_bad_records_are_skipped_and_counted_if_told_so(files, caplog):
    for name in files[1:3]:
        text = (
            Path(name).read_text().replace("21,22,", "21,x,").replace("41,42,", "41,y,")
        )
        Path(name).write_text(text)
    given = config(batch_size=1, on_bad_record="skip")
    found = batches(from_files(files, read, parse, SPEC, given, False))
    assert len(found) == 98
    assert f"Skipped {files[1]}, record 2: invalid literal" in caplog.text
    assert f"Skipped {files[2]}, record 2: " in caplog.text
    assert "(2 so far)" in caplog.text


@pytest.mark.parametrize("skip", [True, False])
def test_a_file_that_breaks_off_is_named_or_left_there(files, caplog, skip):
    def breaks_off(path):
        for number, row in enumerate(read(path)):
            if path == files[1] and number == 5:
                raise OSError("cut off")
            yield row

    given = config(batch_size=1, on_bad_record="skip" if skip else "fail")
    dataset = from_files(files, breaks_off, parse, SPEC, given, False)
    told = f"{files[1]}, record 6 and all after it: cut off"
    if skip:
        assert len(batches(dataset)) == 85
        assert told in caplog.text
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match=told):
            batches(dataset)


def test_a_sample_of_another_shape_is_bad(files):
    spec = tf.TensorSpec([3], tf.int32), tf.TensorSpec([], tf.int32)
    dataset = from_files(files, read, parse, spec, config(), False)
    told = r"0.csv, record 1: its shape is \(2,\), wanted \(3,\)"
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        batches(dataset)


@pytest.mark.parametrize("skip", [True, False])
def test_a_bad_item_is_named_or_skipped(tmp_path, caplog, skip):
    items = [str(tmp_path / f"{i}.json") for i in range(6)]
    for i, item in enumerate(items):
        Path(item).write_text(json.dumps([i, i, i]) if i != 2 else "{")
    given = config(batch_size=1, on_bad_record="skip" if skip else "fail")
    dataset = from_items(items, parse_file, SPEC, given, False)
    told = f"{items[2]}: Expecting property name"
    if skip:
        assert [y.tolist() for _, y in batches(dataset)] == [[0], [1], [3], [4], [5]]
        assert told in caplog.text
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match=told):
            batches(dataset)


def test_a_bug_in_a_parser_is_not_taken_for_bad_data(files):
    given = config(on_bad_record="skip")
    dataset = from_files(files, read, lambda row: undefined, SPEC, given, False)  # noqa: F821
    with pytest.raises(tf.errors.UnknownError, match="NameError"):
        batches(dataset)


def test_a_training_with_a_bad_record_ends_with_one_line(tmp_path, capsys):
    from wafer_runtime import runner

    (tmp_path / "a.csv").write_text("1,2,0\n3,x,1\n")
    params = tmp_path / "params.yaml"
    params.write_text(f"runconfig: {{max_steps: 9, model_dir: {tmp_path / 'model'}}}")

    def input_fn(params):
        return from_files(
            files_in({"data_dir": str(tmp_path)}, "*.csv"),
            read,
            parse,
            SPEC,
            config(batch_size=1),
            True,
            None,
            lambda _, x, y: (tf.cast(tf.tile(x, [1, 4]), tf.float32), y),
        )

    code = runner.main(
        lambda: (toy.model_in_section, input_fn),
        argv=["-p", str(params), "-m", "train"],
    )
    assert code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"Error: {tmp_path}/a.csv, record 2: invalid literal")


def test_labels_out_of_range_are_named():
    with pytest.raises(InputFnError, match="sample 2 has label 3, and 1 others"):
        check_classes(np.array([0, 2, 3, -1]), 3)
    assert check_classes(np.array([0, 2]), 3).dtype == np.int32


def test_labels_that_are_no_whole_numbers_are_refused():
    with pytest.raises(InputFnError, match="labels are float64; wanted whole numbers"):
        check_classes(np.array([0.5, np.nan]), 3)


LABELS = {
    "out of range": (np.array([0, 3, 1, -1]), "label 3 is"),
    "no whole numbers": (np.array([0.0, 0.5, 1, np.nan]), "label 0.5 is"),
    "of pixels": (np.array([[0, 1], [2, 7], [2, 2], [-1, 0]]), "label 7 is"),
}


@pytest.mark.parametrize(("y", "told"), LABELS.values(), ids=list(LABELS))
def test_samples_with_wrong_labels_are_named_or_left_out(y, told, caplog):
    x = np.arange(4)
    with pytest.raises(BadRecordError) as error:
        BadRecords(config()).good_samples("a.npz", x, y, 3)
    where = f"a.npz, sample 1 (from 0) and 1 others: {told} not from 0 to 2"
    assert where in str(error.value)
    bad = BadRecords(config(on_bad_record="skip"))
    kept, labels = bad.good_samples("a.npz", x, y, 3)
    assert kept.tolist() == [0, 2]
    assert labels.dtype == np.int32
    assert labels.tolist() == y[[0, 2]].tolist()
    assert f"Skipped {where} (model.num_classes) (2 so far)" in caplog.text


def test_samples_with_numbers_that_are_not_finite_are_left_out(caplog):
    x, y = np.array([[1, 2], [np.nan, 1], [0, 0], [-np.inf, 3]]), np.array([0, 9, 7, 0])
    bad = BadRecords(config(on_bad_record="skip"))
    kept, labels = bad.good_samples("a.npz", x, y, 3)
    assert (kept.tolist(), labels.tolist()) == ([[1, 2]], [0])
    found = "a.npz, sample 1 (from 0) and 1 others: x holds a number not finite"
    assert f"Skipped {found} (2 so far)" in caplog.text
    assert "a.npz, sample 2 (from 0): label 7 is not from 0 to 2" in caplog.text
    assert "(3 so far)" in caplog.text


def test_a_damaged_archive_is_named_or_skipped(tmp_path, caplog):
    files = [str(tmp_path / name) for name in ("a.npz", "b.npz", "c.npz")]
    for file in files:
        np.savez_compressed(file, x=np.arange(1000))
    damaged = bytearray(Path(files[1]).read_bytes())
    damaged[200] ^= 255
    Path(files[1]).write_bytes(damaged)
    Path(files[2]).write_bytes(damaged[:100])

    def load(file):
        with np.load(file) as arrays:
            return arrays["x"]

    with pytest.raises(BadRecordError, match=r"b.npz: "):
        BadRecords(config()).load(files, load)
    skipping = BadRecords(config(on_bad_record="skip"))
    assert list(skipping.load(files, load)) == files[:1]
    assert "(2 so far)" in caplog.text
    with pytest.raises(BadRecordError, match="all other files, 2 together, are bad"):
        skipping.load(files[1:], load)


def test_a_missing_feature_is_named(files):
    dataset = from_files(files, read, lambda row: {}["x"], SPEC, config(), False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="there is no 'x'"):
        batches(dataset)


@pytest.fixture
def tfrecords(tmp_path):
    """A file of five records of ten bytes, 26 bytes each as they are stored."""
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(5):
            writer.write(b"%010d" % number)
    return path


def counted(record):
    return (int(record), 0), 0


@pytest.mark.parametrize("left", range(1, 26))
def test_a_tfrecord_file_cut_at_any_byte_is_named_or_read_so_far(
    tfrecords, caplog, left
):
    whole = tfrecords.read_bytes()
    good = tfrecords.with_name("b.tfrecord")
    good.write_bytes(whole)
    tfrecords.write_bytes(whole[: 52 + left])
    files = [str(tfrecords), str(good)]
    told = f"{tfrecords}, record 3 and all after it: truncated record"
    dataset = from_files(files, read_tfrecords, counted, SPEC, config(), False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        batches(dataset)
    given = config(batch_size=1, on_bad_record="skip")
    dataset = from_files(files, read_tfrecords, counted, SPEC, given, False)
    assert [x[0, 0] for x, _ in batches(dataset)] == [0, 1, 0, 1, 2, 3, 4]
    assert told in caplog.text


@pytest.mark.parametrize("skip", [True, False])
def test_a_file_without_records_is_named(tfrecords, caplog, skip):
    empty = tfrecords.with_name("b.tfrecord")
    empty.write_bytes(b"")
    files = [str(tfrecords), str(empty)]
    given = config(batch_size=1, on_bad_record="skip" if skip else "fail")
    dataset = from_files(files, read_tfrecords, counted, SPEC, given, False)
    told = f"{empty}: holds no record"
    if skip:
        assert len(batches(dataset)) == 5
        assert told in caplog.text
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match=told):
            batches(dataset)


def test_what_is_skipped_in_every_epoch_is_counted_once(files, caplog):
    lines = Path(files[0]).read_text().splitlines()
    Path(files[0]).write_text("\n".join(["1,2,x"] * 15 + lines[15:]))
    Path(files[1]).write_text("1,2,x\n" * 90)
    given = config(on_bad_record="skip")
    batches(from_files(files, read, parse, SPEC, given, True), 30)
    totals = [m.rpartition("(")[2] for m in caplog.messages if m.startswith("Skipped")]
    assert totals == [*(f"{n} so far)" for n in range(1, 11)), "100 so far)"]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_bad(files, number):
    spec = tf.TensorSpec([2], tf.float32), tf.TensorSpec([], tf.int32)
    dataset = from_files(
        files, read, lambda row: ((1, number), 0), spec, config(), False
    )
    told = f"0.csv, record 1: it holds {number}, no finite number"
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        batches(dataset)
