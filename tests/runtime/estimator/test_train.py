"""Training: steps, checkpoints, resuming, what is logged and written."""

import logging
import re
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wafer_runtime.errors import (
    InputFnError,
    ModelFnError,
    NonFiniteLossError,
    UsageError,
)
from wafer_runtime.estimator import CSEstimatorSpec, SessionRunHook, all_checkpoints
from wafer_runtime.schema import Params
from wafer_runtime.training import minimize


class AtSteps(SessionRunHook):
    """A hook that names the steps it wants."""

    def __init__(self, *wanted):
        self.wanted = wanted
        self.seen = []

    def begin(self):
        self.step = tf1.train.get_global_step()

    def next_step(self, step):
        return min((w for w in self.wanted if w > step), default=2**62)

    def after_run(self, run_context, run_values):
        self.seen.append(int(run_context.session.run(self.step)))


def test_a_run_in_the_loop_equals_a_run_step_by_step(tmp_path):
    looped = toy.estimator(tmp_path / "a").train(toy.input_fn, steps=250)
    hook = toy.EveryStep()
    stepped = toy.estimator(tmp_path / "b").train(toy.input_fn, steps=250, hooks=[hook])
    assert len(hook.losses) == 250
    toy.assert_same_variables(looped, stepped)


@pytest.mark.parametrize(
    "given",
    [
        {"loss_scaling_factor": "dynamic", "steps_per_increase": 20},
        {"grad_accum_steps": 3, "max_gradient_norm": 0.1},
        {"optimizer_type": "lamb", "loss_scaling_factor": 64.0, "grad_accum_steps": 2},
    ],
)
def test_configured_optimizers_train_in_the_loop_as_step_by_step(tmp_path, given):
    optimizer = Params(optimizer=given).model_dump()["optimizer"]

    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        train_op = minimize(spec.loss, optimizer)
        return CSEstimatorSpec(mode, loss=spec.loss, train_op=train_op)

    looped = toy.estimator(tmp_path / "a", {}, model_fn)
    looped.train(toy.input_fn, steps=70)
    stepped = toy.estimator(tmp_path / "b", {}, model_fn)
    stepped.train(toy.input_fn, steps=70, hooks=[toy.EveryStep()])
    toy.assert_same_variables(looped, stepped)


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    log_every=st.integers(1, 60),
    save_every=st.integers(1, 60),
    wanted=st.sets(st.integers(1, 60), max_size=5),
)
def test_however_the_steps_are_cut_the_result_is_the_same(
    tmp_path_factory, reference, log_every, save_every, wanted
):
    hook = AtSteps(*wanted)
    cut = toy.estimator(
        tmp_path_factory.mktemp("cut"),
        log_step_count_steps=log_every,
        save_summary_steps=log_every,
        save_checkpoints_steps=save_every,
    )
    cut.train(toy.input_fn, hooks=[hook], max_steps=60)
    assert set(hook.seen) >= wanted
    toy.assert_same_variables(cut, reference)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    model_dir = tmp_path_factory.mktemp("reference")
    return toy.estimator(model_dir).train(toy.input_fn, max_steps=60)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    one, two, other = (
        toy.estimator(tmp_path / name, tf_random_seed=seed).train(
            toy.input_fn, steps=20
        )
        for name, seed in (("one", 1), ("two", 1), ("other", 2))
    )
    toy.assert_same_variables(one, two)
    assert not np.array_equal(
        one.get_variable_value("out/kernel"), other.get_variable_value("out/kernel")
    )


def test_without_a_seed_two_runs_differ(tmp_path):
    one, two = (
        toy.estimator(tmp_path / name, tf_random_seed=None).train(toy.input_fn, steps=5)
        for name in "ab"
    )
    assert not np.array_equal(
        one.get_variable_value("out/kernel"), two.get_variable_value("out/kernel")
    )


def test_a_resumed_run_draws_the_dropout_of_the_uninterrupted_one(tmp_path):
    """Each step sees the same batch here, so only the random masks could differ."""

    def one_batch(mode):
        data = tf.data.Dataset.from_tensors((toy.X[:32], toy.Y[:32]))
        return data.repeat()

    whole = toy.estimator(tmp_path / "a").train(one_batch, steps=80)
    parts = toy.estimator(tmp_path / "b")
    for steps in (30, 1, 49):
        parts.train(one_batch, steps=steps)
    toy.assert_same_variables(whole, parts)


def test_steps_count_from_the_checkpoint_and_max_steps_from_zero(tmp_path):
    trained = toy.estimator(tmp_path)
    trained.train(toy.input_fn, steps=30)
    trained.train(toy.input_fn, steps=30)
    assert trained.get_variable_value("global_step") == 60
    trained.train(toy.input_fn, max_steps=70)
    assert trained.get_variable_value("global_step") == 70
    before = trained.latest_checkpoint()
    trained.train(toy.input_fn, max_steps=70)
    assert trained.latest_checkpoint() == before


