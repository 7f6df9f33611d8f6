"""Compiling: a model_fn's graph -> the compiler's stages -> an entry of the cache."""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from wafer_runtime import source
from wafer_runtime.compiler import offenders
from wafer_runtime.compiler.cache import Entry, key_of
from wafer_runtime.compiler.kernel_graph import KernelGraph
from wafer_runtime.compiler.partition import Partition, partition
from wafer_runtime.compiler.pipeline import Candidate, Stages
from wafer_runtime.compiler.trace import (
    Traced,
    as_for_accelerators,
    check_static,
    trace,
)
from wafer_runtime.errors import MappingError, WaferError
from wafer_runtime.estimator import calls, sessions
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.sessions import Setup
from wafer_runtime.report.text import HostPart, compile_report, partition_table

log = logging.getLogger("wafer_runtime")

_DEFAULT_SYSTEM = "wse2"
_STAGES = ("trace", "partition", "extract", "match")
_GRAPH, _REPORT, _PARTITION = "kernel_graph.json", "compile_report.txt", "partition.txt"


class Compiled(NamedTuple):
    """A compilation: its folder in the cache, and what is in it."""

    path: Path
    graph: KernelGraph
    report: str
    partition: str


def validate(setup: Setup, input_fn: UserFn, mode: str, folder: str) -> Compiled:
    """Map a model to kernels, or find that this was done before, in `folder`.

    Raises MappingError, whose message lists all that cannot run on the wafer.
    """
    with contextlib.closing(Stages(_STAGES)) as stages:
        return _validated(setup, input_fn, mode, folder, stages)


def _validated(
    setup: Setup, input_fn: UserFn, mode: str, folder: str, stages: Stages
) -> Compiled:
    where = source.of_function(input_fn)

    def check(inputs: calls.Inputs) -> None:
        check_static(where, inputs.features, inputs.labels)

    with calls.keras_metrics_noted() as metrics:
        try:
            with (
                stages("trace"),
                as_for_accelerators(),
                sessions.built_graph(setup, input_fn, mode, check) as built,
            ):
                traced = trace(*built.inputs[:2], built.spec, built.global_step, where)
        except WaferError as error:
            if not metrics:
                raise
            found = tuple(map(offenders.keras_metric, metrics))
            note = f"What comes after was not looked at ({error})."
            raise MappingError(offenders.report(found, note), found) from error
    with traced.graph.as_default():
        return _matched(setup, traced, metrics, folder, stages)


def _matched(
    setup: Setup, traced: Traced, metrics: list[str], folder: str, stages: Stages
) -> Compiled:
    system = _system(setup.params)
    with stages("partition"):
        part = partition(traced)
        candidate = Candidate(part, metrics)
        content = candidate.content_hash(traced.mode, str(traced.batch_size))
        key = key_of(tf.__version__, content, system)
    if traced.train_op is not None and not any(candidate.trained()):
        log.warning(
            "train_op of %s changes no trained variable: nothing would be learned",
            source.of_function(setup.model_fn),
        )
    entry = Entry(folder, key)
    if files := entry.load():
        log.info(
            "Cached compilation found for this model configuration: %s", entry.path
        )
        return _compiled(entry, files)
    with stages("extract"):
        extracted = candidate.extract()
    with stages("match"):
        graph = candidate.match(extracted, traced)
    host = host_parts(part)
    files = {
        _GRAPH: graph.to_json(),
        _REPORT: compile_report(graph, host, system),
        _PARTITION: partition_table(graph, host) + "\n",
    }
    try:
        entry.store(files)
    except OSError as error:
        log.warning("%s cannot be kept: %s", entry.path, error.strerror)
    log.info("The model maps to %d kernels: %s", len(graph.kernels), entry.path)
    return _compiled(entry, files)


def _compiled(entry: Entry, files: Mapping[str, str]) -> Compiled:
    graph = KernelGraph.from_json(files[_GRAPH])
    return Compiled(entry.path, graph, files[_REPORT], files[_PARTITION])


def host_parts(part: Partition) -> list[HostPart]:
    """The operations on the host by the reason why they are there."""
    groups: dict[str, list[tf.Operation]] = {}
    for op, reason in part.host.items():
        groups.setdefault(reason, []).append(op)
    return [(reason, len(ops), ops[0].name) for reason, ops in groups.items()]


def _system(params: Any) -> str:
    runconfig = params.get("runconfig", {}) if isinstance(params, Mapping) else {}
    return str(runconfig.get("system", _DEFAULT_SYSTEM))
