"""Rows of three whole numbers in files, and their pipelines, for the tests of data."""

import csv
import json

import tensorflow as tf
from wafer_runtime.data import files_in
from wafer_runtime.schema import InputParams

SPEC = tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.int32)


def config(**given):
    return InputParams(batch_size=10, shuffle_seed=1).model_dump() | given


def written(folder):
    """Five files of twenty rows, [i, i + 1, -i], whose first numbers are 0 to 99."""
    for number in range(5):
        with (folder / f"{number}.csv").open("w") as file:
            rows = range(20 * number, 20 * number + 20)
            csv.writer(file).writerows([i, i + 1, -i] for i in rows)
    return files_in({"data_dir": str(folder)}, "*.csv")


def read(path):
    with open(path, newline="") as file:
        yield from csv.reader(file)


def parse(row):
    first, second, label = map(int, row)
    return (first, second), label


def parse_file(path):
    with open(path) as file:
        numbers = json.load(file)
    return (numbers[0], numbers[1]), numbers[2]


def batches(dataset, count=None):
    return list(dataset.take(count or -1).as_numpy_iterator())
