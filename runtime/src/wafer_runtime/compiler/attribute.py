"""Which TensorFlow operation each HLO instruction comes from, and in which pass.

An instruction carries the name of its operation; TensorFlow's gradients remember the
operation that each of theirs is the gradient of, and a gradient tape the scope of that
operation. So every instruction has a forward operation, which is what layers, kernels
and the user's lines are found by.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import tensorflow as tf

from wafer_runtime import source
from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.node import Node, Value, closure
from wafer_runtime.compiler.partition import Partition
from wafer_runtime.compiler.variables import READS, VARIABLES

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
_TAPE = "gradient_tape/"
# `gradients/while_grad/while_grad`, of which the turns are in line.
_LOOP_IN_A_LOOP = r"gradients(?:_\d+)?/(\S+?)_grad/\1_grad(?=/\d+/)"
_GIVEN = (*VARIABLES, *READS, "Const")


class Origin(NamedTuple):
    """Where an instruction comes from.

    node: its operation. forward: the operation of the forward pass that it belongs to,
    `node` itself if there is none. role: FORWARD, BACKWARD or UPDATE, which is all
    between the gradients and the new weights.
    """

    node: Node
    forward: Node
    role: str


class Attribution:
    """Finds the origins of a partition's instructions."""

    def __init__(self, part: Partition):
        self._by_name = {node.name: node for node in part.wafer}
        self._forward = _forward(part)
        self._gradients = _gradients(part.wafer, self._forward)
        self._in_scope: dict[str, list[Node]] = {}
        for node in part.wafer:
            if node in self._forward and node.kind not in _GIVEN:
                scope = node.name.rpartition("/")[0]
                self._in_scope.setdefault(scope, []).append(node)

    def origin(self, instruction: Instruction) -> Origin | None:
        """None for what XLA put in by itself."""
        node = self.node(instruction.op_name)
        if node is None:
            return None
        if node in self._forward:
            return Origin(node, node, FORWARD)
        if node in self._gradients:
            return Origin(node, self._original(node) or node, BACKWARD)
        return Origin(node, node, UPDATE)

    def node(self, name: str) -> Node | None:
        """The node that made an operation of this name; updates make several."""
        while name and name not in self._by_name:
            name = name.rpartition("/")[0]
        return self._by_name.get(name)

    def is_forward(self, node: Node) -> bool:
        """Whether outputs depend on it."""
        return node in self._forward

    def _original(self, node: Node) -> Node | None:
        found = (self._by_name.get(name) for name in _original_names(node))
        named = next((node for node in found if node in self._forward), None)
        return named or self._of_tape(node)

    def _of_tape(self, node: Node) -> Node | None:
        """Of a tape's gradient: the operation that has most in common with it.

        The tape's scope is that of the operation, or, after a layer, its name.
        """
        inside = re.fullmatch(f"(.*?){_TAPE}(.*)/[^/]+", node.name)
        if inside is None:
            return None
        scope = inside.group(1) + inside.group(2)
        named = self._by_name.get(scope)
        if named in self._forward:
            return named
        shared = dict.fromkeys(node.inputs)

        def common(forward: Node) -> int:
            outputs = (Value(forward, i) for i in range(len(forward.tensors)))
            return len(shared.keys() & {*forward.inputs, *outputs})

        return max(self._in_scope.get(scope, ()), key=common, default=None)


def _original_names(node: Node) -> Iterator[str]:
    """What the operation of the forward pass may be called."""
    original = _original_op(node.op)
    if original is not None:
        # In a function's graph the names start where the function was opened.
        yield node.name.removesuffix(node.op.name) + original.name
        yield original.name
    call = _original_op(node.call)
    # The gradient of a function is a function too, whose operations only have names.
    rest = node.name.removeprefix(f"{node.call.name}/")
    rest = re.sub(_LOOP_IN_A_LOOP, r"\1", rest)
    inner = re.match(r"(.*?/)?gradients(?:_\d+)?/(.+?)_grad/", rest)
    if call is not None and inner:
        yield f"{call.name}/{inner.group(1) or ''}{inner.group(2)}"


def _original_op(op: tf.Operation) -> tf.Operation | None:
    original = getattr(op, "_original_op", None)
    while original is not None and getattr(original, "_original_op", None) is not None:
        original = original._original_op
    return original


def _forward(part: Partition) -> set[Node]:
    """What the outputs depend on, but for gradients that only a host_call looks at."""
    is_told = {name: name.startswith("host_call") for name in part.outputs}
    needed = closure(v.node for n, v in part.outputs.items() if not is_told[n])
    told = closure(v.node for n, v in part.outputs.items() if is_told[n])
    gradients: set[Node] = set()
    for node in part.wafer:
        after = any(source in gradients for source in node.sources)
        if after or _is_gradient(node):
            gradients.add(node)
    # The loss of a second optimizer is no output: gradients start from it.
    losses = closure(v.node for n in part.wafer if _is_gradient(n) for v in n.inputs)
    return needed | (told - gradients) | (losses - gradients)


def _gradients(nodes: list[Node], forward: set[Node]) -> set[Node]:
    """Nodes of the backward pass: gradients, and sums of gradients between them."""
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for value in node.inputs:
            users.setdefault(value.node, []).append(node)
    found: set[Node] = set()
    for node in reversed(nodes):
        if node in forward:
            continue
        if _is_gradient(node) or any(user in found for user in users.get(node, ())):
            found.add(node)
    return found


def _is_gradient(node: Node) -> bool:
    original = _original_op(node.op) or _original_op(node.call)
    return original is not None or _TAPE in node.name


def line_of(node: Node) -> str:
    """The user's line that a node comes from, or the name of its operation."""
    lines = filter(None, map(source.line_of_op, _written(node)))
    return next(lines, f'operation "{node.call.name}"')


def callers_of(node: Node) -> tuple[str, ...]:
    """The user's lines that called the one that a node comes from, innermost first."""
    return next(filter(None, map(source.callers_of, _written(node))), ())


def _written(node: Node) -> tuple[tf.Operation, ...]:
    """Operations that the user's line may have made, the nearest to it first."""
    return _original_op(node.op) or node.op, node.op, node.call
