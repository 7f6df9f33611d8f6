"""The loop over steps: as many in a session call as nobody wants to look at."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wafer_runtime.errors import InputFnError
from wafer_runtime.estimator import interrupts
from wafer_runtime.estimator.hooks import NEVER, Every, next_wanted
from wafer_runtime.estimator.steps import Result, Steps

log = logging.getLogger("wafer_runtime")

NO_BATCH = (
    "The dataset gave no batch. With drop_remainder=True it needs at least batch_size "
    "samples."
)
# A session call is kept about this long, so that signals and timers are heeded.
_CALL_SECONDS = 0.5


class Reporter:
    """Logs the loss and the speed, and writes the speed to the event file."""

    def __init__(self, every: int | None, batch_size: int | None, directory: str):
        self._every = Every(every)
        self._batch_size = batch_size
        self._directory = directory
        self._last: tuple[float, int] | None = None
        self._first: tuple[float, int] | None = None

    def next_step(self, step: int) -> int:
        """The next step to report: a call must end there, but needs no hooks."""
        return self._every.next_step(step)

    def see(self, result: Result) -> None:
        """Report the step where a call ended, if it is one to report."""
        self._first = self._first or (time.perf_counter(), result.step)
        if not self._every.reached(result.step):
            return
        now = time.perf_counter()
        rate = ""
        if self._last is not None:
            steps_a_second = (result.step - self._last[1]) / (now - self._last[0])
            rate = f" ({steps_a_second:.4g} steps/sec)"
            self._write_rate(result.step, steps_a_second)
        log.info("global step %d: loss = %.6g%s", result.step, result.loss, rate)
        self._last = now, result.step

    def steps_per_second(self, began: float, start: int, reached: int) -> float:
        """The speed from the first step on, which may have waited long for its data.

        If there is no other, it counts. began: s, of time.perf_counter.
        """
        if self._first is not None and self._first[1] < reached:
            began, start = self._first
        return (reached - start) / (time.perf_counter() - began)

    def _write_rate(self, step: int, rate: float) -> None:
        values = {"global_step/sec": rate}
        if self._batch_size:
            values["samples/sec"] = rate * self._batch_size
        summary = tf1.Summary(
            value=[tf1.Summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        )
        tf1.summary.FileWriterCache.get(self._directory).add_summary(summary, step)


def run_steps(
    session: Any,
    steps: Steps,
    hooks: Sequence[Any],
    start: int,
    stop: int,
    reporter: Reporter | None = None,
    stop_asked: Callable[[], int | None] = interrupts.noted,
) -> int:
    """Run until the counter reaches `stop`, the data end, or a stop is asked for.

    Returns the counter. Raises InputFnError when there is not even one batch, and, if
    `steps` stop at a loss that is not finite, NonFiniteLossError.
    """
    step, at_most = start, 1
    with _progress(start, stop) as bar:
        while step < stop and not session.should_stop() and not stop_asked():
            hooked = next_wanted(hooks, step)
            until = min(
                stop, hooked - 1, reporter.next_step(step) if reporter else stop
            )
            began = time.perf_counter()
            try:
                if steps.can_loop and step < until:
                    result = steps.run_many(session, until, at_most)
                else:
                    result = steps.run_one(session)
            except tf.errors.OutOfRangeError:
                return _at_the_end(steps.read_counter(session), start)
            if reporter:
                reporter.see(result)
            seconds_a_step = (time.perf_counter() - began) / max(1, result.step - step)
            at_most = min(4 * at_most, max(1, int(_CALL_SECONDS / seconds_a_step)))
            bar.update(result.step - step)
            step = result.step
    return step


def _at_the_end(step: int, start: int) -> int:
    if step == start:
        raise InputFnError(NO_BATCH)
    return step


@contextlib.contextmanager
def _progress(start: int, stop: int) -> Iterator[Any]:
    """A progress bar where there is a terminal, below the log lines."""
    total = stop if stop < NEVER else None
    handled = log if log.handlers else logging.root
    with tqdm(
        total=total, initial=start, unit=" steps", disable=None, leave=False
    ) as bar:
        if bar.disable:
            yield bar
        else:
            with logging_redirect_tqdm([handled]):
                yield bar
