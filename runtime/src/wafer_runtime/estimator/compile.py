"""Compiling: a model_fn's graph -> the compiler's stages -> an entry of the cache."""

import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from wafer_runtime import source
from wafer_runtime.compiler import offenders
from wafer_runtime.compiler.cache import Entry, check_folder, key_of
from wafer_runtime.compiler.inputs import check_inputs
from wafer_runtime.compiler.kernel_graph import KernelGraph
from wafer_runtime.compiler.partition import Partition, partition
from wafer_runtime.compiler.pipeline import Candidate, Stages
from wafer_runtime.compiler.plan import Plan, Search
from wafer_runtime.compiler.trace import Traced, as_for_accelerators, trace
from wafer_runtime.errors import MappingError, ModelFnError, UsageError, WaferError
from wafer_runtime.estimator import calls, contract, keras_metrics, sessions
from wafer_runtime.estimator.calls import UserFn
from wafer_runtime.estimator.sessions import Setup
from wafer_runtime.estimator.specs import EstimatorSpec
from wafer_runtime.report.plan import estimate, plan_report
from wafer_runtime.report.text import HostPart, compile_report, partition_table
from wafer_runtime.report.wafer_map import svg
from wafer_runtime.system import System, load_system, simulated_system
from wafer_runtime.units import count_text

log = logging.getLogger("wafer_runtime")

_DEFAULT_SYSTEM = "wse2"
_STAGES = ("trace", "partition", "extract", "match")
_GRAPH, _REPORT, _PARTITION = "kernel_graph.json", "compile_report.txt", "partition.txt"
_SEARCH_KEYS = {
    "seconds": "place_seconds",
    "seed": "place_seed",
    "iterations": "place_iterations",
    "multireplica": "multireplica",
}
_PLAN, _DELTA_T, _MAP = "plan.json", "deltat_estimate.json", "wafer_map.svg"
# What the plan is of, whatever the search for it.
_MODEL = "model.sha256"


class Compiled(NamedTuple):
    """A compilation: its folder in the cache, and what is in it.

    plan: only if the model was placed.
    """

    path: Path
    graph: KernelGraph
    report: str
    partition: str
    plan: Plan | None


def validate(setup: Setup, input_fn: UserFn, mode: str, folder: str) -> Compiled:
    """Map a model to kernels, or find that this was done before, in `folder`.

    Raises MappingError, whose message lists all that cannot run on the wafer.
    """
    with contextlib.closing(Stages(_STAGES)) as stages:
        return _compiled(setup, input_fn, mode, folder, stages, None)


def place(
    setup: Setup, input_fn: UserFn, mode: str, folder: str, is_to_run: bool = False
) -> Compiled:
    """As `validate`, and place the kernels: the result has a plan.

    is_to_run: take the fastest plan of this model that is in `folder`, however it was
    searched for, if params do not say how to search.

    Raises MappingError also for a model that does not fit on the system.
    """
    search = _search(setup.params)
    if is_to_run and search == Search(multireplica=search.multireplica):
        search = dataclasses.replace(search, any_kept=True)
    names = (*_STAGES, *search.stages)
    with contextlib.closing(Stages(names)) as stages:
        return _compiled(setup, input_fn, mode, folder, stages, search)


def _compiled(
    setup: Setup,
    input_fn: UserFn,
    mode: str,
    folder: str,
    stages: Stages,
    search: Search | None,
) -> Compiled:
    check_folder(folder)
    if mode not in contract.MODES:
        raise UsageError(
            f"mode is {mode!r}; wanted one of {', '.join(contract.MODES)}, as "
            "ModeKeys.TRAIN, EVAL and PREDICT are"
        )

    def check(inputs: calls.Inputs) -> None:
        where = source.of_function(input_fn)
        check_inputs(where, inputs.features, inputs.labels, inputs.dataset)

    with keras_metrics.noted() as metrics:
        try:
            with (
                stages("trace"),
                as_for_accelerators(),
                sessions.built_graph(setup, input_fn, mode, check) as built,
            ):
                host = _host_metrics(built.spec, metrics)
                traced = trace(*built.inputs[:2], built.spec, built.global_step, host)
        except WaferError as error:
            if not metrics:
                raise
            found = tuple(map(offenders.keras_metric, metrics))
            note = f"What comes after was not looked at ({error})."
            raise MappingError(offenders.report(found, note), found) from error
    with traced.graph.as_default():
        return _entry(setup, traced, metrics, folder, stages, search)


