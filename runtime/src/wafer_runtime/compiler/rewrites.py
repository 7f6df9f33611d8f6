"""How each node is written as one of a graph of values."""

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.compiler.emit import NO_ARRAYS, Emitter
from wafer_runtime.compiler.node import Guard, Made, Node, Value
from wafer_runtime.compiler.partition import Partition
from wafer_runtime.compiler.updates import RULES
from wafer_runtime.compiler.variables import arguments, variable_of

_SEEDS = {"seed", "seed2"}
_WRITTEN = "written"


def emitted(part: Partition, stubs: Container[Node]) -> Emitter:
    """The wafer's nodes as a graph of values.

    stubs: nodes in whose place arguments stand, as they are offenders.
    """
    emitter = Emitter(part)
    updates = set(part.updates)
    writers = _WRITERS | {"Unique": _unique(_rows(part))}
    for node in part.wafer:
        if node in stubs:
            _stub(emitter, node)
        elif node in updates:
            _update(emitter, node)
        elif isinstance(node, Made):
            _made(emitter, node)
        elif not _is_variable(node):
            writers.get(node.kind, _copy)(emitter, node)
    return emitter


def is_rewritten(node: Node) -> bool:
    """Whether other operations are written in the place of a node's own."""
    kinds = (*_WRITERS, *RULES, "Unique")
    return isinstance(node, Made) or node.kind in kinds


def _rows(part: Partition) -> dict[Node, int]:
    """For the indices of sparse gradients how many rows the variable has."""
    return {
        value.node: variable.get_attr("shape").dim[0].size
        for node in part.updates
        for value in node.inputs
        if value.node.kind == "Unique"
        if (variable := variable_of(node.inputs[0])) is not None
    }


def _stub(emitter: Emitter, node: Node) -> None:
    for index, tensor in enumerate(node.tensors):
        # Only offenders take what is no array.
        if tensor.dtype not in NO_ARRAYS:
            emitter.stand_in(f"stub:{node.name}:{index}", Value(node, index))


def _is_variable(node: Node) -> bool:
    return bool(node.tensors) and variable_of(Value(node, 0)) is not None


def _update(emitter: Emitter, node: Node) -> None:
    """The arithmetic of an update, if its branch is taken.

    What has no rule is an offender, told when the rest was looked at.
    """
    if node.kind not in RULES:
        return
    variables, values = arguments(node)
    conditions = [guard.condition for guard in node.guards]

    def new_values(*given: Any) -> list[Any]:
        held = list(given[: len(variables)])
        numbers = list(given[len(variables) :][: len(values)])
        new = RULES[node.kind](node.op, held, numbers)
        if not conditions:
            return new
        holds = _all_hold(node.guards, given[-len(conditions) :])
        return [tf.where(holds, n, h) for n, h in zip(new, held, strict=False)]

    taken = [*variables, *values, *conditions]
    wanted = tuple(guard.wanted for guard in node.guards)
    key = (node.kind, _attributes(node), tuple(map(_spec, taken)), wanted)
    if key not in emitter.templates:
        emitter.templates[key] = _template(taken, new_values)
    written = _write(emitter, node, taken, emitter.templates[key])
    for handle, ref in zip(variables, written, strict=False):
        emitter.write(node, handle, ref)


def _all_hold(guards: Sequence[Guard], conditions: Sequence[Any]) -> Any:
    held = [
        value if guard.wanted else tf.logical_not(value)
        for guard, value in zip(guards, conditions, strict=True)
    ]
    return tf.reduce_all(tf.stack(held))


class _Template(NamedTuple):
    """Nodes with what each takes, and results: `:0` for the first value given."""

    nodes: list[tuple[Any, list[str]]]
    results: list[str]


def _template(
    values: Sequence[Value], compute: Callable[..., Sequence[Any]]
) -> _Template:
    """What `compute` makes of tensors like `values`."""
    with tf.Graph().as_default() as graph:
        given = [tf1.placeholder(*_spec(value)) for value in values]
        results = compute(*given)
    names = {tensor.ref(): f":{i}" for i, tensor in enumerate(given)}
    stand_ins = {tensor.op for tensor in given}

    def name(tensor: Any) -> str:
        return names.get(tensor.ref()) or tensor.name

    nodes = [
        (op.node_def, [name(tensor) for tensor in op.inputs])
        for op in graph.get_operations()
        if op not in stand_ins
    ]
    return _Template(nodes, [name(tensor) for tensor in results])


def _write(
    emitter: Emitter, node: Node, values: Sequence[Value], template: _Template
) -> list[str]:
    """Write a template's nodes for `node`; the names of its results."""
    # The scope of a moving average has operations of its own, such as `sub`.
    scope = f"{node.name}/{_WRITTEN}"
    refs = {f":{i}": emitter.ref(value, node) for i, value in enumerate(values)}
    for node_def, inputs in template.nodes:
        copied = emitter.graph_def.node.add()
        copied.CopyFrom(node_def)
        copied.name = f"{scope}/{node_def.name}"
        copied.input[:] = [refs.get(name) or f"{scope}/{name}" for name in inputs]
    return [refs.get(name) or f"{scope}/{name}" for name in template.results]


