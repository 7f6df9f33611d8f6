"""What went wrong in a run, in words: places, colors, cycles."""

from typing import Any

import numpy as np

from wafer_runtime.simulator import isa, state
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.machine import PORTS, RAMP
from wafer_runtime.simulator.state import Machine

_MOST_TOLD = 8
_NAMES = {"N": "north", "E": "east", "S": "south", "W": "west", "R": "ramp"}


def of_fault(layout: Layout, machine: Machine) -> str:
    """The message for what stopped the run."""
    fault = machine.fault
    code, p, color = (int(fault[k]) for k in (state.CODE, state.WHERE, state.COLOR))
    detail, cycle = int(fault[state.DETAIL]), int(machine.clock[state.CYCLE])
    where = f"cycle {cycle}, PE {_at(layout, p)}"
    if code == state.NO_ROUTE and color != state.NONE:
        return f"{where}: {_nowhere(layout, machine, p, color, detail)}"
    if code == state.ENDLESS:
        return f"{where}: its tasks run on and on without a vector instruction"
    row = int(fault[state.ROW])
    instruction = f"{where}: {_instruction(layout, machine, p, row)}"
    if code == state.NO_ROUTE:
        color = _program(layout, machine, p).endpoints[detail][0]
        return (
            f"{instruction} sends color {color} where no route leads: its router takes "
            'none from the ramp (route "R->...")'
        )
    if code == state.COLOR_TWICE:
        return (
            f"{instruction}: color {color} is used twice, another thread of the PE "
            "uses it in the same direction; use another color, or wait for that thread"
        )
    if code == state.OTHER_ITEMS:
        item = int(machine.code[row]["item"])
        return (
            f"{instruction} takes elements of {item} bytes, but a wavelet of color "
            f"{color} came from an instruction with elements of {detail}: one of 4 or "
            "two of 2 travel in a wavelet; send and receive it in the same dtype "
            "(dtype= where no operand is an array)"
        )
    if code == state.DIVISION:
        return f"{instruction} divides a whole number by 0, in element {detail}"
    if code == state.NEGATIVE_LENGTH:
        return f"{instruction} has a length of {detail}, from a register: at least 0"
    size = int(machine.code[row]["high"][color] - machine.code[row]["low"][color])
    name = _array_name(layout, machine, row, color)
    return f"{instruction} accesses element {detail} of {name}, which has {size}"


def _nowhere(layout: Layout, machine: Machine, p: int, color: int, port: int) -> str:
    """Why a wavelet cannot leave the router of PE p by a port."""
    if port != RAMP:
        return (
            f"a wavelet of color {color} is sent {_NAMES[PORTS[port]]}, where no route "
            "takes it: lead it on there, or end its route here"
        )
    who = "the PE runs no program that receives"
    if machine.pes[p]["program"] != state.NONE:
        name = _program(layout, machine, p).name
        who = f"the PE's program {name!r} does not receive"
    return (
        f"a wavelet of color {color} comes up the ramp, but {who} that color: "
        f"write receive({color}) or on_wavelet({color}), or lead it elsewhere"
    )


def of_loop(layout: Layout, machine: Machine, q: int) -> str:
    """The message for routes that lead in a circle through queue q."""
    queue = machine.queues[q]
    where, port = _at(layout, int(queue["pe"])), _NAMES[PORTS[queue["port"]]]
    return (
        f"color {queue['color']} is led in a circle, from PE {where} back into it from "
        f"the {port}: its wavelets would never leave; end the route at a ramp"
    )


def of_limit(layout: Layout, machine: Machine) -> str:
    """What still runs after the last cycle that a run may have."""
    awake = machine.awake[: machine.clock[state.AWAKE]]
    runs = [_running(layout, machine, int(p)) for p in np.sort(awake)[:_MOST_TOLD]]
    if awake.size > len(runs):
        runs.append(f"and {awake.size - len(runs)} more PEs")
    moving = np.count_nonzero(machine.queues["count"])
    told = (
        f"not at the end after {int(machine.clock[state.CYCLE])} cycles; PEs that run: "
        f"{awake.size}, queues that hold wavelets: {moving}; if a task starts itself "
        "again and again, end it, and if the programs need longer, give "
        "run(max_cycles=...)"
    )
    return "\n  ".join([told, *runs])


