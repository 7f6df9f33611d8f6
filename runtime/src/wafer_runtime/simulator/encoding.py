"""Vector instructions as records of `isa`, and what is wrong with them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wafer_runtime.errors import FabricError
from wafer_runtime.simulator import isa
from wafer_runtime.simulator.memory import Array, Register, Stream, View

if TYPE_CHECKING:
    from wafer_runtime.simulator.program import Program, Task

Place = View | Stream | Register | float
Operand = Array | Place

_SWITCHES = {"": isa.KEEP, "own": isa.ADVANCE_OWN, "all": isa.ADVANCE_ALL}
# What types of several dtypes have in memory, operand by operand.
_MIXED = {isa.WIDE: ("f4", "f2", "f2"), isa.NARROW: ("f2", "f4")}


def encode(
    program: "Program",
    op: int,
    operands: tuple[Operand, ...],
    *,
    length: int | Register | None = None,
    thread: int = 0,
    then: "Task | None" = None,
    advance: str = "",
    dtype: Any = None,
    mixed: int | None = None,
) -> NDArray[Any]:
    """The record of an instruction; FabricError says what is wrong with it.

    mixed: WIDE or NARROW for operands of two dtypes. The rest: see `Task`.
    """
    if thread < 0:
        raise FabricError(f"thread {thread}: microthreads are numbered from 1")
    places = tuple(x.every() if isinstance(x, Array) else x for x in operands)
    row = np.zeros((), isa.instruction_t)
    row["op"], row["thread"], row["switch"] = op, thread, _switch(advance, places[0])
    row["then"] = isa.NONE if then is None else program.number_of(then)
    row["length_register"] = isa.NONE
    if isinstance(length, Register):
        row["length_register"] = program.owned(length).number
    else:
        row["length"] = _length(places, length)
    dtypes = _dtypes(op, mixed, places, dtype)
    row["type"] = isa.type_of(dtypes[0]) if mixed is None else mixed
    for k, place in enumerate(places):
        _encode_operand(program, row, k, place, dtypes[k])
    _check_operands(op, row)
    whole = op == isa.MOV and set(row["kind"][:2]) <= {isa.REGISTER, isa.FABRIC}
    row["item"] = 0 if whole else dtypes[0].itemsize
    return row


def _dtypes(
    op: int, mixed: int | None, operands: tuple[Place, ...], dtype: Any
) -> tuple[np.dtype[Any], ...]:
    """Of each operand."""
    if mixed is None:
        return (_dtype(op, operands, dtype),) * 3
    return _mixed_dtypes(mixed, operands)


def _switch(advance: str, to: Place) -> int:
    if advance not in _SWITCHES:
        raise FabricError(f'advance={advance!r}: it is "own", "all" or nothing')
    if advance and not isinstance(to, Stream):
        raise FabricError(f"advance={advance!r}: only a wavelet sent moves switches")
    return _SWITCHES[advance]


def _dtype(op: int, operands: tuple[Place, ...], dtype: Any) -> np.dtype[Any]:
    found = {x.array.dtype for x in operands if isinstance(x, View)}
    if dtype is not None:
        found.add(np.dtype(dtype))
    if len(found) > 1:
        raise FabricError(
            f"operands of several dtypes: {' and '.join(sorted(map(str, found)))}"
        )
    one = found.pop() if found else np.dtype(np.float32)
    if op == isa.EXP and one == np.int32:
        raise FabricError("of int32: only of float32 and float16")
    return one


def _mixed_dtypes(mixed: int, operands: tuple[Place, ...]) -> tuple[np.dtype[Any], ...]:
    dtypes = tuple(map(np.dtype, _MIXED[mixed]))
    for operand, dtype in zip(operands, dtypes, strict=True):
        other = isinstance(operand, View) and operand.array.dtype != dtype
        if other or isinstance(operand, Stream):
            raise FabricError(
                "wide_mac adds products of float16 in memory to float32"
                if mixed == isa.WIDE
                else "narrow makes float16 in memory of float32 in memory"
            )
    return dtypes


def _length(operands: tuple[Place, ...], length: int | None) -> int:
    sized = [x.length for x in operands if isinstance(x, View | Stream)]
    told = {x for x in [*sized, length] if x is not None}
    if len(told) > 1:
        raise FabricError(f"operands of lengths {sorted(told)}, not of one")
    if not told and any(isinstance(x, Stream) for x in operands):
        raise FabricError("no operand has a length: give length=")
    found = told.pop() if told else 1
    if found < 0:
        raise FabricError(f"a length of {found}: at least 0")
    return found


def _encode_operand(
    program: "Program", row: Any, k: int, operand: Place, dtype: np.dtype[Any]
) -> None:
    row["register"][k] = isa.NONE
    if isinstance(operand, View):
        array = operand.array
        program.arrays.add(array)
        row["kind"][k], row["stride"][k] = isa.MEMORY, operand.stride
        row["start"][k] = array.offset + operand.start
        row["low"][k], row["high"][k] = array.offset, array.offset + array.length
        if operand.register:
            row["register"][k] = program.owned(operand.register).number
    elif isinstance(operand, Stream):
        row["kind"][k] = isa.FABRIC
        row["start"][k] = program.endpoint(operand, outward=k == 0)
    elif isinstance(operand, Register):
        row["kind"][k] = isa.REGISTER
        row["register"][k] = program.owned(operand).number
    elif k:
        row["kind"][k] = isa.CONSTANT
        row["start"][k] = isa.bits_of(operand, dtype)
    else:
        raise FabricError(f"{operand} as a destination")


def _check_operands(op: int, row: Any) -> None:
    """What the memory's ports, the queues and the unit allow."""
    row["writes"] = row["kind"][0] == isa.MEMORY
    row["reads"] = int((row["kind"][1:] == isa.MEMORY).sum())
    row["reads"] += op == isa.MAC and bool(row["writes"])
    if row["reads"] > 2:
        raise FabricError("three reads of memory, of two: use a register")
    if op == isa.MAC and row["kind"][0] == isa.FABRIC:
        raise FabricError("a sum to add to is in memory or a register, not a stream")
    first, second = row["start"][1:]
    if (row["kind"][1:] == isa.FABRIC).all() and first == second:
        raise FabricError("the same stream twice: a wavelet is read once")