def _spec(value: Value) -> tuple[tf.DType, Any]:
    """The dtype and shape of a value, of a variable that of its content."""
    variable = variable_of(value)
    if variable is not None:
        shape = tf.TensorShape(variable.get_attr("shape"))
        return tf.as_dtype(variable.get_attr("dtype")), shape
    return value.tensor.dtype.base_dtype, value.tensor.shape


def _attributes(node: Node) -> tuple[tuple[str, bytes], ...]:
    attributes = sorted(node.op.node_def.attr.items())
    return tuple((k, v.SerializeToString()) for k, v in attributes if k[0] != "_")


def _copy(emitter: Emitter, node: Node) -> None:
    copied = emitter.graph_def.node.add()
    copied.CopyFrom(node.op.node_def)
    copied.name = node.name
    copied.device = ""
    copied.input[:] = emitter.refs(node)
    # Of the graph it was built in, not of what it computes.
    for name in [name for name in copied.attr if name.startswith("_")]:
        del copied.attr[name]
    # Seeds that nobody chose differ in every run; the same model is to look the same.
    for name in _SEEDS & copied.attr.keys():
        copied.attr[name].i = 0


def _read(emitter: Emitter, node: Node) -> None:
    """For what hands on its first value as it is."""
    emitter.alias(Value(node, 0), emitter.ref(node.inputs[0], node))


def _written_as(compute: Callable[..., Any]) -> Callable[[Emitter, Node], None]:
    """For a node that is written as `compute(op, inputs)` of its first results."""

    def write(emitter: Emitter, node: Node) -> None:
        template = _template(node.inputs, lambda *given: compute(node.op, *given))
        results = _write(emitter, node, node.inputs, template)
        for index, ref in enumerate(results):
            emitter.alias(Value(node, index), ref)

    return write


def _shape(op: tf.Operation, variable: Any) -> list[Any]:
    return [tf.constant(variable.shape.as_list(), op.outputs[0].dtype)]


def _gather(op: tf.Operation, table: Any, indices: Any) -> list[Any]:
    return [tf.gather(table, indices, batch_dims=op.get_attr("batch_dims"))]


def _gather_nd(op: tf.Operation, table: Any, indices: Any) -> list[Any]:
    return [tf.gather_nd(table, indices)]


def _made(emitter: Emitter, node: Made) -> None:
    template = _template(node.inputs, lambda *given: [node.compute(*given)])
    emitter.alias(Value(node, 0), *_write(emitter, node, node.inputs, template))


def _enlarged(emitter: Emitter, node: Node) -> None:
    """A whole-numbered enlargement, of which XLA makes products: repetition."""
    batch, high, wide, channels = node.inputs[0].tensor.shape
    _, height, width, _ = node.op.outputs[0].shape
    if height % high or width % wide or node.op.get_attr("align_corners"):
        _copy(emitter, node)
        return

    def repeated(_: tf.Operation, image: Any, size: Any) -> list[Any]:
        split = tf.reshape(image, [batch, high, 1, wide, 1, channels])
        times = [batch, high, height // high, wide, width // wide, channels]
        whole = tf.broadcast_to(split, times)
        return [tf.reshape(whole, [batch, height, width, channels])]

    _written_as(repeated)(emitter, node)


def _enlarged_gradient(emitter: Emitter, node: Node) -> None:
    """The gradient of a whole-numbered enlargement, which XLA does not know: sums."""
    batch, high, wide, channels = node.inputs[0].tensor.shape
    _, height, width, _ = node.op.outputs[0].shape
    if high % height or wide % width:
        _copy(emitter, node)
        return

    def summed(_: tf.Operation, image: Any, size: Any) -> list[Any]:
        blocks = [batch, height, high // height, width, wide // width, channels]
        return [tf.reduce_sum(tf.reshape(image, blocks), [2, 4])]

    _written_as(summed)(emitter, node)


def _unique(rows: Mapping[Node, int]) -> Callable[[Emitter, Node], None]:
    """Rows of a sparse gradient, to be added up before an update.

    How many there are is not known when compiling: the first of each stands for all
    of them, and the others point behind the last of the `rows`, where nothing is.
    """

    def write(emitter: Emitter, node: Node) -> None:
        def first_ones(op: tf.Operation, indices: Any) -> list[Any]:
            places = tf.range(indices.shape[0], dtype=op.outputs[1].dtype)
            nowhere = tf.fill([rows[node]], places.dtype.max)
            table = tf.tensor_scatter_nd_min(nowhere, indices[:, None], places)
            first = tf.gather(table, indices)
            behind = tf.constant(rows[node], indices.dtype)
            return [tf.where(tf.equal(first, places), indices, behind), first]

        _written_as(first_ones)(emitter, node)

    return write


# Operations of the model that are written as others.
_WRITERS: dict[str, Callable[[Emitter, Node], None]] = {
    "ReadVariableOp": _read,
    "ResourceGather": _written_as(_gather),
    "ResourceGatherNd": _written_as(_gather_nd),
    "ResizeNearestNeighbor": _enlarged,
    "ResizeNearestNeighborGrad": _enlarged_gradient,
    "EnsureShape": _read,
    "Print": _read,
    "VariableShape": _written_as(_shape),
}
