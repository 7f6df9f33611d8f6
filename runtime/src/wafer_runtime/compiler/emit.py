"""The wafer's nodes as a GraphDef of values: no variables, no calls, no order."""

from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.compiler.node import Node, Value
from wafer_runtime.compiler.partition import Partition
from wafer_runtime.compiler.variables import variable_of

NO_ARRAYS = (tf.string, tf.variant, tf.resource)


class Emitter:
    """Writes `graph_def`, and knows by which name a value goes in it.

    arguments: for each argument's name its TensorSpec. `places` says which tensor, not
    in the graph_def, stands for it. written: for each changed variable's argument the
    tensor of its new value. templates: of nodes that were written before.
    """

    def __init__(self, part: Partition):
        self.graph_def = tf1.GraphDef()
        self.graph_def.versions.CopyFrom(part.graph_versions)
        self.arguments: dict[str, tf.TensorSpec] = {}
        self.places: dict[str, str] = {}
        self.written: dict[str, str] = {}
        self.templates: dict[Any, Any] = {}
        self._refs: dict[Value, str] = {}
        self._contents: dict[tuple[Node, tf.Operation], str] = {}
        for name, value in part.inputs.items():
            if value.tensor.dtype not in NO_ARRAYS:
                self.stand_in(f"input:{name}", value)
        for value in part.scalars:
            self.stand_in(f"scalar:{value.node.name}:{value.output}", value)

    def ref(self, value: Value, node: Node | None = None) -> str:
        """The name of a value's tensor in the graph_def.

        node: that takes it. What a variable holds depends on when it is read.
        """
        variable = variable_of(value)
        if variable is None:
            return self._refs.get(value) or f"{value.node.name}:{value.output}"
        writer = node and node.after.get(variable)
        # A writer that is not there is an offender.
        content = writer and self._contents.get((writer, variable))
        return content or self.places[self.variable(value)]

    def refs(self, node: Node) -> list[str]:
        """The names of what a node takes."""
        return [self.ref(value, node) for value in node.inputs]

    def variable(self, handle: Value) -> str:
        """The name of the argument that holds a variable's content."""
        op = variable_of(handle)
        assert op is not None, handle
        name = f"variable:{op.name}"
        if name not in self.arguments:
            spec = tf.TensorSpec(op.get_attr("shape"), op.get_attr("dtype"))
            self._add_argument(name, spec)
        return name

    def write(self, node: Node, handle: Value, ref: str) -> None:
        """Let a variable hold another tensor after `node`."""
        self._contents[node, variable_of(handle)] = ref
        self.written[self.variable(handle)] = ref

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
