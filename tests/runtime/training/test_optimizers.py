"""Optimizers and loss scaling against numpy, step by step."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from wafer_runtime.errors import ParamsError
from wafer_runtime.schema import Params
from wafer_runtime.training import minimize, precision_policy

X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
TRUE = np.array([[1.0], [-2.0], [0.5]], np.float32)


def optimizer_params(**given):
    return Params(optimizer=given).model_dump()["optimizer"]


def run(steps, overflow_at=(), batches=None, **given):
    """A linear regression: [weight, bias] after each step, and the last summaries."""
    with tf.Graph().as_default():
        weight = tf1.get_variable("w", initializer=np.ones((3, 1), np.float32))
        bias = tf1.get_variable("b", initializer=np.ones(1, np.float32))
        factor = tf1.placeholder(tf.float32, [])
        x = tf1.placeholder(tf.float32, [None, 3])
        target = x @ TRUE + 0.3
        loss = tf.reduce_mean((x @ weight + bias - target) ** 2) * factor
        train_op = minimize(loss, optimizer_params(**given))
        summaries = tf1.summary.merge_all()
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            history = []
            for i in range(steps):
                feed = {factor: np.inf if i in overflow_at else 1.0}
                feed[x] = X if batches is None else batches[i]
                session.run(train_op, feed)
                history.append(session.run([weight, bias]))
            found = tf1.Summary.FromString(session.run(summaries))
            values = {value.tag: value.simple_value for value in found.value}
            step = session.run(tf1.train.get_global_step())
            return history, values | {"step": step}


def gradients(w, b, x=X):
    error = 2 * (x @ w + b - (x @ TRUE + 0.3)) / len(x)
    return x.T @ error, error.sum(0)


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
    "lamb": adam,
    "rmsprop": rmsprop,
}


def assert_follows(history, rule, decay=0.0, clip=lambda gw, gb: (gw, gb)):
    """Step by step, from the weights that numpy arrives at."""
    w, b, states = np.ones((3, 1)), np.ones(1), ({}, {})
    for t, (got_w, got_b) in enumerate(history, 1):
        gw, gb = clip(*gradients(w, b))
        if rule not in ("adamw", "lamb"):
            gw = gw + decay * w
        step = RULES[rule](gw, states[0], t)
        if rule == "adamw":
            step = step + 0.1 * decay * w
        if rule == "lamb":
            step = step / 0.1 + decay * w
            step = 0.1 * step * np.linalg.norm(w) / np.linalg.norm(step)
        w = w - step
        b = b - RULES[rule](gb, states[1], t)  # a bias neither decays nor is scaled
        np.testing.assert_allclose(got_w, w, rtol=3e-4, atol=3e-5, err_msg=f"step {t}")
        np.testing.assert_allclose(got_b, b, rtol=3e-4, atol=3e-5, err_msg=f"step {t}")


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("rule", RULES)
def test_each_optimizer_follows_its_rule(rule, decay):
    history, after = run(
        20, optimizer_type=rule, learning_rate=0.1, weight_decay_rate=decay
    )
    assert_follows(history, rule, decay)
    assert after["step"] == 20


def rmsprop_with_momentum(g, state, t):
    state["m"] = 0.5 * state.get("m", 0) + rmsprop(g, state, t)
    return state["m"]


@pytest.mark.parametrize(
    ("rule", "given", "formula"),
    [
        ("adam", {"beta1": 0.5}, lambda *a: adam(*a, beta1=0.5)),
        ("adamw", {"beta2": 0.9}, lambda *a: adam(*a, beta2=0.9)),
        ("adam", {"epsilon": 0.1}, lambda *a: adam(*a, epsilon=0.1)),
        ("rmsprop", {"rmsprop_momentum": 0.5}, rmsprop_with_momentum),
    ],
)
def test_the_settings_of_a_rule_reach_it(monkeypatch, rule, given, formula):
    monkeypatch.setitem(RULES, rule, formula)
    history, _ = run(20, optimizer_type=rule, learning_rate=0.1, **given)
    assert_follows(history, rule)


def test_variables_can_be_excluded_from_decay_by_name():
    history, _ = run(
        5,
        optimizer_type="adamw",
        learning_rate=0.1,
        weight_decay_rate=0.05,
        exclude_from_weight_decay=["^w$"],
    )
    assert_follows(history, "adam")


def test_gradients_are_clipped_by_their_common_norm():
    def clip(gw, gb):
        norm = np.sqrt((gw**2).sum() + (gb**2).sum())
        return [g * min(1, 0.5 / norm) for g in (gw, gb)]

    history, _ = run(20, optimizer_type="sgd", learning_rate=0.1, max_gradient_norm=0.5)
    assert_follows(history, "sgd", clip=clip)


def test_gradients_are_clipped_by_value():
    def clip(gw, gb):
        return np.clip(gw, -0.2, 0.2), np.clip(gb, -0.2, 0.2)

    history, _ = run(
        20, optimizer_type="sgd", learning_rate=0.1, max_gradient_value=0.2
    )
    assert_follows(history, "sgd", clip=clip)


@pytest.mark.parametrize("scale", [1.0, "dynamic"])
def test_accumulating_four_batches_equals_one_of_four_times_the_size(scale):
    given = {
        "learning_rate": {
            "scheduler": "Exponential",
            "initial_learning_rate": 0.1,
            "decay_steps": 1,
            "decay_rate": 0.5,
        },
        "loss_scaling_factor": scale,
        "max_gradient_norm": 1.0,
    }
    whole, _ = run(5, **given)
    quarters = [X[i % 4 :: 4] for i in range(20)]
    parts, after = run(20, batches=quarters, grad_accum_steps=4, **given)
    for i in range(20):
        wanted = whole[i // 4] if i % 4 == 3 else parts[i - 1] if i else None
        if wanted is not None:
            np.testing.assert_allclose(parts[i][0], wanted[0], rtol=1e-4)
    assert after["step"] == 20
    assert after["learning_rate"] == pytest.approx(0.1 * 0.5**5)


@pytest.mark.parametrize("overflow", [{0}, {3}, {1, 2}, {0, 1, 2, 3}])
def test_batches_that_overflow_are_left_out_of_the_mean(overflow):
    given = {"learning_rate": 0.1, "loss_scaling_factor": 8.0}
    given["optimizer_type"] = "sgd"
    batches = [X[i::4] for i in range(4)]
    history, after = run(
        4, overflow_at=overflow, batches=batches, grad_accum_steps=4, **given
    )
    start = np.ones((3, 1)), np.ones(1)
    found = [gradients(*start, batches[i]) for i in {0, 1, 2, 3} - overflow]
    for k in range(2):
        mean = np.mean([g[k] for g in found], 0) if found else 0
        np.testing.assert_allclose(history[-1][k], start[k] - 0.1 * mean, rtol=1e-4)
    assert after["overflow_steps"] == len(overflow)


@pytest.mark.parametrize("scale", [1024.0, "dynamic"])
def test_loss_scaling_changes_nothing_where_nothing_overflows(scale):
    plain, _ = run(10, learning_rate=0.1)
    scaled, after = run(10, learning_rate=0.1, loss_scaling_factor=scale)
    np.testing.assert_allclose(scaled[-1][0], plain[-1][0], rtol=1e-5)
    assert after["overflow_steps"] == 0


@pytest.mark.parametrize("scale", [1024.0, "dynamic"])
def test_a_step_that_overflows_is_skipped_and_counted(scale):
    history, after = run(
        5, overflow_at={2, 3}, learning_rate=0.1, loss_scaling_factor=scale
    )
    np.testing.assert_array_equal(history[3][0], history[1][0])
    assert not np.array_equal(history[4][0], history[3][0])
    assert after["step"] == 5
    assert after["overflow_steps"] == 2
    assert after["loss_scale"] == (1024 if scale == 1024 else 2**13)


def test_a_dynamic_scale_doubles_after_good_steps_up_to_its_limit():
    given = {
        "loss_scaling_factor": "dynamic",
        "initial_loss_scale": 4.0,
        "steps_per_increase": 3,
        "max_loss_scale": 16.0,
        "min_loss_scale": 2.0,
    }
    scales = {n: run(n, **given)[1]["loss_scale"] for n in (2, 3, 5, 6, 9, 12)}
    assert scales == {2: 4, 3: 8, 5: 8, 6: 16, 9: 16, 12: 16}
    # The count of good steps starts anew after an overflow.
    assert run(5, overflow_at={2}, **given)[1]["loss_scale"] == 2
    assert run(6, overflow_at={2}, **given)[1]["loss_scale"] == 4
    assert run(4, overflow_at={0, 1, 2, 3}, **given)[1]["loss_scale"] == 2


def test_sparse_gradients_of_an_embedding_are_trained_like_dense_ones():
    def trained(**given):
        with tf.Graph().as_default():
            table = tf1.get_variable("t", initializer=np.ones((5, 2), np.float32))
            rows = tf.nn.embedding_lookup(table, [1, 3, 1])
            loss = tf.reduce_sum(rows * rows)
            train_op = minimize(loss, optimizer_params(learning_rate=0.1, **given))
            with tf1.Session() as session:
                session.run(tf1.global_variables_initializer())
                session.run(train_op)
                return session.run(table)

    plain = trained(optimizer_type="sgd")
    np.testing.assert_allclose(plain, [[1] * 2, [0.6] * 2, [1] * 2, [0.8] * 2, [1] * 2])
    for given in (
        {"loss_scaling_factor": 128.0},
        {"max_gradient_norm": 100.0},
        {"max_gradient_value": 4.0},
        {"loss_scaling_factor": "dynamic", "max_gradient_norm": 100.0},
    ):
        np.testing.assert_allclose(trained(optimizer_type="sgd", **given), plain, 1e-5)
    lamb = trained(optimizer_type="lamb", weight_decay_rate=0.1)
    assert (lamb < 1).all()  # decay reaches the rows that were not looked up too


def test_an_unknown_optimizer_is_refused():
    with tf.Graph().as_default(), pytest.raises(ParamsError, match="'lion' is not one"):
        minimize(tf.constant(1.0), optimizer_params() | {"optimizer_type": "lion"})


@pytest.mark.parametrize(
    ("model", "compute"),
    [
        ({}, "float32"),
        ({"mixed_precision": False}, "float32"),
        ({"mixed_precision": True}, "float16"),
        ({"mixed_precision": "float16"}, "float16"),
        ({"mixed_precision": "bfloat16"}, "bfloat16"),
    ],
)
def test_mixed_precision_computes_in_16_bits_and_keeps_fp32_weights(model, compute):
    policy = precision_policy(model)
    assert (policy.compute_dtype, policy.variable_dtype) == (compute, "float32")


def test_an_unknown_precision_is_refused():
    with pytest.raises(ParamsError, match=r"model.mixed_precision: 'fp8' is not one"):
        precision_policy({"mixed_precision": "fp8"})
