"""What a model_fn returns, and what train_and_evaluate is told."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import ModelFnError, UsageError
from wafer_runtime.estimator import contract


class ModeKeys:
    """The modes that a model_fn is called in."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"


class _Fields(NamedTuple):
    mode: str
    predictions: Any
    loss: Any
    train_op: Any
    eval_metric_ops: Any
    export_outputs: Any
    training_chief_hooks: Any
    training_hooks: Any
    scaffold: Any
    evaluation_hooks: Any
    prediction_hooks: Any
    host_call: Any


class EstimatorSpec(_Fields):
    """The operations of one mode, as `tf.estimator.EstimatorSpec` had them.

    mode: one of ModeKeys.
    predictions: a tensor, or a dict of tensors `[batch, ...]`; PREDICT needs it.
    loss: a scalar floating-point tensor; TRAIN and EVAL need it.
    train_op: an operation that applies one update and advances the global step;
        TRAIN needs it.
    eval_metric_ops: `{name: (value, update_op)}`, as tf.compat.v1.metrics returns.
    export_outputs: `{signature: ExportOutput}` for export_saved_model.
    *_hooks: SessionRunHooks to run beside those given to the driver.
    scaffold: a tf.compat.v1.train.Scaffold.

    Raises ModelFnError, naming the line that made the specification.
    """

    __slots__ = ()

    def __new__(
        cls,
        mode: str,
        predictions: Any = None,
        loss: Any = None,
        train_op: Any = None,
        eval_metric_ops: Mapping[str, Any] | None = None,
        export_outputs: Mapping[str, Any] | None = None,
        training_chief_hooks: Iterable[Any] | None = None,
        training_hooks: Iterable[Any] | None = None,
        scaffold: Any = None,
        evaluation_hooks: Iterable[Any] | None = None,
        prediction_hooks: Iterable[Any] | None = None,
    ) -> "EstimatorSpec":
        return cls._checked(
            mode,
            predictions,
            loss,
            train_op,
            eval_metric_ops,
            export_outputs,
            training_chief_hooks,
            training_hooks,
            scaffold,
            evaluation_hooks,
            prediction_hooks,
            None,
        )

    def _replace(self, **changes: Any) -> Any:
        """A copy with other values, checked as a new one; its mode stays."""
        if changes.get("mode", self.mode) != self.mode:
            raise ModelFnError(
                f"mode of a specification cannot be changed from {self.mode!r} to "
                f"{changes['mode']!r}; make a new one"
            )
        return self._checked(*super()._replace(**changes))

    @classmethod
    def _checked(cls, *values: Any) -> Any:
        given = dict(zip(_Fields._fields, values, strict=True))
        return cls._make(contract.check_spec(given)[name] for name in _Fields._fields)


class CSEstimatorSpec(EstimatorSpec):
    """EstimatorSpec plus `host_call`: metrics computed on the host.

    host_call: `{name: (value, update_op)}`, or `(function, [tensors])` where
        `function(*tensors)` returns such a dict. Not beside eval_metric_ops.
    """

    __slots__ = ()

    def __new__(
        cls, mode: str, host_call: Any = None, **spec: Any
    ) -> "CSEstimatorSpec":
        unknown = set(spec) - set(_Fields._fields)
        if unknown:
            raise TypeError(f"CSEstimatorSpec has no argument {sorted(unknown)}")
        fields = {"mode": mode, "host_call": host_call} | spec
        return cls._checked(*(fields.get(name) for name in _Fields._fields))


def check_kind(name: str, value: Any, kind: type) -> None:
    """Refuse what is not of a type."""
    if not isinstance(value, kind):
        raise UsageError(f"{name} must be of type {kind.__name__}, given: {value!r}")


def check_counts(**counts: int | None) -> None:
    """Refuse a number of steps or samples that is not above 0."""
    for name, value in counts.items():
        if value is not None and value <= 0:
            raise UsageError(f"Must specify {name} > 0, given: {value}")


