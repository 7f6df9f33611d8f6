"""What holds for every kernel graph."""

import math

import tensorflow as tf
from counting import macs_of_hlo


def check(mapped):
    """What holds for every kernel graph."""
    graph = mapped.graph
    assert graph.macs == macs_of_hlo(mapped.hlo)
    order = {kernel.name: n for n, kernel in enumerate(graph.kernels)}
    assert len(order) == len(graph.kernels)
    for edge in graph.edges:
        if "host" not in (edge.source, edge.target):
            assert order[edge.source] < order[edge.target]
        if edge.tensor == "gradient":
            assert edge.gradient_bytes > 0
        else:
            size = 1 if edge.dtype == "bool" else tf.as_dtype(edge.dtype).size
            sizes = math.prod(edge.shape) * size
            # What is there once a batch counts a sample's share of it.
            assert edge.bytes in (sizes, -(-sizes // graph.batch_size))
    assert any(edge.target == "host" and edge.tensor == "loss" for edge in graph.edges)
    if graph.mode == "train":
        check_shared_weights(graph, order)
    for kernel in graph.kernels:
        assert kernel.lines or kernel.kind == "gradient_scaling"
        trained = any(weight.trained for weight in kernel.weights)
        assert not trained or "forward" in kernel.passes
        assert ("update" in kernel.passes) == (trained and graph.mode == "train")


def check_shared_weights(graph, order):
    """A weight goes one way, and its gradient the other."""
    holders = {w.name: (k, w) for k in graph.kernels for w in k.weights if w.trained}
    between = {(e.source, e.target, e.tensor) for e in graph.edges}
    for kernel in graph.kernels:
        for name in holders.keys() & set(kernel.shared):
            holder, weight = holders[name]
            first, second = sorted([holder.name, kernel.name], key=order.get)
            is_first = first == holder.name
            assert not is_first or (first, second, name) in between
            # That of a bias may be known when compiling.
            returns = "weight_gradient" in kernel.passes and len(weight.shape) > 1
            assert not (is_first and returns) or sends_back(graph, first, second)


def trained(graph):
    return {w.name: w for k in graph.kernels for w in k.weights if w.trained}


def sends_back(graph, source, target):
    """Bytes that come back between two kernels for a sample."""
    edges = [e for e in graph.edges if (e.source, e.target) == (source, target)]
    return sum(edge.gradient_bytes for edge in edges)
