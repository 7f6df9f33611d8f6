"""The part of a machine that the fabric needs, and the errors that name its places."""

import math
from dataclasses import dataclass

from wafer_runtime.errors import FabricError

# Ports of a router, in the order of every mask and table here: bit p stands for port p.
PORTS = "NESWR"
RAMP = 4


@dataclass(frozen=True)
class FabricConfig:
    """What a PE and its router can do; the defaults are the WSE-2's.

    Sources: queue depths and lanes, the vendor's SDK notes; ramp latency, HPDC'24,
    "Near-Optimal Wafer-Scale Reduce". `router_depth` is ours: the least that lets
    a wavelet pass every cycle when it takes a cycle to learn of room. `reads` and
    `writes` are memory accesses a cycle, each as wide as the lanes.
    """

    ramp_latency_cycles: int = 2
    colors: int = 24
    input_queue_depths: tuple[int, ...] = (6, 6, 4, 4, 2, 2, 2, 2)
    output_queue_depths: tuple[int, ...] = (2, 2, 6, 6, 2, 2)
    router_depth: int = 2
    memory_bytes: int = 48 * 1024
    simd_lanes: int = 4
    reads: int = 2
    writes: int = 1
    microthreads: int = 8
    registers: int = 16
    switch_positions: int = 4

    def __post_init__(self) -> None:
        """Refuse what no machine has."""
        least = {"simd_lanes": 2, "router_depth": 2, "colors": 1, "reads": 2}
        least |= {"ramp_latency_cycles": 1, "memory_bytes": 4, "writes": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise FabricError(
                    f"FabricConfig.{name} is {getattr(self, name)}: at least {lowest}"
                )

    @property
    def wheel_slots(self) -> int:
        """Length of the wheel of coming cycles: a power of two above any latency."""
        return int(2 ** math.ceil(math.log2(self.ramp_latency_cycles + 3)))


def indices(where: int | slice, size: int, axis: str) -> slice:
    """`where` as a slice within `size`; FabricError when it reaches outside."""
    if isinstance(where, slice):
        start, stop = where.start or 0, size if where.stop is None else where.stop
        step = where.step or 1
    else:
        start, stop, step = where, where + 1, 1
    if not (0 <= start <= stop <= size and step > 0):
        raise FabricError(
            f"{axis} = {where} reaches outside the fabric: 0 to {size - 1} are there"
        )
    return slice(start, stop, step)
