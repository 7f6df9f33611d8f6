"""Stage 7: static routes for every tensor, between ports and to the edge of the fabric.

A group of a kernel (see `kernels.spread`) has one port, on the left or the right side
of its rows (below or above, if the kernel is rotated). A tensor is cut into parts, no
more than there are ports and so large that a link takes two of them, and each part
takes a path of its own with two turns: along x, y, x or along y, x, y. The host is at
the west edge for what it sends and at the east edge for what it receives. Paths are
chosen one by one, those of heavy senders first: of some PEs of each port and some
places to turn at, those whose busiest link is least busy, then those with the fewest
hops and links too busy; never through a PE whose router has no color left. Then all are
chosen anew, with links that were too busy counted as busier, and the best round is
taken (L. McMurchie and C. Ebeling, PathFinder, 1995). A part that goes to several
kernels loads a link once: routers multicast. All that one sender sends through a PE
shares a color: switches turn it from target to target.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from wafer_runtime.compiler.kernel_graph import HOST, KernelGraph
from wafer_runtime.compiler.paths import DIRECTIONS, State, best_path, busiest_on
from wafer_runtime.compiler.plan import Link, PlacedKernel, Route
from wafer_runtime.errors import MappingError
from wafer_runtime.system import System

# Colors that products need within their rectangle: for each of three passes one to
# spread numbers, one to collect sums.
_OWN_COLORS = 6
_ROWS = 2  # of a group, that are tried as its port
_PARTS_OF_A_LINK = 2
_ROUNDS = 10
_PATIENCE = 3  # rounds without improvement
_Port = list[tuple[int, int]]


class _Flow(NamedTuple):
    """A tensor's way from one kernel (or the host) to another."""

    source: str
    target: str
    tensor: str
    is_gradient: bool
    wavelets: int
    per_batch: bool


def route(
    graph: KernelGraph, kernels: Sequence[PlacedKernel], system: System
) -> tuple[tuple[Route, ...], Link | None]:
    """The routes of a graph's tensors, and the link that carries most.

    Raises MappingError where more tensors would have to pass a PE than it has colors.
    """
    cycles = max(kernel.cycles for kernel in kernels)
    history = np.zeros((4, system.program_height, system.program_width), np.int64)
    best: tuple[list[tuple[_Flow, Any]], Any] = [], history
    least, stale = (math.inf, 0), 0
    for _ in range(_ROUNDS):
        state = _nothing_routed(kernels, history, system)
        found = list(_round(graph, kernels, cycles, state, system))
        busy = state.load > cycles
        # Fewer links that are too busy are a step towards none.
        rank = (int(state.load.max()), int(busy.sum()))
        stale = 0 if rank < least else stale + 1
        if rank < least:
            least, best = rank, (found, state.load)
        if not busy.any() or stale == _PATIENCE:
            break
        history += np.maximum(state.load - cycles, 0)
    found, load = best
    return tuple(_route(flow, paths, load) for flow, paths in found), _busiest(load)


def _route(flow: _Flow, paths: Any, load: Any) -> Route:
    cycles = int(busiest_on(paths, load))
    return Route(*flow[:5], cycles, tuple(map(tuple, paths.tolist())))


def _nothing_routed(
    kernels: Sequence[PlacedKernel], history: Any, system: System
) -> State:
    links, pes = history.shape, history.shape[1:]
    colors = np.full(pes, system.colors, np.int32)
    for kernel in kernels:
        if kernel.macs:
            across = slice(kernel.x, kernel.x + kernel.width)
            colors[kernel.y : kernel.y + kernel.height, across] -= _OWN_COLORS
    return State(
        load=np.zeros(links, np.int64),
        shared=np.zeros(links, np.int64),
        own=np.zeros(links, np.int64),
        stamps=np.zeros((2, *links), np.int32),
        history=history,
        colors=colors,
        senders=np.zeros(pes, np.int32),
    )


