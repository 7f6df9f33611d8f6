"""Graphs to place, and what makes a placement legal."""

import itertools

from wafer_runtime.compiler.kernels.cost import Conv, ConvKernel
from wafer_runtime.compiler.placing import Kernel, Task, Weights

LIMIT_WORDS = 24_576
WEIGHTS = Weights()


def conv_kernel(name, conv, limit_words=LIMIT_WORDS):
    return Kernel(name, ConvKernel((conv,), limit_words))


def chain(count, width=200, height=150, weights=WEIGHTS, limit_words=LIMIT_WORDS):
    """Convolutions one after another, with a shortcut over every third."""
    convs = (Conv(14, 14, 3, 3, 16 * (1 + i % 3), 32) for i in range(count))
    kernels = tuple(conv_kernel(f"k{i}", c, limit_words) for i, c in enumerate(convs))
    edges = [(i, i + 1) for i in range(count - 1)]
    edges += [(i, i + 3) for i in range(0, count - 3, 3)]
    return Task(kernels, tuple(edges), width, height, weights)


def check(placement):
    """Assert that it is legal and that its figures are right, from its rectangles."""
    task, rectangles = placement.task, []
    for kernel, placed in zip(task.kernels, placement.placed, strict=True):
        cost = kernel.shapes.cost(placed.execution)
        assert placed.cost == cost
        assert cost.memory_words <= kernel.shapes.memory_limit_words + 1e-6
        size = (cost.width, cost.height)
        across, up = size[::-1] if placed.rotated else size
        assert 0 <= placed.x <= task.width - across
        assert 0 <= placed.y <= task.height - up
        rectangles.append((placed.x, placed.y, placed.x + across, placed.y + up))
    for a, b in itertools.combinations(rectangles, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    wire = sum(
        abs(sum(rectangles[a][i::2]) - sum(rectangles[b][i::2])) / 2
        for a, b in task.edges
        for i in (0, 1)
    )
    weights = task.weights
    assert placement.wire_length == wire
    assert placement.objective == (
        weights.delta_t * max(p.cost.time_cycles for p in placement.placed)
        + weights.wire * wire
        + weights.adapter * placement.adapters
    )
