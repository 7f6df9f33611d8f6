"""Stage 4: HLO -> kernels of the library, and the edges between them."""

from collections.abc import Iterable

from wafer_runtime.compiler import edges
from wafer_runtime.compiler.attribute import BACKWARD, FORWARD, UPDATE, line_of
from wafer_runtime.compiler.cluster import Cluster, clusters_of
from wafer_runtime.compiler.grouping import groups_of, kind_of
from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernel_graph import Kernel, KernelGraph, Weight
from wafer_runtime.compiler.kernels import conv, matmul
from wafer_runtime.compiler.kernels.library import ELEMENTWISE, KernelType, share
from wafer_runtime.compiler.kernels.optimizers import rule_of
from wafer_runtime.compiler.kernels.pooling import POOLING, comparisons
from wafer_runtime.compiler.kernels.scaling import GRADIENT_SCALING
from wafer_runtime.compiler.ownership import Ownership
from wafer_runtime.compiler.step import Step
from wafer_runtime.compiler.variables import variable_of

# Other forms of the same numbers.
_SAME = {"bitcast", "broadcast", "convert", "copy", "reshape", "transpose"}
_MACS = {"dot": matmul.macs, "convolution": conv.macs}


def match(step: Step, mode: str, batch: int) -> KernelGraph:
    """The kernels of a step that holds nothing unsupported."""
    groups = groups_of(step)
    clusters = sorted(clusters_of(groups.values()), key=lambda c: c.level)
    scaling = Cluster(1 + max((c.level for c in clusters), default=0))
    owners = Ownership(step, clusters, scaling)
    owned: dict[Cluster, list[Instruction]] = {c: [] for c in [*clusters, scaling]}
    for instruction in step.instructions:
        owned[owners.of[instruction]].append(instruction)
    if not owned[scaling]:
        del owned[scaling]
    names = _names(owned, scaling)
    builder = _Builder(step, owners, batch)
    return KernelGraph(
        mode=mode,
        batch_size=batch,
        kernels=tuple(builder.kernel(c, names[c], owned[c]) for c in owned),
        edges=tuple(edges.edges_of(step, owners, names, batch)),
    )


def _names(clusters: Iterable[Cluster], scaling: Cluster) -> dict[Cluster, str]:
    """A name for each kernel, its layer's, with a number where there are several."""
    names: dict[Cluster, str] = {}
    taken: dict[str, int] = {}
    for cluster in clusters:
        name = "gradient_scaling" if cluster is scaling else cluster.title
        taken[name] = taken.get(name, 0) + 1
        names[cluster] = name if taken[name] == 1 else f"{name}#{taken[name]}"
    return names


