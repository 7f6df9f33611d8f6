"""Convolutions in two dimensions, and their transposes."""

import math
from collections.abc import Mapping

from wafer_runtime.compiler.hlo import Instruction, valid_pairs
from wafer_runtime.compiler.kernels.library import KernelType, Sizes


def macs(conv: Instruction) -> int:
    """Multiply-accumulates of a batch; products with padding are none.

    For each place along each spatial dimension, the numbers of the window that meet one
    of the input; so forward pass and both gradients cost the same.
    """
    numbers = conv.proto.convolution_dimension_numbers
    places = math.prod(
        valid_pairs(conv.shape[out], window, conv.operands[0].shape[inside])
        for out, window, inside in zip(
            numbers.output_spatial_dimensions,
            conv.proto.window.dimensions,
            numbers.input_spatial_dimensions,
            strict=True,
        )
    )
    batch = conv.shape[numbers.output_batch_dimension]
    outputs = conv.shape[numbers.output_feature_dimension]
    kernel = conv.operands[1].shape
    inputs = kernel[numbers.kernel_input_feature_dimension]
    return batch * outputs * inputs * places


def _sizes(conv: Instruction, batch: int) -> dict[str, int]:
    """As the published cost model names them: H, W, R, S, C, K, T, U."""
    numbers = conv.proto.convolution_dimension_numbers
    kernel = conv.operands[1].shape
    rows, columns = conv.proto.window.dimensions
    high, wide = (conv.operands[0].shape[d] for d in numbers.input_spatial_dimensions)
    above, beside = (conv.shape[d] for d in numbers.output_spatial_dimensions)
    groups = conv.proto.feature_group_count or 1
    return {
        "H": high,
        "W": wide,
        "R": rows.size,
        "S": columns.size,
        "C": kernel[numbers.kernel_input_feature_dimension] * groups,
        "K": conv.shape[numbers.output_feature_dimension],
        "T": rows.stride,
        "U": columns.stride,
        "output_height": above,
        "output_width": beside,
        "dilation": max(rows.window_dilation, columns.window_dilation),
        "upsampling": max(rows.base_dilation, columns.base_dilation),
        "groups": groups,
    }


def _spread(dims: Mapping[str, int]) -> Sizes:
    """By the published parameters; a group of channels has inputs of its own."""
    high, wide = (1 + (dims[n] - 1) * dims["dilation"] for n in "RS")
    return Sizes(
        rows=dims["H"],
        columns=dims["W"],
        inputs=dims["C"] // dims["groups"],
        outputs=dims["K"],
        window=(dims["R"], dims["S"]),
        reach=(high, wide),
        strides=(dims["T"], dims["U"]),
        products=True,
        stored=True,
        latency=min(1.0, high / dims["H"]),
    )


CONV2D = KernelType(
    name="conv2d",
    summary="A convolution with strides, dilation, groups or channel by channel "
    "(depthwise), with bias and activation. Conv1D is one of height 1.",
    layers=(
        "tf_keras.layers.Conv2D",
        "layers.DepthwiseConv2D",
        "layers.SeparableConv2D",
        "layers.Conv1D",
        "tf.nn.conv2d",
        "tf.nn.depthwise_conv2d",
    ),
    ops=frozenset(["Conv2D", "DepthwiseConv2dNative"]),
    opcodes=frozenset(["convolution"]),
    takes=frozenset(["reduce"]),
    measured=frozenset(["convolution"]),
    measure=_sizes,
    spread=_spread,
)

CONV2D_TRANSPOSE = KernelType(
    name="conv2d_transpose",
    summary="A convolution that enlarges: the gradient of a strided one, used forward.",
    layers=("tf_keras.layers.Conv2DTranspose", "tf.nn.conv2d_transpose"),
    ops=frozenset(["Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput"]),
    takes=frozenset(["reduce"]),
    measured=frozenset(["convolution"]),
    measure=_sizes,
    spread=_spread,
)
