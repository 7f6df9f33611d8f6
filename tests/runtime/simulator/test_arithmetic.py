"""Random vector instructions: element by element what numpy gives, at the rate told."""

import numpy as np
import pytest
from fabric_programs import program_of
from hypothesis import given, settings
from hypothesis import strategies as st
from wafer_runtime.simulator.fabric import Fabric
from wafer_runtime.simulator.layout import Layout

SIZE = 12
OPS = {
    "mov": lambda _, a, b: a,
    "add": lambda _, a, b: a + b,
    "sub": lambda _, a, b: a - b,
    "mul": lambda _, a, b: a * b,
    "max": lambda _, a, b: np.maximum(a, b),
    "min": lambda _, a, b: np.minimum(a, b),
    "mac": lambda c, a, b: c + a * b,
}
ELEMENTS_A_CYCLE = {"float32": 1, "float16": 2, "int32": 1}

number = st.integers(-9, 9)
# Array, start and stride of an operand of at most four elements.
operand = st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 3))
instruction = st.tuples(
    st.sampled_from(list(OPS)), st.integers(1, 4), operand, operand, operand | number
)


def where(operand, length):
    _, start, stride = operand
    return [start + k * stride for k in range(length)]


def view(arrays, operand, length):
    array, start, stride = operand
    if stride == 0:
        return arrays[array][start].times(length)
    return arrays[array][start : start + stride * (length - 1) + 1 : stride]


def compute(values, op, length, to, a, b):
    """One element after another, so that what was written may be read."""
    for k in range(length):
        one, other = (
            values.dtype.type(x) if isinstance(x, int) else values[x[0], where(x, 4)[k]]
            for x in (a, b)
        )
        at = to[0], where(to, 4)[k]
        values[at] = OPS[op](values[at], one, other)


@pytest.mark.parametrize("dtype", list(ELEMENTS_A_CYCLE))
@settings(max_examples=40, deadline=None)
@given(program=st.lists(instruction, min_size=1, max_size=8), seed=st.integers(0, 99))
def test_instructions_on_overlapping_views(dtype, program, seed):
    # In memory a sum is read, too, and so only one of its other operands.
    program = [(op, n, to, a, 3 if op == "mac" else b) for op, n, to, a, b in program]
    layout = Layout(1, 1)
    arrays = [layout.array(name, SIZE, dtype) for name in "xy"]

    def write(_, task):
        for op, n, to, a, b in program:
            others = [b if isinstance(b, int) else view(arrays, b, n)]
            operands = [view(arrays, a, n), *(others if op != "mov" else [])]
            getattr(task, op)(view(arrays, to, n), *operands)

    layout.place(program_of("random", write))
    fabric = Fabric(layout)
    values = np.random.default_rng(seed).standard_normal((2, SIZE)) * 9
    values = values.astype(dtype)
    for array, given_values in zip(arrays, values, strict=True):
        fabric.write(array, given_values)
    run = fabric.run()
    with np.errstate(over="ignore"):
        for op, n, to, a, b in program:
            compute(values, op, n, to, a, b)
    found = np.stack([fabric.read(array)[0, 0] for array in arrays])
    np.testing.assert_array_equal(found, values)
    assert run.cycles == sum(-(-n // ELEMENTS_A_CYCLE[dtype]) for _, n, *_ in program)
