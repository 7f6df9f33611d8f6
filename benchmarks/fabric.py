"""How fast the fabric is simulated, beside BookSim 2 when `booksim` is on PATH.

    python benchmarks/fabric.py [--quick]

A loaded 32 x 32 mesh, in which every PE streams to PEs ten hops away and links are
about half full; a chain reduce over 512 x 512 PEs; a broadcast of 64 wavelets over the
750 x 994 PEs that programs may use, in a process of its own with nothing compiled
before. BookSim 2 gets a mesh of the same size with about as many wavelets on its links:
uniform random traffic, dimension-order routing, 1-flit packets, 0.1 per node and cycle.
Times are seconds of the processor: other work on the machine changes them less.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from wafer_runtime.simulator import collectives
from wafer_runtime.simulator.fabric import Fabric, Run
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.lines import Phases
from wafer_runtime.simulator.memory import receive, send
from wafer_runtime.simulator.program import Program

SIDE = 32
# Streams go 5 columns and 5 rows on, south-east or north-west. All streams of a kind
# through a router have different colors if these are (x + y) mod 11: 22 of 24.
REACH = 5
KINDS = ((1, "E", "S"), (-1, "W", "N"))
BACK = {"E": "W", "W": "E", "S": "N", "N": "S"}
EVERY = slice(None)
BOOKSIM = """topology = mesh; k = 32; n = 2; routing_function = dor;
num_vcs = 8; vc_buf_size = 8; traffic = uniform; packet_size = 1;
injection_rate = 0.1; sim_type = throughput; warmup_periods = 0;
sample_period = 1000; max_samples = 2; sim_count = 1;
"""
BOOKSIM_CYCLES = 2000


@dataclass(frozen=True)
class Measured:
    """A run, and what it took of the processor."""

    run: Run
    pes: int
    seconds: float

    def show(self, what: str) -> None:
        """A line of the table."""
        pe_cycles = self.pes * self.run.cycles / self.seconds / 1e6
        hops = self.run.hops / self.seconds / 1e6
        print(
            f"{what:<34}{self.run.cycles:>9}{self.seconds:>9.2f}{pe_cycles:>12.2f}"
            f"{hops:>12.2f}",
            flush=True,
        )


def measure(fabric: Fabric, pes: int) -> Measured:
    """Run a fabric to its end."""
    started = time.process_time()
    run = fabric.run()
    return Measured(run, pes, time.process_time() - started)


def route_stream(layout: Layout, color: int, x: int, y: int, kind: int) -> None:
    """From (x, y) along the row, then along the column."""
    sign, along, down = KINDS[kind]
    turn = x + sign * REACH
    layout.route(color, f"R->{along}", x=x, y=y)
    for k in range(1, REACH):
        layout.route(color, f"{BACK[along]}->{along}", x=x + sign * k, y=y)
        layout.route(color, f"{BACK[down]}->{down}", x=turn, y=y + sign * k)
    layout.route(color, f"{BACK[along]}->{down}", x=turn, y=y)
    layout.route(color, f"{BACK[down]}->R", x=turn, y=y + sign * REACH)


def mesh(wavelets: int) -> Layout:
    """The loaded mesh: each PE sends so many to each of its one or two far PEs."""
    layout = Layout(SIDE, SIDE)
    x, sums, work = layout.array("x", 1), layout.array("sums", 2), layout.array("w", 4)
    out: dict[tuple[int, int], list[int]] = {}
    into: dict[tuple[int, int], list[int]] = {}
    for kind, (sign, _, _) in enumerate(KINDS):
        inside = range(REACH, SIDE) if sign < 0 else range(SIDE - REACH)
        for at in ((a, b) for a in inside for b in inside):
            color = 11 * kind + sum(at) % 11
            route_stream(layout, color, *at, kind)
            out.setdefault(at, []).append(color)
            to = (at[0] + sign * REACH, at[1] + sign * REACH)
            into.setdefault(to, []).append(color)
    programs: dict[str, Program] = {}
    for at in np.ndindex(SIDE, SIDE):
        colors = out.get(at, []), into.get(at, [])
        program = programs.setdefault(str(colors), Program(str(colors)))
        if not program.tasks:
            task = program.task(start=True)
            for k, color in enumerate(colors[1]):
                total = sums[k].times(wavelets)
                task.add(total, total, receive(color), thread=k + 1)
            with task.repeat(wavelets):
                for color in colors[0]:
                    task.mov(send(color), x)
                # Between two wavelets a PE has something else to do.
                task.add(work, work, 1.0)
        layout.place(program, x=at[0], y=at[1])
    return layout


def loaded_mesh(wavelets: int) -> Measured:
    """Sums of what arrives are checked, so that values are known to move."""
    layout = mesh(wavelets)
    x, sums, _ = layout.memory.arrays
    fabric = Fabric(layout)
    fabric.write(x, 1, x=EVERY, y=EVERY)
    measured = measure(fabric, SIDE * SIDE)
    middle = fabric.read(sums, x=SIDE // 2, y=SIDE // 2)
    assert (middle == wavelets).all(), middle
    return measured


def chain_reduce(side: int) -> Measured:
    """Of 64 wavelets in every PE: along the rows, then along the first column."""
    layout = Layout(side, side)
    x = layout.array("x", 64)
    phases = Phases(layout)
    collectives.reduce_2d(phases, x, "chain")
    phases.place()
    fabric = Fabric(layout)
    fabric.write(x, 1, x=EVERY, y=EVERY)
    measured = measure(fabric, side * side)
    assert (fabric.read(x) == side * side).all()
    return measured


def broadcast(width: int, height: int) -> Measured:
    """Of 64 wavelets from the corner."""
    layout = Layout(width, height)
    x = layout.array("x", 64)
    phases = Phases(layout)
    collectives.broadcast_2d(phases, x)
    phases.place()
    fabric = Fabric(layout)
    fabric.write(x, np.arange(64))
    measured = measure(fabric, width * height)
    assert (fabric.read(x, x=width - 1, y=height - 1) == np.arange(64)).all()
    return measured


def fresh_broadcast(width: int, height: int) -> None:
    """In a new process, with an empty cache: from the command to the result."""
    with tempfile.TemporaryDirectory() as cache:
        words = [sys.executable, __file__, "--broadcast", str(width), str(height)]
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        for what in ("with compilation", "again, compiled"):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            started = time.monotonic()
            subprocess.run(words, env=environment, check=True)
            wall = time.monotonic() - started
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"  the whole process, {what}: {wall:.1f} s, of the processor "
                f"{used:.1f} s, {after.ru_maxrss / 2**20:.2f} GB (aims: 20 s, 4 GB)"
            )


def booksim_link_rate() -> tuple[float, float]:
    """Nodes' cycles, and traversals of links, a second."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mesh"
        config.write_text(BOOKSIM)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = subprocess.run(["booksim", config], capture_output=True, text=True)
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    accepted = re.findall(r"Accepted flit rate average= *([\d.]+)", done.stdout)
    # Mean distance of two nodes drawn at random, in a row of k: (k - 1/k) / 3.
    hops = 2 * (SIDE - 1 / SIDE) / 3
    node_cycles = SIDE * SIDE * BOOKSIM_CYCLES / seconds
    return node_cycles, node_cycles * float(accepted[-1]) * hops


