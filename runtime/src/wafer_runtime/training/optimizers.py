"""The update rules: TensorFlow's own, AdamW and LAMB."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import ParamsError


def make_optimizer(given: Mapping[str, Any], rate: tf.Tensor) -> Any:
    """The optimizer of the `optimizer` section, with `rate` as its learning rate."""
    kind = given["optimizer_type"]
    adam = {name: given[name] for name in ("beta1", "beta2", "epsilon")}
    decay = given["weight_decay_rate"], given["exclude_from_weight_decay"]
    match kind:
        case "sgd":
            return tf1.train.GradientDescentOptimizer(rate)
        case "momentum":
            return tf1.train.MomentumOptimizer(rate, given["momentum"])
        case "adam":
            return tf1.train.AdamOptimizer(rate, **adam)
        case "adamw":
            return AdamWOptimizer(rate, *decay, **adam)
        case "lamb":
            return LAMBOptimizer(rate, *decay, **adam)
        case "rmsprop":
            return tf1.train.RMSPropOptimizer(
                rate,
                given["rmsprop_decay"],
                given["rmsprop_momentum"],
                given["epsilon"],
            )
    raise ParamsError(
        f"optimizer.optimizer_type: {kind!r} is not one of sgd, momentum, adam, adamw, "
        "lamb, rmsprop"
    )


def decays(variable: tf.Variable, exclude: Sequence[str]) -> bool:
    """Whether weight decay shrinks a variable.

    Biases and normalisation weights (rank below 2) are left alone, and so are names
    that one of the regexes `exclude` is found in.
    """
    named = any(re.search(pattern, variable.op.name) for pattern in exclude)
    return variable.shape.rank > 1 and not named


class AdamWOptimizer(tf1.train.AdamOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2)."""

    def __init__(
        self,
        learning_rate: Any,
        weight_decay_rate: float,
        exclude_from_weight_decay: Sequence[str] = (),
        **adam: Any,
    ):
        super().__init__(learning_rate, name="AdamW", **adam)
        self._shrink = learning_rate * weight_decay_rate
        self._exclude = exclude_from_weight_decay

    def apply_gradients(
        self, grads_and_vars: Any, global_step: Any = None, name: str | None = None
    ) -> Any:
        """One update; the decay uses the weights from before it."""
        pairs = [(g, v) for g, v in grads_and_vars if g is not None]
        # Weights may shrink only when no gradient needs their old values any more.
        with tf.control_dependencies([g for g, _ in pairs]):
            shrunk = [
                v.assign_sub(self._shrink * v, read_value=False)
                for _, v in pairs
                if decays(v, self._exclude)
            ]
        with tf.control_dependencies(shrunk):
            return super().apply_gradients(pairs, global_step, name)


class LAMBOptimizer(tf1.train.AdamOptimizer):
    """Adam's step with decay, scaled to the weights (You et al., 2020, algorithm 2).

    Variables that do not decay are not scaled either, as in the paper's experiments.
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay_rate: float,
        exclude_from_weight_decay: Sequence[str] = (),
        **adam: Any,
    ):
        super().__init__(learning_rate, name="LAMB", **adam)
        self._decay_rate = weight_decay_rate
        self._exclude = exclude_from_weight_decay

    def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable) -> Any:
        beta1_power, beta2_power = self._get_beta_accumulators()
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        m = m.assign(self._beta1_t * m + (1 - self._beta1_t) * grad)
        v = v.assign(self._beta2_t * v + (1 - self._beta2_t) * grad**2)
        root = tf.sqrt(v / (1 - beta2_power)) + self._epsilon_t
        step = m / (1 - beta1_power) / root
        if decays(var, self._exclude):
            step += self._decay_rate * var
            weight_norm, step_norm = tf.norm(var), tf.norm(step)
            usable = (weight_norm > 0) & (step_norm > 0)
            step *= tf.where(usable, tf.math.divide_no_nan(weight_norm, step_norm), 1.0)
        return var.assign_sub(self._lr_t * step, read_value=False)

    def _resource_apply_sparse_duplicate_indices(
        self, grad: tf.Tensor, handle: tf.Variable, indices: tf.Tensor
    ) -> Any:
        # The norms are those of the whole variable.
        dense = tf.scatter_nd(indices[:, tf.newaxis], grad, handle.shape)
        return self._resource_apply_dense(dense, handle)
