"""Input pipelines for an input_fn: the stages in their right order, bad records told.

Shard, shuffle, interleave, parse, shuffle, repeat, batch, skip, prefetch. Batches are
full, so that shapes are static. With a `shuffle_seed` (or without shuffling) the order
is the same in every run, and `skip_batches` goes on where a checkpoint stopped.

`config` is the `train_input` or `eval_input` section of params.yaml. A record that
cannot be parsed ends the run with BadRecordError, or, with `on_bad_record: skip`, is
left out, counted and logged.
"""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from wafer_runtime import stages
from wafer_runtime.errors import InputFnError, ParamsError
from wafer_runtime.records import Checked
from wafer_runtime.stages import Config, Finish

log = logging.getLogger("wafer_runtime")

_FILES_AT_ONCE = 4
_CALLS_A_BUFFER = 100
_GOES_ON = {
    "fail": "The data go on behind the %d batches seen: reading past their records",
    "skip": "The data go on behind the %d batches seen: their records are read and "
    "checked again, as on_bad_record: skip needs",
}


def files_in(config: Config, *patterns: str) -> list[str]:
    """The files in `data_dir` and its folders that fit one of the patterns, sorted.

    Hidden files are left out.

    Raises ParamsError when there is no data_dir, or nothing that fits in it.
    """
    if not config["data_dir"]:
        raise ParamsError(
            "data_dir: not set in train_input or eval_input of params.yaml; name the "
            f"folder that holds {' or '.join(patterns)}"
        )
    folder = Path(config["data_dir"])
    matches = (path for pattern in patterns for path in folder.rglob(pattern))
    found = {str(p) for p in matches if p.is_file() and not _is_hidden(p, folder)}
    if not found:
        state = "holds none" if folder.is_dir() else "is no folder"
        raise ParamsError(
            f"data_dir: {folder} {state}; wanted files named {' or '.join(patterns)}"
        )
    return sorted(found)


def class_folders(config: Config, *patterns: str) -> list[str]:
    """The names of the folders in `data_dir` that hold such files, or nothing; sorted.

    Empty ones too, so that a class that lost its files leaves the others their numbers.

    Raises ParamsError for a file in no folder, and for less than two classes.
    """
    found = [Path(file) for file in files_in(config, *patterns)]
    root = Path(config["data_dir"])
    if loose := [path for path in found if path.parent == root]:
        raise ParamsError(
            f"data_dir: {loose[0]} is in no folder of a class; wanted {root}/CLASS/FILE"
        )
    names = {path.parent.name for path in found}
    for folder, inner, files in os.walk(config["data_dir"]):
        inner[:] = [name for name in inner if not name.startswith(".")]
        if not inner and all(name.startswith(".") for name in files):
            names.add(Path(folder).name)
    if len(names) < 2:
        raise ParamsError(
            f"data_dir: {root} has one folder, {min(names)}, for all that is to be "
            "told apart; wanted one for each class"
        )
    return sorted(names)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def from_arrays(
    arrays: Any,
    config: Config,
    training: bool,
    run_config: Any = None,
    finish: Finish | None = None,
) -> tf.data.Dataset:
    """Batches of arrays in memory, which share their first dimension, the samples.

    arrays: a (nested) tuple or dict of arrays, [samples, ...] each. `finish(number,
    *batch)` is TensorFlow code that runs on each batch; `number` is the batch's, int64
    from 0: with it as a seed, random changes are the same after a restart.
    """
    flat = tf.nest.flatten(arrays)
    count = len(flat[0])
    if not count:
        raise InputFnError("The data hold not one sample; text has to fill a window")
    stages.check_fills_batches(count, config, training, run_config)
    dataset = stages.shard(tf.data.Dataset.range(count), run_config)
    dataset = stages.shuffled(dataset, count, config, training)
    dataset = stages.batches(dataset, config, training)

    def gather(number: tf.Tensor, indices: tf.Tensor) -> Any:
        # Not constants of the graph, which may hold no more than 2 GB.
        parts = tf.numpy_function(
            lambda i: [a[i] for a in flat], [indices], [a.dtype for a in flat]
        )
        for part, array in zip(parts, flat, strict=True):
            part.set_shape([indices.shape[0], *array.shape[1:]])
        return number, tf.nest.pack_sequence_as(arrays, parts)

    dataset = stages.mapped(dataset, gather, config)
    return stages.finished(dataset, finish, config)


