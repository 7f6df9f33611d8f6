"""What the placer promises: legal, repeatable, and close to the bound."""

import dataclasses
import random
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from placeable import chain, check, conv_kernel
from wafer_runtime.compiler.kernels.cost import Conv
from wafer_runtime.compiler.placing import Task, Weights
from wafer_runtime.compiler.placing.search import place
from wafer_runtime.errors import MappingError

counts = st.integers(1, 64)
convs = st.builds(
    Conv, counts, counts, st.integers(1, 3), st.integers(1, 3), counts, counts
)


@st.composite
def tasks(draw):
    shapes = draw(st.lists(convs, min_size=1, max_size=12))
    kernels = tuple(conv_kernel(f"k{i}", conv) for i, conv in enumerate(shapes))
    places = st.integers(0, len(kernels) - 1)
    pairs = draw(st.lists(st.tuples(places, places), max_size=16))
    edges = tuple((a, b) for a, b in pairs if a != b)
    weights = Weights(
        draw(st.sampled_from([0, 1])),
        draw(st.sampled_from([0, 1, 40])),
        draw(st.sampled_from([0, 0, 100])),
    )
    size = draw(st.tuples(st.integers(150, 250), st.integers(150, 250)))
    return Task(kernels, edges, *size, weights)


@settings(max_examples=15, deadline=None)
@given(tasks())
@example(chain(2, weights=Weights(0, 0, 100)))  # which may cost nothing at all
def test_any_graph_is_placed_legally(task):
    placement = place(task, iterations=1)
    check(placement)
    assert placement.delta_t_cycles > placement.bound_cycles * 0.999 - 1


def test_the_same_seed_and_iterations_give_the_same_again():
    task = chain(9, weights=Weights(1, 4, 10))
    told = []
    first = place(
        task, seconds=0.7, seed=3, progress=lambda done, objective: told.append(done)
    )
    assert told == list(range(1, first.iterations + 1))
    again = place(task, seed=3, iterations=first.iterations)
    assert again == first
    assert first.seed == 3


def test_delta_t_is_close_to_the_bound_of_the_areas():
    placement = place(chain(12), iterations=4)
    check(placement)
    assert placement.delta_t_cycles <= 1.08 * placement.bound_cycles


def test_wire_that_costs_much_brings_kernels_close():
    near = place(chain(8, weights=Weights(1, 100)), iterations=2)
    far = place(chain(8, weights=Weights(1, 0)), iterations=2)
    assert near.wire_length < far.wire_length / 2
    assert far.delta_t_cycles < near.delta_t_cycles


def test_an_edge_that_carries_much_is_short():
    task = chain(12, weights=Weights(1, 1))
    edges = (*task.edges, (0, 11))

    def length(load):
        loads = (1.0,) * len(task.edges) + (load,)
        placed = place(
            dataclasses.replace(task, edges=edges, loads=loads), iterations=2
        )
        (ax, ay), (bx, by) = placed.placed[0].centre, placed.placed[11].centre
        return abs(ax - bx) + abs(ay - by)

    assert length(1000.0) < length(1.0) / 2


def test_adapters_that_cost_much_are_few():
    cheap = place(chain(8, weights=Weights(1, 1, 0)), iterations=2)
    dear = place(chain(8, weights=Weights(1, 1, 10_000)), iterations=2)
    check(dear)
    assert dear.adapters < cheap.adapters / 2


def test_less_memory_needs_other_executions():
    free, tight = (place(chain(6, limit_words=n), iterations=1) for n in (24_576, 150))
    assert max(placed.cost.memory_words for placed in free.placed) > 150
    check(tight)


def test_a_search_goes_on_until_something_fits():
    rng = random.Random(7)
    kernels = tuple(
        conv_kernel(
            f"k{i}",
            Conv(1, 1, 1, 1, rng.randint(20, 60), rng.randint(20, 60)),
            rng.randint(15, 40),
        )
        for i in range(14)
    )
    tight = Task(kernels, (), 56, 60)
    with pytest.raises(MappingError, match="in 1 iterations"):
        place(tight, iterations=1)
    assert place(tight, seconds=0.001).iterations > 1


def test_time_is_kept():
    started = time.monotonic()
    place(chain(40, width=600, height=600), seconds=1)
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_a_thousand_kernels():
    rng = random.Random(1)
    kernels = tuple(
        conv_kernel(f"k{i}", Conv(14, 14, 3, 3, rng.choice((8, 16)), 16))
        for i in range(1000)
    )
    edges = tuple((i, i + 1) for i in range(999))
    placement = place(Task(kernels, edges, 633, 633), iterations=4)
    check(placement)
    assert placement.delta_t_cycles < 1.4 * placement.bound_cycles


def test_a_kernel_that_needs_more_memory_is_named():
    big = conv_kernel("big", Conv(1, 1, 7, 7, 1, 1), 40)
    task = dataclasses.replace(chain(2), kernels=(*chain(2).kernels, big))
    with pytest.raises(MappingError) as caught:
        place(task, iterations=1)
    assert caught.value.exit_code == 3
    # Its 49 weights, and 49 outputs of a PE that has them all.
    text = "big: needs 98 16-bit words a PE, limit 40, 58 short"
    assert text in str(caught.value)
    assert "k0" not in str(caught.value)


def test_a_kernel_that_is_larger_than_the_fabric_is_named():
    kernels = (
        conv_kernel("tiny", Conv(1, 1, 1, 1, 1, 1)),
        conv_kernel("wide", Conv(1, 1, 3, 3, 1024, 4096)),
    )
    with pytest.raises(MappingError, match="wide: ") as caught:
        place(Task(kernels, ((0, 1),), 20, 15), iterations=1)
    assert "tiny" not in str(caught.value)


def test_kernels_that_need_more_area_than_there_is():
    with pytest.raises(MappingError) as caught:
        place(chain(60, width=15, height=15), iterations=1)
    # The least: h = w = c = k = 1, two PEs by three.
    assert "need 360 PEs at least" in str(caught.value)
    assert "15 x 15 has 225, which are 135 short" in str(caught.value)


def test_areas_that_fit_but_cannot_be_packed():
    kernels = tuple(conv_kernel(f"k{i}", Conv(1, 1, 1, 1, 1, 1)) for i in range(4))
    told = "no placement was found .*, but fill 96.0% of it at least"
    with pytest.raises(MappingError, match=told):
        place(Task(kernels, (), 5, 5), iterations=1)
