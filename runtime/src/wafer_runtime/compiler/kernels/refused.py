"""What the wafer does not run, with the reason and what to use instead."""

from typing import NamedTuple

from wafer_runtime.compiler.kernels.library import LOOPS, MOST_TURNS
from wafer_runtime.compiler.kernels.optimizers import UPDATE_RULES


class Refusal(NamedTuple):
    """Why something cannot be on the wafer.

    opcodes: HLO instructions that are it. also: more names under which it is known.
    ops: types of TensorFlow operations that are it.
    """

    reason: str
    instead: str
    opcodes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()


REFUSED = {
    "tf.py_function": Refusal(
        "Python code runs on the host only",
        "TensorFlow operations, or do it in input_fn",
        also=("tf.numpy_function",),
        ops=("PyFunc", "PyFuncStateless", "EagerPyFunc"),
    ),
    "tf.strings": Refusal(
        "text does not travel to the wafer", "make numbers of it in input_fn"
    ),
    "tf.while_loop": Refusal(
        f"loops whose length follows from the data, or is above {MOST_TURNS}, and "
        "branches that XLA keeps, run on the host only",
        "a condition on counters and constants alone; for samples of many lengths all "
        "steps and a mask, such as tf_keras.layers.LSTM(...)(x, mask=...)",
        ("while", "conditional"),
        ("tf.map_fn", "tf.scan", "tf.compat.v1.nn.dynamic_rnn(cell, x, lengths)"),
        LOOPS,
    ),
    "tf.switch_case": Refusal(
        "branches of more than two sides run on the host only",
        "tf.cond in tf.cond, or tf.where(condition, x, y)",
        ops=("Case", "StatelessCase"),
    ),
    "tf.lookup": Refusal(
        "tables and generators with a state of their own are on the host only",
        "look up in input_fn; tf.random.uniform and its like draw on the wafer",
        also=("tf.lookup.StaticHashTable", "tf.random.Generator"),
        ops=("RngReadAndSkip", "RngSkip"),
    ),
    "tf.boolean_mask": Refusal(
        "the size of its result depends on the data",
        "keep the size and mask: tf.where(condition, x, 0); or do it in input_fn",
        ("get-dimension-size", "set-dimension-size"),
        ("tf.unique", "tf.where(condition)"),
    ),
    "tf.dynamic_partition": Refusal(
        "the sizes of its parts depend on the data",
        "a table in one piece: one variable, without a partitioner, and tf.gather",
        also=("tf.nn.embedding_lookup([table, table], i)",),
        ops=("DynamicPartition",),
    ),
    "tf.sort": Refusal(
        "the wafer does not sort",
        "tf.reduce_max or tf.argmax; or sort on the host, in host_call or input_fn",
        ("sort", "topk"),
        ("tf.argsort", "tf.math.top_k"),
        ("TopKV2", "TopK", "InTopK", "InTopKV2"),
    ),
    "tf.signal.fft": Refusal(
        "there is no kernel for Fourier transforms",
        "do it in input_fn",
        ("fft",),
        ops=("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D", "RFFT", "IRFFT"),
    ),
    "complex": Refusal(
        "complex numbers are not supported",
        "real numbers: keep the real and the imaginary part as two tensors",
        ("complex", "real", "imag"),
    ),
    "float64": Refusal("float64 is not supported", "float32, float16 or bfloat16"),
    "int64": Refusal(
        "there is no 64-bit integer arithmetic", "int32: tf.cast(x, tf.int32)"
    ),
    "tf.linalg.cholesky": Refusal(
        "there is no kernel for decompositions of matrices",
        "products (tf.matmul), or do it in input_fn",
        ("cholesky", "triangular-solve"),
        ("tf.linalg.svd", "tf.linalg.qr", "tf.linalg.eigh", "tf.linalg.inv"),
        (
            "Cholesky",
            "Svd",
            "Qr",
            "SelfAdjointEigV2",
            "MatrixInverse",
            "MatrixSolve",
            "MatrixTriangularSolve",
            "MatrixDeterminant",
            "LogMatrixDeterminant",
        ),
    ),
    "tf_keras.layers.Conv3D": Refusal(
        "there are no convolutions in three dimensions",
        "a Conv2D for each slice: fold the depth into the batch or the channels",
        also=("layers.Conv3DTranspose", "tf.nn.conv3d"),
        ops=("Conv3D", "Conv3DBackpropInputV2", "Conv3DBackpropFilterV2"),
    ),
    "int8": Refusal(
        "there is no arithmetic on 8 and 16-bit integers",
        "int32 or a float: tf.cast(x, tf.int32)",
        also=("uint8", "int16", "uint16"),
    ),
    "tf.keras.metrics": Refusal(
        "the Keras metrics API is not supported",
        "tf.compat.v1.metrics in host_call (an EstimatorSpec's eval_metric_ops)",
    ),
    "tf.compat.v1.placeholder": Refusal(
        "nobody feeds a placeholder", "make it a feature that input_fn returns"
    ),
    "other update rules": Refusal(
        "this update rule is not in the kernel library",
        f"one of {', '.join(rule.name for rule in UPDATE_RULES)}",
        also=("tf.compat.v1.train.FtrlOptimizer", "Ftrl", "ProximalAdagrad", "Lion"),
    ),
    "other writes of variables": Refusal(
        "this write of a variable is not in the kernel library",
        "variable.assign(x), assign_add, or tf.compat.v1.scatter_nd_update",
        also=("variable[0].assign(x)",),
    ),
    "tensors without numbers": Refusal(
        "one of its dimensions is 0, so that there is nothing to compute",
        "at least one number in every tensor, or leave the operation out",
        also=("tf.zeros([batch_size, 0])",),
    ),
    "unknown to XLA": Refusal(
        "XLA, and so the wafer, does not know this operation",
        "another one that does the same, or do it in input_fn",
    ),
}
