"""Stage 2: which operations run on the wafer, which on the host, and why.

On the wafer: what the loss, the host's tensors and the updates of variables are
computed from. On the host: the input pipeline, the global step and what is computed
from nothing else (learning rates, the turn of an accumulated update), metrics,
summaries, checks, starting values and checkpoints.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.compiler.flat import Flat
from wafer_runtime.compiler.kernels.refused import REFUSED
from wafer_runtime.compiler.node import Node, Value, closure
from wafer_runtime.compiler.trace import Traced
from wafer_runtime.compiler.variables import VARIABLES, variable_of, writes

# More numbers than a schedule has are data, even if computed from the step alone.
_FEW = 16
_CHECKS = ("Assert", "Print", "PrintV2", "CheckNumerics", "NoOp")


class Partition(NamedTuple):
    """The wafer's share of a model.

    wafer: its nodes, inputs first. updates: those of them that write variables.
    outputs: where each of the traced model's outputs comes from. inputs: values that
    the host streams each batch, by name. scalars: values the host computes from the
    global step. variables: the names of the variables that the wafer holds, with
    whether the step trains them; in other modes, whether they are trainable. host: for
    every other operation of the model's graph, why it is on the host.
    """

    wafer: list[Node]
    updates: list[Node]
    outputs: Mapping[str, Value]
    inputs: Mapping[str, Value]
    scalars: list[Value]
    variables: Mapping[str, bool]
    host: Mapping[tf.Operation, str]
    graph_versions: Any


def partition(traced: Traced) -> Partition:
    """Divide a model between wafer and host."""
    boundary = {t.op for t in traced.inputs.values()}
    targets = [t.op for t in traced.outputs.values()]
    targets += [traced.train_op] if traced.train_op is not None else []
    flow = _until(targets, boundary)
    crossing = _crossing(traced, flow, boundary)
    wanted = flow | boundary | _until([t.op for t in crossing.values()], boundary)
    ops = [op for op in traced.graph.get_operations() if op in wanted]
    flat = Flat(ops, traced.graph, boundary)
    on_host = _from_the_step(flat.nodes, traced.global_step.op.name)
    outputs = dict(traced.outputs) | crossing
    updates = [n for n in flat.nodes if writes(n) and n not in on_host]
    # Python code may be there for what it does alone; it is not to be lost.
    effects = [n for n in flat.nodes if n.kind in REFUSED["tf.py_function"].ops]
    edge = {node for op in boundary for node in flat.made_for(op)}
    found = {name: flat.value(tensor) for name, tensor in outputs.items()}
    # What the host has anyway, such as labels or the step, need not come back.
    results = {n: v for n, v in found.items() if v.node not in on_host | edge}
    starts = [*updates, *effects, *(value.node for value in results.values())]
    live = closure(starts, on_host | edge)
    wafer = [node for node in flat.nodes if node in live]
    scalars = _scalars(wafer, on_host)
    return Partition(
        wafer=wafer,
        updates=updates,
        outputs=results,
        inputs={name: flat.value(t) for name, t in traced.inputs.items()},
        scalars=scalars,
        variables=_variables(wafer, updates, traced.train_op is not None),
        host=_reasons(traced, {node.call for node in wafer}, on_host),
        graph_versions=traced.graph.graph_def_versions,
    )


def _until(
    targets: Iterable[tf.Operation], boundary: set[tf.Operation]
) -> set[tf.Operation]:
    """`targets` and what they depend on, not beyond the `boundary`."""
    seen: set[tf.Operation] = set()
    stack = [op for op in targets if op not in boundary]
    while stack:
        op = stack.pop()
        if op in seen or op in boundary:
            continue
        seen.add(op)
        stack += [t.op for t in op.inputs] + list(op.control_inputs)
    return seen


def _crossing(
    traced: Traced, flow: set[tf.Operation], boundary: set[tf.Operation]
) -> dict[str, tf.Tensor]:
    """What metrics take from the wafer, beside what host_call says they do."""
    metrics = _until(traced.metric_ops, boundary | flow)
    taken = {
        t.ref(): t
        for op in traced.graph.get_operations()
        if op in metrics
        for t in op.inputs
        if t.op in flow and t.dtype != tf.resource
    }
    told = {tensor.ref() for tensor in traced.outputs.values()}
    untold = (tensor for ref, tensor in taken.items() if ref not in told)
    first = sum(name.startswith("host_call/") for name in traced.outputs)
    return {f"host_call/{i}": t for i, t in enumerate(untold, first)}


def _from_the_step(nodes: list[Node], step: str) -> set[Node]:
    """Nodes computed from the global step and constants, and the step's own."""
    found: set[Node] = set()
    fixed: set[Node] = set()
    for node in nodes:
        moving = [v.node for v in node.inputs if v.node not in fixed]
        if node.op.name == step and node.kind in VARIABLES:
            found.add(node)
        elif node.kind == "Const" or (node.inputs and not moving and _is_pure(node)):
            fixed.add(node)
        elif moving and all(n in found for n in moving) and _is_small(node):
            found.add(node)
    return found


def _is_pure(node: Node) -> bool:
    return not (node.op.op_def and node.op.op_def.is_stateful)


def _is_small(node: Node) -> bool:
    return all((t.shape.num_elements() or 0) <= _FEW for t in node.tensors)


def _scalars(wafer: list[Node], on_host: set[Node]) -> list[Value]:
    taken = (
        value
        for node in wafer
        for value in (*node.inputs, *(guard.condition for guard in node.guards))
    )
    found = dict.fromkeys(
        v for v in taken if v.node in on_host and v.tensor.dtype != tf.resource
    )
    return list(found)


def _variables(
    wafer: list[Node], updates: list[Node], is_training: bool
) -> dict[str, bool]:
    trained = {v.op.name for v in tf1.trainable_variables()}
    if is_training:
        changed = (variable_of(node.inputs[0]) for node in updates)
        trained &= {op.name for op in changed if op is not None}
    names = [node.op.name for node in wafer if node.kind in VARIABLES]
    return {name: name in trained for name in dict.fromkeys(names)}


def _reasons(
    traced: Traced, wafer: set[tf.Operation], on_host: set[Node]
) -> dict[tf.Operation, str]:
    """Why each operation that is not on the wafer is on the host."""
    graph = traced.graph
    reasons: dict[tf.Operation, str] = {}
    for ops, reason in _host_parts(traced, on_host):
        for op in ops:
            if op not in wafer:
                reasons.setdefault(op, reason)
    rest = "starting values, checkpoints: before and after"
    operations = graph.get_operations()
    return {op: reasons.get(op, rest) for op in operations if op not in wafer}


def _host_parts(
    traced: Traced, on_host: set[Node]
) -> Iterator[tuple[Iterable[tf.Operation], str]]:
    nothing: set[tf.Operation] = set()
    inputs = _until([t.op for t in traced.inputs.values()], nothing)
    yield inputs, "input pipeline: input_fn"
    yield [node.call for node in on_host], "global step and what follows from it alone"
    operations = traced.graph.get_operations()
    yield _until(traced.metric_ops, inputs), "host_call: metrics over batches"
    summaries = [op for op in operations if op.type.endswith("Summary")]
    yield summaries, "summaries: written to event files"
    yield [op for op in operations if op.type in _CHECKS], "checks, printing and order"
