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
    holders = {w.name: k.name for k in graph.kernels for w in k.weights if w.trained}
    between = {(e.source, e.target, e.tensor): e for e in graph.edges}
    for kernel in graph.kernels:
        for name in holders.keys() & set(kernel.shared):
            if graph.mode == "train":
                assert (holders[name], kernel.name, name) in between
                assert sends_back(graph, holders[name], kernel.name)
        assert kernel.lines or kernel.kind == "gradient_scaling"
        trained = any(weight.trained for weight in kernel.weights)
        assert not trained or "forward" in kernel.passes
        assert ("update" in kernel.passes) == (trained and graph.mode == "train")


def trained(graph):
    return {w.name: w for k in graph.kernels for w in k.weights if w.trained}


def sends_back(graph, source, target):
    """Bytes that come back between two kernels for a sample."""
    edges = [e for e in graph.edges if (e.source, e.target) == (source, target)]
    return sum(edge.gradient_bytes for edge in edges)
