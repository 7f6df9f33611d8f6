"""Records of data: reading them, and telling or counting those that are bad."""

import csv
import itertools
import logging
import os
import pickle
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from zipfile import BadZipFile

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from google.protobuf.message import DecodeError

from wafer_runtime.errors import BadRecordError, InputFnError

log = logging.getLogger("wafer_runtime")

# What a reader raises for data that are not as they should be; all else is a bug.
_BAD = (
    ValueError, LookupError, OSError, EOFError, csv.Error, tf.errors.OpError,
    BadZipFile, zlib.error,
)  # fmt: skip


# Of a TFRecord: its length (8 bytes) and the two checksums (4 each), TensorFlow's
# record_writer.h.
_FRAME_BYTES = 16
_TOLD_EACH = 10


def read_tfrecords(path: str) -> Iterator[bytes]:
    """The records of a TFRecord file.

    Raises DataLossError where it is damaged, and that or EOFError where it is cut off.
    """
    read_bytes = 0
    for record in tf1.io.tf_record_iterator(path):
        read_bytes += len(record) + _FRAME_BYTES
        yield record
    # TensorFlow takes less than a record's first 12 bytes for the end of the file.
    if rest := os.path.getsize(path) - read_bytes:
        raise EOFError(f"truncated record: {rest} bytes are less than its header")


def parse_example(record: bytes) -> dict[str, Any]:
    """The features of a serialised tf.train.Example: arrays, or lists of bytes.

    Raises ValueError if it is none.
    """
    try:
        example = tf.train.Example.FromString(record)
    except DecodeError:
        raise ValueError("is no tf.train.Example") from None
    return {
        name: _values(feature) for name, feature in example.features.feature.items()
    }


def _values(feature: Any) -> Any:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return []
    values = getattr(feature, kind).value
    return list(values) if kind == "bytes_list" else np.array(values)


class BadRecords:
    """Ends the run at a bad record, or counts and logs it, as `on_bad_record` says."""

    def __init__(self, config: Mapping[str, Any]):
        self._skip = config["on_bad_record"] == "skip"
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._skipped = 0

    def load(self, files: Sequence[str], load: Callable[[str], Any]) -> dict[str, Any]:
        """`load(file)` of each file; it raises ValueError for a bad one."""
        loaded = {}
        for file in files:
            try:
                loaded[file] = load(file)
            except _BAD as error:
                self.tell(file, error)
        if files and not loaded:
            raise BadRecordError(
                f"{files[0]} and all other files, {len(files)} together, are bad; the "
                "log says why. Correct them, or name another data_dir"
            )
        return loaded

    def good_samples(self, file: str, x: Any, y: Any, num_classes: int) -> Any:
        """x and y, int32, without the samples that have a bad number.

        x: [samples, ...], any finite numbers. y: [samples, ...], classes.
        """
        is_good = _all_of_sample(np.isfinite(x))
        self._tell_samples(file, is_good, lambda _: "x holds a number not finite")
        are_classes = _are_classes(y, num_classes)

        def reason(i: int) -> str:
            labels = y[i].ravel()
            label = labels[~_are_classes(labels, num_classes)][0]
            limit = f"{num_classes - 1} (model.num_classes)"
            return f"label {label} is not from 0 to {limit}"

        self._tell_samples(file, are_classes | ~is_good, reason)
        is_good &= are_classes
        return x[is_good], y[is_good].astype(np.int32)

    def _tell_samples(
        self, file: str, is_good: Any, reason: Callable[[int], str]
    ) -> None:
        wrong = np.flatnonzero(~is_good)
        if len(wrong):
            others = f" and {len(wrong) - 1} others" if len(wrong) > 1 else ""
            where = f"{file}, sample {wrong[0]} (from 0){others}"
            self.tell(where, ValueError(reason(wrong[0])), len(wrong))

    def tell(self, where: str, error: Exception, count: int = 1) -> None:
        """Raises BadRecordError, or counts `count` bad records, once for each `where`.

        The log has the first ten of them, then each that fills a power of ten.
        """
        reason = getattr(error, "message", None) or str(error) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"there is no {reason}"
        if isinstance(error, UnicodeDecodeError):
            reason = f"is no text in UTF-8: {reason}"
        if not self._skip:
            raise BadRecordError(
                f"{where}: {reason}. Correct or remove it, or set on_bad_record: skip"
            ) from None
        with self._lock:
            if where in self._told:  # in an earlier epoch
                return
            self._told.add(where)
            before, self._skipped = self._skipped, self._skipped + count
            if before < _TOLD_EACH or len(str(before)) < len(str(self._skipped)):
                log.warning("Skipped %s: %s (%d so far)", where, reason, self._skipped)


