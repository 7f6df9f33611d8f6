"""CerebrasEstimator: the object that runs a model_fn."""

import copy
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from wafer_runtime.errors import CheckpointError, UsageError, did_you_mean
from wafer_runtime.estimator import calls, checkpoints, export, wafer
from wafer_runtime.estimator import compile as compile_lib
from wafer_runtime.estimator import evaluate as evaluate_lib
from wafer_runtime.estimator import predict as predict_lib
from wafer_runtime.estimator import train as train_lib
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.compile import Compiled
from wafer_runtime.estimator.machine import Machine
from wafer_runtime.estimator.run_config import CSRunConfig, RunConfig
from wafer_runtime.estimator.sessions import Setup
from wafer_runtime.estimator.specs import (
    ModeKeys,
    check_counts,
    check_hooks,
    check_kind,
    check_listeners,
)
from wafer_runtime.system import check_simulated

log = logging.getLogger("wafer_runtime")


class CerebrasEstimator:
    """Trains, evaluates and predicts with a model_fn, as `tf.estimator.Estimator` did.

    model_fn: `model_fn(features, labels, mode, params, config) -> EstimatorSpec`; it
        may leave out arguments that it does not use.
    model_dir: checkpoints and event files; `config.model_dir`, or a new temporary
        folder, when None.
    compile_dir: where compilations are kept; model_dir when None.
    config: a RunConfig or CSRunConfig.
    params: handed to model_fn and input_fn as they are.
    warm_start_from: a checkpoint's path, a model_dir, or WarmStartSettings.

    Every `input_fn` is called as `input_fn(params, mode, config)` by name, as far as it
    takes these, and returns a tf.data.Dataset of (features, labels), or the tensors
    themselves.
    """

    # They would keep the model from the wafer.
    _takes_keras_metrics = False

    def __init__(
        self,
        model_fn: UserFn,
        model_dir: str | os.PathLike[str] | None = None,
        compile_dir: str | None = None,
        config: RunConfig | None = None,
        params: Any = None,
        warm_start_from: Any = None,
    ):
        config = CSRunConfig() if config is None else config
        check_kind("config", config, RunConfig)
        calls.check_model_fn(model_fn, params)
        directory = _choose_model_dir(model_dir, config.model_dir)
        self._setup = Setup(
            model_fn=model_fn,
            params=copy.deepcopy(params or {}),
            config=config.replace(model_dir=directory),
            model_dir=directory,
            warm_start=checkpoints.as_warm_start(warm_start_from),
            takes_keras_metrics=self._takes_keras_metrics,
        )
        self.compile_dir = compile_dir or directory

    @property
    def model_dir(self) -> str:
        """Where checkpoints and event files are."""
        return self._setup.model_dir

    @property
    def config(self) -> RunConfig:
        """The run's configuration, its model_dir filled in."""
        return self._setup.config

    @property
    def params(self) -> Any:
        """A copy of the parameters."""
        return copy.deepcopy(self._setup.params)

    @property
    def model_fn(self) -> UserFn:
        """The user's model_fn."""
        return self._setup.model_fn

    def train(
        self,
        input_fn: UserFn,
        hooks: Sequence[Any] | None = None,
        steps: int | None = None,
        max_steps: int | None = None,
        saving_listeners: Sequence[Any] | None = None,
        use_cs: bool = True,
    ) -> "CerebrasEstimator":
        """Train `steps` more steps, or until global step `max_steps`, or (with neither)
        until the data end; from the latest checkpoint of model_dir if there is one.

        Ctrl-C and SIGTERM save a checkpoint, then raise TrainingInterrupted. Returns
        self. Raises UsageError, ContractError, CheckpointError, NonFiniteLossError.
        """
        check_counts(steps=steps, max_steps=max_steps)
        if steps and max_steps:
            raise UsageError("Can not provide both steps and max_steps.")
        hooks = check_hooks(hooks)
        if not self.config.is_chief:
            raise UsageError(
                f"TF_CONFIG makes this {self.config.task_type} {self.config.task_id}, "
                "but training runs on one machine: only the chief may train"
            )
        on_wafer = use_cs and self._is_on_wafer()
        if on_wafer:
            wafer.check_training(self._setup, input_fn, hooks, steps or max_steps)
        start = checkpoints.latest_global_step(self.model_dir)
        if max_steps is not None and start >= max_steps:
            log.info("Global step %d is at max_steps already; nothing to train", start)
            return self
        machine = Machine()
        if on_wafer:
            machine = self._programmed(input_fn, ModeKeys.TRAIN, self.model_dir)
        listeners = check_listeners(saving_listeners)
        train_lib.train(
            self._setup, input_fn, hooks, steps, max_steps, listeners, machine
        )
        return self

    def evaluate(
        self,
        input_fn: UserFn,
        steps: int | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | None = None,
        name: str | None = None,
        use_cs: bool = False,
    ) -> dict[str, Any]:
        """Metrics over `steps` batches (None: until the data end).

        Returns `{metric: value}` with `loss` and `global_step`, and writes them to the
        event file in `eval` (`eval_<name>`). The checkpoint is the latest by default.
        """
        check_counts(steps=steps)
        hooks = check_hooks(hooks)
        machine = Machine()
        if use_cs and self._is_on_wafer():
            wafer.check_evaluation(hooks, steps)
            machine = self._programmed(input_fn, ModeKeys.EVAL, self.eval_dir(name))
        return evaluate_lib.evaluate(
            self._setup, input_fn, steps, hooks, checkpoint_path, name, machine
        )

    def predict(
        self,
        input_fn: UserFn,
        predict_keys: Sequence[str] | str | None = None,
        hooks: Sequence[Any] | None = None,
        checkpoint_path: str | None = None,
        yield_single_examples: bool = True,
        num_samples: int | None = None,
        use_cs: bool = False,
    ) -> Iterator[Any]:
        """Yield the predictions of one sample after the other (or batch after batch),
        at most `num_samples` samples; only `predict_keys` of them if given.

        Nothing is built until the first is asked for.
        """
        check_counts(num_samples=num_samples)
        if num_samples and not yield_single_examples:
            raise UsageError(
                "num_samples counts single samples: leave it out, or set "
                "yield_single_examples=True"
            )
        if use_cs and self._is_on_wafer():
            raise UsageError(
                "The wafer trains and evaluates: predict on CPU or GPU (use_cs=False)"
            )
        return predict_lib.predict(
            self._setup,
            input_fn,
            predict_keys,
            check_hooks(hooks),
            checkpoint_path,
            yield_single_examples,
            num_samples,
        )

    def compile(
        self, input_fn: UserFn, validate_only: bool = False, mode: str = ModeKeys.TRAIN
    ) -> str:
        """Place the model on the wafer; with `validate_only` up to kernel matching.

        `params["runconfig"]` may say for which `system` (a name or a YAML file) and how
        to look for a placement: place_seconds, place_seed, place_iterations,
        multireplica. Returns the folder of the compilation,
        `compile_dir/cs_<64 hex digits>`, which is found there again when the same model
        is compiled for the same system by the same release. Raises MappingError,
        whose message lists everything that cannot run on the wafer, or by how much it
        does not fit, and nothing is written.
        """
        compiled = self.validate if validate_only else self.place
        return str(compiled(input_fn, mode).path)

    def validate(self, input_fn: UserFn, mode: str = ModeKeys.TRAIN) -> Compiled:
        """As `compile(validate_only=True)`, but returns what is in the folder."""
        return compile_lib.validate(self._setup, input_fn, mode, self.compile_dir)

    def place(self, input_fn: UserFn, mode: str = ModeKeys.TRAIN) -> Compiled:
        """As `compile()`, but returns what is in the folder, with the plan."""
        return compile_lib.place(self._setup, input_fn, mode, self.compile_dir)

    def latest_checkpoint(self) -> str | None:
        """The path of the newest checkpoint, without suffix, or None."""
        return checkpoints.latest(self.model_dir)

    def get_variable_names(self) -> list[str]:
        """The names of the variables in the latest checkpoint."""
        return [name for name, _ in tf.train.list_variables(self._trained())]

    def get_variable_value(self, name: str) -> Any:
        """A variable's value in the latest checkpoint, as a numpy array.

        Raises CheckpointError if there is none of that name.
        """
        path, names = self._trained(), self.get_variable_names()
        if name.removesuffix(":0") not in names:
            raise CheckpointError(
                f'{path}: holds no variable "{name}"{did_you_mean(name, names)}; '
                f"there are {', '.join(names)}"
            )
        return tf.train.load_variable(path, name)

    def eval_dir(self, name: str | None = None) -> str:
        """Where `evaluate(name=name)` writes."""
        return evaluate_lib.eval_dir(self.model_dir, name)

    def export_saved_model(
        self,
        export_dir_base: str,
        serving_input_receiver_fn: UserFn,
        assets_extra: dict[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
    ) -> str:
        """Write a SavedModel for serving into a new time-stamped folder of
        `export_dir_base`, and return that folder's path.

        serving_input_receiver_fn returns a ServingInputReceiver. assets_extra maps a
        name under `assets.extra/` to the file to copy there.
        """
        return export.export_saved_model(
            self._setup,
            checkpoint_path or self._start(),
            export_dir_base,
            {ModeKeys.PREDICT: serving_input_receiver_fn},
            assets_extra or {},
            as_text,
        )

    def _start(self) -> str | None:
        """A checkpoint to start from; None if a warm start is in its place."""
        if self._setup.warm_start:
            return self.latest_checkpoint()
        return self._trained()

    def _trained(self) -> str:
        path = self.latest_checkpoint()
        if path is None:
            raise CheckpointError(
                f"{self.model_dir}: holds no checkpoint. Train the model first."
            )
        return path

    def _is_on_wafer(self) -> bool:
        """Whether the configuration names the simulated wafer; a real one is refused"""
        cs_ip = getattr(self.config, "cs_ip", None)
        if cs_ip:
            check_simulated(cs_ip)
        return bool(cs_ip)

    def _programmed(self, input_fn: UserFn, mode: str, folder: str) -> Machine:
        return wafer.programmed(self._setup, input_fn, mode, self.compile_dir, folder)


def _choose_model_dir(given: Any, configured: str | None) -> str:
    if given and configured and os.fspath(given) != configured:
        raise UsageError(
            f"model_dir is {os.fspath(given)!r} and config.model_dir is "
            f"{configured!r}; give one of them"
        )
    directory = os.fspath(given or configured or "")
    if wild := set("*?[") & set(directory):
        raise UsageError(
            f"model_dir is {directory!r}: TensorFlow cannot load checkpoints from a "
            f"folder with {' '.join(sorted(wild))} in its path. Take another name"
        )
    if os.path.isfile(directory):
        raise UsageError(
            f"model_dir is {directory!r}, which is a file: take the name of a folder"
        )
    if directory:
        return directory
    directory = tempfile.mkdtemp()
    log.warning("No model_dir: using the temporary folder %s", directory)
    return directory
