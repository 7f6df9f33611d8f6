"""`tf.estimator.inputs`: input functions over arrays in memory, as `tf.data`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import InputFnError


def numpy_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    queue_capacity: int = 1000,
    num_threads: int = 1,
) -> Callable[[], Any]:
    """An input_fn over arrays: it returns the tensors of a batch of x, or of (x, y).

    x, y: an array `[samples, ...]`, or a dict of such. Epochs run into one another; the
    last batch is smaller if samples are left. num_epochs None: for ever, and all
    batches are full. shuffle must be given: whether each epoch has another order.
    queue_capacity and num_threads are accepted; there is no queue.

    Raises InputFnError for arrays of different lengths and for other types.
    """
    if not isinstance(shuffle, bool):
        raise InputFnError(
            f"shuffle is {shuffle!r}: it must be provided and explicitly set as "
            "boolean; True is for training"
        )
    data = (x,) if y is None else (x, y)
    _check_arrays(data)

    def input_fn() -> Any:
        dataset = _batches(data, batch_size, num_epochs, shuffle)
        # Tensors, as it was: people unpack them in an input_fn of their own.
        iterator = tf1.data.make_initializable_iterator(dataset)
        tf1.add_to_collection(tf1.GraphKeys.TABLE_INITIALIZERS, iterator.initializer)
        return iterator.get_next()

    return input_fn


def pandas_input_fn(
    x: Any,
    y: Any = None,
    batch_size: int = 128,
    num_epochs: int | None = 1,
    shuffle: bool | None = None,
    queue_capacity: int = 1000,
    num_threads: int = 1,
    target_column: str = "target",
) -> Callable[[], Any]:
    """As numpy_input_fn, over the columns of a DataFrame: features are a dict.

    y: a Series, or a DataFrame, which gives a dict too. target_column is accepted; the
    labels have no name here.
    """
    return numpy_input_fn(
        _columns(x), y if y is None else _columns(y), batch_size, num_epochs, shuffle
    )


def _columns(frame: Any) -> Any:
    if not hasattr(frame, "columns"):
        return np.asarray(frame)
    return {str(name): np.asarray(frame[name]) for name in frame.columns}


def _check_arrays(data: tuple[Any, ...]) -> None:
    for name, value in zip("xy", data, strict=False):
        arrays = list(value.values()) if isinstance(value, Mapping) else [value]
        if not arrays or not all(isinstance(a, np.ndarray) for a in arrays):
            raise InputFnError(
                f"{name} must be a numpy array or a dict of some, given: "
                f"{type(value).__name__}"
                + (" of " * bool(arrays) + ", ".join(type(a).__name__ for a in arrays))
            )
    shapes = [a.shape for a in tf.nest.flatten(data)]
    if len({shape[:1] for shape in shapes}) > 1:
        raise InputFnError(
            "Length of tensors in x and y is mismatched: their shapes are "
            f"{', '.join(map(str, shapes))}, and the first dimensions must be the same"
        )


def _batches(
    data: tuple[Any, ...], batch_size: int, num_epochs: int | None, shuffle: bool
) -> tf.data.Dataset:
    flat = tf.nest.flatten(data)
    samples = len(flat[0])
    dataset = tf.data.Dataset.range(samples)
    if shuffle:
        dataset = dataset.shuffle(samples)
    dataset = dataset.repeat(num_epochs)
    dataset = dataset.batch(batch_size, drop_remainder=num_epochs is None)

    def gather(indices: tf.Tensor) -> Any:
        # The arrays stay in Python: constants would swell the graph, to 2 GB at most.
        dtypes = [tf.as_dtype(array.dtype) for array in flat]
        parts = tf.numpy_function(lambda i: [array[i] for array in flat], [indices],
                                  dtypes)  # fmt: skip
        for part, array in zip(parts, flat, strict=True):
            part.set_shape(indices.shape + array.shape[1:])
        packed = tf.nest.pack_sequence_as(data, parts)
        return packed if len(packed) > 1 else packed[0]

    return dataset.map(gather).prefetch(tf.data.AUTOTUNE)
