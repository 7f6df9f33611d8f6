"""Plans of any shape, and a simulation of them, event by event, to compare with."""

import heapq
import itertools
import math
from collections import Counter, defaultdict

from hypothesis import strategies as st
from wafer_runtime.compiler.kernel_graph import HOST
from wafer_runtime.compiler.plan import Link, PlacedKernel, Plan, Route
from wafer_runtime.simulator.stages import pipeline_of


def kernel(name, cycles, latency=1.0, trains=True):
    return PlacedKernel(
        name, "dense", x=0, y=0, width=1, height=1, rotated=False, h=1, w=1, c=1, k=1,
        compute_cycles=cycles, transfer_cycles=0, memory_bytes=0, macs=1,
        latency=latency, trains=trains,
    )  # fmt: skip


def route(source, target, cycles=1, is_gradient=False, hops=1):
    path = ((0, 0, 0, hops, 0),)
    return Route(source, target, "t", is_gradient, cycles, cycles, path)


def plan(
    kernels, routes, batch_size=8, host_cycles=1, mode="train", replicas=1,
    ramp_latency_cycles=2,
):  # fmt: skip
    return Plan(
        system="s", mode=mode, batch_size=batch_size, clock_hz=1e6, fabric_width=100,
        fabric_height=100, host_bytes_per_sample=4, host_cycles=host_cycles, seed=0,
        iterations=0, replicas=replicas, replica_height=100, kernels=tuple(kernels),
        routes=tuple(routes),
        busiest_link=Link(0, 0, "E", max([0, *(r.cycles for r in routes)])),
        ramp_latency_cycles=ramp_latency_cycles, search_ended="",
    )  # fmt: skip


def chain(*cycles, batch_size=8, **more):
    """Dense layers one after the other, the loss at the end."""
    names = [HOST, *(f"k{i}" for i in range(len(cycles))), HOST]
    routes = [route(a, b) for a, b in itertools.pairwise(names)]
    routes += [route(b, a, 1, True) for a, b in itertools.pairwise(names[1:-1])]
    kernels = map(kernel, names[1:-1], cycles)
    return plan(kernels, routes, batch_size, **more)


@st.composite
def plans(draw):
    """Any graph of up to 7 kernels, each fed by earlier ones or the host."""
    count = draw(st.integers(1, 7))
    small = st.integers(1, 30)
    shares = st.sampled_from([0.0, 0.1, 0.5, 1.0])
    kernels = [
        kernel(f"k{i}", draw(small), draw(shares), draw(st.booleans()))
        for i in range(count)
    ]
    routes = []
    for i, target in enumerate(kernels):
        for j in draw(st.sets(st.integers(-1, i - 1), min_size=1, max_size=3)):
            source = kernels[j] if j >= 0 else None
            ends = source.name if source else HOST, target.name
            routes.append(route(*ends, draw(small), False, draw(st.integers(0, 20))))
            if source and source.trains and target.trains and draw(st.booleans()):
                routes.append(route(*ends[::-1], draw(small), True, draw(small)))
    routes.append(route(kernels[-1].name, HOST, draw(small)))
    mode = draw(st.sampled_from(["train", "eval"]))
    return plan(kernels, routes, draw(st.integers(1, 9)), draw(small), mode)


