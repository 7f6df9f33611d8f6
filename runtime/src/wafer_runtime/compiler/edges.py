"""What travels between kernels, and to and from the host."""

from collections.abc import Iterator, Mapping

from wafer_runtime.compiler.attribute import FORWARD, UPDATE
from wafer_runtime.compiler.cluster import Cluster
from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernel_graph import HOST, Edge
from wafer_runtime.compiler.kernels.library import per_sample, share
from wafer_runtime.compiler.ownership import Ownership
from wafer_runtime.compiler.step import Step

# From the host (None) or a kernel, to a kernel, what.
Flow = tuple[Cluster | None, Cluster, Instruction]


def edges_of(
    step: Step, owners: Ownership, names: Mapping[Cluster, str], batch: int
) -> Iterator[Edge]:
    """The edges of a kernel graph: from the host, between kernels, to the host.

    names: of the kernels, in an order in which samples go from earlier to later ones.
    """

    def edge(
        source: str, target: str, name: str, tensor: Instruction, gradient: int = 0
    ) -> Edge:
        is_batched = tensor.streams or tensor.drawn
        return Edge(
            source=source,
            target=target,
            tensor=name,
            shape=per_sample(tensor.shape, batch) if is_batched else tensor.shape,
            dtype=tensor.tf_dtype,
            bytes=share(tensor.bytes, batch),
            gradient_bytes=share(gradient, batch),
            per_batch=not is_batched,
        )

    forth, back = _directed(step, owners, names)
    for source, target, tensor in sorted(forth, key=lambda t: t[0] is not None):
        # A pair of kernels may share several tensors; their gradients count once.
        gradient = back.pop((source, target), 0) if source else 0
        start = names[source] if source else HOST
        yield edge(start, names[target], _name(step, tensor), tensor, gradient)
    for (source, target), gradient in back.items():
        # What passes by a kernel between them on its way back.
        yield Edge(
            names[source], names[target], "gradient", (), "", 0, share(gradient, batch)
        )
    for name, tensor in step.results():
        holder = owners.holder_of(tensor)
        if not name.startswith("variable:") and holder is not None:
            yield edge(names[holder], HOST, name, tensor)


def _directed(
    step: Step, owners: Ownership, names: Mapping[Cluster, str]
) -> tuple[list[Flow], dict[tuple[Cluster, Cluster], int]]:
    """What goes to later kernels, and the bytes of a batch that come back."""
    places = {cluster: place for place, cluster in enumerate(names)}
    forth: list[Flow] = []
    back: dict[tuple[Cluster, Cluster], int] = {}
    for source, target, tensor in dict.fromkeys(_flows(step, owners)):
        if source is None or places[source] < places[target]:
            forth.append((source, target, tensor))
        else:
            total = back.get((target, source), 0) + tensor.bytes
            back[target, source] = total
    return forth, back


def _flows(step: Step, owners: Ownership) -> Iterator[Flow]:
    scaling = {owners.scaling}
    for instruction in step.instructions:
        target = owners.of[instruction]
        is_forward = step.role(instruction) == FORWARD
        for tensor in instruction.operands:
            source = owners.holder_of(tensor)
            is_parameter = tensor.opcode == "parameter"
            if source is None:
                if is_parameter and (is_forward or _is_sample(step, tensor)):
                    yield None, target, tensor
            elif source is target or (is_parameter and not _changes(step, tensor)):
                continue
            elif is_forward or not (
                {source, target} & scaling or _is_rate(step, tensor)
            ):
                yield source, target, tensor


def _is_rate(step: Step, tensor: Instruction) -> bool:
    """Whether it is a number of an update, such as a rate or a norm."""
    return not tensor.shape and step.role(tensor) == UPDATE


def _is_sample(step: Step, parameter: Instruction) -> bool:
    """Whether it is no scalar, such as a learning rate."""
    return step.argument(parameter).startswith("input:")


def _changes(step: Step, parameter: Instruction) -> bool:
    """Whether a variable has a new value after the step, to be sent to all users."""
    return step.argument(parameter) in step.extracted.results


def _name(step: Step, tensor: Instruction) -> str:
    if tensor.opcode == "parameter":
        return step.argument(tensor).partition(":")[2]
    return tensor.op_name
