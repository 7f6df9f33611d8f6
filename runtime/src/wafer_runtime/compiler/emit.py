"""The wafer's nodes as a GraphDef of values: no variables, no calls, no order."""

from collections.abc import Callable, Container
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.compiler.flat import BRANCH, Node, Value
from wafer_runtime.compiler.partition import Partition, variable_of

_NO_ARRAYS = (tf.string, tf.variant, tf.resource)
_SEEDS = {"seed", "seed2"}


class Emitter:
    """Writes `graph_def`, and knows by which name a value goes in it.

    arguments: for each argument's name its TensorSpec. `places` says which tensor, not
    in the graph_def, stands for it.
    """

    def __init__(self, part: Partition, stubs: Container[Node]):
        self.graph_def = tf1.GraphDef()
        self.graph_def.versions.CopyFrom(part.graph_versions)
        self.arguments: dict[str, tf.TensorSpec] = {}
        self.places: dict[str, str] = {}
        self._refs: dict[Value, str] = {}
        for name, value in part.inputs.items():
            if value.tensor.dtype not in _NO_ARRAYS:
                self.stand_in(f"input:{name}", value)
        for value in part.scalars:
            self.stand_in(f"scalar:{value.node.name}:{value.output}", value)
        updates = set(part.updates)
        for node in part.wafer:
            if node in stubs:
                for index, tensor in enumerate(node.op.outputs):
                    # Only offenders take what is no array.
                    if tensor.dtype not in _NO_ARRAYS:
                        self.stand_in(f"stub:{node.name}:{index}", Value(node, index))
            elif node not in updates and not _is_variable(node):
                _WRITERS.get(node.kind, _copy)(self, node)

    def ref(self, value: Value) -> str:
        """The name of a value's tensor in the graph_def."""
        if variable_of(value) is not None:
            return self.places[self.variable(value)]
        return self._refs.get(value) or f"{value.node.name}:{value.output}"

    def variable(self, handle: Value) -> str:
        """The name of the argument that holds a variable's content."""
        op = variable_of(handle)
        assert op is not None, handle
        name = f"variable:{op.name}"
        if name not in self.arguments:
            spec = tf.TensorSpec(op.get_attr("shape"), op.get_attr("dtype"))
            self._add_argument(name, spec)
        return name

    def stand_in(self, name: str, value: Value) -> None:
        """Let an argument stand for a value."""
        tensor = value.tensor
        shape = tensor.shape
        # Only what stands for an offender; the rest of the model is looked at too.
        if shape.rank is None and value.node.inputs:
            shape = value.node.inputs[0].tensor.shape
        if shape.rank is not None:
            shape = [1 if size is None else size for size in shape]
        self._refs[value] = self._add_argument(
            name, tf.TensorSpec(shape, tensor.dtype.base_dtype)
        )

    def alias(self, value: Value, ref: str) -> None:
        """Let `value` go by another tensor's name."""
        self._refs[value] = ref

    def add(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """A new node's first output."""
        node = self.graph_def.node.add(op=kind, name=name, input=inputs)
        for key, value in attributes.items():
            node.attr[key].CopyFrom(value)
        return f"{name}:0"

    def _add_argument(self, name: str, spec: tf.TensorSpec) -> str:
        self.places[name] = f"ARGUMENT_{len(self.arguments)}:0"
        self.arguments[name] = spec
        return self.places[name]


def _is_variable(node: Node) -> bool:
    return bool(node.op.outputs) and variable_of(Value(node, 0)) is not None


def _type(dtype: tf.DType) -> Any:
    return tf1.AttrValue(type=dtype.base_dtype.as_datatype_enum)


def _constant(emitter: Emitter, name: str, value: Any) -> str:
    tensor = tf.make_tensor_proto(value)
    return emitter.add(
        "Const",
        name,
        [],
        dtype=tf1.AttrValue(type=tensor.dtype),
        value=tf1.AttrValue(tensor=tensor),
    )


def _copy(emitter: Emitter, node: Node) -> None:
    copied = emitter.graph_def.node.add()
    copied.CopyFrom(node.op.node_def)
    copied.name = node.name
    copied.device = ""
    copied.input[:] = [emitter.ref(value) for value in node.inputs]
    # Of the graph it was built in, not of what it computes.
    for name in [name for name in copied.attr if name.startswith("_")]:
        del copied.attr[name]
    # Seeds that nobody chose differ in every run; the same model is to look the same.
    for name in _SEEDS & copied.attr.keys():
        copied.attr[name].i = 0


def _read(emitter: Emitter, node: Node) -> None:
    argument = emitter.variable(node.inputs[0])
    emitter.alias(Value(node, 0), emitter.places[argument])


def _variable_shape(emitter: Emitter, node: Node) -> None:
    shape = emitter.arguments[emitter.variable(node.inputs[0])].shape
    dtype = node.op.outputs[0].dtype.as_numpy_dtype
    _constant(emitter, node.name, [dtype(size) for size in shape])


def _gather(emitter: Emitter, node: Node) -> None:
    handle, indices = node.inputs
    emitter.add(
        "GatherV2",
        node.name,
        [
            emitter.places[emitter.variable(handle)],
            emitter.ref(indices),
            _constant(emitter, f"{node.name}/axis", node.op.get_attr("batch_dims")),
        ],
        Tparams=_type(node.op.outputs[0].dtype),
        Tindices=_type(indices.tensor.dtype),
        Taxis=_type(tf.int32),
        batch_dims=tf1.AttrValue(i=node.op.get_attr("batch_dims")),
    )


def _gather_nd(emitter: Emitter, node: Node) -> None:
    handle, indices = node.inputs
    emitter.add(
        "GatherNd",
        node.name,
        [emitter.places[emitter.variable(handle)], emitter.ref(indices)],
        Tparams=_type(node.op.outputs[0].dtype),
        Tindices=_type(indices.tensor.dtype),
    )


def _select(emitter: Emitter, node: Node) -> None:
    dtype = node.inputs[1].tensor.dtype
    ref = emitter.add(
        "SelectV2", node.name, [emitter.ref(v) for v in node.inputs], T=_type(dtype)
    )
    # The node stands for one of its operation's outputs, which has its number.
    for index in range(len(node.op.outputs)):
        emitter.alias(Value(node, index), ref)


def _all_are_unique(emitter: Emitter, node: Node) -> None:
    """Rows of a sparse gradient: those of one index may as well be added one by one."""
    values = emitter.ref(node.inputs[0])
    dtype = node.op.outputs[1].dtype
    count = node.inputs[0].tensor.shape.num_elements()
    emitter.alias(Value(node, 0), values)
    indices = list(map(dtype.as_numpy_dtype, range(count)))
    emitter.alias(Value(node, 1), _constant(emitter, f"{node.name}/rows", indices))


def _enlarged(emitter: Emitter, node: Node) -> None:
    """A whole-numbered enlargement, of which XLA makes products: repetition."""
    batch, high, wide, channels = node.inputs[0].tensor.shape
    _, height, width, _ = node.op.outputs[0].shape
    whole = not (height % high or width % wide or node.op.get_attr("align_corners"))
    if not whole:
        _copy(emitter, node)
        return
    sizes = {
        "split": [batch, high, 1, wide, 1, channels],
        "repeated": [batch, high, height // high, wide, width // wide, channels],
        "": [batch, height, width, channels],
    }
    ref = emitter.ref(node.inputs[0])
    dtype, index = _type(node.inputs[0].tensor.dtype), _type(tf.int32)
    for part, size in sizes.items():
        name = f"{node.name}/{part}".rstrip("/")
        shape = _constant(emitter, f"{name}/shape", size)
        kind, of_shape = ("Reshape", "Tshape")
        if part == "repeated":
            kind, of_shape = ("BroadcastTo", "Tidx")
        ref = emitter.add(kind, name, [ref, shape], T=dtype, **{of_shape: index})


def _enlarged_gradient(emitter: Emitter, node: Node) -> None:
    """The gradient of a whole-numbered enlargement, which XLA does not know: sums."""
    batch, high, wide, channels = node.inputs[0].tensor.shape
    _, height, width, _ = node.op.outputs[0].shape
    if high % height or wide % width:
        _copy(emitter, node)
        return
    blocks = [batch, height, high // height, width, wide // width, channels]
    shape = _constant(emitter, f"{node.name}/shape", blocks)
    axes = _constant(emitter, f"{node.name}/axes", [2, 4])
    dtype, index = _type(node.inputs[0].tensor.dtype), _type(tf.int32)
    inputs = [emitter.ref(node.inputs[0]), shape]
    name = f"{node.name}/blocks"
    split = emitter.add("Reshape", name, inputs, T=dtype, Tshape=index)
    emitter.add("Sum", node.name, [split, axes], T=dtype, Tidx=index)


_WRITERS: dict[str, Callable[[Emitter, Node], None]] = {
    "ReadVariableOp": _read,
    "ResourceGather": _gather,
    "ResourceGatherNd": _gather_nd,
    "ResizeNearestNeighbor": _enlarged,
    "ResizeNearestNeighborGrad": _enlarged_gradient,
    BRANCH: _select,
    "Unique": _all_are_unique,
    "VariableShape": _variable_shape,
}
