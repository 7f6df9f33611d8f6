"""`tf.estimator.export`: what a receiver_fn returns, in the forms of old."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from wafer_runtime.errors import UsageError
from wafer_runtime.estimator import ServingInputReceiver
from wafer_runtime.estimator.export import placeholders


class WrappingInputReceiver(ServingInputReceiver):
    """`ServingInputReceiver`, of which model_fn gets a lone feature in a dict."""

    def __new__(cls, features: Any, *tensors: Any, **more: Any) -> Any:
        if not isinstance(features, Mapping):
            features = {"feature": features}
        return super().__new__(cls, features, *tensors, **more)


class UnsupervisedInputReceiver(WrappingInputReceiver):
    """For TRAIN and EVAL, without labels."""

    def __new__(cls, features: Any, receiver_tensors: Any) -> Any:
        return super().__new__(cls, features, receiver_tensors)


class SupervisedInputReceiver(NamedTuple):
    """For TRAIN and EVAL: model_fn gets the features and labels as they are."""

    features: Any
    labels: Any
    receiver_tensors: Any


def build_raw_supervised_input_receiver_fn(
    features: Any, labels: Any, default_batch_size: int | None = None
) -> Callable[[], SupervisedInputReceiver]:
    """A receiver_fn whose clients feed features and labels: tensors, or dicts of some.

    Raises UsageError for a name that both have.
    """
    names = [set(value) for value in _as_dicts(features, labels)]
    if both := names[0] & names[1]:
        raise UsageError(f"features and labels have both {sorted(both)}: rename one")

    def receiver() -> SupervisedInputReceiver:
        x, y = placeholders((features, labels), default_batch_size)
        first, second = _as_dicts(x, y)
        return SupervisedInputReceiver(x, y, first | second)

    return receiver


def build_supervised_input_receiver_fn_from_input_fn(
    input_fn: Callable[..., Any], **arguments: Any
) -> Callable[[], SupervisedInputReceiver]:
    """The same for what `input_fn(**arguments)` gives."""
    with tf.Graph().as_default():
        result = input_fn(**arguments)
        if isinstance(result, tf.data.Dataset):
            result = result.element_spec
        return build_raw_supervised_input_receiver_fn(*result)


def _as_dicts(features: Any, labels: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        features if isinstance(features, dict) else {"input": features},
        labels if isinstance(labels, dict) else {"label": labels},
    )
