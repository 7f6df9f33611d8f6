"""The driver's own hooks: they say which step they want, so that others run in a loop.

A hook that defines `next_step(step) -> step` sees at least that step (and those that
others ask for); one that defines neither `before_run` nor `after_run` needs none; any
other hook sees every step.
"""

import logging
import time
from collections.abc import Iterable
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

log = logging.getLogger("wafer_runtime")

NEVER = 2**62
Hook = tf1.train.SessionRunHook


def next_wanted(hooks: Iterable[Any], step: int) -> int:
    """The first step after `step` that one of the hooks wants to see."""
    return min((_next_wanted(hook, step) for hook in hooks), default=NEVER)


def _next_wanted(hook: Any, step: int) -> int:
    if hasattr(hook, "next_step"):
        return hook.next_step(step)
    passive = all(
        getattr(type(hook), name) is getattr(Hook, name)
        for name in ("before_run", "after_run")
    )
    return NEVER if passive else step + 1


class InitializerHook(tf1.train.SessionRunHook):
    """Starts the input iterator in each new session."""

    def __init__(self, initializer: tf.Operation):
        self._initializer = initializer

    def after_create_session(self, session: Any, coord: Any) -> None:
        session.run(self._initializer)


class _EveryNHook(tf1.train.SessionRunHook):
    """Wants the first step of a run, and every multiple of `every` after it."""

    def __init__(self, every: int, step_after: tf.Tensor):
        self._every = every
        self._step_after = step_after
        self._seen_any = False
        self._wanted = 0

    def next_step(self, step: int) -> int:
        multiple = step - step % self._every + self._every
        self._wanted = multiple if self._seen_any else step + 1
        return self._wanted

    def before_run(self, run_context: Any) -> Any:
        return tf1.train.SessionRunArgs([self._step_after, *self._fetches()])

    def after_run(self, run_context: Any, run_values: Any) -> None:
        step, *values = run_values.results
        # Another hook may have asked for this step.
        if step >= self._wanted:
            self._seen_any = True
            self._act(int(step), values)

    def _fetches(self) -> list[Any]:
        return []

    def _act(self, step: int, values: list[Any]) -> None:
        raise NotImplementedError


class SummaryHook(_EveryNHook):
    """Writes the graph's merged summaries to the event file."""

    def __init__(self, every: int, step_after: Any, scaffold: Any, directory: str):
        super().__init__(every, step_after)
        self._scaffold = scaffold
        self._directory = directory

    def _fetches(self) -> list[Any]:
        return [self._scaffold.summary_op]

    def _act(self, step: int, values: list[Any]) -> None:
        tf1.summary.FileWriterCache.get(self._directory).add_summary(values[0], step)

    def end(self, session: Any) -> None:
        tf1.summary.FileWriterCache.get(self._directory).flush()


class ReportHook(_EveryNHook):
    """Logs the loss and the speed, and writes the speed to the event file."""

    def __init__(
        self,
        every: int,
        step_after: Any,
        loss: tf.Tensor,
        batch_size: int | None,
        directory: str,
    ):
        super().__init__(every, step_after)
        self._loss = loss
        self._batch_size = batch_size
        self._directory = directory
        self._last: tuple[float, int] | None = None

    def _fetches(self) -> list[Any]:
        return [self._loss]

    def _act(self, step: int, values: list[Any]) -> None:
        now = time.perf_counter()
        if self._last is None:
            log.info("global step %d: loss = %.6g", step, values[0])
        else:
            rate = (step - self._last[1]) / (now - self._last[0])
            log.info(
                "global step %d: loss = %.6g (%.4g steps/sec)", step, values[0], rate
            )
            self._write_rate(step, rate)
        self._last = now, step

    def _write_rate(self, step: int, rate: float) -> None:
        values = {"global_step/sec": rate}
        if self._batch_size:
            values["samples/sec"] = rate * self._batch_size
        summary = tf1.Summary(
            value=[tf1.Summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        )
        tf1.summary.FileWriterCache.get(self._directory).add_summary(summary, step)


class CheckpointHook(tf1.train.CheckpointSaverHook):
    """TensorFlow's own, saying which step it wants."""

    def __init__(self, *args: Any, save_steps: int | None = None, **kwargs: Any):
        super().__init__(*args, save_steps=save_steps, **kwargs)
        self._every = save_steps

    def next_step(self, step: int) -> int:
        last = self._timer.last_triggered_step()
        if self._timer.should_trigger_for_step(step + 1):
            return step + 1
        return last + self._every if self._every else NEVER
