"""The contract of model_fn and input_fn, and the errors that name the broken line."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tensorflow.python.saved_model.model_utils import export_utils

from wafer_runtime import source
from wafer_runtime.errors import InputFnError, ModelFnError
from wafer_runtime.estimator import keras_metrics

MODES = ("train", "eval", "infer")
_HOOK_FIELDS = (
    "training_chief_hooks",
    "training_hooks",
    "evaluation_hooks",
    "prediction_hooks",
)
_CONSTANTS = (np.ndarray, np.generic, int, float, str, bytes)
_METRIC_FORM = "a dict {name: (value, update_op)}, as tf.compat.v1.metrics.* return it"

NO_KERAS_METRICS = (
    "The Keras metrics API is not supported: use tf.compat.v1.metrics in host_call "
    "(an EstimatorSpec's eval_metric_ops), "
    'such as {"accuracy": tf.compat.v1.metrics.accuracy(labels, predictions)}'
)


def argument_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names that `function` can be called with; partials and methods included."""
    bound = getattr(function, "keywords", {})  # what a functools.partial gave already
    return tuple(
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in bound and parameter.kind is not parameter.VAR_KEYWORD
    )


def check_spec(fields: dict[str, Any]) -> dict[str, Any]:
    """Check an EstimatorSpec's fields; returns them with defaults filled in."""
    where = source.caller()
    mode = fields["mode"]
    if mode not in MODES:
        raise _broken(where, f"mode is {mode!r}; wanted one of {', '.join(MODES)}")
    _check_required(where, fields)
    _check_graph(where, fields)
    checked = fields | {
        "loss": _check_loss(where, fields["loss"]),
        "train_op": _check_train_op(where, fields["train_op"]),
        "predictions": _check_predictions(where, fields["predictions"]),
        "eval_metric_ops": _check_metrics(
            where, "eval_metric_ops", fields["eval_metric_ops"] or {}
        ),
        "host_call": _check_host_call(where, fields),
        "scaffold": _check_scaffold(where, fields["scaffold"]),
        **{name: _check_hooks(where, name, fields[name]) for name in _HOOK_FIELDS},
    }
    if mode == "infer":
        checked["export_outputs"] = _check_outputs(where, checked)
    return checked


def host_metrics(spec: Any) -> Mapping[str, Any]:
    """The metrics of a specification, from host_call or eval_metric_ops."""
    if spec.host_call is None:
        return spec.eval_metric_ops
    if isinstance(spec.host_call, Mapping):
        return spec.host_call
    function, tensors = spec.host_call
    where = source.of_function(function)
    return _check_metrics(
        where, "what host_call's function returned", function(*tensors)
    )


def check_features(where: str, features: Any, labels: Any) -> None:
    """Features and labels are tensors, or (nested) dicts, tuples and lists of some.

    Arrays and numbers, which operations take for constants, are passed on as they are.
    """
    if features is None:
        raise _broken_input(
            where, "features are None; wanted a tensor or a dict of tensors"
        )
    _check_structure(where, "features", features)
    if labels is not None:
        _check_structure(where, "labels", labels)


