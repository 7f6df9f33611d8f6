"""Compiles a model up to its kernels, and keeps the HLO for an independent look."""

from typing import Any, NamedTuple

import pytest
from wafer_runtime.compiler import pipeline
from wafer_runtime.compiler.kernel_graph import KernelGraph
from wafer_runtime.estimator import CerebrasEstimator


class Mapped(NamedTuple):
    """What became of a model."""

    graph: KernelGraph
    partition: str
    path: Any
    hlo: Any

    def kernels(self, kind):
        return [k for k in self.graph.kernels if k.kind == kind]

    def edges(self):
        return {(e.source, e.target) for e in self.graph.edges}


@pytest.fixture
def compile_model(tmp_path, monkeypatch):
    """`compile_model(model_fn, input_fn, mode)` -> Mapped."""
    extracted = []

    def keep(*args):
        extracted.append(original(*args))
        return extracted[-1]

    original = pipeline.extract
    monkeypatch.setattr(pipeline, "extract", keep)

    def compile_it(model_fn, input_fn, mode="train", params=None):
        estimator = CerebrasEstimator(model_fn, str(tmp_path), params=params)
        found = estimator.validate(input_fn, mode)
        return Mapped(found.graph, found.partition, found.path, extracted[-1].module)

    return compile_it
