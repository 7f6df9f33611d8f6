"""Makes the randomness of a training step a function of the number of the batch.

TensorFlow's stateful random kernels each hold a counter, so a step would draw other
numbers in the in-graph loop than outside it, and after a restart. Here every random
operation of the step's own graph is replaced by its stateless twin, keyed by the
operation's seeds and a count of batches that goes on from the global step. So the steps
may run one at a time or many in a call, and a resumed run draws what the uninterrupted
one would have drawn. Random operations inside functions (tf.function, tf.cond, loops)
and those without a twin here stay as they are, and keep the step out of the loop.

The operations replaced stay in the graph: who fetches one by its name gets numbers that
the step did not use. Fetch what is computed from them instead.
"""

import random
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.estimator.graph import ancestors

_PHILOX = 1
_TWINS: dict[str, Callable[..., Any]] = {
    "RandomUniform": tf.raw_ops.StatelessRandomUniformV2,
    "RandomStandardNormal": tf.raw_ops.StatelessRandomNormalV2,
    "TruncatedNormal": tf.raw_ops.StatelessTruncatedNormalV2,
    "RandomUniformInt": tf.raw_ops.StatelessRandomUniformIntV2,
}


def tie_to_batch(
    targets: Iterable[tf.Operation], global_step: tf.Variable
) -> tuple[tf.Operation, tf.Operation]:
    """Replace the random operations that `targets` depend on.

    Returns the operation that counts a batch, to be run with each, and the one that
    starts the count, once the global step is loaded.
    """
    random_ops = [op for op in ancestors(targets) if _can_replace(op)]
    if not random_ops:
        return tf.no_op(), tf.no_op()
    # Not the global step itself: a model may advance it once in several batches.
    count = tf1.get_variable(
        "wafer_batches",
        initializer=global_step.read_value(),
        trainable=False,
        use_resource=True,
        collections=[],
    )
    batch = count.read_value()
    # Philox counts draws in the low word; a batch never draws 2^64 numbers.
    counter = tf.stack([tf.constant(0, tf.uint64), tf.cast(batch, tf.uint64)])
    unseeded = random.SystemRandom().getrandbits(32)
    for op in random_ops:
        _replace(op, _key(op, unseeded), counter)
    return count.assign(batch + 1, read_value=False), count.initializer


def _can_replace(op: tf.Operation) -> bool:
    # A loop or branch of TensorFlow 1 cannot use what is outside it as it is.
    return op.type in _TWINS and op._get_control_flow_context() is None


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
        twin = _TWINS[op.type](
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
