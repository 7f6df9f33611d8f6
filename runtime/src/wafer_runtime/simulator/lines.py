"""What collectives are written on: rows and columns of PEs that play roles in turn."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.program import Program, Task

Writer = Callable[[Program, Task], None]


@dataclass
class Phases:
    """The phases that PEs go through, one after another, each in its role.

    PEs with the same roles in all phases share a program. `first_color` and those after
    it are given out to the phases.
    """

    layout: Layout
    first_color: int = 0
    _roles: list[NDArray[np.int32]] = field(default_factory=list)
    _writers: list[list[Writer]] = field(default_factory=list)

    def colors(self, count: int) -> range:
        """That many colors which no other phase uses."""
        self.first_color += count
        return range(self.first_color - count, self.first_color)

    def add(self) -> "Phase":
        """A further phase, in which as yet nobody does anything."""
        shape = (self.layout.height, self.layout.width)
        self._roles.append(np.full(shape, -1, np.int32))
        self._writers.append([])
        return Phase(self._roles[-1], self._writers[-1])

    def place(self) -> None:
        """Write the programs and place them."""
        roles = np.stack([r.ravel() for r in self._roles], axis=1)
        kinds, kind_of = np.unique(roles, axis=0, return_inverse=True)
        shape = (self.layout.height, self.layout.width)
        for k, kind in enumerate(kinds):
            program = Program("roles " + ", ".join(str(role) for role in kind))
            task = program.task(start=True)
            for phase, role in enumerate(kind):
                if role >= 0:
                    self._writers[phase][role](program, task)
            if task.rows:
                self.layout.place_where(program, (kind_of == k).reshape(shape))


@dataclass
class Phase:
    """Who plays which role: its number [y, x], -1 for none."""

    roles: NDArray[np.int32]
    writers: list[Writer]

    def role(self, write: Writer) -> int:
        """A new role: `write` appends its instructions to a task."""
        self.writers.append(write)
        return len(self.writers) - 1


@dataclass(frozen=True)
class Line:
    """Rows (axis "x") or columns ("y") of a rectangle at the origin, side by side.

    `length` PEs in each, `across` of them; index 0 is the root, at the west or north.
    Routes use T for the port towards the root and A for the one away from it.
    """

    phases: Phases
    axis: str
    length: int
    across: int

    def route(self, color: int, *positions: str, at: int | slice) -> None:
        """`Layout.route` at an index, or a slice of indices, of every line."""
        ports = str.maketrans("TA", "WE" if self.axis == "x" else "NS")
        turned = [position.translate(ports) for position in positions]
        along, across = self.axis, "y" if self.axis == "x" else "x"
        where: dict[str, int | slice] = {along: at, across: slice(0, self.across)}
        self.phases.layout.route(color, *turned, x=where["x"], y=where["y"])

    def assign(self, phase: Phase, at: int | slice, write: Writer) -> None:
        """Give a role to an index, or a slice of indices, of every line."""
        role, across = phase.role(write), slice(0, self.across)
        phase.roles[(across, at) if self.axis == "x" else (at, across)] = role