def compare(ours: Measured) -> None:
    """The ratio to BookSim 2 at about equal load."""
    if not shutil.which("booksim"):
        print("BookSim 2: no `booksim` on PATH, so there is nothing to compare with")
        return
    node_cycles, links = booksim_link_rate()
    print(
        f"BookSim 2: {node_cycles:,.0f} node-cycles/s, {links:,.0f} link traversals/s"
    )
    rate = ours.run.hops / ours.seconds
    print(f"ratio of link traversals a second: {rate / links:.0f} (aim: 50)")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller fabrics")
    parser.add_argument("--broadcast", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.broadcast:
        broadcast(*args.broadcast).show("broadcast, 64 wavelets")
        return
    print(f"{'':<34}{'cycles':>9}{'s':>9}{'M PE-cyc/s':>12}{'M hops/s':>12}")
    loaded_mesh(10)  # compiles
    ours = loaded_mesh(200 if args.quick else 4000)
    ours.show("loaded mesh, 32 x 32")
    links = 4 * SIDE * (SIDE - 1)
    print(f"  links are {ours.run.hops / ours.run.cycles / links:.0%} full")
    side = 64 if args.quick else 512
    chain_reduce(side).show(f"chain reduce, {side} x {side}")
    fresh_broadcast(*((75, 99) if args.quick else (750, 994)))
    compare(ours)


if __name__ == "__main__":
    main()
