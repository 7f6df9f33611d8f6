"""Run a layout: put values into memories, run the clock, take values out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wafer_runtime.errors import DeadlockError, FabricError
from wafer_runtime.simulator import diagnosis, engine, state
from wafer_runtime.simulator.layout import Layout, Where
from wafer_runtime.simulator.linking import link
from wafer_runtime.simulator.loops import loop_of
from wafer_runtime.simulator.machine import indices
from wafer_runtime.simulator.memory import Array

# Cycles between two looks at the keyboard: Ctrl-C does not reach compiled loops.
_SLICE_CYCLES = 1 << 10
# A hundredth of a second of a WSE-2, and seconds to minutes here.
_MOST_CYCLES = 10_000_000


@dataclass(frozen=True)
class Run:
    """What a run took: cycles up to the last step of a PE, and wavelets.

    `sent` by PEs and `copied` by multicasts, together, are those `received` by PEs;
    `hops` are traversals of links between routers, `steps` those of PEs' threads.
    """

    cycles: int
    sent: int
    copied: int
    received: int
    hops: int
    steps: int


class Fabric:
    """The PEs and routers of a layout, switched on.

    FabricError when a program does not fit into a PE, or a route leads in a circle.
    """

    def __init__(self, layout: Layout):
        self._layout = layout
        self._machine = link(layout)
        loop = loop_of(self._machine)
        if loop != state.NONE:
            raise FabricError(diagnosis.of_loop(layout, self._machine, loop))
        self._arrays = set(layout.memory.arrays)
        self._has_run = False

    def write(
        self, array: Array, values: ArrayLike, x: Where = 0, y: Where = 0
    ) -> None:
        """Set an array in a rectangle of PEs; `values` broadcast to [y, x, length].

        FabricError when they do not, or when the array or a PE is not of this fabric.
        """
        elements = self._elements(array, x, y)
        shape = np.shape(values)
        fits = len(shape) <= 3 and all(
            size in (1, wanted)
            for size, wanted in zip(shape[::-1], elements.shape[::-1], strict=False)
        )
        if not fits:
            raise FabricError(
                f"write to array {array.name!r}: values of shape {list(shape)} do not "
                f"broadcast to [y, x, length] = {list(elements.shape)}"
            )
        elements[...] = values

    def read(self, array: Array, x: Where = 0, y: Where = 0) -> NDArray[np.generic]:
        """A copy of an array in a rectangle of PEs: [y, x, length]."""
        return self._elements(array, x, y).copy()

    def run(self, max_cycles: int = _MOST_CYCLES) -> Run:
        """Run until nothing moves; a fabric runs once.

        FabricError when a PE or router cannot go on, when something still moves after
        `max_cycles`, and when the fabric has run before; DeadlockError when something
        still waits although nothing moves.
        """
        if self._has_run:
            raise FabricError(
                "this fabric has run, and its programs have ended: make another, with "
                "Fabric(layout), and write its arrays"
            )
        self._has_run = True
        machine, clock = self._machine, self._machine.clock
        while clock[state.AWAKE] or clock[state.SCHEDULED]:
            if clock[state.CYCLE] >= max_cycles:
                raise FabricError(diagnosis.of_limit(self._layout, machine))
            engine.run(machine, min(clock[state.CYCLE] + _SLICE_CYCLES, max_cycles))
            if machine.fault[state.CODE]:
                raise FabricError(diagnosis.of_fault(self._layout, machine))
        waits = diagnosis.of_waits(self._layout, machine)
        if waits:
            raise DeadlockError(waits)
        return Run(
            cycles=int(clock[state.LAST_STEP]) + 1,
            sent=int(clock[state.SENT]),
            copied=int(clock[state.COPIED]),
            received=int(clock[state.RECEIVED]),
            hops=int(clock[state.HOPS]),
            steps=int(clock[state.STEPS]),
        )

    def _elements(self, array: Array, x: Where, y: Where) -> NDArray[np.generic]:
        layout = self._layout
        if array not in self._arrays:
            raise FabricError(f"array {array.name!r} is not of this fabric's layout")
        memory = self._machine.words32.view(array.dtype)
        grid = memory.reshape(layout.height, layout.width, -1)
        rows, columns = indices(y, layout.height, "y"), indices(x, layout.width, "x")
        return grid[rows, columns, array.offset : array.offset + array.length]
