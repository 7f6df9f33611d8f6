"""The part of a machine that the fabric needs, and the errors that name its places."""

import math
from dataclasses import dataclass
from numbers import Integral

from wafer_runtime.errors import FabricError
from wafer_runtime.system import System

# Ports of a router, in the order of every mask and table here: bit p stands for port p.
PORTS = "NESWR"
RAMP = 4


# What the records of `state` and `isa` can hold.
_LIMITS = {
    "ramp_latency_cycles": (1, 100),
    "colors": (1, 200),
    "input_queue_depths": (1, 10_000),
    "output_queue_depths": (1, 10_000),
    "router_depth": (2, 10_000),
    "memory_bytes": (4, 2**30),
    "simd_lanes": (2, 64),
    "memory_port_bytes": (4, 256),
    "reads": (2, 100),
    "writes": (1, 100),
    "microthreads": (0, 100),
    "registers": (0, 10_000),
    "switch_positions": (1, 4),
}


@dataclass(frozen=True)
class FabricConfig:
    """What a PE and its router can do; the defaults are the WSE-2's.

    Sources: queue depths and lanes, the vendor's SDK notes; ramp latency, HPDC'24,
    "Near-Optimal Wafer-Scale Reduce". `router_depth` is ours: the least that lets
    a wavelet pass every cycle when it takes a cycle to learn of room. `memory_bytes`
    are for arrays: a PE's memory but for what a system keeps for programs. The memory
    does `reads` and `writes` a cycle, each of `memory_port_bytes`.
    """

    ramp_latency_cycles: int = 2
    colors: int = 24
    input_queue_depths: tuple[int, ...] = (6, 6, 4, 4, 2, 2, 2, 2)
    output_queue_depths: tuple[int, ...] = (2, 2, 6, 6, 2, 2)
    router_depth: int = 2
    memory_bytes: int = 48 * 1024 - 512
    simd_lanes: int = 4
    memory_port_bytes: int = 4
    reads: int = 2
    writes: int = 1
    microthreads: int = 8
    registers: int = 16
    switch_positions: int = 4

    def __post_init__(self) -> None:
        """Refuse what no machine has."""
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if not least <= number <= most:
                    raise FabricError(
                        f"FabricConfig.{name} is {value}: from {least} to {most}"
                    )

    @classmethod
    def of(cls, system: System) -> "FabricConfig":
        """Of a system; what it does not tell is as above."""
        return cls(
            ramp_latency_cycles=system.ramp_latency_cycles,
            colors=system.colors,
            input_queue_depths=system.input_queue_words,
            output_queue_depths=system.output_queue_words,
            memory_bytes=system.data_bytes,
            simd_lanes=system.simd_lanes,
            memory_port_bytes=system.memory_port_bytes,
        )

    def elements_a_cycle(self, item_bytes: int) -> int:
        """Of a vector instruction whose widest operand in memory has such items."""
        return min(self.simd_lanes, self.memory_port_bytes // item_bytes)

    @property
    def wheel_slots(self) -> int:
        """Length of the wheel of coming cycles: a power of two above any latency."""
        return int(2 ** math.ceil(math.log2(self.ramp_latency_cycles + 3)))


def indices(where: int | slice, size: int, axis: str) -> slice:
    """`where` as a slice within `size`; FabricError when it reaches outside."""
    if not isinstance(where, slice | Integral):
        raise FabricError(f"{axis} = {where!r}: a number or a slice, as slice(0, 2)")
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
