"""A layout -> the arrays of `state`: queues are numbered and joined along routes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wafer_runtime.simulator import isa, state
from wafer_runtime.simulator.layout import Layout, Routes
from wafer_runtime.simulator.machine import RAMP, FabricConfig
from wafer_runtime.simulator.state import NONE, Machine

# Where port p leads: the step (y, x), and the port it comes in by.
_STEPS = {0: (-1, 0, 2), 1: (0, 1, 3), 2: (1, 0, 0), 3: (0, -1, 1)}
Numbers = NDArray[np.int32]


@dataclass
class _Tables:
    """What is collected color by color, and then joined."""

    endpoints: Numbers  # [PEs, endpoints]
    queues: list[NDArray[Any]] = field(default_factory=list)
    routes: list[NDArray[Any]] = field(default_factory=list)
    n_queues: int = 0
    n_routes: int = 0


def link(layout: Layout) -> Machine:
    """The state before cycle 0: no wavelets, memory all zeros, `start` tasks ready.

    FabricError when a program does not fit into a PE.
    """
    for program in layout.programs:
        layout.check(program)
    width = max((len(p.endpoints) for p in layout.programs), default=0)
    pes = layout.width * layout.height
    tables = _Tables(np.full((pes, max(width, 1)), NONE, np.int32))
    received = {c for p in layout.programs for c, _ in p.endpoints}
    for color in sorted(received | set(layout.routes)):
        _link_color(layout, color, tables)
    queues, routes = _joined_queues(tables, pes)
    code, tasks = _code(layout)
    awake, records = _pes(layout)
    memory = np.zeros((pes, max(-(-layout.memory.used_bytes // 4), 1)), np.uint32)
    registers = max((p.registers for p in layout.programs), default=0)
    slots = layout.config.wheel_slots
    clock = np.zeros(9, np.int64)
    clock[state.AWAKE], clock[state.LAST_STEP] = np.count_nonzero(records["awake"]), -1
    return Machine(
        queues=queues,
        routes=routes,
        links=_unused((pes * 5,), state.link_t, "asked"),
        words=np.zeros(int(queues["capacity"].sum(dtype=np.int64)), state.word_t),
        wheel=np.zeros((slots, queues.size), np.int32),
        due=np.zeros(slots, np.int32),
        moves=np.zeros(pes * 5, np.int64),
        pes=records,
        threads=_unused((pes, code["thread"].max() + 1), state.thread_t, "row"),
        registers=np.zeros((pes, max(registers, 1)), np.int32),
        awake=awake,
        endpoints=tables.endpoints,
        tasks=tasks,
        code=code,
        words32=memory,
        words16=memory.view(np.uint16),
        budget=np.array([layout.config.reads, layout.config.writes]),
        clock=clock,
        fault=np.zeros(5, np.int64),
    )


def _unused(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Records of zeros, but for one field that says that they are not in use."""
    made = np.zeros(shape, dtype)
    made[name] = NONE
    return made


