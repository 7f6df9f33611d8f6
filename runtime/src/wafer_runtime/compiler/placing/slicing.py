"""Slicing trees of soft rectangles, for numba.

A leaf is a kernel; an inner node cuts its rectangle into two, side by side (BESIDE) or
one above the other (ABOVE). Every node has a table: the least extent along its parent's
cut for each extent across it. It is the sum of its children's tables (L. Stockmeyer,
1983), inverted where the parent cuts the other way. Kernels may be rotated, so a leaf's
table serves both cuts. The root's table is the width for a height.
"""

from typing import Any, NamedTuple

import numba
import numpy as np

from wafer_runtime.compiler.kernels.cost import UNBOUNDED

BESIDE, ABOVE = 0, 1
LEFT, RIGHT, PARENT, CUT = 0, 1, 2, 3
LEVEL, HEIGHT, ROOT = 0, 1, 2

jit = numba.njit(cache=True, nogil=True)


class Tree(NamedTuple):
    """A floorplan. Leaves come first among the nodes; -1 where there is no node.

    links: int32 [4, nodes], the rows LEFT, RIGHT, PARENT, CUT. state: int64 [3], the
    LEVEL of time, the HEIGHT of the whole in PEs, and the ROOT. picks: int32 [kernels],
    the variant of each.
    """

    links: Any
    state: Any
    picks: Any

    def copy(self) -> "Tree":
        """Another of the same content."""
        return Tree(self.links.copy(), self.state.copy(), self.picks.copy())


class Scratch(NamedTuple):
    """Two tables a node: the one that is `now`, and what it was before the move.

    tables: int32 [2, nodes, extents]. now: int32 [nodes]. boxes: int32 [nodes, 4], x,
    y, width and height. stack: int32 [nodes]. touched: int32 [2, nodes + 1], the nodes
    that the move changed, their count last, and a flag for each node.
    """

    tables: Any
    now: Any
    boxes: Any
    stack: Any
    touched: Any


@jit
def scratch_for(nodes: int, extents: int) -> Any:
    """Empty, for a tree."""
    return Scratch(
        np.empty((2, nodes, extents), np.int32),
        np.zeros(nodes, np.int32),
        np.zeros((nodes, 4), np.int32),
        np.zeros(nodes + 2, np.int32),
        np.zeros((2, nodes + 1), np.int32),
    )


@jit
def _combine(a: Any, b: Any, out: Any, inverted: bool) -> None:
    if not inverted:
        for i in range(len(out)):
            out[i] = min(np.int32(a[i] + b[i]), np.int32(UNBOUNDED))
        return
    # Entries from `filled` on are known: extent i across is the first that allows them.
    filled = len(out)
    for i in range(len(out)):
        total = a[i] + b[i]
        if total < filled:
            out[total:filled] = i
            filled = total
    out[:filled] = UNBOUNDED


@jit
def update(node: int, links: Any, scratch: Any) -> None:
    """Compute the table of an inner node from its children's."""
    left, right, parent, cut = links[:, node]
    tables, now = scratch.tables, scratch.now
    outer = np.int32(BESIDE) if parent < 0 else links[CUT, parent]
    _combine(
        tables[now[left], left],
        tables[now[right], right],
        tables[now[node], node],
        cut != outer,
    )


@jit
def rebuild(tree: Any, leaf_tables: Any, scratch: Any) -> None:
    """All tables, bottom up."""
    links, state, picks = tree
    stack = scratch.stack
    scratch.now[:] = 0
    for leaf in range(len(picks)):
        scratch.tables[0, leaf] = leaf_tables[state[LEVEL], picks[leaf]]
    stack[0] = state[ROOT]
    done, size = 0, 1
    while done < size:  # parents come before their children
        node = stack[done]
        done += 1
        if links[LEFT, node] >= 0:
            stack[size], stack[size + 1] = links[LEFT, node], links[RIGHT, node]
            size += 2
    for i in range(size - 1, -1, -1):
        if links[LEFT, stack[i]] >= 0:
            update(stack[i], links, scratch)


@jit
def touch(node: int, scratch: Any) -> None:
    """Keep the node's table of before the move."""
    touched = scratch.touched
    if not touched[1, node]:
        touched[1, node] = 1
        touched[0, touched[0, -1]] = node
        touched[0, -1] += 1
        scratch.now[node] = 1 - scratch.now[node]


@jit
def settle(accepted: bool, scratch: Any) -> None:
    """End a move: its tables stay, or those of before come back."""
    touched = scratch.touched
    for i in range(touched[0, -1]):
        node = touched[0, i]
        touched[1, node] = 0
        if not accepted:
            scratch.now[node] = 1 - scratch.now[node]
    touched[0, -1] = 0


@jit
def refresh(node: int, links: Any, scratch: Any) -> None:
    """Recompute the table of an inner node; leaves have theirs."""
    if node >= 0 and links[LEFT, node] >= 0:
        touch(node, scratch)
        update(node, links, scratch)


@jit
def refresh_up(node: int, links: Any, scratch: Any) -> None:
    """Recompute the tables from `node` to the root."""
    while node >= 0:
        refresh(node, links, scratch)
        node = links[PARENT, node]


@jit
def _set_box(boxes: Any, node: int, x: int, y: int, width: int, height: int) -> None:
    boxes[node, 0], boxes[node, 1] = x, y
    boxes[node, 2], boxes[node, 3] = width, height


@jit
def locate(tree: Any, scratch: Any) -> None:
    """The boxes of all nodes, top down."""
    links, state, _ = tree
    tables, now, boxes, stack, _ = scratch
    root, up = state[ROOT], state[HEIGHT]
    _set_box(boxes, root, 0, 0, tables[now[root], root, up], up)
    stack[0], size = root, 1
    while size:
        size -= 1
        node = stack[size]
        left, right = links[LEFT, node], links[RIGHT, node]
        if left < 0:
            continue
        x, y, across, up = boxes[node]
        if links[CUT, node] == BESIDE:
            a, b = tables[now[left], left, up], tables[now[right], right, up]
            _set_box(boxes, left, x, y, a, up)
            _set_box(boxes, right, x + a, y, b, up)
        else:
            a, b = tables[now[left], left, across], tables[now[right], right, across]
            _set_box(boxes, left, x, y, across, a)
            _set_box(boxes, right, x, y + a, across, b)
        stack[size], stack[size + 1] = left, right
        size += 2


@jit
def put(tree: Any, parent: int, old: int, new: int) -> None:
    """Make `new` the child of `parent` in place of `old`; without parent, the root."""
    tree.links[PARENT, new] = parent
    if parent < 0:
        tree.state[ROOT] = new
    elif tree.links[LEFT, parent] == old:
        tree.links[LEFT, parent] = new
    else:
        tree.links[RIGHT, parent] = new


@jit
def is_under(node: int, top: int, links: Any) -> bool:
    """Whether `top` is `node` or above it."""
    while node >= 0 and node != top:
        node = links[PARENT, node]
    return node == top
