"""Optimizers and loss scaling against numpy, step by step."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from wafer_runtime.errors import ParamsError
from wafer_runtime.params import Params
from wafer_runtime.training import minimize, precision_policy

X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
TARGET = X @ np.array([[1.0], [-2.0], [0.5]], np.float32) + 0.3


def optimizer_params(**given):
    return Params(optimizer=given).model_dump()["optimizer"]


def run(steps, overflow_at=(), **given):
    """The weights and bias after each step of a linear regression, and the step."""
    with tf.Graph().as_default():
        weight = tf1.get_variable("w", initializer=np.ones((3, 1), np.float32))
        bias = tf1.get_variable("b", initializer=np.ones(1, np.float32))
        factor = tf1.placeholder(tf.float32, [])
        loss = tf.reduce_mean((X @ weight + bias - TARGET) ** 2) * factor
        step = tf1.train.get_or_create_global_step()
        train_op = minimize(loss, optimizer_params(**given))
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            history = []
            for i in range(steps):
                session.run(train_op, {factor: np.inf if i in overflow_at else 1.0})
                history.append(session.run([weight, bias]))
            return history, session.run(step)


def gradients(w, b):
    error = 2 * (X @ w + b - TARGET) / len(X)
    return X.T @ error, error.sum(0)


def adam(g, state, t, rate=0.1, beta1=0.9, beta2=0.999, epsilon=1e-8):
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * g
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * g**2
    rate *= np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return rate * state["m"] / (np.sqrt(state["v"]) + epsilon)


def momentum(g, state, t, rate=0.1):
    state["m"] = 0.9 * state.get("m", 0) + g
    return rate * state["m"]


def rmsprop(g, state, t, rate=0.1):
    # TensorFlow's mean square starts at one, and epsilon is inside the root.
    state["v"] = 0.9 * state.get("v", 1) + 0.1 * g**2
    return rate * g / np.sqrt(state["v"] + 1e-8)


RULES = {
    "sgd": lambda g, state, t: 0.1 * g,
    "momentum": momentum,
    "adam": adam,
    "adamw": adam,
    "rmsprop": rmsprop,
}


@pytest.mark.parametrize("kind", RULES)
def test_each_optimizer_follows_its_rule(kind):
    decay = 0.05 if kind == "adamw" else 0.0
    history, step = run(
        20, optimizer_type=kind, learning_rate=0.1, weight_decay_rate=decay
    )
    w, b, states = np.ones((3, 1)), np.ones(1), ({}, {})
    for t, (got_w, got_b) in enumerate(history, 1):
        gw, gb = gradients(w, b)
        w = w - 0.1 * decay * w - RULES[kind](gw, states[0], t)
        b = b - RULES[kind](gb, states[1], t)  # a bias does not decay
        np.testing.assert_allclose(got_w, w, rtol=2e-4, atol=2e-5, err_msg=f"step {t}")
        np.testing.assert_allclose(got_b, b, rtol=2e-4, atol=2e-5, err_msg=f"step {t}")
    assert step == 20


@pytest.mark.parametrize("scale", [1024.0, "dynamic"])
def test_loss_scaling_changes_nothing_where_nothing_overflows(scale):
    plain, _ = run(10, learning_rate=0.1)
    scaled, _ = run(10, learning_rate=0.1, loss_scaling_factor=scale)
    np.testing.assert_allclose(scaled[-1][0], plain[-1][0], rtol=1e-5)


def test_dynamic_loss_scaling_skips_a_step_that_overflows_but_counts_it():
    history, step = run(
        5, overflow_at={2}, learning_rate=0.1, loss_scaling_factor="dynamic"
    )
    np.testing.assert_array_equal(history[2][0], history[1][0])
    assert not np.array_equal(history[3][0], history[2][0])
    assert step == 5


def test_an_unknown_optimizer_is_refused():
    with tf.Graph().as_default(), pytest.raises(ParamsError, match="'lion' is not one"):
        minimize(tf.constant(1.0), optimizer_params() | {"optimizer_type": "lion"})


@pytest.mark.parametrize(
    ("model", "compute"),
    [({}, "float32"), ({"mixed_precision": True}, "float16")],
)
def test_mixed_precision_computes_in_fp16_and_keeps_fp32_weights(model, compute):
    policy = precision_policy(model)
    assert (policy.compute_dtype, policy.variable_dtype) == (compute, "float32")
