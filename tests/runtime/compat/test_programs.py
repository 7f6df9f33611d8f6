"""Programs in the manner of those that people bring, run from end to end."""

from pathlib import Path

OLD_ESTIMATOR = """
    import sys
    import numpy as np
    import tensorflow as tf

    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.INFO)
    x = np.linspace(-1, 1, 64).astype(np.float32)
    numbers = {"x": x, "unused": x}

    def linear(features, labels, mode, params):
        w = tf.compat.v1.get_variable("w", [], initializer=tf.zeros_initializer())
        predictions = w * features["x"]
        if mode == tf.estimator.ModeKeys.PREDICT:
            return tf.estimator.EstimatorSpec(mode, predictions={"y": predictions})
        loss = tf.compat.v1.losses.mean_squared_error(labels, predictions)
        optimizer = tf.compat.v1.train.GradientDescentOptimizer(params["rate"])
        step = tf.compat.v1.train.get_global_step()
        return tf.estimator.EstimatorSpec(
            mode, loss=loss, train_op=optimizer.minimize(loss, global_step=step),
            eval_metric_ops={"off": tf.compat.v1.metrics.mean(predictions - labels)})

    class Count(tf.estimator.SessionRunHook):
        steps = 0
        def after_run(self, run_context, run_values):
            Count.steps += 1

    config = tf.estimator.RunConfig("out", save_checkpoints_steps=25, tf_random_seed=1)
    estimator = tf.estimator.Estimator(linear, None, config, {"rate": 0.5})
    assert isinstance(estimator, tf.compat.v1.estimator.Estimator)
    def train():
        features, labels = tf.compat.v1.estimator.inputs.numpy_input_fn(
            numbers, x, batch_size=16, num_epochs=None, shuffle=True)()
        return features, 2 * labels
    test = tf.compat.v1.estimator.inputs.numpy_input_fn(numbers, 2 * x, shuffle=False)
    receiver = tf.estimator.export.build_raw_serving_input_receiver_fn(
        {"x": tf.constant(x)})
    tf.estimator.train_and_evaluate(
        estimator,
        tf.estimator.TrainSpec(train, max_steps=50, hooks=[Count()]),
        tf.estimator.EvalSpec(test, steps=None, throttle_secs=0, exporters=[
            tf.estimator.LatestExporter("latest", receiver, exports_to_keep=1),
            tf.estimator.BestExporter("best", receiver)]))
    assert Count.steps == 50
    result = tf.estimator.add_metrics(
        estimator, lambda labels: {"labels": tf.compat.v1.metrics.mean(labels)}
    ).evaluate(test)
    assert set(result) == {"loss", "global_step", "off", "labels"}, result
    assert result["loss"] < 0.01 and result["global_step"] == 50
    rows = list(estimator.predict(test, predict_keys=["y"]))
    assert len(rows) == 64 and abs(rows[-1]["y"] - 2) < 0.2
    path = estimator.export_savedmodel("served", receiver)
    print(path.decode())
"""


def test_an_old_estimator_program(wafer_exec, tmp_path):
    done = wafer_exec(OLD_ESTIMATOR)
    assert done.returncode == 0, done.stderr
    assert (Path(tmp_path, done.stdout.strip()) / "saved_model.pb").exists()
    assert len(list((tmp_path / "out/export/latest").iterdir())) == 1
    assert list((tmp_path / "out/export/best").iterdir())
    assert (tmp_path / "out/model.ckpt-50.index").exists()


