"""Simulated annealing of slicing trees, for numba."""

from typing import Any, NamedTuple

import numpy as np

from wafer_runtime.compiler.kernels.cost import UNBOUNDED
from wafer_runtime.compiler.placing.slicing import (
    BESIDE,
    CUT,
    HEIGHT,
    LEFT,
    LEVEL,
    PARENT,
    RIGHT,
    ROOT,
    Tree,
    is_under,
    jit,
    locate,
    put,
    rebuild,
    refresh,
    refresh_up,
    scratch_for,
    settle,
    touch,
)

# A share of the width that sticks out costs this many times as much of the objective.
# More time shrinks all kernels about in proportion: above 1, sticking out never pays.
_OVERFLOW_PRICE = 3.0


class Plane(NamedTuple):
    """What is placed, tabulated.

    cycles: float64 [levels], rising. tables: int32 [levels, variants, extents], of each
    kernel variant within those cycles the least extent for each extent across. ports:
    int32 [levels, variants, extents, 4], h, w, first c and last k of what the table
    holds; one entry only where adapters weigh nothing. choices: variants a kernel has;
    they follow one another. edges: int32 [edges, 2]. loads: float64 [edges]. starts,
    neighbours: int32, the kernels at the other ends of the edges of kernel i are
    neighbours[starts[i] : starts[i + 1]]. weights: float64 [3], of delta_t, wire and
    adapters. fabric: int64 [2], width and height.
    """

    cycles: Any
    tables: Any
    ports: Any
    choices: int
    edges: Any
    loads: Any
    starts: Any
    neighbours: Any
    weights: Any
    fabric: Any


@jit
def across(leaf: int, tree: Any, boxes: Any) -> int:
    """The extent that the leaf's table was asked for."""
    parent = tree.links[PARENT, leaf]
    is_beside = parent < 0 or tree.links[CUT, parent] == BESIDE
    return boxes[leaf, 3] if is_beside else boxes[leaf, 2]


@jit
def _adapters(tree: Any, plane: Any, boxes: Any) -> int:
    found = 0
    here = plane.ports[tree.state[LEVEL]]
    for i in range(len(plane.edges)):
        a, b = plane.edges[i]
        p = here[tree.picks[a], across(a, tree, boxes)]
        q = here[tree.picks[b], across(b, tree, boxes)]
        found += (p[0] != q[0]) + (p[1] != q[1]) + (p[3] != q[2])
    return found


@jit
def _cost(tree: Any, plane: Any, scratch: Any) -> Any:
    """The objective and a price for what sticks out; the share of width that does."""
    root, up = tree.state[ROOT], tree.state[HEIGHT]
    width = scratch.tables[scratch.now[root], root, up]
    delta_t = plane.weights[0] * plane.cycles[tree.state[LEVEL]]
    excess = max(0, width - plane.fabric[0]) / plane.fabric[0]
    if width >= UNBOUNDED:
        return np.inf, excess
    locate(tree, scratch)
    boxes, wire = scratch.boxes, 0.0
    for i in range(len(plane.edges)):
        a, b = boxes[plane.edges[i, 0]], boxes[plane.edges[i, 1]]
        across = abs(a[0] - b[0] + 0.5 * (a[2] - b[2]))
        wire += plane.loads[i] * (across + abs(a[1] - b[1] + 0.5 * (a[3] - b[3])))
    total = delta_t + plane.weights[1] * wire
    if plane.weights[2] > 0:
        total += plane.weights[2] * _adapters(tree, plane, boxes)
    return total * (1 + _OVERFLOW_PRICE * excess), excess


@jit
def _move_subtree(tree: Any, node: int, target: int, scratch: Any) -> None:
    """Cut `node` out, and put it beside or above `target`, which is not under it."""
    links = tree.links
    parent = links[PARENT, node]
    sibling = links[LEFT, parent] + links[RIGHT, parent] - node
    above = links[PARENT, parent]
    put(tree, above, parent, sibling)
    put(tree, links[PARENT, target], target, parent)
    first = np.random.randint(2)
    links[first, parent], links[1 - first, parent] = node, target
    links[PARENT, node] = links[PARENT, target] = parent
    links[CUT, parent] = np.random.randint(2)
    refresh(sibling, links, scratch)
    refresh_up(above, links, scratch)
    refresh(node, links, scratch)
    refresh(target, links, scratch)
    refresh_up(parent, links, scratch)


@jit
def _exchange(tree: Any, a: int, b: int, scratch: Any) -> None:
    """Let two subtrees, neither under the other, change places."""
    links = tree.links
    over_a, over_b = links[PARENT, a], links[PARENT, b]
    if over_a == over_b:
        _mirror(links, over_a)
        return
    put(tree, over_a, a, b)
    put(tree, over_b, b, a)
    refresh(a, links, scratch)
    refresh(b, links, scratch)
    refresh_up(over_a, links, scratch)
    refresh_up(over_b, links, scratch)


@jit
def _mirror(links: Any, node: int) -> None:
    left, right = links[LEFT, node], links[RIGHT, node]
    links[LEFT, node], links[RIGHT, node] = right, left


@jit
def _turn(links: Any, node: int, scratch: Any) -> None:
    """Cut a node the other way."""
    links[CUT, node] = 1 - links[CUT, node]
    refresh(links[LEFT, node], links, scratch)
    refresh(links[RIGHT, node], links, scratch)
    refresh_up(node, links, scratch)


