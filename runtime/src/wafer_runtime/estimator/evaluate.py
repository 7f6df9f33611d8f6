"""Evaluation: the metrics of host_call over a dataset, for one checkpoint."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from google.protobuf.message import DecodeError

from wafer_runtime.errors import ModelFnError, TrainingInterrupted
from wafer_runtime.estimator import checkpoints, interrupts, sessions
from wafer_runtime.estimator import hooks as hooks_lib
from wafer_runtime.estimator.calls import UserFn, call_host
from wafer_runtime.estimator.loop import run_steps
from wafer_runtime.estimator.machine import Machine
from wafer_runtime.estimator.sessions import Built, Setup
from wafer_runtime.estimator.specs import ModeKeys
from wafer_runtime.estimator.steps import Steps, run_unhooked

log = logging.getLogger("wafer_runtime")


def evaluate(
    setup: Setup,
    input_fn: UserFn,
    steps: int | None,
    hooks: Sequence[Any],
    checkpoint_path: str | None,
    name: str | None,
    machine: Machine,
) -> dict[str, Any]:
    """Metrics over `steps` batches (None: all); also written to eval's event file.

    Returns the metrics with `loss` (the mean over batches) and `global_step`.
    """
    path = checkpoint_path or checkpoints.latest(setup.model_dir)
    if path is None:
        log.info(
            "Could not find trained model in model_dir: %s, running initialization "
            "to evaluate.",
            setup.model_dir,
        )
    with sessions.built_graph(setup, input_fn, ModeKeys.EVAL) as built:
        machine.check(built.spec)
        checkpoints.prepare(path, setup.warm_start, built.spec.scaffold)
        values = _run(setup, built, steps, hooks, path, machine)
    directory = eval_dir(setup.model_dir, name)
    log.info("Evaluation of %s: %s", path or "the initial model", _in_words(values))
    _write_summary(directory, values, path)
    return values


def eval_dir(model_dir: str, name: str | None) -> str:
    """Where an evaluation writes: `eval`, or `eval_<name>`."""
    # Not a Path, which would break a URL.
    return os.path.join(model_dir, f"eval_{name}" if name else "eval")


def _run(
    setup: Setup,
    built: Built,
    steps: int | None,
    hooks: Sequence[Any],
    path: str | None,
    machine: Machine,
) -> dict[str, Any]:
    metrics = _metrics(built)
    counter = _eval_counter()
    updates = tf.group([update for _, update in metrics.values()])
    with tf.control_dependencies([updates]):
        eval_op = counter.assign_add(1, read_value=False)
    # The losses are averaged by their metric; a batch's own is of no interest here.
    steps_loop = Steps(eval_op, tf.zeros([]), counter, stop_at_non_finite=False)
    values = {name: value for name, (value, _) in metrics.items()}
    values["global_step"] = built.global_step.read_value()
    all_hooks = [*hooks, *built.spec.evaluation_hooks]
    with sessions.open_session(
        setup.config, built, all_hooks, checkpoint_filename_with_path=path
    ) as session:
        asked = interrupts.noted_in_evaluation
        stop = steps or hooks_lib.NEVER
        reached = run_steps(session, steps_loop, all_hooks, 0, stop, stop_asked=asked)
        if steps and reached < steps and not asked():
            log.warning("The data ended after %d of %d batches", reached, steps)
        results: dict[str, Any] = run_unhooked(session, values)
        machine.evaluated(reached)
        if signum := asked():
            raise TrainingInterrupted(signum, int(results["global_step"]))
        return results


def _metrics(built: Built) -> dict[str, Any]:
    metrics = dict(call_host(built.spec))
    for name in ("loss", "global_step"):
        if name in metrics:
            raise ModelFnError(
                f'A metric is named "{name}", which the driver itself reports; '
                "give it another name."
            )
    return metrics | {"loss": tf1.metrics.mean(built.spec.loss)}


def _eval_counter() -> tf.Variable:
    return tf1.get_variable(
        "eval_step",
        shape=[],
        dtype=tf.int64,
        initializer=tf1.zeros_initializer(),
        trainable=False,
        use_resource=True,
        collections=[tf1.GraphKeys.LOCAL_VARIABLES],
    )


def _in_words(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} = {value:.6g}" if not _is_more(value) and np.ndim(value) == 0
        else f"{name}: {value if isinstance(value, tuple | list) else np.shape(value)}"
        for name, value in sorted(values.items())
    )  # fmt: skip


def _is_more(value: Any) -> bool:
    """Whether a metric is text, or several values, and so no number or array."""
    return isinstance(value, bytes | str | tuple | list | dict)


def _merge(summary: Any, name: str, value: Any) -> None:
    """A metric that is text may be a serialised Summary; others are only shown."""
    try:
        made = tf1.Summary.FromString(value)
    except (DecodeError, TypeError):
        log.warning('The metric "%s" is no number: not in the event file', name)
        return
    for i, part in enumerate(made.value):
        part.tag = f"{name}/{i}"
    summary.MergeFrom(made)


def _write_summary(directory: str, values: dict[str, Any], path: str | None) -> None:
    summary = tf1.Summary()
    for name, value in values.items():
        if name == "global_step":
            continue
        if _is_more(value):
            _merge(summary, name, value)
        elif np.ndim(value) == 0:
            summary.value.add(tag=name, simple_value=float(value))
        else:
            tensor = summary.value.add(tag=name).tensor
            tensor.CopyFrom(tf.make_tensor_proto(value))
    if path is not None:
        told = summary.value.add(tag="checkpoint_path")
        told.metadata.plugin_data.plugin_name = "text"
        told.tensor.CopyFrom(tf.make_tensor_proto(path))
    with tf.Graph().as_default():  # the writer refuses to work in eager mode
        writer = tf1.summary.FileWriterCache.get(directory)
        writer.add_summary(summary, int(values["global_step"]))
        writer.flush()
