"""The driver's own hooks: they say which step they want, so that others run in a loop.

A hook that defines `next_step(step) -> step` sees at least that step (and those that
others ask for); one that defines neither `before_run` nor `after_run` needs none; any
other hook sees every step.
"""

import contextlib
import contextvars
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import CheckpointError, NonFiniteLossError

log = logging.getLogger("wafer_runtime")

NEVER = 2**62
Hook = tf1.train.SessionRunHook
_no_summaries = contextvars.ContextVar("_no_summaries", default=False)


@contextlib.contextmanager
def summaries_left_out() -> Iterator[None]:
    """A context in which training writes none of the model's summaries."""
    token = _no_summaries.set(True)
    try:
        yield
    finally:
        _no_summaries.reset(token)


def next_wanted(hooks: Iterable[Any], step: int) -> int:
    """The first step after `step` that one of the hooks wants to see."""
    return min((_next_wanted(hook, step) for hook in hooks), default=NEVER)


def _next_wanted(hook: Any, step: int) -> int:
    if callable(getattr(hook, "next_step", None)):
        return hook.next_step(step)
    passive = all(
        getattr(type(hook), name, None) is getattr(Hook, name)
        for name in ("before_run", "after_run")
    )
    return NEVER if passive else step + 1


class InitializerHook(tf1.train.SessionRunHook):
    """Runs an operation in each new session, after the variables are loaded."""

    def __init__(self, initializer: tf.Operation):
        self._initializer = initializer

    def after_create_session(self, session: Any, coord: Any) -> None:
        session.run(self._initializer)


class NanLossError(NonFiniteLossError, tf1.train.NanLossDuringTrainingError):
    """NonFiniteLossError, also for code that catches what TensorFlow's hook raised."""

    __str__ = NonFiniteLossError.__str__


def check_finite(step: int, loss: float) -> None:
    """Raise NonFiniteLossError for the loss of a step that went wrong."""
    if not np.isfinite(loss):
        raise NanLossError(
            f"The loss is {loss} at global step {step}. Lower the learning rate, check "
            "the input for NaN, or, in fp16, use loss scaling. The last checkpoint is "
            "untouched."
        )


class FiniteLossHook(tf1.train.SessionRunHook):
    """Stops at a loss that is not finite; the hooks behind it never see that step."""

    def __init__(self, step_after: tf.Tensor, loss: tf.Tensor):
        self._fetches = [step_after, loss]

    def next_step(self, step: int) -> int:
        """None: it only has to come before the hooks that save."""
        return NEVER

    def before_run(self, run_context: Any) -> Any:
        return tf1.train.SessionRunArgs(self._fetches)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        step, loss = run_values.results
        check_finite(int(step), float(loss))


class Every:
    """The first step of a run, and every multiple of `count` after it; 0: none."""

    def __init__(self, count: int | None):
        self._count = count
        self._wanted: int | None = None

    def next_step(self, step: int) -> int:
        """The first such step after `step`, or the next one if it was jumped over."""
        if not self._count:
            return NEVER
        if self._wanted is None:
            self._wanted = step + 1
        return max(self._wanted, step + 1)

    def reached(self, step: int) -> bool:
        """Whether `step` is one of them; if so, the next multiple is wanted."""
        if not self._count or self._wanted is None or step < self._wanted:
            return False
        self._wanted = step - step % self._count + self._count
        return True


class SummaryHook(tf1.train.SessionRunHook):
    """Writes the graph's merged summaries to the event file every so many steps."""

    def __init__(
        self, every: int | None, step_after: Any, scaffold: Any, directory: str
    ):
        self._every = Every(0 if _no_summaries.get() else every)
        self._step_after = step_after
        self._scaffold = scaffold
        self._directory = directory
        self._due = False

    def next_step(self, step: int) -> int:
        """The next step to summarise."""
        wanted = self._every.next_step(step)
        self._due = wanted == step + 1
        return wanted

    def before_run(self, run_context: Any) -> Any:
        # Summaries may be costly: none are computed for another hook's step.
        fetches = [self._step_after, self._scaffold.summary_op]
        return tf1.train.SessionRunArgs(fetches) if self._due else None

    def after_run(self, run_context: Any, run_values: Any) -> None:
        if run_values.results is not None:
            step, summary = run_values.results
            if self._every.reached(int(step)):
                writer = tf1.summary.FileWriterCache.get(self._directory)
                writer.add_summary(summary, step)


class CheckpointHook(tf1.train.CheckpointSaverHook):
    """TensorFlow's own, saying which step it wants."""

    def __init__(self, *args: Any, save_steps: int | None = None, **kwargs: Any):
        super().__init__(*args, save_steps=save_steps, **kwargs)
        self._every = save_steps

    def after_create_session(self, session: Any, coord: Any) -> None:
        with self._failures_told():
            super().after_create_session(session, coord)

    def _save(self, session: Any, step: int) -> Any:
        with self._failures_told():
            return super()._save(session, step)

    @contextlib.contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            reason = str(error.message).partition("\n\t [[")[0].splitlines()[-1]
            raise CheckpointError(
                f"{self._checkpoint_dir}: a checkpoint cannot be written: {reason}. "
                "Make room, or give another --model_dir; those before it are unharmed."
            ) from error

    def next_step(self, step: int) -> int:
        last = self._timer.last_triggered_step()
        if self._timer.should_trigger_for_step(step + 1):
            return step + 1
        return last + self._every if self._every else NEVER