class Reference:
    """Tokens on arcs, room as counters, a heap of events: what the recurrence says."""

    def __init__(self, pipeline, rooms, batch, input_cycles):
        self.stages, self.arcs, self.batch = pipeline.stages, pipeline.arcs, batch
        self.input_cycles = input_cycles
        self.into, self.out_of = defaultdict(list), defaultdict(list)
        for i, arc in enumerate(self.arcs):
            self.into[arc.target].append(i)
            self.out_of[arc.source].append(i)
        self.room = list(rooms)
        self.tokens, self.lasts, self.free = Counter(), Counter(), Counter()
        # Of each stage, samples that have begun, worked, ended, given first, last.
        self.counts = defaultdict(Counter)
        self.times = {}
        self.heap, self.number = [], itertools.count()
        self.now = 0

    def run(self, samples):
        for n in range(samples):
            self.at(math.ceil((n + 1) * self.input_cycles), self.token, -1)
        self.samples = samples
        while self.heap:
            self.now, _, action, *arguments = heapq.heappop(self.heap)
            action(*arguments)
            while self.progress():
                pass
        done = [0] * samples
        for (_, what, n), time in self.times.items():
            done[n] = max(done[n], time) if what == "last" else done[n]
        return done

    def at(self, time, action, *arguments):
        heapq.heappush(self.heap, (time, next(self.number), action, *arguments))

    def progress(self):
        """Whether any stage could do something now."""
        before = sum(map(Counter.total, self.counts.values()))
        for stage in range(len(self.stages)):
            self.advance(stage)
        return sum(map(Counter.total, self.counts.values())) > before

    def token(self, arc):
        self.tokens[arc] += 1

    def last_is_there(self, arc):
        self.lasts[arc] += 1

    def gives_room(self, arc):
        self.room[arc] += 1

    def count(self, stage, what):
        self.counts[stage][what] += 1

    def mark(self, stage, what):
        self.times[stage, what, self.counts[stage][what]] = self.now
        self.count(stage, what)

    def advance(self, s):
        """Whatever a stage can do now."""
        counts, stage = self.counts[s], self.stages[s]
        if self.can_begin(s, counts, stage):
            for arc in self.into[s] or [-1] * (s == 0):
                self.tokens[arc] -= 1
            for arc in self.out_of[s]:
                self.room[arc] -= 1
            self.mark(s, "begin")
            self.at(self.now + stage.cycles, self.count, s, "worked")
            self.at(self.now + stage.fill_cycles, self.count, s, "filled")
        n = counts["whole"]
        if n < counts["begin"] and all(self.lasts[a] > n for a in self.into[s]):
            self.mark(s, "whole")
            self.at(self.now + stage.fill_cycles, self.count, s, "emptied")
        if counts["end"] < min(counts["worked"], counts["whole"]):
            self.mark(s, "end")
            for arc in self.into[s]:
                self.at(self.now + self.arcs[arc].flight_cycles, self.gives_room, arc)
        if counts["first"] < counts["filled"] and counts["first"] == counts["last"]:
            self.mark(s, "first")
            self.at(self.now + stage.cycles, self.count, s, "given")
            for arc in self.out_of[s]:
                begin = self.now + self.arcs[arc].flight_cycles
                begin = max(begin, self.free[arc])
                self.free[arc] = begin + self.arcs[arc].transfer_cycles
                self.at(begin, self.token, arc)
        if counts["last"] < min(counts["given"], counts["emptied"]):
            self.mark(s, "last")
            for arc in self.out_of[s]:
                there = self.now + self.arcs[arc].flight_cycles
                self.at(max(there, self.free[arc]), self.last_is_there, arc)

    def can_begin(self, s, counts, stage):
        n = counts["begin"]
        is_updated = (
            not self.batch
            or n % self.batch
            or stage.updates < 0
            or self.counts[stage.updates]["last"] >= n
        )
        return (
            n < self.samples
            and n == counts["end"]
            and is_updated
            and all(self.tokens[arc] > 0 for arc in self.into[s] or [-1] * (s == 0))
            and all(self.room[arc] > 0 for arc in self.out_of[s])
        )


def reference(plan, samples, input_cycles=0.0):
    """When each sample is done, and the times of every stage, by the reference."""
    pipeline = pipeline_of(plan)
    alone = Reference(pipeline, [1] * len(pipeline.arcs), 0, 0.0)
    alone.run(1)
    rooms = []
    for arc in pipeline.arcs:
        passing = alone.times[arc.target, "end", 0] + arc.flight_cycles
        passing -= alone.times[arc.source, "begin", 0]
        rooms.append(max(1, -(-passing // plan.delta_t_cycles)))
    batch = -(-plan.batch_size // plan.replicas) if plan.mode == "train" else 0
    run = Reference(pipeline, rooms, batch, input_cycles)
    return run.run(samples), run.times