def _check_structure(where: str, name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_structure(where, f"{name}[{key!r}]", item)
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            _check_structure(where, f"{name}[{i}]", item)
    elif not tf.is_tensor(value) and not isinstance(value, _CONSTANTS):
        raise _broken_input(
            where,
            f"{name} is a {type(value).__name__}; wanted a tensor or a (nested) dict "
            "of tensors. Return a tf.data.Dataset of (features, labels)",
        )


def _check_required(where: str, fields: dict[str, Any]) -> None:
    mode = fields["mode"]
    needed = {
        "train": ("loss", "train_op"),
        "eval": ("loss",),
        "infer": ("predictions",),
    }
    hints = {
        "loss": "return the scalar to be lowered: EstimatorSpec(mode, loss=loss)",
        "train_op": "return EstimatorSpec(mode, loss=loss, train_op=optimizer.minimize("
        "loss, global_step=tf.compat.v1.train.get_global_step()))",
        "predictions": "return EstimatorSpec(mode, predictions={name: tensor})",
    }
    for name in needed[mode]:
        if fields[name] is None:
            raise _broken(
                where, f"Missing {name}: mode {mode!r} needs it; {hints[name]}"
            )


def _check_loss(where: str, loss: Any) -> Any:
    if loss is None:
        return None
    if not tf.is_tensor(loss):
        raise _broken(where, f"loss must be Tensor, given: {loss!r}")
    if loss.shape.num_elements() in (None, 1):
        return tf.reshape(loss, [])
    raise _broken(
        where,
        f"Loss must be scalar, given shape {loss.shape} (made at "
        f"{source.of_op(loss.op)}); take its mean: tf.reduce_mean(loss)",
    )


def _check_train_op(where: str, train_op: Any) -> Any:
    if train_op is None or isinstance(train_op, tf.Operation) or tf.is_tensor(train_op):
        return getattr(train_op, "op", train_op)
    raise _broken(where, f"train_op must be Operation or Tensor, given: {train_op!r}")


def _check_predictions(where: str, predictions: Any) -> Any:
    if predictions is None:
        return {}
    items = (
        predictions.items() if isinstance(predictions, Mapping) else [("", predictions)]
    )
    for key, value in items:
        if not tf.is_tensor(value):
            raise _broken(
                where, f"predictions[{key!r}] must be Tensor, given: {value!r}"
            )
        if isinstance(value, tf.SparseTensor | tf.RaggedTensor):
            raise _broken(
                where,
                f"predictions[{key!r}] is a {type(value).__name__}; make it dense: "
                "tf.sparse.to_dense(x), or x.to_tensor()",
            )
    return predictions


def _check_host_call(where: str, fields: dict[str, Any]) -> Any:
    host_call = fields["host_call"]
    if host_call is None:
        return None
    if fields["eval_metric_ops"]:
        raise _broken(
            where, "host_call and eval_metric_ops are both given; keep host_call"
        )
    if isinstance(host_call, Mapping):
        return _check_metrics(where, "host_call", host_call)
    if (
        isinstance(host_call, list | tuple)
        and len(host_call) == 2
        and callable(host_call[0])
        and isinstance(host_call[1], list | tuple)
        and all(tf.is_tensor(t) or t is None for t in tf.nest.flatten(host_call[1]))
    ):
        return host_call
    raise _broken(
        where,
        f"host_call is {host_call!r}; wanted {_METRIC_FORM}, or (function, [tensors]) "
        "where function(*tensors) returns such a dict; a tensor may be a dict or tuple "
        "of some",
    )


def _check_metrics(where: str, name: str, metrics: Any) -> Mapping[str, Any]:
    if not isinstance(metrics, Mapping):
        raise _broken(
            where, f"{name} is a {type(metrics).__name__}; wanted {_METRIC_FORM}"
        )
    return {key: _pair(where, f"{name}[{key!r}]", m) for key, m in metrics.items()}


def _pair(where: str, name: str, metric: Any) -> Any:
    if "keras" in type(metric).__module__:
        if keras_metrics.noted_lines() is None or not keras_metrics.is_metric(metric):
            kind = f"a Keras {type(metric).__name__}"
            raise _broken(where, f"{name} is {kind}. {NO_KERAS_METRICS}")
        if not metric.updates:
            raise _broken(where, f"{name}: call its update_state(labels, predictions)")
        return keras_metrics.as_pair(metric)
    if not isinstance(metric, tuple | list) or len(metric) != 2:
        raise _broken(where, f"{name} is {metric!r}; wanted {_METRIC_FORM}")
    return metric


def _check_scaffold(where: str, scaffold: Any) -> Any:
    if scaffold is None or isinstance(scaffold, tf1.train.Scaffold):
        return scaffold or tf1.train.Scaffold()
    raise _broken(where, f"scaffold must be a Scaffold, given: {scaffold!r}")


def _check_graph(where: str, fields: dict[str, Any]) -> None:
    """What was made outside model_fn, or by an earlier call of it, cannot be run."""
    graph = tf1.get_default_graph()
    for name in ("loss", "train_op", "predictions", "eval_metric_ops", "host_call"):
        for part in tf.nest.flatten(fields[name]):
            if getattr(part, "graph", graph) is not graph:
                raise _broken(
                    where,
                    f'{name} has "{part.name}", which must be from the default graph: '
                    "make it inside model_fn, each time that this is called",
                )


def _check_outputs(where: str, fields: dict[str, Any]) -> Any:
    """The signatures to export; the predictions if there are no others."""
    try:
        return export_utils.get_export_outputs(
            fields["export_outputs"], fields["predictions"]
        )
    except (TypeError, ValueError) as error:
        raise _broken(where, f"export_outputs: {error}".rstrip(".")) from error


def _check_hooks(where: str, name: str, hooks: Iterable[Any] | None) -> tuple[Any, ...]:
    if isinstance(hooks, tf1.train.SessionRunHook):
        raise _broken(where, f"{name} must be a list, given: {hooks!r}; wanted [hook]")
    hooks = tuple(hooks or ())
    for hook in hooks:
        if not isinstance(hook, tf1.train.SessionRunHook):
            raise _broken(
                where, f"{name} holds {hook!r}; All hooks must be SessionRunHook"
            )
    return hooks


def _broken(where: str, message: str) -> ModelFnError:
    return ModelFnError(f"{where}: {message}.")


def _broken_input(where: str, message: str) -> InputFnError:
    return InputFnError(f"{where}: {message}.")
