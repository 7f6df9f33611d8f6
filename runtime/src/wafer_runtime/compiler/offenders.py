"""What of a model cannot run on the wafer: where, why, and what to use instead."""

import functools
from collections.abc import Collection, Iterable
from typing import NamedTuple

import tensorflow as tf
from tensorflow.python.framework import kernels

from wafer_runtime import source
from wafer_runtime.compiler.attribute import callers_of, line_of
from wafer_runtime.compiler.extract import UnsupportedError
from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernels import LIBRARY
from wafer_runtime.compiler.kernels.library import ELEMENTWISE, MOVEMENT, SOURCES
from wafer_runtime.compiler.kernels.refused import REFUSED, Refusal
from wafer_runtime.compiler.node import Made, Node, closure
from wafer_runtime.compiler.partition import Partition
from wafer_runtime.compiler.rewrites import is_rewritten
from wafer_runtime.compiler.step import Step
from wafer_runtime.compiler.updates import RULES
from wafer_runtime.compiler.variables import READS, VARIABLES, variable_of


class Offender(NamedTuple):
    """An operation that no kernel runs. line: of the user's code.

    calls: how its function was called, if it is a helper of model_fn's: for each way
    the lines, innermost first.
    """

    layer: str
    op: str
    line: str
    reason: str
    instead: str
    calls: tuple[tuple[str, ...], ...] = ()


_CALLS_SHOWN = 3
_BY_TYPE = {kind: refusal for refusal in REFUSED.values() for kind in refusal.ops}
_OPCODES = {code: refusal for refusal in REFUSED.values() for code in refusal.opcodes}
# All other kernels take what flows through them.
_PRODUCTS = frozenset(["dot", "convolution"])
_WIDE = frozenset(["s64", "u64"])
_NARROW = frozenset(["s4", "u4", "s8", "u8", "s16", "u16"])
_KEEPS = frozenset(["bitcast-convert", "compare", "convert", "select", "clamp"])
_MOVES = MOVEMENT | SOURCES | _KEEPS
_MEASURED = frozenset[str]().union(*(kind.measured for kind in LIBRARY))
_KNOWN = (ELEMENTWISE | MOVEMENT | SOURCES).union(
    *(kind.opcodes | kind.takes | kind.measured for kind in LIBRARY)
)


def in_graph(part: Partition) -> dict[Node, Offender | None]:
    """The nodes that XLA is not to be asked about; None if others are the cause."""
    found: dict[Node, Offender | None] = {}
    updates = set(part.updates)
    for node in part.wafer:
        if told := _told(node, node in updates):
            # What only hands text on is no cause.
            found[node] = None if isinstance(node, Made) else _offender(node, told)
        elif _takes_from_loop(node):
            is_cause = found.keys().isdisjoint(value.node for value in node.inputs)
            told = REFUSED["tf.while_loop"]
            found[node] = _offender(node, told) if is_cause else None
        elif node.kind == "Unique" and not node.inputs[0].tensor.shape.num_elements():
            # Of a gradient of so many rows as the data have.
            is_cause = found.keys().isdisjoint(closure([node]))
            told = REFUSED["tf.boolean_mask"]
            found[node] = _offender(node, told) if is_cause else None
    return found


def refused(error: UnsupportedError, part: Partition) -> dict[Node, Offender]:
    """The node that XLA refused, and those of which it knows none of their type."""
    return {
        node: _offender(node, REFUSED["unknown to XLA"])
        for node in part.wafer
        if node.name == error.name or not in_xla(node)
    }


def in_xla(node: Node) -> bool:
    """Whether XLA knows operations of this type."""
    is_ours = is_rewritten(node) or node.kind in VARIABLES
    return is_ours or _has_kernel(node.op.type)


@functools.cache
def _has_kernel(op_type: str) -> bool:
    _start_xla()
    found = kernels.get_registered_kernels_for_op(op_type).kernel
    return any(kernel.device_type == "XLA_CPU_JIT" for kernel in found)


@functools.cache
def _start_xla() -> None:
    """XLA registers its kernels when it first compiles something."""
    nothing = tf.function(lambda: tf.constant(0.0), jit_compile=True, autograph=False)
    nothing.experimental_get_compiler_ir()(stage="hlo_serialized")


def keras_metric(line: str) -> Offender:
    """A metric of Keras's that model_fn made at `line`."""
    told = REFUSED["tf.keras.metrics"]
    return Offender("", "tf.keras.metrics", line, told.reason, told.instead)


def in_hlo(step: Step) -> list[Offender]:
    """The operations whose instructions no kernel can hold."""
    found: dict[Node, Offender] = {}
    nameless = _wide_inputs(step)
    for instruction in step.instructions:
        origin = step.origins[instruction]
        if origin and origin.forward in found:
            continue
        if told := _unmatched(instruction):
            if origin is None:
                nameless.append(
                    Offender("", instruction.opcode, "XLA", told.reason, told.instead)
                )
            else:
                told = _BY_TYPE.get(origin.forward.kind, told)
                found[origin.forward] = _offender(origin.forward, told)
    return [*found.values(), *nameless]


def _wide_inputs(step: Step) -> list[Offender]:
    """Inputs in float64, which no kernel takes, not even to cast them."""
    return [
        Offender(
            "",
            step.argument(parameter).partition(":")[2],
            line_of(origin.forward),
            "float64 does not travel to the wafer",
            "float32: tf.cast(x, tf.float32) in input_fn",
        )
        for parameter in step.parameters
        if parameter.dtype == "f64" and step.argument(parameter).startswith("input:")
        if (origin := next(filter(None, map(step.origins.get, parameter.users)), None))
    ]


