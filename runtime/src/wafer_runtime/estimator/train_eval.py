"""Training with an evaluation after each checkpoint."""

import logging
import os
import time
from typing import Any

import tensorflow as tf

from wafer_runtime.errors import UsageError
from wafer_runtime.estimator import interrupts
from wafer_runtime.estimator.driver import CerebrasEstimator
from wafer_runtime.estimator.specs import EvalSpec, TrainSpec, check_kind

log = logging.getLogger("wafer_runtime")


def train_and_evaluate(
    estimator: CerebrasEstimator, train_spec: TrainSpec, eval_spec: EvalSpec
) -> tuple[dict[str, Any] | None, list[Any]]:
    """Train until `train_spec.max_steps`, and evaluate the checkpoints on the way.

    An evaluation follows a saved checkpoint when the last one is at least
    `eval_spec.throttle_secs` ago, and the end of training always. Returns the last
    evaluation's metrics (None when there was nothing to train) and what its exporters
    returned.
    """
    check_kind("estimator", estimator, CerebrasEstimator)
    check_kind("train_spec", train_spec, TrainSpec)
    check_kind("eval_spec", eval_spec, EvalSpec)
    if not estimator.config.save_checkpoints_steps and (
        not estimator.config.save_checkpoints_secs
    ):
        raise UsageError(
            "train_and_evaluate evaluates checkpoints, but none are to be saved: set "
            "save_checkpoints_steps or save_checkpoints_secs in the RunConfig"
        )
    if getattr(estimator.config, "cs_ip", None):
        raise UsageError(
            "The wafer trains or evaluates, not both in turns: use train_and_evaluate "
            "on CPU or GPU, without cs_ip"
        )
    listener = _EvaluationListener(estimator, train_spec, eval_spec)
    estimator.train(
        train_spec.input_fn,
        hooks=list(train_spec.hooks),
        max_steps=train_spec.max_steps,
        saving_listeners=[*train_spec.saving_listeners, listener],
    )
    return listener.metrics, listener.exports


class _EvaluationListener(tf.compat.v1.train.CheckpointSaverListener):
    def __init__(
        self, estimator: CerebrasEstimator, train_spec: TrainSpec, eval_spec: EvalSpec
    ):
        self._estimator = estimator
        self._max_steps = train_spec.max_steps
        self._spec = eval_spec
        self._evaluated_at: tuple[int, float] | None = None
        self._first = True
        self.metrics: dict[str, Any] | None = None
        self.exports: list[Any] = []

    def after_save(self, session: Any, global_step_value: int) -> None:
        # The first checkpoint is written before any step.
        if self._first:
            self._first = False
        elif self._is_due():
            self._evaluate(global_step_value)
        else:
            log.info("No evaluation of this checkpoint: throttle_secs is not over")

    def end(self, session: Any, global_step_value: int) -> None:
        if self._evaluated_at is None or self._evaluated_at[0] != global_step_value:
            self._evaluate(global_step_value)

    def _is_due(self) -> bool:
        if self._evaluated_at is None:
            return True
        return time.monotonic() - self._evaluated_at[1] >= self._spec.throttle_secs

    def _evaluate(self, global_step: int) -> None:
        if interrupts.noted():
            return
        spec = self._spec
        path = self._estimator.latest_checkpoint()
        assert path is not None  # called because one was saved
        with interrupts.all_steps_saved():
            self.metrics = self._estimator.evaluate(
                spec.input_fn,
                steps=spec.steps,
                hooks=list(spec.hooks),
                checkpoint_path=path,
                name=spec.name,
            )
        self._evaluated_at = global_step, time.monotonic()
        is_final = self._max_steps is not None and global_step >= self._max_steps
        self.exports = [
            exporter.export(
                self._estimator,
                os.path.join(self._estimator.model_dir, "export", exporter.name),
                path,
                self.metrics,
                is_final,
            )
            for exporter in spec.exporters
        ]
