"""The operations of the forward pass, and which of them make a kernel."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from wafer_runtime.compiler.cluster import Group
from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernels import LIBRARY
from wafer_runtime.compiler.kernels.dropout import DROPOUT
from wafer_runtime.compiler.kernels.elementwise import ELEMENTWISE_CHAIN
from wafer_runtime.compiler.kernels.embedding import EMBEDDING
from wafer_runtime.compiler.kernels.library import ELEMENTWISE, KernelType
from wafer_runtime.compiler.kernels.matmul import BATCHED_MATMUL, DENSE
from wafer_runtime.compiler.kernels.movement import MOVE
from wafer_runtime.compiler.kernels.normalization import NORMALIZATION
from wafer_runtime.compiler.kernels.reduction import REDUCTION
from wafer_runtime.compiler.kernels.softmax import CROSS_ENTROPY
from wafer_runtime.compiler.step import Step

# Of the call of a function that was opened, and of a turn of a loop.
_CALL = re.compile(r"((Stateful)?PartitionedCall(_\d+)?|while(_\d+)?/\d+)/")


def groups_of(step: Step) -> dict[str, Group]:
    """The groups of the forward pass by their operation's name, inputs first."""
    groups: dict[str, Group] = {}
    members: dict[Instruction, Group] = {}
    for instruction, origin in step.forward():
        name = origin.node.name
        if name not in groups:
            groups[name] = Group(origin.node)
        group = members[instruction] = groups[name]
        group.instructions.append(instruction)
        group.streams |= instruction.streams
        for operand in instruction.operands:
            source = members.get(operand)
            if source is not None and source is not group:
                group.inputs[source] = None
                source.users[group] = None
    # HLO has the first of an operation's instructions before what others need.
    groups = {n.name: groups[n.name] for n in step.part.wafer if n.name in groups}
    for group in groups.values():
        group.anchor = _anchor(group, step)
    _name_layers(step, groups.values())
    return groups


def kind_of(anchor: KernelType | None, groups: list[Group]) -> KernelType:
    """The kind of a kernel that has no operation which decides it."""
    if anchor is not None:
        return anchor
    opcodes = {opcode for group in groups for opcode in group.opcodes}
    if any("logistic_loss" in group.node.name.split("/") for group in groups):
        return CROSS_ENTROPY
    if "reduce" in opcodes and opcodes & {"rsqrt", "sqrt"}:
        return NORMALIZATION
    if any("rsqrt" in group.opcodes and not group.streams for group in groups):
        return NORMALIZATION  # by moving averages
    if opcodes & DROPOUT.opcodes:
        return DROPOUT
    if opcodes & REDUCTION.takes:
        return REDUCTION
    return ELEMENTWISE_CHAIN if opcodes & ELEMENTWISE else MOVE


def _name_layers(step: Step, groups: Collection[Group]) -> None:
    """A layer has the name of its weights' scope, or the scope of what reads them."""
    layers = {name.rpartition("/")[0]: "" for name in step.weights()}
    layers = {scope: scope for scope in layers if scope}
    reads = _reads(step, groups)
    at_home = {_innermost(group, layers) for group in reads}
    found: dict[Group, str] = {}
    for group, weight in reads.items():
        scope = weight.rpartition("/")[0]
        # Those of a functional model are in the model's scope, their weights not.
        outer = next((s for s in _scopes(group) if f"/{s}".endswith(f"/{scope}")), "")
        if not _innermost(group, layers):
            if scope and outer:
                layers[outer] = scope
            else:
                own = next(_scopes(group), "")
                # A weight that another layer lends is no reason to be called like it.
                found[group] = own or (scope if scope not in at_home else "")
    for group in groups:
        group.layer = _innermost(group, layers) or found.get(group, "")


def _reads(step: Step, groups: Iterable[Group]) -> dict[Group, str]:
    """The first weight that a group reads, by itself or in another form."""
    reads: dict[Group, str] = {}
    for group in groups:
        taken = (o for i in group.instructions for o in i.operands)
        names = [step.argument(o) for o in taken if o.opcode == "parameter"]
        own = [n.partition(":")[2] for n in names if n.startswith("variable:")]
        own += [reads[g] for g in group.inputs if g in reads and g.waits]
        if own:
            reads[group] = own[0]
    return reads


def _scopes(group: Group) -> Iterator[str]:
    """The scopes that it is in, the innermost first."""
    name = _CALL.sub("", f"{group.scope}/").strip("/")
    while name:
        yield name
        name = name.rpartition("/")[0]


def _innermost(group: Group, layers: Mapping[str, str]) -> str:
    return next((layers[scope] for scope in _scopes(group) if scope in layers), "")


def _anchor(group: Group, step: Step) -> KernelType | None:
    """The kind of kernel that an operation makes by itself."""
    opcodes = group.opcodes
    if "dot" in opcodes:
        dots = [i for i in group.instructions if i.opcode == "dot"]
        is_weighted = any(not o.streams for d in dots for o in d.operands)
        return DENSE if is_weighted else BATCHED_MATMUL
    if "gather" in opcodes:
        tables = [i.operands[0] for i in group.instructions if i.opcode == "gather"]
        looked_up = any(not t.streams and not t.is_constant for t in tables)
        return EMBEDDING if looked_up else None
    kinds = [kind for kind in LIBRARY if kind is not DROPOUT]
    by_op = (kind for kind in kinds if group.node.kind in kind.ops)
    by_opcode = (kind for kind in kinds if opcodes & kind.opcodes)
    return next(by_op, None) or next(by_opcode, None)
