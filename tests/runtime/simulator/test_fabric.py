"""PEs and routers: timing, values, arbitration."""

import subprocess
import sys

import numpy as np
import pytest
from fabric_programs import message, program_of, receiver, sender
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.simulator.memory import receive, send
from wafer_runtime.simulator.program import Program
from wafer_runtime.system import load_system

EVERY = slice(None)
TYPES = ("float32", "float16", "int32")


@pytest.mark.parametrize("ramp", [1, 2, 5])
@pytest.mark.parametrize("pes", [2, 3, 40])
@pytest.mark.parametrize("wavelets", [1, 2, 300])
def test_a_message_takes_the_published_time(pes, wavelets, ramp):
    layout, x = message(pes, wavelets, ramp_latency_cycles=ramp)
    fabric = Fabric(layout)
    fabric.write(x, np.arange(wavelets), x=0)
    run = fabric.run()
    assert run.cycles == wavelets + pes + 2 * ramp
    assert run.sent == run.received == wavelets
    assert run.hops == wavelets * (pes - 1)
    assert (fabric.read(x, x=pes - 1) == np.arange(wavelets)).all()


def test_two_halves_travel_in_a_wavelet():
    layout = Layout(2, 1)
    x = layout.array("x", 7, "float16")
    layout.route(0, "R->E", x=0)
    layout.route(0, "W->R", x=1)
    layout.place(sender(0, x), x=0)
    layout.place(receiver(0, x), x=1)
    fabric = Fabric(layout)
    fabric.write(x, np.arange(7), x=0)
    run = fabric.run()
    assert (run.sent, run.cycles) == (4, 4 + 2 + 4)
    assert fabric.read(x, x=1).tolist() == [[[0, 1, 2, 3, 4, 5, 6]]]


def operands(dtype):
    """Three times all halves there are, or as many words, half of them of like size."""
    generator = np.random.default_rng(1)
    if dtype == "float16":
        halves = np.arange(2**16, dtype="u2")
        return [generator.permutation(halves).view("f2") for _ in range(3)]
    words = generator.integers(0, 2**32, (3, 2**16), "u4").view(dtype)
    if dtype == "float32":
        exponents = 2.0 ** generator.integers(-16, 12, (3, 2**15))
        words[:, ::2] = generator.standard_normal((3, 2**15)) * exponents
    return words


def same_bits(found, wanted):
    """Whether all are equal to the bit, but for what is not a number."""
    unsigned = f"u{wanted.itemsize}"
    equal = found.view(unsigned) == wanted.view(unsigned)
    return (equal | (np.isnan(found) & np.isnan(wanted))).all()


NUMPY = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
NUMPY |= {"max": np.maximum, "min": np.minimum, "div": np.divide}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "max", "min", "div", "mac"])
def test_values_are_numpys_to_the_bit(name, dtype):
    a, b, c = operands(dtype)
    layout = Layout(1, 1, FabricConfig(memory_bytes=2**20))
    x, y, z = (layout.array(n, a.size, dtype) for n in "xyz")
    program = Program("arithmetic")
    task = program.task(start=True)
    if name == "mac":
        scalar = program.register()
        task.mov(scalar, y[0], dtype=dtype)
        task.mac(z, x, scalar)
    else:
        getattr(task, name)(z, x, y)
    layout.place(program)
    fabric = Fabric(layout)
    for array, values in zip((x, y, z), (a, b, c), strict=True):
        fabric.write(array, values)
    fabric.run()
    with np.errstate(all="ignore"):
        if name == "mac":
            want = c + a * b[0]
        elif name == "div" and dtype == "int32":
            want = np.trunc(a.astype("f8") / b).astype(dtype)
        else:
            want = NUMPY[name](a, b)
    assert same_bits(fabric.read(z)[0, 0], want)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_exp_is_the_nearest_value(dtype):
    a = np.linspace(-12, 8, 500).astype(dtype)
    layout = Layout(1, 1)
    x = layout.array("x", a.size, dtype)
    layout.place(program_of("exp", lambda _, t: t.exp(x, x)))
    fabric = Fabric(layout)
    fabric.write(x, a)
    fabric.run()
    want = np.exp(a.astype("f8")).astype(dtype)
    np.testing.assert_array_equal(fabric.read(x)[0, 0], want)


