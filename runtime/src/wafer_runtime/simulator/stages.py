"""A plan as a pipeline: stages that samples pass, and arcs between them."""

import math
from typing import NamedTuple

from wafer_runtime.compiler.kernel_graph import HOST
from wafer_runtime.compiler.plan import PlacedKernel, Plan, Route


class Stage(NamedTuple):
    """A kernel's PEs for one pass, or the connection to the host.

    cycles: from sample to sample. fill_cycles: until the first output. updates: the
    stage that brings the gradients, after which its weights change; -1 for none.
    """

    kernel: str
    is_backward: bool
    cycles: int
    fill_cycles: int
    updates: int = -1


class Arc(NamedTuple):
    """A tensor's way between two stages, by index.

    flight_cycles: of its first wavelet. transfer_cycles: of a sample on the busiest
    link, which serves all tensors that pass it in proportion. label: as people see it.
    """

    source: int
    target: int
    flight_cycles: int
    transfer_cycles: int
    label: str


class Pipeline(NamedTuple):
    """Stages in an order in which arcs point forward: the connection to the host,
    forward passes, backward passes in reverse, and what returns to the host.
    """

    stages: tuple[Stage, ...]
    arcs: tuple[Arc, ...]


def pipeline_of(plan: Plan) -> Pipeline:
    """The stages of one replica.

    A pass of training has PEs of its own, side by side with the others, and a kernel's
    cycles are those of its slowest pass: both visits of a sample take as many.
    """
    gradients = [route for route in plan.routes if route.is_gradient]
    ends = {end for route in gradients for end in (route.source, route.target)}
    trained = [k for k in plan.kernels if k.trains or k.name in ends]
    last = 1 + len(plan.kernels) + len(trained)
    forward = {kernel.name: i for i, kernel in enumerate(plan.kernels, 1)}
    backward = {kernel.name: last - 1 - i for i, kernel in enumerate(trained)}
    stages = [Stage(HOST, False, plan.host_cycles * plan.replicas, 0)]
    stages += [_stage(k, False, backward.get(k.name, -1)) for k in plan.kernels]
    stages += [_stage(k, True) for k in reversed(trained)]
    stages.append(Stage(HOST, True, 0, 0))
    samples = forward | {HOST: 0}, forward | {HOST: last}
    ramps = 2 * plan.ramp_latency_cycles
    arcs = [
        _arc(route, ramps, *((backward, backward) if route.is_gradient else samples))
        for route in plan.routes
    ]
    # What a forward pass keeps for the backward pass.
    arcs += [Arc(forward[name], i, 0, 0, name) for name, i in backward.items()]
    # What needs no tensor of a sample keeps step with those that do.
    fed = {arc.target for arc in arcs}
    arcs += [Arc(0, i, 0, 0, stages[i].kernel) for i in range(1, last) if i not in fed]
    return Pipeline(tuple(stages), tuple(arcs))


def _stage(kernel: PlacedKernel, is_backward: bool, updates: int = -1) -> Stage:
    fill = math.ceil(kernel.latency * kernel.cycles)
    return Stage(kernel.name, is_backward, kernel.cycles, fill, updates)


def _arc(
    route: Route, ramps_cycles: int, sources: dict[str, int], targets: dict[str, int]
) -> Arc:
    return Arc(
        source=sources[route.source],
        target=targets[route.target],
        flight_cycles=route.hops + ramps_cycles,
        transfer_cycles=route.cycles,
        label=f"{route.source} -> {route.target}",
    )
