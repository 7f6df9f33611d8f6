"""Training: model_fn's TRAIN graph, its hooks and checkpoints, step after step."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime import source
from wafer_runtime.errors import ModelFnError, TrainingInterrupted
from wafer_runtime.estimator import (
    checkpoints,
    random_ops,
    sessions,
)
from wafer_runtime.estimator import (
    hooks as hooks_lib,
)
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.contract import host_metrics
from wafer_runtime.estimator.interrupts import stop_request
from wafer_runtime.estimator.loop import Reporter, run_steps
from wafer_runtime.estimator.sessions import Built, Setup
from wafer_runtime.estimator.specs import ModeKeys
from wafer_runtime.estimator.steps import Steps

log = logging.getLogger("wafer_runtime")


def train(
    setup: Setup,
    input_fn: UserFn,
    hooks: Sequence[Any],
    start: int,
    stop: int,
    saving_listeners: Sequence[Any],
) -> None:
    """Train from global step `start` until `stop`, the data's end or a request.

    Raises TrainingInterrupted after a signal, once the checkpoint is written.
    """
    with sessions.built_graph(setup, input_fn, ModeKeys.TRAIN) as built:
        _check_train_op(built)
        _prepare_variables(setup, built.spec.scaffold)
        targets = [built.spec.train_op, built.spec.loss.op]
        random_ops.tie_to_step(targets, built.global_step)
        steps = Steps(built.spec.train_op, built.spec.loss, built.global_step, True)
        all_hooks = _hooks(setup, built, steps, hooks, saving_listeners)
        scaffold, model_dir = built.spec.scaffold, setup.model_dir
        with (
            stop_request() as request,
            sessions.open_session(
                setup.config, scaffold, all_hooks, checkpoint_dir=model_dir
            ) as session,
        ):
            size = sessions.batch_size(built.inputs.features)
            reporter = Reporter(setup.config.log_step_count_steps, size, model_dir)
            began = time.perf_counter()
            reached = run_steps(
                session, steps, all_hooks, start, stop, request, reporter
            )
            _report(reached - start, size, time.perf_counter() - began)
        tf1.summary.FileWriterCache.get(model_dir).flush()
    if request.signum is not None:
        raise TrainingInterrupted(request.signum, reached)


def _check_train_op(built: Built) -> None:
    """A train_op that leaves the global step alone would run for ever."""
    handle = built.global_step.handle
    for op in random_ops.ancestors([built.spec.train_op]):
        if op.type != "ReadVariableOp" and any(t is handle for t in op.inputs):
            return
    raise ModelFnError(
        f"{source.of_op(built.spec.train_op)}: train_op does not advance the global "
        "step. Give it to the optimizer: optimizer.minimize(loss, "
        "global_step=tf.compat.v1.train.get_global_step())."
    )


def _prepare_variables(setup: Setup, scaffold: Any) -> None:
    """Check what will be loaded: a checkpoint of this model_dir, or a warm start."""
    latest = checkpoints.latest(setup.model_dir)
    if latest:
        checkpoints.check_fits(latest, scaffold)
    elif setup.warm_start:
        checkpoints.warm_start(setup.warm_start)


def _hooks(
    setup: Setup,
    built: Built,
    steps: Steps,
    user_hooks: Sequence[Any],
    saving_listeners: Sequence[Any],
) -> list[Any]:
    spec = built.spec
    hooks: list[Any] = []
    if built.inputs.initializer is not None:
        hooks.append(hooks_lib.InitializerHook(built.inputs.initializer))
    hooks += [*user_hooks, *spec.training_hooks, *spec.training_chief_hooks]
    hooks += _summary_hooks(setup, built, steps)
    hooks += _checkpoint_hooks(setup, spec.scaffold, hooks, saving_listeners)
    return hooks


def _summary_hooks(setup: Setup, built: Built, steps: Steps) -> list[Any]:
    _add_summaries(built.spec)
    return [
        hooks_lib.SummaryHook(
            setup.config.save_summary_steps,
            steps.counter_after,
            built.spec.scaffold,
            setup.model_dir,
        )
    ]


def _add_summaries(spec: Any) -> None:
    values = {"loss": spec.loss}
    if spec.host_call is not None:
        # Fetching the update adds the batch to the metric: one batch a summary.
        updates = {name: update for name, (_, update) in host_metrics(spec).items()}
        values |= {name: u for name, u in updates.items() if _is_scalar(u)}
    taken = {
        tag
        for summary in tf1.get_collection(tf1.GraphKeys.SUMMARIES)
        for tag in np.atleast_1d(tf.get_static_value(summary.op.inputs[0])).tolist()
    }
    for name, value in values.items():
        # Not tf1.summary.scalar: an operation of the same name would change the tag.
        if name.encode() not in taken:
            summary = tf.raw_ops.ScalarSummary(tags=name, values=value)
            tf1.add_to_collection(tf1.GraphKeys.SUMMARIES, summary)


def _is_scalar(update: Any) -> bool:
    return tf.is_tensor(update) and update.shape.rank == 0


def _checkpoint_hooks(
    setup: Setup, scaffold: Any, others: Sequence[Any], listeners: Sequence[Any]
) -> list[Any]:
    """A checkpoint hook, unless the user brought one, which then gets the listeners."""
    config = setup.config
    for hook in others:
        if isinstance(hook, tf1.train.CheckpointSaverHook):
            hook._listeners.extend(listeners)
            return []
    if not (config.save_checkpoints_steps or config.save_checkpoints_secs):
        return []
    if not scaffold.saver and not tf1.get_collection(tf1.GraphKeys.SAVERS):
        saver = tf1.train.Saver(
            sharded=True,
            max_to_keep=config.keep_checkpoint_max,
            keep_checkpoint_every_n_hours=config.keep_checkpoint_every_n_hours,
            defer_build=True,
            save_relative_paths=True,
        )
        tf1.add_to_collection(tf1.GraphKeys.SAVERS, saver)
    return [
        hooks_lib.CheckpointHook(
            setup.model_dir,
            save_secs=config.save_checkpoints_secs,
            save_steps=config.save_checkpoints_steps,
            scaffold=scaffold,
            listeners=listeners,
            save_graph_def=config.checkpoint_save_graph_def,
        )
    ]


def _report(steps: int, size: int | None, seconds: float) -> None:
    if size is None:
        log.info("Training finished with %d steps in %.2f seconds", steps, seconds)
        return
    log.info(
        "Training finished with %d samples in %.2f seconds, %.2f samples / second",
        steps * size,
        seconds,
        steps * size / seconds,
    )
