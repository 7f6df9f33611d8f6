"""Stage 3: the wafer's share of a model as XLA's HLO.

XLA refuses uninitialised variables, and a model of billions of weights is not to be
allocated. So the wafer's nodes are imported into a function whose arguments are the
streamed inputs, the host's scalars and the variables' values, and whose results are the
outputs and the new values of the variables: run on real values, it does what a
session's step does.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import tensorflow as tf
from tensorflow.compiler.xla.service import hlo_pb2

from wafer_runtime.compiler.emit import Emitter
from wafer_runtime.compiler.partition import Partition


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
    results = {name: emitter.ref(value) for name, value in part.outputs.items()}
    results |= emitter.written
    return Extracted(
        _compiled(step_of(emitter, results.values()), [*emitter.arguments.values()]),
        tuple(emitter.arguments),
        tuple(results),
    )


def step_of(emitter: Emitter, results: Collection[str]) -> Callable[..., Any]:
    """The function of the emitter's arguments that gives the tensors `results`."""
    places = list(emitter.places.values())
    wanted = [ref for ref in dict.fromkeys(results) if ref not in places]
    read = {name for node in emitter.graph_def.node for name in node.input}

    def step(*arguments: tf.Tensor) -> list[tf.Tensor]:
        given = dict(zip(places, arguments, strict=True))
        used = {place: tensor for place, tensor in given.items() if place in read}
        imported = tf.graph_util.import_graph_def(
            emitter.graph_def, used, wanted, name=""
        )
        tensors = given | dict(zip(wanted, imported, strict=True))
        return [tf.identity(tensors[ref]) for ref in results]

    return step


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
