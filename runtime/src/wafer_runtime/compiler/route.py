"""Stage 7: static routes for every tensor, between ports and to the edge of the fabric.

A group of a kernel (see `kernels.spread`) has one port, on the left or the right side
of its rows (below or above, if the kernel is rotated). A tensor is cut into parts, no
more than there are ports and so large that a link takes two of them, and each part
takes a path of its own with two turns: along x, y, x or along y, x, y. The host is at
the west edge for what it sends and at the east edge for what it receives. Paths are
chosen one by one, those of heavy senders first: of some PEs of each port and some
places to turn at, those whose busiest link is least busy, then the shortest; never
through a PE whose router has no color left. Then all are chosen anew, with links that
were too busy counted as busier, and the best round is taken (L. McMurchie and C.
Ebeling, PathFinder, 1995). A part that goes to several kernels loads a link once:
routers multicast. Different tensors of one sender share a color: switches turn it from
target to target.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numba
import numpy as np

from wafer_runtime.compiler.kernel_graph import HOST, KernelGraph
from wafer_runtime.compiler.plan import Link, PlacedKernel, Route
from wafer_runtime.errors import MappingError
from wafer_runtime.system import System

# Colors that products need within their rectangle: for each of three passes one to
# spread numbers, one to collect sums.
_OWN_COLORS = 6
_DIRECTIONS = "EWNS"
_TURNS = 4  # places to turn at that are tried, beside those at the ends
_BEYOND = 40  # PEs
_GOLDEN = (5**0.5 - 1) / 2  # its multiples spread evenly over 0 to 1
_ROWS = 2  # of a group, likewise
_PARTS_OF_A_LINK = 2
_ROUNDS = 4
_Port = list[tuple[int, int]]


class _State(NamedTuple):
    """Of every link int64 [4, height, width], directions as in _DIRECTIONS.

    load: wavelets a sample. shared: those of the tensor that is routed, for all its
    targets; own: for the present one. stamps: for which tensor and target shared and
    own are. history: by how much links were too busy in the rounds before. colors:
    int32 [height, width], left in every router. senders: int32 [height, width], whose
    tensor passed it last.
    """

    load: Any
    shared: Any
    own: Any
    stamps: Any
    history: Any
    colors: Any
    senders: Any


class _Flow(NamedTuple):
    """A tensor's way from one kernel (or the host) to another."""

    source: str
    target: str
    tensor: str
    is_gradient: bool
    wavelets: int


def route(
    graph: KernelGraph, kernels: Sequence[PlacedKernel], system: System
) -> tuple[tuple[Route, ...], Link | None]:
    """The routes of a graph's tensors, and the link that carries most.

    Raises MappingError where more tensors would have to pass a PE than it has colors.
    """
    cycles = max(kernel.cycles for kernel in kernels)
    history = np.zeros((4, system.program_height, system.program_width), np.int64)
    best: tuple[int, tuple[Route, ...], Link | None] | None = None
    for _ in range(_ROUNDS):
        state = _state(kernels, history, system)
        routes = tuple(_round(graph, kernels, cycles, state, system))
        most = int(state.load.max())
        if best is None or most < best[0]:
            best = most, routes, _busiest(state.load)
        if most <= cycles:
            break
        history += np.maximum(state.load - cycles, 0)
    assert best
    return best[1:]


