"""Steps a second of the driver against Keras, on two MLPs, from the same data.

    python benchmarks/driver.py [--repeats 5] [--seconds 4]

Each contender runs in a process of its own (Keras 2 and Keras 3 cannot share one) that
stays up; the contenders take turns, so that a noisy machine hits all of them.
`bare loop` is a tf.while_loop over the step with nothing around it: the ceiling.
"""

import argparse
import ast
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

MODELS = {
    "784-500-300-10, batch 256, dropout 0.2": ((784, 500, 300, 10), 256, 0.2),
    "64-32-10, batch 32": ((64, 32, 10), 32, 0.0),
}
CONTENDERS = ("wafer", "bare loop", "tf_keras fit", "keras 3 fit")
SAMPLES = 8192
Sizes = tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="a measurement")
    args = parser.parse_args()
    for title, (sizes, batch, dropout) in MODELS.items():
        rates = measure(repr((sizes, batch, dropout)), args.repeats, args.seconds)
        print(f"\n{title}: median of {args.repeats}, steps/s")
        medians = {name: statistics.median(values) for name, values in rates.items()}
        for name, values in rates.items():
            spread = f"{min(values):.0f} to {max(values):.0f}"
            ratio = medians["wafer"] / medians[name]
            print(
                f"  {name:14}{medians[name]:8.0f}  ({spread})  wafer is {ratio:.2f} x"
            )
        best_fit = max(medians["tf_keras fit"], medians["keras 3 fit"])
        print(f"  wafer / better fit:  {medians['wafer'] / best_fit:.2f}  (aim 1.4)")
        ratio = medians["wafer"] / medians["bare loop"]
        print(f"  wafer / bare loop:   {ratio:.2f}  (aim 0.9)")


def measure(model: str, repeats: int, seconds: float) -> dict[str, list[float]]:
    """Start every contender, then let them take turns."""
    errors = {n: tempfile.TemporaryFile("w+") for n in CONTENDERS}  # noqa: SIM115
    workers = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--worker", name, model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors[name],
            text=True,
        )
        for name in CONTENDERS
    }
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for turn in range(repeats + 1):
        for name, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            print(seconds, file=worker.stdin, flush=True)
            line = worker.stdout.readline()
            if not line:
                errors[name].seek(0)
                sys.exit(f"{name} failed:\n{errors[name].read()}")
            if turn:  # the first turn warms up
                rates[name].append(float(line))
    for worker in workers.values():
        worker.communicate()
    return rates


def work(name: str, model: str) -> None:
    """A contender's process: for each number of seconds read, print its steps/s."""
    os.environ["TF_USE_LEGACY_KERAS"] = "0" if name == "keras 3 fit" else "1"
    sizes, batch, dropout = ast.literal_eval(model)
    build = {"wafer": wafer, "bare loop": bare_loop}.get(name, keras_fit)
    run = build(sizes, batch, dropout)
    steps = 0
    for line in sys.stdin:
        if not steps:  # the first turn warms up and tells how many steps fill the time
            run(100)
            steps = max(100, int(100 * float(line) / run(100)))
        print(steps / run(steps), flush=True)


# Each builder below returns run(steps), which gives the seconds that `steps` steps took
# once the graph was built and the input pipeline was flowing.


