"""Loops of a length that is known when compiling.

A loop asks before every turn whether to go on. If that follows from counters and
constants alone, the turns can be counted without the rest of the loop, and its body
stands that many times in line.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from wafer_runtime.compiler.kernels.library import MOST_TURNS

WHILES = ("While", "StatelessWhile")
# Counters, lengths, and for each sample whether it has ended; no tables of weights.
_MOST_NUMBERS = 4096


def number_of(op: tf.Operation, given: Sequence[Any]) -> Any:
    """What a small operation gives for numbers that are known; else None."""
    compute = _RULES.get(op.type)
    if compute is None or any(number is None for number in given):
        return None
    if (op.outputs[0].shape.num_elements() or 0) > _MOST_NUMBERS:
        return None
    with np.errstate(all="ignore"):
        return compute(op, *given)


def _constant(op: tf.Operation) -> Any:
    return tf.get_static_value(op.outputs[0])


def _element(op: tf.Operation, values: Any, begin: Any, *_: Any) -> Any:
    """x[i], such as a number of a shape."""
    is_one = np.ndim(values) == 1 and op.get_attr("shrink_axis_mask") == 1
    return values[begin[0]] if is_one else None


def _along(compute: Callable[..., Any]) -> Callable[..., Any]:
    def reduced(op: tf.Operation, values: Any, axes: Any) -> Any:
        keep = op.get_attr("keep_dims")
        return compute(values, tuple(np.atleast_1d(axes)), keepdims=keep)

    return reduced


def _of_numpy(compute: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *given: compute(*given)


# For each type of operation: `rule(op, *numbers)`.
_RULES: dict[str, Callable[..., Any]] = {
    "All": _along(np.all),
    "Any": _along(np.any),
    "Const": _constant,
    "StridedSlice": _element,
}
_NUMPY: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
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
_RULES |= {kind: _of_numpy(compute) for kind, compute in _NUMPY.items()}

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
    for op in graph.get_operations():
        taken = [known.get(t.ref()) for t in op.inputs]
        if op.type in _RULES:
            known[op.outputs[0].ref()] = number_of(op, taken)
        elif inner := called(op):
            results = _numbers(inner, taken, called)
            known |= {t.ref(): n for t, n in zip(op.outputs, results, strict=True)}
    return [known.get(tensor.ref()) for tensor in graph.outputs]
