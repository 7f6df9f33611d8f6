"""The stages that the pipelines of wafer_runtime.data are put together from."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from wafer_runtime.errors import InputFnError

log = logging.getLogger("wafer_runtime")

Config = Mapping[str, Any]
Finish = Callable[..., Any]
_SHUFFLED_RECORDS = 10_000
_SHUFFLED_BYTES = 2**28


def shuffled(
    dataset: tf.data.Dataset, buffer: int, config: Config, training: bool
) -> tf.data.Dataset:
    """Shuffled anew in each epoch, if told so for training."""
    if training and config["shuffle"]:
        return dataset.shuffle(buffer, seed=config["shuffle_seed"])
    return dataset


def buffer(spec: Any) -> int:
    """How many samples to shuffle among: as many as memory has room for."""
    parts = tf.nest.flatten(spec)
    size = sum((s.shape.num_elements() or 1) * s.dtype.size for s in parts)
    return max(1, min(_SHUFFLED_RECORDS, _SHUFFLED_BYTES // size))


def shards(run_config: Any) -> tuple[int, int]:
    """How many workers share the data, and which of them this is."""
    cluster = getattr(run_config, "cluster_spec", None)
    if not cluster or run_config.task_type != "worker":
        return 1, 0
    return cluster.num_tasks("worker"), run_config.task_id


def shard(dataset: tf.data.Dataset, run_config: Any) -> tf.data.Dataset:
    """This worker's part."""
    count, index = shards(run_config)
    return dataset.shard(count, index) if count > 1 else dataset


def check_fills_batches(
    count: int, config: Config, training: bool, run_config: Any
) -> None:
    """Says which of `count` samples are left out; InputFnError if that is all of them.

    Training goes on with the next epoch, so that it leaves out none.
    """
    if training:
        return
    workers, index = shards(run_config)
    count = len(range(index, count, workers))
    size = config["batch_size"]
    if count < size:
        raise InputFnError(
            f"{count} samples are too few for one batch: batch_size of eval_input is "
            f"{size}, and batches are full. Lower it in params.yaml, or add samples"
        )
    if left := count % size:
        message = "%d of %d samples are left out: they do not fill a batch of %d"
        log.info(message, left, count, size)


def repeated(dataset: tf.data.Dataset, training: bool) -> tf.data.Dataset:
    """Without end for training; once otherwise."""
    return dataset.repeat() if training else dataset


def batches(
    dataset: tf.data.Dataset, config: Config, training: bool, passed: int = 0
) -> tf.data.Dataset:
    """(number, batch), from the number of the first batch that was not seen yet.

    `passed`: how many of those that were seen are not in the dataset any more.
    """
    # The shapes on a wafer are static: no smaller batch at the end.
    dataset = repeated(dataset, training).batch(
        config["batch_size"], drop_remainder=True
    )
    return dataset.enumerate(passed).skip(config.get("skip_batches", 0) - passed)


def mapped(dataset: tf.data.Dataset, function: Any, config: Config) -> tf.data.Dataset:
    """`function` of each element, several at once, in the same order."""
    calls = config["num_parallel_calls"] or tf.data.AUTOTUNE
    return dataset.map(function, num_parallel_calls=calls, deterministic=True)


def finished(
    dataset: tf.data.Dataset, finish: Finish | None, config: Config
) -> tf.data.Dataset:
    """The batches of (number, batch), with `finish` run on them."""

    def finish_batch(number: tf.Tensor, batch: Any) -> Any:
        parts = batch if isinstance(batch, tuple) else (batch,)
        return finish(number, *parts) if finish else batch

    return mapped(dataset, finish_batch, config).prefetch(tf.data.AUTOTUNE)
