"""Stage 1: what a built model_fn computes, from which inputs to which outputs."""

import contextlib
import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from unittest import mock

import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tensorflow.python.ops import nn_impl, nn_ops


class Traced(NamedTuple):
    """A model in one mode, as a graph whose variables were never allocated.

    inputs: what the host streams to the wafer, by name, such as `features/input_ids`.
    outputs: what the wafer streams back: `loss`, `host_call/0`, `predictions/class`.
    train_op: None but in training. batch_size: samples in a batch.
    """

    graph: tf.Graph
    mode: str
    inputs: Mapping[str, tf.Tensor]
    outputs: Mapping[str, tf.Tensor]
    train_op: tf.Operation | None
    global_step: tf.Variable
    metric_ops: tuple[tf.Operation, ...]
    batch_size: int


@contextlib.contextmanager
def as_for_accelerators() -> Iterator[None]:
    """Let TensorFlow build what it builds for accelerators, and not for CPUs.

    For CPUs it takes the image of a dilated convolution apart into blocks, and the
    control flow of TensorFlow 1 makes branches that XLA does not know.
    """
    was_on = tf1.control_flow_v2_enabled()
    context = types.SimpleNamespace(enclosing_tpu_context=lambda: True)
    tf1.enable_control_flow_v2()
    try:
        with (
            mock.patch.object(nn_ops, "device_context", context),
            mock.patch.object(nn_impl, "device_context", context),
            mock.patch.object(nn_ops, "with_space_to_batch", _dilated),
        ):
            yield
    finally:
        if not was_on:
            tf1.disable_control_flow_v2()


_in_blocks = nn_ops.with_space_to_batch


def _dilated(
    *, dilation_rate: Any, padding: str, op: Any, data_format: Any = None, **given: Any
) -> Any:
    """A separable convolution, whose first part is dilated."""
    if data_format is None:  # pooling
        return _in_blocks(dilation_rate=dilation_rate, padding=padding, op=op, **given)
    dilations = [1, *dilation_rate, 1]
    if str(data_format).startswith("NC"):
        dilations = [1, 1, *dilation_rate]
    native = functools.partial(nn_ops.depthwise_conv2d_native, dilations=dilations)
    with mock.patch.object(nn_ops, "depthwise_conv2d_native", native):
        return op(given["input"], None, padding)


def trace(
    features: Any,
    labels: Any,
    spec: Any,
    global_step: tf.Variable,
    metrics: Mapping[str, Any],
) -> Traced:
    """What the default graph, in which model_fn made `spec`, is to compute.

    The input is as `check_inputs` wants it. metrics: of the host, {name: (value,
    update)}.
    """
    inputs = named("features", features) | named("labels", labels)
    outputs = {} if spec.loss is None else {"loss": spec.loss}
    if spec.mode == "infer":
        outputs = named("predictions", spec.predictions)
    if isinstance(spec.host_call, tuple | list):
        given = [t for t in tf.nest.flatten(spec.host_call[1]) if t is not None]
        tensors = map(tf.convert_to_tensor, given)
        outputs |= {f"host_call/{i}": t for i, t in enumerate(tensors)}
    return Traced(
        graph=tf1.get_default_graph(),
        mode=spec.mode,
        inputs=inputs,
        outputs=outputs,
        train_op=spec.train_op if spec.mode == "train" else None,
        global_step=global_step,
        metric_ops=tuple(
            part.op for pair in metrics.values() for part in pair if hasattr(part, "op")
        ),
        batch_size=_batch_size(inputs),
    )


def named(name: str, value: Any) -> dict[str, Any]:
    """The tensors of (nested) dicts, tuples and lists by their path in them."""
    if isinstance(value, tuple | list):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for key, item in value.items():
            found |= named(f"{name}/{key}", item)
        return found
    # What is no tensor is a constant of the model's.
    return {name: value} if tf.is_tensor(value) else {}


def _batch_size(inputs: Mapping[str, Any]) -> int:
    # A feature may also be the same for all samples: the batch is what most share.
    values = [t.shape[0] for t in inputs.values() if t.shape.rank]
    return int(max(values, key=values.count))
