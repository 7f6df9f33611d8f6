"""Who sleeps is woken in time: random programs take the cycles, and do what they do, on
a machine on which every PE and every router is looked at in every cycle.
"""

from contextlib import suppress
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from wafer_runtime.errors import DeadlockError
from wafer_runtime.simulator import engine, state
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.simulator.memory import receive, send
from wafer_runtime.simulator.program import Program

WIDTH, HEIGHT = 4, 3
EVERY = slice(None)
STEPS = {"E": (1, 0), "W": (-1, 0), "S": (0, 1), "N": (0, -1)}
BACK = {"E": "W", "W": "E", "S": "N", "N": "S"}
PLACES = [(x, y) for x in range(WIDTH) for y in range(HEIGHT)]


def route_tree(layout, color, random):
    """A tree of routers, with switches; those that send into it, and that read."""
    root = random.choice(PLACES)
    came, onward, places = {root: ""}, {root: ""}, [root]
    for _ in range(random.randint(2, 8)):
        at, port = random.choice(places), random.choice("EWSN")
        to = at[0] + STEPS[port][0], at[1] + STEPS[port][1]
        if to in PLACES and to not in came:
            onward[at] += port
            came[to], onward[to] = BACK[port], ""
            places.append(to)
    inner = [at for at in places if onward[at]]
    senders = [at for at in inner if at == root or random.random() < 0.2]
    readers = [at for at in places[1:] if not onward[at] or random.random() < 0.4]
    for at in places:
        to = onward[at] + "R" * (at in readers)
        own, other = f"R->{to}", f"{came[at]}->{to}"
        both = f"R{came[at]}->{to}"
        if at not in senders:
            positions = [other] if came[at] else []
        elif at == root:
            positions = [own]
        else:
            later = f"{came[at]}->{to[0]}"
            positions = random.choice([[own, other], [both], [both, later]])
        if positions:
            layout.route(color, *positions, x=at[0], y=at[1])
    return senders, readers


def write_job(task, random, thread, name, *operands, **keywords):
    """An instruction, now and then late, or in a microthread."""
    if random.random() < 0.4:
        with task.repeat(random.randint(1, 12)):
            task.mov(task.program.register(), 1.0)
    if random.random() < 0.6:
        keywords["thread"] = thread
    getattr(task, name)(*operands, **keywords)


def random_fabric(random):
    """Arrays `x`, which is sent, and `y`, to which is added what comes."""
    config = FabricConfig(ramp_latency_cycles=random.randint(1, 4))
    layout = Layout(WIDTH, HEIGHT, config)
    x, y = layout.array("x", 24, "int32"), layout.array("y", 24, "int32")
    programs = {at: Program(f"at {at}") for at in PLACES}
    tasks = {at: programs[at].task(start=True) for at in PLACES}
    for color in range(random.randint(1, 4)):
        thread, length = 2 * color + 1, random.randint(1, 24)
        senders, readers = route_tree(layout, color, random)
        for at in senders:
            operands = send(color), x[:length]
            advance = random.choice(["", "own", "all"])
            write_job(tasks[at], random, thread, "mov", *operands, advance=advance)
        for at in readers:
            if random.random() < 0.3:
                data, value = programs[at].on_wavelet(color)
                data.add(y[0], y[0], value)
            else:
                to = y[:length]
                write_job(tasks[at], random, thread + 1, "add", to, to, receive(color))
    for (at_x, at_y), program in programs.items():
        layout.place(program, x=at_x, y=at_y)
    fabric = Fabric(layout)
    fabric.write(x, np.arange(24), x=EVERY, y=EVERY)
    return fabric, y


def look_at_all(machine):
    """Wake all PEs, and have all queues of routers looked at in this cycle."""
    clock, queues, pes = machine.clock, machine.queues, machine.pes
    slot = clock[state.CYCLE] % machine.due.size
    asleep = (queues["scheduled"] == 0) & (queues["count"] > 0) & (queues["route"] >= 0)
    for q in np.flatnonzero(asleep):
        queues["scheduled"][q] = 1
        machine.wheel[slot, machine.due[slot]] = q
        machine.due[slot] += 1
        clock[state.SCHEDULED] += 1
    for p in np.flatnonzero(pes["awake"] == 0):
        pes["awake"][p] = 1
        machine.awake[clock[state.AWAKE]] = p
        clock[state.AWAKE] += 1


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nobody_sleeps_too_long(seed):
    (fabric, y), (restless, _) = (random_fabric(Random(seed)) for _ in range(2))
    with suppress(DeadlockError):
        fabric.run()
    machine, other = fabric._machine, restless._machine
    while other.clock[state.CYCLE] < machine.clock[state.CYCLE] + 10:
        look_at_all(other)
        engine.run(other, other.clock[state.CYCLE] + 1)
    assert (fabric.read(y, EVERY, EVERY) == restless.read(y, EVERY, EVERY)).all()
    assert (machine.clock[state.LAST_STEP :] == other.clock[state.LAST_STEP :]).all()
    held = machine.queues["count"].sum()
    sent = machine.clock[state.SENT] + machine.clock[state.COPIED]
    assert sent == machine.clock[state.RECEIVED] + held
