"""SavedModels for serving."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tensorflow.python.checkpoint.graph_view import ObjectGraphView
from tensorflow.python.saved_model.model_utils import export_output, export_utils

from wafer_runtime import source
from wafer_runtime.errors import InputFnError, UsageError
from wafer_runtime.estimator import calls, checkpoints, sessions
from wafer_runtime.estimator.calls import Inputs, UserFn
from wafer_runtime.estimator.sessions import Setup
from wafer_runtime.estimator.specs import EstimatorSpec, ModeKeys

# The first that is exported gives the variables: TRAIN's graph has all of them.
_MODES = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT)

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

    def receiver() -> ServingInputReceiver:
        tensors = placeholders(features, default_batch_size)
        return ServingInputReceiver(tensors, tensors)

    return receiver


def placeholders(like: Any, batch_size: int | None) -> Any:
    """Placeholders for (a dict of) tensors, by their names, or for tf.TensorSpecs."""

    def placeholder(tensor: Any) -> Any:
        shape = tf.TensorShape([batch_size]).concatenate(tensor.shape[1:])
        name = getattr(getattr(tensor, "op", None), "name", None)
        return tf1.placeholder(tensor.dtype, shape, name)

    return tf.nest.map_structure(placeholder, like)


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
    receiver_fns: Mapping[str, UserFn],
    assets_extra: Mapping[str, str],
    as_text: bool,
) -> str:
    """Save the graphs of the modes in `receiver_fns`, on their receivers' features."""
    if not receiver_fns or not receiver_fns.keys() <= set(_MODES):
        raise UsageError(
            f"modes to export are {list(receiver_fns)}; wanted some of {_MODES}"
        )
    directory = export_utils.get_timestamped_export_dir(export_dir_base)
    partial = export_utils.get_temp_export_dir(directory)
    builder = tf1.saved_model.Builder(partial)
    modes = [mode for mode in _MODES if mode in receiver_fns]
    for mode in modes:
        with tf.Graph().as_default():
            sessions.create_global_step()
            receiver = _receiver(receiver_fns[mode])
            inputs = Inputs(
                receiver.features, getattr(receiver, "labels", None), None, None
            )
            spec = calls.call_model_fn(
                setup.model_fn, inputs, mode, setup.params, setup.config
            )
            checkpoints.prepare(checkpoint_path, setup.warm_start, spec.scaffold)
            _add(builder, setup, checkpoint_path, spec, receiver, mode == modes[0])
    builder.save(as_text)
    # Readers that watch the folder must never see half a model.
    tf.io.gfile.rename(partial, directory)
    exported = Path(tf.compat.as_str_any(directory))
    _copy_assets(exported, assets_extra)
    return str(exported)


def _receiver(receiver_fn: UserFn) -> Any:
    if not callable(receiver_fn):
        raise UsageError(
            f"serving_input_receiver_fn must be a function, given: {receiver_fn!r}; "
            "build_raw_serving_input_receiver_fn({name: tf.TensorSpec}) makes one"
        )
    receiver = receiver_fn()
    if not hasattr(receiver, "receiver_tensors"):
        raise InputFnError(
            f"{source.of_function(receiver_fn)}: serving_input_receiver_fn should "
            f"return a ServingInputReceiver, returned {type(receiver).__name__}."
        )
    return receiver


def _add(
    builder: Any,
    setup: Setup,
    checkpoint_path: str | None,
    spec: EstimatorSpec,
    receiver: Any,
    with_variables: bool,
) -> None:
    """Add the default graph to a SavedModel, and maybe its variables."""
    about = {
        "tags": export_utils.EXPORT_TAG_MAP[spec.mode],
        "signature_def_map": _signatures(spec, receiver),
        "assets_collection": tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
        "main_op": spec.scaffold.local_init_op
        or tf1.train.Scaffold.default_local_init_op(),
        "strip_default_attrs": True,
        "saver": (saver := _saver(spec.scaffold)),
    }
    builder._add_train_op(spec.train_op)
    if not with_variables:
        builder.add_meta_graph(**about)
        return
    with tf1.Session(config=sessions.session_config(setup.config)) as session:
        if checkpoint_path:
            saver.restore(session, checkpoint_path)
        else:
            session.run(tf1.global_variables_initializer())
        builder.add_meta_graph_and_variables(session, **about)


def _signatures(spec: EstimatorSpec, receiver: Any) -> Any:
    serves = spec.mode == ModeKeys.PREDICT
    outputs = export_utils.export_outputs_for_mode(
        spec.mode,
        spec.export_outputs,
        spec.predictions,
        spec.loss,
        None if serves else calls.call_host(spec),
    )
    return export_utils.build_all_signature_defs(
        receiver.receiver_tensors,
        outputs,
        getattr(receiver, "receiver_tensors_alternatives", None),
        serving_only=serves,
    )


def _saver(scaffold: Any) -> Any:
    """What loads the variables, here and when the model is served."""
    if isinstance(scaffold.saver, tf.train.Checkpoint | tf1.train.Checkpoint):
        objects = ObjectGraphView(scaffold.saver).frozen_saveable_objects()
        return tf1.train.Saver(objects, sharded=True)
    return scaffold.saver or tf1.train.Saver(sharded=True)


def _copy_assets(exported: Path, assets: Mapping[str, str]) -> None:
    for name, origin in assets.items():
        target = exported / "assets.extra" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        tf.io.gfile.copy(origin, str(target))
