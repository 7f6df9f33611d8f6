"""`tf.estimator.experimental`: hooks that the driver itself has no use for."""

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow.compat.v1 as tf1

from wafer_runtime.compat.estimators import Estimator
from wafer_runtime.estimator.specs import check_counts


class InMemoryEvaluatorHook(tf1.train.SessionRunHook):
    """Evaluates the variables of a training as they are, without a checkpoint of it.

    Before the first step, after every `every_n_iter` steps and at the end; the other
    arguments are those of `estimator.evaluate`. The variables pass through a temporary
    file.
    """

    def __init__(
        self,
        estimator: Estimator,
        input_fn: Callable[..., Any],
        steps: int | None = None,
        hooks: Sequence[Any] | None = None,
        name: str | None = None,
        every_n_iter: int = 100,
    ):
        check_counts(every_n_iter=every_n_iter)
        self._estimator = estimator
        self._arguments: dict[str, Any] = {
            "input_fn": input_fn,
            "steps": steps,
            "hooks": hooks,
            "name": name,
        }
        self._every = every_n_iter
        self._evaluated_at = 0

    def begin(self) -> None:
        """Add to the graph what saves its variables."""
        self._global_step = tf1.train.get_global_step()
        self._saver = tf1.train.Saver()

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Evaluate the variables that training starts from."""
        self._evaluate(session)

    def next_step(self, step: int) -> int:
        """The next step to evaluate after."""
        return max(self._evaluated_at + self._every, step + 1)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Evaluate, if this is such a step; another hook may have asked for it."""
        step = run_context.session.run(self._global_step)
        if step - self._evaluated_at >= self._every:
            self._evaluate(run_context.session)

    def end(self, session: Any) -> None:
        """Evaluate the variables that training ends with."""
        self._evaluate(session)

    def _evaluate(self, session: Any) -> None:
        self._evaluated_at = int(session.run(self._global_step))
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.ckpt")
            saved = self._saver.save(session, path, write_meta_graph=False)
            self._estimator.evaluate(**self._arguments, checkpoint_path=saved)


def make_stop_at_checkpoint_step_hook(
    estimator: Estimator, last_step: int, wait_after_file_check_secs: float = 30
) -> Any:
    """A hook that ends training at global step `last_step`.

    wait_after_file_check_secs was for workers that are not the chief; there are none.
    """
    return tf1.train.StopAtStepHook(last_step=last_step)
