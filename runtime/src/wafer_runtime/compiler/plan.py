"""What a compilation decides: where every kernel is, how data travels, how fast."""

import dataclasses
import json
import math
from typing import Any

from wafer_runtime.compiler.kernel_graph import made


@dataclasses.dataclass(frozen=True)
class Search:
    """How to look for a placement: as `placing.search.place` says.

    multireplica: place as many copies of the model as give the most samples.
    any_kept: if there is a plan of the model already, take that.
    """

    seconds: float = 10.0
    seed: int = 0
    iterations: int | None = None
    multireplica: bool = False
    any_kept: bool = dataclasses.field(default=False, repr=False)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages that `planning.make_plan` enters."""
        return ("size", "place", "route", *(["replicate"] * self.multireplica))


@dataclasses.dataclass(frozen=True)
class PlacedKernel:
    """A kernel on the fabric. x, y: of its lower left PE; width, height: in PEs.

    rotated: whether its columns go upwards. h, w, c, k: how it is spread (see
    `kernels.spread`). compute_cycles, transfer_cycles: for a sample, of its slowest PE
    and of its busiest port. memory_bytes: of a PE. macs: for a sample, all passes.
    latency: the share of a sample that has to be there before it gives anything.
    trains: whether samples come by a second time, with the gradients.
    """

    name: str
    kind: str
    x: int
    y: int
    width: int
    height: int
    rotated: bool
    h: int
    w: int
    c: int
    k: int
    compute_cycles: int
    transfer_cycles: int
    memory_bytes: int
    macs: int
    latency: float
    trains: bool

    @property
    def pes(self) -> int:
        """How many it covers."""
        return self.width * self.height

    @property
    def cycles(self) -> int:
        """Between two samples at least."""
        return max(self.compute_cycles, self.transfer_cycles)


@dataclasses.dataclass(frozen=True)
class Route:
    """How a tensor, or the gradient that comes back for one, travels.

    wavelets: of a sample, on all paths. cycles: of a sample on the busiest link of its
    way, with all else that passes there. paths: each (x, y, x, y, x, y, x, y), from a
    PE over two corners to another PE.
    """

    source: str
    target: str
    tensor: str
    is_gradient: bool
    wavelets: int
    cycles: int
    paths: tuple[tuple[int, ...], ...]

    @property
    def hops(self) -> int:
        """Of the longest path."""
        return max(
            sum(abs(b - a) for a, b in zip(path, path[2:], strict=False))
            for path in self.paths
        )


@dataclasses.dataclass(frozen=True)
class Link:
    """The busiest link: from the PE at x, y to its neighbour in `direction`."""

    x: int
    y: int
    direction: str
    wavelets: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """A model on a system, for one sample after another. Extents in PEs.

    fabric_cores: PEs for programs. host_cycles: for a sample on its way between host
    and fabric. replicas: copies of the model above one another; kernels and routes
    are those of the first, which has `replica_height` rows. seed, iterations: give the
    placement again. search_ended: how long the search took, and why it ended.
    """

    system: str
    mode: str
    batch_size: int
    clock_hz: float
    ramp_latency_cycles: int
    fabric_width: int
    fabric_height: int
    host_bytes_per_sample: int
    host_cycles: int
    seed: int
    iterations: int
    replicas: int
    replica_height: int
    kernels: tuple[PlacedKernel, ...]
    routes: tuple[Route, ...]
    busiest_link: Link | None
    search_ended: str = dataclasses.field(compare=False)

    @property
    def compute_cycles(self) -> int:
        """Of the slowest kernel, for a sample."""
        return max(kernel.compute_cycles for kernel in self.kernels)

    @property
    def link_cycles(self) -> int:
        """Of the busiest link, for a sample."""
        return self.busiest_link.wavelets if self.busiest_link else 0

    @property
    def transmission_cycles(self) -> int:
        """Of the busiest port, link or host connection, for a sample."""
        ports = max(kernel.transfer_cycles for kernel in self.kernels)
        return max(ports, self.link_cycles, self.host_cycles * self.replicas)

    @property
    def delta_t_cycles(self) -> int:
        """Between two samples of one replica."""
        return max(self.compute_cycles, self.transmission_cycles)

    @property
    def fabric_cores(self) -> int:
        """PEs for programs."""
        return self.fabric_width * self.fabric_height

    @property
    def pes(self) -> int:
        """Under kernels, of all replicas."""
        return self.replicas * sum(kernel.pes for kernel in self.kernels)

    @property
    def total_utilization(self) -> float:
        """The share of the PEs that are under kernels."""
        return self.pes / self.fabric_cores

    @property
    def compute_utilization(self) -> float:
        """The share of those PEs' time in which they compute."""
        busy = sum(kernel.pes * kernel.compute_cycles for kernel in self.kernels)
        return self.replicas * busy / (self.pes * self.delta_t_cycles)

    @property
    def replica_batch_size(self) -> int:
        """Samples of a batch that one replica has."""
        return -(-self.batch_size // self.replicas)

    def samples_per_s(self, cycles: float) -> float:
        """Of all replicas, each with a sample in so many cycles."""
        return self.replicas * self.clock_hz / cycles if cycles else math.inf

    def to_json(self) -> str:
        """As text, with the figures that follow from it; `from_json` reads it."""
        content = {
            "total_utilization": self.total_utilization,
            "delta_t": self.delta_t_cycles,
            **dataclasses.asdict(self),
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """What `to_json` wrote. Raises ValueError, KeyError or TypeError for others."""
        content: dict[str, Any] = json.loads(text)
        del content["total_utilization"], content["delta_t"]
        link = content.pop("busiest_link")
        content["kernels"] = tuple(made(PlacedKernel, k) for k in content["kernels"])
        content["routes"] = tuple(_route(route) for route in content["routes"])
        return cls(**content, busiest_link=Link(**link) if link else None)


def _route(content: dict[str, Any]) -> Route:
    content["paths"] = [tuple(path) for path in content["paths"]]
    route: Route = made(Route, content)
    return route
