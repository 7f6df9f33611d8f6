"""The forms of `tf.estimator` that the driver itself has no use for."""

import abc
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wafer_runtime.estimator import (
    CerebrasEstimator,
    EstimatorSpec,
    ModeKeys,
    RunConfig,
    export,
)
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.contract import argument_names

LOSS_METRIC_KEY = "loss"


class _AnyDriver(abc.ABCMeta):
    """The vendor's estimator was a `tf.estimator.Estimator`, and code asks for that."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is Estimator:
            return isinstance(instance, CerebrasEstimator)
        return super().__instancecheck__(instance)


class Estimator(CerebrasEstimator, metaclass=_AnyDriver):
    """The driver, made with the arguments of `tf.estimator.Estimator`, in its order."""

    def __init__(
        self,
        model_fn: UserFn,
        model_dir: Any = None,
        config: RunConfig | None = None,
        params: Any = None,
        warm_start_from: Any = None,
    ):
        super().__init__(model_fn, model_dir, None, config, params, warm_start_from)

    _takes_keras_metrics = True

    @property
    def model_fn(self) -> UserFn:
        """`model_fn(features, labels, mode, config)`, with the params filled in."""
        function, params = super().model_fn, self.params

        def model_fn(features: Any, labels: Any, mode: str, config: Any) -> Any:
            given = {"labels": labels, "mode": mode, "params": params, "config": config}
            taken = argument_names(function)
            return function(features, **{k: v for k, v in given.items() if k in taken})

        return model_fn

    def export_saved_model(  # type: ignore[override]
        self,
        export_dir_base: Any,
        serving_input_receiver_fn: UserFn,
        assets_extra: dict[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
        experimental_mode: str = ModeKeys.PREDICT,
    ) -> bytes:
        """As the driver's, for any mode; the path is bytes, as it was."""
        return self.experimental_export_all_saved_models(
            export_dir_base,
            {experimental_mode: serving_input_receiver_fn},
            assets_extra,
            as_text,
            checkpoint_path,
        )

    def experimental_export_all_saved_models(
        self,
        export_dir_base: Any,
        input_receiver_fn_map: Mapping[str, UserFn],
        assets_extra: dict[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
    ) -> bytes:
        """One SavedModel with the graphs of several modes, `{mode: receiver_fn}`."""
        path = export.export_saved_model(
            self._setup,
            checkpoint_path or self._start(),
            export_dir_base,
            input_receiver_fn_map,
            assets_extra or {},
            as_text,
        )
        return os.fsencode(path)

    def export_savedmodel(
        self,
        export_dir_base: Any,
        serving_input_receiver_fn: UserFn,
        assets_extra: dict[str, str] | None = None,
        as_text: bool = False,
        checkpoint_path: str | None = None,
        strip_default_attrs: bool = True,
    ) -> bytes:
        """The same by its name in TensorFlow 1; attributes' defaults are left out."""
        return self.export_saved_model(
            export_dir_base,
            serving_input_receiver_fn,
            assets_extra,
            as_text,
            checkpoint_path,
        )


class TaskType:
    """The roles of a process in TF_CONFIG."""

    MASTER = "master"
    PS = "ps"
    WORKER = "worker"
    CHIEF = "chief"
    EVALUATOR = "evaluator"


class ArgSpec(NamedTuple):
    """What `inspect.getargspec` returned until Python 3.10."""

    args: list[str]
    varargs: str | None
    keywords: str | None
    defaults: tuple[Any, ...] | None


def getargspec(function: Callable[..., Any]) -> ArgSpec:
    """The arguments of a function, or of a class by its `__new__` or `__init__`.

    Raises ValueError for keyword-only arguments, which it could not express.
    """
    if inspect.isclass(function):
        own_new = function.__new__ is not object.__new__
        function = function.__new__ if own_new else function.__init__
    spec = inspect.getfullargspec(function)
    if spec.kwonlyargs:
        raise ValueError(
            f"{function!r} has keyword-only arguments ({', '.join(spec.kwonlyargs)}); "
            "use inspect.signature()"
        )
    return ArgSpec(spec.args, spec.varargs, spec.varkw, spec.defaults)


def add_metrics(
    estimator: Estimator, metric_fn: Callable[..., Mapping[str, Any]]
) -> Estimator:
    """An estimator like `estimator` whose evaluations have more metrics.

    metric_fn: takes, by name, any of features, labels, predictions and config, and
    returns `{name: (value, update_op)}`; a metric of the same name is replaced.
    """
    wanted = argument_names(metric_fn)
    original = estimator.model_fn

    def model_fn(features: Any, labels: Any, mode: str, config: Any) -> EstimatorSpec:
        spec = original(features, labels, mode, config)
        if mode != "eval":
            return spec
        known = {
            "features": features,
            "labels": labels,
            "predictions": spec.predictions,
            "config": config,
        }
        added = metric_fn(**{name: known[name] for name in wanted})
        return spec._replace(eval_metric_ops=dict(spec.eval_metric_ops) | dict(added))

    return Estimator(model_fn, estimator.model_dir, estimator.config)