def _state(kernels: Sequence[PlacedKernel], history: Any, system: System) -> _State:
    """Nothing routed yet."""
    links, pes = history.shape, history.shape[1:]
    colors = np.full(pes, system.colors, np.int32)
    for kernel in kernels:
        if kernel.macs:
            across = slice(kernel.x, kernel.x + kernel.width)
            colors[kernel.y : kernel.y + kernel.height, across] -= _OWN_COLORS
    return _State(
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
    state: _State,
    system: System,
) -> Iterator[Route]:
    places = {kernel.name: kernel for kernel in kernels}
    tensors: dict[tuple[str, str, bool], int] = {}
    senders: dict[str, int] = {}
    for step, flow in enumerate(_flows(graph, system.link_bytes_per_cycle), 1):
        sender = senders.setdefault(flow.source, len(senders) + 1)
        tensor = tensors.setdefault((flow.source, *flow[2:4]), len(tensors) + 1)
        parts = -(-flow.wavelets * _PARTS_OF_A_LINK // cycles)
        yield _routed(flow, parts, places, state, np.array((sender, tensor, step)))


def _flows(graph: KernelGraph, wavelet_bytes: int) -> list[_Flow]:
    """The heaviest senders first, and all tensors of a sender together."""
    flows = []
    for e in graph.edges:
        forward = -(-e.bytes // wavelet_bytes)
        back = -(-e.gradient_bytes // wavelet_bytes)
        if forward:
            flows.append(_Flow(e.source, e.target, e.tensor, False, forward))
        if back:
            flows.append(_Flow(e.target, e.source, e.tensor, True, back))
    heaviest: dict[str, int] = {}
    for flow in flows:
        heaviest[flow.source] = max(heaviest.get(flow.source, 0), flow.wavelets)
    return sorted(flows, key=lambda f: (-heaviest[f.source], f.source, -f.wavelets, f))


def _routed(
    flow: _Flow,
    most_parts: int,
    places: dict[str, PlacedKernel],
    state: _State,
    ids: Any,
) -> Route:
    sources, targets = (
        ports(places[name]) if name != HOST else []
        for name in (flow.source, flow.target)
    )
    east = state.colors.shape[1] - 1
    sources = sources or [[(0, y) for _, y in port] for port in targets]
    targets = targets or [[(east, y) for _, y in port] for port in sources]
    count = min(max(len(sources), len(targets)), most_parts)
    part = -(-flow.wavelets // count)
    paths = []
    for i in range(count):
        ends = _middle(sources, i, count), _middle(targets, i, count)
        found = _best_path(np.array(ends, np.int64), part, i, ids, state)
        if found[0] < 0:
            raise _no_color(flow, ends)
        paths.append(tuple(int(x) for x in found))
    return Route(*flow, paths=tuple(paths))


def _middle(found: list[_Port], i: int, count: int) -> _Port:
    """Of the i-th of `count` shares of the ports, the one in the middle."""
    return found[int((i + 0.5) * len(found) / count)]


def ports(kernel: PlacedKernel) -> list[_Port]:
    """For each group of a kernel, the PEs where data can enter or leave."""
    groups = kernel.h * kernel.w
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
    return Link(int(x), int(y), _DIRECTIONS[direction], wavelets)


jit = numba.njit(cache=True, nogil=True)


@jit
def _best_path(ends: Any, part: int, number: int, ids: Any, state: Any) -> Any:
    """The corners of the best path, which is entered into `state`; -1 if there is none.

    ends: int64 [2, PEs, 2], of the source's and of the target's port. ids: int64 [3],
    of the sender, the tensor, and the tensor with its target. number: of the part; each
    tries other turns. Returns int64 [8].
    """
    best = np.full(8, -1)
    least = (np.iinfo(np.int64).max, np.iinfo(np.int64).max)
    trial = np.empty(8, np.int64)
    limits = state.colors.shape[::-1]
    for a in range(ends.shape[1]):
        for b in range(ends.shape[1]):
            trial[:2], trial[6:] = ends[0, a], ends[1, b]
            for axis in range(2):
                low = min(trial[axis], trial[6 + axis])
                high = max(trial[axis], trial[6 + axis])
                for i in range(_TURNS + 4):
                    turn = _turn(low, high, i, number, limits[axis])
                    trial[2 + axis], trial[3 - axis] = turn, trial[1 - axis]
                    trial[4 + axis], trial[5 - axis] = turn, trial[7 - axis]
                    load = _walk(trial, part, ids, state, False, least[0])
                    length = _length(trial)
                    if load >= 0 and (load, length) < least:
                        least = (load, length)
                        best[:] = trial
    if best[0] >= 0:
        _walk(best, part, ids, state, True, least[0])
    return best


@jit
def _turn(low: int, high: int, i: int, number: int, limit: int) -> int:
    """Where to turn: at the ends, beyond them, or on the way."""
    if i < 2:
        return low if i == 0 else high
    beyond = 1 + number % _BEYOND
    if i < 4:
        return max(low - beyond, 0) if i == 2 else min(high + beyond, limit - 1)
    share = (i - 4 + number * _GOLDEN % 1.0) / _TURNS
    return low + int((high - low) * share)


@jit
def _length(path: Any) -> int:
    hops = 0
    for i in range(6):
        hops += abs(path[i + 2] - path[i])
    return hops


@jit
def _walk(path: Any, part: int, ids: Any, state: Any, enter: bool, limit: int) -> int:
    """The load of a path's busiest link with this part on it; -1 if a color lacks.

    Above the limit it may be any load that is.
    """
    x, y = path[0], path[1]
    most = 0
    for corner in range(2, 8, 2):
        goal_x, goal_y = path[corner], path[corner + 1]
        while x != goal_x or y != goal_y:
            if not _takes_color(y, x, ids[0], state, enter):
                return -1
            if x != goal_x:
                direction = 0 if goal_x > x else 1
            else:
                direction = 2 if goal_y > y else 3
            most = max(most, _loaded(direction, y, x, part, ids, state, enter))
            if most > limit and not enter:
                return most
            x += (direction == 0) - (direction == 1)
            y += (direction == 2) - (direction == 3)
    return most if _takes_color(y, x, ids[0], state, enter) else -1


@jit
def _takes_color(y: int, x: int, sender: int, state: Any, enter: bool) -> bool:
    """Whether there is a color for a sender in a PE, which it takes to `enter`."""
    if state.senders[y, x] == sender:
        return True
    if enter:
        state.senders[y, x] = sender
        state.colors[y, x] -= 1
    return bool(enter or state.colors[y, x] > 0)


@jit
def _loaded(
    d: int, y: int, x: int, part: int, ids: Any, state: Any, enter: bool
) -> int:
    """The load of a link with a part more; what was there for other targets serves."""
    tensor, step = ids[1], ids[2]
    shared = state.shared[d, y, x] if state.stamps[0, d, y, x] == tensor else 0
    own = state.own[d, y, x] if state.stamps[1, d, y, x] == step else 0
    own += part
    load = state.load[d, y, x] + max(0, own - shared)
    if enter:
        state.load[d, y, x] = load
        state.shared[d, y, x] = max(shared, own)
        state.own[d, y, x] = own
        state.stamps[0, d, y, x] = tensor
        state.stamps[1, d, y, x] = step
    return int(load + state.history[d, y, x])
