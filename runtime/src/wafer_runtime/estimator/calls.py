"""Calls the user's model_fn and input_fn, by argument name, in the current graph."""

import contextlib
import contextvars
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tf_keras.src.engine import base_layer_v1

from wafer_runtime import source
from wafer_runtime.errors import InputFnError, ModelFnError
from wafer_runtime.estimator import contract, keras_metrics
from wafer_runtime.estimator.graph import ancestors
from wafer_runtime.estimator.specs import EstimatorSpec, ModeKeys, check_input_fn

UserFn = Callable[..., Any]
_MODEL_FN_ARGUMENTS = ("features", "labels", "mode", "params", "config", "self")
_KERAS_LOOPS = ("compile", "fit", "evaluate", "predict", "train_on_batch")


class Inputs(NamedTuple):
    """What an input_fn gave: tensors of one batch, and what starts producing them.

    `dataset` is None when the input_fn returned tensors.
    """

    features: Any
    labels: Any
    dataset: tf.data.Dataset | None
    initializer: tf.Operation


_building = contextvars.ContextVar("_building", default=False)


def refuse_nesting(mode: str) -> None:
    """Raise ModelFnError when the estimator is called from inside a model_fn."""
    if _building.get():
        method = {ModeKeys.TRAIN: "train", ModeKeys.EVAL: "evaluate"}.get(
            mode, "predict"
        )
        raise ModelFnError(
            f"{source.caller()}: {method}() was called inside model_fn. model_fn only "
            "builds the graph: return the loss and train_op, and call "
            f"{method}() from outside."
        )


def check_model_fn(model_fn: UserFn, params: Any) -> None:
    """Refuse a model_fn that could not be called, before anything is built."""
    if not callable(model_fn):
        raise ModelFnError(
            f"model_fn must be a function, given: {model_fn!r}; wanted "
            "model_fn(features, labels, mode, params) -> EstimatorSpec"
        )
    names = contract.argument_names(model_fn)
    where = source.of_function(model_fn)
    if "features" not in names:
        raise ModelFnError(f"{where}: model_fn must take an argument named features.")
    if params is not None and "params" not in names:
        raise ModelFnError(
            f"{where}: model_fn takes no params, but the estimator was given some. "
            "Add the argument: def model_fn(features, labels, mode, params)."
        )
    unknown = [name for name in names if name not in _MODEL_FN_ARGUMENTS]
    if unknown:
        raise ModelFnError(
            f"{where}: model_fn has arguments nobody gives: {', '.join(unknown)}; it "
            "is called with features, labels, mode, params and config, by name."
        )


def call_input_fn(input_fn: UserFn, mode: str, params: Any, config: Any) -> Inputs:
    """One batch of the user's input, as tensors of the current graph."""
    check_input_fn(input_fn)
    available = {"mode": mode, "params": params, "config": config}
    names = contract.argument_names(input_fn)
    where = source.of_function(input_fn)
    with tf.device("/cpu:0"):
        result = input_fn(**{k: v for k, v in available.items() if k in names})
        dataset, initializer = None, tf.no_op()
        if isinstance(result, tf.data.Dataset):
            dataset = result
            iterator = tf1.data.make_initializable_iterator(dataset)
            result, initializer = iterator.get_next(), iterator.initializer
    features, labels = _split(where, result, mode)
    contract.check_features(where, features, labels)
    return Inputs(features, labels, dataset, initializer)


def call_model_fn(
    model_fn: UserFn, inputs: Inputs, mode: str, params: Any, config: Any
) -> EstimatorSpec:
    """The user's specification for `mode`, checked."""
    names = contract.argument_names(model_fn)
    where = source.of_function(model_fn)
    labels = None if mode == ModeKeys.PREDICT else inputs.labels
    if labels is not None and "labels" not in names:
        raise ModelFnError(
            f"{where}: model_fn does not take labels, but input_fn returns labels."
        )
    available = {"labels": labels, "mode": mode, "params": params, "config": config}
    kwargs = {name: value for name, value in available.items() if name in names}
    token = _building.set(True)
    try:
        with _keras_loops_refused(), _keras_3_refused(), _keras_updates_collected():
            spec = model_fn(features=inputs.features, **kwargs)
    finally:
        _building.reset(token)
    if not isinstance(spec, EstimatorSpec):
        raise ModelFnError(
            f"{where}: model_fn should return an EstimatorSpec, "
            f"returned {type(spec).__name__}."
        )
    if spec.mode != mode:
        raise ModelFnError(
            f"{where}: called with mode {mode!r}, model_fn returned a specification "
            f"for mode {spec.mode!r}; pass on the mode it was given."
        )
    return spec


