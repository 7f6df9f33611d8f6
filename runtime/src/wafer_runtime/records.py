"""Records of data: reading them, and telling or counting those that are bad."""

import csv
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from google.protobuf.message import DecodeError

from wafer_runtime.errors import BadRecordError, InputFnError

log = logging.getLogger("wafer_runtime")

# What a reader raises for data that are not as they should be; all else is a bug.
_BAD = (ValueError, LookupError, OSError, EOFError, csv.Error, tf.errors.OpError)


def read_tfrecords(path: str) -> Iterator[bytes]:
    """The records of a TFRecord file; DataLossError where it is damaged or cut off."""
    yield from tf1.io.tf_record_iterator(path)


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


class Checked:
    """Turns records into samples of a spec; tells or counts those that are bad."""

    def __init__(
        self, parse: Callable[[Any], Any], spec: Any, config: Mapping[str, Any]
    ):
        self._parse = parse
        self._spec = spec
        self._skip = config["on_bad_record"] == "skip"
        self._lock = threading.Lock()
        self._skipped = 0

    def samples(self, file: str, read: Callable[[str], Iterable[Any]]) -> Iterator[Any]:
        """The good samples of a file, in the spec's structure."""
        records = iter(read(file))
        number = 0
        while True:
            number += 1
            where = f"{file}, record {number}"
            try:
                record = next(records)
            except StopIteration:
                return
            except _BAD as error:
                # What the reader cannot read, it cannot read on from either.
                self._tell(f"{where} and all after it", error)
                return
            sample = self.sample(record, where)
            if sample is not None:
                yield tf.nest.pack_sequence_as(self._spec, sample)

    def sample(self, record: Any, where: str) -> list[Any] | None:
        """The parts of a sample, or None for a bad record that is skipped."""
        try:
            parts = _parts(self._spec, self._parse(record))
            specs = tf.nest.flatten(self._spec)
            return [_as_array(p, s) for p, s in zip(parts, specs, strict=True)]
        except _BAD as error:
            self._tell(where, error)
            return None

    def _tell(self, where: str, error: Exception) -> None:
        reason = getattr(error, "message", None) or str(error) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"there is no {reason}"
        if not self._skip:
            raise BadRecordError(
                f"{where}: {reason}. Correct or remove it, or set on_bad_record: skip"
            ) from error
        with self._lock:
            self._skipped += 1
            log.warning("Skipped %s: %s (%d so far)", where, reason, self._skipped)


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
    return array


def check_classes(labels: Any, num_classes: int) -> Any:
    """The labels as int32; InputFnError unless all are from 0 to num_classes - 1."""
    if np.asarray(labels).dtype.kind not in "iu":
        raise InputFnError(f"labels are {labels.dtype}; wanted whole numbers")
    wrong = np.flatnonzero((np.asarray(labels) < 0) | (labels >= num_classes))
    if len(wrong):
        raise InputFnError(
            f"sample {wrong[0]} has label {labels[wrong[0]]}, and "
            f"{len(wrong) - 1} others are wrong too: the {num_classes} classes "
            "(num_classes in params.yaml) are numbered from 0"
        )
    return np.asarray(labels, np.int32)
