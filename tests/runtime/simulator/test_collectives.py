"""Broadcasts, reduces and allreduces: sums as numpy's, cycles as published."""

import numpy as np
import pytest
from wafer_runtime.errors import FabricError
from wafer_runtime.simulator import collectives, costs
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout
from wafer_runtime.simulator.lines import Phases

RAMP = 2
EVERY = slice(None)
ROW_SIZES = (4, 16, 64, 512)
WAVELETS = (1, 4, 64, 512, 8192)
CORNERS = [(p, b) for p in ROW_SIZES for b in WAVELETS]


def execute(width, height, length, write, dtype="float32"):
    """The values before and after, and the run."""
    layout = Layout(width, height)
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


def reduce_row(name, p, b):
    """Cycles of a row's reduce, whose sum was right."""

    def write(phases, x):
        collectives.reduce(collectives.rows(phases), x, name)

    before, after, run = execute(p, 1, b, write)
    assert (after[0, 0] == before.sum(axis=1)[0]).all()
    return run.cycles


@pytest.mark.parametrize(("p", "b"), CORNERS)
def test_a_chain_takes_what_is_published(p, b):
    assert reduce_row("chain", p, b) == costs.chain(p, b, RAMP)


@pytest.mark.parametrize(("p", "b"), [(8, 1), (8, 512), (32, 4), *CORNERS])
def test_two_phases_take_what_is_published(p, b):
    assert reduce_row("two_phase", p, b) == costs.two_phase(p, b, RAMP)


def test_two_phases_as_published_for_squares():
    for p, root in ((4, 2), (16, 4), (64, 8), (256, 16)):
        steps = (2 * RAMP + 1) * (2 * root - 2)
        assert costs.two_phase(p, 100, RAMP) == 2 * 100 + p - 1 + steps
    # With 2 sqrt(512) not rounded up to whole groups it were 216.3 instead of 220.
    published = 2 + 511 + (2 * RAMP + 1) * (2 * 512**0.5 - 2)
    assert costs.two_phase(512, 1, RAMP) == pytest.approx(published, rel=0.04)


@pytest.mark.parametrize(("p", "b"), [c for c in CORNERS if c[0] ** 2 * c[1] < 2**25])
def test_a_star_takes_a_hop_more_than_published(p, b):
    # The formula has no hop in it; that of a single message, by the same authors, has.
    assert reduce_row("star", p, b) == costs.star(p, b, RAMP) + 1


@pytest.mark.parametrize(("p", "b"), CORNERS)
def test_a_tree_takes_what_is_published_or_can_be(p, b):
    cycles, published = reduce_row("tree", p, b), costs.tree(p, b, RAMP)
    if b < 2 * RAMP + 2:
        # Wavelets as few as these never wait for one another: what remains is the way,
        # and the formula's load of the links does not arise.
        steps = costs.log2(p)
        assert cycles == b + p - 1 + (2 * RAMP + 1) * steps
        assert cycles <= 1.04 * published
    else:
        bound = costs.tree_bound(p, b, RAMP)
        assert 0.96 * published <= cycles <= 1.04 * max(published, bound)


@pytest.mark.parametrize("p", [4, 8, 32, 128, 256, 512])
def test_how_far_the_tree_formula_is_off_between_the_corners(p):
    """It adds the load of links to the length of the way, be they used in turn or not.

    A few wavelets never queue, and take less than it says; up to P / 2 of them the last
    rounds' ways are long beside B, and cannot be hidden behind it as the formula does.
    """
    for b in (1, 2, 3, 6, 7, 8, 16, 32, 64, 96, 192, 1024):
        error = reduce_row("tree", p, b) / costs.tree(p, b, RAMP) - 1
        least = -0.20 if 1 < b <= 16 else -0.04
        most = 0.12 if 16 <= b <= p / 2 or (p, b) == (4, 16) else 0.04
        assert least <= error <= most, (b, error)


def test_where_the_tree_formula_promises_too_much():
    # 10 % more cycles than published; but 1285 is what no machine can undercut.
    assert costs.tree(512, 128, RAMP) == pytest.approx(1197, abs=1)
    assert costs.tree_bound(512, 128, RAMP) == 1285
    assert 1285 <= reduce_row("tree", 512, 128) <= 1.04 * 1285