class _Builder:
    def __init__(self, step: Step, owners: Ownership, batch: int):
        self._step = step
        self._owners = owners
        self._batch = batch
        self._weights: dict[Cluster, list[Weight]] = {}
        self._states: dict[Cluster, list[Weight]] = {}
        self._shared: dict[Cluster, dict[str, None]] = {}
        self._rules: dict[Cluster, str] = {}
        self._place_variables()
        self._find_rules()

    def kernel(
        self, cluster: Cluster, name: str, instructions: list[Instruction]
    ) -> Kernel:
        kind = kind_of(cluster.anchor, cluster.groups)
        if cluster is self._owners.scaling:
            kind = GRADIENT_SCALING
        nodes = [group.node for group in cluster.groups]
        if not nodes:
            nodes = [o.node for i in instructions if (o := self._step.origins[i])]
        return Kernel(
            name=name,
            kind=kind.name,
            layer=cluster.layer,
            dims=self._dims(kind, instructions),
            passes=self._passes(cluster, instructions),
            macs=sum(_MACS[i.opcode](i) for i in instructions if i.opcode in _MACS),
            operations=sum(_operations(i, kind) for i in instructions),
            weights=tuple(self._weights.get(cluster, ())),
            states=tuple(self._states.get(cluster, ())),
            shared=tuple(self._shared.get(cluster, ())),
            saved_bytes=self._saved(instructions),
            optimizer=self._rules.get(cluster),
            dtypes=tuple(dict.fromkeys(i.tf_dtype for i in instructions if i.shape)),
            ops=tuple(dict.fromkeys(node.kind for node in nodes)),
            lines=tuple(dict.fromkeys(line_of(node) for node in nodes)),
        )

    def _dims(
        self, kind: KernelType, instructions: list[Instruction]
    ) -> dict[str, int]:
        there = [
            i for i in instructions if self._step.role(i) == FORWARD
        ] or instructions
        chosen = [i for i in there if i.opcode in kind.measured]
        if not chosen:
            chosen = sorted(there, key=lambda i: -i.elements)
        chosen = [i for i in chosen if i.operands] or chosen
        return dict(kind.measure(chosen[0], self._batch))

    def _passes(
        self, cluster: Cluster, instructions: list[Instruction]
    ) -> tuple[str, ...]:
        roles = {self._step.role(i) for i in instructions}
        used = [weight.name for weight in self._weights.get(cluster, ())]
        used += self._shared.get(cluster, ())
        trained = any(self._step.part.variables[name] for name in used)
        sends_back = any(
            self._step.role(user) == BACKWARD and self._owners.of[user] is not cluster
            for i in instructions
            if self._step.role(i) == BACKWARD
            for user in i.users
            if user in self._owners.of
        )
        found = {
            "forward": FORWARD in roles,
            "input_gradient": sends_back,
            "weight_gradient": BACKWARD in roles and trained,
            "update": UPDATE in roles and cluster in self._rules,
        }
        return tuple(name for name, there in found.items() if there)

    def _saved(self, instructions: list[Instruction]) -> int:
        """Bytes of what the forward pass made of a sample for these gradients.

        Of a tensor and what is the same in another form, the smaller is kept.
        """
        kept: dict[Instruction, int] = {}
        for instruction in instructions:
            if self._step.role(instruction) != BACKWARD:
                continue
            for operand in filter(self._is_made_forward, instruction.operands):
                source = operand
                while source.opcode in _SAME:
                    source = source.operands[0]
                size = min(operand.bytes, source.bytes)
                kept[source] = min(kept.get(source, size), size)
        return share(sum(kept.values()), self._batch)

    def _is_made_forward(self, operand: Instruction) -> bool:
        forward = operand.opcode == "parameter" or self._step.role(operand) == FORWARD
        return forward and (operand.streams or operand.drawn)

    def _place_variables(self) -> None:
        for parameter in self._step.parameters:
            kind, _, name = self._step.argument(parameter).partition(":")
            if kind != "variable":
                continue
            trained = self._step.part.variables.get(name, False)
            made = Weight(
                name, parameter.shape, parameter.tf_dtype, parameter.bytes, trained
            )
            owner = self._owners.variables[name]
            is_state = name in self._owners.states
            place = self._states if is_state else self._weights
            place.setdefault(owner, []).append(made)
            for user in parameter.users:
                cluster = self._owners.of.get(user)
                if cluster not in (None, owner) and self._step.role(user) == FORWARD:
                    self._shared.setdefault(cluster, {})[name] = None

    def _find_rules(self) -> None:
        for node in self._step.part.updates:
            op = variable_of(node.inputs[0])
            if op is None or not self._step.part.variables.get(op.name):
                continue
            rule = rule_of(node.kind, node.name)
            owner = self._owners.variables[op.name]
            if self._rules.get(owner, "assignment") == "assignment":
                self._rules[owner] = rule


def _operations(instruction: Instruction, kind: KernelType) -> int:
    if kind is POOLING and instruction.opcode in POOLING.takes:
        return comparisons(instruction)
    if instruction.opcode in ELEMENTWISE or instruction.opcode.startswith("rng"):
        return instruction.elements
    if instruction.opcode.startswith(("reduce", "batch-norm")):
        return instruction.operands[0].elements
    return 0
