"""What is refused on the fabric, or waits in vain, is told with its places."""

import pytest
from fabric_programs import message, program_of, receiver, sender
from wafer_runtime.errors import DeadlockError, FabricError
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.simulator.memory import receive, send
from wafer_runtime.simulator.program import Program
from wafer_runtime.system import load_system

EVERY = slice(None)


def task_of(write):
    return program_of("p", write)


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


def test_a_route_that_leads_in_a_circle():
    def circle(*positions):
        layout = Layout(3, 2)
        layout.route(4, *positions, x=0, y=0)
        layout.route(4, "W->S", x=1, y=0)
        layout.route(4, "N->W", x=1, y=1)
        layout.route(4, "E->N", x=0, y=1)
        return layout

    with pytest.raises(
        FabricError, match=r"color 4 is led in a circle, from PE \(0, 0"
    ):
        Fabric(circle("RS->E"))
    # A switch can end it, and without a way back there is none.
    Fabric(circle("R->E", "S->R"))
    Fabric(circle("R->E"))


def test_a_wavelet_for_a_pe_that_does_not_receive_it():
    layout = Layout(2, 1)
    x = layout.array("x", 4)
    layout.route(1, "R->E", x=0)
    layout.route(1, "W->R", x=1)
    layout.place(sender(1, x), x=0)
    told = "PE (1, 0): a wavelet of color 1 comes up the ramp, but "
    fails(layout, told + "the PE runs no program that receives")
    layout.place(receiver(2, x), x=1)
    fails(layout, told + "the PE's program 'receiver' does not receive")


def test_a_full_memory():
    system = load_system("wse2")
    layout = Layout(4, 4)
    free = (system.sram_bytes - system.program_bytes) // 4 - 12_000
    layout.array("weights", 12_000)
    with pytest.raises(FabricError, match="memory is full: array 'x' of 161 float32"):
        layout.array("x", free + 1)
    layout.array("x", free)


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


@pytest.mark.parametrize(("op", "dtypes", "name"), [
    ("wide_mac", ("float32", "float16", "float16"), "c"),
    ("narrow", ("float16", "float32"), "b"),
    ("add", ("int32", "int32", "int32"), "c"),
])  # fmt: skip
def test_an_access_out_of_range_of_an_array_of_any_type(op, dtypes, name):
    layout = Layout(1, 1)
    arrays = [
        layout.array(name, 4, dtype) for name, dtype in zip("abc", dtypes, strict=False)
    ]

    def walk(program, task):
        at = program.register()
        task.set(at, 1)
        to = program.register() if op == "wide_mac" else arrays[0]
        getattr(task, op)(to, *arrays[1:-1], arrays[-1][:].shifted(at))

    layout.place(program_of("walk", walk))
    fails(layout, "cycle 0", "PE (0, 0)", f"element 4 of array '{name}', which has 4")


def test_a_register_with_a_negative_length():
    layout = Layout(1, 1)
    x = layout.array("x", 4)

    def write(program, task):
        count = program.register()
        task.set(count, -3)
        task.mov(x, 1.0, length=count)

    layout.place(program_of("short", write))
    fails(layout, "cycle 0, PE (0, 0)", "'short'", "length of -3", "at least 0")


def test_tasks_that_never_pause():
    layout = Layout(1, 1)
    program = Program("spin")
    task = program.task(start=True)
    task.activate(task)
    layout.place(program)
    fails(layout, "PE (0, 0)", "on and on")


@pytest.mark.parametrize(("sent", "taken", "length", "sizes"), [
    ("float16", "float32", 8, "4 bytes, but .* with elements of 2"),
    ("float16", "int32", 4, "4 bytes, but .* with elements of 2"),
    ("int32", "float16", 4, "2 bytes, but .* with elements of 4"),
])  # fmt: skip
def test_halves_where_words_are_received(sent, taken, length, sizes):
    layout = Layout(2, 1)
    x, y = layout.array("x", length, sent), layout.array("y", 4, taken)
    layout.route(6, "R->E", x=0)
    layout.route(6, "W->R", x=1)
    layout.place(sender(6, x), x=0)
    layout.place(receiver(6, y), x=1)
    where = r"cycle 6, PE \(1, 0\): program 'receiver', .* takes elements of "
    with pytest.raises(FabricError, match=f"{where}{sizes}.*two of 2 travel"):
        Fabric(layout).run()


def test_whole_wavelets_pass_registers_whatever_is_in_them():
    layout = Layout(3, 1)
    x = layout.array("x", 4, "float16")
    for color, at in ((6, 0), (7, 1)):
        layout.route(color, "R->E", x=at)
        layout.route(color, "W->R", x=at + 1)
    middle = Program("middle")
    task, pair = middle.on_wavelet(6)
    task.mov(send(7), pair, length=1)
    layout.place(sender(6, x), x=0)
    layout.place(middle, x=1)
    layout.place(receiver(7, x), x=2)
    fabric = Fabric(layout)
    fabric.write(x, [1, 2, 3, 4])
    fabric.run()
    assert fabric.read(x, x=2).ravel().tolist() == [1, 2, 3, 4]


