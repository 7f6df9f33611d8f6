"""SavedModels for serving."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tensorflow.python.checkpoint.graph_view import ObjectGraphView
from tensorflow.python.saved_model.model_utils import export_output, export_utils

from wafer_runtime import source
from wafer_runtime.errors import InputFnError
from wafer_runtime.estimator import calls, checkpoints, sessions
from wafer_runtime.estimator.calls import Inputs, UserFn
from wafer_runtime.estimator.sessions import Setup
from wafer_runtime.estimator.specs import ModeKeys

PredictOutput = export_output.PredictOutput
ClassificationOutput = export_output.ClassificationOutput
RegressionOutput = export_output.RegressionOutput


class ServingInputReceiver(NamedTuple):
    """What a serving_input_receiver_fn returns.

    features: what model_fn gets. receiver_tensors: the placeholders that a client
    feeds: a tensor or a dict. receiver_tensors_alternatives: `{name: such a dict}`.
    """

    features: Any
    receiver_tensors: Any
    receiver_tensors_alternatives: dict[str, Any] | None = None


def build_raw_serving_input_receiver_fn(
    features: Mapping[str, Any] | Any, default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver]:
    """A serving_input_receiver_fn whose clients feed the features themselves.

    `features` are tensors or tf.TensorSpecs; their first dimension becomes the batch.
    """

    def placeholder(tensor: Any) -> Any:
        shape = tf.TensorShape([default_batch_size]).concatenate(tensor.shape[1:])
        return tf1.placeholder(tensor.dtype, shape)

    def receiver() -> ServingInputReceiver:
        tensors = tf.nest.map_structure(placeholder, features)
        return ServingInputReceiver(tensors, tensors)

    return receiver


def build_parsing_serving_input_receiver_fn(
    feature_spec: Mapping[str, Any], default_batch_size: int | None = None
) -> Callable[[], ServingInputReceiver]:
    """A serving_input_receiver_fn whose clients feed serialised tf.train.Examples."""

    def receiver() -> ServingInputReceiver:
        examples = tf1.placeholder(
            tf.string, [default_batch_size], "input_example_tensor"
        )
        features = tf.io.parse_example(examples, dict(feature_spec))
        return ServingInputReceiver(features, {"examples": examples})

    return receiver


def export_saved_model(
    setup: Setup,
    checkpoint_path: str | None,
    export_dir_base: str,
    serving_input_receiver_fn: UserFn,
    assets_extra: Mapping[str, str],
    as_text: bool,
) -> str:
    """Build the PREDICT graph on the receiver's features and save it with weights."""
    with tf.Graph().as_default():
        sessions.create_global_step()
        receiver = serving_input_receiver_fn()
        if not isinstance(receiver, ServingInputReceiver):
            raise InputFnError(
                f"{source.of_function(serving_input_receiver_fn)}: "
                "serving_input_receiver_fn should return a ServingInputReceiver, "
                f"returned {type(receiver).__name__}."
            )
        inputs = Inputs(receiver.features, None, None, None)
        spec = calls.call_model_fn(
            setup.model_fn, inputs, ModeKeys.PREDICT, setup.params, setup.config
        )
        checkpoints.prepare(checkpoint_path, setup.warm_start, spec.scaffold)
        directory = export_utils.get_timestamped_export_dir(export_dir_base)
        with tf1.Session(config=sessions.session_config(setup.config)) as session:
            saver = _saver(spec.scaffold)
            if checkpoint_path:
                saver.restore(session, checkpoint_path)
            else:
                session.run(tf1.global_variables_initializer())
            _save(session, spec, saver, receiver, directory, as_text)
    exported = Path(tf.compat.as_str_any(directory))
    _copy_assets(exported, assets_extra)
    return str(exported)


def _saver(scaffold: Any) -> Any:
    """What loads the variables, here and when the model is served."""
    if isinstance(scaffold.saver, tf.train.Checkpoint | tf1.train.Checkpoint):
        objects = ObjectGraphView(scaffold.saver).frozen_saveable_objects()
        return tf1.train.Saver(objects, sharded=True)
    return scaffold.saver or tf1.train.Saver(sharded=True)


def _save(
    session: Any, spec: Any, saver: Any, receiver: Any, directory: Any, as_text: bool
) -> None:
    partial = export_utils.get_temp_export_dir(directory)
    signatures = export_utils.build_all_signature_defs(
        receiver.receiver_tensors,
        spec.export_outputs,
        receiver.receiver_tensors_alternatives,
    )
    builder = tf1.saved_model.Builder(partial)
    builder.add_meta_graph_and_variables(
        session,
        [tf1.saved_model.tag_constants.SERVING],
        signature_def_map=signatures,
        assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
        main_op=spec.scaffold.local_init_op
        or tf1.train.Scaffold.default_local_init_op(),
        strip_default_attrs=True,
        saver=saver,
    )
    builder.save(as_text)
    # Readers that watch the folder must never see half a model.
    tf.io.gfile.rename(partial, directory)


def _copy_assets(exported: Path, assets: Mapping[str, str]) -> None:
    for name, origin in assets.items():
        target = exported / "assets.extra" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        tf.io.gfile.copy(origin, str(target))
