"""Which kernel runs each instruction: forward, backward, and update."""

import re
from collections.abc import Container

from wafer_runtime.compiler.attribute import BACKWARD
from wafer_runtime.compiler.cluster import Cluster
from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.step import Step
from wafer_runtime.compiler.variables import variable_of


class Ownership:
    """The cluster of each instruction and each variable.

    scaling: the cluster of what belongs to no layer, such as a global norm. states: the
    variables that are kept for the updates of others.
    """

    def __init__(
        self,
        step: Step,
        clusters: list[Cluster],
        scaling: Cluster,
    ):
        self.scaling = scaling
        self.of: dict[Instruction, Cluster] = {}
        self.variables: dict[str, Cluster] = {}
        self.states: set[str] = set()
        self._step = step
        self._by_node = {g.node: c for c in clusters for g in c.groups}
        # In the order of the samples' way; scaling is on nobody's.
        self._places = {scaling: -1} | {c: i for i, c in enumerate(clusters)}
        for instruction, origin in step.forward():
            self.of[instruction] = self._by_node[origin.node]
        self._own_weights()
        self._own_backward()
        self._own_updates()

    def holder_of(self, tensor: Instruction) -> Cluster | None:
        """The cluster that a tensor or a variable is in; None for what comes in."""
        if tensor.opcode != "parameter":
            return self.of.get(tensor)
        kind, _, name = self._step.argument(tensor).partition(":")
        return self.variables[name] if kind == "variable" else None

    def _own_weights(self) -> None:
        for parameter in self._step.parameters:
            kind, _, name = self._step.argument(parameter).partition(":")
            if kind != "variable":
                continue
            users = [self.of[user] for user in parameter.users if user in self.of]
            if users:
                # A norm of the weights in the loss uses them too, and is no layer.
                # Of several layers the first has them, and sends them on.
                scope = name.rpartition("/")[0]
                self.variables[name] = min(
                    users,
                    key=lambda c: (
                        c.layer != scope,
                        c.anchor is None,
                        self._places[c],
                    ),
                )
        scopes: dict[str, Cluster] = {}
        for name, cluster in self.variables.items():
            for end in (i for i, letter in enumerate(name) if letter == "/"):
                scopes.setdefault(name[:end], cluster)
        weights = dict(self.variables)
        others = [n for n in self._step.part.variables if n not in weights]
        for name in others:
            # An optimizer's state has the name of its weight in its own, a moving
            # average the scope of its layer.
            weight = _weight_of(name, weights)
            scope = name.rpartition("/")[0]
            if weight is None and scope in scopes:
                self.variables[name] = scopes[scope]
            else:
                self.variables[name] = weights[weight] if weight else self.scaling
                self.states.add(name)

    def _own_backward(self) -> None:
        backward = [
            i for i in self._step.instructions if self._step.role(i) == BACKWARD
        ]
        for instruction in backward:
            origin = self._step.origins[instruction]
            assert origin is not None
            is_forward = self._step.attribution.is_forward(origin.forward)
            # What hands on a value, such as a custom gradient, has no instructions.
            node = origin.forward
            while node not in self._by_node and is_forward and node.inputs:
                node = node.inputs[0].node
            if owner := self._by_node.get(node):
                self.of[instruction] = owner
            elif not is_forward and origin.forward is not origin.node:
                self.of[instruction] = self.scaling
        self._own_changes()
        # Other sums of gradients go with the last of what takes them, and from there
        # back to the others.
        for instruction in reversed(backward):
            if instruction not in self.of:
                users = [self.of[user] for user in instruction.users if user in self.of]
                if users:
                    self.of[instruction] = max(users, key=self._places.__getitem__)
        for instruction in backward:
            self.of.setdefault(instruction, self._of_operands(instruction))

    def _own_changes(self) -> None:
        """What makes the new value of a variable goes with it, also the sum of the
        gradients that several kernels send."""
        for result, new in self._step.results():
            kind, _, name = result.partition(":")
            owner = self.variables[name] if kind == "variable" else self.scaling
            stack = [new] if owner is not self.scaling else []
            while stack:
                instruction = stack.pop()
                # Single numbers may be of all gradients, such as their norm.
                free = instruction.opcode != "parameter" and instruction not in self.of
                if free and instruction.shape and not instruction.is_constant:
                    self.of[instruction] = owner
                    stack += instruction.operands

    def _own_updates(self) -> None:
        rest = [i for i in self._step.instructions if i not in self.of]
        updates = set(self._step.part.updates)
        for instruction in rest:
            origin = self._step.origins[instruction]
            if origin and origin.node in updates:
                op = variable_of(origin.node.inputs[0])
                name = op.name if op else ""
                self.of[instruction] = self.variables.get(name, self.scaling)
            elif not instruction.shape and not instruction.parts:
                self.of[instruction] = self.scaling
            else:
                self.of[instruction] = self._of_operands(instruction)
        # A scale spread over the numbers of a gradient goes with the gradient.
        for instruction in reversed(rest):
            if self.of[instruction] is self.scaling and instruction.shape:
                users = (self.of[user] for user in instruction.users if user in self.of)
                self.of[instruction] = next(users, self.scaling)

    def _of_operands(self, instruction: Instruction) -> Cluster:
        for operand in instruction.operands:
            owner = self.holder_of(operand)
            if owner is not None and owner is not self.scaling:
                return owner
        return self.scaling


def _weight_of(state: str, weights: Container[str]) -> str | None:
    """The longest name of a weight in that of a state."""
    parts = re.sub(r"_\d+$", "", state).split("/")
    spans = [
        "/".join(parts[i:j])
        for i in range(len(parts))
        for j in range(i + 1, len(parts) + 1)
    ]
    return max((span for span in spans if span in weights), key=len, default=None)