@pytest.mark.parametrize("kind", ["steps", "max_steps"])
@pytest.mark.parametrize("count", [0, -3])
def test_senseless_step_counts_are_refused(tmp_path, kind, count):
    with pytest.raises(UsageError, match=f"{kind} > 0, given: {count}"):
        toy.estimator(tmp_path).train(toy.input_fn, **{kind: count})


def test_steps_and_max_steps_exclude_each_other(tmp_path):
    with pytest.raises(UsageError, match="both steps and max_steps"):
        toy.estimator(tmp_path).train(toy.input_fn, steps=1, max_steps=2)


def test_training_data_that_end_before_the_steps_are_told(tmp_path, caplog):
    def seven():
        return toy.input_fn("train").take(7).filter(lambda x, y: True)

    toy.estimator(tmp_path).train(seven, max_steps=9)
    assert "The training data ended after 7 of 9 steps: to go on" in caplog.text
    caplog.clear()
    toy.estimator(tmp_path).train(seven)  # as long as there are some
    hook = tf1.train.StopAtStepHook(last_step=20)
    toy.estimator(tmp_path).train(toy.input_fn, hooks=[hook], max_steps=30)
    assert "ended" not in caplog.text


def test_checkpoints_are_kept_at_the_given_steps(tmp_path):
    trained = toy.estimator(tmp_path, save_checkpoints_steps=25, keep_checkpoint_max=3)
    trained.train(toy.input_fn, max_steps=110)
    names = [path.rsplit("/", 1)[-1] for path in all_checkpoints(trained.model_dir)]
    assert names == ["model.ckpt-75", "model.ckpt-100", "model.ckpt-110"]
    assert (tmp_path / "graph.pbtxt").exists()
    assert (tmp_path / "model.ckpt-110.meta").exists()


def test_checkpoints_every_so_many_seconds(tmp_path):
    def slow_input(mode):
        data = toy.input_fn(mode)
        return data.map(lambda x, y: (tf.py_function(_wait, [x], tf.float32), y)).map(
            lambda x, y: (tf.ensure_shape(x, [32, 8]), y)
        )

    trained = toy.estimator(
        tmp_path,
        save_checkpoints_steps=None,
        save_checkpoints_secs=1,
        keep_checkpoint_max=0,
    )
    trained.train(slow_input, max_steps=60)  # 3 s, or more on a busy machine
    assert 3 <= len(all_checkpoints(trained.model_dir)) <= 30


def _wait(x):
    import time

    time.sleep(0.05)
    return x


def test_the_event_file_holds_loss_rates_and_the_users_summaries(tmp_path):
    def with_summary(features, labels, mode, params):
        tf1.summary.scalar("mean_input", tf.reduce_mean(features))
        return toy.model_fn(features, labels, mode, params)

    trained = toy.estimator(tmp_path, model=with_summary, save_summary_steps=10)
    trained.train(toy.input_fn, max_steps=200)
    found = toy.scalars(tmp_path)
    assert list(found["loss"]) == [1, *range(10, 201, 10)]
    assert found["loss"][200] < found["loss"][1]
    assert found["mean_input"][200] == pytest.approx(0.5, abs=0.1)
    assert 0 <= found["accuracy"][200] <= 1  # host_call, in training
    assert list(found["global_step/sec"]) == [100, 200]
    assert found["samples/sec"][200] == pytest.approx(
        found["global_step/sec"][200] * toy.BATCH
    )


def test_the_log_tells_steps_loss_and_rate(tmp_path, caplog):
    caplog.set_level(logging.INFO, "wafer_runtime")
    toy.estimator(tmp_path, log_step_count_steps=50).train(toy.input_fn, max_steps=100)
    assert re.search(
        r"global step 50: loss = [\d.]+ \([\d.e+]+ steps/sec\)\n", caplog.text
    )
    assert re.search(
        r"finished with 3200 samples in [\d.]+ seconds, [\d.]+ samples / second\n",
        caplog.text,
    )


def test_the_rate_leaves_out_the_wait_for_the_first_batch(tmp_path, caplog):
    caplog.set_level(logging.INFO, "wafer_runtime")

    def slow(mode):
        def wait(number, batch):
            tf.numpy_function(lambda: time.sleep(3), [], [])
            return batch

        first = toy.input_fn(mode).take(1).enumerate().map(wait)
        return first.concatenate(toy.input_fn(mode))

    toy.estimator(tmp_path).train(slow, max_steps=100)
    found = re.search(r"3200 samples in ([\d.]+) seconds, ([\d.]+) samp", caplog.text)
    seconds, rate = map(float, found.groups())
    assert seconds > 3
    assert rate > 3 * 3200 / seconds


def test_the_data_may_end_first(tmp_path):
    def once(mode):
        return tf.data.Dataset.from_tensor_slices((toy.X, toy.Y)).batch(32)

    trained = toy.estimator(tmp_path).train(once, steps=1000)
    assert trained.get_variable_value("global_step") == 512 // 32


