"""Broadcasts, reduces and allreduces: sums as numpy's, cycles as published."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wafer_runtime.errors import FabricError
from wafer_runtime.simulator import collectives, costs
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.lines import Phases
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.system import load_system

RAMP = 2
EVERY = slice(None)
ROW_SIZES = (4, 16, 64, 512)
WAVELETS = (1, 4, 64, 512, 8192)
CORNERS = [(p, b) for p in ROW_SIZES for b in WAVELETS]
# Cycles that the programs take beside the formulas. A star's formula has no hop in it.
# A ring's counts a hop that none of its chunks takes, if it has more than three PEs.
MORE = {"chain": 0, "two_phase": 0, "star": 1, "ring": -1}
FORMULAS = costs.REDUCES | {"ring": costs.ring}


def execute(width, height, length, write, dtype="float32", config=None):
    """The values before and after, and the run."""
    layout = Layout(width, height, config)
    x = layout.array("x", length, dtype)
    phases = Phases(layout)
    write(phases, x)
    phases.place()
    fabric = Fabric(layout)
    # Whole numbers, whose sums are exact in every order and dtype.
    before = np.random.default_rng(0).integers(-8, 9, (height, width, length))
    before = before.astype(dtype)
    fabric.write(x, before, x=EVERY, y=EVERY)
    run = fabric.run()
    assert run.sent + run.copied == run.received
    return before, fabric.read(x, x=EVERY, y=EVERY), run


def reduce_row(name, p, b, config=None):
    """Cycles of a row's reduce, whose sum was right."""

    def write(phases, x):
        collectives.reduce(collectives.rows(phases), x, name)

    before, after, run = execute(p, 1, b, write, config=config)
    assert (after[0, 0] == before[0].sum(axis=0)).all()
    return run.cycles


# All of a star's wavelets take all hops: long ones are in `test_the_longest_star`.
REDUCES = [
    (name, p, b)
    for name in ("star", "chain", "two_phase")
    for p, b in ((8, 1), (8, 512), (32, 4), *CORNERS)
    if name != "star" or p * p * b <= 2**25
]


