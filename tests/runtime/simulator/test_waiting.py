"""Who waits for room, for a link or for a turn goes on as soon as it can."""

import numpy as np
import pytest
from fabric_programs import program_of, sender
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.memory import receive, send
from wafer_runtime.simulator.program import Program

EVERY = slice(None)


def test_a_copy_that_lost_its_link_does_not_wait_for_the_room_of_another_copy():
    """PE (1, 0) has to get all of color 0 before PE (2, 0) takes any of it.

    The last wavelet finds no room to the east, and the ramp taken by color 1.
    """
    layout = Layout(3, 2)
    x, y = layout.array("x", 7), layout.array("y", 7)
    other, go = layout.array("other", 100), layout.array("go", 1)
    layout.route(0, "R->E", x=0)
    layout.route(0, "W->ER", x=1)
    layout.route(0, "W->R", x=2)
    layout.route(1, "R->N", x=1, y=1)
    layout.route(1, "S->R", x=1)
    layout.route(2, "R->E", x=1)
    layout.route(2, "W->R", x=2)
    layout.place(sender(0, x), x=0)
    layout.place(sender(1, other), x=1, y=1)

    def middle(_, task):
        task.mov(other, receive(1), thread=1)
        task.mov(y, receive(0))
        task.mov(send(2), go)

    def last(_, task):
        task.mov(go, receive(2))
        task.mov(y, receive(0))

    layout.place(program_of("middle", middle), x=1)
    layout.place(program_of("last", last), x=2)
    fabric = Fabric(layout)
    fabric.write(x, np.arange(7), x=0)
    fabric.run()
    assert (fabric.read(y, x=slice(1, 3)) == np.arange(7)).all()


def slow_reader(color, array, pause):
    """Takes a wavelet of the color every six cycles."""
    program = Program("slow")
    data, value = program.on_wavelet(color)
    at = program.register()
    data.mov(array[0:1].shifted(at), value)
    data.rotate(at, 1, 1 << 20)
    with data.repeat(4):
        data.mov(pause, 1.0)
    return program


def switched(own, other):
    """Two PEs send north through a slow reader; the rest of one is then led south."""
    layout = Layout(2, 3)
    x, y = layout.array("x", 100), layout.array("y", 100)
    pause = layout.array("pause", 1)
    layout.route(0, "RE->N", "E->S", x=0, y=1)
    layout.route(0, "R->W", x=1, y=1)
    layout.route(0, "S->R", x=0, y=0)
    layout.route(0, "N->R", x=0, y=2)
    layout.place(sender(0, x[:own], advance="own"), x=0, y=1)
    layout.place(sender(0, x[:other]), x=1, y=1)
    layout.place(slow_reader(0, y, pause), x=0, y=0)
    layout.place(slow_reader(0, y, pause), x=0, y=2)
    fabric = Fabric(layout)
    fabric.write(x, np.arange(1, 101), x=0, y=1)
    fabric.write(x, -np.arange(1, 101), x=1, y=1)
    run = fabric.run()
    assert run.sent == run.received == own + other
    north, south = fabric.read(y, y=0)[0, 0], fabric.read(y, y=2)[0, 0]
    assert north[north > 0].tolist() == list(range(1, own + 1))
    found = np.concatenate([north[north < 0], south[south < 0]])
    assert found.tolist() == [-k for k in range(1, other + 1)]


@pytest.mark.parametrize("other", [18, 21, 60])
def test_what_waited_for_room_and_is_led_elsewhere_by_a_switch(other):
    switched(20, other)


def test_threads_take_turns_at_the_arithmetic_unit():
    """Of two sums beside a copy, one is as far as the other when that is done."""
    layout = Layout(1, 1)
    found = layout.array("found", 1)
    program = Program("turns")
    first, second, copy = (program.register() for _ in range(3))
    done, task = program.task("done"), program.task(start=True)
    done.mov(found, second)
    task.add(first, first, 1.0, thread=1, length=100, then=done)
    task.add(second, second, 1.0, thread=2, length=100)
    task.mov(copy, 1.0, thread=3, length=1000)
    layout.place(program)
    fabric = Fabric(layout)
    fabric.run()
    assert fabric.read(found)[0, 0, 0] in (99, 100)
