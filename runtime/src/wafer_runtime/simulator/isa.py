"""What programs compile into: one record an instruction, shared with the interpreter.

A vector instruction has three operands: 0 the destination, 1 and 2 the sources. An
operand is in memory (element `start + k * stride`, and the value of a register more), a
fabric stream (`start` is an endpoint of the program), a register or a constant.
"""

import math
import numbers

import numpy as np
from numpy.typing import DTypeLike

from wafer_runtime.errors import FabricError

NONE = -1
# Kinds of operands.
UNUSED, MEMORY, FABRIC, REGISTER, CONSTANT = range(5)
# Types of elements. WIDE: sources are float16, the destination is float32; NARROW: the
# other way round.
F32, F16, I32, WIDE, NARROW = range(5)
# Vector instructions: destination <- f(source 1, source 2).
MOV, ADD, SUB, MUL, MAC, DIV, MAX, MIN, EXP = range(9)
# Control instructions, which take no cycle: see `Task` for what each does.
END, ACTIVATE, BLOCK, UNBLOCK, SET, ROTATE, JUMP_IF, JUMP_UNLESS = range(16, 24)
# Whose switches a wavelet moves: nobody's, its own router's, each router's it leaves.
KEEP, ADVANCE_OWN, ADVANCE_ALL = range(3)

NAMES = {MOV: "mov", ADD: "add", SUB: "sub", MUL: "mul", MAC: "mac", DIV: "div"}
NAMES |= {MAX: "max", MIN: "min", EXP: "exp"}

_TYPES = {np.dtype("f4"): F32, np.dtype("f2"): F16, np.dtype("i4"): I32}

instruction_t = np.dtype(
    [
        ("op", "u1"),
        ("type", "u1"),
        ("thread", "i2"),  # 0: the task waits for it
        ("then", "i2"),  # task to activate when done
        ("switch", "u1"),  # what the last wavelet sent does to switches
        ("length_register", "i2"),
        ("length", "i4"),
        ("kind", "u1", 3),
        ("register", "i2", 3),
        ("start", "i4", 3),
        ("stride", "i4", 3),
        ("low", "i4", 3),  # the array's elements are from low ...
        ("high", "i4", 3),  # ... up to, not including, high
        ("reads", "i1"),  # of memory, an element or a group of them
        ("writes", "i1"),
        ("width", "i1"),  # elements a cycle
        ("item", "u1"),  # bytes of an element of a wavelet; 0: it moves whole wavelets
        ("value", "i4"),  # of control instructions
        ("target", "i4"),
    ],
    align=True,
)


def type_of(dtype: DTypeLike) -> int:
    """F32, F16 or I32; FabricError for any other dtype."""
    found = _TYPES.get(np.dtype(dtype))
    if found is None:
        raise FabricError(
            f"dtype {np.dtype(dtype)}: a PE computes in float32, float16 and int32"
        )
    return found


def bits_of(value: float, dtype: DTypeLike) -> int:
    """The 32-bit word of a constant, as a signed integer; FabricError if it has none.

    float32 and float16 round it, but do not turn it into an infinity.
    """
    if not isinstance(value, numbers.Real):
        raise FabricError(
            f"{value!r}: an operand is memory, stream, register or number"
        )
    kind = np.dtype(dtype)
    if kind == np.int32:
        whole = math.isfinite(value) and value == int(value)
        fits = whole and -(2**31) <= value < 2**31
        limit = "a whole number of 32 bits"
    else:
        most = float(np.finfo(kind).max)
        fits = not math.isfinite(value) or abs(value) <= most
        limit = f"at most {most:g}"
    if not fits:
        raise FabricError(f"{value} as {kind}: {limit}")
    word = np.zeros(4, np.uint8)
    raw = np.array([value], dtype).view(np.uint8)
    word[: raw.size] = raw
    return int(word.view(np.int32)[0])
