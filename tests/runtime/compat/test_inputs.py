"""Input functions over arrays, and the messages that their callers fill in."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from wafer_runtime.compat.inputs import numpy_input_fn, pandas_input_fn
from wafer_runtime.compat.messages import DebugArgs, Message
from wafer_runtime.errors import InputFnError


def batches(input_fn, at_most=100):
    """What a session gets from an input_fn's tensors, until their end."""
    found = []
    with tf.Graph().as_default(), tf1.Session() as session:
        tensors = input_fn()
        session.run(tf1.tables_initializer())
        try:
            while len(found) < at_most:
                found.append(session.run(tensors))
        except tf.errors.OutOfRangeError:
            pass
    return found


def test_epochs_run_into_one_another_and_the_last_batch_is_what_is_left():
    x, y = np.arange(5), np.arange(10).reshape(5, 2)
    found = batches(numpy_input_fn(x, y, 4, num_epochs=2, shuffle=False))
    assert [features.tolist() for features, _ in found] == [
        [0, 1, 2, 3], [4, 0, 1, 2], [3, 4],
    ]  # fmt: skip
    assert found[2][1].tolist() == [[6, 7], [8, 9]]


def test_without_an_end_all_batches_are_full_and_their_shape_is_known():
    input_fn = numpy_input_fn(np.arange(5), None, 4, num_epochs=None, shuffle=False)
    with tf.Graph().as_default():
        assert input_fn().shape == [4]
    assert batches(input_fn, 7)[6].tolist() == [4, 0, 1, 2]


def test_dicts_stay_dicts_and_shuffling_keeps_samples_together():
    x = {"a": np.arange(64), "b": np.arange(64).astype(np.float32)}
    found = batches(numpy_input_fn(x, {"c": np.arange(64)}, 64, shuffle=True))
    features, labels = found[0]
    assert features["a"].tolist() == features["b"].tolist() == labels["c"].tolist()
    assert sorted(features["a"]) == list(range(64)) != features["a"].tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros(3)}, "must be provided and explicitly set as boolean"),
        ({"x": [1, 2], "shuffle": True}, "x must be a numpy array or a dict"),
        ({"x": {}, "shuffle": True}, "x must be a numpy array or a dict"),
        (
            {"x": np.zeros(3), "y": np.zeros(2), "shuffle": True},
            r"mismatched: their shapes are \(3,\), \(2,\)",
        ),
    ],
)
def test_wrong_arrays_are_told(arguments, message):
    with pytest.raises(InputFnError, match=message):
        numpy_input_fn(**arguments)


def test_a_frame_gives_a_dict_of_its_columns():
    # A structured array has columns by name, as a DataFrame has.
    class Frame(dict):
        columns = ("a", "b")

    frame = Frame(a=[1, 2], b=[3.0, 4.0])
    features, labels = batches(pandas_input_fn(frame, [0, 1], shuffle=False))[0]
    assert {k: v.tolist() for k, v in features.items()} == {"a": [1, 2], "b": [3, 4]}
    assert labels.tolist() == [0, 1]


def test_a_message_takes_any_field():
    message = Message(a=1)
    message.b.c.extend([1, 2])
    message.d.add(name="x").value = 2
    assert repr(message.b) == "Message(c=Message(1, 2))"
    assert repr(message.d) == "Message(Message(name='x', value=2))"
    assert not message.never.set
    assert DebugArgs(debug_ini=DebugArgs.DebugINI(frozen_content="x")).debug_ini
