"""Where kernels go on the fabric: the values that the placer takes and gives.

`search.place` picks for each kernel how it is spread over PEs, a rectangle and its
rotation, so that weights.delta_t * delta_t + weights.wire * wire length +
weights.adapter * adapters is least (the cost of the ISPD 2020 contest). delta_t: the
slowest kernel's cycles a sample. Wire length: over the edges, the distance between the
centres along x and y, in PEs. Adapters: over the edges, how many of three differ: h, w,
and the producer's last k from the consumer's first c.
"""

import dataclasses
from typing import Any, Protocol

from wafer_runtime.compiler.kernels.cost import Cost, Execution


class Shapes(Protocol):
    """What a kernel can be spread over. Equal ones are tabulated once."""

    @property
    def slowest_cycles(self) -> float:
        """The time that no execution exceeds."""

    @property
    def least_memory_words(self) -> float:
        """The memory a PE below which no execution goes."""

    @property
    def memory_limit_words(self) -> int:
        """What a PE has."""

    @property
    def spreads(self) -> Any:
        """int64 [count, 2]: every (h, w)."""

    @property
    def fast_spreads(self) -> Any:
        """int64 [count, 2]: each (h, w) of which none smaller is as fast."""

    def min_widths(self, limit_cycles: float, side: int, spreads: Any) -> Any:
        """int32 [side + 1, 5]: for each height the least width, its h, w, c and k."""

    def fit(
        self,
        limit_cycles: float,
        box: tuple[int, int],
        spread: tuple[int, int],
        first_c: int = 0,
        last_k: int = 0,
    ) -> Execution | None:
        """The narrowest execution in a box of (height, width), if there is one."""

    def cost(self, execution: Execution) -> Cost:
        """Size, time and memory of an execution."""


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel to be placed."""

    name: str
    shapes: Shapes


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a cycle, a PE of wire and an adapter count in the objective."""

    delta_t: float = 1.0
    wire: float = 1.0
    adapter: float = 0.0


@dataclasses.dataclass(frozen=True)
class Task:
    """Kernels, edges (producer, consumer) by index, and a fabric in PEs.

    loads: how many times the wire of each edge counts; once, if there are none.
    """

    kernels: tuple[Kernel, ...]
    edges: tuple[tuple[int, int], ...]
    width: int
    height: int
    weights: Weights = Weights()
    loads: tuple[float, ...] = ()

    @property
    def loaded_edges(self) -> list[tuple[int, int, float]]:
        """Each edge, and how many times its wire counts."""
        loads = self.loads or (1.0,) * len(self.edges)
        return [(a, b, n) for (a, b), n in zip(self.edges, loads, strict=True)]


@dataclasses.dataclass(frozen=True)
class Placed:
    """A kernel at (x, y), its lower left PE; rotated by 90 degrees or not."""

    x: int
    y: int
    rotated: bool
    execution: Execution
    cost: Cost

    @property
    def extent(self) -> tuple[int, int]:
        """PEs along x and y."""
        size = (self.cost.width, self.cost.height)
        return size[::-1] if self.rotated else size

    @property
    def centre(self) -> tuple[float, float]:
        """Along x and y, in PEs."""
        across, up = self.extent
        return self.x + across / 2, self.y + up / 2


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where every kernel of a task is; `seed` and `iterations` give it again.

    ended: how long the search took, and why it ended.
    """

    task: Task
    placed: tuple[Placed, ...]
    bound_cycles: float
    seed: int
    iterations: int
    ended: str = dataclasses.field(default="", compare=False)

    @property
    def delta_t_cycles(self) -> float:
        """Cycles a sample: the slowest kernel's."""
        return max(kernel.cost.time_cycles for kernel in self.placed)

    @property
    def wire_length(self) -> float:
        """In PEs, each as often as it counts."""
        total = 0.0
        for a, b, load in self.task.loaded_edges:
            (ax, ay), (bx, by) = self.placed[a].centre, self.placed[b].centre
            total += load * (abs(ax - bx) + abs(ay - by))
        return total

    @property
    def adapters(self) -> int:
        """How many adapters the edges need."""
        pairs = ((self.placed[a], self.placed[b]) for a, b in self.task.edges)
        return sum(adapters(a.execution, b.execution) for a, b in pairs)

    @property
    def objective(self) -> float:
        """The weighted cost."""
        weights = self.task.weights
        return (
            weights.delta_t * self.delta_t_cycles
            + weights.wire * self.wire_length
            + weights.adapter * self.adapters
        )


def adapters(producer: Execution, consumer: Execution) -> int:
    """Adapters of an edge, 0 to 3."""
    return (
        (producer.h != consumer.h)
        + (producer.w != consumer.w)
        + (producer.k[-1] != consumer.c[0])
    )
