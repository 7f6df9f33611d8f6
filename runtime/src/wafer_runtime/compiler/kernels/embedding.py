"""Embeddings: rows of a table of weights, and their gradient."""

from collections.abc import Mapping

from wafer_runtime.compiler.hlo import Instruction
from wafer_runtime.compiler.kernels.library import (
    FLOATS,
    INDICES,
    KernelType,
    Sizes,
    share,
)


def _sizes(gather: Instruction, batch: int) -> dict[str, int]:
    rows, *width = gather.operands[0].shape
    columns = width[-1] if width else 1
    return {
        "vocabulary": rows,
        "width": columns,
        "lookups": share(gather.elements // columns, batch),
    }


def _spread(dims: Mapping[str, int]) -> Sizes:
    """The table over c and k, in each group of lookups; a row is looked up where it
    is.
    """
    lookups, rows, width = dims["lookups"], dims["vocabulary"], dims["width"]
    return Sizes(lookups, 1, rows, width, stored=True, latency=0.0)


EMBEDDING = KernelType(
    name="embedding",
    summary="Rows of a table of weights, looked up by int32 numbers; the gradient is "
    "added to the rows.",
    layers=(
        "tf_keras.layers.Embedding",
        "tf.nn.embedding_lookup",
        "tf.gather(weights, i)",
    ),
    dtypes=FLOATS + INDICES,
    takes=frozenset(["gather", "scatter"]),
    measured=frozenset(["gather"]),
    measure=_sizes,
    spread=_spread,
)
