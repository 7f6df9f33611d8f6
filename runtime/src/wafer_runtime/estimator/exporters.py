"""The exporters of train_and_evaluate: after which evaluations to write SavedModels."""

import abc
import os
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import UsageError
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.contract import argument_names

_Metrics = Mapping[str, Any]


class Exporter(abc.ABC):
    """Something that writes a model down after an evaluation."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The folder below `model_dir/export` that it writes to."""

    @abc.abstractmethod
    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str,
        eval_result: _Metrics,
        is_the_final_export: bool,
    ) -> str | None:
        """The path of what was written into `export_path`, or None."""


class _SavedModelExporter(Exporter):
    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: UserFn,
        assets_extra: dict[str, str] | None = None,
        as_text: bool = False,
    ):
        self._name = name
        self._receiver_fn = serving_input_receiver_fn
        self._arguments: dict[str, Any] = {
            "assets_extra": assets_extra,
            "as_text": as_text,
        }

    @property
    def name(self) -> str:
        return self._name

    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str,
        eval_result: _Metrics,
        is_the_final_export: bool,
    ) -> str | None:
        if not self._is_wanted(estimator, eval_result, is_the_final_export):
            return None
        exported: str = estimator.export_saved_model(
            export_path,
            self._receiver_fn,
            checkpoint_path=checkpoint_path,
            **self._arguments,
        )
        return exported

    @abc.abstractmethod
    def _is_wanted(self, estimator: Any, metrics: _Metrics, is_final: bool) -> bool:
        """Whether to export after this evaluation."""


class FinalExporter(_SavedModelExporter):
    """Exports once, after the last evaluation of train_and_evaluate."""

    def _is_wanted(self, estimator: Any, metrics: _Metrics, is_final: bool) -> bool:
        return is_final


class _KeepingExporter(_SavedModelExporter):
    """Removes the oldest exports; exports_to_keep None keeps all."""

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: UserFn,
        assets_extra: dict[str, str] | None,
        as_text: bool,
        exports_to_keep: int | None,
    ):
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text)
        if exports_to_keep is not None and exports_to_keep <= 0:
            raise UsageError(
                f"exports_to_keep, if provided, must be a positive number, given: "
                f"{exports_to_keep}"
            )
        self._exports_to_keep = exports_to_keep

    def export(self, estimator: Any, export_path: str, *evaluation: Any) -> str | None:
        exported = super().export(estimator, export_path, *evaluation)
        if exported and self._exports_to_keep:
            for old in _exports(export_path)[: -self._exports_to_keep]:
                tf.io.gfile.rmtree(os.path.join(export_path, old))
        return exported


class LatestExporter(_KeepingExporter):
    """Exports after every evaluation, and keeps the newest few."""

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: UserFn,
        assets_extra: dict[str, str] | None = None,
        as_text: bool = False,
        exports_to_keep: int | None = 5,
    ):
        super().__init__(
            name, serving_input_receiver_fn, assets_extra, as_text, exports_to_keep
        )

    def _is_wanted(self, estimator: Any, metrics: _Metrics, is_final: bool) -> bool:
        return True


def loss_smaller(best_eval_result: _Metrics, current_eval_result: _Metrics) -> bool:
    """Whether the current loss is below the best one, `{"loss": ...}` in both."""
    for name, result in (
        ("best_eval_result", best_eval_result),
        ("current_eval_result", current_eval_result),
    ):
        if not result or "loss" not in result:
            raise UsageError(f"{name} is {result!r}: no loss is found in it")
    return bool(best_eval_result["loss"] > current_eval_result["loss"])


class BestExporter(_KeepingExporter):
    """Exports when an evaluation was better than any before it.

    event_file_pattern: of the evaluations before this run, relative to model_dir; None
        leaves them out.
    compare_fn: `compare_fn(best_eval_result, current_eval_result)`, both
        `{metric: value}`, whether the current one is better.
    """

    def __init__(
        self,
        name: str = "best_exporter",
        serving_input_receiver_fn: Any = None,
        event_file_pattern: str | None = "eval/*.tfevents.*",
        compare_fn: Callable[..., bool] = loss_smaller,
        assets_extra: dict[str, str] | None = None,
        as_text: bool = False,
        exports_to_keep: int | None = 5,
    ):
        super().__init__(
            name, serving_input_receiver_fn, assets_extra, as_text, exports_to_keep
        )
        names = argument_names(compare_fn) if callable(compare_fn) else ()
        if set(names) != {"best_eval_result", "current_eval_result"}:
            raise UsageError(
                f"compare_fn is {compare_fn!r}; wanted a function that takes "
                "best_eval_result and current_eval_result, by these names"
            )
        self._better = compare_fn
        self._pattern = event_file_pattern
        self._model_dir: str | None = None
        self._best: _Metrics | None = None
        self._has_exported = False

    def _is_wanted(self, estimator: Any, metrics: _Metrics, is_final: bool) -> bool:
        if self._pattern and self._model_dir != estimator.model_dir:
            self._model_dir = estimator.model_dir
            self._best = self._best_before(
                os.path.join(estimator.model_dir, self._pattern)
            )
        wanted = not self._has_exported or self._best is None or self._is_best(metrics)
        if wanted:
            self._best, self._has_exported = metrics, True
        return wanted

    def _is_best(self, metrics: _Metrics) -> bool:
        return self._best is None or self._better(
            best_eval_result=self._best, current_eval_result=metrics
        )

    def _best_before(self, pattern: str) -> _Metrics | None:
        """The best result in event files; this run's first export is made anyway."""
        self._best = None
        for path in sorted(tf.io.gfile.glob(pattern)):
            for event in tf1.train.summary_iterator(path):
                values = {
                    value.tag: value.simple_value
                    for value in event.summary.value
                    if value.HasField("simple_value")
                }
                if values and self._is_best(values):
                    self._best = values
        return self._best


def _exports(folder: str) -> list[str]:
    """The exports in a folder, oldest first: their names are times in seconds."""
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(folder)]
    return sorted(name for name in names if len(name) == 10 and name.isdigit())