def distinct(offenders: Iterable[Offender]) -> tuple[Offender, ...]:
    """In the order of the lines, a reason once a line: a loop is many operations."""
    same: dict[tuple[str, str], list[Offender]] = {}
    for o in sorted(offenders, key=lambda o: (_file_and_line(o.line), o.reason)):
        same.setdefault((o.line, o.reason), []).append(o)
    return tuple(
        group[0]._replace(calls=tuple(dict.fromkeys(c for o in group for c in o.calls)))
        for group in same.values()
    )


def report(offenders: Collection[Offender], more: str = "") -> str:
    """What is told of offenders that are distinct."""
    count = f"{len(offenders)} operation{'s' if len(offenders) > 1 else ''}"
    lines = [f"The model does not map to the wafer: {count} cannot run there."]
    for o in offenders:
        layer = f" in layer {o.layer}" if o.layer else ""
        lines.append(f"  {o.line}: {o.op}{layer}: {o.reason}.")
        shown = o.calls[:_CALLS_SHOWN]
        lines += [f"      Called from {', from '.join(call)}." for call in shown]
        if more_calls := len(o.calls) - len(shown):
            lines.append(f"      Called in {more_calls} more ways.")
        lines.append(f"      Instead: {o.instead}.")
    return "\n".join([*lines, *([more] if more else [])])


def _file_and_line(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return file, int(line) if line.isdigit() else 0


def _offender(node: Node, told: Refusal) -> Offender:
    layer = node.name.rpartition("/")[0]
    callers = callers_of(node)
    calls = (callers,) if callers else ()
    return Offender(layer, node.kind, line_of(node), told.reason, told.instead, calls)


def _told(node: Node, updates: bool) -> Refusal | None:
    """Why a node cannot be on the wafer, from its type alone."""
    if node.kind in _BY_TYPE:
        return _BY_TYPE[node.kind]
    if tf.string in _dtypes(node):
        return REFUSED["tf.strings"]
    if _takes_a_table(node, updates):
        return REFUSED["tf.lookup"]
    if node.kind.startswith("Unique") and not _is_of_an_optimizer(node):
        return REFUSED["tf.boolean_mask"]
    if node.kind == "Placeholder":
        return REFUSED["tf.compat.v1.placeholder"]
    if updates and node.kind not in RULES:
        kind = "update rules" if "Apply" in node.kind else "writes of variables"
        return REFUSED[f"other {kind}"]
    return None


def _takes_a_table(node: Node, updates: bool) -> bool:
    """Whether it uses a resource that is no variable and comes from no loop."""
    if updates or node.kind in READS or tf.resource not in _dtypes(node):
        return False
    handles = [v for v in node.inputs if v.tensor.dtype == tf.resource]
    makes = not handles and node.kind not in VARIABLES
    return makes or any(not v.node.inputs and variable_of(v) is None for v in handles)


def _takes_from_loop(node: Node) -> bool:
    """Whether it gives a loop its lists, or takes its lists or variables."""
    if node.kind in READS:
        return variable_of(node.inputs[0]) is None
    return tf.variant in _dtypes(node)


def _dtypes(node: Node) -> set[tf.DType]:
    tensors = [*node.tensors, *(value.tensor for value in node.inputs)]
    return {tensor.dtype for tensor in tensors}


def _is_of_an_optimizer(node: Node) -> bool:
    """Sparse gradients are made free of double rows before an update."""
    return any("deduplicate" in frame.name for frame in source.frames_of(node.op))


def _unmatched(instruction: Instruction) -> Refusal | None:
    dtypes = {dtype for dtype, _ in instruction.parts} | {instruction.dtype}
    tensors = [instruction, *instruction.operands]
    if instruction.opcode in _MEASURED and not all(t.elements for t in tensors):
        return REFUSED["tensors without numbers"]
    if instruction.opcode in _OPCODES:
        return _OPCODES[instruction.opcode]
    if dtypes & {"c64", "c128"}:
        return REFUSED["complex"]
    if any(instruction.proto.shape.is_dynamic_dimension):
        return REFUSED["tf.boolean_mask"]
    if "f64" in dtypes and instruction.shape:
        return REFUSED["float64"]
    if instruction.dtype in _WIDE and _computes(instruction):
        return REFUSED["int64"]
    if instruction.dtype in _NARROW and _computes(instruction):
        return REFUSED["int8"]
    for kind in LIBRARY:
        for limit in kind.limits:
            if limit.breaks(instruction):
                reason = f"the kernel {kind.name} does not do {limit.text}"
                return Refusal(reason, limit.instead)
        multiplies = instruction.opcode in kind.measured & _PRODUCTS
        if multiplies and instruction.tf_dtype not in kind.dtypes:
            reason = f"the kernel {kind.name} does not take {instruction.tf_dtype}"
            return Refusal(reason, f"{', '.join(kind.dtypes)}: tf.cast(x, ...)")
    if instruction.opcode not in _KNOWN:
        reason = f"no kernel has the HLO instruction {instruction.opcode}"
        return Refusal(reason, "other operations: `wafer ops` lists what there is")
    return None


def _computes(instruction: Instruction) -> bool:
    """Counters (scalars) and random bits aside."""
    is_random = "Random" in instruction.op_type
    moves = instruction.opcode in _MOVES
    return bool(instruction.shape) and not moves and not is_random
