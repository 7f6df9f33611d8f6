"""What TensorFlow's update operations compute, as TensorFlow code on values.

On the wafer a variable is a value that comes in and goes out: `ResourceApplyAdam` and
its like become the arithmetic they stand for (the formulas are those in TensorFlow's
documentation of each operation).
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# For each type of operation: `rule(op, variables, numbers) -> new values`, where
# `variables` are the values of the handles among its inputs and `numbers` the others.
Rule = Callable[[tf.Operation, list[Any], list[Any]], list[Any]]


def _descent(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
    (weight,), (rate, gradient) = variables, numbers
    return [weight - rate * gradient]


def _momentum(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
    (weight, total), (rate, gradient, momentum) = variables, numbers
    total = momentum * total + gradient
    step = gradient + momentum * total if op.get_attr("use_nesterov") else total
    return [weight - rate * step, total]


def _keras_momentum(
    op: tf.Operation, variables: list[Any], numbers: list[Any]
) -> list[Any]:
    (weight, total), (rate, gradient, momentum) = variables, numbers
    total = momentum * total - rate * gradient
    if op.get_attr("use_nesterov"):
        return [weight + momentum * total - rate * gradient, total]
    return [weight + total, total]


def _adam(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
    weight, m, v = variables
    power1, power2, rate, beta1, beta2, epsilon, gradient = numbers
    m = m + (gradient - m) * (1 - beta1)
    v = v + (tf.square(gradient) - v) * (1 - beta2)
    rate = rate * tf.sqrt(1 - power2) / (1 - power1)
    step = m * beta1 + gradient * (1 - beta1) if op.get_attr("use_nesterov") else m
    return [weight - rate * step / (tf.sqrt(v) + epsilon), m, v]


def _adamax(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
    weight, m, v = variables
    power1, rate, beta1, beta2, epsilon, gradient = numbers
    m = beta1 * m + (1 - beta1) * gradient
    v = tf.maximum(beta2 * v, tf.abs(gradient))
    return [weight - rate / (1 - power1) * m / (v + epsilon), m, v]


def _amsgrad(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
    weight, m, v, greatest = variables
    power1, power2, rate, beta1, beta2, epsilon, gradient = numbers
    m = m + (gradient - m) * (1 - beta1)
    v = v + (tf.square(gradient) - v) * (1 - beta2)
    greatest = tf.maximum(greatest, v)
    rate = rate * tf.sqrt(1 - power2) / (1 - power1)
    return [weight - rate * m / (tf.sqrt(greatest) + epsilon), m, v, greatest]


def _rmsprop(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
    (weight, square, total), (rate, rho, momentum, epsilon, gradient) = (
        variables,
        numbers,
    )
    square = square + (tf.square(gradient) - square) * (1 - rho)
    total = momentum * total + rate * gradient * tf.math.rsqrt(square + epsilon)
    return [weight - total, square, total]


def _centered_rmsprop(
    op: tf.Operation, variables: list[Any], numbers: list[Any]
) -> list[Any]:
    weight, mean, square, total = variables
    rate, rho, momentum, epsilon, gradient = numbers
    square = square + (tf.square(gradient) - square) * (1 - rho)
    mean = mean + (gradient - mean) * (1 - rho)
    root = tf.math.rsqrt(square - tf.square(mean) + epsilon)
    total = momentum * total + rate * gradient * root
    return [weight - total, mean, square, total]


def _adagrad(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
    (weight, total), (rate, *epsilon, gradient) = variables, numbers
    total = total + tf.square(gradient)
    root = tf.sqrt(total) + epsilon[0] if epsilon else tf.sqrt(total)
    return [weight - rate * gradient / root, total]


def _adadelta(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
    (weight, total, moved), (rate, rho, epsilon, gradient) = variables, numbers
    total = rho * total + (1 - rho) * tf.square(gradient)
    step = gradient * tf.sqrt(moved + epsilon) * tf.math.rsqrt(total + epsilon)
    moved = rho * moved + (1 - rho) * tf.square(step)
    return [weight - rate * step, total, moved]


def _scattered(change: Callable[..., Any]) -> Rule:
    def rule(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
        (weight,), (indices, values) = variables, numbers
        return [change(weight, tf.expand_dims(indices, -1), values)]

    return rule


def _scattered_nd(change: Callable[..., Any]) -> Rule:
    def rule(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
        (weight,), (indices, values) = variables, numbers
        return [change(weight, indices, values)]

    return rule


def _spread(rule: Rule) -> Rule:
    """The rule for a gradient of some rows, which leaves the others as they are."""

    def spread(op: tf.Operation, variables: list[Any], numbers: list[Any]) -> list[Any]:
        names = [argument.name for argument in op.op_def.input_arg]
        given = dict(zip(names[len(variables) :], numbers, strict=True))
        indices = tf.expand_dims(given.pop("indices"), -1)
        shape = tf.constant(variables[0].shape.as_list(), indices.dtype)
        given["grad"] = tf.scatter_nd(indices, given["grad"], shape)
        times = tf.scatter_nd(indices, tf.ones_like(indices[:, 0]), shape[:1])
        there = tf.reshape(times > 0, [-1, *[1] * (variables[0].shape.rank - 1)])
        new = rule(op, variables, list(given.values()))
        return [tf.where(there, n, old) for n, old in zip(new, variables, strict=False)]

    return spread


RULES: dict[str, Rule] = {
    "AssignVariableOp": lambda op, variables, numbers: [tf.identity(numbers[0])],
    "AssignAddVariableOp": lambda op, variables, numbers: [variables[0] + numbers[0]],
    "AssignSubVariableOp": lambda op, variables, numbers: [variables[0] - numbers[0]],
    "ResourceApplyGradientDescent": _descent,
    "ResourceApplyMomentum": _momentum,
    "ResourceApplyKerasMomentum": _keras_momentum,
    "ResourceApplyAdam": _adam,
    "ResourceApplyAdaMax": _adamax,
    "ResourceApplyAdamWithAmsgrad": _amsgrad,
    "ResourceApplyRMSProp": _rmsprop,
    "ResourceApplyCenteredRMSProp": _centered_rmsprop,
    "ResourceApplyAdagrad": _adagrad,
    "ResourceApplyAdagradV2": _adagrad,
    "ResourceApplyAdadelta": _adadelta,
    "ResourceScatterAdd": _scattered(tf.tensor_scatter_nd_add),
    "ResourceScatterSub": _scattered(tf.tensor_scatter_nd_sub),
    "ResourceScatterUpdate": _scattered(tf.tensor_scatter_nd_update),
    "ResourceScatterNdAdd": _scattered_nd(tf.tensor_scatter_nd_add),
    "ResourceScatterNdSub": _scattered_nd(tf.tensor_scatter_nd_sub),
    "ResourceScatterNdUpdate": _scattered_nd(tf.tensor_scatter_nd_update),
}

RULES |= {
    name.replace("Apply", "SparseApply"): _spread(rule)
    for name, rule in RULES.items()
    if "Apply" in name
}
# The same for variables of the old kind, which are no resources.
RULES |= {
    name.removeprefix("Resource").removesuffix("VariableOp"): rule
    for name, rule in RULES.items()
}
