"""The published cost functions, against figures worked out by hand and by search."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wafer_runtime.compiler.contest import cblock, dblock
from wafer_runtime.compiler.kernels.cost import (
    UNBOUNDED,
    Conv,
    ConvKernel,
    Execution,
    conv_cost,
)

LIMIT = 24_576


def test_a_strided_convolution_by_hand():
    conv = Conv(H=14, W=14, R=3, S=3, C=512, K=512, T=2, U=2)
    cost = conv_cost(conv, h=7, w=2, c=8, k=4)
    assert (cost.height, cost.width) == (7 * 2 * 9, 12)
    assert cost.time_cycles == 2 * 7 * 64 * 128 * 9 / 4
    assert cost.memory_words == 64 * 128 * 9 + (16 / 2) * (16 / 7) * 128


def test_what_does_not_divide_is_rounded_up_in_time_only():
    cost = conv_cost(Conv(7, 5, 1, 1, 10, 10), h=2, w=2, c=3, k=4)
    assert cost.time_cycles == 4 * 3 * 4 * 3
    assert cost.memory_words == 10 / 3 * 10 / 4 + 5 / 2 * 7 / 2 * 10 / 4


def test_a_dblock_by_hand():
    kernel = ConvKernel(dblock(56, 56, 256), LIMIT)
    cost = kernel.cost(Execution(7, 7, (4, 2, 8), (2, 8, 4)))
    assert cost.height == 49 * 9
    assert cost.width == 3 * (2 + 8 + 4)
    # 1x1 256 to 64: 64 passes of 64 x 32; 3x3: 32 x 8 x 9; 1x1 64 to 256: 8 x 64.
    assert cost.time_cycles == 64 * max(64 * 32, 32 * 8 * 9, 8 * 64)
    assert cost.memory_words == max(
        64 * 32 + 8 * 8 * 32, 32 * 8 * 9 + 58 / 7 * 58 / 7 * 8, 8 * 64 + 8 * 8 * 64
    )


def test_a_cblock_by_hand():
    kernel = ConvKernel(cblock(28, 28, 64), LIMIT)
    cost = kernel.cost(Execution(2, 4, (32, 16, 4, 8), (16, 2, 8, 64)))
    assert (cost.height, cost.width) == (8 * 33, 3 * (16 + 2 + 8 + 64))
    times = (14 * 7, 14 * 7 * 8 * 9 / 4, 7 * 4 * 4 * 8, 14 * 7 * 4 / 4)
    assert cost.time_cycles == max(times)


sizes = st.builds(
    Conv,
    *(st.integers(1, 6), st.integers(1, 6)),
    *(st.integers(1, 3), st.integers(1, 3)),
    *(st.integers(1, 6), st.integers(1, 6)),
    *(st.integers(1, 2), st.integers(1, 2)),
)


@settings(max_examples=60, deadline=None)
@given(sizes, st.floats(1, 400), st.integers(4, 200), st.integers(3, 40))
# Three columns a PE take no less time than two, but less memory.
@example(Conv(1, 4, 1, 3, 1, 1), 6.0, 5, 6)
def test_the_least_widths_are_those_that_a_search_finds(conv, cycles, limit, side):
    kernel = ConvKernel((conv,), limit)
    found = np.full(side + 1, UNBOUNDED)
    ranges = (range(1, n + 1) for n in (conv.H, conv.W, conv.C, conv.K))
    for run in itertools.product(*ranges):
        cost = conv_cost(conv, *run)
        fits = cost.time_cycles <= cycles and cost.memory_words <= limit
        if fits and cost.width <= side and cost.height <= side:
            found[cost.height :] = np.minimum(found[cost.height :], cost.width)
    widths = kernel.min_widths(cycles, side, kernel.spreads)
    assert widths[:, 0].tolist() == found.tolist()
    for height in range(1, side + 1):
        width, h, w, c, k = widths[height].tolist()
        if width < UNBOUNDED:
            run = kernel.fit(cycles, (height, width), (h, w), c, k)
            cost = kernel.cost(run)
            assert (run.c, run.k) == ((c,), (k,))
            assert cost.height <= height
            assert cost.width == width
            assert cost.time_cycles <= cycles
            assert cost.memory_words <= limit


@settings(max_examples=40, deadline=None)
@given(
    st.lists(sizes, min_size=1, max_size=4),
    st.floats(1, 400),
    st.tuples(st.integers(2, 60), st.integers(3, 60)),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_what_fits_a_box_fits_it(convs, cycles, box, spread):
    kernel = ConvKernel(tuple(convs), 150)
    run = kernel.fit(cycles, box, spread)
    spreads = np.array([spread], np.int64)
    side = max(box)
    least = kernel.min_widths(cycles, side, spreads)[box[0], 0]
    assert (run is not None) == (least <= box[1])
    if run:
        cost = kernel.cost(run)
        assert cost.width == least
        assert cost.height <= box[0]
        assert cost.time_cycles <= cycles
        assert cost.memory_words <= 150 + 1e-6


def test_a_word_more_than_there_is_does_not_fit():
    # One weight and one output for each k: two words more than a PE has.
    kernel = ConvKernel((Conv(1, 1, 1, 1, 1, 2_000_000_001),), 4_000_000_000)
    execution = kernel.fit(1e18, (2, 9), (1, 1))
    assert execution.k == (2,)
    assert kernel.cost(execution).memory_words <= kernel.memory_limit_words


@pytest.mark.smoke
def test_limits_of_a_kernel():
    kernel = ConvKernel((Conv(4, 4, 3, 3, 8, 8), Conv(4, 4, 1, 1, 8, 2)), LIMIT)
    assert kernel.slowest_cycles == 4 * 4 * 8 * 8 * 9
    assert kernel.least_memory_words == 9 + 6 / 4 * 6 / 4