def _host_metrics(
    spec: EstimatorSpec, keras_metrics: Sequence[str]
) -> Mapping[str, Any]:
    """The host's metrics; none if Keras's, which were noted, make them none."""
    try:
        return calls.call_host(spec)
    except ModelFnError:
        if not keras_metrics:
            raise
        return {}


def _entry(
    setup: Setup,
    traced: Traced,
    metrics: list[str],
    folder: str,
    stages: Stages,
    search: Search | None,
) -> Compiled:
    system = load_system(
        simulated_system(getattr(setup.config, "cs_ip", None))
        or _runconfig(setup.params).get("system", _DEFAULT_SYSTEM)
    )
    with stages("partition"):
        part = partition(traced)
        candidate = Candidate(part, metrics)
        content = candidate.content_hash(traced.mode, str(traced.batch_size), *metrics)
        key = key_of(tf.__version__, content, system.model_dump_json())
    if traced.train_op is not None and not any(part.variables.values()):
        log.warning(
            "train_op of %s changes no trained variable: nothing would be learned",
            source.of_function(setup.model_fn),
        )
    matched = Entry(folder, key)
    entry = Entry(folder, key_of(key, repr(search))) if search else matched
    model = key_of(key, str(search and search.multireplica))
    if search and search.any_kept:
        entry = _fastest(folder, model) or entry
    if files := entry.load():
        log.info(
            "Cached compilation found for this model configuration: %s", entry.path
        )
        return _read(entry, files)
    files = (search and matched.load()) or _match(
        candidate, traced, system, stages, host_parts(part)
    )
    graph = KernelGraph.from_json(files[_GRAPH])
    if not graph.kernels:
        raise MappingError(
            f"{source.of_function(setup.model_fn)}: the model has no kernel: its loss "
            "or predictions do not depend on features, labels or weights. Let model_fn "
            "compute them from these"
        )
    if search:
        # Here, as it loads numba, which takes time and memory.
        from wafer_runtime.compiler.planning import make_plan

        plan = make_plan(graph, system, search, stages)
        files = {
            **files,
            _PLAN: plan.to_json(),
            _DELTA_T: estimate(plan),
            _REPORT: plan_report(plan) + "\n" + files[_REPORT],
            _MAP: svg(plan),
            _MODEL: model,
        }
    entry.store(files)
    kernels = count_text(len(graph.kernels), "kernel")
    log.info("The model maps to %s: %s", kernels, entry.path)
    return _read(entry, files)


def _fastest(folder: str, model: str) -> Entry | None:
    """The entry of the plan of a model that gives the most samples, if there is one."""
    rates: dict[Entry, float] = {}
    for path in Path(folder).glob(f"cs_*/{_MODEL}"):
        entry = Entry(folder, path.parent.name.removeprefix("cs_"))
        if path.read_text("utf-8") == model and (files := entry.load()):
            plan = Plan.from_json(files[_PLAN])
            rates[entry] = plan.samples_per_s(plan.delta_t_cycles)
    if not rates:
        return None
    log.info("Taking the fastest of %s", count_text(len(rates), "plan"))
    return max(rates, key=lambda entry: rates[entry])


def _match(
    candidate: Candidate,
    traced: Traced,
    system: System,
    stages: Stages,
    host: list[HostPart],
) -> dict[str, str]:
    with stages("extract"):
        extracted = candidate.extract()
    with stages("match"):
        graph = candidate.match(extracted, traced)
    return {
        _GRAPH: graph.to_json(),
        _REPORT: compile_report(graph, host, system.name),
        _PARTITION: partition_table(graph, host) + "\n",
    }


def _read(entry: Entry, files: Mapping[str, str]) -> Compiled:
    graph = KernelGraph.from_json(files[_GRAPH])
    plan = Plan.from_json(files[_PLAN]) if _PLAN in files else None
    return Compiled(entry.path, graph, files[_REPORT], files[_PARTITION], plan)


def host_parts(part: Partition) -> list[HostPart]:
    """The operations on the host by the reason why they are there."""
    groups: dict[str, list[tf.Operation]] = {}
    for op, reason in part.host.items():
        groups.setdefault(reason, []).append(op)
    return [(reason, len(ops), ops[0].name) for reason, ops in groups.items()]


def _search(params: Any) -> Search:
    runconfig = _runconfig(params)
    given = {
        name: runconfig[key]
        for name, key in _SEARCH_KEYS.items()
        if runconfig.get(key) is not None
    }
    # A number of iterations is done whatever time it takes.
    if "iterations" in given:
        given.pop("seconds", None)
    return Search(**given)


def _runconfig(params: Any) -> Mapping[str, Any]:
    found = params.get("runconfig", {}) if isinstance(params, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
