"""Variables of a flat graph: which nodes read and write which of them."""

import tensorflow as tf

from wafer_runtime.compiler.kernels.library import LOOPS
from wafer_runtime.compiler.node import Node, Value

VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
READS = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape")


def variable_of(value: Value) -> tf.Operation | None:
    """The operation of the variable that a value refers to, or None.

    A reference is a resource variable's handle, or the variable itself if it is of the
    old kind (`use_resource=False`).
    """
    while _is_reference(value) and value.node.kind not in VARIABLES:
        if value.node.kind in LOOPS or not value.node.inputs:
            return None
        value = value.node.inputs[0]
    return value.node.op if value.node.kind in VARIABLES else None


def arguments(node: Node) -> tuple[list[Value], list[Value]]:
    """The variables that a node which writes takes, and the values."""
    given = node.op.op_def.input_arg
    variables: list[Value] = []
    values: list[Value] = []
    for i, value in enumerate(node.inputs):
        is_ref = value.tensor.dtype == tf.resource or given[i].is_ref
        (variables if is_ref else values).append(value)
    return variables, values


def writes(node: Node) -> bool:
    """Whether a node changes a variable."""
    if node.kind in READS or node.kind == "VarIsInitializedOp" or not node.inputs:
        return False
    definition = node.op.op_def
    if definition is None or node.kind in LOOPS:
        return False
    # Whatever else has a side effect and takes a variable may change it.
    return definition.input_arg[0].is_ref or (
        definition.is_stateful and any(map(variable_of, node.inputs))
    )


def _is_reference(value: Value) -> bool:
    dtype = value.tensor.dtype
    return dtype == tf.resource or dtype != dtype.base_dtype
