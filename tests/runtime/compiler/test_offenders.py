"""What cannot run on the wafer is listed, all of it, each with its line."""

import inspect

import models
import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tf_keras import layers
from wafer_runtime.errors import MappingError, ModelFnError


def refused(compile_model, network, input_fn=None, mode="train"):
    """{operation: offender} of a network that does not map."""
    input_fn = input_fn or models.images(1, 4)
    with pytest.raises(MappingError) as caught:
        compile_model(models.classifier(network), input_fn, mode)
    for offender in caught.value.offenders:
        assert offender.reason in str(caught.value)
        assert offender.line in str(caught.value)
    return {o.op: o for o in caught.value.offenders}


def line(function, text):
    """Where `text` stands in a function."""
    lines, first = inspect.getsourcelines(function)
    (number,) = [n for n, code in enumerate(lines) if text in code]
    return f"test_offenders.py:{first + number}"


def flat_logits(x):
    return layers.Dense(models.CLASSES)(layers.Flatten()(x))


def test_all_are_listed_at_once_and_nothing_is_written(compile_model, tmp_path):
    def network(x, training):
        x = tf.nn.conv3d(x[..., None], tf.ones([2, 2, 1, 1, 1]), [1] * 5, "SAME")
        x = tf.py_function(lambda v: v, [x], tf.float32)
        x = layers.Flatten()(tf.ensure_shape(x, [models.BATCH, 4, 4, 1, 1]))
        x = tf.math.top_k(x, 8).values
        x += tf.abs(tf.signal.fft(tf.cast(x, tf.complex64)))
        x += tf.cast(tf.cast(x, tf.int64) * 3, tf.float32)
        return layers.Dense(models.CLASSES)(x)

    found = refused(compile_model, network)
    assert {"Conv3D", "EagerPyFunc", "TopKV2", "FFT", "Mul"} <= set(found)
    assert found["EagerPyFunc"].line.endswith(line(network, "tf.py_function"))
    assert found["Conv3D"].line.endswith(line(network, "conv3d"))
    assert found["TopKV2"].line.endswith(line(network, "top_k"))
    assert found["Mul"].reason == "there is no 64-bit integer arithmetic"
    assert "input_fn" in found["EagerPyFunc"].instead
    assert list(tmp_path.iterdir()) == []


def body(x):
    return tf.while_loop(lambda v: tf.reduce_sum(v) < 9.0, lambda v: v + 1.0, [x])


def many_turns(x):
    def turn(i, v):
        return i + 1, v + 1.0

    return tf.while_loop(lambda i, v: i < 513, turn, [0, x])[1]


def many_turns_in_turns(x):
    def outer(i, v):
        return i + 1, tf.while_loop(lambda i, v: i < 26, inner, [0, v])[1]

    def inner(i, v):
        return i + 1, v + 1.0

    return tf.while_loop(lambda i, v: i < 20, outer, [0, x])[1]


def of_their_lengths(x):
    lengths = tf.cast(tf.reduce_sum(x, [1, 2]), tf.int32)
    cell = tf1.nn.rnn_cell.GRUCell(8)
    return tf1.nn.dynamic_rnn(cell, x, lengths, dtype=tf.float32)[1]


def count_unique(x):
    return tf.cast(tf.size(tf.unique(tf.reshape(x, [-1]))[0]), tf.float32)


def whole_numbers(x):
    x = tf.cast(tf.reshape(x, [models.BATCH, 16]), tf.int32)
    return tf.cast(tf.matmul(x, tf.ones([16, 1], tf.int32)), tf.float32)[
        ..., None, None
    ]


