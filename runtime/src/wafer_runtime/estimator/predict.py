"""Prediction: the model's outputs, sample by sample, and their file."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from wafer_runtime.errors import InputFnError, ModelFnError, did_you_mean
from wafer_runtime.estimator import checkpoints, sessions
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.loop import NO_BATCH
from wafer_runtime.estimator.sessions import Setup
from wafer_runtime.estimator.specs import ModeKeys


def predict(
    setup: Setup,
    input_fn: UserFn,
    predict_keys: Sequence[str] | str | None,
    hooks: Sequence[Any],
    checkpoint_path: str | None,
    yield_single_examples: bool,
    num_samples: int | None,
) -> Iterator[Any]:
    """Yield predictions lazily: a sample's (dict of) arrays, or a whole batch's."""
    path = checkpoint_path or checkpoints.latest(setup.model_dir)
    batches = _batches(*_open(setup, input_fn, predict_keys, hooks, path))
    if yield_single_examples:
        yield from islice(_samples(batches), num_samples)
    else:
        yield from batches


def save_predictions(path: Path, predictions: Iterable[Any]) -> int:
    """Write single-sample predictions to an .npz file and return how many there were.

    The file holds one array, `arr_0`, of shape [samples]: `arr_0[i]["name"]` is a
    sample's value and `arr_0["name"]` everybody's. Loading it needs no pickle. Text is
    stored as numpy's bytes, which lose NULs at the end. Raises InputFnError if there
    are none.
    """
    samples = list(predictions)
    if not samples:
        raise InputFnError(NO_BATCH)
    table = _as_array(samples)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    np.savez(partial, table)
    partial.replace(path)
    return len(samples)


def _as_array(samples: list[Any]) -> Any:
    if not isinstance(samples[0], Mapping):
        return _column("predictions", samples)
    columns = {name: _column(name, [s[name] for s in samples]) for name in samples[0]}
    dtype = [(name, c.dtype, c.shape[1:]) for name, c in columns.items()]
    table = np.empty(len(samples), dtype)
    for name, column in columns.items():
        table[name] = column
    return table


def _column(name: str, values: list[Any]) -> Any:
    shapes = sorted({np.shape(value) for value in values})
    if len(shapes) > 1:
        raise ModelFnError(
            f'"{name}" has samples of different shapes, {shapes[0]} and {shapes[-1]}, '
            "which one array cannot hold. Pad them in model_fn, or leave them out."
        )
    column = np.array(values)
    # TensorFlow's strings come as objects, which only pickle can store.
    return column.astype(bytes) if column.dtype == object else column


def _batches(session: Any, wanted: Any) -> Iterator[Any]:
    with session:
        while not session.should_stop():
            try:
                batch = session.run(wanted)
            except tf.errors.OutOfRangeError:
                return
            try:
                yield batch
            except GeneratorExit:
                return  # enough samples: an end like any other, for the hooks too


def _open(
    setup: Setup,
    input_fn: UserFn,
    predict_keys: Sequence[str] | str | None,
    hooks: Sequence[Any],
    path: str | None,
) -> tuple[Any, Any]:
    """The session and what to fetch; the graph is not left as the caller's default."""
    with sessions.built_graph(setup, input_fn, ModeKeys.PREDICT) as built:
        checkpoints.prepare(path, setup.warm_start, built.spec.scaffold)
        wanted = _select(built.spec.predictions, predict_keys)
        all_hooks = [*hooks, *built.spec.prediction_hooks]
        session = sessions.open_session(
            setup.config, built, all_hooks, checkpoint_filename_with_path=path
        )
    return session, wanted


def _select(predictions: Any, keys: Sequence[str] | str | None) -> Any:
    if keys is None:
        return predictions
    names = [keys] if isinstance(keys, str) else list(keys)
    if not isinstance(predictions, Mapping):
        raise ModelFnError(
            f"predict_keys is {names}, but the model predicts one tensor, not a dict."
        )
    for name in names:
        if name not in predictions:
            raise ModelFnError(
                f'The model predicts no "{name}"{did_you_mean(name, predictions)}; it '
                f"predicts {', '.join(predictions)}."
            )
    return {name: predictions[name] for name in names}


def _samples(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        if not isinstance(batch, Mapping):
            yield from batch
            continue
        shapes = {name: np.shape(value) for name, value in batch.items()}
        if len({shape[:1] for shape in shapes.values()}) > 1 or () in shapes.values():
            raise ModelFnError(
                f"Predictions have different batch sizes: {shapes}. Give all of them "
                "the batch dimension, or call predict(yield_single_examples=False)."
            )
        for i in range(next(iter(shapes.values()))[0]):
            yield {name: value[i] for name, value in batch.items()}
