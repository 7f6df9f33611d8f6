"""Costs of the library's kernels."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wafer_runtime.compiler.kernels.cost import UNBOUNDED, Conv, Execution, conv_cost
from wafer_runtime.compiler.kernels.spread import Rates, Spread, rates_of
from wafer_runtime.system import load_system

PUBLISHED = Rates(1.0, 1.0, 1.0, issue_cycles=0.0, link_bytes=4)
SIZES = st.integers(1, 5)
PASSES = st.tuples(*[st.sampled_from([0.0, 1.0])] * 2).map(lambda more: (1.0, *more))


def spread(**given):
    """A kernel of one product a sample, unless more is given."""
    plain = {
        "rows": 1,
        "columns": 1,
        "inputs": 1,
        "outputs": 1,
        "window": (1, 1),
        "reach": (1, 1),
        "strides": (1, 1),
        "work": 1.0,
        "passes": (1.0, 1.0, 1.0),
        "operations": 0.0,
        "transfer_bytes": 0,
        "weight_transfer_bytes": 0,
        "sum_rows": 1.0,
        "weight_words": 1.0,
        "weight_rows": 1,
        "held_words": 0.0,
        "rates": PUBLISHED,
        "memory_limit_words": 24576,
    }
    return Spread(**plain | given)


@settings(deadline=None)
@given(st.tuples(*[SIZES] * 6), st.tuples(*[SIZES] * 4))
def test_without_what_was_added_it_is_the_published_convolution(sizes, parts):
    conv = Conv(*sizes, T=1, U=2)
    h, w, c, k = map(min, parts, (conv.H, conv.W, conv.C, conv.K))
    kernel = spread(
        rows=conv.H,
        columns=conv.W,
        inputs=conv.C,
        outputs=conv.K,
        window=(conv.R, conv.S),
        reach=(conv.R, conv.S),
        strides=(1, 2),
    )
    execution = Execution(h, w, (c,), (k,))
    published = conv_cost(conv, h, w, c, k)
    got = kernel.cost(execution)
    # A part of a cycle is a cycle.
    assert got.time_cycles == np.ceil(published.time_cycles)
    # The groups of a row are side by side.
    assert got.height * w == published.height
    assert got.width == published.width * w
    assert got.memory_words == pytest.approx(published.memory_words)


kernels = st.builds(
    spread,
    rows=SIZES,
    columns=SIZES,
    inputs=SIZES,
    outputs=SIZES,
    window=st.tuples(SIZES, SIZES),
    reach=st.tuples(SIZES, SIZES),
    strides=st.sampled_from([(1, 1), (1, 2), (2, 2)]),
    work=st.sampled_from([0.0, 1.0, 1.5]),
    passes=PASSES,
    operations=st.floats(0, 500),
    transfer_bytes=st.integers(0, 500),
    weight_transfer_bytes=st.integers(0, 500),
    sum_rows=st.sampled_from([0.0, 1.0]),
    weight_words=st.floats(0, 3),
    held_words=st.floats(0, 300),
    rates=st.just(rates_of(load_system("wse2"), 2)),
    memory_limit_words=st.integers(20, 200),
)


def least_widths(kernel, limit_cycles, side):
    """By trying everything."""
    best = np.full(side + 1, UNBOUNDED)
    for h, w, c, k in itertools.product(*(range(1, int(n) + 1) for n in kernel[:4])):
        cost = kernel.cost(Execution(h, w, (c,), (k,)))
        fits = max(cost.height, cost.width) <= side
        fits &= cost.memory_words <= kernel.memory_limit_words
        if fits and cost.time_cycles <= limit_cycles:
            best[cost.height] = min(best[cost.height], cost.width)
    return np.minimum.accumulate(best)


@settings(deadline=None)
@given(kernels, st.integers(1, 400), st.integers(1, 24))
# Three rows of PEs for four of positions are no better than two.
@example(spread(rows=4, columns=2, work=0.0, passes=(1.0, 0.0, 0.0), transfer_bytes=5,
                weight_transfer_bytes=10, sum_rows=0.0,
                rates=rates_of(load_system("wse2"), 2)), 3, 3)  # fmt: skip
def test_the_narrowest_is_found_for_each_height(kernel, limit_cycles, side):
    table = kernel.min_widths(limit_cycles, side, kernel.spreads)
    for height, (width, h, w, c, k) in enumerate(table.tolist()):
        if width < UNBOUNDED:
            cost = kernel.cost(Execution(h, w, (c,), (k,)))
            assert (cost.width, cost.height <= height) == (width, True)
            found = kernel.cost(kernel.fit(limit_cycles, (height, width), (h, w)))
            assert found.width == width
            assert found.time_cycles <= limit_cycles
            assert found.memory_words <= kernel.memory_limit_words
    # What only takes less memory than a smaller one, not less time, is left out.
    assert (table[:, 0] >= least_widths(kernel, limit_cycles, side)).all()
    roomy = kernel._replace(memory_limit_words=10**9)
    table = roomy.min_widths(limit_cycles, side, kernel.spreads)
    assert table[:, 0].tolist() == least_widths(roomy, limit_cycles, side).tolist()


def test_gaps_of_a_dilation_are_kept_too():
    close = spread(rows=8, columns=8, inputs=2, window=(3, 3), reach=(3, 3))
    wide = close._replace(reach=(5, 5))
    half = Execution(2, 1, (1,), (1,))
    more = wide.cost(half).memory_words - close.cost(half).memory_words
    # Half of the rows each, and those beyond them that the window meets.
    assert more == (8 + 4) / 2 * (8 + 4) - (8 + 2) / 2 * (8 + 2)
    assert wide.cost(half).time_cycles == close.cost(half).time_cycles


def test_a_row_of_outputs_is_as_long_as_the_stride_of_columns_leaves_it():
    rates = rates_of(load_system("wse2"), 2)
    gradient = spread(rows=8, columns=8, window=(3, 3), rates=rates, passes=(0, 0, 1))
    whole = Execution(1, 1, (1,), (1,))
    # Dot products along 4 rows of 8 outputs, or along 8 rows of 4, two in a cycle.
    lengths = {(2, 1): 4 * 4, (1, 2): 8 * 2}
    for strides, cycles in lengths.items():
        given = gradient._replace(strides=strides)
        assert given.compute_cycles(whole) == 9 * (1 + cycles)


def test_a_layer_waits_for_its_inputs():
    rates = rates_of(load_system("wse2"), 2)
    layer = spread(inputs=784, outputs=500, transfer_bytes=2 * 784, rates=rates)
    # Two 16-bit numbers a wavelet, one port.
    assert layer.cost(Execution(1, 1, (784,), (500,))).time_cycles == 392
    sequence = layer._replace(rows=128, transfer_bytes=128 * 2 * 784)
    assert sequence.transfer_cycles(Execution(4, 1, (784,), (500,))) == 32 * 392
    # 64 groups side by side, and a row for inputs and one for sums.
    image = layer._replace(columns=64, transfer_bytes=64 * 2 * 784)
    assert image.transfer_cycles(Execution(1, 64, (1,), (1,))) == 32 * 392


def test_positions_make_products_twice_as_fast():
    rates = rates_of(load_system("wse2"), 2)
    one = spread(inputs=64, outputs=64, rates=rates)
    whole = Execution(1, 1, (1,), (1,))
    # A row of 64 sums for each input, and a cycle to start it.
    assert one.compute_cycles(whole) == 64 * (1 + 64)
    many = one._replace(rows=64)
    # In two blocks of 32 positions, two of which are multiplied in a cycle.
    assert many.compute_cycles(whole) == 64 * 64 * 2 * (1 + 16)
