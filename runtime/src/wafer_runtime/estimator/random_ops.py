"""Makes the randomness of a training step a function of the global step.

TensorFlow's stateful random kernels each hold a counter, so a step would draw other
numbers in the in-graph loop than outside it, and after a restart. Here every random
operation that the step depends on is replaced by its stateless twin, keyed by the
operation's seeds and the global step. So the steps may run one at a time or many in a
call, and a resumed run draws what the uninterrupted one would have drawn.
"""

import random
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

_PHILOX = 1
TWINS: dict[str, Callable[..., Any]] = {
    "RandomUniform": tf.raw_ops.StatelessRandomUniformV2,
    "RandomStandardNormal": tf.raw_ops.StatelessRandomNormalV2,
    "TruncatedNormal": tf.raw_ops.StatelessTruncatedNormalV2,
    "RandomUniformInt": tf.raw_ops.StatelessRandomUniformIntV2,
}


def tie_to_step(targets: Iterable[tf.Operation], step_variable: tf.Variable) -> None:
    """Replace the random operations that `targets` depend on."""
    step_ops = ancestors(targets)
    random_ops = [op for op in step_ops if op.type in TWINS]
    if not random_ops:
        return
    with tf.name_scope("wafer_random"):
        step = tf.cast(step_variable.read_value(), tf.uint64)
    for op in step_ops:
        if op.type.startswith("Assign") and op.inputs[0] is step_variable.handle:
            op._add_control_input(step.op)
    # Philox counts draws in the low word; a step never draws 2^64 numbers.
    counter = tf.stack([tf.constant(0, tf.uint64), step])
    unseeded = random.SystemRandom().getrandbits(32)
    for op in random_ops:
        _replace(op, _key(op, unseeded), counter)


def ancestors(targets: Iterable[tf.Operation]) -> list[tf.Operation]:
    """`targets` and all operations that they depend on, in a stable order."""
    seen: dict[tf.Operation, None] = {}
    stack = list(targets)
    while stack:
        op = stack.pop()
        if op not in seen:
            seen[op] = None
            stack += [t.op for t in op.inputs] + list(op.control_inputs)
    return list(seen)


def _key(op: tf.Operation, unseeded: int) -> int:
    seed, seed2 = op.get_attr("seed"), op.get_attr("seed2")
    if seed == 0 and seed2 == 0:
        # No graph or operation seed: new numbers each run, others for each operation.
        seed, seed2 = unseeded, zlib.crc32(op.name.encode())
    return (seed & 0xFFFFFFFF) << 32 | (seed2 & 0xFFFFFFFF)


def _replace(op: tf.Operation, key: int, counter: tf.Tensor) -> None:
    bounds = {}
    if op.type == "RandomUniformInt":
        bounds = {"minval": op.inputs[1], "maxval": op.inputs[2]}
    else:
        bounds = {"dtype": op.get_attr("dtype")}
    with tf.control_dependencies(op.control_inputs), tf.device(op.device):
        twin = TWINS[op.type](
            shape=op.inputs[0],
            key=tf.constant([key], tf.uint64),
            counter=counter,
            alg=_PHILOX,
            **bounds,
        )
    for consumer in op.outputs[0].consumers():
        for index, tensor in enumerate(consumer.inputs):
            if tensor is op.outputs[0]:
                consumer._update_input(index, twin)
