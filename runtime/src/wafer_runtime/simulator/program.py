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
from wafer_runtime.simulator.encoding import Operand, encode
from wafer_runtime.simulator.memory import Array, Register, Stream


class Task:
    """A list of instructions, written by calling the methods in order.

    Operands are arrays, views of them, streams, registers and numbers. A register holds
    32 bits of whatever dtype the instruction has: counters and offsets are int32, which
    `set` and `rotate` give, and `mov` with dtype="int32". Keywords of the vector
    instructions: `thread=k` runs it in microthread k (from 1), beside the task;
    `then=task` is activated when it is done; `length`, a number or a register, where no
    operand has one; `advance="own"` lets the last wavelet sent move the color's switch
    in the PE's own router, `"all"` in every router that it leaves; `dtype` where no
    operand is an array (float32).
    """

    def __init__(self, program: "Program", name: str, number: int):
        self.name = name
        self.number = number
        self.rows: list[np.ndarray] = []
        self.program = program

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
        self._vector(isa.MAC, to, a, b, mixed=isa.WIDE, **keywords)

    def narrow(self, to: Operand, source: Operand, **keywords: Any) -> None:
        """to = source, for a source in float32 and to in float16."""
        self._vector(isa.MOV, to, source, mixed=isa.NARROW, **keywords)

    def activate(self, task: "Task") -> None:
        """Let `task` run, once, after this one."""
        self._control(isa.ACTIVATE, task=task)

    def block(self, task: "Task") -> None:
        """Keep `task` from running until it is unblocked; it stays activated."""
        self._control(isa.BLOCK, task=task)

    def unblock(self, task: "Task") -> None:
        """End the effect of `block`."""
        self._control(isa.UNBLOCK, task=task)

    def set(self, register: Register, value: int) -> None:
        """Set a register to a whole number."""
        self._control(isa.SET, register, value)

    def rotate(self, register: Register, step: int, modulus: int) -> None:
        """register = (register + step) mod modulus: a walk round an array."""
        if modulus < 1:
            raise self._wrong(f"rotate: modulus {modulus}: at least 1")
        self._control(isa.ROTATE, register, step, modulus)

    @contextmanager
    def repeat(self, times: int) -> Iterator[None]:
        """Run the instructions of the `with` block `times` (at least 1) times."""
        if times < 1:
            raise self._wrong(f"repeat {times} times: at least once")
        free = self.program.free_counters
        counter = free.pop() if free else self.program.register()
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
        self,
        op: int,
        register: Register | None = None,
        value: int = 0,
        target: int = 0,
        task: "Task | None" = None,
    ) -> None:
        row = np.zeros((), isa.instruction_t)
        try:
            row["op"], row["target"] = op, isa.bits_of(target, np.int32)
            row["value"] = isa.bits_of(value, np.int32)
            if task:
                row["value"] = self.program.number_of(task)
            if register:
                row["register"][0] = self.program.owned(register).number
        except FabricError as error:
            raise self._wrong(str(error)) from None
        self.rows.append(row)

    def _vector(self, op: int, *operands: Operand, **keywords: Any) -> None:
        try:
            self.rows.append(encode(self.program, op, operands, **keywords))
        except FabricError as error:
            raise self._wrong(f"{isa.NAMES[op]}: {error}") from None

    def _wrong(self, what: str) -> FabricError:
        place = f"program {self.program.name!r}, task {self.name!r}"
        return FabricError(f"{place}, instruction {len(self.rows)}: {what}")


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
        self.arrays: set[Array] = set()
        self.free_counters: list[Register] = []  # of loops that have ended

    def task(self, name: str = "main", start: bool = False) -> Task:
        """A new task; with `start` it is activated before the first cycle."""
        made = Task(self, name, len(self.tasks))
        self.tasks.append(made)
        if start:
            self.started.append(made)
        return made

    def on_wavelet(self, color: int, name: str = "data") -> tuple[Task, Register]:
        """A task that each wavelet of `color` activates, and the register it is in:
        `task, value = program.on_wavelet(red)`.

        Taking it from the queue is the task's first cycle.
        """
        stream = Stream(color, outward=False)
        number = self.endpoint(stream, outward=False)
        if number in self.triggers.values():
            raise FabricError(
                f"program {self.name!r}: color {color} is used twice: its wavelets "
                "activate a task already"
            )
        made, argument = self.task(name), self.register()
        made.mov(argument, stream, length=1)
        self.triggers[made.number] = number
        return made, argument

    def register(self) -> Register:
        """A register that nothing else in the program uses; 0 at the beginning."""
        self.registers += 1
        return Register(self.registers - 1, self)

    def owned(self, register: Register) -> Register:
        """The same, if it is one of this program's; else a FabricError."""
        if register.owner is not self:
            raise FabricError(f"a register of another program: {register.owner}")
        return register

    def number_of(self, task: Task) -> int:
        """The number of one of this program's tasks; else a FabricError."""
        if task.program is not self:
            raise FabricError(f"task {task.name!r} of another program: {task.program}")
        return task.number

    def __repr__(self) -> str:
        return f"Program({self.name!r})"

    def endpoint(self, stream: Stream, outward: bool) -> int:
        """The number of a stream's queue in this program."""
        if stream.outward != outward:
            raise FabricError(
                f"send() is a destination, receive() a source (color {stream.color})"
            )
        key = (stream.color, stream.outward)
        if key not in self.endpoints:
            self.endpoints.append(key)
        return self.endpoints.index(key)