def test_a_whole_number_divided_by_0():
    layout = Layout(2, 2)
    x, y = layout.array("x", 6, "int32"), layout.array("y", 6, "int32")
    layout.place(program_of("ratio", lambda _, t: t.div(x, x, y)), x=1, y=1)
    fabric = Fabric(layout)
    fabric.write(y, [1, 2, 3, 0, 4, 0], x=1, y=1)
    with pytest.raises(FabricError) as caught:
        fabric.run()
    told = "cycle 3, PE (1, 1): program 'ratio', task 'main', instruction 0 (div)"
    assert f"{told} divides a whole number by 0, in element 3" in str(caught.value)


def spinning(pes, write):
    layout = Layout(pes, 1)
    x = layout.array("x", 100)
    program = Program("spin")
    task = program.task("again", start=True)
    write(task, x)
    task.activate(task)
    layout.place(program, x=EVERY)
    return layout, x


@pytest.mark.parametrize(("pes", "length", "where"), [
    (1, 3, "PE (0, 0): program 'spin', task 'again'"),
    (10, 100, "PE (7, 0): program 'spin', task 'again', instruction 0 (add), 50 of 100 "
     "elements done\n  and 2 more PEs"),
])  # fmt: skip
def test_a_run_that_never_ends(pes, length, where):
    layout, x = spinning(pes, lambda t, x: t.add(x[:length], x[:length], 1))
    fabric = Fabric(layout)
    with pytest.raises(FabricError) as caught:
        fabric.run(max_cycles=3_150)
    for word in ("after 3150 cycles", f"run: {pes}", "run(max_cycles=...)", where):
        assert word in str(caught.value)
    assert fabric.read(x)[0, 0, 0] == {3: 1050, 100: 32}[length]


def test_a_task_that_starts_itself_by_an_instruction_of_no_elements():
    layout, _ = spinning(1, lambda t, x: t.mov(x[:0], 1.0, then=t))
    fails(layout, "PE (0, 0)", "on and on")


def test_a_second_run():
    layout = Layout(1, 1)
    x = layout.array("x", 4)
    layout.place(program_of("add", lambda _, t: t.add(x, x, 1)))
    fabric = Fabric(layout)
    assert fabric.run(max_cycles=5).cycles == 4
    with pytest.raises(FabricError, match=r"has run, .* make another, with Fabric"):
        fabric.run()
    assert fabric.read(x)[0, 0, 0] == 1


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


