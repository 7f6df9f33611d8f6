"""A TensorFlow graph as one flat list of nodes: functions, branches, loops opened up.

XLA and the wafer know no calls with side effects, such as a `tf.cond` that skips an
update. Here the bodies of calls stand in line, and of a branch both sides are there,
guarded by its condition, with a select behind them. Of a loop the body is there as
often as it turns, if that is known. Every node knows which writes of its variables come
before it.
"""

import re
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph

from wafer_runtime.compiler.kernels.library import MOST_TURNS
from wafer_runtime.compiler.lists import Lists
from wafer_runtime.compiler.loops import WHILES, number_of, turns_of
from wafer_runtime.compiler.node import Guard, Made, Node, Value
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


def _zeros_of_kept(value: Value, make: Callable[..., Value]) -> Value:
    """Zeros like what a branch kept, for a gradient that nobody sends to it."""
    if value.node.kind != _KEPT:
        return make("(zeros)", [value], value.tensor, tf.zeros_like)
    condition, *sides = value.node.inputs
    zeros = [_zeros_of_kept(side, make) for side in sides]
    return make(_KEPT, [condition, *zeros], value.tensor, None)


class _Body(NamedTuple):
    """A graph that is being opened.

    prefix: of its nodes' names. call: that opened it, in the model's own graph. start:
    the writes before it, as the bits of a number. values: of its tensors. done: for
    each operation the writes that have happened when it is done. turns: of the loops
    around it.
    """

    prefix: str
    call: tf.Operation | None
    guards: tuple[Guard, ...]
    start: int
    values: dict[Any, Value]
    done: dict[tf.Operation, int]
    turns: int = 1


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
        self._count = 0
        self._graphs: dict[str, Any] = {}
        self._numbers: dict[Value, Any] = {}
        self._lists = Lists(self._numbers)
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
        if op in body.done:
            return
        if op.type in WHILES:
            # What its gradient takes from it goes through lists that are made later.
            for tensor in op.inputs:
                if tensor.ref() not in body.values:
                    self._add(tensor.op, body)
        first = len(self.nodes)
        # An input that is not there comes from a later part of a TensorFlow 1 loop.
        inputs = [body.values[t.ref()] for t in op.inputs if t.ref() in body.values]
        before = body.start
        for other in (*(tensor.op for tensor in op.inputs), *op.control_inputs):
            before |= body.done.get(other, 0)
        opened = op not in self._leaves and self._opened(op, body, inputs, before)
        results, done = opened or self._node(op, body, inputs, before)
        for tensor, value in zip(op.outputs, results, strict=True):
            body.values[tensor.ref()] = value
        body.done[op] = done
        self._made[op] = self.nodes[first:]

    def _opened(
        self, op: tf.Operation, body: _Body, inputs: list[Value], before: int
    ) -> tuple[list[Value], int] | None:
        """What stands in the place of an operation, and the writes then done.

        None if it stays as it is.
        """
        inner = body._replace(
            prefix=f"{body.prefix}{op.name}/", call=body.call or op, start=before
        )
        if graph := self._called(op):
            return self._open(graph, inner, inputs)
        if op.type in _BRANCHES:
            return self._open_branches(op, inner, inputs)
        if op.type in WHILES:
            return self._open_turns(op, inner, inputs)
        if op.type in _WRAPPERS or _hands_on_a_wrapped(op):
            return [_of_side(inputs[0], op, body.prefix)], before
        make = self._maker(op, body)
        if op.type == "ZerosLike" and inputs[0].node.kind == _KEPT:
            return [_zeros_of_kept(inputs[0], make)], before
        listed = self._lists.results(op, inputs, make)
        return (listed, before) if listed else None

    def _node(
        self, op: tf.Operation, body: _Body, inputs: list[Value], before: int
    ) -> tuple[list[Value], int]:
        node = Node(body.prefix + op.name, op, inputs, body.call or op, body.guards)
        self.nodes.append(node)
        results = [Value(node, i) for i in range(len(op.outputs))]
        number = number_of(op, [self._numbers.get(value) for value in inputs])
        if number is not None:
            self._numbers[results[0]] = number
        return results, before | self._put_in_order(node, before)

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
        if condition in self._numbers:
            side = "then" if self._numbers[condition] else "else"
            inner = inner._replace(prefix=f"{inner.prefix}{side}/")
            return self._open(self._body(op, f"{side}_branch"), inner, given)
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
        frame = inner._replace(prefix=inner.prefix.removesuffix(f"{op.name}/"))
        result = op.outputs[index]
        if result.dtype == tf.variant:
            return self._maker(op, frame)(_KEPT, inputs, result, None)
        return self._maker(op, frame)("(branch)", inputs, result, tf.where)

    def _maker(self, op: tf.Operation, body: _Body) -> Callable[..., Value]:
        """Puts nodes in the place of an operation; what is not computed, beside it."""

        def make(kind: str, inputs: list[Value], result: Any, compute: Any) -> Value:
            self._count += 1
            name = f"{body.prefix}{op.name}/{kind.strip('()')}_{self._count}"
            node = Made(name, op, inputs, body.call or op, body.guards, kind)
            node.result = result
            if compute is not None:
                node.compute = compute
                self.nodes.append(node)
            return Value(node, 0)

        return make

    def _open_turns(
        self, op: tf.Operation, inner: _Body, inputs: list[Value]
    ) -> tuple[list[Value], int] | None:
        """The turns of a loop, one after the other, if it is known how many."""
        condition, body = self._body(op, "cond"), self._body(op, "body")
        given = [self._numbers.get(value) for value in inputs]
        turns = turns_of(condition, body, given, self._called)
        if turns is None or turns * inner.turns > MOST_TURNS:
            return None
        # The gradient's first turn is of the last one, and goes by the same number.
        is_gradient = re.search(r"_grad(_\d+)?$", op.name)
        values, done = inputs, inner.start
        for turn in range(turns):
            number = turns - 1 - turn if is_gradient else turn
            frame = inner._replace(
                prefix=f"{inner.prefix}{number}/",
                start=done,
                turns=turns * inner.turns,
            )
            values, done = self._open(body, frame, values)
        return values, done

    def _called(self, op: tf.Operation) -> Any:
        """The graph of the function that an operation calls; None if it calls none."""
        if op.type in _CALLS:
            return self._body(op, "f")
        is_name = any(g._is_function(op.type) for g in (op.graph, self._graph))
        return self._function(op, op.type) if is_name else None

    def _body(self, op: tf.Operation, attribute: str) -> Any:
        return self._function(op, op.get_attr(attribute).name)

    def _function(self, op: tf.Operation, name: str) -> Any:
        owner = op.graph if op.graph._is_function(name) else self._graph
        function = owner._get_function(name)
        if hasattr(function, "graph"):
            return function.graph
        # An imported graph's functions are definitions only.
        taken = op.inputs[1:] if op.type in _BRANCHES else op.inputs
        shapes = [t.shape for t in taken]
        key = f"{name} {shapes}"
        if key not in self._graphs:
            with owner.as_default():
                self._graphs[key] = function_def_to_graph.function_def_to_graph(
                    function.definition, input_shapes=shapes
                )
        return self._graphs[key]

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
