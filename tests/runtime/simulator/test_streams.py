"""Random routes: nothing is lost, doubled or overtaken within a color."""

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
move = st.tuples(st.integers(0, 2), st.sampled_from("ENSW"))
delays = st.lists(st.integers(0, 30), min_size=3, max_size=6)
moves = st.lists(move, min_size=1, max_size=12)
stream = st.tuples(place, moves, st.integers(1, 40), delays)


def grown(start, moves):
    """A tree: for each place the port that wavelets come by, and those they go by.

    A move is a step from the last place, or from one of the two before.
    """
    tree, places = {start: ("R", "")}, [start]
    for back, port in moves:
        x, y = places[max(0, len(places) - 1 - back)]
        to = x + STEPS[port][0], y + STEPS[port][1]
        if 0 <= to[0] < SIDE and 0 <= to[1] < SIDE and to not in tree:
            tree[x, y] = tree[x, y][0], tree[x, y][1] + port
            tree[to] = BACK[port], ""
            places.append(to)
    return tree


class Streams:
    """Each stream has a color, a tree with taps, a length, delays at its ends."""

    def __init__(self, drawn, taps, config):
        self.layout = Layout(SIDE, SIDE, config)
        self.pause = self.layout.array("pause", 2)
        self.programs, self.checks = {}, []
        for color, (start, moves, length, delays) in enumerate(drawn):
            tree = grown(start, moves)
            ends = [
                at for at in tree if at != start and (not tree[at][1] or color in taps)
            ]
            # At most 6 streams out of a PE, 8 in, a thread for each.
            if ends and all(self.threads(at) < 6 for at in [start, *ends]):
                self.add(color, start, tree, ends, length, delays)

    def threads(self, at):
        return len(self.programs[at].tasks) if at in self.programs else 0

    def task(self, at, delay):
        program = self.programs.setdefault(at, Program(f"at {at}"))
        task = program.task(f"task {len(program.tasks)}", start=True)
        if delay:
            with task.repeat(delay):
                task.mov(self.pause, 1.0)
        return task

    def add(self, color, start, tree, ends, length, delays):
        x = self.layout.array(f"x{color}", length, "int32")
        y = self.layout.array(f"y{color}", length, "int32")
        for at, (came, onward) in tree.items():
            ramp = "R" * (at in ends)
            self.layout.route(color, f"{came}->{onward}{ramp}", x=at[0], y=at[1])
        task = self.task(start, delays[0])
        task.mov(send(color), x, thread=self.threads(start))
        for k, at in enumerate(ends):
            task = self.task(at, delays[k % len(delays)])
            task.mov(y, receive(color), thread=self.threads(at))
            self.checks.append((x, start, y, at))

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


@settings(max_examples=40, deadline=None)
@given(
    drawn=st.lists(stream, min_size=1, max_size=20),
    taps=st.sets(st.integers(0, 19)),
    ramp=st.integers(1, 4),
)
def test_streams_arrive_whole_and_in_order_along_all_branches(drawn, taps, ramp):
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
