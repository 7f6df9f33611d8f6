"""What old code may ask for: the name, where it leads, and since when it is gone.

A row of `MODULES` is a module that no longer exists; a row of `ATTRIBUTES` is one that
exists and has lost names. Names are separated by spaces; `old=new` is one that is
called `new` where it leads. These are resolved when they are asked for, and not before.

A row of `ASSIGNABLE` is a class whose attributes could be set, one of `WITHOUT_GROUPS`
has layers that got an argument before others, and one of `REPLACED` names what there is
still, but made anew, or a copy that TensorFlow keeps for itself, which does not go with
tf.keras any more.
"""

from typing import NamedTuple


class Row(NamedTuple):
    """One module: its name, since which release it is gone, and its names by target."""

    module: str
    gone_since: str
    targets: dict[str, str]

    def leads_to(self) -> dict[str, str]:
        """`{name: dotted path of what it is now}`."""
        return {
            pair.partition("=")[0]: f"{target}.{pair.rpartition('=')[2]}"
            for target, pairs in self.targets.items()
            for pair in pairs.split()
        }


_TF_2_16 = "TensorFlow 2.16"
_NO_DEPENDENCY = "TensorFlow 2.11, which ceased to bring it along"
_NEVER_PUBLIC = "never published: the vendor's container only"

_DRIVER = "wafer_runtime.estimator"
_OLD_FORMS = "wafer_runtime.compat.estimators"
_NUMPY_NAMES = "wafer_runtime.compat.numpy_names"
_OLD_RECEIVERS = "wafer_runtime.compat.receivers"
_HOOKS = "wafer_runtime.compat.hooks"
_INPUTS = "wafer_runtime.compat.inputs"
_V1_TRAIN = "tensorflow.compat.v1.train"
_EXPORT_OUTPUT = "tensorflow.python.saved_model.model_utils.export_output"
_POLICIES = "wafer_runtime.compat.policies"
_LOSS_SCALE = "tensorflow.python.training.experimental.loss_scale"
_VENDOR = "wafer_runtime.compat.vendor"
_MESSAGES = "wafer_runtime.compat.messages"

_EARLY_STOPPING = (
    "make_early_stopping_hook stop_if_higher_hook stop_if_lower_hook "
    "stop_if_no_decrease_hook stop_if_no_increase_hook"
)
_RECEIVERS = (
    "TensorServingInputReceiver=ServingInputReceiver "
    "build_parsing_serving_input_receiver_fn build_raw_serving_input_receiver_fn"
)
_OUTPUTS = "ClassificationOutput ExportOutput PredictOutput RegressionOutput"
_TRAINING = "EvalSpec TrainSpec train_and_evaluate"
_EXPORTERS = "BestExporter Exporter FinalExporter LatestExporter"
_SESSION_HOOK = "SessionRunArgs SessionRunContext SessionRunHook SessionRunValues"
_BASIC_HOOKS = (
    "CheckpointSaverHook CheckpointSaverListener FeedFnHook FinalOpsHook "
    "GlobalStepWaiterHook LoggingTensorHook NanLossDuringTrainingError NanTensorHook "
    "ProfilerHook SecondOrStepTimer StepCounterHook StopAtStepHook SummarySaverHook"
)
_OWN_HOOKS = "InMemoryEvaluatorHook make_stop_at_checkpoint_step_hook"
_ESTIMATOR = {
    _OLD_FORMS: "Estimator add_metrics",
    _DRIVER: f"EstimatorSpec ModeKeys RunConfig WarmStartSettings {_TRAINING} "
    + _EXPORTERS,
    _V1_TRAIN: f"VocabInfo {_SESSION_HOOK} {_BASIC_HOOKS}",
}
_EXPORT = {
    _DRIVER: _RECEIVERS,
    _OLD_RECEIVERS: "ServingInputReceiver=WrappingInputReceiver",
    _EXPORT_OUTPUT: _OUTPUTS,
}
_SUPERVISED = "build_raw_supervised_input_receiver_fn"
_EXPORT_SOURCES = _EXPORT | {
    _OLD_RECEIVERS: "ServingInputReceiver=WrappingInputReceiver "
    f"SupervisedInputReceiver UnsupervisedInputReceiver {_SUPERVISED} "
    "build_supervised_input_receiver_fn_from_input_fn",
    "tensorflow.python.saved_model.model_utils": "EXPORT_TAG_MAP",
}


def _estimator_package(name: str) -> list[Row]:
    """`tf.estimator`, under one of its names."""
    return [
        Row(name, _TF_2_16, _ESTIMATOR),
        Row(
            f"{name}.experimental",
            _TF_2_16,
            {
                _DRIVER: _EARLY_STOPPING,
                _HOOKS: _OWN_HOOKS,
                _OLD_RECEIVERS: _SUPERVISED,
            },
        ),
        Row(f"{name}.export", _TF_2_16, _EXPORT),
        Row(f"{name}.inputs", _TF_2_16, {_INPUTS: "numpy_input_fn pandas_input_fn"}),
    ]


