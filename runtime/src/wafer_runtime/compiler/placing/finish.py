"""From a floorplan to a placement: least time, executions, adapters, positions."""

import dataclasses
import itertools
import math
import statistics
from typing import Any

import numpy as np

from wafer_runtime.compiler.placing import Placed, Task, adapters
from wafer_runtime.compiler.placing.annealing import Plane, across, appraise
from wafer_runtime.compiler.placing.plane import Variants
from wafer_runtime.compiler.placing.slicing import (
    LEVEL,
    Tree,
    locate,
    rebuild,
    scratch_for,
)

_ROUNDS = 8


@dataclasses.dataclass
class _Site:
    """A kernel in its box: x, y, width and height."""

    box: tuple[int, int, int, int]
    execution: Any


def finish(
    variants: Variants, plane: Plane, tree: Tree, bound_cycles: float
) -> tuple[Placed, ...]:
    """The kernels of a floorplan that fits, placed."""
    task = variants.task
    cycles = _least_cycles(variants, plane, tree, bound_cycles)
    plane = variants.plane(np.array([cycles]), with_ports=True)
    tree = tree.copy()
    tree.state[LEVEL] = 0
    sites = _sites(variants, plane, tree)
    if task.weights.adapter > 0:
        _match_ports(task, sites, cycles)
    return _positions(task, sites)


def _least_cycles(
    variants: Variants, plane: Plane, tree: Tree, bound_cycles: float
) -> float:
    """The least whole number of cycles at which the floorplan fits and is no worse."""
    trial = tree.copy()
    level = int(tree.state[LEVEL])
    with_ports = plane.ports.shape[0] > 1
    _, least = appraise(plane, trial)
    trial.state[LEVEL] = 0
    high = float(plane.cycles[level])
    low = float(plane.cycles[level - 1]) if level else bound_cycles - 1
    while high - low > 1:
        middle = (low + high) / 2
        narrow = variants.plane(np.array([middle]), with_ports)
        excess, cost = appraise(narrow, trial)
        if excess == 0 and cost <= least:
            high, least = middle, cost
        else:
            low = middle
    return high


def _sites(variants: Variants, plane: Plane, tree: Tree) -> list[_Site]:
    scratch = scratch_for(tree.links.shape[1], plane.tables.shape[2])
    rebuild(tree, plane.tables, scratch)
    locate(tree, scratch)
    sites = []
    for i, kernel in enumerate(variants.task.kernels):
        x, y, width, height = (int(v) for v in scratch.boxes[i])
        held = plane.ports[0, tree.picks[i], across(i, tree, scratch.boxes)]
        h, w, first_c, last_k = (int(v) for v in held)
        execution = _fit(
            kernel.shapes, plane.cycles[0], (width, height), (h, w), first_c, last_k
        )
        sites.append(_Site((x, y, width, height), execution))
    return sites


def _fit(
    shapes: Any,
    cycles: float,
    extent: tuple[int, int],
    spread: Any,
    first_c: int = 0,
    last_k: int = 0,
) -> Any:
    """An execution that fits upright or rotated."""
    for box in (extent[::-1], extent):
        if execution := shapes.fit(cycles, box, spread, first_c, last_k):
            return execution
    return None


def _match_ports(task: Task, sites: list[_Site], cycles: float) -> None:
    """Take h, w, c and k of neighbours where that needs fewer adapters."""
    producers: list[list[int]] = [[] for _ in sites]
    consumers: list[list[int]] = [[] for _ in sites]
    for a, b in task.edges:
        producers[b].append(a)
        consumers[a].append(b)
    for _ in range(_ROUNDS):
        before = [site.execution for site in sites]
        for i, kernel in enumerate(task.kernels):
            sources = [sites[j].execution for j in producers[i]]
            sinks = [sites[j].execution for j in consumers[i]]
            _match(kernel.shapes, sites[i], sources, sinks, cycles)
        if before == [site.execution for site in sites]:
            return


def _match(
    shapes: Any, site: _Site, sources: list[Any], sinks: list[Any], cycles: float
) -> None:
    own = site.execution
    spreads = {(e.h, e.w): 0 for e in (own, *sources, *sinks)}
    first_cs = {0: 0, **{e.k[-1]: 0 for e in sources}}
    last_ks = {0: 0, **{e.c[0]: 0 for e in sinks}}

    def count(execution: Any) -> int:
        before = sum(adapters(e, execution) for e in sources)
        return before + sum(adapters(execution, e) for e in sinks)

    least = count(own)
    for spread, c, k in itertools.product(spreads, first_cs, last_ks):
        tried = _fit(shapes, cycles, site.box[2:], spread, c, k)
        if tried and count(tried) < least:
            least, site.execution = count(tried), tried


def _positions(task: Task, sites: list[_Site]) -> tuple[Placed, ...]:
    """Shift kernels within their boxes to where their edges are shortest."""
    placed = []
    for kernel, site in zip(task.kernels, sites, strict=True):
        cost = kernel.shapes.cost(site.execution)
        x, y, width, height = site.box
        rotated = cost.width > width or cost.height > height
        at_corner = Placed(x, y, rotated, site.execution, cost)
        # From the middle; from the walls of its box none would move alone.
        middle = (x + width / 2, y + height / 2)
        placed.append(_shifted(at_corner, site.box, [middle]))
    joined: list[list[int]] = [[] for _ in sites]
    for a, b in task.edges:
        joined[a].append(b)
        joined[b].append(a)
    for _ in range(_ROUNDS):
        for i, site in enumerate(sites):
            if joined[i]:
                centres = [placed[j].centre for j in joined[i]]
                placed[i] = _shifted(placed[i], site.box, centres)
    return tuple(placed)


def _shifted(
    kernel: Placed, box: tuple[int, int, int, int], centres: list[tuple[float, float]]
) -> Placed:
    """In its box nearest to the centres: on one of the two PEs by their median."""
    corner = []
    for axis, extent in enumerate(kernel.extent):
        lowest, highest = box[axis], box[axis] + box[axis + 2] - extent
        at = [centre[axis] - extent / 2 for centre in centres]
        middle = math.floor(statistics.median(at))
        options = (min(max(x, lowest), highest) for x in (middle, middle + 1))
        corner.append(min(options, key=lambda x: sum(abs(x - a) for a in at)))
    return dataclasses.replace(kernel, x=corner[0], y=corner[1])
