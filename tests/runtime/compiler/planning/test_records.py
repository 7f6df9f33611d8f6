"""What is predicted for models whose figures are published, beside these."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import yaml
from tf_keras import layers
from wafer_runtime.compiler.kernels.spread import rates_of
from wafer_runtime.compiler.placing.bound import least_area
from wafer_runtime.compiler.size import size
from wafer_runtime.estimator import CerebrasEstimator, CSEstimatorSpec
from wafer_runtime.report.text import table
from wafer_runtime.system import load_system

WSE2 = load_system("wse2")
RECORDS = yaml.safe_load(Path(__file__).with_name("records.yaml").read_text())
COMPILED = [r for r in RECORDS["fc_mnist"] if r["kind"] == "compiled"]


def fc_mnist(features, labels, mode, params):
    x = features
    for width in (500, 300):
        x = layers.Dense(width, "relu", dtype="mixed_float16")(x)
        x = layers.Dropout(0.2, dtype="float16")(x, training=True)
    logits = tf.cast(layers.Dense(10, dtype="mixed_float16")(x), tf.float32)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    )
    optimizer = tf1.train.AdamOptimizer()
    train_op = optimizer.minimize(loss, tf1.train.get_global_step())
    return CSEstimatorSpec(mode=mode, loss=loss, train_op=train_op)


def digits(mode, params=None):
    images = np.zeros([256, 784], np.float16)
    return tf.data.Dataset.from_tensors((images, np.zeros([256], np.int32))).repeat()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    params = {"runconfig": {"place_iterations": 4}}
    path = tmp_path_factory.mktemp("fc_mnist")
    return CerebrasEstimator(fc_mnist, str(path), params=params).place(digits)


def pes_for(graph, cycles):
    """The fewest PEs that give a sample in so many cycles."""
    task = size(graph, WSE2)
    return sum(least_area(k.shapes, cycles, 994) for k in task.kernels)


def cycles_on(graph, pes):
    """The fewest cycles that so many PEs give a sample in."""
    return next(n for n in range(392, 2000) if pes_for(graph, n) <= pes)


def test_fc_mnist(compiled, capsys):
    graph, plan = compiled.graph, compiled.plan
    assert graph.macs / graph.batch_size == 1_243_000
    first, second, third = COMPILED
    rows = [
        ("PEs for 464 cycles", first["pes_used"], pes_for(graph, first["delta_t"])),
        ("cycles on 3040 PEs", first["delta_t"], cycles_on(graph, first["pes_used"])),
        ("cycles, neocortex", first["delta_t"], plan.delta_t_cycles),
        ("transmission", third["transmission_cycles"], plan.transmission_cycles),
        ("cycles, neocortex, another", second["delta_t"], plan.delta_t_cycles),
        ("compute, release 1.1", third["compute_cycles"], plan.compute_cycles),
    ]
    errors = {name: predicted / true - 1 for name, true, predicted in rows}
    shown = [(n, f"{t:.0f}", f"{p:.0f}", f"{errors[n]:+.0%}") for n, t, p in rows]
    with capsys.disabled():
        print("\n" + table([("fc_mnist", "published", "predicted", "error"), *shown]))
    # Compilations of the same model that took 1.45 times as long as the first one: what
    # kept them from using more PEs is not known.
    unexplained = {"cycles, neocortex, another", "compute, release 1.1"}
    for name, error in errors.items():
        assert abs(error) <= 0.25 or name in unexplained
    rate = plan.samples_per_s(plan.delta_t_cycles)
    measured = [r for r in RECORDS["fc_mnist"] if r["kind"] == "measured"]
    assert all(rate >= record["samples_per_sec"] for record in measured)


def test_identities_of_every_published_file(compiled):
    plan = compiled.plan
    rate = plan.samples_per_s(plan.delta_t_cycles)
    assert rate == plan.clock_hz / plan.delta_t_cycles
    assert plan.total_utilization == plan.pes / plan.fabric_cores
    assert rate == min(
        plan.samples_per_s(plan.compute_cycles),
        plan.samples_per_s(plan.transmission_cycles),
    )


def test_no_rate_of_gpt_j_is_ruled_out():
    # Weight streaming is not modelled: what a PE can do at most has to suffice.
    (record,) = RECORDS["gpt_j_6b"]
    weights, length = 6.05e9, 2048
    attention = 28 * 2 * length**2 * 4096
    macs = 3 * (weights * length + attention)
    pes = WSE2.program_width * WSE2.program_height * record["systems"]
    most = pes * rates_of(WSE2, 2).dot * WSE2.clock_hz / macs
    assert record["samples_per_sec"] < most < 3 * record["samples_per_sec"]
