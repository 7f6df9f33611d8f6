"""Random routes and programs: nothing is lost, doubled or overtaken within a color."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.simulator.memory import receive, send
from wafer_runtime.simulator.program import Program

SIDE = 5
EVERY = slice(None)
STEPS = {"E": (1, 0), "W": (-1, 0), "S": (0, 1), "N": (0, -1)}
BACK = {"E": "W", "W": "E", "S": "N", "N": "S"}

place = st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))
stream = st.tuples(place, st.lists(st.sampled_from("ENSW"), min_size=1, max_size=9),
                   st.integers(1, 40), st.integers(0, 30))  # fmt: skip


def walk(start, moves):
    """The way that stays on the grid and meets no router twice: (ports, places)."""
    way, ports = [start], []
    for move in moves:
        x, y = way[-1][0] + STEPS[move][0], way[-1][1] + STEPS[move][1]
        if 0 <= x < SIDE and 0 <= y < SIDE and (x, y) not in way:
            way.append((x, y))
            ports.append(move)
    return way, ports


class Streams:
    """Each stream has a color, a way with taps, a length, a delay before sending."""

    def __init__(self, drawn, taps, config):
        self.layout = Layout(SIDE, SIDE, config)
        self.pause = self.layout.array("pause", 2)
        self.programs, self.checks = {}, []
        for color, (start, moves, length, delay) in enumerate(drawn):
            way, ports = walk(start, moves)
            if len(way) > 1 and self.free(way, color, taps):
                self.add(color, way, ports, length, delay, color in taps)

    def free(self, way, color, taps):
        """At most 6 streams out of a PE, 7 in, a thread for each."""
        ends = way[1:] if color in taps else way[-1:]
        users = [self.threads(at) for at in {way[0], *ends}]
        return all(used < 5 for used in users)

    def threads(self, at):
        return len(self.programs[at].tasks) if at in self.programs else 0

    def task(self, at):
        program = self.programs.setdefault(at, Program(f"at {at}"))
        return program.task(f"task {len(program.tasks)}", start=True)

    def add(self, color, way, ports, length, delay, tapped):
        x = self.layout.array(f"x{color}", length, "int32")
        self.layout.route(color, f"R->{ports[0]}", x=way[0][0], y=way[0][1])
        task = self.task(way[0])
        if delay:
            with task.repeat(delay):
                task.mov(self.pause, 1.0)
        task.mov(send(color), x, thread=len(self.programs[way[0]].tasks))
        for k, at in enumerate(way[1:], 1):
            last = k == len(way) - 1
            onward = "" if last else ports[k]
            ramp = "R" if last or tapped else ""
            came = BACK[ports[k - 1]]
            self.layout.route(color, f"{came}->{onward}{ramp}", x=at[0], y=at[1])
            if ramp:
                y = self.layout.array(f"y{color}_{k}", length, "int32")
                thread = self.threads(at) + 1
                self.task(at).mov(y, receive(color), thread=thread)
                self.checks.append((x, way[0], y, at))

    def run(self):
        for at, program in self.programs.items():
            self.layout.place(program, x=at[0], y=at[1])
        fabric = Fabric(self.layout)
        for x, start, _, _ in self.checks:
            values = np.arange(x.length) + 1000 * x.offset
            fabric.write(x, values, x=start[0], y=start[1])
        run = fabric.run()
        for x, start, y, at in self.checks:
            sent = fabric.read(x, x=start[0], y=start[1])
            assert (fabric.read(y, x=at[0], y=at[1]) == sent).all()
        return run


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.lists(stream, min_size=1, max_size=20),
    taps=st.sets(st.integers(0, 19)),
    ramp=st.integers(1, 4),
)
def test_streams_arrive_whole_and_in_order(drawn, taps, ramp):
    config = FabricConfig(ramp_latency_cycles=ramp)
    run = Streams(drawn, taps, config).run()
    assert run.sent + run.copied == run.received
    again = Streams(drawn, taps, config).run()
    assert run == again


@settings(max_examples=40, deadline=None)
@given(
    bursts=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), max_size=4,
                    min_size=2),
    slow=st.integers(0, 12),
)  # fmt: skip
def test_senders_that_share_a_color_keep_their_own_order(bursts, slow):
    """Several PEs send into one color of a row; the reader is now and then late."""
    pes = len(bursts) + 1
    layout = Layout(pes, 1)
    total = sum(map(sum, bursts))
    x, y = layout.array("x", 64, "int32"), layout.array("y", total, "int32")
    pause = layout.array("pause", 2)
    for at, lengths in enumerate(bursts, 1):
        program = Program(f"sender {at}")
        task, start = program.task(start=True), 0
        for length in lengths:
            task.mov(send(0), x[start : start + length])
            task.mov(pause, 1.0)
            start += length
        layout.place(program, x=at)
    layout.route(0, "E->R", x=0)
    layout.route(0, "RE->W", x=slice(1, pes))
    reader = Program("reader")
    data, value = reader.on_wavelet(0)
    at = reader.register()
    data.mov(y[0:1].shifted(at), value, dtype="int32")
    data.rotate(at, 1, 1 << 20)
    if slow:
        with data.repeat(slow):
            data.mov(pause, 1.0)
    layout.place(reader, x=0)
    fabric = Fabric(layout)
    fabric.write(x, 100 * np.arange(pes)[None, :, None] + np.arange(64), x=EVERY)
    run = fabric.run()
    assert run.sent == run.received == total
    found = fabric.read(y, x=0)[0, 0]
    for sender, lengths in enumerate(bursts, 1):
        mine = found[found // 100 == sender]
        assert mine.tolist() == [100 * sender + k for k in range(sum(lengths))]
