"""Which operations of the forward pass make up one kernel together.

A kernel is a layer: the operation that gives it its kind (a product, a convolution),
with the arithmetic of the same layer and what follows it alone. Edges between kernels
never close a circle: every kernel has a level, and edges go from lower to higher ones.
"""

from collections.abc import Iterable
from typing import Any

from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernels.library import ELEMENTWISE, SOURCES
from wafer_runtime.compiler.node import Node

# What may follow in the same kernel, beside arithmetic on single numbers.
_FOLLOWS = ELEMENTWISE | {"broadcast", "reshape", "rng"}


class Group:
    """The instructions of one operation of the forward pass.

    anchor: the kind of kernel that it makes, or None. layer: the scope of the weights
    that it belongs to, or that it reads weights in, or "". inputs, users: groups before
    and behind it. streams: whether it depends on a sample, and not on weights and
    random bits alone.
    """

    def __init__(self, node: Node):
        self.node = node
        self.layer = ""
        self.scope = node.name.rpartition("/")[0]
        self.instructions: list[Instruction] = []
        self.anchor: Any = None
        self.inputs: dict[Group, None] = {}
        self.users: dict[Group, None] = {}
        self.streams = False

    @property
    def opcodes(self) -> set[str]:
        """The opcodes of what it computes."""
        return {i.opcode for i in self.instructions if not i.is_constant} - SOURCES

    @property
    def waits(self) -> bool:
        """Whether it goes with what uses it: casts of weights, masks, reshapes."""
        if self.anchor is not None or not self.users:
            return False
        prepares = not self.streams and all(group.waits for group in self.inputs)
        return prepares or (self.opcodes <= {"reshape"} and len(self.users) == 1)


class Cluster:
    """The groups that make up a kernel."""

    def __init__(self, level: int, group: Group | None = None):
        self.level = level
        self.layer = group.layer if group else ""
        self.scope = group.scope if group else ""
        self.anchor: Any = None
        self.groups: list[Group] = []

    @property
    def title(self) -> str:
        """Its layer, or the scope of what it does."""
        deciding = [g for g in self.groups if g.anchor is not None]
        deciding += [g for g in self.groups if not g.waits]
        return self.layer or deciding[0].scope or deciding[0].node.name

    def add(self, group: Group, prepared: list[Group]) -> None:
        """Take a group in, and those that prepare its weights."""
        self.groups += [*prepared, group]
        self.anchor = self.anchor or group.anchor
        self.layer = self.layer or group.layer


class _Clustering:
    def __init__(self) -> None:
        self.clusters: list[Cluster] = []
        self._of: dict[Group, Cluster] = {}
        self._in_scope: dict[str, Cluster] = {}

    def place(self, group: Group) -> None:
        sources, prepared = self._before(group)
        cluster = self._joined(group, sources)
        if cluster is None:
            level = 1 + max((c.level for c in sources), default=0)
            cluster = Cluster(level, group)
            self.clusters.append(cluster)
            self._in_scope[group.scope] = cluster
        cluster.add(group, prepared)
        self._of |= dict.fromkeys([*prepared, group], cluster)

    def _before(self, group: Group) -> tuple[set[Cluster], list[Group]]:
        """The kernels that a group takes from, and what waited for it."""
        sources: set[Cluster] = set()
        prepared: dict[Group, None] = {}
        stack = list(group.inputs)
        while stack:
            source = stack.pop()
            if source in self._of:
                sources.add(self._of[source])
            elif source not in prepared:
                prepared[source] = None
                stack += source.inputs
        return sources, list(prepared)

    def _joined(self, group: Group, sources: set[Cluster]) -> Cluster | None:
        """The kernel that a group becomes part of, if it closes no circle."""
        latest = max(sources, key=lambda c: c.level, default=None)
        for cluster in (latest, group.scope and self._in_scope.get(group.scope)):
            if not cluster:
                continue
            after_all = all(c is cluster or c.level < cluster.level for c in sources)
            if after_all and self._fits(group, cluster):
                return cluster
        return None

    def _fits(self, group: Group, cluster: Cluster) -> bool:
        if group.anchor is not None and cluster.anchor is not None:
            return False
        if group.layer and group.layer == cluster.layer:
            return True
        if group.anchor is not None:
            return False
        if cluster.anchor is None:
            return not (group.layer and cluster.layer)
        if group.layer:
            return False
        # What follows a product alone: bias, activation, the sum with a shortcut.
        taken = [g for g in self._inputs(group) if self._of.get(g) is cluster]
        users = (user for source in taken for user in source.users)
        alone = all(u is group or (u.scope and u.scope == group.scope) for u in users)
        return bool(taken) and alone and group.opcodes <= _FOLLOWS

    def _inputs(self, group: Group) -> Iterable[Group]:
        """The groups that it takes from; of a reshape that waited, what it reshapes."""
        for source in group.inputs:
            yield from source.inputs if source.waits and source.streams else [source]


def clusters_of(groups: Iterable[Group]) -> list[Cluster]:
    """The kernels of a model; `groups` are in an order in which inputs come first."""
    clustering = _Clustering()
    for group in groups:
        if not group.waits:
            clustering.place(group)
    return clustering.clusters