def ranks(x):
    order = tf.argsort(tf.reshape(x, [models.BATCH, -1]))
    return tf.cast(order[:, :1, None, None], tf.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (body, "loops"),
        (many_turns, "is above 512"),
        (many_turns_in_turns, "is above 512"),
        (lambda x: tf.cast(tf.cast(x, tf.float64) * 2.0, tf.float32), "float64"),
        (lambda x: x * tf.reduce_sum(tf.boolean_mask(x, x > 0)), "depends on the data"),
        (lambda x: x * count_unique(x), "depends on the data"),
        (lambda x: x + tf.strings.to_number(tf.strings.as_string(x)), "text does not"),
        (lambda x: x + tf1.placeholder(tf.float32, []), "nobody feeds"),
        (lambda x: x + tf.numpy_function(np.sum, [x], tf.float32), "Python code"),
        (lambda x: x + ranks(x), "does not sort"),
        (lambda x: x + whole_numbers(x), "does not take int32"),
        (
            lambda x: x + tf.cast(tf.cast(x, tf.uint8) * 2, tf.float32),
            "16-bit integers",
        ),
        (lambda x: x + tf.linalg.svd(x, compute_uv=False)[..., None], "decompositions"),
        (lambda x: x + tf.linalg.inv(x[:, :, :, 0])[..., None], "decompositions"),
    ],
)
def test_reasons(compile_model, change, reason):
    def network(x, training):
        x = tf.reshape(change(x), [models.BATCH, 4, 4, 1])
        return flat_logits(x)

    found = refused(compile_model, network)
    assert any(reason in o.reason for o in found.values())
    assert all("test_offenders.py:" in o.line for o in found.values())


def best(x):
    return tf.math.top_k(x, 3).values


def test_a_helper_is_told_with_the_lines_that_call_it(compile_model):
    def twice(x):
        return best(x) + best(2.0 * x)

    def network(x, training):
        x = layers.Flatten()(x)
        first = twice(x)
        return flat_logits(first + twice(-x))

    found = refused(compile_model, network)["TopKV2"]
    assert found.line.endswith(line(best, "top_k"))
    inner = line(twice, "best(x)")
    outer = [line(network, "first = "), line(network, "-x")]
    calls = [tuple(call.rpartition("/")[2] for call in way) for way in found.calls]
    # models.classifier calls the network, in the function that is the model_fn.
    assert [way[:2] for way in calls] == [(inner, place) for place in outer]


def test_keras_metrics_are_offenders(compile_model, tmp_path):
    def network(x, training):
        tf.keras.metrics.Mean()
        return tf.math.top_k(flat_logits(x), models.CLASSES).values

    found = refused(compile_model, network)
    assert set(found) == {"tf.keras.metrics", "TopKV2"}
    assert found["tf.keras.metrics"].line.endswith(line(network, "Mean()"))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("form", [lambda m: m, lambda m: (m.result(), m.result())])
def test_keras_metrics_of_a_host_call_are_offenders(compile_model, mode, form):
    def host(logits):
        return {"mean": form(tf.keras.metrics.Mean())}

    def model_fn(features, labels, mode, params):
        logits = tf.sort(flat_logits(features))
        loss = tf.reduce_mean(logits)
        if mode != "train":
            return models.spec(mode, loss, host_call=(host, [logits]))
        return models.spec(mode, loss)._replace(host_call=(host, [logits]))

    with pytest.raises(MappingError) as caught:
        compile_model(model_fn, models.images(1, 4), mode)
    found = {o.op: o for o in caught.value.offenders}
    assert found.keys() == {"tf.keras.metrics", "TopKV2"}
    assert found["tf.keras.metrics"].line.endswith(line(host, "Mean"))


def test_other_mistakes_of_model_fn_stay_what_they_are(compile_model):
    def model_fn(features, labels, mode, params):
        return features

    with pytest.raises(ModelFnError, match="should return an EstimatorSpec"):
        compile_model(model_fn, models.images())


def without_a_remainder_dropped(x, labels):
    data = tf.data.Dataset.from_tensor_slices((x, labels)).repeat()
    data = data.shuffle(8).batch(models.BATCH)
    return data.prefetch(1)


