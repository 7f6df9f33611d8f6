"""What code written for the vendor's container calls while it builds its graph."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from wafer_runtime.errors import ModelFnError
from wafer_runtime.estimator.hooks import summaries_left_out


def GetWeights(path: str) -> Iterator[tuple[str, Any]]:  # noqa: N802 - as it was called
    """Yield the name and the value of each variable in a checkpoint."""
    reader = tf.train.load_checkpoint(path)
    for name in sorted(reader.get_variable_to_shape_map()):
        yield name, reader.get_tensor(name)


def boundary_cast(x: tf.Tensor, name: str | None = None, back_cast: bool = True) -> Any:
    """`x`: the compiler here needs no marks where half and full precision meet."""
    return x


def summary_layer(x: tf.Tensor) -> tf.Tensor:
    """`x`: what a kernel computes is not summarised here."""
    return x


def summarize_tensor(
    x: tf.Tensor, is_gradient_tensor: bool = False, op_name_if_grad: str | None = None
) -> None:
    """Nothing: what a kernel computes is not summarised here."""


def cs1_enable_summaries() -> contextlib.AbstractContextManager[None]:
    """A context in which training writes its summaries, as it does without."""
    return contextlib.nullcontext()


def cs1_disable_summaries() -> contextlib.AbstractContextManager[None]:
    """A context in which training writes no summaries of the model's."""
    return summaries_left_out()


def validate_host_call(host_call: Any) -> Any:
    """The host_call, `(function, [tensors])`; an empty tuple if there is none.

    Raises ModelFnError for anything else.
    """
    if not host_call:
        return ()
    is_pair = isinstance(host_call, list | tuple) and len(host_call) in (2, 3)
    if not (
        is_pair
        and callable(host_call[0])
        and all(isinstance(part, list | tuple) for part in host_call[1:])
    ):
        raise ModelFnError(
            f"host_call is {host_call!r}; wanted (function, [tensors]) where "
            "function(*tensors) returns {name: (value, update_op)}"
        )
    return host_call


def host_call_to_eval_metric_ops(host_call: Any) -> dict[str, Any]:
    """The metrics that host_call's function returns; `elem_N` if they have no names."""
    metrics = host_call[0](*host_call[1])
    if isinstance(metrics, Mapping):
        return dict(metrics)
    return {f"elem_{i}": metric for i, metric in enumerate(metrics)}
