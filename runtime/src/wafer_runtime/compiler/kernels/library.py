"""What a kernel of the library is, and the arithmetic that all of them may hold."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from wafer_runtime.compiler.hlo import Instruction

FLOATS = ("float32", "float16", "bfloat16")
INDICES = ("int32",)

# Arithmetic on single numbers, which any kernel may do on its way.
_ELEMENTWISE = """
    abs add and atan2 bitcast-convert cbrt ceil clamp compare convert cosine divide erf
    exponential exponential-minus-one floor is-finite log log-plus-one logistic maximum
    minimum multiply negate not or popcnt power reduce-precision remainder
    round-nearest-afz round-nearest-even rsqrt select shift-left shift-right-arithmetic
    shift-right-logical sign sine sqrt subtract tan tanh xor
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
# Changes of place or form.
_MOVEMENT = """
    bitcast broadcast concatenate copy dynamic-slice dynamic-update-slice gather
    get-tuple-element optimization-barrier pad reshape reverse scatter slice transpose
    tuple
"""
MOVEMENT = frozenset(_MOVEMENT.split())
# Types of TensorFlow operations that are loops, or parts of TensorFlow 1's.
LOOPS = ("While", "StatelessWhile", "Enter", "Exit", "NextIteration", "LoopCond")
# Of a loop: each is layers of its own, of which no wafer holds that many.
MOST_TURNS = 512
SOURCES = frozenset(["constant", "iota", "parameter"])


class Sizes(NamedTuple):
    """What a kernel is spread by (see `spread.Spread`), for one sample.

    products: whether it multiplies along `inputs`. bilinear: whether it multiplies
    activations, each of which has a gradient. stored: whether it keeps `inputs` by
    `outputs` numbers, as weights are. latency: the share of a sample that has to be
    there before the first output is.
    """

    rows: int
    columns: int = 1
    inputs: int = 1
    outputs: int = 1
    window: tuple[int, int] = (1, 1)
    reach: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    products: bool = False
    bilinear: bool = False
    stored: bool = False
    latency: float = 1.0


def streamed(elements: int, latency: float = 0.0) -> Sizes:
    """Of a kernel that works on single numbers: they go to a rectangle of PEs, row by
    row, as many rows as columns; each row has a port."""
    rows = math.isqrt(max(elements, 1))
    return Sizes(rows, outputs=-(-max(elements, 1) // rows), latency=latency)


@dataclasses.dataclass(frozen=True)
class KernelType:
    """A kernel of the library.

    ops: types of TensorFlow operations that make a kernel of this kind. opcodes: HLO
    instructions that do, whatever they come from. layers: how models write it. takes:
    more HLO instructions that it can hold. limits: what it does not do, each a text and
    `breaks(instruction)`. measure: the sizes for one sample, from its first instruction
    that is one of `measured`, or else the one that gives most numbers. spread: by what
    it is spread over PEs, from these sizes and `operations`, its arithmetic results.
    """

    name: str
    summary: str
    layers: tuple[str, ...]
    measure: Callable[[Instruction, int], Mapping[str, int]]
    ops: frozenset[str] = frozenset()
    opcodes: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()
    dtypes: tuple[str, ...] = FLOATS
    limits: tuple["Limit", ...] = ()
    measured: frozenset[str] = frozenset()
    spread: Callable[[Mapping[str, int]], Sizes] = lambda dims: streamed(
        dims.get("elements", 1)
    )


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a kernel cannot do, and what to use instead."""

    text: str
    breaks: Callable[[Instruction], bool]
    instead: str


def per_sample(shape: Iterable[int], batch: int) -> tuple[int, ...]:
    """The shape of one sample of a tensor; without a batch dimension, the whole."""
    shape = tuple(shape)
    if shape and shape[0] == batch:
        return shape[1:]
    if shape and shape[0] % batch == 0:
        return (shape[0] // batch, *shape[1:])
    return shape


def share(total: int, batch: int) -> int:
    """What one sample has of a batch's total, rounded up."""
    return -(-total // batch)


def elements(instruction: Instruction, batch: int) -> dict[str, int]:
    """Sizes of a kernel that takes its numbers one by one."""
    shape = instruction.parts[0][1] if instruction.parts else instruction.shape
    return {"elements": share(math.prod(shape), batch)}


def outer_and_width(instruction: Instruction, batch: int) -> dict[str, int]:
    """Sizes of a kernel that works along the last dimension."""
    shape = instruction.shape or (1,)
    rows = share(math.prod(shape[:-1]), batch)
    return {"rows": rows, "width": shape[-1]}
