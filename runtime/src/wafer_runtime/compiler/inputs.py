"""What of an input_fn's batches cannot go to the wafer, at which line."""

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf

from wafer_runtime import source
from wafer_runtime.compiler import offenders
from wafer_runtime.compiler.offenders import Offender
from wafer_runtime.compiler.trace import named
from wafer_runtime.errors import MappingError


def check_inputs(
    where: str, features: Any, labels: Any, dataset: tf.data.Dataset | None
) -> None:
    """Raises MappingError for batches that are not dense tensors of static shapes.

    where: of input_fn. dataset: that the batches are from, if they are from one.
    """
    inputs = named("features", features) | named("labels", labels)
    found = tuple(_offenders(where, inputs, dataset))
    if found:
        note = "What comes after was not looked at."
        raise MappingError(offenders.report(found, note), found)


def _offenders(
    where: str, inputs: Mapping[str, Any], dataset: tf.data.Dataset | None
) -> Iterator[Offender]:
    for name, tensor in inputs.items():
        line = _line(where, tensor, dataset)
        if not isinstance(tensor, tf.Tensor):
            yield Offender(
                "",
                name,
                line,
                f"it is a {type(tensor).__name__}; the wafer takes dense tensors",
                "pad to one length, tf.sparse.to_dense(x) or x.to_tensor()",
            )
        elif not tensor.shape.is_fully_defined():
            yield Offender(
                "",
                name,
                line,
                f"its shape is {tensor.shape}; on the wafer all shapes are static",
                ".batch(batch_size, drop_remainder=True), and pad or reshape to one "
                "size: .padded_batch(..., padded_shapes), or tf.ensure_shape(x, [...])",
            )
    if not any(tensor.shape.rank != 0 for tensor in inputs.values()):
        yield Offender(
            "",
            "input_fn",
            where,
            "no feature or label has a batch dimension",
            ".batch(batch_size, drop_remainder=True)",
        )


def _line(where: str, tensor: Any, dataset: tf.data.Dataset | None) -> str:
    """The user's line that made the shape of a tensor what it is."""
    if dataset is None:
        parts = tf.nest.flatten(tensor, expand_composites=True)
        return source.line_of_op(parts[0].op) or where
    # The first step of the pipeline whose elements have not all static shapes.
    before: Any = dataset
    while before is not None:
        dataset = before
        before = next((d for d in dataset._inputs() if not _is_static(d)), None)
    return source.line_of_op(dataset._variant_tensor.op) or where


def _is_static(dataset: tf.data.Dataset) -> bool:
    specs = tf.nest.flatten(dataset.element_spec)
    return all(
        isinstance(spec, tf.TensorSpec) and spec.shape.is_fully_defined()
        for spec in specs
    )
