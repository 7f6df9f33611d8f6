"""The simulated wafer: steps are computed here, their time is that of the engine."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.compiler.plan import Plan
from wafer_runtime.errors import DatasetEndedError, ModelFnError, UsageError
from wafer_runtime.estimator import calls
from wafer_runtime.estimator import compile as compile_lib
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.input_rate import batches_per_second
from wafer_runtime.estimator.machine import Machine
from wafer_runtime.estimator.sessions import Setup
from wafer_runtime.estimator.specs import EstimatorSpec, ModeKeys
from wafer_runtime.report.performance import limit_line, performance, run_seconds
from wafer_runtime.report.timeline import trace

log = logging.getLogger("wafer_runtime")

# Of a longer run: further batches take as long as the last of these.
_EXECUTED_SAMPLES = 20_000
_EXECUTED_BATCHES = 3
_HOOKS = ("training_hooks", "training_chief_hooks", "evaluation_hooks")


class SimulatedWafer(Machine):
    """A wafer with a plan on it, and the streamers that feed it."""

    def __init__(
        self, plan: Plan, streamers: int, streamer_samples_per_s: float, folder: str
    ):
        self._plan = plan
        self._streamers = streamers
        self._streamer_samples_per_s = streamer_samples_per_s
        self._folder = Path(folder)

    def check(self, spec: EstimatorSpec) -> None:
        """Refuse hooks and eval_metric_ops, which the wafer does not run."""
        for name in _HOOKS:
            if hooks := getattr(spec, name):
                raise ModelFnError(
                    f"model_fn returned {len(hooks)} {name}, but the wafer runs whole "
                    "training loops: hooks work on CPU and GPU only."
                )
        if spec.eval_metric_ops:
            names = ", ".join(spec.eval_metric_ops)
            raise ModelFnError(
                f"model_fn returned eval_metric_ops ({names}), which the wafer does "
                "not run: return them in host_call."
            )

    def trained(
        self, steps: int, batch_size: int | None, seconds: float, steps_per_s: float
    ) -> None:
        """Advance the wafer's clock by these steps; write what it says of them."""
        self._advance("Training", steps)

    def data_ended(self, steps: int, asked: int) -> None:
        """Raise DatasetEndedError: on the wafer training data go on."""
        raise DatasetEndedError(
            f"The training dataset ended after {steps} steps of {asked}; they are "
            "saved. On the wafer it must go on: add .repeat()."
        )

    def evaluated(self, steps: int) -> None:
        """The same for an evaluation."""
        self._advance("Evaluation", steps)

    def _advance(self, what: str, steps: int) -> None:
        if not steps:
            return
        log.info("%s: %d steps pass the simulated wafer, for their time", what, steps)
        # Here, as it loads numba, which takes time and memory.
        from wafer_runtime.simulator.pipeline import execute

        plan = self._plan
        each = plan.replica_batch_size
        samples = steps * plan.batch_size
        batches = max(_EXECUTED_BATCHES, _EXECUTED_SAMPLES // each)
        executed = min(steps, batches) * each
        given = self._streamers * self._streamer_samples_per_s
        timeline = execute(plan, executed, given)
        unlimited = execute(plan, executed)
        seconds = run_seconds(plan, timeline, samples)
        log.info(
            "%s finished with %d samples in %.6g seconds, %.2f samples / second",
            *(what, samples, seconds, samples / seconds),
        )
        streamer = self._streamer_samples_per_s
        log.info(limit_line(timeline, unlimited.samples_per_s, streamer))
        self._folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
            ("performance.json", performance(plan, timeline, samples)),
            ("timeline.json", trace(timeline)),
        ):
            (self._folder / name).write_text(text, encoding="utf-8")


def programmed(
    setup: Setup, input_fn: UserFn, mode: str, compile_dir: str, folder: str
) -> SimulatedWafer:
    """Compile a model, or find it compiled, and have its input ready.

    folder: for performance.json and timeline.json. Raises MappingError.
    """
    plan = compile_lib.place(setup, input_fn, mode, compile_dir, is_to_run=True).plan
    assert plan is not None
    log.info(
        "Programming the simulated %s: using %.3g%% out of %d cores on the fabric",
        *(plan.system, 100 * plan.total_utilization, plan.fabric_cores),
    )
    streamers = _streamers(setup)
    log.info("Waiting for %d streamer(s) to prime the data pipeline", streamers)
    rate = batches_per_second(setup, input_fn, mode) * plan.batch_size
    log.info(
        "A streamer gives %.0f samples / second. Steps are computed on this machine, "
        "at its speed; the wafer's comes at the end",
        rate,
    )
    return SimulatedWafer(plan, streamers, rate, folder)


def check_training(
    setup: Setup, input_fn: UserFn, hooks: Sequence[Any], steps: int | None
) -> None:
    """Raise what the real system would of a training run, before anything is built."""
    _check_hooks(hooks)
    if not steps:
        raise UsageError("Training on the wafer needs steps or max_steps.")
    with tf.Graph().as_default():
        inputs = calls.call_input_fn(
            input_fn, ModeKeys.TRAIN, setup.params, setup.config
        )
        if inputs.dataset is None:
            return
        with tf1.Session() as session:
            batches = session.run(inputs.dataset.cardinality())
    if 0 <= batches < steps:
        raise DatasetEndedError(
            f"The training dataset ends after {batches} batches, but {steps} steps "
            "are asked for. On the wafer it must go on: add .repeat()."
        )


def check_evaluation(hooks: Sequence[Any], steps: int | None) -> None:
    """The same for an evaluation."""
    _check_hooks(hooks)
    if not steps:
        raise UsageError("Evaluation on the wafer needs steps (eval_steps).")


def _check_hooks(hooks: Sequence[Any]) -> None:
    if hooks:
        raise UsageError(
            f"{len(hooks)} hooks were given, but the wafer runs whole training "
            "loops: hooks work on CPU and GPU only."
        )


def _streamers(setup: Setup) -> int:
    """The workers of TF_CONFIG, each with an input pipeline like this one; or this."""
    cluster = setup.config.cluster_spec
    return cluster.num_tasks("worker") if "worker" in cluster.jobs else 1