def _running(layout: Layout, machine: Machine, p: int) -> str:
    """The instructions that PE p is at, or the task that is between two."""
    rows = [t for t in machine.threads[p] if t["row"] != state.NONE]
    told = [
        f"{_instruction(layout, machine, p, int(t['row']))}, {_done(t)}" for t in rows
    ]
    program, last = _program(layout, machine, p), int(machine.pes[p]["last_task"])
    task = f"program {program.name!r}, task {program.tasks[last].name!r}"
    return f"PE {_at(layout, p)}: {' and '.join(told) or task}"


def of_waits(layout: Layout, machine: Machine) -> str:
    """What waits although nothing moves; empty when all is done."""
    threads = np.argwhere(machine.threads["row"] != state.NONE)
    waits = [_thread(layout, machine, int(p), int(s)) for p, s in threads[:_MOST_TOLD]]
    total = len(threads)
    running = machine.pes["program"] != state.NONE
    stuck = np.flatnonzero(running & (machine.pes["ready"] > 0))
    total += stuck.size
    for p in stuck[:_MOST_TOLD]:
        ready = int(machine.pes[p]["ready"])
        tasks = _program(layout, machine, int(p)).tasks
        names = [t.name for t in tasks if ready >> t.number & 1]
        waits.append(f"PE {_at(layout, int(p))}: activated, but did not run: {names}")
    queues = np.flatnonzero(machine.queues["count"])
    total += queues.size
    waits += [_queue(layout, machine, machine.queues[q]) for q in queues[:_MOST_TOLD]]
    if not waits:
        return ""
    more = f"\n  and {total - len(waits)} more" if total > len(waits) else ""
    cycle = int(machine.clock[state.CYCLE])
    return (
        f"deadlock: nothing moves after cycle {cycle}\n  " + "\n  ".join(waits) + more
    )


def _at(layout: Layout, p: int) -> str:
    return f"({p % layout.width}, {p // layout.width})"


def _program(layout: Layout, machine: Machine, p: int) -> Any:
    return layout.programs[int(machine.pes[p]["program"])]


def _instruction(layout: Layout, machine: Machine, p: int, at: int) -> str:
    """Program, task and instruction of a row of the code."""
    program = _program(layout, machine, p)
    entries = machine.tasks[machine.pes[p]["program"]]["entry"]
    task = max(
        (t for t in program.tasks if entries[t.number] <= at), key=lambda t: t.number
    )
    name = isa.NAMES.get(int(machine.code[at]["op"]), "control")
    number = at - int(entries[task.number])
    return (
        f"program {program.name!r}, task {task.name!r}, instruction {number} ({name})"
    )


def _array_name(layout: Layout, machine: Machine, at: int, k: int) -> str:
    """Of an operand in memory: offsets count elements, wherefore sizes matter too."""
    row = machine.code[at]
    halves = row["type"] in (isa.F16, isa.WIDE if k else isa.NARROW)
    return next(
        f"array {a.name!r}"
        for a in layout.memory.arrays
        if a.offset == row["low"][k] and (a.dtype == np.float16) == halves
    )


def _thread(layout: Layout, machine: Machine, p: int, slot: int) -> str:
    """Which streams a thread waits for."""
    thread = machine.threads[p, slot]
    row = machine.code[thread["row"]]
    waits = []
    for k in range(3):
        if row["kind"][k] != isa.FABRIC:
            continue
        queue = machine.queues[thread["at"][k]]
        if k == 0 and queue["count"] >= queue["capacity"]:
            waits.append(f"room to send color {queue['color']}")
        elif k > 0 and queue["count"] == 0:
            waits.append(f"a wavelet of color {queue['color']}")
    what = _instruction(layout, machine, p, int(thread["row"]))
    told = f"PE {_at(layout, p)}: {what}, {_done(thread)}"
    return f"{told}, waits for {' and '.join(waits)}"


def _done(thread: Any) -> str:
    return f"{thread['done']} of {thread['length']} elements done"


def _queue(layout: Layout, machine: Machine, queue: Any) -> str:
    """What a queue holds, and whether a switch keeps it there."""
    side = "input queue" if queue["route"] == state.NONE else "router"
    port = _NAMES[PORTS[queue["port"]]]
    held = f"{queue['count']} of {queue['capacity']} wavelets of color {queue['color']}"
    told = f"PE {_at(layout, int(queue['pe']))}: {side} holds {held} from the {port}"
    if queue["route"] == state.NONE:
        return told
    route = machine.routes[queue["route"]]
    position = int(route["position"])
    if route["rx"][position] >> queue["port"] & 1:
        return told
    return f"{told}, which its switch does not take in position {position}"
