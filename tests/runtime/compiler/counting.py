"""Multiply-accumulates counted from HLO, independently of the compiler's own way."""

import itertools
import math


def instructions(module):
    (entry,) = [c for c in module.computations if c.id == module.entry_computation_id]
    return {i.id: i for i in entry.instructions}


def macs_of_dot(dot, by_id):
    """Numbers of the result times those summed for each."""
    left = by_id[dot.operand_ids[0]].shape.dimensions
    summed = dot.dot_dimension_numbers.lhs_contracting_dimensions
    return math.prod(dot.shape.dimensions) * math.prod(left[d] for d in summed)


def macs_of_convolution(conv, by_id):
    """By walking over every place of the window and every number in it."""
    numbers = conv.convolution_dimension_numbers
    image = by_id[conv.operand_ids[0]].shape.dimensions
    kernel = by_id[conv.operand_ids[1]].shape.dimensions
    pairs = 1
    for out, inside, w in zip(
        numbers.output_spatial_dimensions,
        numbers.input_spatial_dimensions,
        conv.window.dimensions,
        strict=True,
    ):
        size = (image[inside] - 1) * w.base_dilation + 1
        real = set(range(0, size, w.base_dilation))
        pairs *= sum(
            o * w.stride + k * w.window_dilation - w.padding_low in real
            for o, k in itertools.product(
                range(conv.shape.dimensions[out]), range(w.size)
            )
        )
    outer = conv.shape.dimensions[numbers.output_batch_dimension]
    outer *= conv.shape.dimensions[numbers.output_feature_dimension]
    return pairs * outer * kernel[numbers.kernel_input_feature_dimension]


def constants(by_id):
    """What is known when compiling, and so is no work of a step."""
    found = set()
    for number, i in by_id.items():  # operands first
        given = i.opcode.startswith(("parameter", "rng"))
        if not given and found.issuperset(i.operand_ids):
            found.add(number)
    return found


def macs_of_hlo(module):
    by_id = instructions(module)
    count = {"dot": macs_of_dot, "convolution": macs_of_convolution}
    known = constants(by_id)
    work = (i for number, i in by_id.items() if number not in known)
    return sum(count[i.opcode](i, by_id) for i in work if i.opcode in count)