def from_files(
    files: Sequence[str],
    read: Callable[[str], Iterable[Any]],
    parse: Callable[[Any], Any],
    spec: Any,
    config: Config,
    training: bool,
    run_config: Any = None,
    finish: Finish | None = None,
) -> tf.data.Dataset:
    """Batches of the records that `read(file)` yields, each turned into a sample.

    parse: `parse(record)` gives a sample in the structure of `spec` (TensorSpecs
    without the batch dimension), or raises ValueError. Training interleaves the files.
    A record is read, and shuffled, as pickled bytes, and parsed only when it is needed.
    """
    by_file = len(files) >= stages.shards(run_config)[0]
    checked = Checked(parse, spec, config)
    buffer = stages.buffer(spec)
    at_once = max(1, buffer // _CALLS_A_BUFFER)
    dataset = tf.data.Dataset.from_tensor_slices(list(files))
    if by_file:
        dataset = stages.shard(dataset, run_config)
    dataset = stages.shuffled(dataset, len(files), config, training)

    def records(file: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_generator(
            lambda name: checked.pickled(name.decode(), read, at_once),
            args=[file],
            output_signature=tf.TensorSpec([None], tf.string),
        ).unbatch()

    cycle = _FILES_AT_ONCE if training else 1
    dataset = dataset.interleave(records, cycle_length=cycle)
    if not by_file:
        dataset = stages.shard(dataset, run_config)
    dataset = stages.shuffled(dataset, buffer, config, training)
    return _loaded(dataset, checked.unpickled, at_once, spec, config, training, finish)


def from_items(
    items: Sequence[Any],
    parse: Callable[[Any], Any],
    spec: Any,
    config: Config,
    training: bool,
    run_config: Any = None,
    finish: Finish | None = None,
) -> tf.data.Dataset:
    """Batches of samples that `parse(item)` loads, several of them at once.

    For data of one file a sample: an item is a path, or a tuple that starts with one.
    `parse` and `spec` as in `from_files`.
    """
    checked = Checked(parse, spec, config)
    dataset = stages.shard(tf.data.Dataset.range(len(items)), run_config)
    dataset = stages.shuffled(dataset, len(items), config, training)
    if config["on_bad_record"] == "fail":
        stages.check_fills_batches(len(items), config, training, run_config)

    def load(index: int) -> list[Any] | None:
        item = items[index]
        where = item[0] if isinstance(item, tuple) else item
        return checked.sample(item, str(where))

    return _loaded(dataset, load, 1, spec, config, training, finish)


def _loaded(
    dataset: tf.data.Dataset,
    load: Callable[[Any], list[Any] | None],
    at_once: int,
    spec: Any,
    config: Config,
    training: bool,
    finish: Finish | None,
) -> tf.data.Dataset:
    """Batches of the samples that `load` makes of the elements; None is left out.

    `at_once` of them are loaded in one call, which by itself takes 0.1 ms.
    """
    flat_spec = tf.nest.flatten(spec)
    nothing = [np.zeros([0, *s.shape], s.dtype.as_numpy_dtype) for s in flat_spec]
    passed, seen = 0, config.get("skip_batches", 0)
    if seen:
        log.info(_GOES_ON[config["on_bad_record"]], seen)
    if config["on_bad_record"] == "fail":
        # Every element is a sample: those of batches already seen need no loading.
        passed = seen
        dataset = stages.repeated(dataset, training)
        dataset = dataset.skip(passed * config["batch_size"])

    def load_all(elements: Any) -> list[Any]:
        samples = [load(element) for element in elements]
        parts = zip(*(s for s in samples if s is not None), strict=True)
        return [np.stack(part) for part in parts] or nothing

    def loaded(elements: tf.Tensor) -> Any:
        parts = tf.numpy_function(load_all, [elements], [s.dtype for s in flat_spec])
        for part, s in zip(parts, flat_spec, strict=True):
            part.set_shape([None, *s.shape])
        return tf.nest.pack_sequence_as(spec, parts)

    dataset = stages.mapped(dataset.batch(at_once), loaded, config).unbatch()
    dataset = stages.batches(dataset, config, training, passed)
    return stages.finished(dataset, finish, config)
