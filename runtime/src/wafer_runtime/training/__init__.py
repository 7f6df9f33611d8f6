"""What model_fns share: precision policies, schedules, optimizers."""

from wafer_runtime.training.minimize import minimize
from wafer_runtime.training.optimizers import AdamWOptimizer, LAMBOptimizer
from wafer_runtime.training.precision import precision_policy
from wafer_runtime.training.schedules import learning_rate_at

__all__ = [
    "AdamWOptimizer",
    "LAMBOptimizer",
    "learning_rate_at",
    "minimize",
    "precision_policy",
]