def by_a_queue_of_tensors(x, labels):
    data = tf1.data.Dataset.from_tensor_slices((x, labels)).batch(models.BATCH)
    return tf1.data.make_one_shot_iterator(data).get_next()


def of_any_length(x, labels):
    data = tf.data.Dataset.from_tensors((x, labels)).repeat()
    return data.map(lambda x, y: (tf.boolean_mask(x, y > 0, axis=0), y))


@pytest.mark.parametrize(
    ("batches", "text", "names"),
    [
        (without_a_remainder_dropped, ".batch(", ["features", "labels"]),
        (by_a_queue_of_tensors, "get_next", ["features", "labels"]),
        (of_any_length, "data.map", ["features"]),
    ],
)
def test_shapes_that_are_not_static_are_told_where_they_are_made(
    compile_model, batches, text, names
):
    def input_fn():
        return batches(np.zeros([8, 4, 4, 1], np.float32), np.zeros([8], np.int32))

    with pytest.raises(MappingError, match=r"drop_remainder=True") as caught:
        compile_model(models.classifier(models.plain), input_fn)
    assert [o.op for o in caught.value.offenders] == names
    for offender in caught.value.offenders:
        assert "its shape is (None," in offender.reason
        assert offender.line.endswith(line(batches, text))


def test_an_input_without_batches_is_told(compile_model):
    def input_fn():
        return tf.data.Dataset.from_tensors((1.0, 2)).repeat()

    with pytest.raises(MappingError, match="no feature or label has a batch") as caught:
        compile_model(models.classifier(models.plain), input_fn)
    (offender,) = caught.value.offenders
    assert offender.line.endswith(line(input_fn, "def input_fn"))


def test_a_model_with_nothing_to_compute_is_told_with_its_line(compile_model, tmp_path):
    def model_fn(features, labels, mode, params):
        return models.spec(mode, tf.constant(0.0))

    where = line(model_fn, "def model_fn")
    with pytest.raises(MappingError, match=f"{where}: the model has no kernel"):
        compile_model(model_fn, models.images(1, 4), "eval")
    assert list(tmp_path.iterdir()) == []


def test_tensors_without_numbers_are_told(compile_model):
    def network(x, training):
        x = layers.Flatten()(x)
        weight = tf1.get_variable("w", [0, models.CLASSES])
        return layers.Dense(models.CLASSES)(x) + tf.matmul(x[:, :0], weight)

    found = refused(compile_model, network)
    assert set(found) == {"MatMul"}
    assert "one of its dimensions is 0" in found["MatMul"].reason
    assert found["MatMul"].line.endswith(line(network, "tf.matmul"))


def test_counters_in_int64_are_no_arithmetic_on_the_wafer(compile_model):
    """int64 labels and scalars travel as they are."""

    def input_fn():
        x = np.zeros([models.BATCH, 4, 4, 1], np.float32)
        labels = np.zeros([models.BATCH], np.int64)
        return tf.data.Dataset.from_tensors((x, labels)).repeat()

    compile_model(models.classifier(models.plain), input_fn)


def test_features_in_float64_are_told_with_the_cast(compile_model):
    def input_fn():
        features = {"x": np.zeros([models.BATCH, 4, 4, 1]), "unused": np.zeros([4])}
        labels = np.zeros([models.BATCH], np.int32)
        return tf.data.Dataset.from_tensors((features, labels)).repeat()

    def network(features, training):
        return flat_logits(tf.cast(features["x"], tf.float32))

    found = refused(compile_model, network, input_fn)
    assert set(found) == {"features/x"}
    assert found["features/x"].line.endswith(line(network, "tf.cast"))
    assert "tf.cast(x, tf.float32) in input_fn" in found["features/x"].instead


def test_python_code_that_nothing_takes_a_value_of_is_told(compile_model):
    def network(x, training):
        shown = tf.py_function(print, [tf.reduce_mean(x)], [])
        with tf.control_dependencies([shown]):
            return flat_logits(tf.identity(x))

    found = refused(compile_model, network)
    assert set(found) == {"EagerPyFunc"}
    assert found["EagerPyFunc"].line.endswith(line(network, "tf.py_function"))


