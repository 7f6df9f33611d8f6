"""Stages 5 to 7 together: a kernel graph and a system -> a Plan."""

import dataclasses
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager

from wafer_runtime.compiler import placing
from wafer_runtime.compiler.kernel_graph import HOST, KernelGraph
from wafer_runtime.compiler.kernels.spread import WORD_BYTES, Spread
from wafer_runtime.compiler.placing.search import placements
from wafer_runtime.compiler.plan import PlacedKernel, Plan, Search
from wafer_runtime.compiler.replicas import strips
from wafer_runtime.compiler.route import route
from wafer_runtime.compiler.size import size, sizes_of
from wafer_runtime.errors import MappingError
from wafer_runtime.simulator.pipeline import cycles_in_batches
from wafer_runtime.system import System
from wafer_runtime.units import count_text

log = logging.getLogger("wafer_runtime")

# Iterations. Small models are done long before the time is up.
_PATIENCE = 4
_ROUTED = 3  # placements; each takes seconds for a large model
Stage = Callable[[str], AbstractContextManager[None]]


def make_plan(graph: KernelGraph, system: System, search: Search, stage: Stage) -> Plan:
    """Size, place and route. Raises MappingError for what does not fit."""
    with stage("size"):
        task = size(graph, system)
    with stage("place"):
        found = _placements(task, search)
    with stage("route"):
        plan = _fastest(graph, system, found, 1)
    log.info(
        "Placed in %s (%s): delta_t %d cycles, of computation alone %d",
        *(count_text(plan.iterations, "iteration"), plan.search_ended),
        *(plan.delta_t_cycles, plan.compute_cycles),
    )
    if not search.multireplica:
        return plan
    with stage("replicate"):
        return _replicated(graph, system, task, search, plan)


def _placements(task: placing.Task, search: Search) -> list[placing.Placement]:
    return placements(
        task, search.seconds, search.seed, search.iterations, patience=_PATIENCE
    )


def _fastest(
    graph: KernelGraph,
    system: System,
    found: list[placing.Placement],
    replicas: int,
) -> Plan:
    """The plan of the first placement that no link slows down, of a few; without any,
    the fastest.
    """
    plans: list[Plan] = []
    problems: list[MappingError] = []
    for placement in found[:_ROUTED]:
        try:
            plans.append(_plan(graph, system, placement, replicas))
        except MappingError as error:
            problems.append(error)
            continue
        if plans[-1].link_cycles <= placement.delta_t_cycles:
            break
    if not plans:
        raise problems[0]
    return min(plans, key=lambda plan: plan.delta_t_cycles)


def _plan(
    graph: KernelGraph, system: System, placement: placing.Placement, replicas: int
) -> Plan:
    task = placement.task
    kernels = tuple(
        _placed(graph, i, placed, task) for i, placed in enumerate(placement.placed)
    )
    strip = system.model_copy(update={"program_height": task.height})
    routes, busiest = route(graph, kernels, strip)
    # What several kernels take is sent once: routers multicast.
    tensors = {
        (e.source, e.tensor): e.bytes
        for e in graph.edges
        if HOST in (e.source, e.target)
    }
    sent = sum(tensors.values())
    return Plan(
        system=system.name,
        mode=graph.mode,
        batch_size=graph.batch_size,
        clock_hz=system.clock_hz,
        ramp_latency_cycles=system.ramp_latency_cycles,
        fabric_width=system.program_width,
        fabric_height=system.program_height,
        host_bytes_per_sample=sent,
        host_cycles=math.ceil(sent * system.clock_hz / system.host_bytes_per_s),
        seed=placement.seed,
        iterations=placement.iterations,
        replicas=replicas,
        replica_height=task.height,
        kernels=kernels,
        routes=routes,
        busiest_link=busiest,
        search_ended=placement.ended,
    )


def _replicated(
    graph: KernelGraph,
    system: System,
    task: placing.Task,
    search: Search,
    plan: Plan,
) -> Plan:
    """The best plan with several copies, each in rows of its own across the fabric,
    with the host at both ends; or `plan`, if it is better.

    All are searched for with the iterations of `plan`, so that these give it again.
    """
    search = dataclasses.replace(search, iterations=plan.iterations)
    for copy in strips(graph, system, task.height, plan):
        count = copy.replicas
        try:
            found = _fastest(copy.graph, system, _placements(copy.task, search), count)
        except MappingError as error:
            log.info("%d replicas: %s", count, str(error).splitlines()[0])
            continue
        alone, all_of_them = (
            p.samples_per_s(cycles_in_batches(p)) for p in (plan, found)
        )
        best = found if all_of_them >= alone else plan
        log.info(
            "%d replicas: delta_t %d cycles, %.0f samples/s in batches, one alone "
            "%.0f: taking %d",
            *(count, found.delta_t_cycles, all_of_them, alone, best.replicas),
        )
        return best
    return plan


def _placed(
    graph: KernelGraph, i: int, placed: placing.Placed, task: placing.Task
) -> PlacedKernel:
    kernel, shapes, e = graph.kernels[i], task.kernels[i].shapes, placed.execution
    assert isinstance(shapes, Spread)
    width, height = placed.extent
    return PlacedKernel(
        name=kernel.name,
        kind=kernel.kind,
        x=placed.x,
        y=placed.y,
        width=width,
        height=height,
        rotated=placed.rotated,
        h=e.h,
        w=e.w,
        c=e.c[0],
        k=e.k[0],
        compute_cycles=int(shapes.compute_cycles(e)),
        transfer_cycles=int(shapes.transfer_cycles(e)),
        memory_bytes=math.ceil(placed.cost.memory_words * WORD_BYTES),
        macs=round(kernel.macs / graph.batch_size),
        latency=sizes_of(graph, kernel).latency,
        trains="input_gradient" in kernel.passes or "weight_gradient" in kernel.passes,
    )
