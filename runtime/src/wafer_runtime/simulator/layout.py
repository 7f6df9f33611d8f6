"""Where routes lead and programs run: the grid before it is switched on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wafer_runtime.errors import FabricError
from wafer_runtime.simulator.machine import PORTS, FabricConfig, indices
from wafer_runtime.simulator.memory import Array, Memory
from wafer_runtime.simulator.program import Program

Where = int | slice


@dataclass
class Routes:
    """The routes of a color: port masks [position, y, x], positions used [y, x]."""

    rx: NDArray[np.uint8]
    tx: NDArray[np.uint8]
    positions: NDArray[np.uint8]


class Layout:
    """A rectangle of `width` x `height` PEs; x grows eastward, y southward."""

    def __init__(self, width: int, height: int, config: FabricConfig | None = None):
        if width < 1 or height < 1:
            raise FabricError(f"a fabric of {width} x {height} PEs: at least 1 x 1")
        self.width = width
        self.height = height
        self.config = config or FabricConfig()
        self.memory = Memory(self.config.memory_bytes)
        self.routes: dict[int, Routes] = {}
        self.programs: list[Program] = []
        self.placed: NDArray[np.int32] = np.full((height, width), -1, np.int32)

    def array(self, name: str, length: int, dtype: DTypeLike = "float32") -> Array:
        """An array of float32, float16 or int32 in every PE, all zeros at first."""
        return self.memory.array(name, length, np.dtype(dtype))

    def route(self, color: int, *positions: str, x: Where = 0, y: Where = 0) -> None:
        """Lead `color` through the routers of a rectangle: `route(red, "W->ER")`.

        A position is the ports that wavelets come from and those that each goes to: N,
        E, S, W and the ramp R. Several are those of a switch, which `advance=` moves
        on, up to the last: `route(red, "R->W", "E->W")`. A color has one route in a
        router: another is a FabricError.
        """
        self._check_color(color)
        limit = self.config.switch_positions
        if not 1 <= len(positions) <= limit:
            raise FabricError(f"{len(positions)} switch positions: 1 to {limit}")
        masks = [_masks(position) for position in positions]
        place = self._rectangle(x, y)
        routes = self.routes.setdefault(color, self.no_routes())
        if np.any(routes.positions[place]):
            at_y, at_x = np.argwhere(routes.positions[place])[0]
            raise FabricError(
                f"color {color} is used twice at PE ({place[1].start + at_x}, "
                f"{place[0].start + at_y}): it has a route there; use another color, "
                "or positions of one switch"
            )
        routes.positions[place] = len(positions)
        for k, (rx, tx) in enumerate(masks):
            routes.rx[k][place], routes.tx[k][place] = rx, tx

    def place(self, program: Program, x: Where = 0, y: Where = 0) -> None:
        """Let the PEs of a rectangle run `program`; a PE runs one program."""
        where = np.zeros(self.placed.shape, bool)
        where[self._rectangle(x, y)] = True
        self.place_where(program, where)

    def place_where(self, program: Program, where: NDArray[np.bool_]) -> None:
        """Let all PEs run `program` for which `where` [y, x] is true."""
        taken = np.argwhere(where & (self.placed >= 0))
        if taken.size:
            at_y, at_x = taken[0]
            raise FabricError(
                f"program {program.name!r} is placed on PE ({at_x}, {at_y}), which "
                f"runs {self.programs[self.placed[at_y, at_x]].name!r}"
            )
        if program not in self.programs:
            self.programs.append(program)
        self.placed[where] = self.programs.index(program)

    def no_routes(self) -> Routes:
        """The routes of a color that leads nowhere."""
        shape = (self.height, self.width)
        masks = np.zeros((2, self.config.switch_positions, *shape), np.uint8)
        return Routes(masks[0], masks[1], np.zeros(shape, np.uint8))

    def _rectangle(self, x: Where, y: Where) -> tuple[slice, slice]:
        return indices(y, self.height, "y"), indices(x, self.width, "x")

    def _check_color(self, color: int) -> None:
        if color not in range(self.config.colors):
            raise FabricError(
                f"color {color!r}: the routers have 0 to {self.config.colors - 1}"
            )

    def check(self, program: Program) -> None:
        """FabricError when a program needs what no PE of this layout has."""
        config = self.config
        for color, _ in program.endpoints:
            self._check_color(color)
        foreign = program.arrays.difference(self.memory.arrays)
        if foreign:
            names = ", ".join(sorted(array.name for array in foreign))
            raise FabricError(
                f"program {program.name!r} uses arrays of another layout: {names}"
            )
        outward = sum(out for _, out in program.endpoints)
        threads = max(
            (int(r["thread"]) for t in program.tasks for r in t.rows), default=0
        )
        for used, limit, what in (
            (outward, len(config.output_queue_depths), "colors sent (output queues)"),
            (
                len(program.endpoints) - outward,
                len(config.input_queue_depths),
                "colors received (input queues)",
            ),
            (threads, config.microthreads, "microthreads"),
            (program.registers, config.registers, "registers"),
            (len(program.tasks), 32, "tasks"),
        ):
            if used > limit:
                raise FabricError(
                    f"program {program.name!r}: {used} {what}, a PE has {limit}"
                )


def _masks(position: str) -> tuple[int, int]:
    """The masks of the ports in "FROM->TO"."""
    parts = position.split("->") if isinstance(position, str) else []
    if len(parts) != 2 or not all(map(_are_ports, parts)):
        raise FabricError(
            f'route {position!r}: it is "FROM->TO", ports of {PORTS} on both sides, '
            'each once; a switch has several: route(0, "R->W", "E->W")'
        )
    first, second = (sum(1 << PORTS.index(p) for p in part) for part in parts)
    return first, second


def _are_ports(part: str) -> bool:
    return 0 < len(part) == len(set(part) & set(PORTS))
