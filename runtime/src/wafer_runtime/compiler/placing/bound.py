"""What no placement can beat, and what stands in the way of any."""

import math
from typing import Any

import numpy as np

from wafer_runtime.compiler.kernels.cost import UNBOUNDED
from wafer_runtime.compiler.placing import Shapes, Task
from wafer_runtime.errors import MappingError

_SHOWN = 5


def area_bound(task: Task) -> float:
    """The least delta_t, in cycles, at which the areas of all kernels alone fit.

    Within a thousandth. Raises MappingError for what cannot be placed at all.
    """
    counts: dict[Shapes, int] = {}
    for kernel in task.kernels:
        counts[kernel.shapes] = counts.get(kernel.shapes, 0) + 1
    low, high = 0.0, max(shapes.slowest_cycles for shapes in counts)
    room, side = task.width * task.height, max(task.width, task.height)

    def fits(cycles: float) -> bool:
        areas = [n * least_area(shapes, cycles, side) for shapes, n in counts.items()]
        return sum(areas) <= room

    if not fits(high):
        raise _infeasible(task, high)
    while high - low > max(1.0, low / 1000):
        middle = math.floor((low + high) / 2)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def least_area(shapes: Shapes, limit_cycles: float, side: int) -> float:
    """PEs of the smallest rectangle within `side` a side; infinite without any."""
    widths: Any = shapes.min_widths(limit_cycles, side, shapes.spreads)[:, 0]
    areas = np.where(widths < UNBOUNDED, np.arange(side + 1.0) * widths, np.inf)
    return float(areas[1:].min())


def _infeasible(task: Task, slowest_cycles: float) -> MappingError:
    limit = min(kernel.shapes.memory_limit_words for kernel in task.kernels)
    short = [
        (kernel.name, kernel.shapes.least_memory_words)
        for kernel in task.kernels
        if kernel.shapes.least_memory_words > limit
    ]
    if short:
        return _report("memory of a PE", short, limit, "16-bit words a PE")
    side, room = max(task.width, task.height), task.width * task.height
    areas = [
        (kernel.name, least_area(kernel.shapes, slowest_cycles, side))
        for kernel in task.kernels
    ]
    large = [(name, area) for name, area in areas if area > room]
    if large:
        sides = [
            (kernel.name, _least_side(kernel.shapes, slowest_cycles))
            for kernel in task.kernels
            if kernel.name in dict(large)
        ]
        return _report("side of the fabric", sides, side, "PEs")
    total = math.ceil(sum(area for _, area in areas))
    largest = sorted(areas, key=lambda item: -item[1])[:_SHOWN]
    rows = [f"{name}: {area:,.0f} PEs at least" for name, area in largest]
    more = [] if len(areas) <= _SHOWN else [f"... and {len(areas) - _SHOWN} more"]
    return MappingError(
        f"the kernels need {total:,} PEs at least; the fabric of {task.width} x "
        f"{task.height} has {room:,}, which are {total - room:,} short.\n  "
        + "\n  ".join([*rows, *more])
        + "\nTry a larger fabric, or fewer or smaller kernels"
    )


def _least_side(shapes: Shapes, cycles: float) -> float:
    """The least side of a square that holds the kernel; past any fabric, infinite."""
    for side in range(100, UNBOUNDED, 100):
        widths: Any = shapes.min_widths(cycles, side, shapes.spreads)[:, 0]
        if widths[side] < UNBOUNDED:
            return float(np.maximum(np.arange(side + 1), widths)[1:].min())
    return math.inf


def _report(
    what: str, demands: list[tuple[str, float]], limit: int, unit: str
) -> MappingError:
    rows = [f"{name}: {_short_of(need, limit, unit)}" for name, need in demands]
    return MappingError(
        f"the {what} does not suffice for {len(demands)} kernels.\n  "
        + "\n  ".join(rows)
        + "\nTry a system with more, or smaller kernels"
    )


def _short_of(need: float, limit: int, unit: str) -> str:
    if need == math.inf:
        return f"needs more than {UNBOUNDED:,} {unit}, limit {limit:,}"
    need = math.ceil(need)
    return f"needs {need:,} {unit}, limit {limit:,}, {need - limit:,} short"