def wafer(sizes: Sizes, batch: int, dropout: float) -> Callable[[int], float]:
    """The driver as people call it: logs, summaries and NaN checks are on."""
    import tensorflow.compat.v1 as tf1
    from wafer_runtime.estimator import (
        CerebrasEstimator,
        CSEstimatorSpec,
        RunConfig,
        SessionRunHook,
    )

    class Clock(SessionRunHook):
        """Looks at two steps only, as a hook with `next_step` may."""

        def __init__(self, *wanted: int):
            self.wanted = wanted
            self.due = 0
            self.times: dict[int, float] = {}

        def next_step(self, step: int) -> int:
            wanted = next((w for w in self.wanted if w > step), 2**62)
            self.due = wanted if wanted == step + 1 else 0
            return wanted

        def after_run(self, *_: Any) -> None:
            self.times[self.due] = time.perf_counter()

    def model_fn(features: Any, labels: Any, mode: str) -> Any:
        logits = logits_of(features, sizes, dropout, True)
        loss = loss_of(labels, logits)
        train_op = tf1.train.AdamOptimizer().minimize(
            loss, global_step=tf1.train.get_global_step()
        )
        return CSEstimatorSpec(mode, loss=loss, train_op=train_op)

    def run(steps: int) -> float:
        with tempfile.TemporaryDirectory() as model_dir:
            clock = Clock(100, 100 + steps)
            estimator = CerebrasEstimator(
                model_fn, model_dir, config=RunConfig(tf_random_seed=1)
            )
            estimator.train(
                lambda: dataset(sizes, batch), hooks=[clock], steps=100 + steps
            )
            return clock.times[100 + steps] - clock.times[100]

    return run


def bare_loop(sizes: Sizes, batch: int, dropout: float) -> Callable[[int], float]:
    """A loop over the same step and nothing else, on TensorFlow 2's functions."""
    import tensorflow as tf

    pairs = list(itertools.pairwise(sizes))
    weights = [tf.Variable(tf.random.normal(pair, stddev=0.05)) for pair in pairs]
    biases = [tf.Variable(tf.zeros([size])) for _, size in pairs]
    variables = [*weights, *biases]
    moments = [(tf.Variable(0 * v), tf.Variable(0 * v)) for v in variables]
    count = tf.Variable(0.0)
    batches = iter(dataset(sizes, batch))

    def step() -> None:
        hidden, labels = next(batches)
        with tf.GradientTape() as tape:
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                hidden = tf.nn.relu(hidden @ weight + bias)
                hidden = tf.nn.dropout(hidden, dropout) if dropout else hidden
            loss = loss_of(labels, hidden @ weights[-1] + biases[-1])
        gradients = tape.gradient(loss, variables)
        count.assign_add(1.0)
        powers = tf.pow(0.9, count), tf.pow(0.999, count)
        for variable, (m, v), gradient in zip(
            variables, moments, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=m.handle, v=v.handle, beta1_power=powers[0],
                beta2_power=powers[1], lr=0.001, beta1=0.9, beta2=0.999,
                epsilon=1e-8, grad=gradient,
            )  # fmt: skip

    @tf.function
    def loop(steps: Any) -> None:
        for _ in tf.range(steps):
            step()

    def run(steps: int) -> float:
        began = time.perf_counter()
        loop(tf.constant(steps))
        return time.perf_counter() - began

    return run


def keras_fit(sizes: Sizes, batch: int, dropout: float) -> Callable[[int], float]:
    """`fit` as people call it; the first of two epochs warms up."""
    import tensorflow as tf

    keras = tf.keras
    inputs = keras.Input((sizes[0],))
    model = keras.Model(inputs, logits_of(inputs, sizes, dropout, None))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    data = dataset(sizes, batch)

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

    def run(steps: int) -> float:
        clock = Clock()
        model.fit(data, steps_per_epoch=steps, epochs=2, verbose=0, callbacks=[clock])
        return time.perf_counter() - clock.began

    return run


def dataset(sizes: Sizes, batch: int) -> Any:
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x = rng.random((SAMPLES, sizes[0]), np.float32)
    y = rng.integers(0, sizes[-1], SAMPLES).astype(np.int32)
    data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(SAMPLES, seed=1).repeat()
    return data.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def logits_of(features: Any, sizes: Sizes, dropout: float, training: Any) -> Any:
    import tensorflow as tf

    hidden = features
    for size in sizes[1:-1]:
        hidden = tf.keras.layers.Dense(size, activation="relu")(hidden)
        if dropout:
            hidden = tf.keras.layers.Dropout(dropout)(hidden, training=training)
    return tf.keras.layers.Dense(sizes[-1])(hidden)


def loss_of(labels: Any, logits: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )


if __name__ == "__main__":
    if "--worker" in sys.argv:
        work(*sys.argv[2:])
    else:
        main()
