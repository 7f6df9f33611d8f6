"""Copies of a model above one another on the fabric: how many, and what each is."""

import dataclasses
from typing import NamedTuple

from wafer_runtime.compiler import placing
from wafer_runtime.compiler.kernel_graph import KernelGraph
from wafer_runtime.compiler.kernels.spread import Spread
from wafer_runtime.compiler.placing.bound import area_bound
from wafer_runtime.compiler.plan import Plan
from wafer_runtime.compiler.size import gradient_sum_bytes, size
from wafer_runtime.errors import MappingError
from wafer_runtime.simulator.pipeline import cycles_in_batches
from wafer_runtime.system import System


class Strip(NamedTuple):
    """One of so many replicas, and the task of placing it."""

    replicas: int
    graph: KernelGraph
    task: placing.Task


def strips(graph: KernelGraph, system: System, height: int, plan: Plan) -> list[Strip]:
    """Replicas of so many that their rows fit, first those that give most samples by
    their areas.

    In training their number divides a batch, whose samples they share; the drain after
    it lasts as long as that of `plan`, or longer as their kernels are slower.
    """
    batch = plan.batch_size if plan.mode == "train" else 0
    drain = cycles_in_batches(plan) - plan.delta_t_cycles
    counts = {height // n: n for n in range(2, height + 1) if batch % n == 0}
    found: dict[int, Strip] = {}
    each: dict[int, float] = {}
    for rows, count in counts.items():
        made = strip(graph, system, rows, count)
        try:
            cycles = area_bound(made.task)
        except MappingError:
            break
        slower = max(1.0, cycles / plan.delta_t_cycles)
        found[count] = made
        each[count] = drain * slower + max(cycles / count, plan.host_cycles)
    return [found[count] for count in sorted(found, key=lambda n: each[n])]


def strip(graph: KernelGraph, system: System, height: int, count: int) -> Strip:
    """A replica to be placed: its sums of gradients go to the next one, and all
    replicas' sums come back, each way on links of their own. Each replica updates a
    share of the weights and sends these on instead of the sums, which are as many
    bytes: so a sample's share of the updates is that of one copy.
    """
    kernels = []
    graph = _once_a_batch(graph, count)
    task = size(graph, system)
    for kernel, placed in zip(graph.kernels, task.kernels, strict=True):
        shapes = placed.shapes
        assert isinstance(shapes, Spread)
        sums = gradient_sum_bytes(kernel) * count / graph.batch_size
        shapes = shapes._replace(
            weight_transfer_bytes=shapes.weight_transfer_bytes + sums
        )
        kernels.append(dataclasses.replace(placed, shapes=shapes))
    task = dataclasses.replace(task, kernels=tuple(kernels), height=height)
    return Strip(count, graph, task)


def _once_a_batch(graph: KernelGraph, count: int) -> KernelGraph:
    """The graph of one of `count` replicas, which has so much less of a batch: a sample
    has a larger share of what travels once.
    """
    edges = (
        dataclasses.replace(
            edge, bytes=edge.bytes * count, gradient_bytes=edge.gradient_bytes * count
        )
        if edge.per_batch
        else edge
        for edge in graph.edges
    )
    return dataclasses.replace(graph, edges=tuple(edges))
