"""Cycles of the dense and conv programs, beside the compiler's cost functions."""

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from wafer_runtime.compiler.kernels.cost import Execution
from wafer_runtime.compiler.kernels.spread import Spread, rates_of
from wafer_runtime.simulator import attention, kernels
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.machine import FabricConfig
from wafer_runtime.system import SYSTEMS, load_system

PROGRAMS = (kernels.forward, kernels.input_gradient, kernels.weight_gradient)
PASSES = st.sampled_from(range(3))
NAMES = st.sampled_from(SYSTEMS)
DTYPES = st.sampled_from(["float16", "float32"])


def program_cycles(tile, number, system, dtype):
    pes = kernels.Pes(config=FabricConfig.of(system), dtype=dtype)
    return Fabric(PROGRAMS[number](tile, pes).layout).run().cycles


def cost_cycles(number, system, dtype, rows, columns, **sizes):
    item_bytes = 2 if dtype == "float16" else 4
    plain = {"window": (1, 1), "strides": (1, 1), "work": 1.0, "operations": 0.0}
    spread = Spread(
        rows=rows,
        columns=columns,
        passes=tuple(float(i == number) for i in range(3)),
        sum_rows=1.0,
        weight_words=1.0,
        weight_rows=1,
        reach=(1, 1),
        transfer_bytes=0,
        weight_transfer_bytes=0,
        held_words=0.0,
        rates=rates_of(system, item_bytes),
        memory_limit_words=1 << 20,
        **(plain | sizes),
    )
    return spread.compute_cycles(Execution(1, 1, (1,), (1,)))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 32), *[st.integers(1, 40)] * 2, PASSES, NAMES, DTYPES)
@example(1, 64, 48, 2, "wse2", "float16")
def test_a_block_of_positions_through_a_dense_layer(
    positions, inputs, outputs, number, name, dtype
):
    system = load_system(name)
    tile = kernels.Dense(positions, inputs, outputs)
    sizes = {"inputs": inputs, "outputs": outputs}
    cost = cost_cycles(number, system, dtype, positions, 1, **sizes)
    assert program_cycles(tile, number, system, dtype) == pytest.approx(cost, abs=1)


@settings(max_examples=60, deadline=None)
@given(
    *[st.integers(1, 9)] * 3,
    st.integers(1, 10),
    st.tuples(*[st.integers(1, 3)] * 2),
    st.sampled_from([(1, 1), (2, 2), (1, 2), (2, 1)]),
    *(PASSES, NAMES, DTYPES),
)
def test_a_convolution(
    channels, filters, rows, columns, kernel, strides, number, name, dtype
):
    # Without a window positions come in blocks, of which the program is one.
    assume(kernel != (1, 1) or rows * columns <= 32)
    system = load_system(name)
    height, width = (
        (n - 1) * stride + k
        for n, stride, k in zip((rows, columns), strides, kernel, strict=True)
    )
    tile = kernels.Conv(channels, filters, height, width, kernel, strides)
    cost = cost_cycles(
        number,
        system,
        dtype,
        rows * strides[0],
        columns * strides[1],
        inputs=channels,
        outputs=filters,
        window=kernel,
        strides=strides,
    )
    assert program_cycles(tile, number, system, dtype) == pytest.approx(cost, abs=1)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_attention(name, dtype):
    """Its products, and what XLA counts for each weight in the softmax."""
    n, d, system = 32, 32, load_system(name)

    def cycles(write):
        config = FabricConfig.of(system)
        made = attention.attention(1, n, d, dtype, config)
        write(made)
        return Fabric(made.layout).run().cycles

    def cost(operations, *sizes):
        made = (
            cost_cycles(number, system, dtype, n, 1, inputs=inner, outputs=outputs)
            for number, inner, outputs in sizes
        )
        alone = cost_cycles(
            None, system, dtype, n, n, inputs=1, outputs=1, work=0.0,
            operations=operations,
        )  # fmt: skip
        return sum(made) + alone

    # Scaled, less the greatest, raised, divided by the sum.
    forward = cost(6 * n * n, (0, d, n), (0, n, d))
    assert cycles(attention.forward) == pytest.approx(forward, rel=0.05)
    # Times the weights and summed; less that, times the weights, scaled.
    both = (1, d, n), (2, d, n), (1, n, d), (2, n, d)
    gradient = cost(5 * n * n, *both)
    assert cycles(attention.gradient) == pytest.approx(gradient, rel=0.05)
