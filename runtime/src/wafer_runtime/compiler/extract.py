"""Stage 3: the wafer's share of a model as XLA's HLO.

XLA refuses uninitialised variables, and a model of billions of weights is not to be
allocated. So the wafer's nodes are imported into a function whose arguments are the
streamed inputs, the host's scalars and the variables' values, and whose results are the
outputs and the new values of the variables.

It is the step's structure, to be matched, and not to be run: every read of a variable
gives its value from before the step, and both sides of a branch make their updates.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from wafer_runtime.compiler.emit import Emitter
from wafer_runtime.compiler.flat import Node, Value
from wafer_runtime.compiler.partition import Partition, references
from wafer_runtime.compiler.updates import RULES


class Extracted(NamedTuple):
    """The HLO of a step.

    module: hlo_pb2.HloModuleProto. arguments: the names of its parameters, in order:
    `input:NAME`, `variable:NAME`, `scalar:NAME`, `stub:NAME`. results: the names of
    what it returns: an output's, or `variable:NAME`.
    """

    module: Any
    arguments: tuple[str, ...]
    results: tuple[str, ...]


class UnsupportedError(Exception):
    """XLA does not compile the operation `name`, for `reason`."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


def extract(part: Partition, emitter: Emitter) -> Extracted:
    """The HLO of the wafer's nodes.

    Raises UnsupportedError for an operation that XLA does not compile.
    """
    wanted = _wanted(part, emitter)
    read = {name for node in emitter.graph_def.node for name in node.input}
    results: list[str] = []

    def step(*arguments: tf.Tensor) -> list[tf.Tensor]:
        given = dict(zip(emitter.arguments, arguments, strict=True))
        places = {emitter.places[name]: tensor for name, tensor in given.items()}
        used = {name: places[name] for name in places.keys() & read}
        imported = tf.graph_util.import_graph_def(
            emitter.graph_def, used, wanted, name=""
        )
        tensors = places | dict(zip(wanted, imported, strict=True))
        found = {k: tensors[emitter.ref(v)] for k, v in part.outputs.items()}
        found |= _updated(part, emitter, tensors, given)
        results[:] = found
        return list(found.values())

    return Extracted(
        _compiled(step, list(emitter.arguments.values())),
        tuple(emitter.arguments),
        tuple(results),
    )


def _wanted(part: Partition, emitter: Emitter) -> list[str]:
    """The tensors of the graph that are results, or that updates take."""
    values = [*part.outputs.values()]
    for node in filter(_has_rule, part.updates):
        variables, given = _arguments(node)
        for value in variables:
            emitter.variable(value)
        values += given
    places = set(emitter.places.values())
    return [r for r in dict.fromkeys(map(emitter.ref, values)) if r not in places]


def _updated(
    part: Partition, emitter: Emitter, tensors: dict[str, Any], given: dict[str, Any]
) -> dict[str, tf.Tensor]:
    """The new values of variables, after all updates in their order."""
    current = dict(given)
    changed: dict[str, None] = {}
    for node in filter(_has_rule, part.updates):
        variables, values = _arguments(node)
        names = [emitter.variable(v) for v in variables]
        with tf.name_scope(f"{node.name}/"):
            new = RULES[node.kind](
                node.op,
                [current[name] for name in names],
                [tensors[emitter.ref(v)] for v in values],
            )
        current |= dict(zip(names, new, strict=False))
        changed |= dict.fromkeys(names[: len(new)])
    return {name: current[name] for name in changed}


def _has_rule(node: Node) -> bool:
    """What has none is an offender, told when the rest was looked at."""
    return node.kind in RULES


def _arguments(node: Node) -> tuple[list[Value], list[Value]]:
    """The variables that an updating node takes, and the values."""
    pairs = list(zip(node.inputs, references(node), strict=True))
    return [v for v, is_ref in pairs if is_ref], [
        v for v, is_ref in pairs if not is_ref
    ]


def _compiled(step: Callable[..., Any], specs: list[Any]) -> Any:
    function = tf.function(
        step, input_signature=specs, jit_compile=True, autograph=False
    )
    try:
        ir = function.experimental_get_compiler_ir(*specs)
        return hlo_pb2.HloModuleProto.FromString(ir(stage="hlo_serialized"))
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise _unsupported(str(error)) from error


def _unsupported(message: str) -> UnsupportedError:
    node = re.search(r"\{\{node ([^}]+)\}\}", message)
    reason = re.sub(r"\{\{node [^}]+\}\}", "", message).partition("\n")[0]
    return UnsupportedError(node.group(1) if node else "", reason)