def check_hooks(hooks: Iterable[Any] | None) -> tuple[Any, ...]:
    """The hooks as a tuple, all of them SessionRunHooks."""
    if isinstance(hooks, tf1.train.SessionRunHook):
        raise UsageError(f"hooks must be a list, given: {hooks!r}; wanted [hook]")
    hooks = tuple(hooks or ())
    for hook in hooks:
        if not isinstance(hook, tf1.train.SessionRunHook):
            raise UsageError(f"All hooks must be SessionRunHook, given: {hook!r}")
    return hooks


def check_listeners(listeners: Iterable[Any] | None) -> tuple[Any, ...]:
    """The listeners as a tuple, all of them CheckpointSaverListeners."""
    listeners = tuple(listeners or ())
    for listener in listeners:
        if not isinstance(listener, tf1.train.CheckpointSaverListener):
            raise UsageError(
                f"All saving_listeners must be CheckpointSaverListener, given: "
                f"{listener!r}"
            )
    return listeners


def _check_exporters(given: Any) -> tuple[Any, ...]:
    """Exporters as a tuple: there may be none, one, or several."""
    given = () if given is None else given
    # A single exporter may itself be a tuple.
    are_several = isinstance(given, Iterable) and not hasattr(given, "export")
    exporters = tuple(given) if are_several else (given,)
    names = [getattr(exporter, "name", None) for exporter in exporters]
    for exporter, name in zip(exporters, names, strict=True):
        if not callable(getattr(exporter, "export", None)) or not _is_text(name):
            raise UsageError(
                f"exporters must have a name and export(), given: {given!r}"
            )
    if len(names) > len(set(names)):
        told = ", ".join(map(str, names))
        raise UsageError(f"exporters need a name each, given: {told}")
    return exporters


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def check_input_fn(input_fn: Any) -> None:
    """Refuse what is no function, such as a dataset."""
    if not callable(input_fn):
        raise UsageError(
            f"input_fn must be a function, given: {input_fn!r}. Make the dataset in "
            "it: def input_fn(): return tf.data.Dataset..."
        )


class _TrainFields(NamedTuple):
    input_fn: Callable[..., Any]
    max_steps: int | None
    hooks: tuple[Any, ...]
    saving_listeners: tuple[Any, ...]


class TrainSpec(_TrainFields):
    """How train_and_evaluate trains; as `tf.estimator.TrainSpec`."""

    __slots__ = ()

    def __new__(
        cls,
        input_fn: Callable[..., Any],
        max_steps: int | None = None,
        hooks: Iterable[Any] | None = None,
        saving_listeners: Iterable[Any] | None = None,
    ) -> "TrainSpec":
        check_input_fn(input_fn)
        check_counts(max_steps=max_steps)
        listeners = check_listeners(saving_listeners)
        return super().__new__(cls, input_fn, max_steps, check_hooks(hooks), listeners)


class _EvalFields(NamedTuple):
    input_fn: Callable[..., Any]
    steps: int | None
    name: str | None
    hooks: tuple[Any, ...]
    exporters: tuple[Any, ...]
    start_delay_secs: int
    throttle_secs: int


class EvalSpec(_EvalFields):
    """How train_and_evaluate evaluates; as `tf.estimator.EvalSpec`.

    steps: batches an evaluation, None for all. throttle_secs: at least so long between
    two evaluations. start_delay_secs: accepted; there are checkpoints from the first
    step on. exporters: objects with `name` and `export(estimator, export_path,
    checkpoint_path, eval_result, is_the_final_export)`.
    """

    __slots__ = ()

    def __new__(
        cls,
        input_fn: Callable[..., Any],
        steps: int | None = 100,
        name: str | None = None,
        hooks: Iterable[Any] | None = None,
        exporters: Any = None,
        start_delay_secs: int = 120,
        throttle_secs: int = 600,
    ) -> "EvalSpec":
        check_input_fn(input_fn)
        check_counts(steps=steps)
        if name is not None and not _is_text(name):
            raise UsageError(f"name must be text, given: {name!r}")
        for key, secs in (
            ("start_delay_secs", start_delay_secs),
            ("throttle_secs", throttle_secs),
        ):
            if secs < 0:
                raise UsageError(f"Must specify {key} >= 0: {secs}")
        return super().__new__(
            cls,
            input_fn,
            steps,
            name,
            check_hooks(hooks),
            _check_exporters(exporters),
            start_delay_secs,
            throttle_secs,
        )
