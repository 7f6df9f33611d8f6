"""What is refused on the fabric, or waits in vain, is told with its places."""

import pytest
from fabric_programs import message, program_of, receiver, sender
from wafer_runtime.errors import DeadlockError, FabricError
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.simulator.memory import receive, send
from wafer_runtime.simulator.program import Program

EVERY = slice(None)


def fails(layout, *words, error=FabricError):
    with pytest.raises(error) as caught:
        Fabric(layout).run()
    for word in words:
        assert word in str(caught.value)


def test_a_wavelet_sent_where_no_route_leads():
    layout, x = message(3, 4)
    layout.route(5, "R->E", x=0, y=0)
    layout.place(sender(5, x), x=1)
    fails(layout, "PE (1, 0)", "color 5", "no route", "cycle 0")


def test_a_wavelet_that_leaves_the_fabric():
    layout = Layout(3, 1)
    x = layout.array("x", 4)
    layout.route(7, "R->E", x=2)
    layout.place(sender(7, x), x=2)
    fails(layout, "cycle 3", "PE (2, 0)", "color 7", "east", "no route")


def test_a_wavelet_for_a_pe_that_does_not_receive_it():
    layout = Layout(2, 1)
    x = layout.array("x", 4)
    layout.route(1, "R->E", x=0)
    layout.route(1, "W->R", x=1)
    layout.place(sender(1, x), x=0)
    fails(layout, "PE (1, 0)", "color 1", "ramp", "program receive")


def test_a_full_memory():
    layout = Layout(4, 4)
    layout.array("weights", 12_000)
    with pytest.raises(FabricError, match=r"memory is full: array 'x' of 289 float32"):
        layout.array("x", 289)
    layout.array("x", 288)


def test_a_color_with_two_routes():
    layout = Layout(4, 4)
    layout.route(2, "R->E", x=slice(0, 3), y=1)
    with pytest.raises(FabricError, match=r"color 2 is used twice at PE \(2, 1\)"):
        layout.route(2, "W->E", x=2, y=EVERY)


def test_a_color_that_two_threads_use():
    layout = Layout(2, 1)
    x = layout.array("x", 4)
    layout.route(1, "R->E", x=0)
    layout.route(1, "W->R", x=1)
    layout.place(receiver(1, x), x=1)

    def twice(_, task):
        task.mov(send(1), x, thread=1)
        task.mov(send(1), x, thread=2)

    layout.place(program_of("twice", twice), x=0)
    fails(layout, "cycle 0", "PE (0, 0)", "color 1 is used twice", "'twice'")


@pytest.mark.parametrize(
    ("start", "element"), [(6, 9), (-1, -1), (1 << 28, (1 << 28) + 3)]
)
def test_an_access_out_of_range(start, element):
    layout = Layout(2, 2)
    x = layout.array("x", 8)
    layout.array("beyond", 8)

    def walk(program, task):
        at = program.register()
        task.mov(x, 0.0)
        task.set(at, start)
        task.mov(x[0:4].shifted(at), 1.0)

    layout.place(program_of("walk", walk), x=1, y=1)
    fails(layout, "cycle 8", "PE (1, 1)", f"element {element} of array 'x'", "has 8")


def test_tasks_that_never_pause():
    layout = Layout(1, 1)
    program = Program("spin")
    task = program.task(start=True)
    task.activate(task)
    layout.place(program)
    fails(layout, "PE (0, 0)", "on and on")


def test_a_receiver_whose_wavelets_never_come():
    layout = Layout(2, 1)
    x, y = layout.array("x", 4), layout.array("y", 6)
    layout.route(9, "R->E", x=0)
    layout.route(9, "W->R", x=1)
    layout.place(sender(9, x), x=0)
    layout.place(receiver(9, y), x=1)
    fails(
        layout, "deadlock", "PE (1, 0)", "4 of 6 elements", "wavelet of color 9",
        error=DeadlockError,
    )  # fmt: skip


