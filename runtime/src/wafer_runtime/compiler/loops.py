"""Loops of a length that is known when compiling.

A loop asks before every turn whether to go on. If that follows from counters and
constants alone, the turns can be counted without the rest of the loop, and its body
stands that many times in line.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from wafer_runtime.compiler.kernels.library import MOST_TURNS

WHILES = ("While", "StatelessWhile")
# A counter, a length, a shape; not a table of weights.
_FEW = 16

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "All": lambda values, axes: np.all(values, tuple(np.atleast_1d(axes))),
    "Any": lambda values, axes: np.any(values, tuple(np.atleast_1d(axes))),
    "Equal": np.equal,
    "Fill": np.full,
    "FloorDiv": np.floor_divide,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Identity": np.asarray,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "LogicalAnd": np.logical_and,
    "LogicalNot": np.logical_not,
    "LogicalOr": np.logical_or,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Mul": np.multiply,
    "NotEqual": np.not_equal,
    "Range": np.arange,
    "StopGradient": np.asarray,
    "Sub": np.subtract,
}


def number_of(op: tf.Operation, given: Sequence[Any]) -> Any:
    """What a small operation gives for numbers that are known; else None."""
    if op.type == "Const":
        few = (op.outputs[0].shape.num_elements() or 0) <= _FEW
        return tf.get_static_value(op.outputs[0]) if few else None
    if any(number is None for number in given):
        return None
    if op.type == "StridedSlice" and np.ndim(given[0]) == 1:
        value, begin, _, _ = given
        return value[begin[0]] if op.get_attr("shrink_axis_mask") == 1 else None
    compute = _ARITHMETIC.get(op.type)
    return None if compute is None else compute(*given)


# The graph of the function that an operation calls, or None.
Called = Callable[[tf.Operation], Any]


def turns_of(
    condition: Any, body: Any, given: Sequence[Any], called: Called
) -> int | None:
    """How often a loop turns; None if that is not known, or more than MOST_TURNS.

    condition, body: its graphs. given: the numbers that go in, None for unknown ones.
    """
    values = list(given)
    for turn in range(MOST_TURNS + 1):
        (goes_on,) = _numbers(condition, values, called)
        if goes_on is None:
            return None
        if not goes_on:
            return turn
        values = _numbers(body, values, called)
    return None


def _numbers(graph: Any, given: Sequence[Any], called: Called) -> list[Any]:
    """The outputs of a function's graph, as far as they are known."""
    known = {t.ref(): value for t, value in zip(graph.inputs, given, strict=True)}
    return [_number(tensor, known, called) for tensor in graph.outputs]


def _number(tensor: tf.Tensor, known: Mapping[Any, Any], called: Called) -> Any:
    if tensor.ref() in known:
        return known[tensor.ref()]
    op = tensor.op
    graph = called(op)
    if graph is None and op.type not in _ARITHMETIC:
        return number_of(op, [None] * len(op.inputs))
    given = [_number(t, known, called) for t in op.inputs]
    if graph is None:
        return number_of(op, given)
    return _numbers(graph, given, called)[tensor.value_index]
