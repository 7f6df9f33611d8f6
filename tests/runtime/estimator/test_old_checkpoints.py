"""Checkpoints as the Estimators of TensorFlow 1.x and 2.2 wrote them."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from wafer_runtime.estimator import WarmStartSettings, latest_global_step

STEP = 700
SHAPES = {
    "hidden/kernel": [8, 16],
    "hidden/bias": [16],
    "out/kernel": [16, 2],
    "out/bias": [2],
}


def values():
    """What such a checkpoint holds: names, types and slots of TensorFlow's Adam."""
    random = np.random.default_rng(1)
    weights = {k: random.normal(0, 0.1, s).astype("f") for k, s in SHAPES.items()}
    first = {f"{k}/Adam": np.full(s, 0.01, "f") for k, s in SHAPES.items()}
    second = {f"{k}/Adam_1": np.full(s, 0.02, "f") for k, s in SHAPES.items()}
    powers = {
        "beta1_power": np.float32(0.9**STEP),
        "beta2_power": np.float32(0.999**STEP),
        "global_step": np.int64(STEP),
    }
    return weights | first | second | powers


def write_v2(folder):
    """The files of format V2, with the state file that names them by a full path."""
    path = str(folder / f"model.ckpt-{STEP}")
    held = values()
    names = sorted(held)
    tf.raw_ops.SaveV2(
        prefix=f"{path}_temp/part-00000-of-00001",
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[held[name] for name in names],
    )
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[f"{path}_temp/part-00000-of-00001"],
        destination_prefix=path,
        delete_old_dirs=True,
    )
    return path


def write_v1(folder):
    """The one file of format V1, TensorFlow's own until 0.12."""
    path = str(folder / f"model.ckpt-{STEP}")
    held = values()
    with tf.Graph().as_default(), tf1.Session() as session:
        saved = tf.raw_ops.SaveSlices(
            filename=path,
            tensor_names=list(held),
            shapes_and_slices=[""] * len(held),
            data=[tf.constant(value) for value in held.values()],
        )
        session.run(saved)
    return path


@pytest.fixture(params=[write_v2, write_v1])
def old(request, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    path = request.param(folder)
    lines = f'model_checkpoint_path: "{path}"\nall_model_checkpoint_paths: "{path}"\n'
    (folder / "checkpoint").write_text(lines)
    return folder


def test_it_is_loaded_and_training_goes_on(old):
    estimator = toy.estimator(old, {})
    assert latest_global_step(str(old)) == STEP
    assert estimator.evaluate(toy.input_fn)["global_step"] == STEP
    assert estimator.get_variable_value("hidden/bias/Adam") == pytest.approx(0.01)
    estimator.train(toy.input_fn, max_steps=STEP + 1)
    assert latest_global_step(str(old)) == STEP + 1
    held = values()
    assert estimator.get_variable_value("beta1_power") == pytest.approx(
        held["beta1_power"] * 0.9
    )
    # The slots were loaded: the moment is what Adam makes of what was there.
    moment = estimator.get_variable_value("out/kernel/Adam")
    assert np.abs(moment - 0.009).max() < 0.05
    assert not np.array_equal(
        estimator.get_variable_value("out/kernel"), held["out/kernel"]
    )


def test_it_is_a_start_for_another_model(old, tmp_path):
    settings = WarmStartSettings(str(old), vars_to_warm_start="hidden/.*")
    estimator = toy.estimator(
        tmp_path / "new", {"learning_rate": 0.0}, warm_start_from=settings
    ).train(toy.input_fn, steps=1)
    held = values()
    for name in ("hidden/kernel", "hidden/bias"):
        assert np.array_equal(estimator.get_variable_value(name), held[name])
    assert not np.array_equal(
        estimator.get_variable_value("out/kernel"), held["out/kernel"]
    )
    assert latest_global_step(estimator.model_dir) == 1