def test_two_pes_that_send_before_they_receive():
    layout = Layout(2, 1)
    x = layout.array("x", 50)
    layout.route(0, "R->E", x=0)
    layout.route(0, "W->R", x=1)
    layout.route(1, "R->W", x=1)
    layout.route(1, "E->R", x=0)
    for at in (0, 1):

        def both(_, task, at=at):
            task.mov(send(at), x)
            task.mov(x, receive(1 - at))

        layout.place(program_of("both", both), x=at)
    fails(
        layout, "deadlock", "PE (0, 0)", "PE (1, 0)", "room to send color 0",
        "room to send color 1", "2 of 2 wavelets of color 1 from the east",
        error=DeadlockError,
    )  # fmt: skip


def test_wavelets_that_nobody_takes():
    layout = Layout(2, 1)
    x, y = layout.array("x", 4), layout.array("y", 3)
    layout.route(0, "R->E", x=0)
    layout.route(0, "W->R", x=1)
    layout.place(sender(0, x), x=0)
    layout.place(receiver(0, y), x=1)
    fails(layout, "deadlock", "input queue holds 1 of 4", error=DeadlockError)


def test_a_task_that_stays_blocked():
    layout = Layout(1, 1)
    program = Program("blocked")
    never = program.task("never")
    task = program.task(start=True)
    task.block(never)
    task.activate(never)
    layout.place(program)
    fails(
        layout, "deadlock", "activated, but did not run: ['never']", error=DeadlockError
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda g, x: g.route(24, "R->E"), "color 24: the routers have 0 to 23"),
        (lambda g, x: g.route(0, "R-E"), "FROM->TO"),
        (lambda g, x: g.route(0, *["R->E"] * 5), "5 switch positions: 1 to 4"),
        (lambda g, x: g.route(0, "R->E", x=4), "x = 4 reaches outside"),
        (lambda g, x: g.array("y", 2, "float64"), "float64"),
        (lambda g, x: g.place(receiver(30, x)), "color 30"),
        (lambda g, x: x[0:9], r"x\[0:9:1\] reaches outside"),
        (lambda g, x: sender(0, x, length=3), r"lengths \[3, 8\]"),
        (lambda g, x: program_of("p", lambda _, t: t.mac(x, x, x)), "three reads"),
        (lambda g, x: program_of("p", lambda _, t: t.wide_mac(x, x, 1)), "of float16"),
        (lambda g, x: program_of("p", lambda _, t: t.mov(receive(1), x)), "is a dest"),
        (lambda g, x: program_of("p", lambda _, t: t.mov(send(1), 1.0)), "length"),
        (lambda g, x: program_of("p", lambda _, t: t.mov(1.0, x)), "destination"),
        (lambda g, x: [g.place(sender(0, x)), g.place(sender(0, x))], "which runs"),
        (
            lambda g, x: program_of("p", lambda _, t: t.add(x, receive(1), receive(1))),
            "the same stream twice",
        ),
        (lambda g, x: g.array("y", 0), "0 elements"),
        (
            lambda g, x: program_of("p", lambda _, t: t.repeat(0).__enter__()),
            "repeat 0 times: at least once",
        ),
        (lambda g, x: Layout(0, 1), "at least 1 x 1"),
        (lambda g, x: FabricConfig(router_depth=1), "router_depth is 1: at least 2"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_the_first_cycle(make, words):
    layout = Layout(4, 4)
    x = layout.array("x", 8)
    with pytest.raises(FabricError, match=words):
        make(layout, x)


def test_more_queues_threads_or_registers_than_a_pe_has():
    layout = Layout(1, 1)
    x = layout.array("x", 8)

    def refused(write, words):
        with pytest.raises(FabricError, match=words):
            layout.place(program_of("greedy", write))

    refused(lambda _, t: [t.mov(x, receive(c)) for c in range(9)], "9 colors received")
    refused(lambda _, t: [t.mov(send(c), x) for c in range(7)], "7 colors sent")
    refused(lambda _, t: t.mov(x, 0.0, thread=9), "9 microthreads, a PE has 8")
    refused(lambda p, _: [p.register() for _ in range(17)], "17 registers")