def in_two_variables(x):
    tables = [tf1.get_variable(f"table_{i}", [5, 4]) for i in range(2)]
    return tf.nn.embedding_lookup(tables, x)


def in_a_partitioned_variable(x):
    by_two = tf1.fixed_size_partitioner(2)
    return tf.nn.embedding_lookup(
        tf1.get_variable("table", [10, 4], partitioner=by_two), x
    )


@pytest.mark.parametrize("look_up", [in_two_variables, in_a_partitioned_variable])
def test_a_table_in_parts_is_told_at_its_line(compile_model, look_up):
    def network(x, training):
        return flat_logits(look_up(tf.cast(layers.Flatten()(x), tf.int32)))

    found = refused(compile_model, network)
    assert set(found) == {"DynamicPartition"}
    assert "a table in one piece" in found["DynamicPartition"].instead


def test_a_gradient_of_rows_that_the_data_choose(compile_model):
    """Of a gather from a concatenation, TensorFlow keeps the rows of each part."""

    def network(x, training):
        parts = [tf1.get_variable(f"part_{i}", [5, 4]) for i in range(2)]
        table = tf.concat(parts, 0)
        return flat_logits(tf.gather(table, tf.cast(layers.Flatten()(x), tf.int32)))

    found = refused(compile_model, network)
    assert all("depends on the data" in o.reason for o in found.values())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_loop_whose_length_the_data_decide_is_one_offender(compile_model, mode):
    def network(x, training):
        x = tf.reshape(x, [models.BATCH, 4, 4])
        return layers.Dense(models.CLASSES)(tf.sort(of_their_lengths(x)))

    found = refused(compile_model, network, mode=mode)
    assert set(found) == {"StatelessWhile", "TopKV2"}
    assert found["StatelessWhile"].line.endswith(line(of_their_lengths, "dynamic_rnn"))


def test_an_update_rule_that_is_not_in_the_library(compile_model):
    model_fn = models.classifier(
        lambda x, training: tf.sort(flat_logits(x)),
        lambda: tf1.train.FtrlOptimizer(0.1),
    )
    with pytest.raises(MappingError) as caught:
        compile_model(model_fn, models.images(1, 4))
    found = {o.op: o.reason for o in caught.value.offenders}
    assert "update rule is not in the kernel library" in found["ResourceApplyFtrl"]
    assert "TopKV2" in found


def test_a_table_is_an_offender(compile_model):
    def network(x, training):
        keys = tf.constant([0, 1], tf.int32)
        init = tf.lookup.KeyValueTensorInitializer(keys, tf.constant([5.0, 6.0]))
        table = tf.lookup.StaticHashTable(init, 0.0)
        return flat_logits(x + table.lookup(tf.cast(x, tf.int32)))

    found = refused(compile_model, network)
    assert any("tables" in o.reason for o in found.values())


def test_what_xla_does_not_know_is_told_at_once(compile_model, monkeypatch):
    """However many there are: each time XLA starts anew, it takes its time."""
    from wafer_runtime.compiler import pipeline

    tried = []
    kept = pipeline.extract
    monkeypatch.setattr(pipeline, "extract", lambda *a: tried.append(1) or kept(*a))

    def network(x, training):
        places = np.zeros(models.BATCH, np.int32)
        boxes = np.zeros([models.BATCH, 4], np.float32)
        x += tf.image.crop_and_resize(x, boxes, places, [4, 4])
        x += tf.nn.dilation2d(x, tf.ones([2, 2, 1]), [1] * 4, "SAME", "NHWC", [1] * 4)
        counts = tf.histogram_fixed_width(x, [0.0, 1.0], 4)
        return flat_logits(x + tf.reduce_sum(tf.cast(counts, tf.float32)))

    found = refused(compile_model, network)
    assert {"CropAndResize", "Dilation2D", "HistogramFixedWidth"} <= found.keys()
    assert len(tried) == 2


