"""Hooks that end training when an evaluation metric says so."""

import contextlib
import logging
import operator
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import UsageError, did_you_mean
from wafer_runtime.estimator.driver import CerebrasEstimator
from wafer_runtime.estimator.hooks import NEVER
from wafer_runtime.estimator.specs import check_kind

log = logging.getLogger("wafer_runtime")


def make_early_stopping_hook(
    estimator: CerebrasEstimator,
    should_stop_fn: Callable[[], bool],
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> Any:
    """A hook that ends training when `should_stop_fn()` is true.

    It is asked after the first step, and then every `run_every_secs` seconds, or every
    `run_every_steps` steps.
    """
    check_kind("estimator", estimator, CerebrasEstimator)
    if run_every_secs is not None and run_every_steps is not None:
        raise UsageError("Only one of run_every_secs and run_every_steps may be given.")
    return _EarlyStoppingHook(should_stop_fn, run_every_secs, run_every_steps)


def stop_if_higher_hook(
    estimator: CerebrasEstimator,
    metric_name: str,
    threshold: float,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> Any:
    """Stops once an evaluation after `min_steps` found the metric above `threshold`."""
    return _threshold_hook(
        operator.gt, estimator, metric_name, threshold, eval_dir, min_steps,
        run_every_secs, run_every_steps,
    )  # fmt: skip


def stop_if_lower_hook(
    estimator: CerebrasEstimator,
    metric_name: str,
    threshold: float,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> Any:
    """Stops once an evaluation after `min_steps` found the metric below `threshold`."""
    return _threshold_hook(
        operator.lt, estimator, metric_name, threshold, eval_dir, min_steps,
        run_every_secs, run_every_steps,
    )  # fmt: skip


def stop_if_no_increase_hook(
    estimator: CerebrasEstimator,
    metric_name: str,
    max_steps_without_increase: int,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> Any:
    """Stops when the metric set no new high for so many steps."""
    return _stall_hook(
        operator.gt, estimator, metric_name, max_steps_without_increase, eval_dir,
        min_steps, run_every_secs, run_every_steps,
    )  # fmt: skip


def stop_if_no_decrease_hook(
    estimator: CerebrasEstimator,
    metric_name: str,
    max_steps_without_decrease: int,
    eval_dir: str | None = None,
    min_steps: int = 0,
    run_every_secs: float | None = 60,
    run_every_steps: int | None = None,
) -> Any:
    """Stops when the metric set no new low for so many steps."""
    return _stall_hook(
        operator.lt, estimator, metric_name, max_steps_without_decrease, eval_dir,
        min_steps, run_every_secs, run_every_steps,
    )  # fmt: skip


def read_eval_metrics(eval_dir: str) -> dict[int, dict[str, float]]:
    """`{global_step: {metric: value}}` from the event files of an evaluation folder."""
    metrics: dict[int, dict[str, float]] = {}
    files = tf.io.gfile.listdir(eval_dir) if tf.io.gfile.isdir(eval_dir) else []
    for name in sorted(name for name in files if ".tfevents." in name):
        for event in _events(os.path.join(eval_dir, name)):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    metrics.setdefault(event.step, {})[value.tag] = value.simple_value
    return dict(sorted(metrics.items()))


def _events(path: str) -> Iterator[Any]:
    """The events of a file; one that is still being written may break off."""
    with contextlib.suppress(tf.errors.DataLossError):
        yield from tf1.train.summary_iterator(path)


def _history(
    estimator: CerebrasEstimator, metric: str, eval_dir: str | None, min_steps: int
) -> list[tuple[int, float]]:
    directory = eval_dir or estimator.eval_dir()
    metrics = read_eval_metrics(directory)
    known = {name for values in metrics.values() for name in values}
    if metrics and metric not in known:
        raise UsageError(
            f'{directory}: no evaluation has a metric "{metric}"'
            f"{did_you_mean(metric, known)}; there are {', '.join(sorted(known))}"
        )
    return [
        (step, values[metric])
        for step, values in metrics.items()
        if step >= min_steps and metric in values
    ]


def _threshold_hook(
    passed: Callable[[float, float], bool],
    estimator: CerebrasEstimator,
    metric: str,
    threshold: float,
    eval_dir: str | None,
    min_steps: int,
    secs: float | None,
    steps: int | None,
) -> Any:
    def should_stop() -> bool:
        for step, value in _history(estimator, metric, eval_dir, min_steps):
            if passed(value, threshold):
                log.info(
                    "Stopping: %s was %g at step %d (threshold %g)",
                    metric, value, step, threshold,
                )  # fmt: skip
                return True
        return False

    return make_early_stopping_hook(estimator, should_stop, secs, steps)


def _stall_hook(
    better: Callable[[float, float], bool],
    estimator: CerebrasEstimator,
    metric: str,
    patience: int,
    eval_dir: str | None,
    min_steps: int,
    secs: float | None,
    steps: int | None,
) -> Any:
    def should_stop() -> bool:
        best: tuple[int, float] | None = None
        for step, value in _history(estimator, metric, eval_dir, min_steps):
            if best is None or better(value, best[1]):
                best = step, value
            elif step - best[0] >= patience:
                log.info(
                    "Stopping: %s was no better than the %g of step %d for %d steps",
                    metric, best[1], best[0], step - best[0],
                )  # fmt: skip
                return True
        return False

    return make_early_stopping_hook(estimator, should_stop, secs, steps)


class _EarlyStoppingHook(tf1.train.SessionRunHook):
    def __init__(
        self, should_stop: Callable[[], bool], secs: float | None, steps: int | None
    ):
        self._should_stop = should_stop
        self._secs = secs or 0
        self._steps = steps
        self._asked_at: tuple[int, float] | None = None  # step, s

    def begin(self) -> None:
        self._global_step = tf1.train.get_global_step()

    def next_step(self, step: int) -> int:
        """The first of a run, and the one `steps` or `secs` after the last."""
        if self._asked_at and self._steps:
            return max(self._asked_at[0] + self._steps, step + 1)
        return step + 1 if self._is_due(step + 1) else NEVER

    def after_run(self, run_context: Any, run_values: Any) -> None:
        # Another hook may have asked for this step.
        step = int(run_context.session.run(self._global_step))
        if not self._is_due(step):
            return
        self._asked_at = step, time.monotonic()
        if self._should_stop():
            run_context.request_stop()

    def _is_due(self, step: int) -> bool:
        if self._asked_at is None:
            return True
        asked_step, asked_s = self._asked_at
        if self._steps:
            return step - asked_step >= self._steps
        return time.monotonic() - asked_s >= self._secs