@pytest.mark.parametrize(("p", "b"), CORNERS)
def test_a_broadcast_takes_what_is_published(p, b):
    def write(phases, x):
        collectives.broadcast(collectives.rows(phases), x)

    before, after, run = execute(p, 1, b, write)
    assert (after == before[:, :1]).all()
    assert run.cycles == costs.broadcast(p, b, RAMP)


@pytest.mark.parametrize(("p", "b"), [c for c in CORNERS if c[1] % c[0] == 0])
def test_a_ring_takes_what_is_published(p, b):
    def write(phases, x):
        collectives.ring(collectives.rows(phases), x)

    before, after, run = execute(p, 1, b, write)
    assert (after == before.sum(axis=1)[:, None]).all()
    # One hop less: of the two neighbouring links that a chunk does not take
    # a second time, one is two hops long; the formula counts one hop for each.
    assert run.cycles == costs.ring(p, b, RAMP) - 1


@pytest.mark.parametrize("name", [*collectives.REDUCES, "ring"])
@pytest.mark.parametrize("p", [4, 64])
def test_allreduces_take_what_is_published(name, p):
    def write(phases, x):
        collectives.allreduce(collectives.rows(phases), x, name)

    before, after, run = execute(p, 1, 256, write)
    assert (after == before.sum(axis=1)[:, None]).all()
    published = costs.allreduce(name, p, 256, RAMP)
    assert run.cycles == pytest.approx(published, rel=0.04)


@pytest.mark.parametrize(("m", "n", "b"), [(2, 3, 1), (16, 16, 8192), (64, 32, 100)])
def test_a_broadcast_over_a_rectangle_takes_what_is_published(m, n, b):
    before, after, run = execute(m, n, b, collectives.broadcast_2d)
    assert (after == before[0, 0]).all()
    assert run.cycles == costs.broadcast_2d(m, n, b, RAMP)


@pytest.mark.parametrize("name", ["chain", "two_phase", "tree", "star"])
@pytest.mark.parametrize(("m", "n", "b"), [(4, 4, 64), (16, 9, 32)])
def test_a_reduce_over_a_rectangle_is_one_of_rows_and_one_of_a_column(name, m, n, b):
    def write(phases, x):
        collectives.reduce_2d(phases, x, name)

    before, after, run = execute(m, n, b, write)
    assert (after[0, 0] == before.sum(axis=(0, 1))).all()
    separately = reduce_row(name, m, b) + reduce_row(name, n, b)
    # The parts overlap where early roots start the column before the last row is done.
    assert run.cycles <= separately


def test_an_allreduce_over_a_rectangle():
    before, after, run = execute(6, 5, 16, collectives.allreduce_2d)
    assert (after == before.sum(axis=(0, 1))).all()
    assert run.cycles > costs.broadcast_2d(6, 5, 16, RAMP)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize("name", [*collectives.REDUCES, "ring"])
@pytest.mark.parametrize("p", [3, 5, 12])
def test_rows_of_any_length_and_values_of_any_type(name, p, dtype):
    def write(phases, x):
        collectives.allreduce(collectives.rows(phases), x, name)

    before, after, _ = execute(p, 3, 2 * p, write, dtype)
    assert (after == before.sum(axis=1, dtype=dtype)[:, None]).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 5), (5, 1)])
@pytest.mark.parametrize("name", list(collectives.REDUCES))
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


@pytest.mark.parametrize(("p", "b"), [(4, 1), (8, 8), (64, 16), (512, 4), (64, 8192)])
def test_the_model_chooses_what_is_fastest(p, b):
    chosen = costs.best_reduce(p, b, RAMP)
    cycles = {n: reduce_row(n, p, b) for n in costs.REDUCES if p * p * b < 2**22}
    if cycles:
        assert cycles[chosen] <= 1.04 * min(cycles.values())
    assert costs.REDUCES[chosen](p, b, RAMP) == min(
        f(p, b, RAMP) for f in costs.REDUCES.values()
    )


def test_a_ring_needs_equal_chunks():
    def write(phases, x):
        collectives.ring(collectives.rows(phases), x)

    with pytest.raises(FabricError, match="ring of 4 PEs on array 'x' of 10 elements"):
        execute(4, 1, 10, write)
    with pytest.raises(FabricError, match="at least 3 PEs"):
        execute(2, 1, 10, write)


@pytest.mark.slow
def test_the_longest_star():
    p, b = 512, 1024
    assert reduce_row("star", p, b) == costs.star(p, b, RAMP) + 1
