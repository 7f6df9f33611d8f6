"""A node of a model's flat graph, and what it takes its values from."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf


class Value(NamedTuple):
    """The output number `output` of `node`."""

    node: "Node"
    output: int

    @property
    def tensor(self) -> tf.Tensor:
        """The tensor that says its dtype and shape."""
        return self.node.tensors[self.output]


class Guard(NamedTuple):
    """What must hold for a node to run: that `condition` is `wanted`."""

    condition: Value
    wanted: bool


class Node:
    """An operation with a name of its own in the flat list.

    op: the TensorFlow operation, perhaps of a function's graph. kind: its type. call:
    the node's outermost call in the model's own graph, or `op` itself. guards: of the
    branches that it stands in. after: for each variable that it takes, the node that
    wrote what it finds there; none if that is from before the step.
    """

    __slots__ = ("after", "call", "guards", "inputs", "kind", "name", "op")

    def __init__(
        self,
        name: str,
        op: tf.Operation,
        inputs: list[Value],
        call: tf.Operation,
        guards: tuple[Guard, ...] = (),
        kind: str | None = None,
    ):
        self.name = name
        self.op = op
        self.inputs = inputs
        self.call = call
        self.guards = guards
        self.kind = kind or op.type
        self.after: dict[tf.Operation, Node] = {}

    def __repr__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def tensors(self) -> Sequence[tf.Tensor]:
        """What it gives."""
        return self.op.outputs

    @property
    def sources(self) -> Iterator["Node"]:
        """The nodes that what it does depends on."""
        yield from (value.node for value in self.inputs)
        yield from (guard.condition.node for guard in self.guards)
        yield from self.after.values()


class Made(Node):
    """What stands in the place of an operation.

    kind: what it is, in brackets. result: a tensor like the only one that it gives.
    compute: gives it for tensors like its inputs.
    """

    __slots__ = ("compute", "result")

    result: tf.Tensor
    compute: Callable[..., Any]

    @property
    def tensors(self) -> Sequence[tf.Tensor]:
        """What it gives."""
        return [self.result]


def closure(starts: Iterable[Node], stop: Container[Node] = ()) -> set[Node]:
    """`starts` and the nodes that they depend on, none of those in `stop`."""
    seen: set[Node] = set()
    stack = list(starts)
    while stack:
        node = stack.pop()
        if node not in seen and node not in stop:
            seen.add(node)
            stack += node.sources
    return seen
