"""XLA's HLO as objects: the instructions of a step, and what they compute."""

import functools
import math
import re
from collections.abc import Container
from typing import Any

_TENSORFLOW = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "f64": "float64",
    "pred": "bool",
    "c64": "complex64",
    "c128": "complex128",
}
_WIDTHS = {"pred": 1, "bf16": 2, "tuple": 0, "token": 0}


class Instruction:
    """An instruction of the entry computation.

    dtype: `f16`, `s32`, `pred`, or `tuple`, whose parts' are in `parts`. op_name,
    op_type: of the TensorFlow operation that it comes from. streams: whether it depends
    on a sample. drawn: whether it depends on random bits.
    """

    __slots__ = (
        "drawn",
        "dtype",
        "is_constant",
        "op_name",
        "op_type",
        "opcode",
        "operands",
        "parts",
        "proto",
        "shape",
        "streams",
        "users",
    )

    def __init__(self, proto: Any, operands: list["Instruction"]):
        self.proto = proto
        self.opcode = proto.opcode
        self.op_name = proto.metadata.op_name
        self.op_type = proto.metadata.op_type
        self.dtype, self.shape = _shape(proto.shape)
        self.parts = [_shape(part) for part in proto.shape.tuple_shapes]
        self.operands = operands
        self.users: list[Instruction] = []
        for operand in operands:
            operand.users.append(self)
        self.streams: bool = any(operand.streams for operand in operands)
        self.drawn: bool = self.opcode in _RANDOM or any(o.drawn for o in operands)
        # Known when compiling: from constants alone.
        self.is_constant: bool = self.opcode not in _SOURCES and all(
            operand.is_constant for operand in operands
        )

    def __repr__(self) -> str:
        return f"{self.opcode} {self.dtype}{list(self.shape)} {self.op_name}"

    @property
    def tf_dtype(self) -> str:
        """TensorFlow's name for its dtype; of a tuple, for that of the first part."""
        name = self.parts[0][0] if self.parts else self.dtype
        return _TENSORFLOW.get(name) or re.sub("^([su])", _sign, name)

    @property
    def elements(self) -> int:
        """How many numbers it gives."""
        parts = self.parts or [(self.dtype, self.shape)]
        return sum(math.prod(shape) for _, shape in parts)

    @property
    def bytes(self) -> int:
        """How many bytes they take."""
        parts = self.parts or [(self.dtype, self.shape)]
        return sum(width(dtype) * math.prod(shape) for dtype, shape in parts)


_RANDOM = ("rng", "rng-bit-generator", "rng-get-and-update-state")
_SOURCES = ("parameter", *_RANDOM)


def _sign(match: "re.Match[str]") -> str:
    return "int" if match.group() == "s" else "uint"


def width(dtype: str) -> int:
    """Bytes of a number."""
    return _WIDTHS.get(dtype) or int("".join(filter(str.isdigit, dtype)) or 8) // 8


def entry(module: Any, streamed: Container[int] = ()) -> list[Instruction]:
    """The instructions of a module's entry computation, operands first.

    streamed: the numbers of the parameters that hold samples.
    """
    (computation,) = (
        c for c in module.computations if c.id == module.entry_computation_id
    )
    made: dict[int, Instruction] = {}
    for proto in computation.instructions:
        if _changes_nothing(proto, made):
            made[proto.id] = made[proto.operand_ids[0]]
        else:
            made[proto.id] = Instruction(proto, [made[i] for i in proto.operand_ids])
            if proto.opcode == "parameter" and proto.parameter_number in streamed:
                made[proto.id].streams = True
    return list(dict.fromkeys(made.values()))


def _changes_nothing(proto: Any, made: dict[int, Instruction]) -> bool:
    """Whether it is one of the reshapes that XLA puts around arguments and results."""
    if proto.opcode != "reshape" or proto.metadata.op_name not in ("", "XLA_Retvals"):
        return False
    operand = made[proto.operand_ids[0]]
    return _shape(proto.shape) == (operand.dtype, operand.shape)


def valid_pairs(output: int, window: Any, size: int) -> int:
    """How often a number of the input meets one of the window, along one dimension.

    output: positions of the window. size: of the input. Padding and the zeros between
    dilated numbers meet nothing: they cost no multiplication.
    """
    last = (size - 1) * window.base_dilation
    count = 0
    for k in range(window.size):
        first = k * window.window_dilation - window.padding_low
        places = range(first, first + output * window.stride, window.stride)
        count += sum(0 <= p <= last and p % window.base_dilation == 0 for p in places)
    return count


def _shape(proto: Any) -> tuple[str, tuple[int, ...]]:
    return _dtype_names()[proto.element_type], tuple(proto.dimensions)


@functools.cache
def _dtype_names() -> dict[int, str]:
    # Imports all of TensorFlow, which who only reads the library need not wait for.
    from tensorflow.compiler.xla import xla_data_pb2

    names = xla_data_pb2.PrimitiveType.items()
    return {number: name.lower() for name, number in names}
