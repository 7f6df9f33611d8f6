"""What travels between kernels, and to and from the host."""

from collections.abc import Iterator, Mapping

from wafer_runtime.compiler.attribute import BACKWARD
from wafer_runtime.compiler.cluster import Cluster
from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernel_graph import HOST, Edge
from wafer_runtime.compiler.kernels.library import per_sample, share
from wafer_runtime.compiler.step import Step

Owners = Mapping[Instruction, Cluster]


def edges_of(
    step: Step, owner: Owners, names: Mapping[Cluster, str], batch: int
) -> Iterator[Edge]:
    """The edges of a kernel graph: from the host, between kernels, to the host."""
    back = _gradients(step, owner)
    travels = dict.fromkeys(_travels(step, owner))
    for source, target, tensor in sorted(travels, key=lambda t: t[0] is not None):
        # A pair of kernels may share several tensors; their gradients count once.
        gradient = back.pop((source, target), 0) if source else 0
        yield Edge(
            source=names[source] if source else HOST,
            target=names[target],
            tensor=_name(step, tensor),
            shape=_shape(step, tensor, batch),
            dtype=tensor.tf_dtype,
            bytes=_bytes(step, tensor, batch),
            gradient_bytes=share(gradient, batch),
        )
    for (source, target), gradient in back.items():
        # What passes by a kernel between them on its way back.
        yield Edge(
            names[source], names[target], "gradient", (), "", 0, share(gradient, batch)
        )
    for name, tensor in step.results():
        if not name.startswith("variable:") and tensor in owner:
            yield Edge(
                source=names[owner[tensor]],
                target=HOST,
                tensor=name,
                shape=_shape(step, tensor, batch),
                dtype=tensor.tf_dtype,
                bytes=_bytes(step, tensor, batch),
                gradient_bytes=0,
            )


def _shape(step: Step, tensor: Instruction, batch: int) -> tuple[int, ...]:
    return per_sample(tensor.shape, batch) if tensor.streams else tensor.shape


def _bytes(step: Step, tensor: Instruction, batch: int) -> int:
    """Of one sample; what does not depend on a sample goes once, whole."""
    return share(tensor.bytes, batch) if tensor.streams else tensor.bytes


def _travels(
    step: Step, owner: Owners
) -> Iterator[tuple[Cluster | None, Cluster, Instruction]]:
    """(from, to, what) of the forward pass."""
    for instruction, _ in step.forward():
        target = owner[instruction]
        for tensor in instruction.operands:
            source = owner.get(tensor)
            if tensor.opcode == "parameter" and not _is_variable(step, tensor):
                yield None, target, tensor
            elif source is not None and source is not target:
                yield source, target, tensor


def _gradients(step: Step, owner: Owners) -> dict[tuple[Cluster, Cluster], int]:
    """Bytes of a batch that come back from a kernel to one before it."""
    sent = {
        (owner[user], owner[tensor], tensor)
        for tensor in step.instructions
        if step.role(tensor) == BACKWARD
        for user in tensor.users
        if user in owner and step.role(user) == BACKWARD
        if owner[user].level < owner[tensor].level
    }
    total: dict[tuple[Cluster, Cluster], int] = {}
    for receiver, sender, tensor in sent:
        total[receiver, sender] = total.get((receiver, sender), 0) + tensor.bytes
    return total


def _is_variable(step: Step, parameter: Instruction) -> bool:
    return step.argument(parameter).startswith("variable:")


def _name(step: Step, tensor: Instruction) -> str:
    if tensor.opcode == "parameter":
        return step.argument(tensor).partition(":")[2]
    return tensor.op_name
