"""Stage 7: static routes for every tensor, between ports and to the edge of the fabric.

A group of a kernel (see `kernels.spread`) has one port, on the left or the right side
of its rows (below or above, if the kernel is rotated). A tensor is cut into parts, no
more than there are ports and so large that a link takes two of them, and each part
takes a path of its own: along x, along y, along x. The host is at the west edge for
what it sends and at the east edge for what it receives. Paths are chosen one by one,
the heaviest tensors first: of some PEs of each port and some columns to turn in, those
whose busiest link is least X"""

from collections.abc import Iterable, Sequence
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
_TURNS = 5  # columns that are tried
_ROWS = 3  # of a group, likewise
_PARTS_OF_A_LINK = 2
_Port = list[tuple[int, int]]


class _State(NamedTuple):
    """Of every link int64 [4, height, width], directions as in _DIRECTIONS.

    load: wavelets a sample. shared: those of the tensor that is routed, for all its
    targets; own: for the present one. stamps: for which tensor and target shared and
    own are. colors: int32 [height, width], left in every router. senders: int32
    [height, width], whose tensor passed it last.
    """

    load: Any
    shared: Any
    own: Any
    stamps: Any
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
    width, height = system.program_width, system.program_height
    links = (4, height, width)
    state = _State(
        load=np.zeros(links, np.int64),
        shared=np.zeros(links, np.int64),
        own=np.zeros(links, np.int64),
        stamps=np.zeros((2, *links), np.int32),
        colors=np.full((height, width), system.colors, np.int32),
        senders=np.zeros((height, width), np.int32),
    )
    for kernel in kernels:
        if kernel.macs:
            across = slice(kernel.x, kernel.x + kernel.width)
            state.colors[kernel.y : kernel.y + kernel.height, across] -= _OWN_COLORS
    places = {kernel.name: kernel for kernel in kernels}
    tensors: dict[tuple[str, str, bool], int] = {}
    senders: dict[str, int] = {}
    routes = []
    part = max(kernel.cycles for kernel in kernels) // _PARTS_OF_A_LINK + 1
    for step, flow in enumerate(_flows(graph, system.link_bytes_per_cycle), 1):
        sender = senders.setdefault(flow.source, len(senders) + 1)
        tensor = tensors.setdefault((flow.source, *flow[2:4]), len(tensors) + 1)
        parts = -(-flow.wavelets // part)
        ids = np.array((sender, tensor, step))
        routes.append(_routed(flow, parts, places, state, ids))
    return tuple(routes), _busiest(state.load)


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
        found = _best_path(np.array(ends, np.int64), part, ids, state)
        if found[0] < 0:
            raise _no_color(flow, ends)
        paths.append(tuple(int(x) for x in found))
    return Route(*flow, paths=tuple(paths))  # type: ignore[arg-type]


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
def _best_path(ends: Any, part: int, ids: Any, state: Any) -> Any:
    """(x, y, turn, x, y) of the best path, which is entered into `state`; -1 if none.

    ends: int64 [2, PEs, 2], of the source's and of the target's port. ids: int64 [3],
    of the sender, the tensor, and the tensor with its target.
    """
    best = np.full(5, -1)
    least = (np.iinfo(np.int64).max, np.iinfo(np.int64).max)
    trial = np.empty(5, np.int64)
    last = state.colors.shape[1] - 1
    for a in range(ends.shape[1]):
        for b in range(ends.shape[1]):
            trial[:2], trial[3:] = ends[0, a], ends[1, b]
            low, high = min(trial[0], trial[3]), max(trial[0], trial[3])
            for i in range(-1, _TURNS + 1):
                turn = low + (high - low) * i // (_TURNS - 1)
                if i < 0:
                    turn = low - 1 - ids[1] % 7
                elif i == _TURNS:
                    turn = high + 1 + ids[1] % 7
                trial[2] = min(max(turn, 0), last)
                load = _walk(trial, part, ids, state, False)
                length = abs(trial[0] - trial[2]) + abs(trial[2] - trial[3])
                length += abs(trial[1] - trial[4])
                if load >= 0 and (load, length) < least:
                    least = (load, length)
                    best[:] = trial
    if best[0] >= 0:
        _walk(best, part, ids, state, True)
    return best


@jit
def _walk(path: Any, part: int, ids: Any, state: Any, enter: bool) -> int:
    """The load of a path's busiest link with this part on it; -1 if a color lacks."""
    x, y, turn, to_x, to_y = path
    most = 0
    for leg in range(3):
        goal_x, goal_y = (turn, y) if leg == 0 else (turn, to_y)
        if leg == 2:
            goal_x = to_x
        while x != goal_x or y != goal_y:
            if not _takes_color(y, x, ids[0], state, enter):
                return -1
            if x != goal_x:
                direction = 0 if goal_x > x else 1
            else:
                direction = 2 if goal_y > y else 3
            most = max(most, _loaded(direction, y, x, part, ids, state, enter))
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
    return int(load)