def test_a_dataset_without_a_batch_is_an_error(tmp_path):
    def empty(mode):
        data = tf.data.Dataset.from_tensor_slices((toy.X[:5], toy.Y[:5]))
        return data.batch(32, drop_remainder=True)

    with pytest.raises(InputFnError, match="gave no batch"):
        toy.estimator(tmp_path).train(empty, steps=10)


@pytest.mark.parametrize("step", [151, 200])
@pytest.mark.parametrize("hooks", [[], [toy.EveryStep()]], ids=["loop", "step by step"])
def test_a_non_finite_loss_names_its_step_and_saves_nothing(tmp_path, hooks, step):
    def poisoned(mode):
        x = np.tile(toy.X[:32], (200, 1))
        x[(step - 1) * 32] = 3e38  # this batch overflows; at 200 a checkpoint is due
        return tf.data.Dataset.from_tensor_slices((x, np.tile(toy.Y[:32], 200))).batch(
            32, drop_remainder=True
        )

    trained = toy.estimator(tmp_path, log_step_count_steps=1000)
    with pytest.raises(
        NonFiniteLossError, match=rf"loss is (nan|inf) at global step {step}"
    ) as caught:
        trained.train(poisoned, steps=200, hooks=hooks)
    assert isinstance(caught.value, tf1.train.NanLossDuringTrainingError)
    assert trained.latest_checkpoint().endswith("model.ckpt-100")
    values = toy.variables(trained)
    assert all(np.isfinite(value).all() for value in values.values())


def test_a_hook_may_stop_the_training(tmp_path):
    class StopAt40(AtSteps):
        def after_run(self, run_context, run_values):
            super().after_run(run_context, run_values)
            if self.seen[-1] == 40:
                run_context.request_stop()

    trained = toy.estimator(tmp_path).train(
        toy.input_fn, steps=100, hooks=[StopAt40(40)]
    )
    assert trained.get_variable_value("global_step") == 40


def test_tensorflows_own_hooks_work_as_ever(tmp_path):
    hooks = [tf1.train.StopAtStepHook(last_step=25), tf1.train.NanTensorHook("Mean:0")]
    trained = toy.estimator(tmp_path).train(toy.input_fn, steps=100, hooks=hooks)
    assert trained.get_variable_value("global_step") == 25


def test_hooks_are_called_in_the_documented_order(tmp_path):
    calls = []

    class Recorder(SessionRunHook):
        def begin(self):
            calls.append("begin")

        def after_create_session(self, session, coord):
            calls.append("after_create_session")

        def before_run(self, run_context):
            calls.append("before_run")

        def after_run(self, run_context, run_values):
            calls.append("after_run")

        def end(self, session):
            calls.append("end")

    toy.estimator(tmp_path).train(toy.input_fn, steps=2, hooks=[Recorder()])
    step = ["before_run", "after_run"]
    assert calls == ["begin", "after_create_session", *step, *step, "end"]


def test_saving_listeners_without_checkpoints_are_refused(tmp_path):
    trained = toy.estimator(tmp_path, save_checkpoints_steps=None)
    listener = tf1.train.CheckpointSaverListener()
    with pytest.raises(UsageError, match="set save_checkpoints_steps or"):
        trained.train(toy.input_fn, steps=1, saving_listeners=[listener])


def test_a_model_dir_may_be_moved(tmp_path):
    toy.estimator(tmp_path / "old").train(toy.input_fn, steps=3)
    (tmp_path / "old").rename(tmp_path / "new")
    moved = toy.estimator(tmp_path / "new").train(toy.input_fn, steps=3)
    assert moved.get_variable_value("global_step") == 6


def test_summaries_are_not_computed_for_the_steps_of_other_hooks(tmp_path):
    computed = []

    def model_fn(features, labels, mode, params):
        def costly():
            computed.append(1)
            return np.float32(0)

        tf1.summary.scalar("costly", tf1.py_func(costly, [], tf.float32))
        return toy.model_fn(features, labels, mode, params)

    trained = toy.estimator(tmp_path, {}, model_fn, save_summary_steps=10)
    trained.train(toy.input_fn, steps=30, hooks=[toy.EveryStep()])
    assert len(computed) == 4  # steps 1, 10, 20 and 30


def test_saving_listeners_hear_of_every_checkpoint(tmp_path):
    saved = []

    class Listener(tf1.train.CheckpointSaverListener):
        def after_save(self, session, global_step_value):
            saved.append(int(global_step_value))

    toy.estimator(tmp_path, save_checkpoints_steps=20).train(
        toy.input_fn, steps=50, saving_listeners=[Listener()]
    )
    assert saved == [0, 20, 40, 50]


def test_a_train_op_that_forgets_the_global_step_is_refused(tmp_path):
    def forgetful(features, labels, mode):
        logits = tf.keras.layers.Dense(1)(features)
        loss = tf.reduce_mean(logits)
        train_op = tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
        return CSEstimatorSpec(mode, loss=loss, train_op=train_op)

    with pytest.raises(
        ModelFnError, match=r"test_train.py:\d+: .*advance the global step"
    ):
        toy.estimator(tmp_path, model=forgetful).train(toy.input_fn, steps=1)
