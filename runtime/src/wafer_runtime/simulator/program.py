"""Programs of PEs: tasks of vector instructions, in Python.

    x = layout.array("x", 16, "float32")
    program = Program("adder")
    main = program.task(start=True)
    main.add(x, x, receive(red))          # x += what arrives; a wavelet a cycle
    main.mov(send(blue), x, thread=1)     # in a microthread, beside what follows
    layout.place(program, x=3, y=slice(0, 4))

A task runs when it was activated, by `start`, by another task, by an instruction that
is done (`then=`), or by a wavelet (`on_wavelet`). Vector instructions take a cycle for
as many elements as there are lanes, or for a wavelet; all else overlaps them and takes
none, as the published model has it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from wafer_runtime.errors import FabricError
from wafer_runtime.simulator import isa
from wafer_runtime.simulator.memory import Array, Register, Stream, View

Operand = Array | View | Stream | Register | float


class Task:
    """A list of instructions, written by calling the methods in order.

    Operands are arrays, views of them, streams, registers and numbers. Keywords of the
    vector instructions: `thread=k` runs it in microthread k (from 1), beside the task;
    `then=task` is activated when it is done; `length`, a number or a register, where no
    operand has one; `advance="own"` lets the last wavelet sent move the color's switch
    in the PE's own router, `"all"` in every router that it leaves; `dtype` where no
    operand is an array (float32).
    """

    def __init__(self, program: "Program", name: str, number: int):
        self.name = name
        self.number = number
        self.rows: list[np.ndarray] = []
        self._program = program

    def mov(self, to: Operand, source: Operand, **keywords: Any) -> None:
        """to = source."""
        self._vector(isa.MOV, to, source, **keywords)

    def exp(self, to: Operand, source: Operand, **keywords: Any) -> None:
        """to = e ** source."""
        self._vector(isa.EXP, to, source, **keywords)

    def add(self, to: Operand, a: Operand, b: Operand, **keywords: Any) -> None:
        """to = a + b."""
        self._vector(isa.ADD, to, a, b, **keywords)

    def sub(self, to: Operand, a: Operand, b: Operand, **keywords: Any) -> None:
        """to = a - b."""
        self._vector(isa.SUB, to, a, b, **keywords)

    def mul(self, to: Operand, a: Operand, b: Operand, **keywords: Any) -> None:
        """to = a * b."""
        self._vector(isa.MUL, to, a, b, **keywords)

    def div(self, to: Operand, a: Operand, b: Operand, **keywords: Any) -> None:
        """to = a / b; whole numbers are rounded towards zero."""
        self._vector(isa.DIV, to, a, b, **keywords)

    def max(self, to: Operand, a: Operand, b: Operand, **keywords: Any) -> None:
        """to = the greater of a and b."""
        self._vector(isa.MAX, to, a, b, **keywords)

    def min(self, to: Operand, a: Operand, b: Operand, **keywords: Any) -> None:
        """to = the lesser of a and b."""
        self._vector(isa.MIN, to, a, b, **keywords)

    def mac(self, to: Operand, a: Operand, b: Operand, **keywords: Any) -> None:
        """to = to + a * b; the product is rounded before the sum, as in numpy."""
        self._vector(isa.MAC, to, a, b, **keywords)

    def wide_mac(self, to: Operand, a: Operand, b: Operand, **keywords: Any) -> None:
        """The same for a and b in float16, in memory or a register, and to in float32:
        the product is exact.
        """
        self._check_wide(to, a, b)
        self._vector(isa.MAC, to, a, b, wide=True, **keywords)

    def activate(self, task: "Task") -> None:
        """Let `task` run, once, after this one."""
        self._control(isa.ACTIVATE, value=task.number)

    def block(self, task: "Task") -> None:
        """Keep `task` from running until it is unblocked; it stays activated."""
        self._control(isa.BLOCK, value=task.number)

    def unblock(self, task: "Task") -> None:
        """End the effect of `block`."""
        self._control(isa.UNBLOCK, value=task.number)

    def set(self, register: Register, value: int) -> None:
        """Set a register to a whole number."""
        self._control(isa.SET, register, value)

    def rotate(self, register: Register, step: int, modulus: int) -> None:
        """register = (register + step) mod modulus: a walk round an array."""
        self._control(isa.ROTATE, register, step, modulus)

    @contextmanager
    def repeat(self, times: int) -> Iterator[None]:
        """Run the instructions of the `with` block `times` (at least 1) times."""
        if times < 1:
            raise FabricError(f"{self._place()}: repeat {times} times: at least once")
        free = self._program.free_counters
        counter = free.pop() if free else self._program.register()
        self.set(counter, times)
        start = len(self.rows)
        yield
        self.rotate(counter, -1, times + 1)
        self._control(isa.JUMP_IF, counter, target=start - len(self.rows))
        free.append(counter)

    @contextmanager
    def when(self, register: Register) -> Iterator[None]:
        """Run the instructions of the `with` block if the register is not 0."""
        at = len(self.rows)
        self._control(isa.JUMP_UNLESS, register)
        yield
        self.rows[at]["target"] = len(self.rows) - at

    def _control(
        self, op: int, register: Register | None = None, value: int = 0, target: int = 0
    ) -> None:
        row = np.zeros((), isa.instruction_t)
        row["op"], row["value"], row["target"] = op, value, target
        if register:
            row["register"][0] = register.number
        self.rows.append(row)

    def _vector(
        self,
        op: int,
        *operands: Operand,
        length: int | Register | None = None,
        thread: int = 0,
        then: "Task | None" = None,
        advance: str = "",
        dtype: Any = None,
        wide: bool = False,
    ) -> None:
        dtype = np.dtype("f2") if wide else self._dtype(op, operands, dtype)
        row = np.zeros((), isa.instruction_t)
        row["op"], row["thread"] = op, thread
        row["type"] = isa.WIDE if wide else isa.type_of(dtype)
        row["then"] = then.number if then else isa.NONE
        row["switch"] = {"": isa.KEEP, "own": 1, "all": 2}[advance]
        row["length_register"] = isa.NONE
        if isinstance(length, Register):
            row["length_register"] = length.number
        else:
            row["length"] = self._length(op, operands, length)
        for k, operand in enumerate(operands):
            self._operand(row, k, operand, dtype)
        self._count_accesses(op, row)
        if (
            row["kind"][1] == isa.FABRIC
            and operands[1] == operands[-1]
            and op > isa.MOV
        ):
            raise self._wrong(op, "the same stream twice: a wavelet is read once")
        self.rows.append(row)

    def _check_wide(self, *operands: Operand) -> None:
        for operand, dtype in zip(operands, ("f4", "f2", "f2"), strict=True):
            array = operand.array if isinstance(operand, View) else operand
            is_other = isinstance(array, Array) and array.dtype != dtype
            if is_other or isinstance(operand, Stream):
                raise self._wrong(
                    isa.MAC, "wide_mac adds products of float16 in memory to float32"
                )

    def _dtype(self, op: int, operands: tuple[Operand, ...], dtype: Any) -> np.dtype:
        views = [x.array if isinstance(x, View) else x for x in operands]
        found = {x.dtype for x in views if isinstance(x, Array)}
        if len(found | ({np.dtype(dtype)} if dtype else set())) > 1:
            names = " and ".join(sorted(str(x) for x in found))
            raise self._wrong(op, f"operands of several dtypes: {names or dtype}")
        return found.pop() if found else np.dtype(dtype or np.float32)

    def _length(
        self, op: int, operands: tuple[Operand, ...], length: int | None
    ) -> int:
        sized = [x.length for x in operands if isinstance(x, Array | View | Stream)]
        told = {x for x in [*sized, length] if x is not None}
        if len(told) == 1:
            return told.pop()
        if told:
            raise self._wrong(op, f"operands of lengths {sorted(told)}, not of one")
        if any(isinstance(x, Stream) for x in operands):
            raise self._wrong(op, "no operand has a length: give length=")
        return 1

    def _operand(self, row: Any, k: int, operand: Operand, dtype: np.dtype) -> None:
        row["register"][k] = isa.NONE
        if isinstance(operand, Array):
            operand = operand.every()
        if isinstance(operand, View):
            array = operand.array
            row["kind"][k], row["stride"][k] = isa.MEMORY, operand.stride
            row["start"][k] = array.offset + operand.start
            row["low"][k], row["high"][k] = array.offset, array.offset + array.length
            if operand.register:
                row["register"][k] = operand.register.number
        elif isinstance(operand, Stream):
            row["kind"][k] = isa.FABRIC
            row["start"][k] = self._program.endpoint(operand, outward=k == 0)
        elif isinstance(operand, Register):
            row["kind"][k], row["register"][k] = isa.REGISTER, operand.number
        elif k:
            row["kind"][k] = isa.CONSTANT
            row["start"][k] = isa.bits_of(operand, dtype)
        else:
            raise self._wrong(int(row["op"]), f"{operand} as a destination")

    def _count_accesses(self, op: int, row: Any) -> None:
        """A memory of two reads a cycle cannot serve an instruction of three."""
        row["writes"] = row["kind"][0] == isa.MEMORY
        row["reads"] = int((row["kind"][1:] == isa.MEMORY).sum())
        row["reads"] += op == isa.MAC and bool(row["writes"])
        if row["reads"] > 2:
            raise self._wrong(op, "three reads of memory, of two: use a register")

    def _wrong(self, op: int, what: str) -> FabricError:
        return FabricError(f"{self._place()}: {isa.NAMES[op]}: {what}")

    def _place(self) -> str:
        number = len(self.rows)
        return f"program {self._program.name!r}, task {self.name!r}, step {number}"


class Program:
    """What a PE runs; place it on a rectangle with `Layout.place`."""

    def __init__(self, name: str):
        self.name = name
        self.tasks: list[Task] = []
        self.started: list[Task] = []
        # (color, outward), in the order that gives them the PE's queues
        self.endpoints: list[tuple[int, bool]] = []
        self.triggers: dict[int, int] = {}
        self.registers = 0
        self.free_counters: list[Register] = []  # of loops that have ended

    def task(self, name: str = "main", start: bool = False) -> Task:
        """A new task; with `start` it is activated before the first cycle."""
        made = Task(self, name, len(self.tasks))
        self.tasks.append(made)
        if start:
            self.started.append(made)
        return made

    def on_wavelet(self, color: int, name: str = "data") -> tuple[Task, Register]:
        """A task that each wavelet of `color` activates, and where the wavelet is.

        Taking it from the queue is the task's first cycle.
        """
        made, argument = self.task(name), self.register()
        made.mov(argument, Stream(color, outward=False), length=1)
        self.triggers[made.number] = self.endpoint(
            Stream(color, outward=False), outward=False
        )
        return made, argument

    def register(self) -> Register:
        """A register that nothing else in the program uses; 0 at the beginning."""
        self.registers += 1
        return Register(self.registers - 1)

    def endpoint(self, stream: Stream, outward: bool) -> int:
        """The number of a stream's queue in this program."""
        if stream.outward != outward:
            raise FabricError(
                f"program {self.name!r}: send() is a destination, receive() a source "
                f"(color {stream.color})"
            )
        key = (stream.color, stream.outward)
        if key not in self.endpoints:
            self.endpoints.append(key)
        return self.endpoints.index(key)
