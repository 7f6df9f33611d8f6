"""A TensorFlow graph as one flat list of nodes: functions and branches opened up.

XLA and the wafer know no calls with side effects, such as a `tf.cond` that skips an
update. Here the bodies of calls stand in line, and of a branch both sides are there,
guarded by its condition, with a select behind them. Every node knows which writes of
its variables come before it.
"""

import re
from collections.abc import Container, Iterable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph

from wafer_runtime.compiler.node import BRANCH, Guard, Node, Value
from wafer_runtime.compiler.variables import variable_of, writes

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf")
# What a branch keeps for its gradient is wrapped up, or nothing if it was not taken.
_WRAPPERS = ("OptionalFromValue", "OptionalGetValue")
_KEPT = "(kept by a branch)"


def _hands_on_a_wrapped(op: tf.Operation) -> bool:
    return op.type == "Identity" and op.inputs[0].dtype == tf.variant


def _of_side(value: Value, op: tf.Operation, prefix: str) -> Value:
    """What a side of a branch kept, for the same side of the branch's gradient."""
    if value.node.kind != _KEPT or op.type != "OptionalGetValue":
        return value
    sides = re.findall("/(then|else)/", prefix)
    return value.node.inputs[1 if sides[-1] == "then" else 2]


class _Body(NamedTuple):
    """A graph that is being opened.

    prefix: of its nodes' names. call: that opened it, in the model's own graph. start:
    the writes before it, as the bits of a number. values: of its tensors. done: for
    each operation the writes that have happened when it is done.
    """

    prefix: str
    call: tf.Operation | None
    guards: tuple[Guard, ...]
    start: int
    values: dict[Any, Value]
    done: dict[tf.Operation, int]


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
        self._made: dict[tf.Operation, list[Node]] = {}
        self._writes: dict[tf.Operation, list[tuple[int, Node]]] = {}
        self._bit = 1
        self._top = _Body("", None, (), 0, {}, {})
        for op in ops:
            self._add(op, self._top)

    def value(self, tensor: tf.Tensor) -> Value:
        """Where a tensor of the model's own graph is."""
        return self._top.values[tensor.ref()]

    def made_for(self, op: tf.Operation) -> list[Node]:
        """The nodes of an operation of the model's own graph."""
        return self._made.get(op, [])

    def _add(self, op: tf.Operation, body: _Body) -> None:
        first = len(self.nodes)
        # An input that is not there comes from a later part of a TensorFlow 1 loop.
        inputs = [body.values[t.ref()] for t in op.inputs if t.ref() in body.values]
        before = body.start
        for other in (*(tensor.op for tensor in op.inputs), *op.control_inputs):
            before |= body.done.get(other, 0)
        inner = body._replace(
            prefix=f"{body.prefix}{op.name}/", call=body.call or op, start=before
        )
        done = before
        if op.type in _CALLS and op not in self._leaves:
            results, done = self._open(self._body(op, "f"), inner, inputs)
        elif op.type in _BRANCHES and op not in self._leaves:
            results, done = self._open_branches(op, inner, inputs)
        elif op.type in _WRAPPERS or _hands_on_a_wrapped(op):
            results = [_of_side(inputs[0], op, body.prefix)]
        else:
            node = Node(body.prefix + op.name, op, inputs, body.call or op, body.guards)
            self.nodes.append(node)
            results = [Value(node, i) for i in range(len(op.outputs))]
            done |= self._put_in_order(node, before)
        for tensor, value in zip(op.outputs, results, strict=True):
            body.values[tensor.ref()] = value
        body.done[op] = done
        self._made[op] = self.nodes[first:]

    def _put_in_order(self, node: Node, before: int) -> int:
        """Note which writes a node comes after; the bit of its own, if it is one.

        Reads come after the writes that TensorFlow lets them wait for, and take the
        value from before the step otherwise. Writes change what is there.
        """
        is_write = writes(node)
        for variable in filter(None, map(variable_of, node.inputs)):
            earlier = self._writes.setdefault(variable, [])
            seen = [other for bit, other in earlier if is_write or bit & before]
            if seen:
                node.after[variable] = seen[-1]
            if is_write:
                earlier.append((self._bit, node))
        bit = self._bit if is_write else 0
        self._bit <<= is_write
        return bit

    def _open_branches(
        self, op: tf.Operation, inner: _Body, inputs: list[Value]
    ) -> tuple[list[Value], int]:
        condition, *given = inputs
        sides, done = [], inner.start
        for side, wanted in (("then", True), ("else", False)):
            body = inner._replace(
                prefix=f"{inner.prefix}{side}/",
                guards=(*inner.guards, Guard(condition, wanted)),
            )
            results, after = self._open(self._body(op, f"{side}_branch"), body, given)
            sides.append(results)
            done |= after
        chosen = [
            self._chosen(op, inner, i, [condition, *pair])
            for i, pair in enumerate(zip(*sides, strict=True))
        ]
        return chosen, done

    def _chosen(
        self, op: tf.Operation, inner: _Body, index: int, inputs: list[Value]
    ) -> Value:
        """The output number `index` of a branch: of one of its sides."""
        if inputs[1].tensor.dtype == tf.resource:
            return inputs[1]
        name = f"{inner.prefix}select_{index}"
        select = Node(name, op, inputs, inner.call or op, inner.guards, BRANCH)
        if op.outputs[index].dtype == tf.variant:
            select.kind = _KEPT
        else:
            self.nodes.append(select)
        return Value(select, index)

    def _body(self, op: tf.Operation, attribute: str) -> Any:
        name = op.get_attr(attribute).name
        owner = op.graph if op.graph._is_function(name) else self._graph
        function = owner._get_function(name)
        if hasattr(function, "graph"):
            return function.graph
        # An imported graph's functions are definitions only.
        taken = op.inputs[1:] if op.type in _BRANCHES else op.inputs
        with owner.as_default():
            return function_def_to_graph.function_def_to_graph(
                function.definition, input_shapes=[t.shape for t in taken]
            )

    def _open(
        self, graph: Any, frame: _Body, given: list[Value]
    ) -> tuple[list[Value], int]:
        """Add a function's operations; what it gives, and the writes then done."""
        values = {t.ref(): v for t, v in zip(graph.inputs, given, strict=True)}
        body = frame._replace(values=values, done={})
        for op in graph.get_operations():
            if not op.outputs or op.outputs[0].ref() not in values:
                self._add(op, body)
        done = frame.start
        for seen in body.done.values():
            done |= seen
        return [values[t.ref()] for t in graph.outputs], done