def _estimator_sources(package: str, gone_since: str) -> list[Row]:
    """The modules behind `tf.estimator`, which people import from too."""
    contents = {
        "early_stopping": {_DRIVER: f"read_eval_metrics {_EARLY_STOPPING}"},
        "estimator": {
            _OLD_FORMS: "Estimator EstimatorV2=Estimator",
            _DRIVER: "WarmStartSettings "
            "_load_global_step_from_checkpoint_dir=latest_global_step",
            _V1_TRAIN: "VocabInfo",
        },
        "estimator_lib": _ESTIMATOR,
        "export.export": _EXPORT_SOURCES,
        "export.export_lib": _EXPORT_SOURCES,
        "export.export_output": {_EXPORT_OUTPUT: _OUTPUTS},
        "exporter": {_DRIVER: _EXPORTERS},
        "extenders": {_OLD_FORMS: "add_metrics"},
        "hooks.basic_session_run_hooks": {_V1_TRAIN: _BASIC_HOOKS},
        "hooks.hooks": {_HOOKS: _OWN_HOOKS},
        "hooks.session_run_hook": {_V1_TRAIN: _SESSION_HOOK},
        "inputs.inputs": {_INPUTS: "numpy_input_fn pandas_input_fn"},
        "inputs.numpy_io": {_INPUTS: "numpy_input_fn"},
        "inputs.pandas_io": {_INPUTS: "pandas_input_fn"},
        "mode_keys": {_DRIVER: "ModeKeys"},
        "model_fn": {
            _DRIVER: "EstimatorSpec ModeKeys",
            _OLD_FORMS: "LOSS_METRIC_KEY",
            _EXPORT_OUTPUT: "ExportOutput",
        },
        "run_config": {_DRIVER: "RunConfig", _OLD_FORMS: "TaskType"},
        "training": {_DRIVER: _TRAINING},
    }
    return [Row(f"{package}.{k}", gone_since, v) for k, v in contents.items()]


_HOST_CALL = "host_call_to_eval_metric_ops validate_host_call"
_CS_FORMS = {
    "cs_estimator": {_DRIVER: "CerebrasEstimator"},
    "cs_estimator_spec": {_DRIVER: "CSEstimatorSpec"},
    "run_config": {_DRIVER: "CSRunConfig"},
}
_SUMMARIES = "cs1_enable_summaries cs1_disable_summaries"


def _vendor_rows() -> list[Row]:
    """What the vendor's container had, and the siblings of its public repository."""
    contents = {
        **{f"cerebras.tf.{name}": names for name, names in _CS_FORMS.items()},
        "cerebras.tf.host_call": {_VENDOR: _HOST_CALL},
        "cerebras.tf.summary": {_VENDOR: _SUMMARIES},
        "cerebras.tf.tf_helper": {
            _VENDOR: "GetWeights boundary_cast summarize_tensor summary_layer"
        },
        "cerebras.pb.common.cerebras_type_pb2": {_MESSAGES: "T_CB16 T_F16 T_F32"},
        "cerebras.pb.common.tri_state_pb2": {_MESSAGES: "TS_DISABLED TS_ENABLED"},
        "cerebras.pb.stack.autogen_pb2": {_MESSAGES: "AP_DISABLED AP_ENABLED"},
        "cerebras.pb.stack.full_pb2": {_MESSAGES: "FullConfig=Message"},
        "cerebras.pb.tf.csconfig_pb2": {_MESSAGES: "CSConfig=Message"},
        "cerebras_appliance.CSConfig": {_MESSAGES: "CSConfig=Message"},
        "cerebras_appliance.cluster_client": {_MESSAGES: "VolumeMount=Message"},
        "cerebras_appliance.cs_run_config": {_DRIVER: "CSRunConfig"},
        "cerebras_appliance.pb.client.common_config_pb2": {_MESSAGES: "DebugArgs"},
        "cerebras_tensorflow.cs_estimator_app": {
            _DRIVER: "CerebrasAppEstimator=CerebrasEstimator"
        },
    }
    utils = {
        _VENDOR: f"{_HOST_CALL} cs_disable_summaries=cs1_disable_summaries "
        "cs_enable_summaries=cs1_enable_summaries"
    }
    for package in ("common.tf.estimator", "modelzoo.common.tf.estimator"):
        for name, names in (_CS_FORMS | {"utils": utils}).items():
            contents[f"{package}.{name}"] = names
    return [Row(module, _NEVER_PUBLIC, names) for module, names in contents.items()]


_POLICY_NAMES = "LossScaleOptimizer Policy global_policy set_policy"
_SCALES = "DynamicLossScale FixedLossScale LossScale"
_MIXED_PRECISION = {_POLICIES: _POLICY_NAMES, _LOSS_SCALE: _SCALES}
_PYTHON_KERAS_MIXED = "tensorflow.python.keras.mixed_precision.experimental"