def _joined_queues(tables: _Tables, pes: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """All queues, each with its ring of wavelets, and all routes."""
    queues = _joined(tables.queues, state.queue_t)
    routes = _joined(tables.routes, state.route_t)
    queues["contested"] = _contested(queues, routes, pes)
    queues = _by_pe(queues, routes, tables.endpoints)
    capacity = queues["capacity"].astype(np.int64)
    queues["ring"] = np.cumsum(capacity) - capacity
    return queues, routes


def _joined(parts: list[NDArray[Any]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.concatenate([*parts, np.zeros(0, dtype)])


def _contested(
    queues: NDArray[Any], routes: NDArray[Any], pes: int
) -> NDArray[np.uint8]:
    """Of every queue, the ports that other queues of its router may leave by too."""
    leaving = np.bitwise_or.reduce(routes["tx"], axis=1)[queues["route"]]
    leaving[queues["route"] == NONE] = 0
    found = np.zeros(queues.size, np.uint8)
    for port in range(5):
        uses = (leaving >> port) & 1
        users = np.bincount(queues["pe"], uses, pes)[queues["pe"]]
        found |= np.where((uses > 0) & (users > 1), 1 << port, 0).astype(np.uint8)
    return found


def _by_pe(
    queues: NDArray[Any], routes: NDArray[Any], endpoints: Numbers
) -> NDArray[Any]:
    """The queues in order of PEs, which keeps together what is used together."""
    order = np.argsort(queues["pe"], kind="stable")
    numbers = np.full(order.size + 1, NONE, np.int32)  # the last one is NONE's
    numbers[order] = np.arange(order.size)
    routes["queue"] = numbers[routes["queue"]]
    endpoints[...] = numbers[endpoints]
    sorted_queues = queues[order]
    sorted_queues["dest"] = numbers[sorted_queues["dest"]]
    return sorted_queues


def _link_color(layout: Layout, color: int, tables: _Tables) -> None:
    """Make the queues and routes of one color, and lead them to one another."""
    routes = layout.routes.get(color) or layout.no_routes()
    up = _up_queues(layout, color, tables)
    there = routes.positions > 0
    numbers = _numbered(there, tables.n_routes)
    tables.n_routes += int(there.sum())
    masks = np.bitwise_or.reduce(routes.rx)
    ports = []
    for port in range(5):
        has = (masks >> port) & 1 > 0
        ports.append(_numbered(has, tables.n_queues))
        tables.n_queues += int(has.sum())
    for port in range(5):
        made = _router_queues(layout, color, port, ports, numbers, up)
        tables.queues.append(made)
    _set_endpoints(layout, (color, True), tables, ports[RAMP])
    tables.routes.append(_routes(routes, there, ports))


def _numbered(has: NDArray[np.bool_], first: int) -> Numbers:
    """Consecutive numbers where `has`, NONE elsewhere."""
    return np.where(has, first + np.cumsum(has).reshape(has.shape) - 1, NONE).astype(
        np.int32
    )


def _up_queues(layout: Layout, color: int, tables: _Tables) -> Numbers:
    """Make the queues of PEs that receive `color`; their numbers [y, x]."""
    # The shallow ones first: what waits in a queue has taken links from others.
    depths = sorted(layout.config.input_queue_depths)
    capacity = np.zeros(layout.placed.shape, np.int16)
    for k, program in enumerate(layout.programs):
        inward = [c for c, outward in program.endpoints if not outward]
        if color in inward:
            # The ramp's own registers hold wavelets too.
            depth = depths[inward.index(color)] + layout.config.ramp_latency_cycles
            capacity[layout.placed == k] = depth
    numbers = _numbered(capacity > 0, tables.n_queues)
    pe = np.flatnonzero(capacity)
    made = _new_queues(pe, color, RAMP)
    made["capacity"] = capacity.ravel()[pe]
    made["latency"] = layout.config.ramp_latency_cycles
    tables.n_queues += pe.size
    tables.queues.append(made)
    _set_endpoints(layout, (color, False), tables, numbers)
    return numbers


def _new_queues(pe: NDArray[Any], color: int, port: int) -> NDArray[Any]:
    made = np.zeros(pe.size, state.queue_t)
    made["pe"], made["color"], made["port"] = pe, color, port
    for name in ("route", "waiter", "next_waiter", "dest"):
        made[name] = NONE
    return made


def _router_queues(
    layout: Layout,
    color: int,
    port: int,
    ports: list[Numbers],
    numbers: Numbers,
    up: Numbers,
) -> NDArray[Any]:
    """The queues of a color by which wavelets come into routers by `port`."""
    pe = np.flatnonzero(ports[port] != NONE)
    made = _new_queues(pe, color, port)
    made["route"] = numbers.ravel()[pe]
    made["capacity"] = layout.config.router_depth
    made["latency"] = 1
    if port == RAMP:
        made["latency"] += layout.config.ramp_latency_cycles
        made["capacity"] = _output_depths(layout, color).ravel()[pe]
    for out, (dy, dx, inward) in _STEPS.items():
        made["dest"][:, out] = _shifted(ports[inward], dy, dx).ravel()[pe]
    made["dest"][:, RAMP] = up.ravel()[pe]
    return made


def _shifted(numbers: Numbers, dy: int, dx: int) -> Numbers:
    """At (y, x) what is at (y + dy, x + dx); NONE outside."""
    padded = np.pad(numbers, 1, constant_values=NONE)
    height, width = numbers.shape
    return padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]


def _output_depths(layout: Layout, color: int) -> NDArray[np.int16]:
    depths = sorted(layout.config.output_queue_depths)
    found = np.full(layout.placed.shape, layout.config.router_depth, np.int16)
    for k, program in enumerate(layout.programs):
        outward = [c for c, out in program.endpoints if out]
        if color in outward:
            found[layout.placed == k] = depths[outward.index(color)]
    return found + np.int16(layout.config.ramp_latency_cycles)


def _set_endpoints(
    layout: Layout, key: tuple[int, bool], tables: _Tables, numbers: Numbers
) -> None:
    """Tell PEs the queue of an endpoint of their program."""
    for k, program in enumerate(layout.programs):
        if key in program.endpoints:
            pe = np.flatnonzero(layout.placed == k)
            tables.endpoints[pe, program.endpoints.index(key)] = numbers.ravel()[pe]


def _routes(
    routes: Routes, there: NDArray[np.bool_], ports: list[Numbers]
) -> NDArray[Any]:
    made = np.zeros(int(there.sum()), state.route_t)
    made["positions"] = routes.positions[there]
    for k in range(routes.rx.shape[0]):
        made["rx"][:, k] = routes.rx[k][there]
        made["tx"][:, k] = routes.tx[k][there]
    for port in range(5):
        made["queue"][:, port] = ports[port][there]
    return made


def _code(layout: Layout) -> tuple[NDArray[Any], NDArray[Any]]:
    """All programs' instructions, and where each program's tasks begin."""
    end = np.zeros((), isa.instruction_t)
    end["op"] = isa.END
    most = max((len(p.tasks) for p in layout.programs), default=1)
    tasks = np.zeros((max(len(layout.programs), 1), max(most, 1)), state.task_t)
    tasks["entry"] = tasks["endpoint"] = NONE
    rows: list[NDArray[Any]] = []
    for k, program in enumerate(layout.programs):
        for task in program.tasks:
            tasks[k, task.number]["entry"] = len(rows)
            tasks[k, task.number]["endpoint"] = program.triggers.get(task.number, NONE)
            rows += [*task.rows, end]
    code = np.array(rows or [end], isa.instruction_t)
    code["width"] = _widths(code, layout.config)
    return code, tasks


def _widths(code: NDArray[Any], config: FabricConfig) -> NDArray[Any]:
    """Elements a cycle: two halves or one word of a wavelet, or what memory gives."""
    halves = code["type"] == isa.F16
    to_words = (code["type"] == isa.WIDE) & (code["kind"][:, 0] == isa.MEMORY)
    words = ~halves & ((code["type"] != isa.WIDE) | to_words)
    memory = np.where(words, config.elements_a_cycle(4), config.elements_a_cycle(2))
    fabric = (code["kind"] == isa.FABRIC).any(axis=1)
    return np.where(fabric, np.where(halves, 2, 1), memory)


def _pes(layout: Layout) -> tuple[Numbers, NDArray[Any]]:
    """Who is awake, and the records of all PEs."""
    made = np.zeros(layout.placed.size, state.pe_t)
    placed = layout.placed.ravel()
    made["program"], made["pc"], made["last_task"] = placed, NONE, NONE
    for k, program in enumerate(layout.programs):
        ready = sum(1 << task.number for task in program.started)
        made["ready"][placed == k] = ready
    made["awake"] = made["ready"] > 0
    awake = np.zeros(made.size, np.int32)
    running = np.flatnonzero(made["awake"])
    awake[: running.size] = running
    return awake, made