def test_infinities_and_not_a_number_stay_what_they_are():
    values = np.array([np.inf, -np.inf, np.nan, 65504, 1e-7, -0.0], "float16")
    layout = Layout(1, 1)
    x = layout.array("x", values.size, "float16")
    layout.place(program_of("double", lambda _, t: t.add(x, x, x)))
    fabric = Fabric(layout)
    fabric.write(x, values)
    fabric.run()
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(fabric.read(x)[0, 0], values + values)


@pytest.mark.parametrize(
    ("system", "dtype", "a_cycle"),
    [("wse2", "float32", 1), ("wse2", "float16", 2), ("wse3", "float32", 2),
     ("wse3", "float16", 4)],
)  # fmt: skip
def test_vectors_go_at_the_rate_of_the_memory(system, dtype, a_cycle):
    layout = Layout(1, 1, FabricConfig.of(load_system(system)))
    x = layout.array("x", 101, dtype)
    layout.place(program_of("double", lambda _, t: t.add(x, x, x)))
    assert Fabric(layout).run().cycles == -(-101 // a_cycle)


def test_the_defaults_are_those_of_a_wse2():
    assert FabricConfig() == FabricConfig.of(load_system("wse2"))


def test_lanes_limit_the_rate_where_memory_does_not():
    layout = Layout(1, 1, FabricConfig(memory_port_bytes=64))
    x = layout.array("x", 101, "float16")
    layout.place(program_of("double", lambda _, t: t.add(x, x, x)))
    assert Fabric(layout).run().cycles == -(-101 // 4)


def test_products_of_halves_are_summed_in_float32():
    layout = Layout(1, 1)
    a, b = (layout.array(n, 60, "float16") for n in "ab")
    sums = layout.array("sums", 60)
    total = layout.array("total", 1)

    def write(program, task):
        register = program.register()
        task.wide_mac(register, a, b)
        task.mov(total, register)
        task.wide_mac(sums, a, 0.1)

    layout.place(program_of("wide", write))
    fabric = Fabric(layout)
    generator = np.random.default_rng(0)
    ones, others = generator.standard_normal((2, 60)).astype("f2")
    fabric.write(a, ones)
    fabric.write(b, others)
    # Two halves a cycle from memory; a sum in memory is a word, of which there is one.
    assert fabric.run().cycles == 30 + 1 + 60
    want = np.float32(0)
    for x, y in zip(ones.astype("f4"), others.astype("f4"), strict=True):
        want += x * y
    assert fabric.read(total)[0, 0, 0] == want
    np.testing.assert_array_equal(
        fabric.read(sums)[0, 0], ones.astype("f4") * np.float32(np.float16(0.1))
    )


def test_float32_is_narrowed_to_the_nearest_float16():
    a, _, _ = operands("float32")
    layout = Layout(1, 1, FabricConfig(memory_bytes=2**20))
    x, y = layout.array("x", a.size), layout.array("y", a.size, "float16")
    layout.place(program_of("narrow", lambda _, t: t.narrow(y, x)))
    fabric = Fabric(layout)
    fabric.write(x, a)
    assert fabric.run().cycles == a.size
    with np.errstate(all="ignore"):
        assert same_bits(fabric.read(y)[0, 0], a.astype("f2"))


def test_a_microthread_runs_beside_the_task_as_far_as_memory_allows():
    def run(op):
        layout = Layout(1, 1)
        x, y, z = (layout.array(n, 100) for n in "xyz")
        program = Program("beside")
        done = program.task("done")
        done.mov(z[0], 7.0)
        task = program.task(start=True)
        task.mov(program.register(), x[0:1].times(100), thread=1, then=done)
        getattr(task, op)(y, y, x)
        layout.place(program)
        fabric = Fabric(layout)
        cycles = fabric.run().cycles
        assert fabric.read(z)[0, 0, 0] == 7
        return cycles

    # A scalar copy reads once: beside a copy of two reads there is no port left for it.
    alone = 100
    assert run("add") >= alone + 50
    layout = Layout(1, 1)
    x, y = layout.array("x", 100), layout.array("y", 100)
    program = Program("ports free")
    task = program.task(start=True)
    task.mov(program.register(), x[0:1].times(100), thread=1)
    task.mov(y, x)
    layout.place(program)
    assert Fabric(layout).run().cycles == 100


def test_tasks_activate_block_and_unblock_one_another():
    layout = Layout(1, 1)
    log = layout.array("log", 4, "int32")
    program = Program("tasks")
    at = program.register()
    one, two, last = (program.task(n) for n in ("one", "two", "last"))
    for number, task in ((1, one), (2, two), (3, last)):
        task.mov(log[0:1].shifted(at), number)
        task.rotate(at, 1, 4)
    two.unblock(one)
    one.activate(last)
    start = program.task(start=True)
    start.block(one)
    start.activate(one)
    start.activate(two)
    layout.place(program)
    fabric = Fabric(layout)
    fabric.run()
    assert fabric.read(log).tolist() == [[[2, 1, 3, 0]]]


def test_a_histogram_of_what_arrives():
    values = np.random.default_rng(0).integers(0, 8, 200)
    layout = Layout(2, 1)
    x = layout.array("x", 200, "int32")
    bins = layout.array("bins", 8, "int32")
    layout.route(0, "R->E", x=0)
    layout.route(0, "W->R", x=1)
    layout.place(sender(0, x), x=0)
    counter = Program("counter")
    data, which = counter.on_wavelet(0)
    count = bins[0:1].shifted(which)
    data.add(count, count, 1)
    layout.place(counter, x=1)
    fabric = Fabric(layout)
    fabric.write(x, values, x=0)
    fabric.run()
    assert (fabric.read(bins, x=1)[0, 0] == np.bincount(values, minlength=8)).all()


def test_a_stencil_adds_up_the_neighbours():
    side, depth = 5, 6
    layout = Layout(side, side)
    x, total = layout.array("x", depth), layout.array("total", depth)
    steps = {"E": (1, 0), "W": (-1, 0), "S": (0, 1), "N": (0, -1)}
    back = {"E": "W", "W": "E", "S": "N", "N": "S"}
    programs = {(a, b): Program(f"at {a}, {b}") for a, b in np.ndindex(side, side)}
    incoming = {at: [] for at in programs}
    for (a, b), program in programs.items():
        task = program.task(start=True)
        for k, (port, (dx, dy)) in enumerate(steps.items()):
            to = a + dx, b + dy
            if to in programs:
                # Neighbours use different colors: a router has one route for each.
                color = 2 * k + (a + b) % 2
                layout.route(color, f"R->{port}", x=a, y=b)
                layout.route(color, f"{back[port]}->R", x=to[0], y=to[1])
                task.mov(send(color), x, thread=k + 1)
                incoming[to].append(color)
    for at, program in programs.items():
        for color in incoming[at]:
            program.tasks[0].add(total, total, receive(color))
        layout.place(program, x=at[0], y=at[1])
    values = np.random.default_rng(0).integers(-9, 9, (side, side, depth))
    fabric = Fabric(layout)
    fabric.write(x, values, x=EVERY, y=EVERY)
    fabric.run()
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    want = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    assert (fabric.read(total, x=EVERY, y=EVERY) == want).all()


def test_when_runs_its_instructions_or_not():
    layout = Layout(2, 1)
    flag, x = layout.array("flag", 1, "int32"), layout.array("x", 1, "int32")
    program = Program("when")
    task, register = program.task(start=True), program.register()
    task.mov(register, flag[0])
    with task.when(register):
        task.add(x, x, 5)
    task.add(x, x, 1)
    layout.place(program, x=EVERY)
    fabric = Fabric(layout)
    fabric.write(flag, 1, x=1)
    fabric.run()
    assert fabric.read(x, x=EVERY).ravel().tolist() == [1, 6]


def test_a_switch_lets_two_senders_follow_one_another():
    layout = Layout(3, 1)
    x = layout.array("x", 5)
    y = layout.array("y", 10)
    layout.route(0, "R->W", x=2)
    layout.route(0, "R->W", "E->W", x=1)
    layout.route(0, "E->R", x=0)
    layout.place(sender(0, x, advance="own"), x=slice(1, 3))
    layout.place(receiver(0, y), x=0)
    fabric = Fabric(layout)
    fabric.write(x, 1, x=1)
    fabric.write(x, 2, x=2)
    run = fabric.run()
    assert fabric.read(y, x=0).ravel().tolist() == [1] * 5 + [2] * 5
    assert run.cycles == 10 + 2 + 4  # not a cycle is lost in between


def test_a_link_is_shared_fairly_and_fully():
    layout = Layout(4, 1)
    x = layout.array("x", 400)
    for color, at in enumerate((0, 1, 2)):
        layout.route(color, "R->E", x=at)
        if at < 2:
            layout.route(color, "W->E", x=slice(at + 1, 3))
        layout.route(color, "W->R", x=3)
        layout.place(sender(color, x), x=at)
    program, total = Program("reader"), layout.array("total", 3)
    seen = [layout.array(f"seen {color}", 3) for color in range(3)]
    for color in range(3):
        done, task = program.task(f"done {color}"), program.task(start=True)
        done.mov(seen[color], total)
        target = total[color].times(400)
        task.add(target, target, receive(color), thread=color + 1, then=done)
    layout.place(program, x=3)
    fabric = Fabric(layout)
    fabric.write(x, 1, x=slice(0, 3))
    run = fabric.run()
    # The last link carries three streams, a wavelet every cycle.
    assert 1200 <= run.cycles <= 1200 + 20
    assert fabric.read(total, x=3).ravel().tolist() == [400, 400, 400]
    # When one has all its wavelets, the others are as far but for what is on its way.
    for array in seen:
        assert fabric.read(array, x=3).min() >= 400 - 10


def test_a_color_is_shared_fairly_by_what_comes_into_a_router():
    layout = Layout(3, 1)
    x, y = layout.array("x", 200), layout.array("y", 400)
    layout.route(0, "R->W", x=2)
    layout.route(0, "RE->W", x=1)
    layout.route(0, "E->R", x=0)
    layout.place(sender(0, x), x=slice(1, 3))
    layout.place(receiver(0, y), x=0)
    fabric = Fabric(layout)
    fabric.write(x, 1, x=1)
    fabric.write(x, -1, x=2)
    fabric.run()
    lead = np.cumsum(fabric.read(y, x=0)[0, 0])
    assert abs(lead).max() <= 2


def test_backpressure_loses_nothing():
    layout, _ = message(5, 100)
    layout = Layout(5, 1)
    x, y = layout.array("x", 100), layout.array("y", 100)
    layout.route(3, "R->E", x=0)
    layout.route(3, "W->E", x=slice(1, 4))
    layout.route(3, "W->R", x=4)
    layout.place(sender(3, x), x=0)

    def late(_, task):
        task.add(y, y, 0.0)
        with task.repeat(10):
            task.add(y, y, 0.0)
        task.mov(x, receive(3))

    layout.place(program_of("late", late), x=4)
    fabric = Fabric(layout)
    fabric.write(x, np.arange(100), x=0)
    assert fabric.run().cycles == 11 * 100 + 100
    assert (fabric.read(x, x=4)[0, 0] == np.arange(100)).all()


def test_the_engine_does_not_need_tensorflow():
    code = (
        "import wafer_runtime.simulator.collectives, wafer_runtime.simulator.fabric\n"
        "import sys; assert 'tensorflow' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
