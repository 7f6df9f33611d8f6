"""Learning-rate schedules against their closed forms, step by step."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from wafer_runtime.errors import ParamsError
from wafer_runtime.params import load_params
from wafer_runtime.schema import Params
from wafer_runtime.training import learning_rate_at

WARM_UP = {
    "scheduler": "Linear",
    "initial_learning_rate": 0.0,
    "end_learning_rate": 0.4,
    "steps": 4,
}
COSINE = {
    "scheduler": "Cosine",
    "initial_learning_rate": 0.4,
    "decay_steps": 10,
    "alpha": 0.1,
}


def cosine(t):
    return 0.4 * (0.9 * 0.5 * (1 + math.cos(math.pi * min(t, 10) / 10)) + 0.1)


CASES = {
    "a number": (0.3, lambda t: 0.3),
    "constant": ({"scheduler": "Constant", "learning_rate": 0.2}, lambda t: 0.2),
    "linear": (WARM_UP, lambda t: 0.1 * min(t, 4)),
    "polynomial": (
        {
            "scheduler": "Polynomial",
            "initial_learning_rate": 1.0,
            "end_learning_rate": 0.2,
            "steps": 8,
            "power": 2.0,
        },
        lambda t: 0.8 * (1 - min(t, 8) / 8) ** 2 + 0.2,
    ),
    "cosine": (COSINE, cosine),
    "exponential": (
        {
            "scheduler": "Exponential",
            "initial_learning_rate": 1.0,
            "decay_steps": 5,
            "decay_rate": 0.5,
        },
        lambda t: 0.5 ** (t / 5),
    ),
    "exponential in jumps": (
        {
            "scheduler": "Exponential",
            "initial_learning_rate": 1.0,
            "decay_steps": 5,
            "decay_rate": 0.5,
            "staircase": True,
        },
        lambda t: 0.5 ** (t // 5),
    ),
    "piecewise": (
        {
            "scheduler": "PiecewiseConstant",
            "boundaries": [3, 7],
            "values": [1.0, 0.5, 0.1],
        },
        lambda t: 1.0 if t <= 3 else 0.5 if t <= 7 else 0.1,
    ),
    "warm-up, then cosine": (
        [WARM_UP, COSINE],
        lambda t: 0.1 * t if t < 4 else cosine(t - 4),
    ),
    "three in a row": (
        [WARM_UP, {"scheduler": "Constant", "learning_rate": 0.3, "steps": 3}, COSINE],
        lambda t: 0.1 * t if t < 4 else 0.3 if t < 7 else cosine(t - 7),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_schedule_follows_its_formula(case):
    given, formula = CASES[case]
    checked = Params(optimizer={"learning_rate": given}).model_dump()["optimizer"]
    with tf.Graph().as_default():
        step = tf1.placeholder(tf.int64, [])
        rate = learning_rate_at(checked["learning_rate"], step)
        assert (rate.shape, rate.dtype) == ([], tf.float32)
        with tf1.Session() as session:
            got = [session.run(rate, {step: t}) for t in range(25)]
    np.testing.assert_allclose(got, [formula(t) for t in range(25)], rtol=1e-5)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (
            "{scheduler: Linaer, steps: 3}",
            "optimizer.learning_rate: 'scheduler' is 'Linaer', wanted one of 'Const",
        ),
        (
            "{scheduler: Linear, steps: 3, initial_learning_rate: 1.0}",
            "optimizer.learning_rate.end_learning_rate: is missing",
        ),
        (
            "{scheduler: Constant, learning_rate: 1.0, stpes: 4}",
            'learning_rate.stpes: unknown key "stpes" (did you mean "steps"?)',
        ),
        (
            "[{scheduler: Constant, learning_rate: 1.0},"
            " {scheduler: Constant, learning_rate: 2.0}]",
            "Constant stands before another schedule and needs steps",
        ),
        (
            "{scheduler: PiecewiseConstant, boundaries: [5], values: [1.0]}",
            "1 boundaries need 2 values, not 1",
        ),
        (
            "{scheduler: PiecewiseConstant, boundaries: [5, 5], values: [1.0, 2.0, 3]}",
            "boundaries [5, 5] do not rise",
        ),
        ("[]", "optimizer.learning_rate: wanted at least 1 (is [])"),
        ("-0.1", "optimizer.learning_rate: Input should be greater than 0 (is -0.1)"),
    ],
)
def test_wrong_schedules_are_told_with_their_place(tmp_path, rate, message):
    path = tmp_path / "params.yaml"
    path.write_text(f"optimizer: {{learning_rate: {rate}}}\n")
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert message in str(caught.value)