@jit
def _neighbour(leaf: int, plane: Any) -> int:
    """A kernel that an edge joins to this one; without any, itself."""
    first, last = plane.starts[leaf], plane.starts[leaf + 1]
    if first == last:
        return leaf
    return plane.neighbours[np.random.randint(first, last)]


@jit
def _pick(tree: Any, plane: Any, scratch: Any) -> None:
    """Give a kernel a neighbour's variant, or any."""
    picks = tree.picks
    leaf = np.random.randint(len(picks))
    choice = picks[_neighbour(leaf, plane)] % plane.choices
    if np.random.random() < 0.3:
        choice = np.random.randint(plane.choices)
    picks[leaf] += choice - picks[leaf] % plane.choices
    touch(leaf, scratch)
    table = plane.tables[tree.state[LEVEL], picks[leaf]]
    scratch.tables[scratch.now[leaf], leaf] = table
    refresh_up(tree.links[PARENT, leaf], tree.links, scratch)


@jit
def _reorder(tree: Any, plane: Any, scratch: Any, exchanging: bool) -> None:
    """Move a subtree to another's side or let them change places; mostly one kernel.

    Half of the time it goes where a kernel is that an edge leads to.
    """
    links, count = tree.links, len(tree.picks)
    node, target = np.random.randint(links.shape[1]), np.random.randint(links.shape[1])
    if np.random.random() < 0.6:
        node = np.random.randint(count)
    if np.random.random() < 0.5:
        target = _neighbour(node if node < count else np.random.randint(count), plane)
        if np.random.random() < 0.5:
            target = links[PARENT, target]
    parent = links[PARENT, node]
    if is_under(target, node, links):
        return
    if exchanging:
        if not is_under(node, target, links):
            _exchange(tree, node, target, scratch)
    elif target != parent:
        _move_subtree(tree, node, target, scratch)


@jit
def _change_level(tree: Any, plane: Any) -> None:
    """Give the kernels a little more or less time."""
    step = np.random.randint(1, 4) * (2 * np.random.randint(2) - 1)
    tree.state[LEVEL] = min(max(tree.state[LEVEL] + step, 0), len(plane.cycles) - 1)


@jit
def _change_height(tree: Any, plane: Any) -> None:
    """Make the whole a little higher or lower."""
    step = int(plane.fabric[1] * 0.05 * np.random.standard_normal())
    tree.state[HEIGHT] = min(max(tree.state[HEIGHT] + step, 1), plane.fabric[1])


@jit
def _move(tree: Any, plane: Any, scratch: Any) -> bool:
    """Change the tree; whether all tables are to be computed anew."""
    links, count = tree.links, len(tree.picks)
    chance = np.random.random()
    if chance < 0.05 or count == 1:
        _change_level(tree, plane)
        return True
    inner = np.random.randint(count, links.shape[1])
    if chance < 0.08:
        _change_height(tree, plane)
    elif chance < 0.25:
        _turn(links, inner, scratch)
    elif chance < 0.35:
        _mirror(links, inner)
    elif plane.choices > 1 and chance < 0.5:
        _pick(tree, plane, scratch)
    else:
        _reorder(tree, plane, scratch, chance > 0.75)
    return False


@jit
def _assign(tree: Any, other: Any) -> None:
    tree.links[:] = other.links
    tree.state[:] = other.state
    tree.picks[:] = other.picks


@jit
def appraise(plane: Any, tree: Any) -> Any:
    """The share of the fabric's width by which a floorplan sticks out, and its cost."""
    scratch = scratch_for(tree.links.shape[1], plane.tables.shape[2])
    rebuild(tree, plane.tables, scratch)
    cost, excess = _cost(tree, plane, scratch)
    return excess, cost


@jit
def _try(tree: Any, before: Any, plane: Any, scratch: Any, cost: float,
         temperature: float) -> Any:  # fmt: skip
    """Make a move, or none; what `appraise` would then return.

    A worse floorplan is taken with the probability exp(-what it costs more /
    (temperature cost)) (N. Metropolis et al., 1953).
    """
    _assign(before, tree)
    all_anew = _move(tree, plane, scratch)
    if all_anew:
        rebuild(tree, plane.tables, scratch)
    new_cost, excess = _cost(tree, plane, scratch)
    is_taken = new_cost <= cost or (
        cost > 0
        and new_cost < np.inf
        and np.random.random() < np.exp((cost - new_cost) / (temperature * cost))
    )
    settle(is_taken, scratch)
    if is_taken:
        return excess, new_cost
    _assign(tree, before)
    if all_anew:
        rebuild(tree, plane.tables, scratch)
    return np.inf, cost


@jit
def anneal(
    plane: Any, tree: Any, seed: int, moves: int, hot: float, cold: float
) -> Any:
    """Anneal `tree` in place; it ends as the best that was met.

    hot, cold: first and last temperature, in shares of the cost. Returns what
    `appraise` does.
    """
    np.random.seed(seed)
    scratch = scratch_for(tree.links.shape[1], plane.tables.shape[2])
    rebuild(tree, plane.tables, scratch)
    cost, best_excess = _cost(tree, plane, scratch)
    best_cost = cost
    best = Tree(tree.links.copy(), tree.state.copy(), tree.picks.copy())
    before = Tree(tree.links.copy(), tree.state.copy(), tree.picks.copy())
    for move in range(moves):
        temperature = hot * (cold / hot) ** (move / moves)
        excess, cost = _try(tree, before, plane, scratch, cost, temperature)
        if (excess, cost) < (best_excess, best_cost):
            best_excess, best_cost = excess, cost
            _assign(best, tree)
    _assign(tree, best)
    return best_excess, best_cost
