"""What model_fns share: precision policies and optimizers."""

from wafer_runtime.training.optimizers import minimize
from wafer_runtime.training.precision import precision_policy

__all__ = ["minimize", "precision_policy"]
