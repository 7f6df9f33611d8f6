"""What a graph's operations depend on."""

from collections.abc import Iterable

import tensorflow as tf


def ancestors(targets: Iterable[tf.Operation]) -> dict[tf.Operation, None]:
    """`targets` and all operations that they depend on, as keys, in a stable order."""
    seen: dict[tf.Operation, None] = {}
    stack = list(targets)
    while stack:
        op = stack.pop()
        if op not in seen:
            seen[op] = None
            stack += [t.op for t in op.inputs] + list(op.control_inputs)
    return seen