def test_a_switch_that_nobody_moves():
    layout = Layout(3, 1)
    x, y = layout.array("x", 2), layout.array("y", 4)
    layout.route(0, "R->W", x=2)
    layout.route(0, "R->W", "E->W", x=1)
    layout.route(0, "E->R", x=0)
    layout.place(sender(0, x), x=slice(1, 3))
    layout.place(receiver(0, y), x=0)
    fails(
        layout, "deadlock", "PE (1, 0): router holds 2 of 2 wavelets of color 0 from "
        "the east, which its switch does not take in position 0", "2 of 4 elements",
        error=DeadlockError,
    )  # fmt: skip


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
        (lambda g, x: g.route(0, "R->EE"), "'R->EE': .* each once"),
        (lambda g, x: g.route(0, "R->X"), "ports of NESWR"),
        (lambda g, x: g.route(0, "R->"), "FROM->TO"),
        (lambda g, x: g.route(0, ["R->W", "E->W"]), r"'E->W'\]: .* a switch"),
        (lambda g, x: g.route(0, *["R->E"] * 5), "5 switch positions: 1 to 4"),
        (lambda g, x: g.route(0, "R->E", x=4), "x = 4 reaches outside"),
        (lambda g, x: g.route("red", "R->E"), "color 'red': the routers have 0 to 23"),
        (lambda g, x: g.route(0, "R->E", x=[0, 1]), r"x = \[0, 1\]: a number or a sl"),
        (lambda g, x: g.array("y", 2, "float64"), "float64"),
        (lambda g, x: x[0:9], r"x\[0:9:1\] reaches outside"),
        (lambda g, x: sender(0, x, length=3), r"lengths \[3, 8\]"),
        (lambda g, x: task_of(lambda _, t: t.mac(x, x, x)), "three reads"),
        (lambda g, x: task_of(lambda _, t: t.wide_mac(x, x, 1)), "of float16"),
        (lambda g, x: task_of(lambda _, t: t.mov(receive(1), x)), "is a dest"),
        (lambda g, x: task_of(lambda _, t: t.mov(send(1), 1.0)), "length"),
        (lambda g, x: task_of(lambda _, t: t.mov(1.0, x)), "destination"),
        (lambda g, x: [g.place(sender(0, x)), g.place(sender(0, x))], "which runs"),
        (
            lambda g, x: task_of(lambda _, t: t.add(x, receive(1), receive(1))),
            "the same stream twice",
        ),
        (lambda g, x: g.array("y", 0), "0 elements"),
        (
            lambda g, x: task_of(lambda _, t: t.repeat(0).__enter__()),
            "repeat 0 times: at least once",
        ),
        (lambda g, x: task_of(lambda _, t: t.add(x, receive(1), receive(1, length=8))),
         r"add: the same stream twice"),
        (lambda g, x: task_of(lambda _, t: t.mac(send(1), x, 2.0)), "mac: a sum"),
        (lambda g, x: task_of(lambda _, t: t.add(x, x, "1")), "'1': an operand is"),
        (lambda g, x: task_of(lambda _, t: t.add(x, x, 1e39)), "1e.39 as float32"),
        (lambda g, x: task_of(lambda p, t: t.mov(p.register(), 7e4, dtype="f2")),
         "70000.0 as float16: at most 65504"),
        (lambda g, x: task_of(lambda p, t: t.mov(p.register(), 1.5, dtype="i4")),
         "1.5 as int32: a whole number of 32 bits"),
        (lambda g, x: task_of(lambda p, t: t.set(p.register(), 2**31)),
         "2147483648 as int32"),
        (lambda g, x: task_of(lambda p, t: t.rotate(p.register(), 1, 0)), "modulus 0"),
        (lambda g, x: task_of(lambda _, t: t.exp(g.array("i", 2, "i4"), 1)),
         "exp: of int32: only of float32"),
        (lambda g, x: task_of(lambda _, t: t.mov(x, receive(1, length=-1))), "lengths"),
        (lambda g, x: task_of(lambda _, t: t.mov(send(1, length=-1), 1.0)), "of -1"),
        (lambda g, x: task_of(lambda _, t: t.mov(x, x, thread=-1)), "thread -1"),
        (lambda g, x: task_of(lambda _, t: t.mov(send(1), x, advance="mine")),
         "advance='mine': it is"),
        (lambda g, x: task_of(lambda _, t: t.mov(x, receive(1), advance="own")),
         "only a wavelet sent moves switches"),
        (lambda g, x: task_of(lambda _, t: t.narrow(x, x)), "narrow makes float16"),
        (lambda g, x: task_of(lambda p, _: [p.on_wavelet(1), p.on_wavelet(1)]),
         "color 1 is used twice"),
        (lambda g, x: task_of(lambda _, t: t.mov(Program("q").register(), x)),
         r"program 'p', task 'main', instruction 0: mov: a register of another "
         r"program: Program\('q'\)"),
        (lambda g, x: task_of(lambda _, t: t.activate(Program("q").task("far"))),
         "task 'far' of another program"),
        (lambda g, x: Layout(0, 1), "at least 1 x 1"),
        (lambda g, x: FabricConfig(router_depth=1), "router_depth is 1: from 2"),
        (lambda g, x: FabricConfig(input_queue_depths=(2, 0)), r"\(2, 0\): from 1"),
        (lambda g, x: FabricConfig(switch_positions=5), "5: from 1 to 4"),
        (lambda g, x: Fabric(g).write(x, [1, 2]), r"\[2\] do not broadcast .* 8\]"),
        (lambda g, x: Fabric(Layout(4, 4)).read(x), "not of this fabric's layout"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_the_first_cycle(make, words):
    layout = Layout(4, 4)
    x = layout.array("x", 8)
    with pytest.raises(FabricError, match=words):
        make(layout, x)


def test_a_route_that_is_refused_leaves_none():
    layout = Layout(2, 1)
    for wrong in ({"x": 5}, {"x": 0, "y": -1}):
        with pytest.raises(FabricError, match="outside"):
            layout.route(0, "R->E", **wrong)
    with pytest.raises(FabricError, match="route 'R->WW'"):
        layout.route(0, "R->E", "R->WW", x=0)
    layout.route(0, "R->E", x=0)


def test_more_queues_threads_or_registers_than_a_pe_has():
    def refused(write, words):
        layout = Layout(1, 1)
        x = layout.array("x", 8)
        layout.place(program_of("greedy", lambda p, t: write(p, t, x)))
        with pytest.raises(FabricError, match=words):
            Fabric(layout)

    refused(
        lambda _, t, x: [t.mov(x, receive(c)) for c in range(9)], "9 colors received"
    )
    refused(lambda _, t, x: [t.mov(send(c), x) for c in range(7)], "7 colors sent")
    refused(lambda _, t, x: t.mov(x, 0.0, thread=9), "9 microthreads, a PE has 8")
    refused(lambda p, t, x: [p.register() for _ in range(17)], "17 registers")
    refused(lambda p, t, x: [p.task() for _ in range(32)], "33 tasks, a PE has 32")
    refused(lambda _, t, x: t.mov(x, receive(30)), "color 30: the routers have 0 to 23")
    other = Layout(1, 1).array("other", 9)
    refused(lambda _, t, x: t.mov(other, 1.0), "'greedy' uses arrays of another layout")
