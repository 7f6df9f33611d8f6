"""A TensorFlow graph as one flat list of nodes: functions and branches opened up.

XLA and the wafer know no calls with side effects, such as a `tf.cond` that skips an
update. Here the bodies of calls stand in line, and of a branch both sides are there,
with a select behind them.
"""

import re
from collections.abc import Container, Iterable
from typing import Any, NamedTuple

import tensorflow as tf

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf")
# What a branch keeps for its gradient is wrapped up, or nothing if it was not taken.
_WRAPPERS = ("OptionalFromValue", "OptionalGetValue")
_KEPT = "(kept by a branch)"
BRANCH = "(branch)"
LOOPS = ("While", "StatelessWhile", "Enter", "Exit", "NextIteration", "LoopCond")


def _hands_on_a_wrapped(op: tf.Operation) -> bool:
    return op.type == "Identity" and op.inputs[0].dtype == tf.variant


def _of_side(value: "Value", op: tf.Operation, prefix: str) -> "Value":
    """What a side of a branch kept, for the same side of the branch's gradient."""
    if value.node.kind != _KEPT or op.type != "OptionalGetValue":
        return value
    sides = re.findall("/(then|else)/", prefix)
    return value.node.inputs[1 if sides[-1] == "then" else 2]


class Value(NamedTuple):
    """The output number `output` of `node`."""

    node: "Node"
    output: int

    @property
    def tensor(self) -> tf.Tensor:
        """The tensor that says its dtype and shape."""
        return self.node.op.outputs[self.output]


class Node:
    """An operation with a name of its own in the flat list.

    op: the TensorFlow operation, perhaps of a function's graph. kind: its type, or
    BRANCH for what chooses between the outputs of one. call: the node's
    outermost call in the model's own graph, or `op` itself.
    """

    __slots__ = ("call", "inputs", "kind", "name", "op")

    def __init__(
        self,
        name: str,
        op: tf.Operation,
        inputs: list[Value],
        call: tf.Operation,
        kind: str | None = None,
    ):
        self.name = name
        self.op = op
        self.inputs = inputs
        self.call = call
        self.kind = kind or op.type

    def __repr__(self) -> str:
        return f"{self.kind} {self.name}"


class Flat:
    """The flat list `nodes`, in an order in which inputs come before their users."""

    def __init__(
        self,
        ops: Iterable[tf.Operation],
        graph: tf.Graph,
        leaves: Container[tf.Operation] = (),
    ):
        """ops: those wanted, of `graph`, in the order of their creation.

        leaves: those of them that are not opened.
        """
        self.nodes: list[Node] = []
        self._graph = graph
        self._leaves = leaves
        self._values: dict[Any, Value] = {}
        self._made: dict[tf.Operation, list[Node]] = {}
        for op in ops:
            self._add(op, "", self._values, op)

    def value(self, tensor: tf.Tensor) -> Value:
        """Where a tensor of the model's own graph is."""
        return self._values[tensor.ref()]

    def made_for(self, op: tf.Operation) -> list[Node]:
        """The nodes of an operation of the model's own graph."""
        return self._made.get(op, [])

    def _add(
        self, op: tf.Operation, prefix: str, values: dict[Any, Value], call: Any
    ) -> None:
        start = len(self.nodes)
        # An input that is not there comes from a later part of a TensorFlow 1 loop.
        inputs = [values[t.ref()] for t in op.inputs if t.ref() in values]
        name = prefix + op.name
        if op.type in _CALLS and op not in self._leaves:
            body = self._body(op, "f")
            results = self._open(body, f"{name}/", inputs, call)
        elif op.type in _BRANCHES and op not in self._leaves:
            results = self._open_branches(op, name, inputs, call)
        elif op.type in _WRAPPERS or _hands_on_a_wrapped(op):
            results = [_of_side(inputs[0], op, prefix)]
        else:
            node = Node(name, op, inputs, call)
            self.nodes.append(node)
            results = [Value(node, i) for i in range(len(op.outputs))]
        for tensor, value in zip(op.outputs, results, strict=True):
            values[tensor.ref()] = value
        self._made[op] = self.nodes[start:]

    def _open_branches(
        self, op: tf.Operation, name: str, inputs: list[Value], call: Any
    ) -> list[Value]:
        condition, *arguments = inputs
        sides = [
            self._open(
                self._body(op, f"{side}_branch"), f"{name}/{side}/", arguments, call
            )
            for side in ("then", "else")
        ]
        results = []
        for i, (then, other) in enumerate(zip(*sides, strict=True)):
            if then.tensor.dtype == tf.resource:
                results.append(then)
                continue
            select = Node(
                f"{name}/select_{i}", op, [condition, then, other], call, BRANCH
            )
            if op.outputs[i].dtype == tf.variant:
                select.kind = _KEPT
            else:
                self.nodes.append(select)
            results.append(Value(select, i))
        return results

    def _body(self, op: tf.Operation, attribute: str) -> Any:
        name = op.get_attr(attribute).name
        owner = op.graph if op.graph._is_function(name) else self._graph
        return owner._get_function(name).graph

    def _open(
        self, body: Any, prefix: str, arguments: list[Value], call: Any
    ) -> list[Value]:
        values = {t.ref(): v for t, v in zip(body.inputs, arguments, strict=True)}
        for op in body.get_operations():
            if op.outputs and op.outputs[0].ref() in values:
                continue
            self._add(op, prefix, values, call)
        return [values[t.ref()] for t in body.outputs]


def closure(starts: Iterable[Node], stop: Container[Node] = ()) -> set[Node]:
    """`starts` and the nodes that they take values from, none of those in `stop`."""
    seen: set[Node] = set()
    stack = list(starts)
    while stack:
        node = stack.pop()
        if node not in seen and node not in stop:
            seen.add(node)
            stack += [value.node for value in node.inputs]
    return seen
