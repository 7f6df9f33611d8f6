"""The tables that annealing works on, made from a task's kernels."""

from typing import Any

import numpy as np

from wafer_runtime.compiler.kernels.cost import UNBOUNDED
from wafer_runtime.compiler.placing import Shapes, Task
from wafer_runtime.compiler.placing.annealing import Plane

_MOST_BYTES = 256 * 2**20
# Room beyond the fabric, so that floorplans that stick out a little can be compared.
_MARGIN = 1.25


class Variants:
    """Every kernel in every choice of spreads, the same kernels once.

    spreads: for each choice int64 [count, 2], the (h, w) it is restricted to; None for
    all that are useful.
    """

    def __init__(self, task: Task, spreads: list[Any]):
        self.task = task
        self.spreads = spreads
        self.kinds: list[Shapes] = list(
            dict.fromkeys(kernel.shapes for kernel in task.kernels)
        )
        index = {shapes: i for i, shapes in enumerate(self.kinds)}
        self.kind_of = [index[kernel.shapes] for kernel in task.kernels]

    def picks(self, choice: int) -> Any:
        """int32 [kernels]: the variant of each, all with the same choice."""
        kinds = np.array(self.kind_of, np.int32)
        return kinds * len(self.spreads) + np.int32(choice)

    def plane(self, cycles: Any, with_ports: bool) -> Plane:
        """Tables for these cycles, float64 [levels], or fewer if that is too much."""
        task, variants = self.task, len(self.kinds) * len(self.spreads)
        extents = int(max(task.width, task.height) * _MARGIN) + 1
        bytes_a_level = variants * extents * (20 if with_ports else 4)
        most = max(8, _MOST_BYTES // bytes_a_level)
        cycles = cycles[:: -(-len(cycles) // most)]
        tables = np.empty((len(cycles), variants, extents), np.int32)
        shape = (len(cycles), variants, extents, 4) if with_ports else (1, 1, 1, 4)
        ports = np.zeros(shape, np.int32)
        for level, limit in enumerate(cycles):
            for i in range(variants):
                table, held = self._table(i, limit, extents)
                tables[level, i] = table
                if with_ports:
                    ports[level, i] = held
        weights = (task.weights.delta_t, task.weights.wire, task.weights.adapter)
        return Plane(
            cycles,
            tables,
            ports,
            len(self.spreads),
            *_adjacency(task),
            np.array(weights, np.float64),
            np.array((task.width, task.height), np.int64),
        )

    def _table(self, variant: int, limit_cycles: float, extents: int) -> Any:
        """The least extent for each extent across, rotated or not, and its ports."""
        kind, choice = divmod(variant, len(self.spreads))
        shapes = self.kinds[kind]
        spreads = self.spreads[choice]
        if spreads is None:
            spreads = shapes.spreads
        side = max(self.task.width, self.task.height)
        rows = shapes.min_widths(limit_cycles, side, spreads)
        rows = np.concatenate([rows, np.repeat(rows[-1:], extents - 1 - side, axis=0)])
        widths = rows[:, 0]
        # widths falls: the first height with at most a width is found from behind.
        heights = extents - np.searchsorted(widths[::-1], np.arange(extents), "right")
        heights[heights == extents] = UNBOUNDED
        is_rotated = heights < widths
        table = np.where(is_rotated, heights, widths)
        held_at = np.where(is_rotated, heights, np.arange(extents))
        return table, rows[held_at, 1:]


def _adjacency(task: Task) -> tuple[Any, Any, Any, Any]:
    edges = np.array(task.edges, np.int32).reshape(-1, 2)
    loads = np.array([load for _, _, load in task.loaded_edges], np.float64)
    joined: list[list[int]] = [[] for _ in task.kernels]
    for a, b in task.edges:
        joined[a].append(b)
        joined[b].append(a)
    starts = np.cumsum([0, *map(len, joined)]).astype(np.int32)
    neighbours = np.array([x for others in joined for x in others], np.int32)
    return edges, loads, starts, neighbours