VENDOR = """
    import tensorflow as tf
    from tensorflow.keras.mixed_precision.experimental import Policy
    from tensorflow.python.keras.layers import Flatten, concatenate
    from tensorflow.python.keras.mixed_precision.experimental import (
        loss_scale_optimizer,
    )
    from cerebras.tf.cs_estimator import CerebrasEstimator as Base
    from cerebras.tf.cs_estimator_spec import CSEstimatorSpec as BaseSpec
    from cerebras.tf.run_config import CSRunConfig as BaseConfig
    from cerebras.tf.summary import cs1_disable_summaries
    from cerebras.tf.tf_helper import GetWeights, boundary_cast, summary_layer
    from cerebras.pb.stack.full_pb2 import FullConfig
    from cerebras.pb.common.tri_state_pb2 import TS_ENABLED
    from keras_preprocessing.text import Tokenizer

    class Config(BaseConfig):
        def __init__(self, cs_ip=None, stack_params=None, **others):
            super().__init__(cs_ip=cs_ip, stack_params=stack_params, **others)

    class Spec(BaseSpec):
        def __new__(cls, mode, host_call=None, **others):
            return super().__new__(cls, mode, host_call=host_call, **others)

    class Estimator(Base):
        def train(self, input_fn, steps=None, use_cs=True):
            return super().train(input_fn=input_fn, steps=steps, use_cs=use_cs)

    class Convolution(tf.keras.layers.Layer):
        def __init__(self, filters, **settings):
            super().__init__(**settings)
            self.dtype_policy = self._dtype_policy
            self.compute_dtype = self._dtype_policy.compute_dtype
            assert self.compute_dtype == "float16"
            self.layer = tf.keras.layers.Conv2D(
                filters, 3, (1, 1), "same", "channels_last", (1, 1), "relu", True,
                dtype=self.dtype_policy)

        def call(self, x):
            return self.layer(x)

    def metrics(outputs, labels):
        (nothing, classes) = outputs
        assert nothing is None
        return {"accuracy": tf.compat.v1.metrics.accuracy(labels["class"], classes)}

    def model_fn(features, labels, mode, params):
        policy = Policy("mixed_float16", loss_scale=None)
        tf.keras.mixed_precision.experimental.set_policy(policy)
        x = boundary_cast(Convolution(4, dtype=policy)(features["image"]))
        flat = Flatten(dtype=policy)
        x = concatenate([flat(x), flat(x)], dtype=policy)
        logits = summary_layer(tf.keras.layers.Dense(3, dtype=policy)(x))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=labels["class"], logits=tf.cast(logits, tf.float32)))
        optimizer = tf.compat.v1.train.AdamOptimizer(0.01)
        assert not isinstance(optimizer, loss_scale_optimizer.LossScaleOptimizer)
        step = tf.compat.v1.train.get_or_create_global_step()
        outputs = (None, tf.argmax(logits, 1))
        return Spec(mode, loss=loss, train_op=optimizer.minimize(loss, step),
                    host_call=(metrics, [outputs, labels]))

    def input_fn(params):
        images = tf.random.stateless_uniform([8, 8, 8, 1], [1, 2])
        data = tf.data.Dataset.from_tensor_slices(
            ({"image": images}, {"class": tf.constant([0, 1, 2, 0, 1, 2, 0, 1])}))
        return data.repeat().batch(4, drop_remainder=True)

    stack = FullConfig()
    stack.matching.kernel.no_dcache_spill_splits = True
    stack.placement.prep.wrap = TS_ENABLED
    stack.matching.disabled_converters.append("one")
    assert stack.matching and not stack.target_num_replicas
    config = Config(stack_params={"config": stack}, tf_random_seed=1)
    params = {"runconfig": {"mode": "train"}}
    estimator = Estimator(model_fn, "out", config=config, params=params)
    assert type(estimator.config) is Config
    assert Config(cs_ip="sim:9000").replace(tf_random_seed=2).cs_ip == "sim"
    with cs1_disable_summaries():
        estimator.train(input_fn, steps=3)
    values = dict(GetWeights(estimator.latest_checkpoint()))
    assert values["global_step"] == 3 and values["dense/kernel"].shape == (512, 3)
    assert set(estimator.evaluate(input_fn, steps=2)) == {
        "accuracy", "loss", "global_step"}
    estimator.compile(input_fn, validate_only=True, mode=tf.estimator.ModeKeys.TRAIN)
    estimator.compile(input_fn, validate_only=True, mode=tf.estimator.ModeKeys.EVAL)
    tokens = Tokenizer(filters="", lower=False)
    tokens.fit_on_texts(["b", "a"])
    assert tokens.word_index == {"b": 1, "a": 2}
"""


def test_a_program_written_for_the_vendors_container(wafer_exec, tmp_path):
    done = wafer_exec(VENDOR)
    assert done.returncode == 0, done.stderr
    assert "Training finished with 12 samples" in done.stderr
    assert done.stderr.count("The model maps to") == 2


def test_a_loss_scale_as_it_was(wafer_exec):
    done = wafer_exec(
        """
        import tensorflow as tf
        experimental = tf.keras.mixed_precision.experimental
        adam = tf.keras.optimizers.legacy.Adam
        scale = tf.mixed_precision.experimental.DynamicLossScale(256.0, 10)
        assert experimental.LossScaleOptimizer(adam(), scale).initial_scale == 256
        fixed = experimental.LossScaleOptimizer(adam(), 8)
        assert not fixed.dynamic and fixed.initial_scale == 8
        assert experimental.LossScaleOptimizer(adam(), "dynamic").dynamic
        three = tf.mixed_precision.experimental.DynamicLossScale(multiplier=3.0)
        experimental.LossScaleOptimizer(adam(), three)
        """
    )
    assert done.returncode == 2
    assert "multiplier=3" in done.stderr


def test_keras_metrics_and_optimizers_are_as_they_were(wafer_exec):
    done = wafer_exec(
        """
        import numpy as np
        import tensorflow as tf

        x = np.arange(64, dtype=np.float32)[:, None] / 64

        def model_fn(features, labels, mode):
            w = tf.Variable(1.0, name="w")
            predictions = w * features
            error = tf.keras.metrics.MeanAbsoluteError()
            error.update_state(labels, predictions)
            loss = tf.reduce_mean((labels - predictions) ** 2)
            assert tf.optimizers.SGD is tf.keras.optimizers.SGD
            optimizer = tf.keras.optimizers.SGD(0.0)
            optimizer.iterations = tf.compat.v1.train.get_or_create_global_step()
            train_op = optimizer.get_updates(loss, [w])
            return tf.estimator.EstimatorSpec(
                mode, predictions, loss, tf.group(train_op), {"error": error})

        def input_fn():
            return tf.data.Dataset.from_tensor_slices((x, 3 * x)).batch(16)

        estimator = tf.estimator.Estimator(model_fn, "out")
        estimator.train(input_fn)
        for _ in range(2):
            found = estimator.evaluate(input_fn)["error"]
            assert abs(found - 2 * x.mean()) < 1e-5, found

        from wafer_runtime.estimator import CerebrasEstimator
        vendor = CerebrasEstimator(model_fn, "out")
        try:
            vendor.evaluate(input_fn)
        except ValueError as error:
            print(error)
        """
    )
    assert done.returncode == 0, done.stderr
    assert "leaves out" not in done.stderr
    assert "script.py:10: The Keras metrics API is not supported" in done.stdout