def _round(
    graph: KernelGraph,
    kernels: Sequence[PlacedKernel],
    cycles: int,
    state: State,
    system: System,
) -> Iterator[tuple[_Flow, Any]]:
    places = {kernel.name: kernel for kernel in kernels}
    tensors: dict[tuple[str, str, bool], int] = {}
    senders: dict[str, int] = {}
    for step, flow in enumerate(_flows(graph, system.link_bytes_per_cycle), 1):
        sender = senders.setdefault(flow.source, len(senders) + 1)
        tensor = tensors.setdefault((flow.source, *flow[2:4]), len(tensors) + 1)
        parts = -(-flow.wavelets * _PARTS_OF_A_LINK // cycles)
        ids = np.array((sender, tensor, step, cycles))
        yield flow, _paths(flow, parts, places, state, ids)


def _flows(graph: KernelGraph, wavelet_bytes: int) -> list[_Flow]:
    """The heaviest senders first, all tensors of a sender together, and a tensor's
    flows one after another: what a link has of it is known for the last tensor only.
    """
    flows = []
    for e in graph.edges:
        forward = -(-e.bytes // wavelet_bytes)
        back = -(-e.gradient_bytes // wavelet_bytes)
        once = e.per_batch
        if forward:
            flows.append(_Flow(e.source, e.target, e.tensor, False, forward, once))
        if back:
            flows.append(_Flow(e.target, e.source, e.tensor, True, back, once))
    heaviest: dict[str, int] = {}
    for flow in flows:
        heaviest[flow.source] = max(heaviest.get(flow.source, 0), flow.wavelets)
    return sorted(
        flows,
        key=lambda f: (-heaviest[f.source], f.source, f.is_gradient, f.tensor, f),
    )


def _paths(
    flow: _Flow,
    most_parts: int,
    places: dict[str, PlacedKernel],
    state: State,
    ids: Any,
) -> Any:
    height, width = state.colors.shape
    sources, targets = (
        ports(places[name], flow.per_batch) if name != HOST else []
        for name in (flow.source, flow.target)
    )
    sources = sources or _edge(targets, 0, height)
    targets = targets or _edge(sources, width - 1, height)
    count = min(max(len(sources), len(targets)), most_parts)
    part = -(-flow.wavelets // count)
    paths = []
    for i in range(count):
        ends = _middle(sources, i, count), _middle(targets, i, count)
        found = best_path(np.array(ends, np.int64), part, i, ids, state)
        if found[0] < 0:
            raise _no_color(flow, ends)
        paths.append(found)
    return np.array(paths)


def _middle(found: list[_Port], i: int, count: int) -> _Port:
    """Of the i-th of `count` shares of the ports, the one in the middle."""
    return found[int((i + 0.5) * len(found) / count)]


def _edge(inner: list[_Port], x: int, height: int) -> list[_Port]:
    """For each port the PEs at the edge of the fabric, in as many rows as there are."""
    count = len(inner)
    middle = sum(port[0][1] for port in inner) // count
    lowest = max(0, min(middle - count // 2, height - count))
    rows = (lowest + i * min(count, height) // count for i in range(count))
    return [[(x, row)] * len(port) for row, port in zip(rows, inner, strict=True)]


def ports(kernel: PlacedKernel, per_batch: bool = False) -> list[_Port]:
    """For each group of a kernel, the PEs where data can enter or leave.

    per_batch: for what comes once a batch, each row of PEs that has inputs is one.
    """
    groups = kernel.h * kernel.w * (kernel.c if per_batch else 1)
    x, y, width, height = kernel.x, kernel.y, kernel.width, kernel.height
    found = []
    for i in range(groups):
        shares = [(i + (j + 0.5) / _ROWS) / groups for j in range(_ROWS)]
        if kernel.rotated:
            columns = [x + int(share * width) for share in shares]
            found.append([(c, r) for c in columns for r in (y, y + height - 1)])
        else:
            rows = [y + int(share * height) for share in shares]
            found.append([(c, r) for r in rows for c in (x, x + width - 1)])
    return found


def _no_color(flow: _Flow, ends: Iterable[Any]) -> MappingError:
    source, target = (port[0] for port in ends)
    return MappingError(
        f"{flow.tensor} cannot travel from {flow.source} at PE {source} to "
        f"{flow.target} at PE {target}: on every path that was tried a router has all "
        "its colors in use. Try more --place_seconds, another seed, or a smaller model"
    )


def _busiest(load: Any) -> Link | None:
    direction, y, x = np.unravel_index(load.argmax(), load.shape)
    wavelets = int(load[direction, y, x])
    if not wavelets:
        return None
    return Link(int(x), int(y), DIRECTIONS[direction], wavelets)
