"""The kernel library: what the wafer can run. `wafer ops` is printed from it."""

from wafer_runtime.compiler.kernels.conv import CONV2D, CONV2D_TRANSPOSE
from wafer_runtime.compiler.kernels.dropout import DROPOUT
from wafer_runtime.compiler.kernels.elementwise import ELEMENTWISE_CHAIN
from wafer_runtime.compiler.kernels.embedding import EMBEDDING
from wafer_runtime.compiler.kernels.library import KernelType
from wafer_runtime.compiler.kernels.matmul import BATCHED_MATMUL, DENSE
from wafer_runtime.compiler.kernels.movement import MOVE
from wafer_runtime.compiler.kernels.normalization import NORMALIZATION
from wafer_runtime.compiler.kernels.optimizers import UPDATE_RULES, UpdateRule
from wafer_runtime.compiler.kernels.pooling import POOLING
from wafer_runtime.compiler.kernels.reduction import REDUCTION
from wafer_runtime.compiler.kernels.scaling import GRADIENT_SCALING
from wafer_runtime.compiler.kernels.softmax import CROSS_ENTROPY, SOFTMAX

LIBRARY: tuple[KernelType, ...] = (
    DENSE,
    BATCHED_MATMUL,
    CONV2D,
    CONV2D_TRANSPOSE,
    POOLING,
    EMBEDDING,
    SOFTMAX,
    CROSS_ENTROPY,
    NORMALIZATION,
    DROPOUT,
    REDUCTION,
    ELEMENTWISE_CHAIN,
    MOVE,
    GRADIENT_SCALING,
)

__all__ = ["LIBRARY", "UPDATE_RULES", "KernelType", "UpdateRule"]