def test_text_among_the_features_hides_nothing(compile_model):
    def input_fn():
        x = np.zeros([models.BATCH, 4, 4, 1], np.float32)
        features = {"x": x, "text": np.array(["a"] * models.BATCH)}
        labels = np.zeros([models.BATCH], np.int32)
        return tf.data.Dataset.from_tensors((features, labels)).repeat()

    def network(features, training):
        length = tf.cast(tf.strings.length(features["text"]), tf.float32)
        x = features["x"] + length[:, None, None, None]
        return tf.math.top_k(flat_logits(x), models.CLASSES).values

    found = refused(compile_model, network, input_fn)
    assert set(found) == {"StringLength", "TopKV2"}


def test_text_in_a_loop_is_told_by_what_takes_it(compile_model):
    def input_fn():
        x = np.zeros([models.BATCH, 4, 4, 1], np.float32)
        features = {"x": x, "png": np.array([b""] * models.BATCH)}
        labels = np.zeros([models.BATCH], np.int32)
        return tf.data.Dataset.from_tensors((features, labels)).repeat()

    def network(features, training):
        x = tf.map_fn(decoded, features["png"], tf.uint8)
        x = tf.ensure_shape(x, [models.BATCH, 4, 4, 1])
        return flat_logits(features["x"] + tf.cast(x, tf.float32))

    def decoded(png):
        return tf.image.decode_png(png, 1)

    found = refused(compile_model, network, input_fn)
    assert set(found) == {"DecodePng"}
    assert found["DecodePng"].line.endswith(line(decoded, "decode_png"))


def test_what_is_said_of_a_shape_after_python_code_is_no_offender(compile_model):
    def network(x, training):
        y = tf.py_function(lambda v: v, [x], tf.float32)
        return flat_logits(tf.ensure_shape(y, x.shape))

    assert set(refused(compile_model, network)) == {"EagerPyFunc"}


def test_ragged_features_are_told_before_the_model_sees_them(compile_model):
    def input_fn():
        x = tf.ragged.constant([[1], [1, 2]])
        return tf.data.Dataset.from_tensors((x, np.zeros([2], np.int32))).repeat()

    with pytest.raises(MappingError, match=r"RaggedTensor(.|\n)*to_tensor"):
        compile_model(models.classifier(models.plain), input_fn)


def test_a_generator_with_a_state_of_its_own_is_the_only_offender(compile_model):
    def network(x, training):
        return flat_logits(x + tf.random.Generator.from_seed(1).normal(x.shape))

    found = refused(compile_model, network)
    assert {"generators" in o.reason for o in found.values()} == {True}


def test_what_follows_from_an_unknown_shape_is_no_offender(compile_model):
    def network(x, training):
        y = tf.py_function(lambda v: v, [x], tf.float32)
        y = tf.sort(tf.reshape(y, [models.BATCH, 16]), axis=-1)
        return flat_logits(x + tf.reshape(y, x.shape))

    assert set(refused(compile_model, network)) == {"EagerPyFunc", "TopKV2"}


def test_a_write_of_a_part_is_an_update_like_others(compile_model):
    def network(x, training):
        state = tf1.get_variable("state", [3, 1], trainable=False)
        with tf.control_dependencies([state[0].assign(tf.reduce_mean(x)[None])]):
            return flat_logits(x * state.read_value()[0, 0])

    found = refused(compile_model, network)
    assert "this write of a variable" in found["ResourceStridedSliceAssign"].reason


def test_a_rule_that_is_not_in_the_library_trains_all_the_same(compile_model, caplog):
    model_fn = models.classifier(models.plain, lambda: tf1.train.FtrlOptimizer(0.1))
    with pytest.raises(MappingError):
        compile_model(model_fn, models.images(1, 4))
    assert "changes no trained variable" not in caplog.text
