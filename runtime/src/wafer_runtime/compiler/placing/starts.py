"""Floorplans to start from: kernels in the order of the dataflow, laid out in rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from wafer_runtime.compiler.placing import Task
from wafer_runtime.compiler.placing.slicing import ABOVE, BESIDE, CUT, PARENT, Tree


def dataflow_order(task: Task) -> list[int]:
    """Producers before consumers, and each soon after its last producer.

    Kernels on a cycle follow in the order of the task.
    """
    consumers: list[list[int]] = [[] for _ in task.kernels]
    waits_for = [0] * len(task.kernels)
    for a, b in task.edges:
        consumers[a].append(b)
        waits_for[b] += 1
    ready = [i for i, count in enumerate(waits_for) if count == 0]
    order = []
    while ready:
        kernel = ready.pop()
        order.append(kernel)
        for other in consumers[kernel]:
            waits_for[other] -= 1
            if waits_for[other] == 0:
                ready.append(other)
    placed = set(order)
    return order + [i for i in range(len(task.kernels)) if i not in placed]


def rows(order: Sequence[int], areas: Sequence[float], count: int) -> list[list[int]]:
    """`order` in `count` rows of about the same area, every other one backwards."""
    ends = np.cumsum([areas[i] for i in order])
    middles = ends - np.array([areas[i] for i in order]) / 2
    places = np.minimum(middles / ends[-1] * count, count - 1).astype(int)
    cut = [[i for i, p in zip(order, places, strict=True) if p == r]
           for r in range(count)]  # fmt: skip
    return [row[:: 1 - 2 * (r % 2)] for r, row in enumerate(filter(None, cut))]


def tree_of_rows(
    lines: Sequence[Sequence[int]], picks: Any, level: int, height: int
) -> Tree:
    """Rows above one another, as a slicing tree that is balanced."""
    count = len(picks)
    links = np.full((4, 2 * count - 1), -1, np.int32)
    free = iter(range(count, 2 * count - 1))

    def join(nodes: Sequence[int], cut: int) -> int:
        if len(nodes) == 1:
            return nodes[0]
        half = len(nodes) // 2
        left, right = join(nodes[:half], cut), join(nodes[half:], cut)
        node = next(free)
        links[:, node] = (left, right, -1, cut)
        links[PARENT, [left, right]] = node
        return node

    root = join([join(line, BESIDE) for line in lines], ABOVE)
    links[CUT, :count] = BESIDE
    return Tree(links, np.array([level, height, root], np.int64), picks.copy())