class Checked:
    """Turns records into samples of a spec; tells or counts those that are bad."""

    def __init__(
        self, parse: Callable[[Any], Any], spec: Any, config: Mapping[str, Any]
    ):
        self._parse = parse
        self._spec = spec
        self._bad = BadRecords(config)

    def pickled(
        self, file: str, read: Callable[[str], Iterable[Any]], at_once: int
    ) -> Iterator[list[bytes]]:
        """The records of a file with where they are, in lists of up to `at_once`."""
        records = self._records(file, read)
        while some := [
            pickle.dumps(each) for each in itertools.islice(records, at_once)
        ]:
            yield some

    def unpickled(self, record: bytes) -> list[Any] | None:
        """The parts of the sample in a pickled record; None for a bad one."""
        where, content = pickle.loads(record)
        return self.sample(content, where)

    def _records(
        self, file: str, read: Callable[[str], Iterable[Any]]
    ) -> Iterator[tuple[str, Any]]:
        records = iter(read(file))
        for number in itertools.count(1):
            where = f"{file}, record {number}"
            try:
                yield where, next(records)
            except StopIteration:
                if number == 1:
                    self._bad.tell(file, ValueError("holds no record"))
                return
            except _BAD as error:
                # What the reader cannot read, it cannot read on from either.
                self._bad.tell(f"{where} and all after it", error)
                return

    def sample(self, record: Any, where: str) -> list[Any] | None:
        """The parts of a sample, or None for a bad record that is skipped."""
        try:
            parts = _parts(self._spec, self._parse(record))
            specs = tf.nest.flatten(self._spec)
            return [_as_array(p, s) for p, s in zip(parts, specs, strict=True)]
        except _BAD as error:
            self._bad.tell(where, error)
            return None


def _parts(spec: Any, sample: Any) -> list[Any]:
    """`sample` flattened as far as `spec` goes, in the order of tf.nest."""
    if isinstance(spec, Mapping):
        return [part for key in sorted(spec) for part in _parts(spec[key], sample[key])]
    if isinstance(spec, tuple):
        pairs = zip(spec, sample, strict=True)
        return [part for inner, value in pairs for part in _parts(inner, value)]
    return [sample]


def _as_array(value: Any, spec: tf.TensorSpec) -> Any:
    array = np.asarray(value, spec.dtype.as_numpy_dtype)
    if not spec.shape.is_compatible_with(array.shape):
        raise ValueError(f"its shape is {array.shape}, wanted {tuple(spec.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"it holds {array[~np.isfinite(array)][0]}, no finite number")
    return array


def check_classes(labels: Any, num_classes: int) -> Any:
    """The labels as int32; InputFnError unless all are from 0 to num_classes - 1."""
    if np.asarray(labels).dtype.kind not in "iu":
        raise InputFnError(f"labels are {labels.dtype}; wanted whole numbers")
    wrong = np.flatnonzero(~_are_classes(labels, num_classes))
    if len(wrong):
        raise InputFnError(
            f"sample {wrong[0]} has label {labels[wrong[0]]}, and "
            f"{len(wrong) - 1} others are wrong too: the {num_classes} classes "
            "(num_classes in params.yaml) are numbered from 0"
        )
    return np.asarray(labels, np.int32)


def _are_classes(labels: Any, num_classes: int) -> Any:
    """bool [samples]: whether all labels of a sample are from 0 to num_classes - 1."""
    return _all_of_sample(np.isin(labels, np.arange(num_classes)))


def _all_of_sample(is_good: Any) -> Any:
    """bool [samples] of bool [samples, ...]."""
    return is_good.all(axis=tuple(range(1, is_good.ndim)))