@pytest.mark.parametrize(("name", "p", "b"), REDUCES)
def test_a_reduce_takes_what_is_published(name, p, b):
    assert reduce_row(name, p, b) == costs.REDUCES[name](p, b, RAMP) + MORE[name]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["star", "chain", "two_phase"]), st.integers(4, 512),
    st.integers(1, 8192),
)  # fmt: skip
def test_a_reduce_of_any_size_takes_what_is_published(name, p, b):
    b = min(b, max(1, 2**18 // p**2 if name == "star" else 2**14 // p))
    assert reduce_row(name, p, b) == costs.REDUCES[name](p, b, RAMP) + MORE[name]


@pytest.mark.parametrize(
    "config",
    [
        FabricConfig(ramp_latency_cycles=1),
        FabricConfig(ramp_latency_cycles=5),
        FabricConfig.of(load_system("wse3")),
    ],
    ids=["short ramps", "long ramps", "wse3"],
)
def test_other_ramps_queues_and_memories_take_what_is_published(config):
    ramp = config.ramp_latency_cycles
    for p, b in ((4, 4), (16, 64), (64, 16)):
        for name in ("star", "chain", "two_phase"):
            published = costs.REDUCES[name](p, b, ramp)
            assert reduce_row(name, p, b, config) == published + MORE[name]
        bound = costs.tree_bound(p, b, ramp)
        assert bound <= reduce_row("tree", p, b, config) <= 1.06 * bound


def test_a_star_needs_the_hop_that_its_formula_leaves_out():
    # The star of two PEs is a message, whose formula, by the same authors, has it. So
    # all wavelets of a star, which come to the root over one link, take that.
    for b in (1, 7, 8192):
        message = costs.broadcast(2, b, RAMP)
        assert costs.star(2, b, RAMP) + 1 == message == reduce_row("star", 2, b)
    # It is more than 4 % for these alone:
    small = [(p, b) for p, b in CORNERS if costs.star(p, b, RAMP) < 25]
    assert small == [(4, 1), (4, 4), (16, 1)]


def test_two_phases_as_published_for_squares():
    for p, root in ((4, 2), (16, 4), (64, 8), (256, 16)):
        steps = (2 * RAMP + 1) * (2 * root - 2)
        assert costs.two_phase(p, 100, RAMP) == 2 * 100 + p - 1 + steps
    # For others the steps are the least whole number; from 44 PEs on that is no matter.
    for p in range(2, 513):
        steps = costs.two_phase(p, 1, RAMP) - 2 - (p - 1)
        assert steps == (2 * RAMP + 1) * (ceil(2 * p**0.5) - 2)
        published = 2 + p - 1 + (2 * RAMP + 1) * (2 * p**0.5 - 2)
        assert p < 44 or costs.two_phase(p, 1, RAMP) <= 1.04 * published


@pytest.mark.parametrize("p", [4, 8, 16, 32, 64, 128, 256, 512])
def test_a_tree_takes_what_is_published_or_can_be(p):
    """The formula adds the load of the links to the way, and a ramp's time a round.

    Few wavelets never queue, and rounds overlap: then a tree takes less, but never less
    than `tree_bound`. Where that is more than published, the formula is out of reach.
    """
    for b in (1, 2, 8, 16, 32, 40, 64, 128, 256, *([8192] * (p in ROW_SIZES))):
        cycles, published = reduce_row("tree", p, b), costs.tree(p, b, RAMP)
        bound = costs.tree_bound(p, b, RAMP)
        assert bound <= cycles <= 1.06 * bound, b
        assert 0.82 * published <= cycles <= 1.02 * max(published, bound), b
        if b == 1 or b >= 256:
            assert cycles == pytest.approx(published, rel=0.04), b


def test_the_bound_of_a_tree():
    # B + 2 T_R + 2, and B or the hops and the ramps' time for each further round.
    assert costs.tree_bound(8, 8, RAMP) == 8 + 6 + 8 + (4 + 5)
    assert costs.tree_bound(2, 100, RAMP) == costs.broadcast(2, 100, RAMP)
    # With seven PEs the last round brings the sum of three, over four hops.
    assert costs.tree_bound(7, 1, RAMP) == costs.tree_bound(3, 1, RAMP) + (4 + 5)
    # 8 % more than published: the most where P and B are powers of two.
    assert costs.tree_bound(512, 128, RAMP) == 1296
    assert costs.tree(512, 128, RAMP) == pytest.approx(1197, abs=1)


@pytest.mark.parametrize(("p", "b"), CORNERS)
def test_a_broadcast_takes_what_is_published(p, b):
    def write(phases, x):
        collectives.broadcast(collectives.rows(phases), x)

    before, after, run = execute(p, 1, b, write)
    assert (after == before[:, :1]).all()
    assert run.cycles == costs.broadcast(p, b, RAMP)


@pytest.mark.parametrize(
    ("p", "b"), [(2, 4), (3, 9), *(c for c in CORNERS if c[1] % c[0] == 0)]
)
def test_a_ring_takes_what_is_published(p, b):
    def write(phases, x):
        collectives.allreduce(collectives.rows(phases), x, "ring")

    before, after, run = execute(p, 1, b, write)
    assert (after == before.sum(axis=1)[:, None]).all()
    assert run.cycles == costs.ring(p, b, RAMP) + (MORE["ring"] if p > 3 else 0)


@pytest.mark.parametrize("name", costs.REDUCES)
@pytest.mark.parametrize(("p", "b"), [(4, 8192), (64, 256), (512, 1)])
def test_allreduces_take_what_is_published(name, p, b):
    def write(phases, x):
        collectives.allreduce(collectives.rows(phases), x, name)

    before, after, run = execute(p, 1, b, write)
    assert (after == before.sum(axis=1)[:, None]).all()
    published = costs.allreduce(name, p, b, RAMP)
    assert run.cycles == pytest.approx(published, rel=0.04)


@pytest.mark.parametrize(
    ("m", "n", "b"), [(2, 3, 1), (16, 16, 8192), (64, 32, 100), (512, 512, 1)]
)
def test_a_broadcast_over_a_rectangle_takes_what_is_published(m, n, b):
    before, after, run = execute(m, n, b, collectives.broadcast_2d)
    assert (after == before[0, 0]).all()
    assert run.cycles == costs.broadcast_2d(m, n, b, RAMP)


SIZES = [(4, 4, 8192), (16, 9, 144), (512, 4, 4), (8, 128, 128), (256, 256, 1)]
RECTANGLES = [
    (name, *size)
    for name in FORMULAS
    for size in SIZES
    if name != "ring" or size[2] % size[0] == size[2] % size[1] == 0
]


@pytest.mark.parametrize(("name", "m", "n", "b"), RECTANGLES)
def test_a_reduce_over_a_rectangle_is_one_of_rows_and_one_of_a_column(name, m, n, b):
    def write(phases, x):
        collectives.reduce_2d(phases, x, name)

    before, after, run = execute(m, n, b, write)
    assert (after[0, 0] == before.sum(axis=(0, 1))).all()
    if name == "tree":
        bound = sum(costs.tree_bound(p, b, RAMP) for p in (m, n))
        assert bound <= run.cycles <= 1.06 * bound
    else:
        parts = [FORMULAS[name](p, b, RAMP) + MORE[name] for p in (m, n)]
        assert sum(parts) - 1 <= run.cycles <= sum(parts)


@pytest.mark.parametrize("name", ["", *FORMULAS])
@pytest.mark.parametrize(("m", "n", "b"), [(6, 5, 30), (4, 4, 8192), (64, 32, 64)])
def test_an_allreduce_over_a_rectangle(name, m, n, b):
    def write(phases, x):
        collectives.allreduce_2d(phases, x, name)

    before, after, run = execute(m, n, b, write)
    assert (after == before.sum(axis=(0, 1))).all()
    best = sum(costs.best_reduce(p, b, RAMP)[1] for p in (m, n))
    least = best + costs.broadcast_2d(m, n, b, RAMP)
    if name == "":
        assert run.cycles <= 1.02 * least
    elif name == "ring":
        published = sum(costs.ring(p, b, RAMP) for p in (m, n))
        assert run.cycles == pytest.approx(published, abs=3)
    else:
        assert run.cycles >= 0.98 * least


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("p", [3, 5, 12])
def test_rows_of_any_length_and_values_of_any_type(name, p, dtype):
    def write(phases, x):
        collectives.allreduce(collectives.rows(phases), x, name)

    # Chunks and, of an odd number of PEs, arrays that fill no whole wavelets.
    before, after, _ = execute(p, 3, 3 * p, write, dtype)
    assert (after == before.sum(axis=1, dtype=dtype)[:, None]).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 5), (5, 1)])