MODULES = [
    *_estimator_package("tensorflow.estimator"),
    *_estimator_package("tensorflow.compat.v1.estimator"),
    *_estimator_package("tensorflow.compat.v2.estimator"),
    *_estimator_sources("tensorflow_estimator.python.estimator", _TF_2_16),
    *_estimator_sources("tensorflow.python.estimator", "TensorFlow 2.0"),
    Row(
        "tensorflow.keras.mixed_precision.experimental",
        "TensorFlow 2.11",
        _MIXED_PRECISION,
    ),
    Row(_PYTHON_KERAS_MIXED, "TensorFlow 2.7", {}),
    Row(
        f"{_PYTHON_KERAS_MIXED}.loss_scale_optimizer",
        "TensorFlow 2.7",
        {_POLICIES: "LossScaleOptimizer"},
    ),
    Row(
        f"{_PYTHON_KERAS_MIXED}.policy",
        "TensorFlow 2.7",
        {_POLICIES: "Policy global_policy set_policy"},
    ),
    Row(
        "tensorflow.mixed_precision.experimental",
        "TensorFlow 2.7",
        {_LOSS_SCALE: _SCALES},
    ),
    Row(
        "keras_preprocessing.text",
        _NO_DEPENDENCY,
        {
            "tensorflow.keras.preprocessing.text": "Tokenizer hashing_trick one_hot "
            "text_to_word_sequence tokenizer_from_json"
        },
    ),
    Row(
        "keras_preprocessing.sequence",
        _NO_DEPENDENCY,
        {
            "tensorflow.keras.preprocessing.sequence": "TimeseriesGenerator "
            "make_sampling_table pad_sequences skipgrams"
        },
    ),
    *_vendor_rows(),
]

ATTRIBUTES = [
    Row("tensorflow", _TF_2_16, {"tensorflow": "estimator"}),
    Row("tensorflow", "TensorFlow 2.7", {"tensorflow": "mixed_precision"}),
    Row("tensorflow.compat.v1", _TF_2_16, {"tensorflow.compat.v1": "estimator"}),
    Row("tensorflow.compat.v2", _TF_2_16, {"tensorflow.compat.v2": "estimator"}),
    Row(
        "tensorflow.keras.mixed_precision",
        "TensorFlow 2.11",
        {"tensorflow.keras.mixed_precision": "experimental"},
    ),
    Row("inspect", "Python 3.11", {_OLD_FORMS: "getargspec"}),
    Row(
        "collections",
        "Python 3.10",
        {
            "collections.abc": "AsyncGenerator AsyncIterable AsyncIterator Awaitable "
            "Callable Collection Container Coroutine Generator Hashable ItemsView "
            "Iterable Iterator KeysView Mapping MappingView MutableMapping "
            "MutableSequence MutableSet Reversible Sequence Set Sized ValuesView"
        },
    ),
    Row(
        "numpy",
        "NumPy 1.24",
        {
            "builtins": "complex float int object str unicode=str",
            "numpy": "asscalar=ndarray.item",
        },
    ),
    Row(
        "numpy",
        "NumPy 2.0",
        {
            "numpy": "Inf=inf Infinity=inf NAN=nan NaN=nan PINF=inf alltrue=all "
            "bool8=bool_ cfloat=complex128 complex_=complex128 cumproduct=cumprod "
            "float_=float64 infty=inf int0=intp mat=asmatrix object0=object_ "
            "product=prod round_=round singlecomplex=complex64 sometrue=any "
            "string_=bytes_ trapz=trapezoid uint0=uintp unicode_=str_",
            "numpy.exceptions": "AxisError ComplexWarning RankWarning "
            "VisibleDeprecationWarning",
            _NUMPY_NAMES: "NINF asfarray cast in1d msort",
        },
    ),
]

ASSIGNABLE = [
    Row(
        "tensorflow.keras.layers.Layer",
        "TensorFlow 2.4",
        {"": "compute_dtype dtype_policy variable_dtype"},
    ),
]

WITHOUT_GROUPS = [
    Row(
        "tensorflow.keras.layers",
        "TensorFlow 2.3",
        {"tensorflow.keras.layers": "Conv1D Conv2D Conv3D"},
    ),
]

_OPTIMIZERS = {
    "tensorflow.keras.optimizers.legacy": "Adadelta Adagrad Adam Adamax Ftrl Nadam "
    "Optimizer RMSprop SGD"
}

REPLACED = [
    Row("tensorflow.keras.optimizers", "TensorFlow 2.11", _OPTIMIZERS),
    Row("tensorflow.optimizers", "TensorFlow 2.11", _OPTIMIZERS),
    Row(
        "tensorflow.python.keras.layers",
        "TensorFlow 2.6",
        {
            "tensorflow.keras.layers": "Activation Add Average AveragePooling2D "
            "BatchNormalization Concatenate Conv1D Conv2D Conv2DTranspose Conv3D Dense "
            "DepthwiseConv2D Dot Dropout Embedding Flatten GRU GlobalAveragePooling2D "
            "GlobalMaxPooling2D InputLayer LSTM Lambda Layer LayerNormalization "
            "LeakyReLU MaxPooling2D Maximum Multiply PReLU Permute ReLU RepeatVector "
            "Reshape SeparableConv2D Softmax Subtract UpSampling2D ZeroPadding2D add "
            "average concatenate dot maximum multiply subtract"
        },
    ),
]
