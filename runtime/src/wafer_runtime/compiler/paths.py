"""The way of a part of a tensor over the fabric: links, colors. For numba."""

from typing import Any, NamedTuple

import numba
import numpy as np

DIRECTIONS = "EWNS"
_TURNS = 4  # places to turn at that are tried, beside those at the ends
_BEYOND = 40  # PEs
_PRICE = 200  # hops for a link that is twice as busy as it may be
_GOLDEN = (5**0.5 - 1) / 2  # its multiples spread evenly over 0 to 1


class State(NamedTuple):
    """Of every link int64 [4, height, width], directions as in DIRECTIONS.

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


jit = numba.njit(cache=True, nogil=True)


@jit
def best_path(ends: Any, part: int, number: int, ids: Any, state: Any) -> Any:
    """The corners of the best path, which is entered into `state`; -1 if there is none.

    ends: int64 [2, PEs, 2], of the source's and of the target's port. ids: int64 [4],
    of the sender, the tensor, the tensor with its target, and the cycles of a sample,
    which links may be busy for. number: of the part; each
    tries other turns. Returns int64 [8].
    """
    best = np.full(8, -1)
    least = (np.inf, np.inf)
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
                    cost = _walk(trial, part, ids, state, False, least)
                    if cost[0] >= 0 and cost < least:
                        least = cost
                        best[:] = trial
    if best[0] >= 0:
        _walk(best, part, ids, state, True, (np.inf, np.inf))
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
def _walk(path: Any, part: int, ids: Any, state: Any, enter: bool, limit: Any) -> Any:
    """The load of a path's busiest link with a part on it, and the path's cost.

    -1 if a color lacks. From `limit` on, anything that is not below it.
    """
    x, y = path[0], path[1]
    cost, most = 0.0, 0
    for corner in range(2, 8, 2):
        goal_x, goal_y = path[corner], path[corner + 1]
        while x != goal_x or y != goal_y:
            if not _takes_color(y, x, ids[0], state, enter):
                return -1.0, cost
            direction = _direction(x, y, goal_x, goal_y)
            load = _loaded(direction, y, x, part, ids, state, enter)
            cost += 1 + _PRICE * max(0.0, load / ids[3] - 1)
            most = max(most, load)
            if (most, cost) >= limit:  # neither falls
                return most, cost
            x += (direction == 0) - (direction == 1)
            y += (direction == 2) - (direction == 3)
    return most if _takes_color(y, x, ids[0], state, enter) else -1.0, cost


@jit
def _direction(x: int, y: int, goal_x: int, goal_y: int) -> int:
    """As in DIRECTIONS."""
    if x != goal_x:
        return 0 if goal_x > x else 1
    return 2 if goal_y > y else 3


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


@jit
def busiest_on(paths: Any, load: Any) -> int:
    """The load of the busiest link on some paths."""
    most = 0
    for path in paths:
        x, y = path[0], path[1]
        for corner in range(2, 8, 2):
            while x != path[corner] or y != path[corner + 1]:
                direction = _direction(x, y, path[corner], path[corner + 1])
                most = max(most, load[direction, y, x])
                x += (direction == 0) - (direction == 1)
                y += (direction == 2) - (direction == 3)
    return most