@pytest.mark.parametrize("name", costs.REDUCES)
def test_rectangles_as_small_as_can_be(size, name):
    def write(phases, x):
        collectives.allreduce_2d(phases, x, name)
        # So that a PE alone has something to do as well.
        phase = phases.add()
        phase.roles[...] = phase.role(lambda _, task: task.add(x, x, 1.0))

    before, after, _ = execute(*size, 3, write)
    assert (after == before.sum(axis=(0, 1)) + 1).all()


def test_a_chain_rounds_as_numpy_does_in_its_order():
    layout = Layout(7, 1)
    x = layout.array("x", 33, "float16")
    phases = Phases(layout)
    collectives.chain(collectives.rows(phases), x)
    phases.place()
    fabric = Fabric(layout)
    values = np.random.default_rng(3).standard_normal((7, 33)).astype("float16")
    fabric.write(x, values, x=EVERY)
    fabric.run()
    want = values[-1]
    for row in values[-2::-1]:
        want = want + row
    np.testing.assert_array_equal(fabric.read(x)[0, 0], want)


@pytest.mark.parametrize("p", [2, 4, 5, 8, 16, 33, 64, 100, 512])
def test_the_reduce_that_is_chosen_is_measured_to_be_the_fastest(p):
    for b in (1, 4, 8, 16, 64, 256, 1024):
        # One that is given 1.3 times the fewest cycles takes more than these.
        chosen, fewest = costs.best_reduce(p, b, RAMP)
        cycles = {
            name: reduce_row(name, p, b)
            for name in costs.REDUCES
            if costs.REDUCES[name](p, b, RAMP) <= 1.3 * fewest
        }
        assert cycles[chosen] == min(cycles.values()), (b, cycles)


@pytest.mark.parametrize(("p", "length"), [(2, 64), (2, 3), (4, 4094), (4, 4096)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_allreduce_that_is_chosen_is_measured_to_be_the_fastest(p, length, dtype):
    def cycles(name):
        def write(phases, x):
            collectives.allreduce(collectives.rows(phases), x, name)

        before, after, run = execute(p, 1, length, write, dtype)
        assert (after == before.sum(axis=1, dtype=dtype)).all()
        return run.cycles

    names = [name for name in FORMULAS if name != "ring" or length % p == 0]
    assert cycles("") == min(map(cycles, names))


def test_what_is_refused():
    def refused(p, name, words):
        with pytest.raises(FabricError, match=words):
            execute(p, 1, 10, lambda phases, x: collectives.allreduce(
                collectives.rows(phases), x, name
            ))  # fmt: skip

    refused(4, "ring", "ring of 4 PEs on array 'x' of 10 elements.* a multiple of 4")
    refused(4, "two-phase", r"'two-phase' \(did you mean \"two_phase\"\?\): .* chain,")


@pytest.mark.slow
def test_the_longest_star():
    p, b = 512, 512
    assert reduce_row("star", p, b) == costs.star(p, b, RAMP) + MORE["star"]
