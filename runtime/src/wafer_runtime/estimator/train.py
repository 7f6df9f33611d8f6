"""Training: model_fn's TRAIN graph, its hooks and checkpoints, step after step."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime import source
from wafer_runtime.errors import ModelFnError, TrainingInterrupted, UsageError
from wafer_runtime.estimator import checkpoints, interrupts, random_ops, sessions
from wafer_runtime.estimator import hooks as hooks_lib
from wafer_runtime.estimator.calls import UserFn, call_host
from wafer_runtime.estimator.graph import ancestors
from wafer_runtime.estimator.loop import Reporter, run_steps
from wafer_runtime.estimator.machine import Machine
from wafer_runtime.estimator.sessions import Built, Setup
from wafer_runtime.estimator.specs import ModeKeys
from wafer_runtime.estimator.steps import Steps

log = logging.getLogger("wafer_runtime")

_READS = {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"}
_READS |= {"Identity"}  # of a variable made with use_resource=False


def train(
    setup: Setup,
    input_fn: UserFn,
    hooks: Sequence[Any],
    more: int | None,
    max_steps: int | None,
    saving_listeners: Sequence[Any],
    machine: Machine,
) -> None:
    """Train `more` steps, until step `max_steps`, the data's end or a signal.

    Raises TrainingInterrupted after a signal, once the checkpoint is written.
    """
    with sessions.built_graph(setup, input_fn, ModeKeys.TRAIN) as built:
        machine.check(built.spec)
        _check_train_op(built)
        _warn_of_nothing_trained(built.spec.train_op)
        _warn_of_updates_left_out(built.spec.train_op)
        latest = checkpoints.latest(setup.model_dir)
        checkpoints.prepare(latest, setup.warm_start, built.spec.scaffold)
        targets = [built.spec.train_op, built.spec.loss.op]
        counted, initializer = random_ops.tie_to_batch(targets, built.global_step)
        step_op = tf.group(built.spec.train_op, counted)
        steps = Steps(step_op, built.spec.loss, built.global_step, True)
        all_hooks = [
            hooks_lib.InitializerHook(initializer),
            hooks_lib.FiniteLossHook(steps.counter_after, steps.loss),
            *_hooks(setup, built, steps, hooks, saving_listeners),
        ]
        directory = setup.model_dir
        with (
            _events_flushed(directory),
            interrupts.signals_noted(),
            sessions.open_session(
                setup.config, built, all_hooks, checkpoint_dir=directory
            ) as session,
        ):
            # Not the checkpoint's: a scaffold's init_fn may have loaded another.
            start = steps.read_counter(session)
            stop = start + more if more else max_steps or hooks_lib.NEVER
            size = sessions.batch_size(built.inputs.features)
            reporter = Reporter(setup.config.log_step_count_steps, size, directory)
            began = time.perf_counter()
            reached = run_steps(session, steps, all_hooks, start, stop, reporter)
            rate = reporter.steps_per_second(began, start, reached)
            seconds = time.perf_counter() - began
            signum = interrupts.noted()
            ended = reached < stop and not session.should_stop()
    machine.trained(reached - start, size, seconds, rate)
    if signum is not None:
        raise TrainingInterrupted(signum, reached)
    if ended and stop < hooks_lib.NEVER:
        machine.data_ended(reached - start, stop - start)


@contextlib.contextmanager
def _events_flushed(directory: str) -> Iterator[None]:
    try:
        yield
    finally:
        tf1.summary.FileWriterCache.get(directory).flush()


def _check_train_op(built: Built) -> None:
    """A train_op that leaves the global step alone would run for ever."""
    handle = built.global_step.handle
    for op in ancestors([built.spec.train_op]):
        if op.type != "ReadVariableOp" and any(t is handle for t in op.inputs):
            return
    raise ModelFnError(
        f"{source.of_op(built.spec.train_op)}: train_op does not advance the global "
        "step. Give it to the optimizer: optimizer.minimize(loss, "
        "global_step=tf.compat.v1.train.get_global_step())."
    )


def _warn_of_nothing_trained(train_op: tf.Operation) -> None:
    """No error: who measures the input's speed may want it so."""
    variables = {v.op for v in tf1.trainable_variables()}
    changes = (op for op in ancestors([train_op]) if op.type not in _READS)
    if variables and not any(t.op in variables for op in changes for t in op.inputs):
        log.warning(
            "%s: train_op changes none of the %d trainable variables: the model stays "
            "as it began. Return what optimizer.minimize(loss, global_step="
            "tf.compat.v1.train.get_global_step()) returns.",
            source.of_op(train_op),
            len(variables),
        )


def _warn_of_updates_left_out(train_op: tf.Operation) -> None:
    """Moving averages that never move give wrong evaluations, and no error."""
    updates = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)
    ops = [getattr(update, "op", update) for update in updates]  # some are tensors
    run = ancestors([train_op])
    if left_out := [op for op in ops if op not in run]:
        log.warning(
            "%s: train_op leaves out %d updates, such as %s (made at %s): a moving "
            "average stays as it began. Use wafer_runtime.training.minimize, or "
            "tf.group(train_op, tf.compat.v1.get_collection('update_ops')).",
            source.of_op(train_op),
            len(left_out),
            left_out[0].name,
            source.of_op(left_out[0]),
        )


def _hooks(
    setup: Setup,
    built: Built,
    steps: Steps,
    user_hooks: Sequence[Any],
    saving_listeners: Sequence[Any],
) -> list[Any]:
    spec = built.spec
    hooks = [*user_hooks, *spec.training_hooks, *spec.training_chief_hooks]
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
        updates = {name: update for name, (_, update) in call_host(spec).items()}
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
            hook._listeners += [x for x in listeners if x not in hook._listeners]
            return []
    if not (config.save_checkpoints_steps or config.save_checkpoints_secs):
        if listeners:
            raise UsageError(
                "saving_listeners wait for checkpoints, but none are to be saved: set "
                "save_checkpoints_steps or save_checkpoints_secs in the RunConfig"
            )
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