def call_host(spec: EstimatorSpec) -> Mapping[str, Any]:
    """The metrics of a specification; its host_call's function is called."""
    with _keras_loops_refused():
        return contract.host_metrics(spec)


def _split(where: str, result: Any, mode: str) -> tuple[Any, Any]:
    if isinstance(result, list | tuple):
        if len(result) == 2:
            return result[0], result[1]
        raise InputFnError(
            f"{where}: input_fn should return (features, labels), returned "
            f"{len(result)} parts. Put the features together in a dict."
        )
    if mode != ModeKeys.PREDICT and result is None:
        raise InputFnError(f"{where}: input_fn returned None; a dataset was wanted.")
    return result, None


@contextlib.contextmanager
def _keras_loops_refused() -> Iterator[None]:
    """Keras's loops and metrics would train or count behind the estimator's back."""

    def refuse(message: str) -> Callable[..., NoReturn]:
        def call(*_: Any, **__: Any) -> NoReturn:
            raise ModelFnError(f"{source.caller()}: {message}")

        return call

    def loop(name: str) -> str:
        return (
            f"Model.{name} was called inside model_fn. The estimator runs the steps: "
            "use Keras layers, and return the loss and train_op in an EstimatorSpec."
        )

    places = [(tf.keras.Model, name, refuse(loop(name))) for name in _KERAS_LOOPS]
    made = _noting_metric() or refuse(contract.NO_KERAS_METRICS)
    with _replaced([*places, (tf.keras.metrics.Metric, "__init__", made)]):
        yield


def _noting_metric() -> Callable[..., Any] | None:
    lines = keras_metrics.noted_lines()
    if lines is None:
        return None
    original = tf.keras.metrics.Metric.__init__

    def note(*args: Any, **kwargs: Any) -> None:
        if (line := source.caller()) not in lines:
            lines.append(line)
        original(*args, **kwargs)

    return note


@contextlib.contextmanager
def _keras_updates_collected() -> Iterator[None]:
    """Put Keras layers' updates (moving averages) where tf.compat.v1.layers' are."""
    layer_class = base_layer_v1.Layer
    add_update = layer_class.add_update

    def add_and_collect(layer: Any, updates: Any) -> None:
        known = list(layer.updates)
        add_update(layer, updates)
        if keras_metrics.is_metric(layer):
            return  # updated by evaluations, not by steps
        for update in layer.updates:
            # A functional model's layers also update on the placeholders of its inputs.
            fed = any(op.type == "Placeholder" for op in ancestors([update]))
            if update not in known and not fed:
                tf1.add_to_collection(tf1.GraphKeys.UPDATE_OPS, update)

    with _replaced([(layer_class, "add_update", add_and_collect)]):
        yield


@contextlib.contextmanager
def _replaced(places: list[tuple[type, str, Any]]) -> Iterator[None]:
    originals = [(owner, name, vars(owner)[name]) for owner, name, _ in places]
    for owner, name, value in places:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)


@contextlib.contextmanager
def _keras_3_refused() -> Iterator[None]:
    """Keras 3 layers build in a graph but misbehave there (state, training phase)."""
    graph = tf1.get_default_graph()
    try:
        yield
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if any(_is_keras_3(frame.filename) for frame in frames):
            raise _keras_3_error(source.of_exception(error)) from error
        raise
    if "keras.src.layers" in sys.modules:
        for op in graph.get_operations():
            if any(_is_keras_3(frame.filename) for frame in source.frames_of(op)):
                raise _keras_3_error(source.of_op(op))


def _is_keras_3(filename: str) -> bool:
    # Keras 2 is the package tf_keras, so only Keras 3 has these paths.
    path = Path(filename).as_posix()
    return any(f"/keras/src/{part}/" in path for part in ("layers", "models"))


def _keras_3_error(where: str) -> ModelFnError:
    return ModelFnError(
        f"{where}: a Keras 3 layer, which does not work in an Estimator's graph. "
        "Use the layers of tf_keras: from tf_keras import layers (or tf.keras.layers)."
    )
